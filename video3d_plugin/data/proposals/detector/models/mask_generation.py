"""Mask generation models of transformers (SAM, SAM 2, ...), prompted with a grid of points.

transformers' pipeline prepares the image and runs the model. Its last step, which drops repeated masks, needs compiled
operators of torchvision, so that it is done here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from video3d_plugin.data.proposals.detector.models.detection import Detection

if TYPE_CHECKING:
    from PIL import Image

_POINTS_PER_SIDE = 16  # transformers' default is 32; a quarter of the points finds what is large enough to lift
_SAME_IOU = 0.7  # of the boxes of two masks: the better one stays


def generate_masks(run: Any, image: Image.Image) -> list[Detection]:
    """Return masks of everything in an image.

    Args:
        run: A pipeline of transformers for mask generation.
        image: The image.
    """
    import cv2

    encoded, scores, corners = [], [], []
    for inputs in run.preprocess(image, points_per_crop=_POINTS_PER_SIDE):
        outputs = run.forward(inputs)
        encoded += outputs["masks"]
        scores += outputs["iou_scores"].float().cpu().tolist()
        corners += outputs["boxes"].float().cpu().tolist()
    if not encoded:
        return []
    sides = [(left, top, right - left, bottom - top) for left, top, right, bottom in corners]
    keep = np.asarray(cv2.dnn.NMSBoxes(sides, scores, 0.0, _SAME_IOU)).reshape(-1)
    return [Detection("", min(scores[index], 1.0), mask=decode_runs(encoded[index])) for index in keep]


def decode_runs(runs: dict[str, Any]) -> np.ndarray:
    """Decode a mask that is stored by the lengths of its runs, down the columns, the first run outside the mask.

    Args:
        runs: {"size": [height, width], "counts": lengths}, as pycocotools has it.

    Returns:
        (height, width) bool.
    """
    height, width = runs["size"]
    counts = np.asarray(runs["counts"], np.int64)
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(width, height).T
