"""What a detector of images gives, whatever runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from video3d_plugin.errors import DataError, joined_names, quoted

if TYPE_CHECKING:
    from PIL import Image

DEFAULT_SCORE = 0.3  # detections below are dropped; views must agree on the others anyway


@dataclass(frozen=True)
class Detection:
    """An object in an image. It has a mask or a box.

    Attributes:
        label: Its class; "" from a model without classes.
        score: Confidence, 0 to 1.
        mask: (h, w) bool over the whole image; None if there is only a box.
        box: (4,) left, top, right, bottom as shares of the image's width and height; None if there is a mask.
    """

    label: str
    score: float
    mask: np.ndarray | None = None
    box: np.ndarray | None = None


def box_shares(corners: Any, image: Image.Image) -> np.ndarray:
    """Return (4,) left, top, right, bottom as shares of the image, within 0 to 1, of corners in pixels."""
    return np.clip(np.asarray(corners, np.float64) / [image.width, image.height, image.width, image.height], 0, 1)


Detector = Callable[["Image.Image"], list[Detection]]


def check_classes(classes: Sequence[str], known: Sequence[str], where: str) -> None:
    """Check names of classes against those of a detector.

    Raises:
        DataError: A name is not among them.
    """
    for name in classes:
        if name not in known:
            raise DataError(f"has no class {quoted(name)}", where=where, remedy=f"its classes: {joined_names(known)}")
