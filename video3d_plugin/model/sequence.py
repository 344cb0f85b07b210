"""Sequences of the language model: inserting visual tokens, positions and masks of packed rows.

A *row* is one sequence of the batch, an *item* one question. By default a row is an item. A row that packs several
questions of one scene has `segments`: 0 for the shared prefix, k = 1, 2, ... for the k-th item, -1 for padding. Each
item attends to the prefix and to itself, at the positions that it would have alone.

Shapes: R rows, W tokens of a row before and L after the visual tokens are inserted, hidden size H.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from video3d_plugin.errors import DataError

IMAGE_ID = -200  # LLaVA-NeXT's IMAGE_TOKEN_INDEX: the placeholder of a scene's visual tokens in input_ids
IGNORE = -100  # label of a token without loss


@dataclass
class PackedBatch:
    """Padded rows, as they enter the language model.

    All but `embeds` and `axes` lie on the CPU, where the places of items are read: a GPU would be waited for each time.

    Attributes:
        embeds: (R, L, H) input embeddings, on the model's device.
        ids: (R, L) token ids; IMAGE_ID on visual tokens and padding.
        mask: (R, L) long, 1 where there is a token.
        labels: (R, L) token ids; IGNORE where a token has no loss.
        segments: (R, L) the item of each token in packed rows, -1 on padding; None if each row is one item.
        axes: (R, L, 3) three-axis positions, see `model.attention.axes`; None for a model without them.
    """

    embeds: torch.Tensor
    ids: torch.Tensor
    mask: torch.Tensor
    labels: torch.Tensor | None
    segments: torch.Tensor | None
    axes: torch.Tensor | None = None

    @property
    def position_ids(self) -> torch.Tensor:
        """(R, L) position of each token within its item, on the device of `embeds`; 0 on padding."""
        return positions(self.mask, self.segments).to(self.embeds.device)

    def place_visual(self, axes: list[torch.Tensor]) -> None:
        """Set `axes`: for each row (T, 3) positions of its visual tokens; text stays at its index on all axes."""
        self.axes = self.position_ids[..., None].repeat(1, 1, 3)
        for row, own in enumerate(axes):
            self.axes[row, self.visual_columns(row).to(self.axes.device)] = own.to(self.axes)

    def visual_columns(self, row: int) -> torch.Tensor:
        """Return the columns (T,) of a row's visual tokens, on the CPU."""
        return ((self.ids[row] == IMAGE_ID) & self.mask[row].bool()).nonzero()[:, 0]


def check_prompts(input_ids: torch.Tensor, mask: torch.Tensor, lengths: list[int], longest: int) -> None:
    """Check placeholders and lengths of the rows.

    Args:
        input_ids: (R, W) token ids.
        mask: (R, W) bool, False on padding.
        lengths: For each row the positions of its longest item, visual tokens included.
        longest: Positions that the model supports.

    Raises:
        DataError: A row has no <image> or several, or is too long.
    """
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
    embeds: torch.Tensor,
    input_ids: torch.Tensor,
    mask: torch.Tensor,
    visual: list[torch.Tensor],
    labels: torch.Tensor | None,
    segments: torch.Tensor | None,
    left: bool,
) -> PackedBatch:
    """Replace each row's placeholder by its visual tokens, and pad the rows anew.

    Args:
        embeds: (R, W, H) embeddings of `input_ids`; the placeholder's are ignored. All others are on the CPU.
        input_ids: (R, W) token ids with IMAGE_ID once a row.
        mask: (R, W) bool, False on padding.
        visual: For each row (T, H) visual tokens; T may differ.
        labels: (R, W) or None.
        segments: (R, W) or None.
        left: Pad on the left.
    """
    # what visual tokens get: no loss, and the place of the prefix
    spread = {"ids": (input_ids, IMAGE_ID), "labels": (labels, IGNORE), "segments": (segments, 0)}
    columns: dict[str, list[torch.Tensor]] = {"embeds": [], "ids": [], "mask": [], "labels": [], "segments": []}
    for row, tokens in enumerate(visual):
        text = mask[row].nonzero()[:, 0]
        at = int((input_ids[row, text] == IMAGE_ID).nonzero()[0, 0])
        before, after, count = text[:at], text[at + 1 :], len(tokens)
        parts = [_columns(embeds[row], before), tokens.to(embeds), _columns(embeds[row], after)]
        columns["embeds"].append(torch.cat(parts))
        for name, (values, fill) in spread.items():
            if values is not None:
                filled = values.new_full((count,), fill)
                columns[name].append(torch.cat([values[row, before], filled, values[row, after]]))
        columns["mask"].append(torch.ones_like(columns["ids"][-1]))
    return PackedBatch(
        _pad(columns["embeds"], 0.0, left),
        _pad(columns["ids"], IMAGE_ID, left),
        _pad(columns["mask"], 0, left),
        _pad(columns["labels"], IGNORE, left) if labels is not None else None,
        _pad(columns["segments"], -1, left) if segments is not None else None,
    )


def _columns(row: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Return row[columns], for columns (K,) on the CPU in ascending order; a view where they are adjacent."""
    if not len(columns):
        return row[:0]
    first, last = int(columns[0]), int(columns[-1])
    if last - first + 1 == len(columns):
        return row[first : last + 1]
    return row[columns.to(row.device)]


def _pad(values: list[torch.Tensor], fill: float, left: bool) -> torch.Tensor:
    if left:
        return pad_sequence([v.flip(0) for v in values], batch_first=True, padding_value=fill).flip(1)
    return pad_sequence(values, batch_first=True, padding_value=fill)


def positions(mask: torch.Tensor, segments: torch.Tensor | None = None) -> torch.Tensor:
    """Compute the position of each token within its item.

    Args:
        mask: (R, L) 1 where there is a token.
        segments: (R, L) items of packed rows, or None.

    Returns:
        (R, L) long: the token's count in its row; in packed rows, in the prefix followed by its own item. 0 on padding.
    """
    mask = mask.long()
    if segments is None:
        return (mask.cumsum(1) - 1).clamp(min=0)
    prefix = (segments == 0).long()
    result = prefix.cumsum(1) - 1
    start = prefix.sum(1, keepdim=True)
    for segment in range(1, int(segments.max()) + 1):
        of_segment = (segments == segment).long()
        result = torch.where(of_segment.bool(), start + of_segment.cumsum(1) - 1, result)
    return result.clamp(min=0) * mask


def item_places(mask: torch.Tensor, segments: torch.Tensor | None) -> list[tuple[int, torch.Tensor]]:
    """Locate the tokens of each item.

    Args:
        mask: (R, L) 1 where there is a token.
        segments: (R, L) items of packed rows, or None.

    Returns:
        For each item its row, and the columns of its tokens in order: those of the prefix, then its own.
    """
    if segments is None:
        return [(row, mask[row].nonzero()[:, 0]) for row in range(len(mask))]
    places = []
    for row in range(len(segments)):
        for segment in range(1, int(segments[row].max()) + 1):
            of_item = (segments[row] == 0) | (segments[row] == segment)
            places.append((row, of_item.nonzero()[:, 0]))
    return places


def allowed_pairs(segments: torch.Tensor) -> torch.Tensor:
    """Compute which tokens may attend to which.

    Args:
        segments: (R, L) items of packed rows, -1 on padding.

    Returns:
        (R, L, L) bool, True where query i may attend to key j. Padding attends to itself, to keep its softmax finite.
    """
    index = torch.arange(segments.shape[1], device=segments.device)
    earlier = index[:, None] >= index[None, :]
    query, key = segments[:, :, None], segments[:, None, :]
    visible = earlier & (key >= 0) & (query >= 0) & ((key == 0) | (key == query))
    return visible | (index[:, None] == index[None, :])


def additive_mask(segments: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return the additive mask of packed rows for eager and sdpa attention.

    Args:
        segments: (R, L) items of packed rows, -1 on padding.
        dtype: Number format of the mask.

    Returns:
        (R, 1, L, L): 0 where `allowed_pairs`, else the lowest number of `dtype`.
    """
    allowed = allowed_pairs(segments)[:, None]
    return torch.zeros(allowed.shape, dtype=dtype, device=segments.device).masked_fill_(
        ~allowed, torch.finfo(dtype).min
    )


def flex_mask(segments: torch.Tensor) -> Any:
    """Return `allowed_pairs` (R, L) as a BlockMask of FlexAttention, which skips empty blocks."""
    from torch.nn.attention.flex_attention import create_block_mask

    def allowed(row: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        own = (segments[row, key] == 0) | (segments[row, key] == segments[row, query])
        seen = (query >= key) & (segments[row, key] >= 0) & (segments[row, query] >= 0) & own
        return seen | (query == key)

    rows, length = segments.shape
    return create_block_mask(allowed, rows, None, length, length, device=segments.device)
