"""Debian's Chromium without a window, spoken to by the DevTools protocol over two pipes: no port, no library."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

PROGRAM = "/usr/bin/chromium"
PATIENCE = 60.0
"""Seconds for an answer: a browser that starts on a busy machine takes its time."""

_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # it refuses to run as root otherwise; it is shown our own page only
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--remote-debugging-pipe",
    "about:blank",
)
_LOWEST = 10
"""The protocol wants descriptors 3 and 4, so ours are moved out of their way first."""


class Seen(NamedTuple):
    """What a page did: requests by address, what its console and the browser's own log said, exceptions of its script."""

    requests: tuple[str, ...]
    errors: tuple[str, ...]


class Browser:
    """One tab. Raises AssertionError where the browser refuses, or doesn't answer."""

    def __init__(self, reading: int, writing: int) -> None:
        self.reading, self.writing = reading, writing
        self.number = 0
        self.rest = b""
        self.events: list[dict[str, Any]] = []
        self.session = ""
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self.session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self(f"{domain}.enable")

    def __call__(self, method: str, **parameters: object) -> dict[str, Any]:
        """Call a method of the protocol; what it returns."""
        self.number += 1
        message: dict[str, object] = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.writing, data) :]
        while True:
            found = self._next()
            if found.get("id") == self.number:
                assert "error" not in found, (method, found["error"])
                result: dict[str, Any] = found["result"]
                return result
            self.events.append(found)

    def like(self, scheme: str, medium: str = "") -> None:
        """As somebody sees it who prefers `light` or `dark`; the medium is a screen, or `print`."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self("Emulation.setEmulatedMedia", media=medium, features=features)

    def resize(self, width: int, height: int = 900) -> None:
        """The window, in CSS pixels."""
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def open(self, path: str, *, scripts: bool = True) -> Seen:
        """Show a file, in the light, 1200 pixels wide; until all is loaded that it would load."""
        self.like("light")
        self.resize(1200)
        self("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.events.clear()
        self("Page.navigate", url=f"file://{path}")
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())
        self("Page.getLayoutMetrics")  # what the load made happen is told before this is answered
        return self.seen()

    def seen(self) -> Seen:
        """What was told since the page was opened."""
        requests, errors = [], []
        for event in self.events:
            told = event.get("params", {})
            match event.get("method"):
                case "Network.requestWillBeSent":
                    requests.append(told["request"]["url"])
                case "Log.entryAdded":
                    errors.append(told["entry"]["text"])
                case "Runtime.consoleAPICalled":
                    errors.append(str(told["args"]))
                case "Runtime.exceptionThrown":
                    errors.append(str(told["exceptionDetails"]))
        return Seen(tuple(requests), tuple(errors))

    def ask(self, expression: str) -> Any:
        """What an expression of JavaScript is in the page."""
        answer = self(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, userGesture=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def click(self, selector: str) -> None:
        """Press the mouse where the first such element is."""
        place = self.ask(
            f"(() => {{ const one = document.querySelector({json.dumps(selector)}); one.scrollIntoView({{block: 'center'}});"
            "const box = one.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def picture(self, path: str = "", *, whole: bool = True) -> bytes:
        """A PNG of all of the page."""
        data = base64.b64decode(self("Page.captureScreenshot", captureBeyondViewport=whole)["data"])
        if path:
            with open(path, "wb") as file:
                file.write(data)
        return data

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.reading], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "the browser says nothing"
            data = os.read(self.reading, 1 << 20)
            assert data, "the browser has ended"
            self.rest += data
        message, _, self.rest = self.rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser with a profile of its own. Both are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="dvbrowser", ignore_cleanup_errors=True) as folder:
        (theirs_in, ours_out), (ours_in, theirs_out) = _pipe(), _pipe()

        def place() -> None:
            os.dup2(theirs_in, 3)
            os.dup2(theirs_out, 4)

        env = {"HOME": folder, "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TZ": "UTC"}
        argv = [PROGRAM, *_ARGUMENTS[:-1], f"--user-data-dir={folder}/profile", _ARGUMENTS[-1]]
        process = subprocess.Popen(
            argv,
            env=env,
            pass_fds=(3, 4),
            preexec_fn=place,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            found = Browser(ours_in, ours_out)
            yield found
            found.session = ""
            found("Browser.close")
        finally:
            os.close(ours_out)  # it ends when nobody can speak to it any more
            os.close(ours_in)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait()


def _pipe() -> tuple[int, int]:
    """A pipe with high numbers, for this process only."""
    ends = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, _LOWEST) for end in ends)
    for end in ends:
        os.close(end)
    return high[0], high[1]
