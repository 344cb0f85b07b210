"""A scene turned and shifted as a whole: the same answers at other coordinates, so that a model learns relations.

Quarter turns about the vertical and a horizontal shift keep boxes axis-aligned and left and right as they are.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import torch

from video3d_plugin.scene import Question, SceneInputs

SHIFT_M = 1.0
_COS_SIN = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))


def moved(
    inputs: SceneInputs, questions: list[Question], rng: random.Random, name: str, shift_m: float = SHIFT_M
) -> tuple[SceneInputs, list[Question]]:
    """The scene and its questions after a random quarter turn about z and a shift of up to `shift_m` along x and y.

    It is another scene from then on, called `name`: a batch may hold the same room twice, in two places.

    What frames show stays as it is; points, boxes, the questions' coords and where SQA3D's askers stand move. Text that
    names coordinates would no longer be true.
    """
    turns = rng.randrange(4)
    shift = (rng.uniform(-shift_m, shift_m), rng.uniform(-shift_m, shift_m))
    move = _mover(turns, shift)
    boxes = inputs.proposals.clone()
    boxes[:, :3] = move(boxes[:, :3])
    if turns % 2:
        boxes[:, 3:5] = boxes[:, [4, 3]]

    def place(coords: tuple) -> tuple:
        if not coords:
            return ()
        points = torch.tensor(coords, dtype=torch.float64).reshape(-1, 3)
        return tuple(tuple(point) for point in move(points).tolist())

    def place_question(question: Question) -> Question:
        metadata = question.metadata
        if metadata.get("stands"):
            metadata = {**metadata, "stands": place(metadata["stands"])}
        return replace(question, scene_id=name, coords=place(question.coords), metadata=metadata)

    placed = [place_question(question) for question in questions]
    points = move(inputs.token_points)
    if inputs.spec.points == "minmax":  # a turn may make the greatest x the least
        points = torch.stack([points.amin(-2), points.amax(-2)], dim=-2)
    return replace(inputs, scene_id=name, token_points=points, proposals=boxes), placed


def _mover(turns: int, shift: tuple[float, float]) -> Callable[[torch.Tensor], torch.Tensor]:
    cos, sin = _COS_SIN[turns]

    def move(points: torch.Tensor) -> torch.Tensor:  # (..., 3) metres
        x, y, z = points.unbind(-1)
        return torch.stack([cos * x - sin * y + shift[0], sin * x + cos * y + shift[1], z], -1)

    return move
