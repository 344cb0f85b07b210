"""Chooses among candidate boxes: large, agreed on by many, well filled and with a clear border come first."""

from __future__ import annotations

import numpy as np

from video3d_plugin.data.proposals.auto.boxes import Candidates

_SAME_IOU = 0.7  # candidates that overlap more vote for each other
_VOTES_POWER = 0.4
_LARGEST_FILL = 3.0
_FREE_BORDER = 1.5  # of a set that no edge leaves
_LARGEST_IOU = 0.6  # between two chosen boxes
_MIDDLE_SCORE = 30.0  # becomes 0.5
_BOXES_AT_ONCE = 16


def ranked(candidates: Candidates, area_m2: float, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of at most `limit` candidates, best first, and their scores in 0..1.

    Args:
        candidates: N candidates.
        area_m2: Surface that a surfel stands for.
        limit: Largest number.
    """
    if not len(candidates) or limit < 1:
        return np.zeros(0, np.int64), np.zeros(0, np.float32)
    scores = scores_of(candidates, area_m2)
    remaining = scores.copy()
    chosen: list[int] = []
    values: list[float] = []
    low, high = candidates.low.T, candidates.high.T
    overlap = np.zeros(len(scores))  # largest IoU with a chosen one
    while len(chosen) < limit:
        best = int(remaining.argmax())
        if remaining[best] <= 0:
            break
        chosen.append(best)
        values.append(remaining[best])
        overlap = np.maximum(overlap, _ious(low[:, [best]], high[:, [best]], low, high)[0])
        remaining = np.where(overlap > _LARGEST_IOU, 0, scores * (1 - overlap))
    best_scores = np.array(values)
    return np.array(chosen, np.int64), (best_scores / (best_scores + _MIDDLE_SCORE)).astype(np.float32)


def scores_of(candidates: Candidates, area_m2: float) -> np.ndarray:
    """(N,) score of each candidate, above 0."""
    size = candidates.high - candidates.low
    faces = np.stack([size[:, 0] * size[:, 1], size[:, 0] * size[:, 2], size[:, 1] * size[:, 2]])
    fill = np.minimum(candidates.counts * area_m2 / np.maximum(faces.max(0), 1e-6), _LARGEST_FILL)
    border = np.where(np.isnan(candidates.borders), _FREE_BORDER, candidates.borders)
    return (candidates.counts * votes_of(candidates)) ** _VOTES_POWER * fill * border * candidates.factors


def votes_of(candidates: Candidates) -> np.ndarray:
    """(N,) number of candidates with an IoU above _SAME_IOU, itself included."""
    volume = (candidates.high - candidates.low).prod(1)
    order = np.argsort(volume, kind="stable")
    low, high = np.ascontiguousarray(candidates.low[order].T), np.ascontiguousarray(candidates.high[order].T)
    # a larger IoU than the quotient of two volumes is impossible
    last = np.searchsorted(volume[order], volume[order] / _SAME_IOU, side="right")
    votes = np.zeros(len(order), np.int64)
    for start in range(0, len(order), _BOXES_AT_ONCE):
        stop = min(start + _BOXES_AT_ONCE, len(order))
        end = last[stop - 1]
        ious = _ious(low[:, start:stop], high[:, start:stop], low[:, start:end], high[:, start:end])
        same = ious > _SAME_IOU
        votes[start:stop] += same.sum(1)
        votes[stop:end] += same[:, stop - start :].sum(0)
    result = np.empty(len(order), np.int64)
    result[order] = votes
    return result


def _ious(low: np.ndarray, high: np.ndarray, other_low: np.ndarray, other_high: np.ndarray) -> np.ndarray:
    """(K, M) IoU of K boxes with M others; corners are (3, K) and (3, M)."""
    lengths = np.minimum(high[:, :, None], other_high[:, None]) - np.maximum(low[:, :, None], other_low[:, None])
    shared = np.maximum(lengths, 0).prod(0)
    volumes = (high - low).prod(0)[:, None] + (other_high - other_low).prod(0)
    return shared / np.maximum(volumes - shared, 1e-12)
