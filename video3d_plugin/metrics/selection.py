"""From the scores of a model's proposals to the boxes that it is taken to predict.

`scores` has one number a proposal and, where the model has one, a last one for "nothing is there" (the zero-target
slot). The best one and the cumulative mass are the reference implementation's rules (LaVi-Lab/Video-3D-LLM 3ff70e8,
model_scanrefer.py and eval_multi3drefer.py), the share of the best is ours; ties go to the earlier proposal.

Two objects that fit equally well have half of the softmax each, so a mass of 0.4, or the paper's 0.25, stops after one
of them: the better a model, the less of several objects it names. Measured in docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from video3d_plugin.errors import DataError
from video3d_plugin.metrics.iou import finite_numbers

SCRIPT_MASS = 0.4  # default of the reference's eval_multi3drefer.py
PAPER_MASS = 0.25  # what arXiv 2412.00493 says
BEST_SHARE = 0.5
TEMPERATURE = 0.07


def object_scores(scores: Sequence[float], proposals: int, has_zero_target: bool) -> np.ndarray:
    """The checked scores, (proposals,) or (proposals + 1,) float32; DataError where the count or a value is wrong."""
    array = finite_numbers(scores, "scores", float(np.finfo(np.float32).max)).astype(np.float32)
    expected = proposals + bool(has_zero_target)
    if array.shape != (expected,):
        raise DataError(f"{array.size} scores for {proposals} proposals, expected {expected}")
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
    order, shares = _ranked(scores, proposals, has_zero_target, temperature)
    reached = np.flatnonzero(np.cumsum(shares) >= np.float32(mass))
    return order[: reached[0] + 1 if len(reached) else None]


def objects_by_share(
    scores: Sequence[float],
    proposals: int,
    has_zero_target: bool = True,
    share: float = BEST_SHARE,
    temperature: float = TEMPERATURE,
) -> list[int]:
    """Indices of the proposals that are at least `share` times as probable as the best, best first; the probabilities
    are the softmax of scores / temperature. Empty as in `objects_by_mass`."""
    order, shares = _ranked(scores, proposals, has_zero_target, temperature)
    return [i for i, own in zip(order, shares, strict=True) if own >= share * shares[0]]


def _ranked(
    scores: Sequence[float], proposals: int, has_zero_target: bool, temperature: float
) -> tuple[list[int], np.ndarray]:
    """The proposals, best first, and the softmax of each; none where "nothing is there" is best."""
    array = object_scores(scores, proposals, has_zero_target)
    if not proposals or (has_zero_target and int(array.argmax()) == proposals):
        return [], np.zeros(0, np.float32)
    weights = np.exp((array - array.max()) / np.float32(temperature))
    shares = (weights / weights.sum())[:proposals]
    order = np.argsort(-shares, kind="stable")
    return order.tolist(), shares[order]


@dataclass(frozen=True)
class Rule:
    """A way to choose Multi3DRefer's boxes: choose(scores, proposals, has_zero_target) -> indices, best first."""

    name: str
    choose: Callable[[Sequence[float], int, bool], list[int]]


def by_mass(mass: float) -> Rule:
    """The rule of that cumulative mass; DataError where it does not lie between 0 and 1."""
    if not 0 < mass <= 1:
        raise DataError(f"a cumulative mass of {mass}", remedy="it lies between 0 and 1")
    return Rule(f"mass{mass:g}", partial(objects_by_mass, mass=mass))


HALF = Rule("half", objects_by_share)
