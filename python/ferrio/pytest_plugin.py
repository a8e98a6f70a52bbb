"""A plugin of pytest's that fails a test which blocks an event loop of ferrio's, with the line.

``@pytest.mark.no_blocking("50ms")`` for one test, class or module (100 ms without a time), or
``ferrio_no_blocking = 50ms`` in pytest's configuration for all; ``@pytest.mark.no_blocking(0)``
leaves a test out. The loops that run while the test's body does are watched, whoever runs them.
What a test does before and after, its fixtures, is not.

pytest finds it by itself. It does nothing to tests that are not marked; ``-p no:ferrio`` leaves it
out.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from ferrio import forking, watchdog

_MARKER = "no_blocking"
_OPTION = "ferrio_no_blocking"
_DEFAULT = "100ms"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of the configuration file."""
    parser.addini(_OPTION, "fail tests that block the event loop for longer, as in 50ms")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known; raise pytest.UsageError when the option is no time."""
    config.addinivalue_line(
        "markers",
        f'{_MARKER}(time="{_DEFAULT}"): fail the test if it blocks an event loop of ferrio\'s for '
        "longer; 0 for never",
    )
    _configured(config)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, None]:
    """Watch the loops while the test's body runs."""
    limit = _limit(item)
    if not limit:
        yield
        return
    watch = _Watch(limit)
    try:
        outcome = yield
    finally:
        blocks = watch.end()
    if not blocks:
        return
    words = f"an event loop was blocked for longer than {limit:g} s\n\n" + "\n".join(
        _describe(block) for block in blocks
    )
    if outcome.excinfo is None:
        outcome.force_exception(pytest.fail.Exception(words, pytrace=False))
    else:
        item.add_report_section("call", "blocked event loop", words)


class _Watch:
    """All loops of the process watched with a limit, until its end."""

    def __init__(self, limit: float) -> None:
        self._last = max((block.id for block in watchdog.recent_blocks()), default=0)
        self._most = watchdog.choice.most
        watchdog.choice.most = limit
        # Loops that are there already: a fixture's.
        self._before = [(loop, loop._threshold()) for loop in list(forking._loops)]
        for loop, threshold in self._before:
            watchdog.watch(loop, threshold)

    def end(self) -> list[watchdog.Block]:
        """Watch them as before; return the blocks that were seen."""
        watchdog.choice.most = self._most
        for loop, threshold in self._before:
            loop._be_watched(threshold)
        return [block for block in watchdog.recent_blocks() if block.id > self._last]


def _limit(item: pytest.Item) -> float:
    """Return the seconds for which the test may block a loop, 0 for any time."""
    marker = item.get_closest_marker(_MARKER)
    if marker is None:
        return _configured(item.config)
    values = [*marker.args, *marker.kwargs.values()]
    if len(values) > 1 or marker.kwargs.keys() - {"time"}:
        pytest.fail(
            f'{_MARKER} takes one time, as in @pytest.mark.{_MARKER}("50ms")', pytrace=False
        )
    try:
        return watchdog.parse_threshold(str(values[0] if values else _DEFAULT), _MARKER)
    except ValueError as error:
        pytest.fail(str(error), pytrace=False)


def _configured(config: pytest.Config) -> float:
    try:
        return watchdog.parse_threshold(config.getini(_OPTION), _OPTION)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None


def _describe(block: watchdog.Block) -> str:
    lines = [block.message]
    if block.source:
        lines.append(f"    {block.source}")
    lines += [f"  from {site}" for site in reversed(block.stack[:-1][-5:])]
    return "\n".join(lines)
