"""Optimizers of a training run: AdamW with a learning rate of its own for the vision tower."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from video3d_plugin.training.settings import TrainSettings

_BETAS = (0.9, 0.999)


def build_adamw(model: nn.Module, settings: TrainSettings, exclude: Collection[nn.Parameter] = ()) -> torch.optim.AdamW:
    """Build AdamW over the trainable parameters of `model`, without weight decay on norms and biases.

    Args:
        model: A `Video3DForCausalLM`, or a module that holds one or parts of one. Parameters with "vision_tower" in
            their name are trained at `settings.vision_tower_lr`.
        settings: Learning rates and weight decay.
        exclude: Parameters that another optimizer takes.

    Returns:
        The optimizer, with one group per learning rate and weight decay.
    """
    excluded = {id(parameter) for parameter in exclude}
    tower_rate = settings.learning_rate if settings.vision_tower_lr is None else settings.vision_tower_lr
    groups = []
    for is_tower in (False, True):
        for has_decay in (False, True):
            parameters = [
                p
                for name, p in model.named_parameters()
                if p.requires_grad
                and id(p) not in excluded
                and ("vision_tower" in name) == is_tower
                and (p.ndim > 1) == has_decay
            ]
            rate = tower_rate if is_tower else settings.learning_rate
            decay = settings.weight_decay if has_decay else 0.0
            groups += [{"params": parameters, "lr": rate, "weight_decay": decay}] if parameters else []
    return torch.optim.AdamW(groups, betas=_BETAS)


class CombinedOptimizer(torch.optim.Optimizer):
    """Several optimizers, each with its own parameters, that schedulers and the Trainer see as one.

    Args:
        parts: The optimizers. Their parameter groups are shared with this one, not copied: a learning rate that a
            scheduler sets here is set there.
    """

    def __init__(self, parts: list[torch.optim.Optimizer]):
        self.parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})
        self._share_groups()

    def _share_groups(self) -> None:
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step with every part.

        Args:
            closure: Computes the loss and its gradients again; called once, before the first part's step.

        Returns:
            What the closure returns, or None without one.
        """
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for part in self.parts:
            part.step()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._share_groups()
