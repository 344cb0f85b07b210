"""What the speed benchmarks ask with: a model with random weights, a scene of random numbers, questions of real length.

Shapes are the published model's: crops of 384 pixels, 27 x 27 patches, 14 x 14 tokens with 14 newline tokens a frame,
so 6,720 visual tokens for 32 frames. Weights, pixels and points are random: they do not change what a step costs.
"""

from __future__ import annotations

import random
from typing import Any

import torch

from video3d_plugin.config import KNOWN_TOWERS
from video3d_plugin.geometry.boxes import pack_patches
from video3d_plugin.inputs_spec import InputsSpec
from video3d_plugin.scene import Question, SceneInputs

SCENE = "made_up"
GROUND = "<image>Identify the object according to the following description.\n"
_WORDS = (
    "the a this there is chair table brown white wooden to left right of in front behind next near corner room wall "
    "window door it has four legs and black back closest side long desk with monitor on top under lamp shelf"
).split()
SIZES: dict[str, dict[str, Any]] = {
    # 4 layers that a CPU runs in seconds; the ratio of key-value heads and of the inner size are Qwen2-7B's
    "small": {
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 65536,
    },
    # heads of 128, which the reference's rotary sections need
    "25m": {
        "hidden_size": 512,
        "intermediate_size": 2048,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 65536,
    },
    "7b": {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "max_position_embeddings": 65536,
        "rope_theta": 1000000.0,
        "vocab_size": 152064,
    },
}
_SMALL_TOWER: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 384,
    "patch_size": 14,
}
TOWERS: dict[str, dict[str, Any]] = {
    "small": _SMALL_TOWER,
    "25m": _SMALL_TOWER,
    "7b": KNOWN_TOWERS["google/siglip-so400m-patch14-384"],
}


def model_of(size: str, device: str = "cpu", dtype: str = "float32", **overrides: Any):
    """(model, processor) with random weights, in evaluation mode."""
    from video3d_plugin.model.tiny import build_tiny, train_tokenizer

    chat = ["system\nYou are a helpful assistant.", "user\n", "assistant\n"] * 64
    tokenizer = train_tokenizer(chat + [q.prompt for q in questions("ground", 64) + questions("answer", 64)], 640)
    default = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        with torch.device(device):
            model, processor = build_tiny(tokenizer, vision=TOWERS[size], **{**SIZES[size], **overrides})
    finally:
        torch.set_default_dtype(default)
    return model.to(device=device), processor


def scene(frames: int = 32, proposals: int = 50, spec: InputsSpec | None = None, seed: int = 0) -> SceneInputs:
    """Random numbers of the right shapes; every proposal holds about 2 % of the patches."""
    spec, draw = spec or InputsSpec(), torch.Generator().manual_seed(seed)
    g, n, side = spec.grid_side, spec.object_grid_side, spec.used_side
    return SceneInputs(
        spec=spec,
        scene_id=SCENE,
        frames=tuple(f"{i:05d}" for i in range(frames)),
        pixels=torch.randint(0, 256, (frames, side, side, 3), dtype=torch.uint8, generator=draw),
        token_points=torch.rand(frames, g, g, spec.points_per_token, 3, generator=draw) * 8 - 4,
        token_valid=torch.ones(frames, g, g, dtype=torch.bool),
        proposals=torch.rand(proposals, 6, generator=draw) * 4,
        proposal_bits=pack_patches(torch.rand(proposals, frames, n, n, generator=draw) > 0.98),
        proposal_ids=torch.arange(proposals),
    )


def questions(kind: str, count: int, seed: int = 0) -> list[Question]:
    """`ground`: descriptions of 12 to 28 words, ScanRefer's average is 20. `answer`: ScanQA's 6 to 12 words.

    `train`: both in turn, with answers.
    """
    if kind == "train":
        pairs = zip(questions("ground", count, seed), questions("answer", count, seed), strict=True)
        return [pair[index % 2] for index, pair in enumerate(pairs)]
    rng = random.Random(seed)
    made = []
    for index in range(count):
        if kind == "ground":
            text = GROUND + " ".join(rng.choices(_WORDS, k=rng.randint(12, 28)))
            target = (rng.randrange(10),)
            made.append(Question("scanrefer", f"g{index}", SCENE, text, "<ground>", (), target))
        else:
            text = " ".join(rng.choices(_WORDS, k=rng.randint(6, 12))).capitalize()
            prompt = f"<image> {text}? Answer the question simply."
            made.append(Question("scanqa", f"a{index}", SCENE, prompt, " ".join(rng.choices(_WORDS, k=2))))
    return made
