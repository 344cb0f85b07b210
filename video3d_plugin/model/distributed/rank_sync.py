"""Every part of the model once a step and in one order, whatever the batch holds: for training on several ranks.

One rank may have two scenes and questions for text, another one scene and boxes to ground. But all must act alike:

- ZeRO-3 scatters parameters over the ranks, and calling a module gathers them: a collective in the forward pass and
  one in the backward pass. A module that runs on one rank only, or once more, or later, ends in a hang.
- ZeRO-2 adds gradients up in buckets that are filled in the order in which they come. Another order on one rank adds
  gradients of different parameters, or ends in a hang.
- DDP waits for the gradient of every parameter.

So, on several ranks (`Video3DForCausalLM.rank_sync_enabled`),

- tower, projector, position embedding and head run once on all scenes of the batch joined (`apply_joined`),
- what no item needs runs on one made-up row, and its result enters the loss as `zero_loss`.

The autograd engine walks back in the order of the forward pass, so that equal forward orders are equal backward ones.
A made-up row must come from where real ones do: DeepSpeed frees a module's parameters by the gradient of its input.
Elsewhere scenes are encoded one by one, and nothing runs that is not needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from video3d_plugin.model.distributed import zero3


def apply_joined(function: Callable[[torch.Tensor], torch.Tensor], parts: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """function(part) for each part, by one call on all of them joined along the first axis."""
    if len(parts) == 1:
        return [function(parts[0])]
    return list(function(torch.cat(list(parts))).split([len(part) for part in parts]))


def zero_loss(result: torch.Tensor) -> torch.Tensor:
    """Zero, and its gradient is zero, but a function of `result`."""
    return result.float().sum() * 0.0


class RankSync:
    """Mixed into Video3DForCausalLM."""

    @property
    def rank_sync_enabled(self) -> bool:
        """Whether all ranks must run the same parts in the same order, see `model.distributed.rank_sync`."""
        several = torch.distributed.is_available() and torch.distributed.is_initialized()
        return several and self.training or zero3.scattered(self)

    def _touch_unused(self) -> torch.Tensor | float:
        """Zero, but a function of the parameters that no batch uses: DDP and ZeRO-2 wait for their gradients."""
        if not self.rank_sync_enabled or zero3.scattered(self):
            return 0.0
        idle = ["vision_model.post_layernorm"] + ["ground_head"] * (self.config.ground_token_id is None)
        named = ((name, p) for name, p in self.named_parameters() if p.requires_grad)
        parts = [zero_loss(p) for name, p in named if any(part in name for part in idle)]
        return sum(parts, torch.zeros((), device=self.device))
