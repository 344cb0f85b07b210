"""Selects predicted boxes by the scores of proposals.

There is one score for each proposal and, if the model has a zero-target slot, a last one for "no object". The best
proposal and the cumulative mass are rules of LaVi-Lab/Video-3D-LLM 3ff70e8 (model_scanrefer.py, eval_multi3drefer.py);
the share of the best probability is a rule of this package. Ties go to the earlier proposal.

Two objects that fit equally well have a probability of one half each, so that a cumulative mass of 0.4, or the paper's
0.25, selects only one of them: better models find fewer of several objects. docs/metrics.md has measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from video3d_plugin.errors import DataError
from video3d_plugin.metrics.iou import finite_numbers

SCRIPT_MASS = 0.4  # default of the reference's eval_multi3drefer.py
PAPER_MASS = 0.25  # arXiv 2412.00493
BEST_SHARE = 0.5
TEMPERATURE = 0.07


def object_scores(scores: Sequence[float], proposals: int, has_zero_target: bool) -> np.ndarray:
    """Check scores and convert them to an array.

    Args:
        scores: Scores of the proposals, and of the zero-target slot if there is one.
        proposals: Number of proposals.
        has_zero_target: Whether the last score is that of the zero-target slot.

    Returns:
        (proposals,) or (proposals + 1,) float32.

    Raises:
        DataError: The number of scores or a value is not valid.
    """
    array = finite_numbers(scores, "scores", float(np.finfo(np.float32).max)).astype(np.float32)
    expected = proposals + bool(has_zero_target)
    if array.shape != (expected,):
        raise DataError(f"{array.size} scores for {proposals} proposals, expected {expected}")
    return array


def best_object(scores: Sequence[float], proposals: int, has_zero_target: bool) -> int | None:
    """Return the index of the proposal with the highest score, whatever the score of the zero-target slot.

    Args:
        scores: As in `object_scores`.
        proposals: Number of proposals.
        has_zero_target: Whether there is a zero-target slot.

    Returns:
        The index; None without proposals.
    """
    array = object_scores(scores, proposals, has_zero_target)[:proposals]
    return int(array.argmax()) if proposals else None


def objects_by_mass(
    scores: Sequence[float],
    proposals: int,
    has_zero_target: bool = True,
    mass: float = SCRIPT_MASS,
    temperature: float = TEMPERATURE,
) -> list[int]:
    """Select proposals up to a cumulative probability (Video-3D-LLM 3ff70e8, eval_multi3drefer.py).

    Probabilities are the softmax of scores / temperature, including the zero-target slot. A mass above that of all
    proposals selects all of them.

    Args:
        scores: As in `object_scores`.
        proposals: Number of proposals.
        has_zero_target: Whether there is a zero-target slot.
        mass: The cumulative probability, above 0, at most 1.
        temperature: Temperature of the softmax.

    Returns:
        Indices, best first: none if the zero-target slot has the highest score, otherwise at least one.
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
    """Select proposals that are at least `share` times as probable as the best one.

    Args:
        scores: As in `object_scores`.
        proposals: Number of proposals.
        has_zero_target: Whether there is a zero-target slot.
        share: Share of the best probability, 0 to 1.
        temperature: Temperature of the softmax.

    Returns:
        Indices, best first: none if the zero-target slot has the highest score, otherwise at least one.
    """
    order, shares = _ranked(scores, proposals, has_zero_target, temperature)
    return [i for i, probability in zip(order, shares, strict=True) if probability >= share * shares[0]]


def _ranked(
    scores: Sequence[float], proposals: int, has_zero_target: bool, temperature: float
) -> tuple[list[int], np.ndarray]:
    """The proposals, best first, and their probabilities; none if the zero-target slot has the highest score."""
    array = object_scores(scores, proposals, has_zero_target)
    if not proposals or (has_zero_target and int(array.argmax()) == proposals):
        return [], np.zeros(0, np.float32)
    weights = np.exp((array - array.max()) / np.float32(temperature))
    shares = (weights / weights.sum())[:proposals]
    order = np.argsort(-shares, kind="stable")
    return order.tolist(), shares[order]


@dataclass(frozen=True)
class Rule:
    """A rule for selecting boxes.

    Attributes:
        name: Prefix of the metrics computed with it.
        choose: (scores, number of proposals, has_zero_target) -> indices, best first.
    """

    name: str
    choose: Callable[[Sequence[float], int, bool], list[int]]


def by_mass(mass: float) -> Rule:
    """Return the rule `objects_by_mass` with a cumulative mass.

    Args:
        mass: The cumulative probability.

    Raises:
        DataError: It is not above 0 and at most 1.
    """
    if not 0 < mass <= 1:
        raise DataError(f"the cumulative mass is {mass}", remedy="choose a number above 0 and up to 1")
    return Rule(f"mass{mass:g}", partial(objects_by_mass, mass=mass))


HALF = Rule("half", objects_by_share)
