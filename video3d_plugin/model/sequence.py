"""From token ids and scenes to what enters the language model, and back to the items.

A *row* is one sequence of the batch; an *item* is one question. Usually they are the same. A row that packs several
questions of one scene carries `segments`: 0 for the shared prefix, k = 1, 2, ... for the k-th item; each item attends
to the prefix and to itself, at the positions that it would have alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.utils.rnn import pad_sequence

from video3d_plugin.errors import DataError

IMAGE_ID = -200  # LLaVA-NeXT's IMAGE_TOKEN_INDEX: stands in input_ids for all visual tokens of a scene
IGNORE = -100  # a label that does not count


@dataclass
class PackedBatch:
    """R sequences of length L, padded. `position_ids` count within an item; `segments` is -1 on padding."""

    embeds: torch.Tensor  # (R, L, H)
    ids: torch.Tensor  # (R, L) token ids, IMAGE_ID on visual tokens and padding
    mask: torch.Tensor  # (R, L) long, 1 where there is a token
    labels: torch.Tensor | None  # (R, L), IGNORE where there is none
    segments: torch.Tensor | None  # (R, L)

    @property
    def position_ids(self) -> torch.Tensor:
        return positions(self.mask, self.segments)


def check_prompts(input_ids: torch.Tensor, mask: torch.Tensor, lengths: list[int], longest: int) -> None:
    """Raise if an item lacks its `<image>` (or has several), or is longer than the model was made for."""
    placeholders = ((input_ids == IMAGE_ID) & mask).sum(1).tolist()
    for item, count in enumerate(placeholders):
        if count != 1:
            raise DataError(
                f"item {item} of the batch has {count} <image> placeholders", remedy="put <image> once in its prompt"
            )
    for item, length in enumerate(lengths):
        if length > longest:
            raise DataError(
                f"item {item} of the batch has {length} positions, the model was made for {longest}",
                remedy="use fewer frames or a shorter prompt",
            )


def insert_visual(
    embeds: torch.Tensor,  # (R, W, H) of input_ids; anything at the placeholder
    input_ids: torch.Tensor,  # (R, W)
    mask: torch.Tensor,  # (R, W) bool
    visual: list[torch.Tensor],  # R times (T, H)
    labels: torch.Tensor | None,
    segments: torch.Tensor | None,
    left: bool,
) -> PackedBatch:
    """Put each row's visual tokens in place of its placeholder, drop the old padding, pad anew."""
    columns: dict[str, list[torch.Tensor]] = {"embeds": [], "ids": [], "mask": [], "labels": [], "segments": []}
    for row, tokens in enumerate(visual):
        kept = mask[row].nonzero()[:, 0]
        at = int((input_ids[row, kept] == IMAGE_ID).nonzero()[0, 0])
        before, after, count = kept[:at], kept[at + 1 :], len(tokens)
        columns["embeds"].append(torch.cat([embeds[row, before], tokens.to(embeds), embeds[row, after]]))

        def spread(values: torch.Tensor, fill: int, row=row, before=before, after=after, count=count):
            return torch.cat([values[row, before], values.new_full((count,), fill), values[row, after]])

        columns["ids"].append(spread(input_ids, IMAGE_ID))
        columns["mask"].append(torch.ones_like(columns["ids"][-1]))
        if labels is not None:
            columns["labels"].append(spread(labels, IGNORE))
        if segments is not None:
            columns["segments"].append(spread(segments, 0))
    fill = {"embeds": 0.0, "ids": IMAGE_ID, "mask": 0, "labels": IGNORE, "segments": -1}
    return PackedBatch(**{name: _pad(values, fill[name], left) if values else None for name, values in columns.items()})


def _pad(values: list[torch.Tensor], fill: float, left: bool) -> torch.Tensor:
    if left:
        return pad_sequence([v.flip(0) for v in values], batch_first=True, padding_value=fill).flip(1)
    return pad_sequence(values, batch_first=True, padding_value=fill)


def positions(mask: torch.Tensor, segments: torch.Tensor | None = None) -> torch.Tensor:
    """(R, L) position of every token: its count within the row, or within prefix and own segment; 0 on padding."""
    mask = mask.long()
    if segments is None:
        return (mask.cumsum(1) - 1).clamp(min=0)
    prefix = (segments == 0).long()
    result = prefix.cumsum(1) - 1
    start = prefix.sum(1, keepdim=True)
    for segment in range(1, int(segments.max()) + 1):
        own = (segments == segment).long()
        result = torch.where(own.bool(), start + own.cumsum(1) - 1, result)
    return result.clamp(min=0) * mask


def item_places(mask: torch.Tensor, segments: torch.Tensor | None) -> list[tuple[int, torch.Tensor]]:
    """For every item its row and the columns of its tokens, in order: the shared prefix, then its own."""
    if segments is None:
        return [(row, mask[row].nonzero()[:, 0]) for row in range(len(mask))]
    places = []
    for row in range(len(segments)):
        for segment in range(1, int(segments[row].max()) + 1):
            own = (segments[row] == 0) | (segments[row] == segment)
            places.append((row, own.nonzero()[:, 0]))
    return places


def allowed_pairs(segments: torch.Tensor) -> torch.Tensor:
    """(R, L) segments -> (R, L, L) bool: query i may attend to key j. Padding sees itself only, to stay finite."""
    index = torch.arange(segments.shape[1], device=segments.device)
    earlier = index[:, None] >= index[None, :]
    query, key = segments[:, :, None], segments[:, None, :]
    visible = earlier & (key >= 0) & (query >= 0) & ((key == 0) | (key == query))
    return visible | (index[:, None] == index[None, :])


def additive_mask(segments: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """(R, 1, L, L): 0 where `allowed_pairs`, else the lowest number of `dtype`: for eager and sdpa attention."""
    allowed = allowed_pairs(segments)[:, None]
    return torch.zeros(allowed.shape, dtype=dtype, device=segments.device).masked_fill_(
        ~allowed, torch.finfo(dtype).min
    )


def flex_mask(segments: torch.Tensor):
    """The same as a FlexAttention BlockMask, which skips blocks that hold nothing."""
    from torch.nn.attention.flex_attention import create_block_mask

    def allowed(row, head, query, key):
        own = (segments[row, key] == 0) | (segments[row, key] == segments[row, query])
        seen = (query >= key) & (segments[row, key] >= 0) & (segments[row, query] >= 0) & own
        return seen | (query == key)

    rows, length = segments.shape
    return create_block_mask(allowed, rows, None, length, length, device=segments.device)
