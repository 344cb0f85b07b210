"""What the first screen of the report says: the headline numbers beside published ones, and whether they compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from video3d_plugin.report.published import published_systems
from video3d_plugin.report.results import Run, TaskRun
from video3d_plugin.tasks import get, usable


@dataclass(frozen=True)
class Headline:
    """The number that stands for a task.

    Attributes:
        run: The run.
        host_name: lmms-eval's name of the task.
        task: Results of the task.
        metric: Name of the metric, official where this run has it.
        value: Its value, in per cent; None if it could not be computed.
        published: Value of the first system that published it in any convention; None if there is none.
        published_by: Name of that system and, where it is another one, of the metric.
        reason: Why the two do not compare; "" if they do.
    """

    run: Run
    host_name: str
    task: TaskRun
    metric: str
    value: float | None
    published: float | None
    published_by: str
    reason: str

    @property
    def difference(self) -> float | None:
        """Own value less the published one; None if one of them is missing."""
        return None if self.value is None or self.published is None else self.value - self.published


def headlines(runs: Sequence[Run]) -> list[Headline]:
    """Return a headline for each run and task, in the order of the benchmarks."""
    order = list(usable())
    found = [_headline(run, name, task) for run in runs for name, task in run.tasks.items()]
    return sorted(found, key=lambda h: (order.index(h.task.task), h.host_name))


def why_not_comparable(run: TaskRun) -> str:
    """Return why a run's numbers do not compare with published ones; "" if nothing speaks against it.

    Args:
        run: Results of one task.
    """
    spec, questions = get(run.task), run.counts.get("questions")
    if run.split_note:
        return f"another split: {run.split_note}"
    if run.limited:
        return f"{run.limited[0]} of {run.limited[1]} questions were asked"
    if questions is None:
        return "the number of questions was not logged"
    if spec.question_count is not None and questions != spec.question_count:
        return f"{questions} questions, the benchmark has {spec.question_count}"
    return ""


def _headline(run: Run, host_name: str, task: TaskRun) -> Headline:
    spec = get(task.task)
    wanted = [name for name in (spec.main_metric, *spec.headline) if name]
    metric = next((name for name in wanted if name in task.values), next(iter(task.values), wanted[0]))
    for name in (metric, f"v3d_{metric}"):  # papers' numbers are those of their own code
        for system in published_systems():
            value = system.numbers.get(task.task, {}).get(name)
            if value is None:
                continue
            if name in task.values:
                by = system.name if name == metric else f"{system.name}, {name}"
                return Headline(run, host_name, task, name, task.values[name], value, by, why_not_comparable(task))
    reason = why_not_comparable(task) or "no number of this metric is published"
    return Headline(run, host_name, task, metric, task.values.get(metric), None, "", reason)
