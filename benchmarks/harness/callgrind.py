"""Reading what callgrind writes: instructions by function, and who called whom how often.

Its own callgrind_annotate lists a function once per source file that was inlined into it and leaves
call counts out of what can be subtracted; the format is simple enough to read.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

NAMED = re.compile(r"(c?fn)=(?:\((\d+)\))?\s?(.*)")
"""`fn=(12) name`, afterwards `fn=(12)`: the function that follows, or with `cfn` the one called."""


@dataclass
class Profile:
    """What was executed."""

    instructions: Counter[str] = field(default_factory=Counter)
    """By function, its own only."""
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By caller and callee."""
    below: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Instructions of these calls, with all that they called."""

    def minus(self, other: Profile) -> Profile:
        """What this run did more than the other."""
        difference = Profile(Counter(self.instructions), Counter(self.calls), Counter(self.below))
        difference.instructions.subtract(other.instructions)
        difference.calls.subtract(other.calls)
        difference.below.subtract(other.below)
        return difference


def read_profile(path: Path) -> Profile:
    """Read a callgrind.out file."""
    profile = Profile()
    names: dict[str, str] = {}
    function = callee = ""
    calls = 0
    for line in path.read_text(errors="replace").splitlines():
        if match := NAMED.match(line):
            kind, number, name = match.groups()
            name = _plain(names.setdefault(number, name) if number else name)
            if kind == "fn":
                function = name
            else:
                callee = name
        elif line.startswith("calls="):
            calls = int(line[6:].split()[0])
        elif line[:1].isdigit() or line[:1] in ("+", "-", "*"):
            cost = int(line.split()[1])
            if calls:
                # The line after `calls=` is the cost of the calls.
                profile.calls[function, callee] += calls
                profile.below[function, callee] += cost
                calls = 0
            else:
                profile.instructions[function] += cost
    return profile


def _plain(name: str) -> str:
    """A function that calls itself, directly or not, is also written as name'2."""
    return name.removesuffix("'2")
