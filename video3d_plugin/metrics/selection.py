"""From the scores of a model's proposals to the boxes that it is taken to predict.

`scores` has one number a proposal and, where the model has one, a last one for "nothing is there" (the zero-target
slot). Both rules are the reference implementation's (LaVi-Lab/Video-3D-LLM 3ff70e8, model_scanrefer.py and
eval_multi3drefer.py); ties go to the earlier proposal.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from video3d_plugin.errors import DataError

SCRIPT_MASS = 0.4  # default of the reference's eval_multi3drefer.py
PAPER_MASS = 0.25  # what arXiv 2412.00493 says
TEMPERATURE = 0.07


def object_scores(scores: Sequence[float], proposals: int, has_zero_target: bool) -> np.ndarray:
    """The checked scores, (proposals,) or (proposals + 1,) float32; DataError where the count or a value is wrong."""
    array = np.asarray(scores, dtype=np.float32)
    expected = proposals + bool(has_zero_target)
    if array.shape != (expected,):
        raise DataError(f"{array.size} scores for {proposals} proposals, expected {expected}")
    if np.isnan(array).any():
        raise DataError("a score is not a number")
    return array


def best_object(scores: Sequence[float], proposals: int, has_zero_target: bool) -> int | None:
    """Index of the best proposal; the zero-target slot never wins. None where there is no proposal."""
    array = object_scores(scores, proposals, has_zero_target)[:proposals]
    return int(array.argmax()) if proposals else None


def objects_by_mass(
    scores: Sequence[float],
    proposals: int,
    has_zero_target: bool = True,
    mass: float = SCRIPT_MASS,
    temperature: float = TEMPERATURE,
) -> list[int]:
    """Indices of the proposals that make up `mass` of the softmax of scores / temperature, best first.

    Empty where the zero-target slot is the arg max or there is no proposal; otherwise at least one. The softmax
    counts the zero-target slot, so a mass above what the proposals hold selects all of them.
    """
    array = object_scores(scores, proposals, has_zero_target)
    if not proposals or (has_zero_target and int(array.argmax()) == proposals):
        return []
    weights = np.exp((array - array.max()) / np.float32(temperature))
    share = (weights / weights.sum())[:proposals]
    order = np.argsort(-share, kind="stable")
    reached = np.flatnonzero(np.cumsum(share[order]) >= np.float32(mass))
    return [int(i) for i in order[: reached[0] + 1 if len(reached) else None]]
