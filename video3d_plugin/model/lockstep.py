"""Every part of the model once a step and in one order, whatever the batch holds: for training on several ranks.

One rank may have two scenes and questions for text, another one scene and boxes to ground. But all must act alike:

- ZeRO-3 scatters parameters over the ranks, and calling a module gathers them: a collective in the forward pass and
  one in the backward pass. A module that runs on one rank only, or once more, or later, ends in a hang.
- ZeRO-2 adds gradients up in buckets that are filled in the order in which they come. Another order on one rank adds
  gradients of different parameters, or ends in a hang.
- DDP waits for the gradient of every parameter.

So, on several ranks (`Video3DForCausalLM.in_lockstep`),

- tower, projector, position embedding and head run once on all scenes of the batch joined (`once`),
- what no item needs runs on one made-up row, and its result enters the loss as `nothing`.

The autograd engine walks back in the order of the forward pass, so that equal forward orders are equal backward ones.
A made-up row must come from where real ones do: DeepSpeed frees a module's parameters by the gradient of its input.
Elsewhere scenes are encoded one by one, and nothing runs that is not needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch


def once(function: Callable[[torch.Tensor], torch.Tensor], parts: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """function(part) for each part, by one call on all of them joined along the first axis."""
    if len(parts) == 1:
        return [function(parts[0])]
    return list(function(torch.cat(list(parts))).split([len(part) for part in parts]))


def nothing(result: torch.Tensor) -> torch.Tensor:
    """Zero, and its gradient is zero, but a function of `result`."""
    return result.float().sum() * 0.0
