"""Draws the plan of one question, from above, as SVG: its boxes, and the names of the objects where they are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from video3d_plugin.files.schema import fits
from video3d_plugin.metrics.iou import iou_matrix
from video3d_plugin.scene import Instance
from video3d_plugin.tasks import TaskSpec
from video3d_plugin.tasks.kinds import ANY_BOX

WIDTH = 420  # units of the drawing; text has 12
HEIGHTS = (200, 420)
MAX_PROPOSALS = 100
MARGIN_M = 1.5  # shown around the true and the predicted boxes
SAME_IOU = 0.9  # a true box is that of the annotated object
LIKE_IOU = 0.25  # a predicted box has the name of the annotated object that it overlaps most, from here on
LETTERS = 32  # of a text
_LETTER, _LINE = 6.6, 14  # width of a letter, height of a line of text


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


def plan(spec: TaskSpec, record: Mapping, objects: Sequence[Instance] = ()) -> str:
    """Draw the boxes of a record from above, x to the right and y up, with the scene's objects around them.

    Args:
        spec: The benchmark.
        record: A record of it.
        objects: The annotated objects of its scene.

    Returns:
        SVG; "" if the record has no boxes.
    """
    truth, predicted, proposals = boxes_of(spec, record)
    if not truth and not predicted and not proposals:
        return ""
    drawing = _Drawing([*truth, *predicted] or proposals)
    others = [o for o in objects if best_match(o.box, truth, SAME_IOU) is None]
    for box in proposals:
        drawing.box(box, "proposal")
    for instance in others:
        drawing.box(instance.box, "object")
    meant = [("truth", "true", box, SAME_IOU) for box in truth]
    meant += [("predicted", "chosen", box, LIKE_IOU) for box in predicted]
    names = []
    for kind, word, box, least in meant:
        drawing.box(box, kind)
        index = best_match(box, [o.box for o in objects], least)
        stated = str(record.get("object_name") or "").replace("_", " ") if kind == "truth" else ""
        names.append(objects[index].label if index is not None else stated)
        drawing.label(box, f"{word}: {names[-1]}" if names[-1] else word, kind, is_needed=True)
    for instance in others:
        drawing.label(instance.box, instance.label, "object")
    described = [f"{word} {name}".strip() for (_, word, _, _), name in zip(meant, names, strict=True)]
    return drawing.svg(f"Plan from above, {drawing.across_m:.1f} m across: {', '.join(described) or 'proposals only'}")


def best_match(box: Sequence[float], boxes: Sequence[Sequence[float]], least: float) -> int | None:
    """Return the index of the box with the largest IoU with `box`; None if that is below `least`, or there is none."""
    if not len(boxes):
        return None
    overlap = iou_matrix(np.array([box]), np.array(boxes))[0]
    best = int(np.argmax(overlap))
    return best if overlap[best] >= least else None


class _Drawing:
    """A drawing of boxes from above that shows an area around some of them.

    Attributes:
        across_m: Width of the area, metres.
    """

    def __init__(self, shown: Sequence[Sequence[float]]):
        low = [min(b[i] - abs(b[i + 3]) / 2 for b in shown) - MARGIN_M for i in (0, 1)]
        high = [max(b[i] + abs(b[i + 3]) / 2 for b in shown) + MARGIN_M for i in (0, 1)]
        across, deep = high[0] - low[0], high[1] - low[1]
        self.height = min(max(WIDTH * deep / across, HEIGHTS[0]), HEIGHTS[1])
        self.scale = min(WIDTH / across, self.height / deep)
        self.across_m = WIDTH / self.scale
        self.left = (low[0] + high[0]) / 2 - self.across_m / 2
        self.top = (low[1] + high[1]) / 2 + self.height / self.scale / 2
        self._parts: list[str] = []
        self._texts: list[str] = []
        self._taken: list[tuple[float, float, float]] = []  # middle, baseline and width of texts

    def _place(self, box: Sequence[float]) -> tuple[float, float, float, float]:
        """Left, top, width and height of a box."""
        width, height = abs(box[3]) * self.scale, abs(box[4]) * self.scale
        x, y = (box[0] - self.left) * self.scale - width / 2, (self.top - box[1]) * self.scale - height / 2
        return x, y, width, height

    def box(self, box: Sequence[float], kind: str) -> None:
        """Draw a box."""
        x, y, width, height = self._place(box)
        self._parts.append(f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>')

    def label(self, box: Sequence[float], text: str, kind: str, is_needed: bool = False) -> None:
        """Write a text above a box, or below; unless it `is_needed`, only where no other text is and it is short."""
        x, y, width, height = self._place(box)
        text = text if len(text) <= LETTERS else f"{text[: LETTERS - 1]}…"
        half, middle = len(text) * _LETTER / 2, x + width / 2
        if is_needed:
            middle = min(max(middle, half), WIDTH - half)
            above, below = y - 4, y + height + _LINE
            places = [(middle, v) for v in (above, below, *(above - _LINE * n for n in range(1, 30)), below + _LINE)]
        else:
            is_around = width > WIDTH / 2 and height > self.height / 2  # such as the floor
            places = [(middle, y + height / 2 + 4)] if 2 * half <= max(width, 40) and not is_around else []
        for at, baseline in places:
            inside = _LINE <= baseline <= self.height - 2 and half <= at + 0.1 and at - 0.1 <= WIDTH - half
            if inside and not self._is_taken(at, baseline, half):
                self._taken.append((at, baseline, half))
                self._texts.append(f'<text class="{kind}" x="{at:.1f}" y="{baseline:.1f}">{escape(text)}</text>')
                return

    def _is_taken(self, at: float, baseline: float, half: float) -> bool:
        return any(abs(at - x) < half + w and abs(baseline - y) < _LINE for x, y, w in self._taken)

    def svg(self, label: str) -> str:
        """Return the drawing, with a bar of one metre."""
        y, end = self.height - 8, 10 + self.scale
        bar = f'<path class="metre" d="M10 {y - 4:.1f}V{y:.1f}H{end:.1f}V{y - 4:.1f}"/>'
        bar += f'<text class="metre" x="{10 + self.scale / 2:.1f}" y="{y - 5:.1f}">1 m</text>'
        return (
            f'<svg viewBox="0 0 {WIDTH} {self.height:.0f}" role="img" aria-label="{escape(label)}">'
            f"{''.join(self._parts)}{bar}{''.join(self._texts)}</svg>"
        )
