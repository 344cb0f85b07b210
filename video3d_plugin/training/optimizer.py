"""The optimisers of a training run: AdamW, or Muon for the layers' matrices with AdamW for the rest.

Muon (`training.muon`) learns a small model from scratch in a third of the steps or fewer; fine-tuning a published
checkpoint uses AdamW, as the paper does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from video3d_plugin.training.muon import Muon, loss_of

if TYPE_CHECKING:
    from video3d_plugin.training.run import TrainSettings

_BETAS = (0.9, 0.999)
# Matrices whose products are added to a token's state: Muon's steps are all of one size, and at the others' rate the
# first layers alone wrote ten times what a token brings along, its position among it (docs/small_model.md).
_WRITING = ("o_proj.weight", "down_proj.weight")
_WRITING_RATE = 0.25

LANGUAGE_LAYERS, TOWER_LAYERS = "model.layers.", "encoder.layers."  # in parameters' names


def build_optimizer(model: nn.Module, settings: TrainSettings, layers: str = LANGUAGE_LAYERS) -> torch.optim.Optimizer:
    """`settings.optimizer` with the tower at a rate of its own; no decay on norms and biases.

    model    a Video3DForCausalLM, or a module that holds it or parts of it
    layers   what the names of the layers' parameters hold, whose matrices Muon takes
    """
    if settings.optimizer == "adamw":
        return _adamw(model, settings, set())
    matrices = {n: p for n, p in model.named_parameters() if p.requires_grad and p.ndim == 2 and layers in n}
    writing = [p for name, p in matrices.items() if name.endswith(_WRITING)]
    others = [p for name, p in matrices.items() if not name.endswith(_WRITING)]
    groups = [{"params": others}, {"params": writing, "lr": _WRITING_RATE * settings.muon_rate}]
    groups = [group for group in groups if group["params"]]
    muon = Muon(groups, lr=settings.muon_rate, weight_decay=settings.weight_decay)
    return Together([muon, _adamw(model, settings, {id(p) for p in matrices.values()})])


def _adamw(model: nn.Module, settings: TrainSettings, elsewhere: set[int]) -> torch.optim.Optimizer:
    tower_rate = settings.learning_rate if settings.vision_tower_lr is None else settings.vision_tower_lr
    groups = []
    for tower in (False, True):
        for decay in (False, True):
            chosen = [
                p
                for name, p in model.named_parameters()
                if p.requires_grad
                and id(p) not in elsewhere
                and ("vision_tower" in name) == tower
                and (p.ndim > 1) == decay
            ]
            rate, weight = tower_rate if tower else settings.learning_rate, settings.weight_decay if decay else 0.0
            groups += [{"params": chosen, "lr": rate, "weight_decay": weight}] if chosen else []
    return torch.optim.AdamW(groups, betas=_BETAS)


class Together(torch.optim.Optimizer):
    """Several optimisers, each with its own parameters, as one: schedulers and the Trainer see one list of groups."""

    def __init__(self, parts: list[torch.optim.Optimizer]):
        self.parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})
        self._share_groups()

    def _share_groups(self) -> None:
        """The groups are the parts' own: a rate that a scheduler sets here is the rate there."""
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = loss_of(closure)
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
