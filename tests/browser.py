"""A headless Chromium driven over a pipe by its DevTools protocol: no port, no driver, no package."""

import base64
import contextlib
import fcntl
import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt-get install chromium)")

Message = dict[str, Any]


class Browser:
    """One tab. `problems` gathers what reaches the console; `requests` every address that is asked for."""

    def __init__(self, receive: int, send: int) -> None:
        self._receive, self._send = os.fdopen(receive, "rb"), os.fdopen(send, "wb")
        self._numbers = itertools.count(1)
        self._buffer = b""
        self._session: str | None = None
        self._seen: list[Message] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.size(1400, 900)

    def call(self, method: str, **parameters: Any) -> Message:
        """Send a command and return its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        self._send.write(json.dumps(message | ({"sessionId": self._session} if self._session else {})).encode() + b"\0")
        self._send.flush()
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])
            self._seen.append(answer)

    def _next(self) -> Message:
        while b"\0" not in self._buffer:
            chunk = self._receive.read1(1 << 20)
            assert chunk, "Chromium has ended"
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(line))

    def open(self, path: Path, address: str = "") -> None:
        """Load a file, afresh, and wait for the end of its load event and for what it draws then."""
        for url in ("about:blank", path.as_uri() + address):
            self._seen.clear()
            self.call("Page.navigate", url=url)
            while not any(message.get("method") == "Page.loadEventFired" for message in self._seen):
                self._seen.append(self._next())
        self.settle()

    def settle(self) -> None:
        """Wait until the page has drawn what it was told to draw."""
        self.run(
            "await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 30))))"
        )

    def run(self, script: str) -> Any:
        """Run statements in the page and return what they return."""
        expression = f"(async () => {{ {script} }})()"
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def click(self, selector: str) -> None:
        """Click with the mouse at the middle of the first element of a selector."""
        x, y = self.run(
            f"const node = document.querySelector({json.dumps(selector)}); node.scrollIntoView({{block: 'center'}});"
            "const box = node.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]"
        )
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        self.settle()

    def press(self, key: str) -> None:
        """Press a key by its name (Enter, Escape, Tab)."""
        codes = {"Enter": 13, "Escape": 27, "Tab": 9}
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes[key], **text)
        self.settle()

    def size(self, width: int, height: int) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def screenshot(self) -> bytes:
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])

    @property
    def problems(self) -> list[Message]:
        """What the page has written to the console, and what the browser has to say of it."""
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [message["params"] for message in self._seen if message.get("method") in kinds]

    @property
    def requests(self) -> list[str]:
        sent = [m["params"] for m in self._seen if m.get("method") == "Network.requestWillBeSent"]
        return [str(parameters["request"]["url"]) for parameters in sent]


@contextlib.contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """Start Chromium with a profile of its own and end it with the block."""
    to_read, browser_writes = os.pipe()
    browser_reads, to_write = os.pipe()
    # Chromium reads commands from 3 and answers on 4; what becomes these must not be one of them.
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (browser_reads, browser_writes)]
    # No sandbox: containers, and root, have none to give; the page is our own.
    flags = "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --remote-debugging-pipe --no-first-run"
    quiet = "--disable-background-networking --disable-component-update --disable-sync --disable-extensions"
    script = f'exec "$0" "$@" 3<&{ends[0]} 4>&{ends[1]}'
    process = subprocess.Popen(
        ["bash", "-c", script, str(CHROMIUM), *flags.split(), *quiet.split(), f"--user-data-dir={profile}"],
        pass_fds=ends,
        stderr=subprocess.DEVNULL,
    )
    for end in (browser_reads, browser_writes, *ends):
        os.close(end)
    try:
        yield Browser(to_read, to_write)
    finally:
        process.kill()
        process.wait()
