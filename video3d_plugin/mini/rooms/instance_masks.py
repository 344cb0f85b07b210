"""Instance masks of a room's objects in its frames, and the faults that a detector's masks have."""

from __future__ import annotations

import numpy as np

from video3d_plugin.mini.rooms.render import RoomBoxes, cast, intrinsics
from video3d_plugin.mini.rooms.scenes import SyntheticScene

_FEWEST_PIXELS = 50
_NEAR_PIXELS = 7  # masks this near to each other may be merged


def instance_masks(scene: SyntheticScene, index: int, image_size: tuple[int, int] = (240, 320)) -> list[np.ndarray]:
    """Render the masks of the objects that a frame shows with 50 pixels or more, without floor, walls and ceiling.

    Args:
        scene: The room.
        index: Which of its poses.
        image_size: Height and width, pixels.

    Returns:
        (H, W) bool masks that do not overlap.
    """
    _, _, owner = cast(RoomBoxes.of(scene.room), scene.poses[index], intrinsics(*image_size), *image_size)
    masks = [owner == thing.object_id for thing in scene.room.things]
    return [mask for mask in masks if mask.sum() >= _FEWEST_PIXELS]


def with_faults(masks: list[np.ndarray], share: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Spoil a share of the masks: one third each is left out, split in two, or merged with a neighbour.

    Args:
        masks: (H, W) bool masks of one frame.
        share: Share of the masks to spoil, 0 to 1.
        rng: Draws which.

    Returns:
        The masks of the frame with faults.
    """
    spoiled: list[np.ndarray] = []
    taken: set[int] = set()
    for number, mask in enumerate(masks):
        if number in taken:
            continue
        fault = rng.integers(3) if rng.random() < share else None
        if fault is None:
            spoiled.append(mask)
        elif fault == 1:
            spoiled += _split(mask, rng)
        elif fault == 2:
            others = [other for other in range(number + 1, len(masks)) if other not in taken]
            neighbours = [other for other in others if _touch(mask, masks[other])]
            if neighbours:
                taken.add(other := int(rng.choice(neighbours)))
                mask = mask | masks[other]
            spoiled.append(mask)
    return spoiled


def _split(mask: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Cut a mask across its longer side, between 30 and 70 % of its pixels."""
    rows, columns = np.nonzero(mask)
    along = columns if np.ptp(columns) > np.ptp(rows) else rows
    first = np.zeros_like(mask)
    cut = along <= np.quantile(along, rng.uniform(0.3, 0.7))
    first[rows[cut], columns[cut]] = True
    return [part for part in (first, mask & ~first) if part.any()]


def _touch(one: np.ndarray, other: np.ndarray) -> bool:
    import cv2

    grown = cv2.dilate(one.astype(np.uint8), np.ones((_NEAR_PIXELS, _NEAR_PIXELS), np.uint8))
    return bool((grown.astype(bool) & other).any())
