"""A check of `video3d doctor`: one line of its report."""

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
        part: The part that was checked.
        status: "ok", "absent" (optional, and not installed) or "problem" (installed or needed, and does not work).
        found: Result of the check.
        remedy: What to do where the status is not "ok".
        needs: Name of the part for --need; empty where it has none.
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
    """Yield checks; an exception becomes a problem, so that the report continues.

    Args:
        part: Name of that problem.
        checks: Function that yields checks.
    """
    try:
        yield from checks()
    except Exception as error:  # a broken installation may raise anything
        yield Check(part, "problem", reason(error), "see the reason")


def reason(error: BaseException) -> str:
    """Return an exception as one line."""
    lines = str(error).strip().splitlines() or [""]
    return explain(error) or f"{type(error).__name__}: {lines[0]}"
