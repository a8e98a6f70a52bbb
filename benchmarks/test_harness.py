"""The harness itself: every case comes to a right result, and a wrong one is noticed."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import cases.echo
import fairness
import run
from harness import echo, record, schedule
from harness.bars import INSTALLED, Bar, read_bars
from harness.case import (
    Case,
    CoroutineCase,
    EchoCase,
    FunctionCase,
    MemoryCase,
    Unit,
    WebCase,
    WrongResult,
    registered,
    verify,
)
from harness.loops import FLOOR, LOOPS, Loop, LoopMissing
from harness.processes import Companion, ProcessFailed, process_cpu_ns, worker_command
from harness.record import CaseRecord, Record, essence
from harness.report import bars_table, figure, mark, price_table, results_table
from harness.sample import Sample, calibrate, sample_in_this_process
from harness.schedule import PRICE_SAMPLES, Series, contestants, run_rounds, take_sample
from harness.service import LINE
from harness.summary import summarize
from harness.web import ask_count, check_answer, check_report, missing

ASYNCIO = LOOPS["asyncio"].factory()

IN_PROCESS = [
    case for case in registered().values() if isinstance(case, CoroutineCase | FunctionCase)
]
MEMORY = [case for case in registered().values() if isinstance(case, MemoryCase)]
ECHO = [case for case in registered().values() if isinstance(case, EchoCase)]
WEB = [case for case in registered().values() if isinstance(case, WebCase)]


@pytest.fixture(scope="module")
def _load_client() -> None:
    echo.build_load_client()


def named(case: Case) -> str:
    """How a parametrised test calls a case."""
    return case.name


# Cases


@pytest.mark.parametrize("case", IN_PROCESS, ids=named)
def test_a_case_does_the_operations_it_was_asked_for(case: Case) -> None:
    """Two batches of them, on the standard library's loop."""
    operations = 2 * case.whole_batches(1)
    sample = sample_in_this_process(case, ASYNCIO, 1, operations)
    assert sample.operations == operations
    assert sample.amount > 0


@pytest.mark.parametrize("case", MEMORY, ids=named)
def test_a_memory_case_sees_memory_grow(case: Case) -> None:
    """In a fresh process, because this one has free memory to give again."""
    sample = take_sample(case, "asyncio", 1, 20_000)
    assert 400 < sample.per_operation < 4_000


@pytest.mark.parametrize("case", ECHO, ids=named)
@pytest.mark.usefixtures("_load_client")
def test_an_echo_case_brings_every_message_back(case: EchoCase) -> None:
    """In two processes, as when it is measured."""
    # As many idle connections as any machine allows.
    case = replace(case, idle=min(case.idle, 100))
    # Enough of them for the coarsest clock of CPU time.
    operations = case.whole_batches(max(case.connections, 200))
    sample = take_sample(case, "asyncio", 1, operations)
    assert sample.operations == operations
    assert sample.amount > 0


@pytest.mark.usefixtures("_load_client")
def test_the_floor_echoes() -> None:
    """The server without Python is sampled like the others."""
    assert take_sample(ECHO[1], FLOOR, 1, 100).operations == 100


@pytest.mark.parametrize("case", WEB, ids=named)
def test_a_web_server_answers_rightly_and_counts(case: WebCase) -> None:
    """To the last byte; a wrong body and a wrong type are noticed."""
    if lacking := [package for package in missing(case) if package != "wrk"]:
        pytest.skip(f"not installed: {', '.join(lacking)}")
    with Companion(worker_command("serve", "--case", case.name, "--loop", "asyncio")) as server:
        address = server.expect("listening")[0]
        check_answer(address, case.path, case.answer)
        assert ask_count(server).answered == 2
        for wrong in (
            replace(case.answer, body=case.answer.body + b"!"),
            replace(case.answer, content_type="text/html"),
        ):
            with pytest.raises(WrongResult):
                check_answer(address, case.path, wrong)
        assert ask_count(server).cpu_ns > 0


def test_an_error_of_a_web_server_is_noticed() -> None:
    """aiohttp's router knows no such path."""
    case = next(case for case in WEB if case.name == "aiohttp-json")
    if lacking := [package for package in missing(case) if package != "wrk"]:
        pytest.skip(f"not installed: {', '.join(lacking)}")
    with Companion(worker_command("serve", "--case", case.name, "--loop", "asyncio")) as server:
        address = server.expect("listening")[0]
        with pytest.raises(WrongResult, match="status: expected 200, got 404"):
            check_answer(address, "/nowhere", case.answer)


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_a_web_case_is_sampled_under_load() -> None:
    """wrk's count and the server's agree, or the sample would have failed."""
    case = WEB[0]
    if lacking := missing(case):
        pytest.skip(f"not installed: {', '.join(lacking)}")
    sample = take_sample(case, "asyncio", 50_000_000, None)
    assert sample.operations > case.connections
    assert sample.amount > 0


REPORT = "Running 1s test @ http://127.0.0.1:80/\n  40 requests in 1.10s, 6.30KB read\n"


def test_what_wrk_reports_is_compared_with_the_server_s_count() -> None:
    """Up to one answer a connection may have been under way when it ended."""
    check_report(REPORT, 40, 8)
    check_report(REPORT, 48, 8)
    for answered in (39, 49):
        with pytest.raises(WrongResult, match=f"wrk got 40 answers of {answered}"):
            check_report(REPORT, answered, 8)


@pytest.mark.parametrize(
    "trouble",
    [
        "  Non-2xx or 3xx responses: 1\n",
        "  Socket errors: connect 0, read 1, write 0, timeout 0\n",
    ],
)
def test_what_wrk_complains_about_fails_the_sample(trouble: str) -> None:
    """One answer that is an error is enough."""
    with pytest.raises(WrongResult, match=trouble.split(":")[0].strip()):
        check_report(REPORT + trouble, 40, 8)


@pytest.mark.parametrize("case", registered().values(), ids=named)
def test_a_case_asks_a_question(case: Case) -> None:
    """Its docstring is one."""
    assert "?" in case.question


def test_the_service_case_runs_on_what_the_demo_can_run_on() -> None:
    """Not on uvloop and rloop."""
    service = registered()["service"]
    assert contestants(service, ["asyncio", "uvloop", "ferrio"]) == ["asyncio", "ferrio"]


def test_a_loop_with_its_names_installed_takes_part_where_they_are_used() -> None:
    """A Protocol's echo would be the same code once more."""
    cases = registered()
    loops = ["asyncio", "ferrio", INSTALLED]
    assert contestants(cases["gather-100"], loops) == loops
    assert contestants(cases["echo-protocol-1k-1"], loops) == ["asyncio", "ferrio", FLOOR]


def test_connections_without_a_loop_take_part_where_there_are_some() -> None:
    """The other cases would measure the loop below."""
    cases = registered()
    loops = ["uvloop", "aiofastnet"]
    assert contestants(cases["gather-100"], loops) == ["uvloop"]
    assert contestants(cases["echo-protocol-1k-1"], loops) == [*loops, FLOOR]


def test_the_variants_take_part_in_the_price_alone() -> None:
    """And nobody else does."""
    cases = registered()
    assert contestants(cases["sleep-100"], LOOPS) == contestants(
        cases["sleep-100"], [name for name in LOOPS if not LOOPS[name].price_only]
    )
    priced = ["ferrio", "ferrio-off", "ferrio-watchdog", "ferrio-trace"]
    assert contestants(cases["price-sleep-100"], LOOPS) == priced
    assert contestants(cases["price-echo-protocol-1k-100"], LOOPS) == priced


def test_a_price_is_sampled_forth_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several times a round, so that a drift of the machine hits all alike."""
    monkeypatch.setattr(schedule, "take_sample", lambda *arguments: Sample(1, 1, 1))
    case, order = registered()["price-sleep-100"], []
    run_rounds(
        [case], ["ferrio", "ferrio-off"], 1, 1, lambda _round, _case, loop, _: order.append(loop)
    )
    assert order == ["ferrio", "ferrio-off", "ferrio-off", "ferrio"] * (PRICE_SAMPLES // 2)


def test_a_recorded_loop_is_recorded_while_it_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker itself sees to that, and fails otherwise."""
    pytest.importorskip("ferrio")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    tmp_path.chmod(0o700)
    sample = take_sample(registered()["price-sleep-100"], "ferrio-trace", 1_000_000, 200)
    assert sample.operations == 200


def test_only_the_process_that_measures_installs() -> None:
    """Asking for the factory changes nothing; a worker has ferrio's names in asyncio."""
    pytest.importorskip("ferrio")
    before = asyncio.Lock
    LOOPS[INSTALLED].factory()
    assert asyncio.Lock is before
    program = (
        "import asyncio, sys; sys.path.insert(0, sys.argv[2])\n"
        "from harness.loops import LOOPS; LOOPS[sys.argv[1]].begin()\n"
        "print('lock', asyncio.Lock.__module__, flush=True)"
    )
    for name, module in (("ferrio", "asyncio.locks"), (INSTALLED, "ferrio._ferrio")):
        here = str(Path(__file__).resolve().parent)
        with Companion([sys.executable, "-c", program, name, here]) as child:
            assert child.expect("lock") == [module]


def test_growth_rows_are_measured_when_asked_for() -> None:
    """By the option or by name."""
    assert not any(case.growth for case in run.choose_cases(None, growth=False))
    assert any(case.growth for case in run.choose_cases(None, growth=True))
    assert [case.name for case in run.choose_cases("growth-timers-10,sleep-1", growth=False)] == [
        "sleep-1",
        "growth-timers-10",
    ]


def test_the_floor_takes_part_where_time_is_measured() -> None:
    """What a connection takes in a process without Python says nothing of loops."""
    cases = registered()
    assert contestants(cases["echo-protocol-1k-1"], ["asyncio"]) == ["asyncio", FLOOR]
    assert contestants(cases["connection-protocol"], ["asyncio"]) == ["asyncio"]


def test_the_demo_s_line_is_understood() -> None:
    """The one for tools, among the others."""
    line = LINE.search("a table\n\ndemo: ferrio ok=5760 wrong=0 cpu_us=901.5 p50_ms=52.10\n")
    assert line is not None
    assert (line["loop"], line["ok"], line["wrong"], line["cpu"]) == (
        "ferrio",
        "5760",
        "0",
        "901.5",
    )


def test_a_case_that_does_too_little_is_noticed() -> None:
    """What it says it did is compared with what it was asked for."""

    async def lazy(operations: int) -> int:
        return operations - 1

    case = CoroutineCase(name="lazy", title="", group="", question="?", body=lazy)
    with pytest.raises(WrongResult, match="expected 1, got 0"):
        sample_in_this_process(case, ASYNCIO, 1, 10)


def test_a_function_case_that_does_too_little_is_noticed() -> None:
    """So it is outside of a loop."""
    case = FunctionCase(
        name="lazy", title="", group="", question="?", body=lambda factory, operations: 0
    )
    with pytest.raises(WrongResult):
        sample_in_this_process(case, ASYNCIO, 1, 10)


def test_verify_says_what_differs() -> None:
    """Both values are in the message."""
    verify("answer", 42, 42)
    with pytest.raises(WrongResult, match="answer: expected 42, got 41"):
        verify("answer", 41, 42)


# Echoes that are wrong


class ChangesAByte(cases.echo.EchoProtocol):
    """Echoes all but one byte rightly."""

    def data_received(self, data: bytes) -> None:
        """Change the last byte."""
        self.transport.write(data[:-1] + bytes([data[-1] ^ 1]))


class SwapsHalves(cases.echo.EchoProtocol):
    """Echoes the right bytes in a wrong order."""

    def data_received(self, data: bytes) -> None:
        """Exchange the two halves of what arrived."""
        middle = len(data) // 2
        self.transport.write(data[middle:] + data[:middle])


class RepeatsTheFirst(cases.echo.EchoProtocol):
    """Echoes the first message rightly, and then again and again."""

    first: bytes | None = None

    def data_received(self, data: bytes) -> None:
        """Echo what arrived first."""
        if self.first is None:
            self.first = data
        self.transport.write(self.first)


class Closes(cases.echo.EchoProtocol):
    """Answers by closing the connection."""

    def data_received(self, data: bytes) -> None:
        """Close instead of echoing."""
        self.transport.close()


@pytest.mark.parametrize("protocol", [ChangesAByte, SwapsHalves, RepeatsTheFirst, Closes])
@pytest.mark.usefixtures("_load_client")
def test_a_wrong_echo_is_noticed(protocol: Callable[[], asyncio.Protocol]) -> None:
    """The client ends with an error that names the connection, and the sample fails."""
    port: list[int] = []

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(protocol, "127.0.0.1", 0)
        port.append(server.sockets[0].getsockname()[1])
        await loop.run_in_executor(None, drive)
        server.close()

    def drive() -> None:
        command = echo.client_command(ECHO[0], f"127.0.0.1:{port[0]}")
        with Companion(command, patience=10) as client:
            client.expect("ready")
            client.tell("run 10")
            with pytest.raises(ProcessFailed, match="connection 0: (wrong echo|closed by)"):
                client.expect("done")
            # The client has ended with an error already, which is what was to be seen.
            raise StopLooking

    with pytest.raises(StopLooking):
        asyncio.run(serve())


class StopLooking(Exception):
    """Leaves a companion without asking it for a good end."""


# Sampling


def a_case(body: Callable[[int], Awaitable[int]] | None = None, batch: int = 1) -> CoroutineCase:
    """A case that is in no register."""

    async def nothing(operations: int) -> int:
        return operations

    return CoroutineCase(
        name="a-case",
        title="A case",
        group="Group",
        question="?",
        batch=batch,
        body=body or nothing,
    )


def test_calibration_finds_the_number_that_takes_the_target() -> None:
    """At 100 ns an operation, 30 ms are 300,000 of them."""
    trial = lambda operations: Sample(operations, operations * 100, 0)  # noqa: E731
    assert calibrate(a_case(batch=7), trial, 30_000_000) == pytest.approx(300_000, abs=7)


def test_operations_come_in_whole_batches() -> None:
    """Raised to the next batch, never to none."""
    case = a_case(batch=100)
    assert [case.whole_batches(n) for n in (0, 1, 100, 101)] == [100, 100, 100, 200]


def test_the_cpu_of_another_process_can_be_read() -> None:
    """A child that works for a while is seen to have worked."""
    program = (
        "print('begun', flush=True); sum(range(5_000_000)); print('done', flush=True); input()"
    )
    with Companion([sys.executable, "-c", program], patience=20) as child:
        child.expect("begun")
        before = process_cpu_ns(child.pid)
        child.expect("done")
        assert process_cpu_ns(child.pid) - before > 1_000_000
        child.tell("end")


# Processes


def test_a_silent_companion_is_given_up() -> None:
    """After its patience, with its name in the message."""
    with (
        pytest.raises(ProcessFailed, match="said nothing"),
        Companion([sys.executable, "-c", "input()"], patience=0.3) as child,
    ):
        child.expect("anything")


def test_what_a_companion_complained_about_is_told() -> None:
    """Its standard error is part of the failure."""
    with (
        pytest.raises(ProcessFailed, match="it is broken"),
        Companion([sys.executable, "-c", "raise SystemExit('it is broken')"]) as child,
    ):
        child.expect("anything")


def test_rounds_are_interleaved_and_a_failure_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A B A B; the number of operations is found once; B fails in the first round."""
    calls: list[tuple[str, int | None]] = []

    def fake(case: Case, loop: str, target_ns: int, operations: int | None) -> Sample:
        calls.append((loop, operations))
        if loop == "rloop":
            raise ProcessFailed("no")
        return Sample(50, 500, 0)

    monkeypatch.setattr("harness.schedule.take_sample", fake)
    results = run_rounds([a_case()], ["asyncio", "rloop", "uvloop"], 2, 1, lambda *_: None)
    assert calls == [
        ("asyncio", None),
        ("rloop", None),
        ("uvloop", None),
        ("asyncio", 50),
        ("uvloop", 50),
    ]
    assert results["a-case"]["rloop"].failure == "no"


def test_an_interrupted_run_keeps_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """The samples before the interrupt."""
    samples = iter([Sample(50, 500, 0)])

    def fake(case: Case, loop: str, target_ns: int, operations: int | None) -> Sample:
        try:
            return next(samples)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr("harness.schedule.take_sample", fake)
    results = run_rounds([a_case()], ["asyncio", "uvloop"], 2, 1, lambda *_: None)
    assert [len(series.samples) for series in results["a-case"].values()] == [1, 0]


def test_a_missing_loop_says_so() -> None:
    """With the package's name."""
    with pytest.raises(LoopMissing, match="no_such_loop"):
        Loop("no_such_loop", lambda package: ASYNCIO).factory()


# Reports


def series(*amounts: int) -> Series:
    """Samples of ten operations each."""
    return Series([Sample(10, amount, 1) for amount in amounts])


@pytest.fixture(name="a_record")
def a_record_of_one_case() -> Record:
    """Three rounds in which everything gets slower, as on a machine that gets busy."""
    case = CaseRecord(
        "a-case",
        "A case",
        "Group",
        Unit.NANOSECONDS,
        "?",
        {"uvloop": series(1000, 2000, 4000), "ferrio": series(500, 900, 2400)},
    )
    return Record(
        taken_at="2030-01-02T03:04:05Z",
        commit="abc",
        machine=record.machine(),
        versions={"uvloop": "1", "ferrio": "2"},
        settings={
            "rounds": 3,
            "target_ms": 1,
            "load_average_before": 0.0,
            "stolen_percent": 0.0,
        },
        cases=[case],
    )


def test_ratios_are_paired_by_round() -> None:
    """The median of 0.5, 0.45 and 0.6, not the ratio of the medians."""
    summary = summarize(series(500, 900, 2400), series(1000, 2000, 4000))
    assert summary is not None
    assert summary.ratio is not None
    assert (summary.median, summary.best) == (90, 50)
    assert (summary.ratio.median, summary.ratio.best) == (0.5, 0.45)


def test_a_series_without_samples_has_no_summary() -> None:
    """It failed in the first round."""
    assert summarize(Series(failure="no"), series(1)) is None


def test_the_tables_show_figure_ratio_and_bar(a_record: Record) -> None:
    """And count the bars that are met."""
    table = results_table(a_record)
    assert "90.0 ns  0.50" in table
    bars = [
        Bar("a-case", 0.5, "uvloop"),
        Bar("a-case", 80, None),
        Bar("elsewhere", 1, "uvloop"),
        Bar("a-case", 0.4, "uvloop", INSTALLED),
    ]
    lines = bars_table(a_record, bars)
    assert "0.50 (0.45)" in lines
    assert "✓ met" in lines
    assert "✗ MISSED" in lines
    assert "1 of 3 met, 1 not measured" in lines


def test_a_bar_may_be_met_by_a_small_difference(a_record: Record) -> None:
    """uvloop takes 50, 110 and 160 ns more than ferrio in the three rounds."""
    bar = Bar("a-case", 0.1, "ferrio", "uvloop")
    assert bar.is_met(a_record.cases) is False
    assert replace(bar, or_more_by=109).is_met(a_record.cases) is False
    assert replace(bar, or_more_by=110).is_met(a_record.cases) is True
    assert "+110.0 ns" in bars_table(a_record, [replace(bar, or_more_by=110)])


def test_the_price_has_a_table_of_its_own(a_record: Record) -> None:
    """In which ferrio is compared with itself; the other table has no such column."""
    case = replace(
        a_record.cases[0],
        name="price-a-case",
        title="a price",
        series={"ferrio": series(1020, 2000, 4000), "ferrio-off": series(1000, 2000, 4000)},
    )
    both = replace(a_record, cases=[*a_record.cases, case])
    assert results_table(both) == results_table(a_record)
    assert price_table(a_record) == ""
    heading, _, columns, row = price_table(both).splitlines()
    assert columns.split() == ["ferrio-off", "ferrio"]
    assert row.split() == ["a", "price", "200", "ns", "1.000", "200", "ns", "1.000"]


def test_what_was_not_measured_is_not_met() -> None:
    """Nor missed."""
    assert mark(None) == "? not measured"


@pytest.mark.parametrize(
    ("value", "text"),
    [(4.156, "4.16 ns"), (415, "415 ns"), (5890, "5.89 µs"), (41_500_000, "41.5 ms")],
)
def test_figures_have_three_digits(value: float, text: str) -> None:
    """And the unit that suits them."""
    assert figure(value, Unit.NANOSECONDS) == text


def test_a_record_can_be_read_back(a_record: Record, tmp_path: Path) -> None:
    """All of it."""
    path = tmp_path / "record.json"
    record.write(a_record, [Bar("a-case", 0.5, "uvloop")], path)
    assert record.read(path) == a_record
    content = json.loads(path.read_text())
    assert content["bars"][0]["measured"] == 0.5
    assert content["cases"][0]["loops"]["ferrio"]["ratio_to_uvloop_best"] == 0.45


def test_a_record_names_no_host_and_no_path(a_record: Record, tmp_path: Path) -> None:
    """Neither this machine's name nor where anything lies on it."""
    import platform

    path = tmp_path / "record.json"
    record.write(a_record, [], path)
    content = path.read_text()
    assert str(Path.home()) not in content
    assert str(Path(__file__).parent) not in content
    assert sys.prefix not in content
    if len(platform.node()) > 3 and platform.node() != "localhost":
        assert platform.node() not in content


def test_every_bar_is_about_a_case_and_a_loop_that_exist() -> None:
    """A misspelt bar would never be missed, nor one of who takes no part."""
    for bar in read_bars():
        assert bar.case in registered()
        assert bar.runner in contestants(registered()[bar.case], [bar.runner])
        assert bar.baseline is None or bar.baseline in LOOPS
        assert bar.at_most > 0


def test_a_picture_is_drawn(a_record: Record, tmp_path: Path) -> None:
    """And the same record gives the same file."""
    pytest.importorskip("matplotlib")
    from harness.picture import draw

    first, second = tmp_path / "first.svg", tmp_path / "second.svg"
    draw(a_record, [Bar("a-case", 0.5, "uvloop")], first)
    draw(a_record, [Bar("a-case", 0.5, "uvloop")], second)
    assert first.read_text().startswith("<?xml")
    assert first.read_bytes() == second.read_bytes()


def test_a_recorded_failure_has_no_traceback():
    failure = (
        "server has ended: Traceback (most recent call last):\n"
        '  File "/a/b.py", line 1\n    f()\nNotImplementedError: none\nmore'
    )
    assert essence(failure) == "server has ended: NotImplementedError: none"
    assert essence("server said nothing") == "server said nothing"


def test_what_is_fair():
    fair = fairness.Turns(0.9, 0.6, 60_000.0, 20_000.0)
    assert fair.is_fair
    assert not fair._replace(share_of_descriptor=0.4).is_fair
    assert not fair._replace(share_of_tasks=0.4).is_fair
    assert not fair._replace(late_ns=71_000.0).is_fair
    assert fairness.Chain(960, 0).is_fair
    assert not fairness.Chain(940, 0).is_fair
    assert not fairness.Chain(960, 1).is_fair


def test_fairness_is_measured_on_a_loop(capsys):
    # Whether it is fair is the machine's matter.
    fairness.measure("asyncio", ASYNCIO, 0.1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0].strip() for line in lines] == [
        "asyncio",
        *(f"{tasks} tasks" for tasks in fairness.TASKS),
        "timers of 1 ms",
    ]
