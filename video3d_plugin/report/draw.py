"""Boxes of one question from above, as an SVG: truth, prediction, and the other proposals faintly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from video3d_plugin.files.schema import fits
from video3d_plugin.metrics.records import BOX
from video3d_plugin.metrics.task_grounding import plain_choice

SIDE = 220
MAX_PROPOSALS = 100


def boxes_of(record: Mapping) -> tuple[list, list, list]:
    """(truth, predicted, proposals) of a grounding or captioning record."""
    if record["task"] == "multi3drefer":
        truth, predicted = record["gt_boxes"], plain_choice(record)["boxes"]
    else:
        truth, predicted = ([record[name]] if record.get(name) else [] for name in ("gt_box", "box"))
    prediction = record.get("prediction")
    proposals = prediction.get("boxes") if isinstance(prediction, Mapping) else None
    proposals = proposals if isinstance(proposals, list) else []
    return truth, predicted, [b for b in proposals[:MAX_PROPOSALS] if fits(b, BOX)]


def top_view(record: Mapping) -> str:
    """SVG text; "" where there is no box to draw. x to the right, y up, one scale for both."""
    truth, predicted, proposals = boxes_of(record)
    every = [*truth, *predicted, *proposals]
    if not every:
        return ""
    low = [min(b[i] - abs(b[i + 3]) / 2 for b in every) for i in (0, 1)]
    high = [max(b[i] + abs(b[i + 3]) / 2 for b in every) for i in (0, 1)]
    extent = max(high[0] - low[0], high[1] - low[1], 1e-6)
    scale = (SIDE - 10) / extent

    def rectangle(box: Sequence[float], kind: str) -> str:
        width, height = abs(box[3]) * scale, abs(box[4]) * scale
        x = 5 + (box[0] - low[0]) * scale - width / 2
        y = SIDE - 5 - (box[1] - low[1]) * scale - height / 2
        return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'

    parts = [rectangle(b, "proposal") for b in proposals]
    parts += [rectangle(b, "truth") for b in truth] + [rectangle(b, "predicted") for b in predicted]
    label = f"{len(truth)} true, {len(predicted)} predicted boxes from above, {extent:.1f} m across"
    return f'<svg viewBox="0 0 {SIDE} {SIDE}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
