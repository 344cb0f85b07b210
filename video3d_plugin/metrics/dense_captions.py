"""Scan2Cap's benchmark form: captions and boxes are predicted together, and scored by precision, recall and F1.

Scan2Cap benchmark/eval.py (daveredrum/Scan2Cap b9e9610): in each scene the predicted boxes are assigned to the
objects by the largest sum of generalised IoU, an object's caption is compared with all its descriptions
(untruncated tokens), a sentence score counts where IoU >= threshold, and the sum of the counted scores is divided
by the number of predictions (precision) and of objects (recall).

A scene without predictions stops the original with an exception; here its objects count as not found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from video3d_plugin.metrics.captions import UNDETECTED, official_sentence
from video3d_plugin.metrics.iou import as_boxes, giou_matrix, iou
from video3d_plugin.metrics.ngrams import NAMES, Scorer

BENCHMARK_IOUS = (0.0, 0.25, 0.5)


@dataclass(frozen=True)
class DescribedObject:
    """An object of the ground truth: box (6,) and the tokens of its descriptions."""

    scene_id: str
    object_id: str
    box: Sequence[float]
    reference_tokens: Sequence[Sequence[str]]

    @property
    def key(self) -> str:
        return f"{self.scene_id}|{self.object_id}"


@dataclass(frozen=True)
class DenseCaption:
    """A prediction: box (6,) and a sentence that is compared as it is, `sos ... eos` included."""

    box: Sequence[float]
    sentence: str


@dataclass(frozen=True)
class Assigned:
    """The sentence that an object was given, and how well the box fits; iou None: no prediction was left for it."""

    sentence: str
    iou: float | None


def assign(predicted: Sequence[DenseCaption], objects: Sequence[DescribedObject]) -> list[Assigned]:
    """For each object of one scene, the prediction assigned to it.

    With fewer predictions than objects, the original gives every object left over the scene's first prediction; its
    IoU then decides as for any other.
    """
    if not predicted:
        return [Assigned(UNDETECTED, None) for _ in objects]
    boxes = as_boxes([p.box for p in predicted], "predicted boxes")
    cost = -giou_matrix(boxes, as_boxes([o.box for o in objects], "ground-truth boxes"))
    rows, columns = linear_sum_assignment(cost)
    chosen = dict(zip(columns.tolist(), rows.tolist(), strict=True))
    return [
        Assigned(predicted[chosen.get(i, 0)].sentence, iou(predicted[chosen.get(i, 0)].box, target.box))
        for i, target in enumerate(objects)
    ]


def benchmark(
    predictions: Mapping[str, Sequence[DenseCaption]],
    objects: Sequence[DescribedObject],
    score: Scorer,
    prefix: str = "benchmark_",
) -> tuple[dict[str, float | None], dict[str, str]]:
    """`{prefix}{metric}_{precision|recall|f1}@{iou}` in percent, and the reasons for what is missing.

    predictions: {scene_id: captions}; scenes that the ground truth lacks are ignored, as in the original.
    """
    scenes: dict[str, list[DescribedObject]] = {}
    for target in objects:
        scenes.setdefault(target.scene_id, []).append(target)
    assigned: dict[str, Assigned] = {}
    for scene_id, targets in scenes.items():
        found = assign(predictions.get(scene_id, ()), targets)
        assigned.update(zip((target.key for target in targets), found, strict=True))
    total_predicted = sum(len(predictions.get(scene_id, ())) for scene_id in scenes)
    references = {o.key: [official_sentence(t, None) for t in o.reference_tokens] for o in objects}
    scores = score({key: a.sentence for key, a in assigned.items()}, {key: references[key] for key in assigned})
    numbers: dict[str, float | None] = {}
    missing: dict[str, str] = {}
    for threshold in BENCHMARK_IOUS:
        counts = np.array([a.iou is not None and a.iou >= threshold for a in assigned.values()], dtype=np.float64)
        for name in NAMES:
            values = scores.items[name]
            summed = None if values is None else float((values * counts).sum())
            for kind, number in _precision_recall(summed, total_predicted, len(assigned)).items():
                numbers[f"{prefix}{name}_{kind}@{threshold:g}"] = number
                if name in scores.missing:
                    missing[f"{prefix}{name}_{kind}@{threshold:g}"] = scores.missing[name]
    return numbers, missing


def _precision_recall(summed: float | None, predicted: int, objects: int) -> dict[str, float | None]:
    """In percent; F1 is 0 where nothing counts (the original divides by zero)."""
    if summed is None:
        return dict.fromkeys(("precision", "recall", "f1"))
    precision, recall = (100 * summed / n if n else 0.0 for n in (predicted, objects))
    both = precision + recall
    return {"precision": precision, "recall": recall, "f1": 2 * precision * recall / both if both else 0.0}
