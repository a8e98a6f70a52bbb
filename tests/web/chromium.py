"""A headless Chromium, driven by its DevTools protocol: JSON over a WebSocket."""

import base64
import itertools
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from websockets.sync.client import connect

# Nothing of it may go out, and nothing of the user's may come in.
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    # Their width is not part of a picture of the whole page.
    "--hide-scrollbars",
    "--disable-quic",
    "--disable-sync",
    "--disable-extensions",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--no-first-run",
    "--remote-debugging-port=0",
)

_START_TIMEOUT = 60
_ANSWER_TIMEOUT = 30


class Chromium:
    """A browser with one page. A context manager: at its end the browser is gone."""

    def __init__(self):
        program = shutil.which("chromium")
        if program is None:
            raise FileNotFoundError("chromium is not installed: scripts/need_chromium.sh")
        self._profile = tempfile.TemporaryDirectory(prefix="ferrio-chromium-")
        self._process = subprocess.Popen(
            [program, *_FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._numbers = itertools.count(1)
        # What the page has written to its console, and exceptions that nobody caught.
        self.console = []
        try:
            self._connection = connect(self._address(), max_size=None, open_timeout=_START_TIMEOUT)
            self._browser = self._connection.__enter__()
        except BaseException:
            self._end()
            raise
        page = self._send("Target.createTarget", url="about:blank")["targetId"]
        answer = self._send("Target.attachToTarget", targetId=page, flatten=True)
        self._session = answer["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def _address(self):
        """Return the address that the browser writes down once it listens."""
        file = Path(self._profile.name, "DevToolsActivePort")
        deadline = time.monotonic() + _START_TIMEOUT
        while time.monotonic() < deadline and self._process.poll() is None:
            lines = file.read_text().split("\n") if file.exists() else []
            if len(lines) >= 2:
                return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
            time.sleep(0.05)
        raise RuntimeError("chromium did not start")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._connection.__exit__(*exception)
        self._end()

    def _end(self):
        self._process.terminate()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        # Its helpers may still be writing.
        shutil.rmtree(self._profile.name, ignore_errors=True)

    def call(self, method, **parameters):
        """Call a method of the page's; return its result."""
        return self._send(method, session=self._session, **parameters)

    def _send(self, method, session=None, **parameters):
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        self._browser.send(json.dumps(message))
        while True:
            answer = json.loads(self._browser.recv(_ANSWER_TIMEOUT))
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self._note(answer)

    def _note(self, event):
        parameters = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.console.append(details.get("exception", details).get("description", str(details)))
        elif event.get("method") == "Log.entryAdded":
            self.console.append(parameters["entry"]["text"])

    def open(self, url):
        """Go to a page; return at once."""
        self.call("Page.navigate", url=url)

    def evaluate(self, expression):
        """Return the value of a JavaScript expression, a promise's when it is one.

        True stands for an element, which has no value.
        """
        answer = self.call(
            "Runtime.evaluate",
            expression=f"((value) => value instanceof Node || value)({expression})",
            returnByValue=True,
            awaitPromise=True,
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"]["description"])
        return answer["result"].get("value")

    def _try(self, expression):
        try:
            return self.evaluate(expression)
        except RuntimeError:
            return None

    def wait_for(self, expression, timeout=60):
        """Wait until a JavaScript expression is true; return its value.

        It may fail until then: the page may not be there yet.
        """
        deadline = time.monotonic() + timeout
        while not (value := self._try(expression)):
            if time.monotonic() > deadline:
                shown = self.evaluate("document.body.innerText")
                raise AssertionError(f"{expression} does not hold; the page shows:\n{shown}")
            time.sleep(0.05)
        return value

    def show_as(self, width, height, *, scheme="light", whole=False):
        """Set the window's size in CSS pixels, and the colours that the user prefers."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def screenshot(self, path, *, whole=False):
        """Write what the page looks like to a PNG file, all of it or what fits the window."""
        path.parent.mkdir(parents=True, exist_ok=True)
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))
