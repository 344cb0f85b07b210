"""ScenePrefix: keys and values of everything that precedes a question about a scene."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from video3d_plugin.model.scene_tokens import SceneTokens


@dataclass(frozen=True)
class ScenePrefix:
    """A scene as the language model reads it. Decoding reads it and never changes it.

    P tokens precede the question, H is the hidden size, N the number of proposals.

    Attributes:
        scene_id: The scene's name.
        embeds: (P, H) input embeddings of the language model.
        keys: For each layer (1, key-value heads, P, head size), rotated to their positions; () where the language model
            has not run, because an engine answers.
        values: For each layer (1, key-value heads, P, head size); () as `keys`.
        proposals: (N, H) features that enter the grounding head.
        boxes: (N, 6) float32 centre and size of the proposals, world frame, metres.
        extent: (2, 3) float32 `SceneInputs.extent` on the CPU.
        made_by: The `prefix_key` of the model and processor that encoded it; None for a copy in another number format.
        axes: (1, P, 3) positions on three axes, see `model.attention.axes`; None for a model without them.
        unfinished: Without keys, where the features of proposals are averaged with the language model's states: the
            scene's tokens, and (T,) the indices of the visual ones among the P. Else None.
    """

    scene_id: str
    embeds: torch.Tensor
    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]
    proposals: torch.Tensor
    boxes: torch.Tensor
    extent: torch.Tensor
    made_by: str | None = None
    axes: torch.Tensor | None = None
    unfinished: tuple[SceneTokens, torch.Tensor] | None = None

    def __len__(self) -> int:
        """Return P, the number of positions that the prefix takes."""
        return len(self.embeds)

    @property
    def has_cache(self) -> bool:
        """Whether the language model has run, so that there are keys and values."""
        return bool(self.keys)

    @property
    def nbytes(self) -> int:
        """Bytes of all its tensors."""
        tensors = (self.embeds, *self.keys, *self.values, self.proposals, self.boxes)
        return sum(t.element_size() * t.nelement() for t in tensors)

    def to(self, device: Any = None, dtype: torch.dtype | None = None) -> ScenePrefix:
        """Copy to another device or number format.

        Args:
            device: Device of the copy; None leaves it.
            dtype: Floating-point format of the copy; None leaves it. Boxes stay float32.

        Returns:
            The copy. With `dtype`, its `made_by` is None.
        """
        return replace(
            self,
            embeds=self.embeds.to(device=device, dtype=dtype),
            keys=tuple(t.to(device=device, dtype=dtype) for t in self.keys),
            values=tuple(t.to(device=device, dtype=dtype) for t in self.values),
            proposals=self.proposals.to(device=device, dtype=dtype),
            boxes=self.boxes.to(device=device),
            made_by=self.made_by if dtype is None else None,
        )
