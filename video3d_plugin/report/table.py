"""Results as a text table: one line for each metric, with a column for each run and published system."""

from __future__ import annotations

from collections.abc import Sequence

from video3d_plugin.report.published import AS_OF, PublishedSystem, published_systems
from video3d_plugin.report.results import Run, TaskRun
from video3d_plugin.tasks import get, usable
from video3d_plugin.tasks.scoring import UNOFFICIAL_PREFIXES


def shown_names(task: str, runs: Sequence[TaskRun], everything: bool = False) -> list[str]:
    """Return the names of the metrics to show: main ones, then published ones, then other official ones.

    Args:
        task: Name of the benchmark.
        runs: Results of it; a metric that no run has is left out.
        everything: Whether to add the metrics of all other conventions.
    """
    available = {name for run in runs for name in run.values}
    spec = get(task)
    published = {name for numbers in spec.published.values() for name in numbers}
    names = [name for name in spec.names() if not name.startswith("count_")]
    first = [*spec.headline, *(name for name in names if name in published)]
    official = [n for n in names if everything or not n.startswith(UNOFFICIAL_PREFIXES)]
    return [name for name in dict.fromkeys([*first, *official]) if name in available]


def as_text(runs: Sequence[Run], everything: bool = False) -> str:
    """Return the table of all tasks, and a footer.

    Args:
        runs: Results (`report.results`).
        everything: Whether to show the metrics of all conventions.
    """
    blocks = []
    for task in usable():
        for host_name in sorted({name for run in runs for name, t in run.tasks.items() if t.task == task}):
            blocks.append(_task_block(task, host_name, runs, everything))
    return "\n\n".join([*blocks, footer()])


def footer() -> str:
    """Return the note on units, and the sources of the published numbers."""
    lines = [
        f"Per cent; CIDEr x 100. Published numbers as of {AS_OF}; a plain name is the official evaluator's number."
    ]
    systems_by_source: dict[str, list[str]] = {}
    for system in published_systems():
        systems_by_source.setdefault(f"{system.convention} ({system.source})", []).append(system.name)
    lines += [f"  {', '.join(names)}: {convention}" for convention, names in systems_by_source.items()]
    return "\n".join(lines)


def _task_block(task: str, host_name: str, runs: Sequence[Run], everything: bool) -> str:
    """The table of one task. Systems with few published numbers have a line each below it."""
    ours = [(run, run.tasks[host_name]) for run in runs if host_name in run.tasks]
    names = shown_names(task, [t for _, t in ours], everything)
    systems = [s for s in systems_with(task, names) if not s.is_peer]
    width = max([len(name) for name in names] + [10])
    titles = [*(short(run.model, 22) for run, _ in ours), *(short(s.short, 22) for s in systems)]
    lines = [f"{host_name}  ({'; '.join(counted(t) for _, t in ours)})"]
    lines.append("  ".join([" " * width, *(f"{title:>22}" for title in titles)]))
    for name in names:
        cells = [number(t.values.get(name)) for _, t in ours]
        cells += [number(s.numbers[task].get(name)) for s in systems]
        lines.append("  ".join([f"{name:<{width}}", *(f"{cell:>22}" for cell in cells)]))
    for _, t in ours:
        lines += [f"  not computed: {names_}: {why}" for names_, why in reasons(t, names).items()]
    for peer in (s for s in published_systems() if s.is_peer and task in s.numbers):
        values = ", ".join(f"{name} {number(value)}" for name, value in peer.numbers[task].items())
        lines.append(f"  {peer.name}: {values}")
    return "\n".join(lines)


def systems_with(task: str, names: Sequence[str]) -> list[PublishedSystem]:
    """Return the published systems that have one of the shown metrics.

    Args:
        task: Name of the benchmark.
        names: Names of the metrics.
    """
    return [s for s in published_systems() if set(names) & set(s.numbers.get(task, {}))]


def reasons(run: TaskRun, names: Sequence[str]) -> dict[str, str]:
    """Return {metrics: reason} of the shown metrics that could not be computed.

    Args:
        run: Results of one task.
        names: Names of the shown metrics.
    """
    grouped: dict[str, list[str]] = {}
    for name in names:
        if name in run.missing:
            grouped.setdefault(run.missing[name], []).append(name)
    return {", ".join(missing): why for why, missing in grouped.items()}


def counted(run: TaskRun) -> str:
    """Describe the number of questions, such as `9508 questions, 3 missing`.

    Args:
        run: Results of one task.
    """
    questions = run.counts.get("questions")
    parts = [f"{questions} questions" if questions is not None else "questions not logged"]
    problems = ("missing", "empty", "unreadable", "duplicate", "extra", "no_box", "multi_line", "non_ascii")
    parts += [f"{run.counts[name]} {name.replace('_', ' ')}" for name in problems if run.counts.get(name)]
    whole = get(run.task).question_count
    if None not in (questions, whole) and questions != whole:
        parts.append(f"not the benchmark's {whole}: not comparable with the papers")
    if run.limited:
        parts.append(f"only {run.limited[0]} of {run.limited[1]} were asked")
    return ", ".join(parts)


def number(value: float | None) -> str:
    """Format a value with two decimals; "-" for None."""
    return "-" if value is None else f"{value:.2f}"


def short(text: str, length: int) -> str:
    """Shorten a name to its end, where paths differ.

    Args:
        text: The name.
        length: Maximum number of characters.
    """
    return text if len(text) <= length else "…" + text[-(length - 1) :]
