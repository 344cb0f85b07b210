"""Scores and losses of the items of a batch, from the language model's hidden states.

Shapes: I items in R rows of length L, hidden size H. An item's *place* is its row and the columns of its tokens, see
`sequence.item_places`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from video3d_plugin.errors import DataError
from video3d_plugin.model import sequence as seq
from video3d_plugin.model.distributed.rank_sync import zero_loss
from video3d_plugin.model.grounding import ground_loss, score_proposals, score_scenes
from video3d_plugin.model.scene_tokens import SceneTokens, grounding_features

Place = tuple[int, torch.Tensor]


def score_items(
    model: Any,  # a Video3DForCausalLM, whose module imports this one
    hidden: torch.Tensor,
    rows: seq.PackedBatch,
    tokens: Sequence[SceneTokens],
    scene_of: Sequence[int],
    targets: Sequence[torch.Tensor] | None,
) -> dict[str, Any]:
    """Compute loss, item_losses, logits and ground_scores of the output.

    Args:
        model: A Video3DForCausalLM.
        hidden: (R, L, H) hidden states of the last layer.
        rows: The rows.
        tokens: The encoded scenes.
        scene_of: For each row the index of its scene.
        targets: For each item the indices of the correct proposals; read for grounding items with labels.

    Returns:
        Fields of `Video3DOutput`.

    Raises:
        DataError: A grounding item has several <ground> tokens, no proposals or no valid targets.
    """
    hidden = hidden.to(rows.embeds.device)  # a model over several devices ends on another one than it starts
    places = seq.item_places(rows.mask, rows.segments)
    unused: list[torch.Tensor] = []  # results for the other ranks' sake, see model.distributed.rank_sync
    all_scores = _ground_scores(model, hidden, rows, places, tokens, scene_of, unused)
    if rows.labels is None:
        return {"logits": model.lm_head(hidden), "ground_scores": all_scores}
    texts = [item for item, scores in enumerate(all_scores) if scores is None]
    targets = _targets_on_cpu(targets)
    labelled, text_losses = _text_losses(model, hidden, rows.labels, [places[item] for item in texts], unused)
    losses = dict(zip(texts, text_losses, strict=True))
    for item, scores in enumerate(all_scores):
        if scores is not None:
            count = len(tokens[scene_of[places[item][0]]].proposals)
            loss = ground_loss(scores, _checked_targets(item, targets, count), model.config.head)
            losses[item] = loss.to(hidden.device)
    item_losses = torch.stack([losses[item] for item in range(len(places))])
    return {
        "loss": item_losses.mean() + model.touch_unused() + sum(zero_loss(result) for result in unused),
        "item_losses": item_losses,
        "logits": labelled if model.training else model.lm_head(hidden),
        "ground_scores": all_scores,
    }


def _text_losses(
    model: Any, hidden: torch.Tensor, labels: torch.Tensor, places: Sequence[Place], unused: list[torch.Tensor]
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return the logits (K, vocabulary) of all labelled positions, and the mean loss of each item."""
    next_labels = [labels[row, columns[1:]] for row, columns in places]
    labelled = [label != seq.IGNORE for label in next_labels]
    counts = [int(mask.sum()) for mask in labelled]
    at = [columns[:-1][mask] for (_, columns), mask in zip(places, labelled, strict=True)]
    rows = [columns.new_full((len(columns),), row) for (row, _), columns in zip(places, at, strict=True)]
    # All at once: taken item by item, each would cost a gradient of the size of `hidden`.
    states = _states(hidden, torch.cat(rows), torch.cat(at)) if at else hidden[:0, 0]
    dummy = hidden[: int(model.rank_sync_enabled), 0]  # a row that no item needs, or none
    logits = model.lm_head(torch.cat([states, dummy]) if len(dummy) else states)
    if len(dummy):
        logits, dummy_logits = logits.split([sum(counts), 1])
        unused.append(dummy_logits)
    flat = torch.cat([label[mask] for label, mask in zip(next_labels, labelled, strict=True)] or [labels[:0, 0]])
    terms = F.cross_entropy(logits.float(), flat.to(logits.device), reduction="none").to(hidden.device)
    # an item without labels has loss 0, not NaN
    return logits, [of_item.sum() / max(len(of_item), 1) for of_item in terms.split(counts)]


def _ground_scores(
    model: Any,
    hidden: torch.Tensor,
    rows: seq.PackedBatch,
    places: Sequence[Place],
    tokens: Sequence[SceneTokens],
    scene_of: Sequence[int],
    unused: list[torch.Tensor],
) -> list[torch.Tensor | None]:
    """Score the items that contain a <ground> token, scene by scene; None for the others."""
    scores: list[torch.Tensor | None] = [None] * len(places)
    head = model.config.head
    if head is None or model.config.ground_token_id is None:
        return scores
    queries = _queries_by_scene(rows, places, tokens, scene_of, model.config.ground_token_id)
    pairs = [
        (
            _states(hidden, torch.tensor([row for _, row, _ in of]), torch.stack([column for _, _, column in of])),
            _features(tokens[scene], hidden, rows, of[0][1]),
        )
        for scene, of in queries.items()
    ]
    if model.rank_sync_enabled:
        by_scene = score_scenes(model, head, pairs or [(hidden[:1, 0], tokens[0].proposals)])
        unused += [] if pairs else by_scene
    else:
        by_scene = [score_proposals(model, head, *pair) for pair in pairs]
    for of_scene, all_rows in zip(queries.values(), by_scene if pairs else [], strict=True):
        for (item, _, _), row_scores in zip(of_scene, all_rows, strict=True):
            scores[item] = row_scores
    return scores


def _features(tokens: SceneTokens, hidden: torch.Tensor, rows: seq.PackedBatch, row: int) -> torch.Tensor:
    """Return the features of a scene's proposals, from the states of its visual tokens in one of its rows."""
    if tokens.inside is None:  # the states are not read
        return tokens.proposals
    return grounding_features(tokens, hidden[row, rows.visual_columns(row).to(hidden.device)])


Query = tuple[int, int, torch.Tensor]  # item; row and column of its <ground> token


def _queries_by_scene(
    rows: seq.PackedBatch,
    places: Sequence[Place],
    tokens: Sequence[SceneTokens],
    scene_of: Sequence[int],
    ground_token_id: int,
) -> dict[int, list[Query]]:
    queries: dict[int, list[Query]] = {}
    for item, (row, columns) in enumerate(places):
        at = columns[rows.ids[row, columns] == ground_token_id]
        if len(at) > 1:
            raise DataError(f"item {item} of the batch has {len(at)} <ground> tokens", remedy="use one an item")
        if len(at):
            queries.setdefault(scene_of[row], []).append((item, row, at[0]))
    for scene, of_scene in queries.items():
        if not len(tokens[scene].proposals):
            items = ", ".join(str(item) for item, _, _ in of_scene)
            raise DataError(f"item {items} of the batch asks to ground in a scene without proposals",
                            remedy="give the scene's proposal boxes")  # fmt: skip
    return queries


def _states(hidden: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Return hidden[rows, columns] (Q, H), for indices (Q,) on the CPU."""
    return hidden[rows.to(hidden.device), columns.to(hidden.device)]


def _targets_on_cpu(targets: Sequence[Any] | None) -> list[torch.Tensor] | None:
    """Return the targets as int64 tensors of the CPU, where they are checked; one transfer for all of them."""
    if targets is None:
        return None
    tensors = [torch.as_tensor(of_item) for of_item in targets]
    if all(of_item.device.type == "cpu" for of_item in tensors):
        return [of_item.long() for of_item in tensors]
    joined = torch.cat([of_item.long().flatten() for of_item in tensors]).cpu()
    return list(joined.split([of_item.numel() for of_item in tensors]))


def _checked_targets(item: int, targets: Sequence[torch.Tensor] | None, count: int) -> torch.Tensor:
    """Return the item's targets (K,), after checking them against the number of proposals."""
    if targets is None or item >= len(targets):
        raise DataError(f"item {item} of the batch asks to ground, but has no targets", remedy="pass targets")
    of_item = targets[item]
    if len(of_item) and not (0 <= int(of_item.min()) and int(of_item.max()) < count):
        raise DataError(
            f"item {item} of the batch has targets {of_item.tolist()}, the scene has {count} proposals",
            remedy="give indices of proposals",
        )
    return of_item
