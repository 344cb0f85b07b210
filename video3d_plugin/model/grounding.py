"""The grounding head: features of proposals, their scores, and the loss.

Source: LaVi-Lab/Video-3D-LLM at 3ff70e8, llava/model/language_model/llava_qwen.py (`predict_box`) and llava_arch.py
(`object_features`). Parameter names are the reference's: they are registered on the model itself, as `ground_head*`.
Shapes: N proposals, Q queries, M patches of a scene, hidden size H.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from video3d_plugin.config import HeadSpec
from video3d_plugin.model.distributed.rank_sync import apply_joined

_SCORE_WIDTH = 1024  # the reference's inner width of the `score` head; its checkpoints have parameters of this size


def add_head(model: nn.Module, spec: HeadSpec, size: int) -> None:
    """Register the head's parameters under the reference's names.

    Args:
        model: The model, changed in place.
        spec: Kind of the head.
        size: Hidden size H.
    """
    if spec.kind == "mlp":
        model.ground_head = _relu_then_norm(size)
        return
    if spec.kind == "score":
        model.ground_head_obj = _norm_then_relu(size, _SCORE_WIDTH, _SCORE_WIDTH)
        model.ground_head_query = _norm_then_relu(size, _SCORE_WIDTH, _SCORE_WIDTH)
        model.ground_head_score = _norm_then_relu(_SCORE_WIDTH, _SCORE_WIDTH, 1)
        return
    model.ground_head_zero_target = nn.Parameter(torch.randn(size))
    model.ground_head_obj = _relu_then_norm(size)
    model.ground_head_query = _relu_then_norm(size)


def _relu_then_norm(size: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.LayerNorm(size), nn.Linear(size, size))


def _norm_then_relu(size: int, inner: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(size, inner), nn.LayerNorm(inner), nn.ReLU(), nn.Linear(inner, out))


def proposal_features(patches: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Average the patches inside each proposal.

    On a GPU this is a product of a 0-1 matrix with the patches. On a CPU its zeros would cost more than a loop over
    proposals, so a sparse product (`embedding_bag`) adds only what is inside.

    Args:
        patches: (M, H) features of all patches of all frames.
        inside: (N, M) bool, True for patches inside the proposal.

    Returns:
        (N, H) mean features; zero for a proposal without patches.
    """
    if patches.device.type == "cpu" and len(inside):
        _, index = inside.nonzero(as_tuple=True)
        counts = inside.sum(1)
        return F.embedding_bag(index, patches, counts.cumsum(0) - counts, mode="mean")
    return pooled(patches, inside)


def pooled(patches: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Compute `proposal_features` as a dense product."""
    count = inside.sum(1, keepdim=True)
    return (inside.to(patches.dtype) @ patches / count.clamp(min=1)).to(patches.dtype)


def score_proposals(
    model: Any,
    spec: HeadSpec,
    queries: torch.Tensor,
    features: torch.Tensor,
) -> torch.Tensor:
    """Score the proposals of one scene.

    Args:
        model: The model that holds the head.
        spec: Kind of the head.
        queries: (Q, H) hidden states of <ground> tokens.
        features: (N, H) features of the proposals.

    Returns:
        (Q, N) scores. For an InfoNCE head (Q, N + 1) cosines, with the zero-target slot ("no such object") last.
    """
    return score_scenes(model, spec, [(queries, features)])[0]


def score_scenes(model: Any, spec: HeadSpec, scenes: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> list[torch.Tensor]:
    """Score the proposals of several scenes, given as (queries, features); each module of the head runs once."""
    queries = [query for query, _ in scenes]
    features = [own.to(query) for query, own in scenes]
    if spec.kind == "mlp":
        projected = apply_joined(model.ground_head, queries)
        return [query @ own.T for query, own in zip(projected, features, strict=True)]
    if spec.has_zero_target:
        zero_target = model.ground_head_zero_target[None]
        features = [torch.cat([own, zero_target.to(own)]) for own in features]
    objects = apply_joined(model.ground_head_obj, features)
    projected = apply_joined(model.ground_head_query, queries)
    if spec.kind == "score":
        pairs = [(w[:, None] * o[None]).flatten(0, 1) for w, o in zip(projected, objects, strict=True)]
        scores = apply_joined(model.ground_head_score, pairs)
        return [own.view(len(w), len(o)) for own, w, o in zip(scores, projected, objects, strict=True)]
    return [F.normalize(w, dim=-1) @ F.normalize(o, dim=-1).T for w, o in zip(projected, objects, strict=True)]


def ground_loss(scores: torch.Tensor, targets: torch.Tensor, spec: HeadSpec) -> torch.Tensor:
    """Compute the grounding loss of one item.

    InfoNCE: -log of the targets' share of sum exp(score / temperature); the zero-target slot is the target of an item
    without targets. Other heads: binary cross-entropy, the K positives weighted by (N - K) / K, averaged over the N
    proposals.

    Args:
        scores: (N,), or (N + 1,) with the zero-target slot last.
        targets: (K,) indices of proposals, on the CPU; K may be 0, and repeated indices count once.
        spec: Kind of the head, and InfoNCE's temperature.

    Returns:
        () float32.
    """
    scores, targets = scores.float(), targets.cpu().unique().to(scores.device, non_blocking=True)
    if spec.has_zero_target:
        logits = scores / spec.temperature
        of_targets = logits[targets] if len(targets) else logits[-1:]
        return logits.logsumexp(0) - of_targets.logsumexp(0)
    labels, weight = torch.zeros_like(scores), torch.ones_like(scores)
    if len(targets):
        labels.index_fill_(0, targets, 1.0)
        weight.index_fill_(0, targets, (len(scores) - len(targets)) / len(targets))
    return F.binary_cross_entropy_with_logits(scores, labels, weight)
