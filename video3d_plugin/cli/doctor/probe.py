"""Runs a check in another Python process, so that a library that crashes does not end the report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

_MARK = "REPORT "
_SECONDS = 300
_PRELUDE = f"""
import json, sys, warnings
warnings.simplefilter("ignore")
from video3d_plugin.cli.doctor.check import reason
def report(value):
    print({_MARK!r} + json.dumps(value), flush=True)
"""


class Probe:
    """A process that runs Python code, which reports one value.

    Args:
        code: The code. It calls `report(value)` once; `reason(error)` returns an exception as one line.
        first_paths: Folders to import from before all others.
    """

    def __init__(self, code: str, first_paths: tuple[str, ...] = ()) -> None:
        paths = [*first_paths, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        environment = {
            **os.environ, "HF_HUB_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False",
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        }  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PRELUDE + code],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip

    def result(self) -> tuple[Any, str]:
        """Wait for the process; return (value, "") or (None, why it reported none)."""
        try:
            output, errors = self._process.communicate(timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            return None, f"did not end within {_SECONDS} s"
        for line in output.splitlines():
            if line.startswith(_MARK):
                return json.loads(line.removeprefix(_MARK)), ""
        status = self._process.returncode
        ended = f"ended by signal {-status}" if status < 0 else f"ended with status {status}"
        last = next((line.strip() for line in reversed(errors.splitlines()) if line.strip()), "")
        return None, f"{ended}: {last}" if last else ended
