"""A real headless Chromium, driven over its DevTools pipe with the standard library alone.

Found through the environment variable VIDEO3D_CHROMIUM, or as one of the usual names on PATH. WebGL runs on the CPU
(SwiftShader), so no GPU is needed.
"""

from __future__ import annotations

import base64
import io
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "headless_shell")
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # tests run as root in containers; the page is our own
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-gpu-sandbox",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--mute-audio",
    "--no-first-run",
    "--disable-extensions",
    "--disable-background-networking",
    "--remote-debugging-pipe",
)
CODES = {"Tab": 9, "Enter": 13, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
# "ready", or what the page says has gone wrong, or "" while it is at work
STATE = """
document.body && document.body.dataset.ready && V.drawn > 0 ? "ready"
  : document.querySelector("#busy.failed")?.textContent || ""
"""


def find() -> str | None:
    """The browser's path, or None."""
    given = os.environ.get("VIDEO3D_CHROMIUM")
    if given:
        return shutil.which(given)
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One tab of one browser. Collects what the page logs, throws and asks the network for."""

    def __init__(self, browser: str, width: int = 1280, height: int = 800):
        self._profile = tempfile.mkdtemp(prefix="video3d-chromium-")
        read_here, write_there = os.pipe()
        read_there, write_here = os.pipe()
        command = [
            browser,
            *FLAGS,
            f"--user-data-dir={self._profile}",
            f"--window-size={width},{height}",
            "about:blank",
        ]

        def as_3_and_4() -> None:
            low, high = os.dup2(read_there, 198), os.dup2(write_there, 199)
            os.dup2(low, 3)
            os.dup2(high, 4)

        self._process = subprocess.Popen(
            command,
            preexec_fn=as_3_and_4,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": self._profile},
        )
        os.close(read_there)
        os.close(write_there)
        self._in, self._out, self._buffer, self._count = read_here, write_here, b"", 0
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._frames: list[str] = []  # sessions of the page's frames
        targets = self._call("Target.getTargets")["targetInfos"]
        target = next(t["targetId"] for t in targets if t["type"] == "page")
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        os.close(self._in)
        os.close(self._out)
        shutil.rmtree(self._profile, ignore_errors=True)

    def open(self, path: Path, timeout_s: float = 240) -> float:
        """Open the file; returns the seconds until the viewer says it is ready and its first picture is drawn."""
        start = time.monotonic()
        self.call("Page.navigate", url=path.resolve().as_uri())
        while time.monotonic() - start < timeout_s:
            if (said := self.js(STATE)) == "ready":
                return time.monotonic() - start
            if said:
                raise AssertionError(said)
            time.sleep(0.05)
        raise AssertionError(f"not ready after {timeout_s} s: {self.errors}")

    def js(self, expression: str) -> Any:
        """The value of an expression in the page; promises are waited for."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise AssertionError(details.get("exception", {}).get("description") or details["text"])
        return answer["result"].get("value")

    def js_in_frame(self, expression: str) -> Any:
        """The value of an expression in the page's sandboxed frame, a process of its own; None without one."""
        self.call("Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=False, flatten=True)
        if not self._frames:
            return None
        answer = self._call("Runtime.evaluate", self._frames[-1], expression=expression, returnByValue=True)
        return answer["result"].get("value")

    def cpu_s(self) -> float:
        """Processor seconds of the browser's processes so far (Linux): what a busy machine does not change."""
        children: dict[int, list[int]] = {}
        used: dict[int, float] = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended meanwhile
                continue
            children.setdefault(int(fields[1]), []).append(int(folder.name))
            used[int(folder.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        todo, total = [self._process.pid], 0.0
        while todo:
            process = todo.pop()
            total += used.get(process, 0.0)
            todo += children.get(process, [])
        return total

    def settle(self) -> None:
        """Until what was asked for is drawn and camera flights are over."""
        wait = "await new Promise(r => setTimeout(r, 100))"
        self.js(
            "(async () => { await new Promise(r => setTimeout(r, 600));"
            f"for (let i = 0; i < 200 && (!V.complete || V.stage.flight); i++) {wait}; {wait}; }})()"
        )

    def click(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def click_on(self, selector: str, index: int = 0) -> None:
        """Click the middle of an element, scrolled to where it can be seen."""
        at = self.js(
            f"(() => {{const e = document.querySelectorAll({json.dumps(selector)})[{index}];"
            "e.scrollIntoView({block: 'nearest', inline: 'nearest'}); const r = e.getBoundingClientRect();"
            "return [r.x + r.width / 2, r.y + r.height / 2]})()"
        )
        self.click(*at)

    def key(self, key: str, shift: bool = False) -> None:
        """Press and release a key. Those in CODES have their usual effect too, such as moving the focus."""
        code = {"windowsVirtualKeyCode": CODES[key], "code": key} if key in CODES else {}
        text = {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, modifiers=8 * shift, **code, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, modifiers=8 * shift, **code)

    def write(self, text: str) -> None:
        """Write into the field that has the focus."""
        self.call("Input.insertText", text=text)

    def wait_for(self, expression: str, timeout_s: float = 60) -> None:
        """Wait until an expression in the page is true."""
        end = time.monotonic() + timeout_s
        while not self.js(expression):
            assert time.monotonic() < end, f"not within {timeout_s} s: {expression}; {self.errors}"
            time.sleep(0.1)

    def screenshot(self):
        """The page as a Pillow RGB image."""
        from PIL import Image

        data = self.call("Page.captureScreenshot", format="png")["data"]
        return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")

    def call(self, method: str, **params: Any) -> dict:
        return self._call(method, self._session, **params)

    def _call(self, method: str, session: str | None = None, **params: Any) -> dict:
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        while True:
            answer = self._read()
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer["result"]
            self._note(answer)

    def _note(self, event: dict) -> None:
        params = event.get("params", {})
        if event.get("method") == "Target.attachedToTarget" and params["targetInfo"]["type"] == "iframe":
            self._frames.append(params["sessionId"])
        elif event.get("method") == "Target.detachedFromTarget" and params["sessionId"] in self._frames:
            self._frames.remove(params["sessionId"])
        elif event.get("method") == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif event.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(params["entry"]["text"])
        elif event.get("method") == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.errors.append(" ".join(str(a.get("value", a.get("description"))) for a in params["args"]))
        elif event.get("method") == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if not url.startswith(("data:", "blob:")):
                self.requests.append(url)

    def _read(self, timeout_s: float = 240) -> dict:
        while b"\0" not in self._buffer:
            if not select.select([self._in], [], [], timeout_s)[0]:
                raise AssertionError(f"Chromium said nothing for {timeout_s} s")
            part = os.read(self._in, 1 << 20)
            if not part:
                raise AssertionError("Chromium has ended")
            self._buffer += part
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)
