"""Scan2Cap's benchmark: captions and boxes predicted together, scored by precision, recall and F1.

Source: Scan2Cap benchmark/eval.py (daveredrum/Scan2Cap b9e9610). In each scene, predicted boxes are assigned to objects
by the largest sum of generalised IoU. The caption of an object is compared with all its descriptions (tokens not
truncated). Its sentence score counts if the IoU reaches the threshold. The sum of these scores is divided by the number
of predictions (precision) and of objects (recall).

The original fails for a scene without predictions; here its objects count as not detected.
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
    """An object of the ground truth.

    Attributes:
        scene_id: Its scene.
        object_id: Its id in the scene.
        box: (6,) centre and size in metres.
        reference_tokens: Tokens of its descriptions.
    """

    scene_id: str
    object_id: str
    box: Sequence[float]
    reference_tokens: Sequence[Sequence[str]]

    @property
    def key(self) -> str:
        """Id of the object in the split."""
        return f"{self.scene_id}|{self.object_id}"


@dataclass(frozen=True)
class DenseCaption:
    """A predicted caption.

    Attributes:
        box: (6,) centre and size in metres.
        sentence: The sentence to compare, `sos ... eos` included.
    """

    box: Sequence[float]
    sentence: str


@dataclass(frozen=True)
class Assigned:
    """The prediction assigned to an object.

    Attributes:
        sentence: The sentence to compare.
        iou: IoU of the predicted box with the object's box; None if the scene has no predictions.
    """

    sentence: str
    iou: float | None


def assign(predicted: Sequence[DenseCaption], objects: Sequence[DescribedObject]) -> list[Assigned]:
    """Assign the predictions of a scene to its objects.

    As in the original, an object without an assigned prediction gets the scene's first one, whose IoU decides.

    Args:
        predicted: Predictions of the scene.
        objects: Objects of the scene.

    Returns:
        The assigned prediction of each object.
    """
    if not predicted:
        return [Assigned(UNDETECTED, None) for _ in objects]
    boxes = as_boxes([p.box for p in predicted], "predicted boxes")
    cost = -giou_matrix(boxes, as_boxes([o.box for o in objects], "ground-truth boxes"))
    rows, columns = linear_sum_assignment(cost)
    prediction_of = dict(zip(columns.tolist(), rows.tolist(), strict=True))
    pairs = [(predicted[prediction_of.get(i, 0)], target) for i, target in enumerate(objects)]
    return [Assigned(prediction.sentence, iou(prediction.box, target.box)) for prediction, target in pairs]


def benchmark(
    predictions: Mapping[str, Sequence[DenseCaption]],
    objects: Sequence[DescribedObject],
    score: Scorer,
    prefix: str = "benchmark_",
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Compute the metrics of the benchmark.

    Args:
        predictions: Captions by scene. Scenes without ground truth are ignored, as in the original.
        objects: Objects of all scenes.
        score: A running Scorer.
        prefix: Prefix of the names.

    Returns:
        `{prefix}{metric}_{precision|recall|f1}@{iou}` in per cent, and the reasons for missing values by name.
    """
    scenes: dict[str, list[DescribedObject]] = {}
    for target in objects:
        scenes.setdefault(target.scene_id, []).append(target)
    assigned: dict[str, Assigned] = {}
    for scene_id, targets in scenes.items():
        of_scene = assign(predictions.get(scene_id, ()), targets)
        assigned.update(zip((target.key for target in targets), of_scene, strict=True))
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
    """Precision, recall and F1 in per cent; F1 is 0 if both are 0, where the original divides by zero."""
    if summed is None:
        return dict.fromkeys(("precision", "recall", "f1"))
    precision, recall = (100 * summed / n if n else 0.0 for n in (predicted, objects))
    both = precision + recall
    return {"precision": precision, "recall": recall, "f1": 2 * precision * recall / both if both else 0.0}
