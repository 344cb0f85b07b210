"""Keeps the ranks of a distributed run in step: all run the same modules in the same order, whatever their batches are.

One rank's batch may hold two scenes and text questions, another's one scene and grounding items. But:

- ZeRO-3 shards parameters over the ranks and gathers them when a module is called: a collective in the forward pass and
  one in the backward pass. A module that runs on one rank only, twice, or later than elsewhere causes a hang.
- ZeRO-2 reduces gradients in buckets, filled in the order in which gradients arrive. Another order on one rank adds
  gradients of different parameters, or causes a hang.
- DDP waits for the gradient of every parameter.

Therefore, on several ranks (`Video3DForCausalLM.rank_sync_enabled`),

- tower, projector, position embedding and head run once, on all scenes of the batch joined (`apply_joined`);
- a module that no item of the batch needs runs on one dummy row, whose result enters the loss through `zero_loss`.

Autograd visits modules in the reverse order of the forward pass, so equal forward orders give equal backward orders. A
dummy row must have the same origin in the graph as real rows, because DeepSpeed releases a module's parameters when the
gradient of its input arrives. In a single process scenes are encoded one by one, and only what the batch needs runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from video3d_plugin.model.distributed import zero3

if TYPE_CHECKING:
    from transformers import PreTrainedModel as Model
else:
    Model = object


def apply_joined(function: Callable[[torch.Tensor], torch.Tensor], parts: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Apply a function to several tensors in one call.

    Args:
        function: Maps (N, ...) to (N, ...), row by row.
        parts: Tensors (N_i, ...) whose rows have the same shape.

    Returns:
        `function(part)` for each part.
    """
    if len(parts) == 1:
        return [function(parts[0])]
    return list(function(torch.cat(list(parts))).split([len(part) for part in parts]))


def zero_loss(result: torch.Tensor) -> torch.Tensor:
    """Return a zero () that depends on `result`: its gradient reaches the parameters behind it, and is zero."""
    return result.float().sum() * 0.0


class RankSync(Model):
    """Mix-in of Video3DForCausalLM for distributed training; see the module."""

    @property
    def rank_sync_enabled(self) -> bool:
        """Whether all ranks must run the same modules in the same order."""
        several = torch.distributed.is_available() and torch.distributed.is_initialized()
        return (several and self.training) or zero3.scattered(self)

    def touch_unused(self) -> torch.Tensor | float:
        """Return a zero that depends on the parameters that no batch uses: DDP and ZeRO-2 wait for their gradients."""
        if not self.rank_sync_enabled or zero3.scattered(self):
            return 0.0
        idle = ["vision_model.post_layernorm"] + ["ground_head"] * (self.config.ground_token_id is None)
        named = ((name, p) for name, p in self.named_parameters() if p.requires_grad)
        parts = [zero_loss(p) for name, p in named if any(part in name for part in idle)]
        return sum(parts, torch.zeros((), device=self.device))
