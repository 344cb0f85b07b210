"""One line of the report of `video3d doctor`, and how a check that fails itself becomes one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from video3d_plugin.dependencies import explain

Status = Literal["ok", "absent", "problem"]
NEEDS = (
    "lmms-eval", "llava", "llava-training", "deepspeed", "lora", "serve", "gpu", "flash-attn", "java", "data", "hooks",
)  # fmt: skip


@dataclass(frozen=True)
class Check:
    """One line of the report.

    Attributes:
        part: What was looked at.
        status: `ok`, `absent` (optional, and not there) or `problem` (there, or asked for, and does not work).
        found: What was found.
        remedy: What to do where the status is not `ok`.
        needs: The name under which a user asks for the part with --need; empty where it cannot be asked for.
    """

    part: str
    status: Status
    found: str
    remedy: str = ""
    needs: str = ""


def install_extra(extra: str) -> str:
    """Return the command that installs an extra of this package."""
    return f"pip install 'video3d-plugin[{extra}]'"


def survived(part: str, checks: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """Yields the checks; one that raises becomes a problem named `part`, so that the report goes on."""
    try:
        yield from checks()
    except Exception as error:  # whatever a broken installation raises: the report has to name it and go on
        yield Check(part, "problem", reason(error), "see the reason")


def reason(error: BaseException) -> str:
    """An exception in one line."""
    lines = str(error).strip().splitlines() or [""]
    return explain(error) or f"{type(error).__name__}: {lines[0]}"
