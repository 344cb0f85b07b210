"""Muon (Jordan et al., 2024, kellerjordan.github.io/posts/muon): steps that change a matrix equally in all directions.

Takes the same steps as torch.optim.Muon (torch 2.9 or later), but in float32 on a CPU, and for all matrices of a shape
at once. torch computes in bfloat16, which is slow on a CPU without a unit for it (docs/small_model.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

# a x + b x^3 + c x^5, iterated, takes singular values in (0, 1] to about 1 in the fewest iterations
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS, _EPSILON = 5, 1e-7


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay, for matrices only.

    A step is `lr * sqrt(max(1, rows / columns))` times the momentum with its singular values made about 1.

    Args:
        params: The matrices, or groups of them.
        lr: Learning rate.
        momentum: Decay of the moving average of gradients.
        weight_decay: Decoupled weight decay.

    Raises:
        ValueError: If a parameter does not have two dimensions.
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
        """Take one step.

        Args:
            closure: Computes the loss and its gradients again.

        Returns:
            What the closure returns, or None without one.
        """
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for group in self.param_groups:
            by_shape: dict[Any, list[torch.Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    by_shape.setdefault((p.shape, p.device, p.dtype), []).append(p)
            for matrices in by_shape.values():
                self._step(matrices, **{name: group[name] for name in ("lr", "momentum", "weight_decay")})
        return loss

    def _step(self, matrices: list[torch.Tensor], lr: float, momentum: float, weight_decay: float) -> None:
        """Take one step of matrices (R, C) of one shape."""
        updates = []
        for p in matrices:
            state = self.state[p]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(p.grad)
            buffer = state["momentum_buffer"].lerp_(p.grad, 1 - momentum)
            updates.append(p.grad.lerp(buffer, momentum))
        rows, columns = matrices[0].shape
        step = lr * max(1, rows / columns) ** 0.5
        for p, update in zip(matrices, orthogonalize(torch.stack(updates)), strict=True):
            p.mul_(1 - lr * weight_decay).add_(update.to(p), alpha=-step)


def orthogonalize(matrices: torch.Tensor) -> torch.Tensor:
    """Set the singular values of matrices to about 1 (0.7 to 1.2), with a Newton-Schulz iteration.

    Singular values below a thousandth of the largest stay smaller.

    Args:
        matrices: (N, R, C).

    Returns:
        (N, R, C) matrices with the same singular vectors.
    """
    a, b, c = _COEFFICIENTS
    is_tall = matrices.shape[1] > matrices.shape[2]
    result = matrices.transpose(1, 2) if is_tall else matrices
    result = result.bfloat16() if result.is_cuda else result.float()
    result = result / result.flatten(1).norm(dim=1).clamp(min=_EPSILON)[:, None, None]
    for _ in range(_ITERATIONS):
        gram = result @ result.transpose(1, 2)
        result = torch.baddbmm(result, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), result, beta=a)
    return result.transpose(1, 2) if is_tall else result
