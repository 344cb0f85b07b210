"""Every part of the model once a step and in one order, whatever the batch holds: what DeepSpeed ZeRO-3 needs.

Its parameters lie scattered over the ranks, and calling a module gathers them: a collective that all ranks must enter
alike, in the forward and in the backward pass. One rank may have two scenes and questions for text, another one scene
and boxes to ground. So, where parameters are scattered (`zero3.scattered`),

- tower, projector, position embedding and head run once on all scenes of the batch joined (`once`),
- what no item needs runs on one made-up row, and its result enters the loss as `nothing`.

The autograd engine walks back in the order of the forward pass, so that equal forward orders are equal backward ones.
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
