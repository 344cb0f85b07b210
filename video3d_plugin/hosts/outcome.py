"""What happened to the questions of this process: which stayed unanswered, and so what the exit status must say.

lmms-eval keeps only strings between a model and its tasks, and exits with 0 whatever happens. The adapter notes here
the questions it could not answer; the tasks' metrics count them, and the exit-code patch turns them into a status.
"""

from __future__ import annotations

from collections import Counter

UNANSWERED_STATUS = 3  # results were written, but some questions have no answer

_unanswered: dict[tuple[str, str, str], str] = {}
_active = False
_command_line = False


def ran_from_command_line() -> None:
    """lmms-eval's own command is running, so this process's exit status belongs to the evaluation."""
    global _command_line
    _command_line = True


def from_command_line() -> bool:
    return _command_line


def start() -> None:
    """An evaluation of `--model video3d` begins: forget what an earlier one in this process left."""
    global _active
    _unanswered.clear()
    _active = True


def note_unanswered(task: str, scene_id: str, item_id: str, reason: str) -> None:
    _unanswered[(task, scene_id, item_id)] = reason


def why_unanswered(task: str, scene_id: str, item_id: str) -> str | None:
    """The reason why a question has no answer; None where it has one."""
    return _unanswered.get((task, scene_id, item_id))


def summary() -> str | None:
    """One line, or None where everything was answered."""
    if not _unanswered:
        return None
    reasons = Counter(_unanswered.values())
    shown = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common(5))
    more = f"; and {len(reasons) - 5} more reasons" if len(reasons) > 5 else ""
    return f"{len(_unanswered)} questions were left unanswered: {shown}{more}"


def count() -> int:
    """How many questions have no answer."""
    return len(_unanswered)


def exit_status() -> int:
    return UNANSWERED_STATUS if _active and _unanswered else 0
