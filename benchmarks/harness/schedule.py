"""The order in which samples are taken: every loop in turn, in fresh processes, round after round.

Neighbouring samples of one case are compared with each other, so that whatever slows the machine
down for a while slows all loops alike: A B C, A B C, and not A A, B B, C C.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from harness.case import Case, EchoCase, ServiceCase, WebCase, WrongResult
from harness.echo import sample_echo
from harness.loops import FLOOR, LOOPS
from harness.processes import Companion, ProcessFailed, worker_command
from harness.sample import Sample
from harness.service import sample_service
from harness.web import sample_web


@dataclass
class Series:
    """The samples of one case on one loop, one a round."""

    samples: list[Sample] = field(default_factory=list)
    failure: str | None = None
    """Why there are no more of them; None when all went well."""


PRICE_SAMPLES = 4
"""Samples a round in the cases about a price, whose bars are a few percent."""

Results = dict[str, dict[str, Series]]
"""Series by case name and loop name."""


def take_sample(case: Case, loop: str, target_ns: int, operations: int | None) -> Sample:
    """Take one sample in a fresh process; raises ProcessFailed or WrongResult otherwise."""
    if isinstance(case, EchoCase):
        return sample_echo(case, loop, target_ns, operations)
    if isinstance(case, WebCase):
        return sample_web(case, loop, target_ns)
    if isinstance(case, ServiceCase):
        return sample_service(case, loop)
    command = worker_command(
        "sample", "--case", case.name, "--loop", loop, "--target-ms", str(target_ns // 1_000_000)
    )
    if operations is not None:
        command += ["--operations", str(operations)]
    with Companion(command) as worker:
        return Sample(*map(int, worker.expect("sample")))


def run_rounds(
    cases: Sequence[Case],
    loops: Sequence[str],
    rounds: int,
    target_ns: int,
    report: Callable[[int, Case, str, Series], None],
) -> Results:
    """Take `rounds` samples of each case on each loop; `report` is told of each.

    The first round finds how many operations a sample needs, and the others take as many. What
    failed once is not tried again. Interrupted, it returns what there is.
    """
    results: Results = {
        case.name: {loop: Series() for loop in contestants(case, loops)} for case in cases
    }
    # An interrupt ends the run, and what has been measured by then is reported.
    with suppress(KeyboardInterrupt):
        for round_number in range(rounds):
            for case in cases:
                for turn in range(PRICE_SAMPLES if case.priced else 1):
                    # Forth and back, so that a drift hits neither end more than the other.
                    turns = list(results[case.name].items())[:: -1 if turn % 2 else 1]
                    for loop, series in turns:
                        if series.failure is not None:
                            continue
                        _extend(series, case, loop, target_ns)
                        report(round_number, case, loop, series)
    return results


def contestants(case: Case, loops: Iterable[str]) -> list[str]:
    """Who takes part in a case: the loops it can have, and in the echo cases the floor."""
    if case.priced:
        return [loop for loop in loops if LOOPS[loop].priced]
    loops = [loop for loop in loops if not LOOPS[loop].price_only]
    taking_part = [loop for loop in loops if case.uses_names or not LOOPS[loop].installs]
    if not isinstance(case, EchoCase | WebCase):
        taking_part = [loop for loop in taking_part if not LOOPS[loop].networks_only]
    if isinstance(case, EchoCase) and case.has_floor:
        return [*taking_part, FLOOR]
    if isinstance(case, ServiceCase):
        return [loop for loop in taking_part if loop in case.loops]
    return taking_part


def _extend(series: Series, case: Case, loop: str, target_ns: int) -> None:
    operations = series.samples[0].operations if series.samples else None
    try:
        series.samples.append(take_sample(case, loop, target_ns, operations))
    except (ProcessFailed, WrongResult) as failure:
        series.failure = str(failure)
