"""Where one case's time goes: instructions per operation, or samples of the running process.

    python benchmarks/profile_case.py create-task                  callgrind on ferrio
    python benchmarks/profile_case.py create-task --loop uvloop
    python benchmarks/profile_case.py create-task --around PyType_IsSubtype
    python benchmarks/profile_case.py echo-protocol-1k-100 --tool perf
    python benchmarks/profile_case.py sleep-100 --tool perf --seconds 5 --by-caller

`callgrind` (valgrind) counts instructions, which no other load on the machine disturbs. The case
runs twice, with N operations and with 3N; half the difference by function is what N operations
cost, without the start of the interpreter. System calls count as nothing, so for the echo cases
take `perf` (linux-perf; the kernel's own functions are shown as far as it lets them be seen).

Named profile_case because a file called profile beside run.py would hide the standard library's.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import cases  # noqa: F401  (registers the cases)
from harness.callgrind import Profile, read_profile
from harness.case import Case, EchoCase, ServiceCase, WebCase, registered
from harness.echo import build_load_client, client_command, server_command
from harness.loops import LOOPS, LoopMissing
from harness.processes import Companion, measured_environment, worker_command
from harness.sample import warm_up
from harness.schedule import take_sample
from harness.web import ask_count, start_wrk, stop_wrk

WARM_UP = 2_000
"""Messages before perf begins to look at an echo server."""

WARM_UP_SECONDS = 0.8
"""Before it begins to look at a web server."""


def main() -> None:
    """Do what the command line says."""
    arguments = parse(sys.argv[1:])
    case = registered()[arguments.case]
    if isinstance(case, ServiceCase):
        raise SystemExit(
            "the demo has processes of its own: its server can be given to perf by hand"
        )
    try:
        LOOPS[arguments.loop].factory()
    except LoopMissing as missing:
        raise SystemExit(str(missing)) from None
    if arguments.tool == "callgrind":
        if isinstance(case, EchoCase | WebCase):
            raise SystemExit("callgrind does not see system calls: take --tool perf")
        operations = case.whole_batches(arguments.operations or 2_000)
        print_instructions(case, arguments.loop, operations, arguments.top, arguments.around)
    else:
        with tempfile.TemporaryDirectory() as directory:
            data = Path(directory) / "perf.data"
            if isinstance(case, EchoCase):
                build_load_client()
                sample_server(case, arguments.loop, arguments.seconds, data)
            elif isinstance(case, WebCase):
                sample_web_server(case, arguments.loop, arguments.seconds, data)
            else:
                sample_worker(case, arguments.loop, arguments.seconds, data)
            print_samples(data, arguments.top, by_caller=arguments.by_caller)


def parse(words: list[str]) -> argparse.Namespace:
    """Understand the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("case", choices=registered(), metavar="CASE")
    parser.add_argument("--loop", choices=LOOPS, default="ferrio")
    parser.add_argument("--tool", choices=["callgrind", "perf"], default="callgrind")
    parser.add_argument("--operations", type=int, help="for callgrind (2,000)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of CPU time, for perf (2)")
    parser.add_argument("--top", type=int, default=40, help="functions to print (40)")
    parser.add_argument(
        "--around", default="", help="for callgrind: callers and callees of a function"
    )
    parser.add_argument("--by-caller", action="store_true", help="for perf: record call chains")
    return parser.parse_args(words)


# callgrind


def print_instructions(case: Case, loop: str, operations: int, top: int, around: str) -> None:
    """Print instructions per operation by function, or what is around one function."""
    more, less = profile(case, loop, 3 * operations), profile(case, loop, operations)
    scale = 2 * operations + warm_up(case, 3 * operations) - warm_up(case, operations)
    difference = more.minus(less)
    total = difference.instructions.total() / scale
    print(f"{case.name} on {loop}: {total:,.0f} instructions per operation\n")
    if around:
        print_around(difference, around, scale)
        return
    arrivals: Counter[str] = Counter()
    for (_, called), count in difference.calls.items():
        arrivals[called] += count
    print("instructions   share   calls  function")
    for name, count in difference.instructions.most_common(top):
        share = count / scale
        if share < 0.5:
            break
        calls = arrivals[name] / scale
        print(f"{share:>12,.0f} {100 * share / total:5.1f} % {calls:>7.2f}  {name}")


def print_around(difference: Profile, function: str, scale: float) -> None:
    """Print who calls the functions whose name contains `function`, and whom those call."""
    for title, place in (("called by", 1), ("calls", 0)):
        print(f"  calls  instructions with all below   ({title})")
        rows = [
            (difference.below[edge] / scale, count / scale, edge)
            for edge, count in difference.calls.items()
            if function in edge[place] and count / scale >= 0.05
        ]
        for below, count, (caller, callee) in sorted(rows, reverse=True):
            print(f"{count:>7.2f} {below:>12,.0f}   {caller} → {callee}")


def profile(case: Case, loop: str, operations: int) -> Profile:
    """What a run of so many operations executes."""
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "callgrind.out"
        run_quietly(
            [
                "valgrind",
                "--tool=callgrind",
                f"--callgrind-out-file={output}",
                *sample_command(case, loop, operations),
            ]
        )
        return read_profile(output)


# perf


def sample_worker(case: Case, loop: str, seconds: float, data: Path) -> None:
    """Look at a worker; finds first how many operations take so long."""
    trial = take_sample(case, loop, 100_000_000, None)
    operations = case.whole_batches(seconds * 1e9 / trial.per_operation)
    run_quietly(["perf", "record", *perf_options(data), *sample_command(case, loop, operations)])


def sample_server(case: EchoCase, loop: str, seconds: float, data: Path) -> None:
    """Look at an echo server while the client drives it."""
    operations = case.whole_batches(
        seconds * 1e9 / take_sample(case, loop, 100_000_000, None).per_operation
    )
    with (
        Companion(server_command(case, loop)) as server,
        Companion(client_command(case, server.expect("listening")[0])) as client,
    ):
        client.expect("ready")
        client.tell(f"run {WARM_UP}")
        client.expect("done")
        with Companion(["perf", "record", *perf_options(data), "--pid", str(server.pid), "cat"]):
            client.tell(f"run {operations}")
            client.expect("done")


def sample_web_server(case: WebCase, loop: str, seconds: float, data: Path) -> None:
    """Look at a web server while wrk drives it; says what a request costs meanwhile."""
    with Companion(server_command(case, loop)) as server:
        driving = start_wrk(case, server.expect("listening")[0], math.ceil(seconds) + 2)
        try:
            time.sleep(WARM_UP_SECONDS)
            before = ask_count(server)
            with Companion(
                ["perf", "record", *perf_options(data), "--pid", str(server.pid), "cat"]
            ):
                time.sleep(seconds)
            after = ask_count(server)
        finally:
            stop_wrk(driving)
    requests = after.answered - before.answered
    print(f"{requests} requests of {(after.cpu_ns - before.cpu_ns) / requests / 1000:.1f} µs\n")


def perf_options(data: Path) -> list[str]:
    """Samples by CPU time: machines under a hypervisor have no cycle counter to offer."""
    return ["--quiet", "--event", "cpu-clock", "--freq", "5000", "-g", "--output", str(data)]


def print_samples(data: Path, top: int, *, by_caller: bool) -> None:
    """Print the functions with the most samples."""
    graph = ["--call-graph", "caller,0.5,callee"] if by_caller else ["--call-graph", "none"]
    report = subprocess.run(
        ["perf", "report", "--stdio", "--no-children", *graph, "--percent-limit", "0.3"]
        + ["--sort", "symbol,dso", "--input", str(data)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    lines = [line for line in report.splitlines() if line.strip() and not line.startswith("#")]
    print("\n".join(lines if by_caller else lines[:top]))


# both


def sample_command(case: Case, loop: str, operations: int) -> list[str]:
    """The worker's command for a known number of operations."""
    return worker_command(
        "sample", "--case", case.name, "--loop", loop, "--operations", str(operations)
    )


def run_quietly(command: list[str]) -> None:
    """Run a command, showing what it said only if it failed."""
    outcome = subprocess.run(
        command, capture_output=True, text=True, env=measured_environment(), check=False
    )
    if outcome.returncode:
        raise SystemExit(f"{command[0]} failed:\n{outcome.stderr[-3000:]}")


if __name__ == "__main__":
    main()
