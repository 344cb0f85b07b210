"""Goldens of training, `training/<case>.safetensors`: losses, and norm and first values of each parameter's gradient.

The model is that of `model/<case>/` beside the folder. Gradients are compared relative to their norm.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from video3d_plugin.errors import MissingError
from video3d_plugin.verify import CaseResult, recipe

LIMITS = {"float32": 1e-3, "float64": 1e-3, "bfloat16": 0.5, "float16": 0.1}
# Norms below this are compared absolutely: exact arithmetic makes the gradient of a key bias before a softmax zero, and
# what is left (1e-9) is rounding. The smallest gradient that is not of this kind is 5e-3.
_TINY = 1e-5
_HEAD = 8


def verify(
    folder: Path, *, device: str = "cpu", dtype: str = "float32", attention: str = "sdpa"
) -> Iterator[CaseResult]:
    """Recompute the goldens of training.

    Args:
        folder: Folder of golden files.
        device: Device of the model.
        dtype: Number format of the model, a key of LIMITS.
        attention: Attention implementation of transformers.

    Yields:
        A result for each golden file: the largest relative difference over items and parameters.
    """
    for path in sorted(folder.glob("*.safetensors")):
        differences = compare(path, device=device, dtype=dtype, attention=attention)
        yield CaseResult.of_differences("training", path.stem, differences, LIMITS[dtype], "max rel Δ")


def compare(path: Path, *, device: str, dtype: str, attention: str) -> dict[str, float]:
    """Recompute one case and compare.

    Args:
        path: Golden file.
        device: Device of the model.
        dtype: Number format of the model.
        attention: Attention implementation of transformers.

    Returns:
        Largest relative difference by golden name.

    Raises:
        MissingError: If the model of the golden is missing, or the golden has a name that is not computed.
    """
    from safetensors.torch import load_file

    case = path.parent.parent / "model" / path.stem
    if not case.is_dir():
        raise MissingError("the model of this golden is missing", where=case, remedy="keep model/ beside training/")
    golden = load_file(str(path))
    computed = compute(case, device=device, dtype=dtype, attention=attention)
    missing = sorted(set(golden) - set(computed))
    if missing:
        raise MissingError(f"the golden has entries that are not computed: {', '.join(missing[:5])}", where=path)
    return {name: _difference(name, computed, golden) for name in golden}


def compute(case: Path, *, device: str, dtype: str, attention: str) -> dict[str, torch.Tensor]:
    """Compute losses and gradients of the recipe's items.

    Args:
        case: Case folder of the model.
        device: Device of the model.
        dtype: Number format of the model.
        attention: Attention implementation of transformers.

    Returns:
        By golden name: `<item>.loss`, `<item>.norm.<parameter>` and `<item>.head.<parameter>`, the first 8 values.
    """
    model = recipe.model(case, device=device, dtype=dtype, attention=attention).train()
    scene = recipe.scene(model.config.inputs_spec)
    scene["pixels"] = scene["pixels"].to(model.dtype)
    result = {}
    for name in ("text", "coord", *(f"ground_{targets}" for targets in recipe.TARGETS)):
        kind, _, targets = name.partition("_")
        ids, labels = (part.to(model.device) for part in recipe.item(kind))
        model.zero_grad()
        loss = model(
            input_ids=ids,
            labels=labels,
            scenes=[scene],
            coords=torch.tensor([recipe.COORD]) if kind == "coord" else None,
            targets=[torch.tensor(recipe.TARGETS[targets]).long()] if targets else None,
        ).loss
        loss.backward()
        result[f"{name}.loss"] = loss.detach().reshape(1).cpu()
        for parameter, p in model.named_parameters():
            gradient = torch.zeros_like(p) if p.grad is None else p.grad
            result[f"{name}.norm.{parameter}"] = gradient.double().norm().reshape(1).cpu()
            result[f"{name}.head.{parameter}"] = gradient.flatten()[:_HEAD].cpu()
    return result


def _difference(name: str, computed: dict[str, torch.Tensor], golden: dict[str, torch.Tensor]) -> float:
    """Return the difference relative to the norm of the parameter's whole gradient."""
    a, b = computed[name].double(), golden[name].double()
    if a.shape != b.shape:
        return float("inf")
    scale = golden[name.replace(".head.", ".norm.")].abs().max().double()
    return float((a - b).abs().max() / scale.clamp(min=_TINY))
