"""Compares two runs of a task: differences of the numbers by type, and the questions whose answers changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from video3d_plugin.report.results import Run, TaskRun
from video3d_plugin.report.table import short, shown_names
from video3d_plugin.report.worst import records_by_id
from video3d_plugin.tasks import get

SHOWN = 8  # questions of each direction in the text table


@dataclass(frozen=True)
class Changed:
    """A question whose score differs between two runs.

    Attributes:
        before: Its record in the first run.
        after: Its record in the second run.
        scores: Its scores (`TaskSpec.score_meaning`) in both.
    """

    before: Mapping
    after: Mapping
    scores: tuple[float, float]

    @property
    def gain(self) -> float:
        """Score of the second run less that of the first."""
        return self.scores[1] - self.scores[0]


@dataclass(frozen=True)
class Comparison:
    """Two runs of one task.

    Attributes:
        host_name: lmms-eval's name of the task.
        first: Results of the first run.
        second: Results of the second run.
        names: Metrics of both, headline and types first.
        changed: Questions whose score differs, largest gain first; those of both runs only.
        shared: Number of questions that both runs logged.
    """

    host_name: str
    first: TaskRun
    second: TaskRun
    names: tuple[str, ...]
    changed: tuple[Changed, ...]
    shared: int

    def difference(self, name: str) -> float | None:
        """The metric's value in the second run less that in the first; None if one of them has none."""
        before, after = self.first.values.get(name), self.second.values.get(name)
        return None if before is None or after is None else after - before


def compare(first: Run, second: Run) -> list[Comparison]:
    """Compare the tasks that two runs share.

    Args:
        first: The run that differences are taken from.
        second: The other run.
    """
    shared = [name for name in first.tasks if name in second.tasks]
    return [_compared(name, first.tasks[name], second.tasks[name]) for name in sorted(shared)]


def _compared(host_name: str, first: TaskRun, second: TaskRun) -> Comparison:
    spec = get(first.task)
    first_choice = dict.fromkeys([*spec.headline, *(name for _, name in spec.bars)])
    names = dict.fromkeys([*first_choice, *shown_names(first.task, [first, second])])
    both = tuple(name for name in names if name in first.values and name in second.values)
    before, after = (records_by_id(run.records) for run in (first, second))
    ids = [key for key in before if key in after]
    old = spec.item_scores([before[key] for key in ids])
    new = spec.item_scores([after[key] for key in ids])
    changed = [Changed(before[key], after[key], (old[key], new[key])) for key in ids if key in old and key in new]
    changed = [c for c in changed if abs(c.gain) > 1e-9]
    changed.sort(key=lambda c: (-c.gain, str(c.before["id"])))
    return Comparison(host_name, first, second, both, tuple(changed), len(ids))


def as_text(runs: Sequence[Run], comparisons: Sequence[Comparison]) -> str:
    """Return the differences as text.

    Args:
        runs: The two runs.
        comparisons: Their comparisons.
    """
    titles = [short(run.model, 22) for run in runs]
    blocks = [_block(comparison, titles) for comparison in comparisons]
    return "\n\n".join(blocks or ["The runs have no task in common."])


def _block(comparison: Comparison, titles: Sequence[str]) -> str:
    width = max([len(name) for name in comparison.names] + [10])
    lines = [f"{comparison.host_name}: second run less first run"]
    lines.append("  ".join([" " * width, *(f"{title:>22}" for title in titles), f"{'difference':>10}"]))
    for name in comparison.names:
        values = (run.values[name] for run in (comparison.first, comparison.second))
        cells = [f"{'-' if value is None else f'{value:.2f}':>22}" for value in values]
        lines.append("  ".join([f"{name:<{width}}", *cells, f"{signed(comparison.difference(name)):>10}"]))
    if not comparison.shared:
        return "\n".join([*lines, "  questions are not compared: samples were not logged (lmms-eval --log_samples)"])
    better = sum(c.gain > 0 for c in comparison.changed)
    worse = len(comparison.changed) - better
    lines.append(f"  of {comparison.shared} questions in both, {better} are better and {worse} worse in the second run")
    listed = [*comparison.changed[: min(SHOWN, better)], *comparison.changed[::-1][: min(SHOWN, worse)]]
    lines += [f"    {c.before['id']}: {c.scores[0]:.2f} -> {c.scores[1]:.2f}" for c in listed]
    return "\n".join(lines)


def signed(value: float | None) -> str:
    """Format a difference with its sign; "-" for None."""
    return "-" if value is None else f"{value:+.2f}"
