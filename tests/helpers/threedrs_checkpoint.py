"""A checkpoint with the parameters that tell 3DRS from Video-3D LLM."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch


def as_threedrs(folder: Path, target: Path, left_out: str = "-") -> Path:
    """Copy a checkpoint of one safetensors file, with 3DRS' further parameters and without this package's keys.

    Args:
        folder: The checkpoint.
        target: The copy.
        left_out: Beginning of the names of further parameters that it lacks.
    """
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, target)
    config = json.loads((target / "config.json").read_text())
    size = config["hidden_size"]
    shapes = {"corres_linear": (size, size), "linear_dc": (4, size), "geometric_linear": (5, 8)}
    extra = {f"model.{name}.weight": torch.zeros(shape) for name, shape in shapes.items()}
    extra |= {f"model.proj_3d.{i}.{kind}": torch.zeros(2, 2) for i in (0, 2) for kind in ("weight", "bias")}
    extra = {name: tensor for name, tensor in extra.items() if not name.startswith(left_out)}
    weights = load_file(target / "model.safetensors") | extra
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    for name in ("frame_fit", "grounding_features"):
        config.pop(name, None)
    (target / "config.json").write_text(json.dumps(config))
    return target
