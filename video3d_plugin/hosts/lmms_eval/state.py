"""The state of lmms-eval evaluations in this process: what the model and the task functions share.

lmms-eval calls a task's functions without any context and hands them nothing but the model's strings. Whatever else
they need (the data folder, why a question has no answer, values computed once for several metrics) is held here, in
one object: `STATE`. A process may run several evaluations; each starts with an empty `Evaluation`, while the exit
status covers all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from video3d_plugin.data.folder import DataFolder

UNANSWERED_STATUS = 3  # results were written, but some questions have no answer

QuestionKey = tuple[str, str, str]  # task, scene id, item id


@dataclass
class Evaluation:
    """One evaluation.

    Attributes:
        data: The data folder that the model's `data=` argument named; None means the folder in VIDEO3D_DATA.
        unanswered: The reason why a question has no answer, for each question without one.
        reads_scenes: Whether an add-on's model answers, which like video3d reads scenes instead of a plain prompt.
        values: For each task, the ids of the samples scored last and the values of all its metrics.
    """

    data: DataFolder | None = None
    reads_scenes: bool = False
    unanswered: dict[QuestionKey, str] = field(default_factory=dict)
    values: dict[str, tuple[frozenset[str], dict[str, float | None]]] = field(default_factory=dict)


class EvaluationState:
    """The running evaluation, and what earlier evaluations of this process left unanswered.

    Attributes:
        current: The evaluation that is running, or the last one.
        model_fingerprint: Identifies the model made last and how it sees scenes; None before any was made.
        from_command_line: Whether lmms-eval's own command runs, so that the exit status belongs to the evaluation.
    """

    def __init__(self) -> None:
        self._opened: dict[str, DataFolder] = {}
        self.reset()

    def reset(self) -> None:
        """Return to the state of a new process."""
        self.current = Evaluation()
        self.model_fingerprint: str | None = None
        self.from_command_line = False
        self._failed = False
        self._earlier_reasons: Counter[str] = Counter()

    @contextmanager
    def evaluation(self, data: DataFolder | None) -> Iterator[Evaluation]:
        """Run one evaluation with an empty record; at its end, later ones read VIDEO3D_DATA again.

        Args:
            data: The data folder of a model that exists already; None where the evaluation makes its model.
        """
        self._earlier_reasons.update(self.current.unanswered.values())
        self.current = Evaluation(data)
        try:
            yield self.current
        finally:
            self.current.data = None

    # -- data folder -------------------------------------------------------------------------------------------

    def open_data(self, path: str | None) -> DataFolder:
        """Open a data folder and let the task functions read from it.

        Args:
            path: The folder; None for the one that VIDEO3D_DATA names.

        Raises:
            MissingError: There is no such folder.
        """
        from video3d_plugin.data.folder import DataFolder

        self.current.data = None if path is None else DataFolder.open(path)
        return self.data_folder()

    def data_folder(self) -> DataFolder:
        """The data folder of the running evaluation, opened once.

        Raises:
            MissingError: None was given and VIDEO3D_DATA names none.
        """
        if self.current.data is not None:
            return self.current.data
        import os

        from video3d_plugin.data.folder import DataFolder

        key = os.environ.get("VIDEO3D_DATA", "")
        if key not in self._opened:
            self._opened[key] = DataFolder.from_env()
        return self._opened[key]

    # -- questions without an answer ---------------------------------------------------------------------------

    def note_unanswered(self, task: str, scene_id: str, item_id: str, reason: str) -> None:
        self.current.unanswered[(task, scene_id, item_id)] = reason

    def why_unanswered(self, task: str, scene_id: str, item_id: str) -> str | None:
        """The reason why a question has no answer; None if it has one."""
        return self.current.unanswered.get((task, scene_id, item_id))

    def summary(self) -> str | None:
        """One line about the unanswered questions of the running evaluation; None if there are none."""
        return _summary_line(Counter(self.current.unanswered.values()))

    def summary_of_all(self) -> str | None:
        """Like `summary`, for all evaluations of this process."""
        return _summary_line(self._earlier_reasons + Counter(self.current.unanswered.values()))

    # -- exit status -------------------------------------------------------------------------------------------

    def note_failure(self) -> None:
        """Record that an evaluation ended with an error, whose exit status is the process's."""
        self._failed = True

    @property
    def exit_status(self) -> int:
        """`UNANSWERED_STATUS` if any evaluation left questions unanswered and none failed, else 0."""
        left = bool(self.current.unanswered or self._earlier_reasons)
        return UNANSWERED_STATUS if left and not self._failed else 0


def _summary_line(reasons: Counter[str]) -> str | None:
    if not reasons:
        return None
    shown = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common(5))
    more = f"; and {len(reasons) - 5} more reasons" if len(reasons) > 5 else ""
    return f"{reasons.total()} questions were left unanswered: {shown}{more}"


STATE = EvaluationState()
