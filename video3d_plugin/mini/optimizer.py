"""The optimizer of a model from scratch: AdamW, or Muon for the layers' weight matrices and AdamW for the rest."""

from __future__ import annotations

import torch
from torch import nn

from video3d_plugin.mini.muon import Muon
from video3d_plugin.mini.settings import MiniSettings
from video3d_plugin.training.optimizer import CombinedOptimizer, build_adamw

# Matrices whose products are added to a token's state. All of Muon's steps have the same size, and at the rate of the
# other matrices the first layers alone added ten times what a token comes with, its position included
# (docs/small_model.md).
_OUTPUT_MATRICES = ("o_proj.weight", "down_proj.weight")
_OUTPUT_RATE = 0.25

LANGUAGE_LAYERS, TOWER_LAYERS = "model.layers.", "encoder.layers."  # in the names of parameters


def build_optimizer(model: nn.Module, settings: MiniSettings, layers: str = LANGUAGE_LAYERS) -> torch.optim.Optimizer:
    """Build the optimizer that `settings.optimizer` names.

    Muon trains a small model from scratch in a third of the steps of AdamW, or fewer.

    Args:
        model: A `Video3DForCausalLM`, or a module that holds one or parts of one.
        settings: Optimizer, learning rates and weight decay.
        layers: Muon takes the matrices whose names contain this.
    """
    if settings.optimizer == "adamw":
        return build_adamw(model, settings)
    matrices = {n: p for n, p in model.named_parameters() if p.requires_grad and p.ndim == 2 and layers in n}
    outputs = [p for name, p in matrices.items() if name.endswith(_OUTPUT_MATRICES)]
    others = [p for name, p in matrices.items() if not name.endswith(_OUTPUT_MATRICES)]
    groups = [{"params": others}, {"params": outputs, "lr": _OUTPUT_RATE * settings.muon_rate}]
    groups = [group for group in groups if group["params"]]
    muon = Muon(groups, lr=settings.muon_rate, weight_decay=settings.weight_decay)
    return CombinedOptimizer([muon, build_adamw(model, settings, exclude=list(matrices.values()))])
