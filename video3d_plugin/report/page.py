"""The report as one self-contained HTML page: table, bars by type and worst examples, without scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from video3d_plugin.files.atomic import write_bytes
from video3d_plugin.report import table
from video3d_plugin.report.draw import top_view
from video3d_plugin.report.results import Run, TaskRun
from video3d_plugin.report.worst import worst
from video3d_plugin.tasks import TaskSpec, get, usable

STYLE = """
:root { color-scheme: light dark; --line: #8884; --bar: #3b7dd8; --good: #2e9e5b; --bad: #d9534f; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; } .wide { overflow-x: auto; }
th, td { padding: .2rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } td.ours { font-weight: 600; }
.bars { display: grid; grid-template-columns: max-content 1fr max-content; gap: .15rem .6rem; max-width: 44rem; }
.bars div.track { background: var(--line); } .bars div.fill { background: var(--bar); height: 100%; min-height: 1rem; }
.examples { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem; }
.example { border: 1px solid var(--line); border-radius: .4rem; padding: .6rem .8rem; overflow-wrap: anywhere; }
.example svg { width: 100%; max-width: 14rem; } .note { opacity: .75; font-size: .9em; }
rect { fill: none; } .proposal { stroke: var(--line); } .truth { stroke: var(--good); stroke-width: 2; }
.predicted { stroke: var(--bad); stroke-width: 2; stroke-dasharray: 4 2; }
dt { opacity: .75; font-size: .9em; } dd { margin: 0 0 .3rem 0; white-space: pre-wrap; }
"""


def write_page(runs: Sequence[Run], path: Path, examples: int = 12) -> None:
    """Write the page. An existing file is replaced only once the new one is complete.

    Args:
        runs: Results (`report.results`).
        path: The HTML file.
        examples: Number of worst examples for each task and run.
    """
    write_bytes(path, page(runs, examples).encode("utf-8", errors="replace"))


def page(runs: Sequence[Run], examples: int = 12) -> str:
    """Return the page that `write_page` writes."""
    sections = []
    for task in usable():
        for host_name in sorted({name for run in runs for name, t in run.tasks.items() if t.task == task}):
            ours = [(run, run.tasks[host_name]) for run in runs if host_name in run.tasks]
            sections.append(_section(task, host_name, ours, examples))
    models = "".join(f"<li>{escape(run.model)} <span class=note>{escape(run.model_args)}</span></li>" for run in runs)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>3D scene benchmarks</title><style>{STYLE}</style></head><body>"
        f"<h1>3D scene benchmarks</h1><ul>{models}</ul>{''.join(sections)}"
        f"<p class=note>{escape(table.footer()).replace(chr(10), '<br>')}</p></body></html>\n"
    )


def _section(task: str, host_name: str, ours: Sequence[tuple[Run, TaskRun]], examples: int) -> str:
    parts = [f"<section><h2>{escape(host_name)}</h2>", _table(task, ours)]
    for run, result in ours:
        title = f"<h3>{escape(run.model)}</h3>" if len(ours) > 1 else ""
        parts += [title, f"<p>{escape(table.counted(result))}</p>", _bars(get(task), result)]
        parts.append(_examples(get(task), result, examples))
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
    return f"<div class=wide><table><tr><th>metric</th>{''.join(head)}</tr>{''.join(rows)}</table></div>"


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


def _examples(spec: TaskSpec, result: TaskRun, count: int) -> str:
    if not result.records:
        return "<p class=note>No samples were logged (lmms-eval --log_samples): no examples to show.</p>"
    lowest = worst(spec, result.records, count)
    if not lowest:
        return ""
    cards = "".join(_example(spec, record, score) for record, score in lowest)
    by = f"<span class=note>by {escape(spec.score_meaning)}</span>"
    return f"<h4>Worst examples {by}</h4><div class=examples>{cards}</div>"


def _example(spec: TaskSpec, record: Mapping, score: float) -> str:
    rows = [("", f"{record['id']}: {score:.2f}" + ("" if record["status"] == "ok" else f", {record['status']}"))]
    rows += [(label, _text(record.get(key))) for label, key in spec.example_fields]
    if isinstance(record.get("prediction"), str) and spec.is_grounding:
        rows.append(("prediction", record["prediction"]))
    if record.get("reason"):
        rows.append(("reason", str(record["reason"])))
    items = "".join(f"<dt>{escape(label)}</dt><dd>{escape(text[:600])}</dd>" for label, text in rows)
    drawing = top_view(spec, record) if spec.needs_boxes else ""
    return f"<div class=example><dl>{items}</dl>{drawing}</div>"


def _text(value: object) -> str:
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)
