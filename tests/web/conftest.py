"""Makes the helpers beside this file importable, and starts what the tests look at."""

import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from chromium import Chromium

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"


class Service:
    """A program that serves its page, and does what it is told."""

    def __init__(self, *arguments):
        program = Path(__file__).with_name("service.py")
        self._process = subprocess.Popen(
            [sys.executable, str(program), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # What the watchdog says of the blocks that are asked for.
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.url = self._process.stdout.readline().strip()
        self.address = urllib.parse.urlsplit(self.url)

    def tell(self, command):
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()

    def end(self):
        """End it in good order; a second time changes nothing."""
        if not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            assert self._process.wait(30) == 0
        finally:
            self._process.kill()
            self._process.stdout.close()


@pytest.fixture
def start_service():
    services = []

    def start(*arguments):
        services.append(Service(*arguments))
        return services[-1]

    yield start
    for service in services:
        service.end()


@pytest.fixture(scope="session")
def browser():
    with Chromium() as browser:
        yield browser


@pytest.fixture
def page(browser, start_service):
    """The browser, with a page that has to be without errors at the end.

    It is left before the services end, whose silence would be one.
    """
    leave(browser)
    browser.show_as(1280, 900)
    browser.console.clear()
    yield browser
    leave(browser)
    assert browser.console == []


def leave(browser):
    """Go where nothing is asked for any more."""
    browser.open("about:blank")
    browser.wait_for("location.href == 'about:blank'")


@pytest.fixture
def keep_picture(page):
    """Keep what the page looks like, under a name."""

    def keep(name, **options):
        page.screenshot(SCREENSHOTS / f"{name}.png", **options)

    return keep
