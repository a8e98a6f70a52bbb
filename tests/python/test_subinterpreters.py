"""In a subinterpreter the import fails with a clean ImportError, and the main one is unharmed."""

import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
import sys
sys.path[:] = {path!r}
{make}
attempt = '''
import sys
sys.path[:] = {path!r}
try:
    import ferrio
except ImportError as error:
    message = "ImportError"
else:
    message = "imported"
print(message, flush=True)
'''
{before}
run(attempt)
run(attempt)
import asyncio, ferrio
assert ferrio.run(asyncio.sleep(0, "main")) == "main"
run(attempt)
assert ferrio.run(asyncio.sleep(0, "main")) == "main"
print("main interpreter works")
"""

MAKE = {
    "_xxsubinterpreters": """
import _xxsubinterpreters
interpreter = _xxsubinterpreters.create(isolated={isolated})
def run(source):
    _xxsubinterpreters.run_string(interpreter, source)
""",
    "_interpreters": """
import _interpreters
interpreter = _interpreters.create("{kind}")
def run(source):
    failure = _interpreters.exec(interpreter, source)
    assert failure is None, failure
""",
}


@pytest.mark.parametrize("imported_before", [False, True], ids=["first", "imported-before"])
@pytest.mark.parametrize("isolated", [False, True], ids=["legacy", "isolated"])
def test_the_import_fails_cleanly(isolated, imported_before):
    module = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    make = MAKE[module].format(isolated=isolated, kind="isolated" if isolated else "legacy")
    program = textwrap.dedent(PROGRAM).format(
        path=[entry for entry in sys.path if entry],
        make=make,
        before="import ferrio" if imported_before else "",
    )
    outcome = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
    )
    if not (isolated and not imported_before and sys.version_info[:2] == (3, 12)):
        # There the interpreter itself aborts at its exit once `import asyncio` alone has run in an
        # isolated subinterpreter and then in the main one.
        assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.splitlines() == ["ImportError"] * 3 + ["main interpreter works"]
