"""Inputs and weights of the model's goldens, in closed form, so that a golden folder holds outputs only.

The goldens were computed from the same formulas by the reference model (LaVi-Lab/Video-3D-LLM at 3ff70e8, float32, CPU,
eager attention, transformers 4.40.2).
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import torch

from video3d_plugin.config import Video3DConfig
from video3d_plugin.errors import DataError
from video3d_plugin.geometry.boxes import pack_patches, proposal_patches
from video3d_plugin.geometry.patch_grid import as_coordinates, token_points
from video3d_plugin.inputs_spec import InputsSpec
from video3d_plugin.model.modeling import Video3DForCausalLM
from video3d_plugin.model.sequence import IGNORE, IMAGE_ID

FRAMES = 3
GROUND_ID, COORD_ID = 198, 199
TOWER = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 384,
    "patch_size": 14,
}
BOXES = (  # centre xyz, size xyz, metres; the fourth holds no pixel
    (0.0, 0.0, 1.3, 2.0, 2.0, 1.5),
    (2.0, 1.0, 1.0, 1.5, 2.5, 2.0),
    (-2.0, -1.0, 0.6, 2.0, 2.0, 1.4),
    (14.9, 14.9, 4.9, 0.2, 0.2, 0.2),
    (0.5, 1.5, 2.0, 4.0, 1.0, 1.0),
)
COORD = (0.7, -1.1, 0.9)  # metres, where <coord> points
TARGETS = {"one": (1,), "many": (0, 4), "zero": ()}
GREEDY_TOKENS = 6


def pixels() -> torch.Tensor:
    """Return (FRAMES, S, S, 3) float32 in [-1, 1]: two superposed sines of the running index, channel before row."""
    side = TOWER["image_size"]
    index = np.arange(FRAMES * 3 * side * side, dtype=np.float64)
    waves = np.sin(index * 0.7390851 * 0.31) + np.sin(index * 0.0123457 * 0.31 + 1.3)
    image = torch.from_numpy((waves / 2).astype(np.float32).reshape(FRAMES, 3, side, side))
    return image.permute(0, 2, 3, 1).contiguous()


def world_points() -> torch.Tensor:
    """Return (FRAMES, S, S, 3) float32 metres: a smooth field, with the camera centre where depth would be 0."""
    side = TOWER["image_size"]
    v, y, x = np.ogrid[:FRAMES, :side, :side]
    field = np.broadcast_arrays(
        3.1 * np.sin(0.011 * x + 0.7 * v) + 0 * y,
        2.4 * np.cos(0.009 * y + 0.5 * v) + 0.002 * x,
        1.3 + 1.2 * np.sin(0.007 * (x + y) + v),
    )
    points = np.stack(field, -1).astype(np.float32)
    points[(x * 7 + y * 13 + v * 5) % 41 == 0] = np.array([0.3, -0.2, 1.5], np.float32)
    return torch.from_numpy(points)


def scene(spec: InputsSpec) -> dict[str, torch.Tensor]:
    """Return a scene as the model takes it.

    Args:
        spec: Crop, token grid and other sizes of the inputs.

    Returns:
        The tensors of `SceneInputs.tensors()`.
    """
    points, boxes = world_points(), as_coordinates(torch.tensor(BOXES), spec)
    tokens, valid = token_points(points, spec)
    return {
        "pixels": pixels()[:, : spec.used_side, : spec.used_side],
        "token_points": tokens,
        "token_valid": valid,
        "proposals": boxes,
        "proposal_bits": pack_patches(proposal_patches(points, boxes, spec)),
        "proposal_ids": torch.arange(len(boxes)),
    }


def item(kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (1, W) token ids and (1, W) labels of a "text", "coord" or "ground" item."""
    questions = {
        "text": [3, 20, 21, 22, 23, 2, 3, 30, 31],
        "coord": [3, 20, COORD_ID, 22, 23, 2, 3, 30, 31],
        "ground": [3, 50, 51, 52, 2, 3, 30, 31],
    }
    prompt = [1, 5, 9, 2, 3, 7, 11, IMAGE_ID, *questions[kind]]
    answer = [GROUND_ID, 2] if kind == "ground" else [40, 41, 42, 2]
    return torch.tensor([prompt + answer]), torch.tensor([[IGNORE] * len(prompt) + answer])


def weight(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Return a float32 parameter: normal numbers, seeded by its name and scaled as suits its kind.

    Args:
        name: Name of the parameter in the model.
        shape: Its shape.
    """
    numbers = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(tuple(shape)).astype(np.float32)
    values = torch.from_numpy(numbers)
    if "norm" in name.lower() and name.endswith("weight"):
        return 1 + 0.1 * values
    if name.endswith(("ground_head_zero_target", "image_newline")):
        return values
    if values.ndim == 1:
        return values * 0.1
    return values if "embed_tokens" in name else values * float(1.0 / np.sqrt(int(np.prod(shape[1:]))))


def model(case: Path, *, device: str, dtype: str, attention: str = "sdpa") -> Video3DForCausalLM:
    """Build the model of a case with the recipe's weights, in evaluation mode.

    Args:
        case: Case folder: config.json, and params.json with the shapes of all parameters.
        device: Device of the model.
        dtype: Number format of the model.
        attention: Attention implementation of transformers.

    Raises:
        DataError: If the model's parameters are not those of params.json.
    """
    config = Video3DConfig.from_pretrained(str(case))
    config.vision_config = dict(TOWER)
    config._attn_implementation = attention
    result = Video3DForCausalLM(config)
    shapes = json.loads((case / "params.json").read_text())["shapes"]
    ours = {name: tuple(p.shape) for name, p in result.named_parameters()}
    if ours != {name: tuple(shape) for name, shape in shapes.items()}:
        different = sorted({*ours.items()} ^ {(n, tuple(s)) for n, s in shapes.items()})
        raise DataError(f"parameters differ from the golden's: {different[:6]}", where=case / "params.json")
    result.load_state_dict({name: weight(name, shape) for name, shape in ours.items()})
    return result.to(device=device, dtype=getattr(torch, dtype)).eval()
