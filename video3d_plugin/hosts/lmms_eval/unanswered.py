"""What happened to the questions of this process: which stayed unanswered, and so what the exit status must say.

lmms-eval keeps only strings between a model and its tasks, and exits with 0 whatever happens. The adapter notes here
the questions it could not answer; the tasks' metrics count them, and the exit-code patch turns them into a status.
A process may evaluate several times: the questions are those of the latest evaluation, the status is of all.
"""

from __future__ import annotations

from collections import Counter

UNANSWERED_STATUS = 3  # results were written, but some questions have no answer

_unanswered: dict[tuple[str, str, str], str] = {}
_earlier: Counter[str] = Counter()  # reasons, of the evaluations before
_failed = False
_command_line = False


def ran_from_command_line() -> None:
    """lmms-eval's own command is running, so this process's exit status belongs to the evaluation."""
    global _command_line
    _command_line = True


def from_command_line() -> bool:
    return _command_line


def start() -> None:
    """An evaluation begins, of whichever model: what an earlier one left open is not missing from this one."""
    _earlier.update(_unanswered.values())
    _unanswered.clear()


def failed() -> None:
    """An evaluation ended with an error, whose exit status is the process's."""
    global _failed
    _failed = True


def reset() -> None:
    """As in a new process."""
    global _failed, _command_line
    _unanswered.clear()
    _earlier.clear()
    _failed = _command_line = False


def note_unanswered(task: str, scene_id: str, item_id: str, reason: str) -> None:
    _unanswered[(task, scene_id, item_id)] = reason


def why_unanswered(task: str, scene_id: str, item_id: str) -> str | None:
    """The reason why a question has no answer; None where it has one."""
    return _unanswered.get((task, scene_id, item_id))


def summary() -> str | None:
    """One line, or None where everything was answered."""
    return _line(Counter(_unanswered.values()))


def summary_of_all() -> str | None:
    """As `summary`, of all evaluations of this process."""
    return _line(_earlier + Counter(_unanswered.values()))


def _line(reasons: Counter[str]) -> str | None:
    if not reasons:
        return None
    shown = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common(5))
    more = f"; and {len(reasons) - 5} more reasons" if len(reasons) > 5 else ""
    return f"{reasons.total()} questions were left unanswered: {shown}{more}"


def count() -> int:
    """How many questions have no answer."""
    return len(_unanswered)


def exit_status() -> int:
    return UNANSWERED_STATUS if (_unanswered or _earlier) and not _failed else 0
