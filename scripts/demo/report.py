"""What the demo prints: a line for every round, a table, and the lines that tools read."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from .outcome import percentile
from .rounds import Round

MEBIBYTE = 1024 * 1024
WRONG_SHOWN = 5


@dataclass(frozen=True)
class Summary:
    """The rounds of one loop: requests added up, the median of each measurement."""

    loop: str
    ok: int
    wrong: int
    cpu_us: float
    p50_ms: float
    p99_ms: float
    peak_mib: float

    @classmethod
    def of(cls, rounds: Sequence[Round]) -> "Summary":
        """Sum up rounds of one loop."""
        return cls(
            loop=rounds[0].loop,
            ok=sum(each.outcome.ok for each in rounds),
            wrong=sum(len(each.outcome.wrong) for each in rounds),
            cpu_us=median(each.cpu_us_per_request for each in rounds),
            p50_ms=median(_latency_ms(each, 50) for each in rounds),
            p99_ms=median(_latency_ms(each, 99) for each in rounds),
            peak_mib=median(each.peak_bytes / MEBIBYTE for each in rounds),
        )

    def line(self) -> str:
        """Return the line that tools read."""
        return (
            f"demo: {self.loop} ok={self.ok} wrong={self.wrong} cpu_us={self.cpu_us:.1f}"
            f" p50_ms={self.p50_ms:.2f} p99_ms={self.p99_ms:.2f} peak_mib={self.peak_mib:.1f}"
        )


def describe(each: Round) -> str:
    """Return a line about one round."""
    return (
        f"{each.loop:8} {each.outcome.ok:6} right, {len(each.outcome.wrong)} wrong,"
        f" {each.cpu_us_per_request:6.1f} µs CPU a request,"
        f" p50 {_latency_ms(each, 50):6.2f} ms, p99 {_latency_ms(each, 99):6.2f} ms,"
        f" {each.peak_bytes / MEBIBYTE:5.1f} MiB"
    )


def wrong_answers(each: Round) -> list[str]:
    """Return lines that show the first of a round's wrong answers."""
    wrong = each.outcome.wrong
    lines = [f"    wrong: {line}" for line in wrong[:WRONG_SHOWN]]
    if len(wrong) > WRONG_SHOWN:
        lines.append(f"    … and {len(wrong) - WRONG_SHOWN} more")
    return lines


def table(summaries: Sequence[Summary]) -> list[str]:
    """Return the lines of a small table, with the ratio of the two loops where there are two."""
    lines = [
        "loop       requests   CPU/request    p50        p99        peak memory",
        *(
            f"{each.loop:9} {each.ok:9} {each.cpu_us:9.1f} µs {each.p50_ms:8.2f} ms"
            f" {each.p99_ms:8.2f} ms {each.peak_mib:8.1f} MiB"
            for each in summaries
        ),
    ]
    if len(summaries) == 2:
        first, second = summaries
        lines.append(
            f"{second.loop} / {first.loop}: CPU {second.cpu_us / first.cpu_us:.2f},"
            f" p50 {second.p50_ms / first.p50_ms:.2f}, p99 {second.p99_ms / first.p99_ms:.2f},"
            f" memory {second.peak_mib / first.peak_mib:.2f}"
        )
    return lines


def _latency_ms(each: Round, percent: float) -> float:
    return percentile(each.outcome.latencies, percent) * 1e3 if each.outcome.latencies else 0.0
