"""Compare echo servers that are all alive at once, a few messages at a time in turn.

    python benchmarks/alternate.py tls-echo-100k-10 asyncio uvloop ferrio
    python benchmarks/alternate.py echo-protocol-1k-100 uvloop ferrio --messages 1000 --rounds 60

A virtual machine's processor can be half as fast for seconds together, when its neighbours are
busy, and `run.py` takes a loop's sample in as long: with few rounds that decides a row whose loops
are close. Here every loop has its share of each such time. The ratio is that of the medians, to the
first loop named; the second one is that of the fastest turns.

As root, with --real-time, nothing else runs on the two processors meanwhile.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from contextlib import ExitStack

import cases  # noqa: F401  (registers the cases)
from harness.case import EchoCase, registered
from harness.echo import build_load_client, client_command, server_command
from harness.loops import FLOOR, LOOPS
from harness.processes import Companion, process_cpu_ns


def main() -> None:
    """Do what the command line says."""
    arguments = parse(sys.argv[1:])
    case = registered()[arguments.case]
    if not isinstance(case, EchoCase):
        raise SystemExit(f"{case.name} is no echo case")
    build_load_client()
    if arguments.real_time:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    messages = case.whole_batches(arguments.messages)
    turns = alternate(case, arguments.loops, arguments.rounds, messages)
    first = turns[0]
    for loop, costs in zip(arguments.loops, turns, strict=True):
        ratio = statistics.median(costs) / statistics.median(first)
        print(
            f"{loop:18} {statistics.median(costs):8.1f} µs CPU a message "
            f"({min(costs):.1f} to {max(costs):.1f}), ratio {ratio:.2f} "
            f"({min(costs) / min(first):.2f})"
        )


def parse(words: list[str]) -> argparse.Namespace:
    """Understand the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("case", choices=registered(), metavar="CASE")
    parser.add_argument("loops", choices=[*LOOPS, FLOOR], nargs="+", metavar="LOOP")
    parser.add_argument("--rounds", type=int, default=30, help="turns of each loop (30)")
    parser.add_argument("--messages", type=int, default=100, help="messages a turn (100)")
    parser.add_argument("--real-time", action="store_true", help="before all other processes")
    return parser.parse_args(words)


def alternate(case: EchoCase, loops: list[str], rounds: int, messages: int) -> list[list[float]]:
    """Let the loops' servers take turns; returns each one's microseconds of CPU a message."""
    turns: list[list[float]] = [[] for _ in loops]
    with ExitStack() as stack:
        pairs = []
        for loop in loops:
            server = stack.enter_context(Companion(server_command(case, loop)))
            command = client_command(case, server.expect("listening")[0])
            client = stack.enter_context(Companion(command))
            client.expect("ready")
            run(client, messages)
            pairs.append((server, client))
        for _ in range(rounds):
            for costs, (server, client) in zip(turns, pairs, strict=True):
                before = process_cpu_ns(server.pid)
                done = run(client, messages)
                costs.append((process_cpu_ns(server.pid) - before) / done / 1000)
    return turns


def run(client: Companion, messages: int) -> int:
    """Have the client send so many messages; returns how many came back."""
    client.tell(f"run {messages}")
    return int(client.expect("done")[0])


if __name__ == "__main__":
    main()
