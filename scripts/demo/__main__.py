"""Run the chat example on asyncio and on ferrio and compare them.

    PYTHONPATH=scripts python -m demo [--loops asyncio,ferrio] [--rounds 3]

Each loop gets the same service, the same client and the same load; rounds of the two
alternate, so that a machine that is busy for a while is busy for both. Exits with 1 when
any answer was wrong, the service ran on another loop than it should, or did not stop well.
"""

import argparse
import asyncio
import platform
import sys
import tempfile
from pathlib import Path

from .load import Size
from .report import Summary, describe, table, wrong_answers
from .rounds import Round, run_round
from .service import LAUNCHERS, ServiceFailed, model_server

ENDS_WITHIN = 170.0
"""Seconds after which the demo gives up, whatever hangs."""


async def run_demo(python: str, loops: list[str], rounds: int, size: Size) -> list[Round]:
    """Run the rounds, one loop after the other, and say how each went."""
    finished: list[Round] = []
    with tempfile.TemporaryDirectory(prefix="chat-demo-") as name:
        directory = Path(name)
        async with model_server(python, directory / "model.log") as model:
            for number in range(1, rounds + 1):
                for loop in loops:
                    place = directory / f"{number}-{loop}"
                    place.mkdir()
                    print(f"  round {number}/{rounds} on {loop} …", end=" ", flush=True)
                    each = await run_round(python, loop, model, size, place)
                    finished.append(each)
                    print(f"done\n    {describe(each)}", flush=True)
                    for line in wrong_answers(each):
                        print(line, flush=True)
            model.terminate()
            await model.stopped()
    return finished


def main() -> int:
    """Run the demo; return its exit code."""
    arguments = _parse_arguments()
    size = Size(cycles=arguments.cycles)
    print(f"demo: FastAPI chat service under uvicorn, Python {platform.python_version()}")
    try:
        finished = asyncio.run(
            asyncio.wait_for(
                run_demo(sys.executable, arguments.loops, arguments.rounds, size),
                ENDS_WITHIN,
            )
        )
    except ServiceFailed as error:
        print(f"\ndemo: the service {error}", file=sys.stderr)
        return 1
    except TimeoutError:
        print(f"\ndemo: not finished within {ENDS_WITHIN:g} s", file=sys.stderr)
        return 1
    summaries = [
        Summary.of([each for each in finished if each.loop == loop]) for loop in arguments.loops
    ]
    print("", *table(summaries), "", sep="\n")
    for summary in summaries:
        print(summary.line())
    return 1 if any(summary.wrong for summary in summaries) else 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--loops",
        type=lambda value: value.split(","),
        default=list(LAUNCHERS),
        help="the loops to run the service on, in this order (default: asyncio,ferrio)",
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds for each loop (default: 3)")
    parser.add_argument("--cycles", type=int, default=Size.cycles, help="how long a round is")
    arguments = parser.parse_args()
    if unknown := set(arguments.loops) - set(LAUNCHERS):
        parser.error(f"unknown loops: {', '.join(sorted(unknown))}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
