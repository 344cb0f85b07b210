"""Muon (Jordan et al., 2024, kellerjordan.github.io/posts/muon): a step changes a matrix alike in all its directions.

As torch.optim.Muon (torch 2.9 or later) is, step for step, but in float32 on a CPU, and all matrices of a shape at
once: bfloat16, in which torch's computes, is slow on a CPU that has no unit for it (docs/small_model.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # a x + b x^3 + c x^5 takes singular values in (0, 1] to about 1 soonest
_TURNS, _LEAST = 5, 1e-7


class Muon(torch.optim.Optimizer):
    """For matrices (2-D parameters), with Nesterov's momentum and decoupled weight decay.

    A step is lr * sqrt(max(1, rows / columns)) times the momentum with its singular values made about 1.
    ValueError for a parameter that is no matrix.
    """

    def __init__(
        self,
        params: Iterable[torch.Tensor] | Iterable[dict[str, Any]],
        lr: float = 0.02,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        for shape in (tuple(p.shape) for group in self.param_groups for p in group["params"] if p.ndim != 2):
            raise ValueError(f"Muon is for matrices, and a parameter is {shape}: give it to AdamW")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = loss_of(closure)
        for group in self.param_groups:
            alike: dict[Any, list[torch.Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    alike.setdefault((p.shape, p.device, p.dtype), []).append(p)
            for matrices in alike.values():
                self._step(matrices, **{name: group[name] for name in ("lr", "momentum", "weight_decay")})
        return loss

    def _step(self, matrices: list[torch.Tensor], lr: float, momentum: float, weight_decay: float) -> None:
        """One step of matrices (R, C) of one shape."""
        updates = []
        for p in matrices:
            state = self.state[p]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(p.grad)
            buffer = state["momentum_buffer"].lerp_(p.grad, 1 - momentum)
            updates.append(p.grad.lerp(buffer, momentum))
        rows, columns = matrices[0].shape
        step = lr * max(1, rows / columns) ** 0.5
        for p, update in zip(matrices, orthogonal(torch.stack(updates)), strict=True):
            p.mul_(1 - lr * weight_decay).add_(update.to(p), alpha=-step)


def loss_of(closure: Callable[[], Any] | None) -> Any:
    """What an optimiser's closure gives, with gradients; None where there is none."""
    with torch.enable_grad():
        return None if closure is None else closure()


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """(N, R, C): with the same singular vectors and singular values of about 1 (0.7 to 1.2), by Newton-Schulz's
    iteration, which is products of matrices only. Those below a thousandth of the largest stay smaller."""
    a, b, c = _COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    made = matrices.transpose(1, 2) if tall else matrices
    made = made.bfloat16() if made.is_cuda else made.float()
    made = made / made.flatten(1).norm(dim=1).clamp(min=_LEAST)[:, None, None]
    for _ in range(_TURNS):
        gram = made @ made.transpose(1, 2)
        made = torch.baddbmm(made, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), made, beta=a)
    return made.transpose(1, 2) if tall else made
