"""The examples of the report: a card each, with texts, a plan, and a link into the viewer's page of its scene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from video3d_plugin.report.compare import Changed, Comparison
from video3d_plugin.report.draw import plan
from video3d_plugin.report.results import Run, TaskRun
from video3d_plugin.report.scenes import Scenes
from video3d_plugin.report.worst import chosen_examples
from video3d_plugin.tasks import TaskSpec, get

_KEY = (
    " <span class=note><i class='key truth'></i> true <i class='key predicted'></i> chosen "
    "<i class='key proposal'></i> proposals <i class='key object'></i> other objects, from above</span>"
)


class ExampleCards:
    """Makes the cards of examples.

    Args:
        scenes: What is known of their scenes.
        with_run: Whether the scenes' pages hold questions of several runs.
    """

    def __init__(self, scenes: Scenes, with_run: bool):
        self._scenes, self._with_run = scenes, with_run
        self._unlinked: set[str] = set()

    def of_task(self, spec: TaskSpec, run: Run, result: TaskRun, count: int, level: str) -> str:
        """Return the worst and the typical examples of a run's task as HTML, below headings of a level ("h3")."""
        if not result.records:
            return "<p class=note>No samples were logged (lmms-eval --log_samples): no examples to show.</p>"
        parts = []
        titles = ("Worst examples", "Typical examples")
        for title, chosen in zip(titles, chosen_examples(spec, result.records, count), strict=True):
            if chosen:
                cards = "".join(f"<div class=example>{self._body(spec, *row, run)}</div>" for row in chosen)
                by = f"<span class=note>by {escape(spec.score_meaning)}</span>"
                heading = f"<{level}>{title} {by}{_KEY if spec.needs_boxes else ''}</{level}>"
                parts.append(f"{heading}<div class=examples>{cards}</div>")
        return "".join(parts)

    def change(self, comparison: Comparison, change: Changed, runs: Sequence[Run]) -> str:
        """Return a question whose score changed, with both answers, as HTML."""
        spec = get(comparison.first.task)
        before, after = (
            self._body(spec, record, score, run)
            for record, score, run in zip((change.before, change.after), change.scores, runs, strict=True)
        )
        scores = f"{change.scores[0]:.2f} before, {change.scores[1]:.2f} after"
        return f"<div class=example><p class=note>{scores}</p>{before}{after}</div>"

    def note(self) -> str:
        """Return how the pages are made that examples made so far lack, as HTML; "" if they lack none."""
        if not self._unlinked:
            return ""
        count = f"{len(self._unlinked)} scene{'' if len(self._unlinked) == 1 else 's'}"
        how = f"<code>{escape(self._scenes.command)}</code>"
        return f"<p class=note>Examples of {count} have no page in 3D yet; {how} makes it.</p>"

    def _body(self, spec: TaskSpec, record: Mapping, score: float, run: Run) -> str:
        rows = [("", f"{record['id']}: {score:.2f}" + ("" if record["status"] == "ok" else f", {record['status']}"))]
        rows += [(label, _text(record.get(key))) for label, key in spec.example_fields]
        if isinstance(record.get("prediction"), str) and spec.is_grounding:
            rows.append(("prediction", record["prediction"]))
        if record.get("reason"):
            rows.append(("reason", str(record["reason"])))
        items = "".join(f"<dt>{escape(label)}</dt><dd>{escape(text[:600])}</dd>" for label, text in rows)
        objects = self._scenes.objects.get(record["scene_id"], ())
        drawing = plan(spec, record, objects) if spec.needs_boxes else ""
        return f"<dl>{items}<dt>scene</dt><dd>{self._link(record, run)}</dd></dl>{drawing}"

    def _link(self, record: Mapping, run: Run) -> str:
        scene_id = record["scene_id"]
        link = self._scenes.link(record, run.model if self._with_run else "")
        if link:
            return f'<a href="{escape(link)}">{escape(scene_id)} in 3D</a>'
        reason = self._scenes.reasons.get(scene_id)
        if reason is None:
            self._unlinked.add(scene_id)
        return escape(f"{scene_id} (no page: {reason or 'not made yet'})"[:400])


def _text(value: object) -> str:
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)
