"""Augmentation: a scene turned and shifted as a whole, so that the same answers hold at other coordinates.

Quarter turns about the vertical and horizontal shifts keep boxes axis-aligned, and left and right as they are.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import torch

from video3d_plugin.scene import Question, SceneInputs

SHIFT_M = 1.0
_COS_SIN = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))  # of the quarter turns


def turn_and_shift(
    inputs: SceneInputs, questions: list[Question], rng: random.Random, scene_id: str, shift_m: float = SHIFT_M
) -> tuple[SceneInputs, list[Question]]:
    """Turn a scene by a random number of quarter turns about z and shift it at random along x and y.

    Points, boxes, the questions' coordinates and the viewpoints in their metadata move; pixels and text do not. Text
    that states coordinates would no longer be true.

    Args:
        inputs: The scene.
        questions: Questions about it.
        rng: Draws the turn and the shift.
        scene_id: Id of the result. It must differ from other scenes' of the batch, which may hold the same scene twice,
            at two places.
        shift_m: Largest shift along each axis, in metres.

    Returns:
        The new scene, and the questions about it.
    """
    turns = rng.randrange(4)
    shift = (rng.uniform(-shift_m, shift_m), rng.uniform(-shift_m, shift_m))
    move = _mover(turns, shift)
    boxes = inputs.proposals.clone()
    boxes[:, :3] = move(boxes[:, :3])
    if turns % 2:
        boxes[:, 3:5] = boxes[:, [4, 3]]

    def move_coords(coords: tuple) -> tuple:
        if not coords:
            return ()
        points = torch.tensor(coords, dtype=torch.float64).reshape(-1, 3)
        return tuple(tuple(point) for point in move(points).tolist())

    def move_question(question: Question) -> Question:
        metadata = question.metadata
        if metadata.get("viewpoint"):
            metadata = {**metadata, "viewpoint": move_coords(metadata["viewpoint"])}
        return replace(question, scene_id=scene_id, coords=move_coords(question.coords), metadata=metadata)

    moved_questions = [move_question(question) for question in questions]
    points = move(inputs.token_points)
    if inputs.spec.points == "minmax":  # a turn may make the greatest x the least
        points = torch.stack([points.amin(-2), points.amax(-2)], dim=-2)
    return replace(inputs, scene_id=scene_id, token_points=points, proposals=boxes), moved_questions


def _mover(turns: int, shift: tuple[float, float]) -> Callable[[torch.Tensor], torch.Tensor]:
    cos, sin = _COS_SIN[turns]

    def move(points: torch.Tensor) -> torch.Tensor:  # (..., 3) metres
        x, y, z = points.unbind(-1)
        return torch.stack([cos * x - sin * y + shift[0], sin * x + cos * y + shift[1], z], -1)

    return move
