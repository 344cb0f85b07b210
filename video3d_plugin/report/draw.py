"""Draws the boxes of one question from above, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from video3d_plugin.files.schema import fits
from video3d_plugin.tasks import TaskSpec
from video3d_plugin.tasks.kinds import ANY_BOX

SIDE = 220
MAX_PROPOSALS = 100


def boxes_of(spec: TaskSpec, record: Mapping) -> tuple[list, list, list]:
    """Return the boxes of a record.

    Args:
        spec: The benchmark.
        record: A record of it.

    Returns:
        (true boxes, predicted boxes, at most MAX_PROPOSALS proposals), each (6,): centre and size in metres.
    """
    truth, predicted = spec.boxes(record)
    prediction = record.get("prediction")
    proposals = prediction.get("boxes") if isinstance(prediction, Mapping) else None
    proposals = proposals if isinstance(proposals, list) else []
    return truth, predicted, [b for b in proposals[:MAX_PROPOSALS] if fits(b, ANY_BOX)]


def top_view(spec: TaskSpec, record: Mapping) -> str:
    """Draw the boxes of a record from above, x to the right and y up.

    Args:
        spec: The benchmark.
        record: A record of it.

    Returns:
        SVG; "" if the record has no boxes.
    """
    truth, predicted, proposals = boxes_of(spec, record)
    boxes = [*truth, *predicted, *proposals]
    if not boxes:
        return ""
    low = [min(b[i] - abs(b[i + 3]) / 2 for b in boxes) for i in (0, 1)]
    high = [max(b[i] + abs(b[i + 3]) / 2 for b in boxes) for i in (0, 1)]
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
