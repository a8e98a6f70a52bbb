"""``ferrio trace``: a file that Perfetto opens, and what is in it."""

import collections
import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from inspected import Program, ask, eventually

pytest_plugins = ["inspected_fixtures"]

MANY_LOST = 100_000
"""Events that a recording had no room for, so that there is no doubt which ones are missing."""

SERVICE = """
import asyncio, sys, time

async def produce(queue):
    for number in range(10**9):
        await queue.put(number)
        await asyncio.sleep(0.001)

async def consume(queue, lock):
    while True:
        await queue.get()
        async with lock:
            await asyncio.sleep(0)

async def short():
    await asyncio.sleep(0)

async def spawn():
    while True:
        await asyncio.create_task(short(), name="short")
        await asyncio.sleep(0.005)

async def idle():
    await asyncio.Event().wait()

def tick(loop):
    loop.call_later(0.002, tick, loop)

async def block():
    while True:
        await asyncio.sleep(0.2)
        time.sleep(0.15)

async def echo(reader, writer):
    while data := await reader.read(100):
        writer.write(data)

async def talk(address):
    reader, writer = await asyncio.open_connection(*address)
    while True:
        writer.write(b"ping")
        await reader.read(100)
        await asyncio.sleep(0.001)

async def main():
    queue, lock = asyncio.Queue(1), asyncio.Lock()
    loop = asyncio.get_running_loop()
    tick(loop)
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with asyncio.TaskGroup() as group:
        group.create_task(produce(queue), name="producer")
        group.create_task(consume(queue, lock), name="consumer-1")
        group.create_task(consume(queue, lock), name="consumer-2")
        group.create_task(spawn(), name="spawner")
        group.create_task(idle(), name="idle")
        group.create_task(block(), name="blocker")
        group.create_task(talk(server.sockets[0].getsockname()), name="talker")
        await asyncio.sleep(0.05)
        print("ready", flush=True)

asyncio.run(main())
"""


@pytest.fixture
def service(directory):
    with Program(directory, SERVICE) as program:
        assert program.line() == "ready"
        yield program


class Trace:
    """A trace file, by the rules of the format: what breaks them Perfetto drops or misdraws."""

    def __init__(self, path):
        with open(path) as file:
            document = json.load(file)
        self.events = document["traceEvents"]
        self.lanes = {}
        for event in self.events:
            assert isinstance(event["pid"], int)
            assert isinstance(event["tid"], int)
            assert 0 <= event["tid"] < 2**31
            if event["ph"] == "M" and event["name"] == "thread_name":
                assert event["tid"] not in self.lanes, event
                self.lanes[event["tid"]] = event["args"]["name"]
        self.slices = collections.defaultdict(list)
        for event in self.events:
            if event["ph"] == "M":
                continue
            assert event["tid"] in self.lanes, event
            assert event["ts"] >= 0
            assert event["ph"] in ("X", "s", "f", "i")
            if event["ph"] == "X":
                assert event["dur"] >= 0
                self.slices[event["tid"]].append(event)
        for slices in self.slices.values():
            slices.sort(key=lambda event: (event["ts"], event["dur"]))
            for one, other in zip(slices, slices[1:], strict=False):
                # Of one lane nothing overlaps. (Times have nanoseconds, as floats.)
                assert one["ts"] + one["dur"] <= other["ts"] + 1e-3, (one, other)
        self.check_flows()

    def check_flows(self):
        begins = [event for event in self.events if event["ph"] == "s"]
        ends = {}
        for event in self.events:
            if event["ph"] == "f":
                assert event["id"] not in ends
                assert event["bp"] == "e"
                ends[event["id"]] = event
        self.flows = []
        assert len({event["id"] for event in begins}) == len(begins)
        for begin in begins:
            end = ends.pop(begin["id"], None)
            assert self.slice_at(begin), begin
            if end is not None:  # The recording ended before the task ran.
                assert begin["ts"] <= end["ts"]
                landed = self.slice_at(end)
                assert landed, end
                assert any(event["cat"] == "step" for event in landed), (end, landed)
                self.flows.append((self.lanes[begin["tid"]], self.lanes[end["tid"]]))
        assert not ends, "an arrow ends that has no beginning"

    def slice_at(self, event):
        return [
            found
            for found in self.slices[event["tid"]]
            if found["ts"] <= event["ts"] <= found["ts"] + found["dur"]
        ]

    def named(self, name):
        """Give the slices of the lane whose task has this name."""
        (lane,) = (number for number, text in self.lanes.items() if text.startswith(name + ":"))
        return self.slices[lane]


def record(service, *arguments):
    path = service.directory.path / "out.json"
    done = service.command("trace", "-o", path, *arguments)
    assert done.returncode == 0, done.stderr
    return Trace(path), done.stdout


def record_until(service, is_enough, *, first=1):
    """Record for longer and longer until there is enough, however little the service ran."""
    for seconds in (first, 4, 16, 40):
        trace, _ = record(service, "--seconds", seconds)
        if is_enough(trace):
            return trace
    raise AssertionError(f"not even in {seconds} seconds: {is_enough}")


def test_lanes_slices_and_arrows(service):
    _, printed = record(service, "--seconds", "0.01")
    assert printed.startswith(str(service.directory.path / "out.json") + ": ")
    assert "for ui.perfetto.dev" in printed
    woken = [
        ("producer: produce", "consumer-1: consume"),
        ("short: short", "spawner: spawn"),
        ("spawner: spawn", "short: short"),
    ]

    def is_enough(trace):
        # Who woke whom.
        arrows = collections.Counter(trace.flows)
        steps = [event for event in trace.named("producer") if event["cat"] == "step"]
        return len(steps) > 100 and all(arrows[each] > 10 for each in woken)

    trace = record_until(service, is_enough)
    assert {"producer: produce", "consumer-1: consume", "idle: idle"} <= set(trace.lanes.values())
    assert any(name.startswith("loop 1 (thread ") for name in trace.lanes.values())
    waits = {event["name"] for event in trace.named("producer") if event["cat"] == "wait"}
    assert any("app.py:7 produce" in name for name in waits), waits
    waits = {event["name"] for event in trace.named("consumer-1") if event["cat"] == "wait"}
    assert any("app.py:11 consume" in name for name in waits), waits
    # What waited all the time.
    (wait,) = trace.named("idle")
    assert wait["dur"] >= 1e6


def test_the_loops_own_lane(service):
    def slices(trace):
        (lane,) = (number for number, name in trace.lanes.items() if name.startswith("loop 1"))
        return trace.slices[lane]

    def names(trace, kind):
        return {event["name"] for event in slices(trace) if event["cat"] == kind}

    def is_enough(trace):
        return names(trace, "poll") and {"tick", "transport"} <= names(trace, "call")

    trace = record_until(service, is_enough, first=0.5)
    assert names(trace, "poll") == {"waits for events"}
    # It does not wait all of the time.
    waited = sum(event["dur"] for event in slices(trace) if event["cat"] == "poll")
    end = max(event["ts"] + event["dur"] for event in slices(trace))
    assert 0 < waited < end


def test_a_block_is_marked(service):
    def blocks(trace):
        found = [event for event in trace.events if event.get("cat") == "block"]
        # A busy machine makes others of those that do not block.
        return [event for event in found if trace.lanes[event["tid"]] == "blocker: block"]

    for block in blocks(record_until(service, lambda trace: len(blocks(trace)) >= 2)):
        assert block["s"] == "p"
        assert block["name"].startswith("blocked for ")


def test_what_the_watchdog_says_is_marked(directory):
    environment = {"FERRIO_WATCHDOG": "50ms"}
    line = SERVICE.splitlines().index("        time.sleep(0.15)") + 1

    def reports(trace):
        found = [event for event in trace.events if event.get("cat") == "watchdog"]
        return [event for event in found if f"app.py:{line} in block" in event["name"]]

    with Program(directory, SERVICE, environment=environment) as program:
        assert program.line() == "ready"
        trace = record_until(program, reports)
    for report in reports(trace):
        assert trace.lanes[report["tid"]].startswith("loop 1")


def test_one_recording_at_a_time(service):
    def is_refused():
        answer, _ = service.ask({"get": "trace", "seconds": 0.001})
        return answer.get("error") == "a trace is being recorded already"

    def begin():
        client = service.connect()
        client.sendall(b'{"get": "trace", "seconds": 60}\n')
        # Its thread may need a while to begin, and the one before to end.
        client.settimeout(1)
        try:
            client.recv(1)
        except TimeoutError:
            if is_refused():
                return client
        client.close()
        return None

    client = eventually(begin)
    # It hangs up: the recording ends with it.
    client.close()
    eventually(lambda: not is_refused())


def threads(pid):
    return [path.read_text().strip() for path in Path(f"/proc/{pid}/task").glob("*/comm")]


def test_a_recording_that_is_interrupted_leaves_no_file(service):
    path = service.directory.path / "out.json"
    with subprocess.Popen(
        [sys.executable, "-m", "ferrio", "trace", str(service.pid), "--seconds", "60", "-o", path],
        env=service.directory.environment,
    ) as command:
        # A thread listens, and one serves the command.
        eventually(lambda: threads(service.pid).count("ferrio-inspect") == 2)
        command.send_signal(signal.SIGINT)
        assert command.wait(60) == -signal.SIGINT
    assert not path.exists()
    eventually(lambda: "answer" in service.ask({"get": "trace", "seconds": 0.001})[0])


def test_a_file_that_cannot_be_written_is_an_error(service):
    refused = service.command("trace", "--seconds", "0.01", "-o", "/nonexistent/out.json")
    assert refused.returncode == 1
    assert "No such file or directory" in refused.stderr


def test_the_process_ends_while_it_is_recorded(service):
    client = service.connect()
    client.sendall(b'{"get": "trace", "seconds": 60}\n')
    service.process.send_signal(signal.SIGINT)
    begun = time.monotonic()
    service.process.wait(60)
    # The service's end does not wait for the recording's.
    assert time.monotonic() - begun < 30
    # What it had not read yet when it ended makes a reset of it.
    with contextlib.suppress(ConnectionResetError):
        assert client.recv(1) == b""
    client.close()


def test_a_loop_that_is_busy_all_the_time_keeps_the_latest_events(directory):
    text = """
    import asyncio
    async def spin():
        while True:
            await asyncio.sleep(0)
    async def main():
        print("ready", flush=True)
        await asyncio.gather(*(spin() for _ in range(10)))
    asyncio.run(main())
    """
    with Program(directory, text) as program:
        assert program.line() == "ready"
        # Until there were too many, however slow the machine.
        for seconds in (1, 4, 16, 60):
            answer, parts = program.ask({"get": "trace", "seconds": seconds})
            summary = answer["answer"]
            if summary["lost"] > MANY_LOST:
                break
        assert summary["lost"] > MANY_LOST
        events = [event for part in parts for event in part]
        assert len(events) > 100_000
        # What is kept is the end of the recording: no machine takes so few nanoseconds for one of
        # those before it. (That it ends with the last moment cannot be asked of a busy machine.)
        first = min(event["ts"] for event in events if event.get("cat") == "step")
        assert first * 1000 > summary["lost"] * 5


@pytest.mark.parametrize("debug", ["0", "1"])
@pytest.mark.parametrize("is_recorded", [False, True])
def test_recording_changes_nothing_for_the_program(directory, debug, is_recorded):
    """Tasks end, fail and are cancelled as ever, with the recording going on and off."""
    text = """
    import asyncio, sys, threading

    reports = set()

    def report(loop, context):
        task = asyncio.current_task()
        reports.add((context["message"].partition(" at ")[0], task and task.get_coro().__name__))

    async def fail():
        await asyncio.sleep(0)
        raise ValueError("failed")

    def fail_in_callback():
        raise KeyError("callback")

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(report)
        stopped = loop.create_future()
        def listen():
            loop.call_soon_threadsafe(stopped.set_result, sys.stdin.readline())
        threading.Thread(target=listen, daemon=True).start()
        print("ready", flush=True)
        while not stopped.done():
            # Nobody keeps it: it is freed at the end of its own last step.
            asyncio.create_task(fail())
            for _ in range(3):
                await asyncio.sleep(0)
            loop.call_soon(fail_in_callback)
            cancelled = asyncio.create_task(asyncio.sleep(10))
            await asyncio.sleep(0)
            cancelled.cancel()
            try:
                await cancelled
            except asyncio.CancelledError:
                pass
        print(sorted(reports, key=str), flush=True)

    asyncio.run(main())
    """
    with Program(directory, text, environment={"PYTHONASYNCIODEBUG": debug}) as program:
        assert program.line() == "ready"
        if is_recorded:
            client = program.connect()
            for _ in range(5):
                answer, _ = ask(client, {"get": "trace", "seconds": 0.1})
                assert answer["answer"]["events"] > 0
            client.close()
        program.say("")
        # What a finalizer reports is nobody's step.
        assert eval(program.line()) == [
            ("Exception in callback fail_in_callback()", None),
            ("Task exception was never retrieved", None),
        ]
        assert program.end() == 0
