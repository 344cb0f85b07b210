"""The report as one self-contained HTML page, without scripts: headline numbers, tables, bars by type and examples."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from video3d_plugin.files.atomic import write_bytes
from video3d_plugin.report import table
from video3d_plugin.report.compare import Comparison, signed
from video3d_plugin.report.examples import ExampleCards
from video3d_plugin.report.overview import Headline, headlines, why_not_comparable
from video3d_plugin.report.results import Run, TaskRun
from video3d_plugin.report.scenes import Scenes
from video3d_plugin.report.style import STYLE
from video3d_plugin.report.worst import SHOWN_CHANGES
from video3d_plugin.tasks import TaskSpec, get, usable


def write_page(runs: Sequence[Run], scenes: Scenes, examples: int = 12, comparisons: Sequence[Comparison] = ()) -> None:
    """Write the page to `scenes.report`. An existing file is replaced only once the new one is complete.

    Args:
        runs: Results (`report.results`).
        scenes: What is known of the scenes of the examples.
        examples: Number of worst examples for each task and run.
        comparisons: Comparisons of two runs (`report.compare`).
    """
    write_bytes(scenes.report, page(runs, scenes, examples, comparisons).encode("utf-8", errors="replace"))


def page(runs: Sequence[Run], scenes: Scenes, examples: int = 12, comparisons: Sequence[Comparison] = ()) -> str:
    """Return the page that `write_page` writes."""
    cards = ExampleCards(scenes, with_run=len(runs) > 1)
    sections, contents = [], []
    for comparison in comparisons:
        contents.append((f"compare-{comparison.host_name}", f"{comparison.host_name}: difference"))
        sections.append(_comparison(comparison, cards, runs))
    for task in usable():
        for host_name in sorted({name for run in runs for name, t in run.tasks.items() if t.task == task}):
            ours = [(run, run.tasks[host_name]) for run in runs if host_name in run.tasks]
            contents.append((f"task-{host_name}", host_name))
            sections.append(_section(task, host_name, ours, examples, cards))
    links = "".join(f'<a href="#{escape(anchor)}">{escape(text)}</a>' for anchor, text in contents)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>3D scene benchmarks</title><style>{STYLE}</style></head><body>"
        f"<header><h1>3D scene benchmarks</h1>{_facts(runs)}{_cards(runs)}{_conventions()}{cards.note()}</header>"
        f"<nav aria-label=Contents>{links}</nav><main>{''.join(sections)}</main></body></html>\n"
    )


def _facts(runs: Sequence[Run]) -> str:
    """Model, data and date of each run."""
    rows = []
    for run in runs:
        dates = sorted({_day(task.date) for task in run.tasks.values() if task.date})
        data = ", ".join(f"{name} ({table.counted(task).split(',')[0]})" for name, task in run.tasks.items())
        args = f" <span class=note>{escape(run.model_args)}</span>" if run.model_args else ""
        rows += [("model", escape(run.model) + args), ("data", escape(data))]
        rows.append(("date", escape(" to ".join(dict.fromkeys([dates[0], dates[-1]])) if dates else "not stated")))
    return f"<dl class=facts>{''.join(f'<dt>{name}</dt><dd>{text}</dd>' for name, text in rows)}</dl>"


def _day(date: str) -> str:
    """The day of lmms-eval's date 20261122_090000 as 2026-11-22; other texts as they are."""
    return f"{date[:4]}-{date[4:6]}-{date[6:8]}" if date[:8].isdigit() else date


def _cards(runs: Sequence[Run]) -> str:
    return f"<div class=cards>{''.join(_card(headline, len(runs) > 1) for headline in headlines(runs))}</div>"


def _card(headline: Headline, with_model: bool) -> str:
    lines = [f"{escape(headline.host_name)} <span class=note>{escape(headline.metric)}</span>"]
    if with_model:
        lines.append(f"<br><span class=note>{escape(headline.run.model)}</span>")
    lines.append(f"<b>{table.number(headline.value)}</b>")
    if headline.published is not None:
        change = headline.difference
        kind = "" if change is None else "up" if change >= 0 else "down"
        lines.append(f"<span class='{kind}'>{signed(change)}</span> to {table.number(headline.published)} published")
        lines.append(f"<br><span class=note>{escape(headline.published_by)}</span>")
    if headline.reason:
        lines.append(f"<br><span class=badge>not comparable</span> <span class=note>{escape(headline.reason)}</span>")
    return f"<div class=card>{''.join(lines)}</div>"


def _conventions() -> str:
    text = escape(table.footer()).replace("\n", "<br>")
    title = "Which programs computed these numbers, and where published ones are from"
    return f"<details><summary>{title}</summary><p class=note>{text}</p></details>"


def _comparison(comparison: Comparison, cards: ExampleCards, runs: Sequence[Run]) -> str:
    rows = []
    for name in comparison.names:
        difference = comparison.difference(name)
        kind = "" if not difference else "up" if difference > 0 else "down"
        values = (table.number(run.values[name]) for run in (comparison.first, comparison.second))
        cells = "".join(f"<td>{value}</td>" for value in values)
        rows.append(f"<tr><td>{escape(name)}</td>{cells}<td class='{kind}'>{signed(difference)}</td></tr>")
    head = "<tr><th>metric</th><th>first</th><th>second</th><th>difference</th></tr>"
    name = escape(comparison.host_name)
    parts = [
        f'<section><h2 id="compare-{name}">{name}: second less first</h2>',
        f"<div class=wide><table>{head}{''.join(rows)}</table></div>",
    ]
    better = [c for c in comparison.changed if c.gain > 0]
    worse = [c for c in comparison.changed if c.gain < 0]
    for title, changes in (("Better", better), ("Worse", worse[::-1])):
        shown = "".join(cards.change(comparison, change, runs) for change in changes[:SHOWN_CHANGES])
        first = f", the first {SHOWN_CHANGES} shown" if len(changes) > SHOWN_CHANGES else ""
        count = f"{title}: {len(changes)} of {comparison.shared} questions{first}"
        parts.append(f"<details open><summary>{count}</summary><div class=examples>{shown}</div></details>")
    return "".join([*parts, "</section>"])


def _section(task: str, host_name: str, ours: Sequence[tuple[Run, TaskRun]], examples: int, cards: ExampleCards) -> str:
    parts = [f'<section><h2 id="task-{escape(host_name)}">{escape(host_name)}</h2>']
    for run, result in ours:
        title = f"<h3>{escape(run.model)}</h3>" if len(ours) > 1 else ""
        why = why_not_comparable(result)
        badge = f" <span class=badge>not comparable: {escape(why)}</span>" if why else ""
        parts += [title, f"<p>{escape(table.counted(result))}{badge}</p>", _bars(get(task), result)]
    parts += ["<details><summary>All numbers beside published ones</summary>", _table(task, ours), "</details>"]
    for run, result in ours:
        title, level = (f"<h3>{escape(run.model)}</h3>", "h4") if len(ours) > 1 else ("", "h3")
        parts += [title, cards.of_task(get(task), run, result, examples, level)]
    return "".join([*parts, "</section>"])


def _table(task: str, ours: Sequence[tuple[Run, TaskRun]]) -> str:
    names = table.shown_names(task, [result for _, result in ours])
    systems = table.systems_with(task, names)
    head = [*(f"<th>{escape(run.model)}</th>" for run, _ in ours), *(f"<th>{escape(s.name)}</th>" for s in systems)]
    rows = []
    for name in names:
        cells = [_own_cell(result, name) for _, result in ours]
        cells += [f"<td>{table.number(s.numbers[task].get(name))}</td>" for s in systems]
        rows.append(f"<tr><td>{escape(name)}</td>{''.join(cells)}</tr>")
    scrolled = f'<div class=wide tabindex=0 role=region aria-label="{escape(task)}: all numbers">'
    return f"{scrolled}<table><tr><th>metric</th>{''.join(head)}</tr>{''.join(rows)}</table></div>"


def _own_cell(result: TaskRun, name: str) -> str:
    why = result.missing.get(name)
    title = f' title="{escape(why)}"' if why else ""
    return f"<td class=ours{title}>{table.number(result.values.get(name))}</td>"


def _bars(spec: TaskSpec, result: TaskRun) -> str:
    rows = []
    for label, name in spec.bars:
        value = result.values.get(name)
        if name not in result.values:
            continue
        width = 0.0 if value is None else max(0.0, min(100.0, value))
        fill = f'<div class=track><div class=fill style="width:{width:.1f}%"></div></div>'
        rows.append(f"<div>{escape(label)}</div>{fill}<div>{table.number(value)}</div>")
    return f"<div class=bars>{''.join(rows)}</div>" if rows else ""
