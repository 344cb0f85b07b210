"""The state of lmms-eval evaluations in this process: what the model and the task functions share.

lmms-eval calls a task's functions without context and passes them the model's strings only. The object `STATE` holds
what else they need: the data folder, the reasons for unanswered questions, and values computed once for several
metrics. A process may run several evaluations: each begins with an empty `Evaluation`, and the exit status covers all.
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
        data: The data folder of the model's `data=` argument; None for the folder in VIDEO3D_DATA.
        unanswered: Reasons by question, for questions without an answer.
        reads_scenes: Whether an add-on's model answers, which like video3d reads scenes instead of a plain prompt.
        values: By task, the ids of the samples scored last and the values of all metrics.
    """

    data: DataFolder | None = None
    reads_scenes: bool = False
    unanswered: dict[QuestionKey, str] = field(default_factory=dict)
    values: dict[str, tuple[frozenset[str], dict[str, float | None]]] = field(default_factory=dict)


class EvaluationState:
    """The current evaluation, and the unanswered questions of earlier evaluations in this process.

    Attributes:
        current: The running evaluation, or the last one.
        model_fingerprint: Fingerprint of the model made last and of its options; None before any was made.
        from_command_line: Whether lmms-eval's own command runs, whose exit status reports unanswered questions.
    """

    def __init__(self) -> None:
        self._opened: dict[str, DataFolder] = {}
        self.reset()

    def reset(self) -> None:
        """Restore the state of a new process."""
        self.current = Evaluation()
        self.model_fingerprint: str | None = None
        self.from_command_line = False
        self._failed = False
        self._earlier_reasons: Counter[str] = Counter()

    @contextmanager
    def evaluation(self, data: DataFolder | None) -> Iterator[Evaluation]:
        """Run one evaluation. At its end the data folder is that of VIDEO3D_DATA again.

        Args:
            data: The data folder of an existing model; None where the evaluation makes its model.
        """
        self._earlier_reasons.update(self.current.unanswered.values())
        self.current = Evaluation(data)
        try:
            yield self.current
        finally:
            self.current.data = None

    # -- data folder -------------------------------------------------------------------------------------------

    def open_data(self, path: str | None) -> DataFolder:
        """Open the data folder of the current evaluation.

        Args:
            path: The folder; None for the folder in VIDEO3D_DATA.

        Raises:
            MissingError: There is no such folder.
        """
        from video3d_plugin.data.folder import DataFolder

        self.current.data = None if path is None else DataFolder.open(path)
        return self.data_folder()

    def data_folder(self) -> DataFolder:
        """Return the data folder of the current evaluation. It is opened once.

        Raises:
            MissingError: No folder was opened and VIDEO3D_DATA is not set.
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
        """Record that a question has no answer.

        Args:
            task: Name of the benchmark.
            scene_id: The question's scene.
            item_id: The question's id in the benchmark.
            reason: One line for the user.
        """
        self.current.unanswered[(task, scene_id, item_id)] = reason

    def why_unanswered(self, task: str, scene_id: str, item_id: str) -> str | None:
        """Return the reason why a question has no answer; None if it has one."""
        return self.current.unanswered.get((task, scene_id, item_id))

    def summary(self) -> str | None:
        """Describe the unanswered questions of the current evaluation in one line; None if there are none."""
        return _summary_line(Counter(self.current.unanswered.values()))

    def summary_of_all(self) -> str | None:
        """Describe the unanswered questions of all evaluations of this process; None if there are none."""
        return _summary_line(self._earlier_reasons + Counter(self.current.unanswered.values()))

    # -- exit status -------------------------------------------------------------------------------------------

    def note_failure(self) -> None:
        """Record that an evaluation ended with an error, which decides the exit status."""
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
