"""The table of faults in ``tests/README.md`` names tests that exist."""

import re
from pathlib import Path

TESTS = Path(__file__).parent.parent
NAMED = re.compile(r"`(?:(?:(python|stress)/(\w+\.py))?(?:::)?((?:Test\w+)?(?:::)?(?:test_\w+)?))`")


def test_every_test_that_is_named_exists():
    text = (TESTS / "README.md").read_text(encoding="utf-8")
    table = text.partition("shows which fault")[2]
    count = 0
    source = ""
    for folder, file, names in NAMED.findall(table):
        if file:
            source = (TESTS / folder / file).read_text(encoding="utf-8")
        for name in filter(None, names.split("::")):
            assert re.search(rf"\b(def|class) {name}\b", source), (file, name)
            count += 1
    assert count > 50
