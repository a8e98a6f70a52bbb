"""What runs in a fresh process for each sample. Started by the harness, not by hand.

    worker.py sample --case NAME --loop NAME --target-ms N [--operations N]
    worker.py serve --case NAME --loop NAME [--cpu N]

`sample` prints `sample OPERATIONS AMOUNT WALL_NS`. `serve` prints `listening ADDRESS` and serves
until its standard input ends; a web server answers each line there with `count ANSWERED CPU_NS
WALL_NS`. These lines are all that the harness reads.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import cases  # noqa: F401  (registers the cases)
from harness.case import EchoCase, Serve, WebCase, registered
from harness.loops import LOOPS, Loop
from harness.processes import allow_many_files
from harness.sample import sample_in_this_process


def main() -> None:
    """Do what the command line says."""
    arguments = parse(sys.argv[1:])
    case = registered()[arguments.case]
    loop = LOOPS[arguments.loop]
    loop.prepare()
    factory = loop.factory()
    loop.begin()
    if arguments.cpu is not None:
        os.sched_setaffinity(0, {arguments.cpu})
    if not (isinstance(case, EchoCase) and case.fresh):
        age_the_heap()
    if arguments.command == "serve":
        allow_many_files()
        with asyncio.Runner(loop_factory=factory) as runner, recorded(loop, runner):
            match case:
                case EchoCase():
                    runner.run(serve(case))
                case WebCase():
                    runner.run(serve_web(case))
                case _:
                    raise SystemExit(f"{case.name} has no server")
        return
    sample = sample_in_this_process(
        case,
        factory,
        arguments.target_ms * 1_000_000,
        arguments.operations,
        around=lambda runner: recorded(loop, runner),
    )
    print("sample", sample.operations, sample.amount, sample.wall_ns)


def parse(words: list[str]) -> argparse.Namespace:
    """Understand the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["sample", "serve"])
    parser.add_argument("--case", required=True)
    parser.add_argument("--loop", required=True)
    parser.add_argument("--target-ms", type=int, default=300)
    parser.add_argument("--operations", type=int)
    parser.add_argument("--cpu", type=int)
    return parser.parse_args(words)


@contextmanager
def recorded(loop: Loop, runner: asyncio.Runner) -> Iterator[None]:
    """Have the runner's loop recorded meanwhile, if that is how it is measured."""
    # Only loops that exist are.
    runner.get_loop()
    recording = loop.record()
    yield
    if recording is not None:
        recording.end()


async def serve(case: EchoCase) -> None:
    """Echo until standard input ends."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def wait_for_the_end() -> None:
        sys.stdin.buffer.read()
        loop.call_soon_threadsafe(ended.set)

    # A thread that sleeps in read(2) costs the loop nothing while it is measured, and unlike a
    # reader callback it asks nothing of the loop.
    threading.Thread(target=wait_for_the_end, daemon=True).start()
    server = await case.start_server()
    name = server.sockets[0].getsockname()  # type: ignore[attr-defined]
    # A Unix socket's name is its path.
    print("listening", name if isinstance(name, str) else f"{name[0]}:{name[1]}", flush=True)
    await ended.wait()
    server.close()
    # The clients have gone first; give their connections the turns to notice it.
    for _ in range(10):
        await asyncio.sleep(0.001)


async def serve_web(case: WebCase) -> None:
    """Answer requests until standard input ends, and each line there with how many there were."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def tell_when_asked(server: Serve) -> None:
        for _ in sys.stdin:
            # While this thread has the interpreter nobody answers anything.
            answered, cpu, wall = server.answered(), time.process_time_ns(), time.perf_counter_ns()
            print("count", answered, cpu, wall, flush=True)
        loop.call_soon_threadsafe(ended.set)

    async with case.serve() as server:
        threading.Thread(target=tell_when_asked, args=(server,), daemon=True).start()
        host, port = server.address
        print("listening", f"{host}:{port}", flush=True)
        await ended.wait()


def age_the_heap() -> None:
    """Free one large block, as every program of some size has done at some time.

    glibc's malloc takes blocks of more than 128 KiB from the kernel, one mmap and munmap each,
    until the first such block is freed; from then on blocks up to its size stay in the heap. The
    standard library's transports and rloop's allocate 256 KiB for each receive, so in a process
    that has freed nothing large yet an echo costs them about four times as much. That would measure
    the youth of the process and not the loop.
    """
    block = bytes(2**20)
    del block


if __name__ == "__main__":
    main()
