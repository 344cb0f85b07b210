"""Scenes, questions and sizes that the model's tests share."""

from __future__ import annotations

import torch

from video3d_plugin.geometry.boxes import pack_patches
from video3d_plugin.inputs_spec import InputsSpec
from video3d_plugin.scene import Question, SceneInputs

TEXTS = [
    "You are a helpful assistant. system user assistant",
    "Identify the object according to the following description. There may be no corresponding object,",
    "Given an object located at , describe the object in detail. Answer the question simply.",
    "The brown chair is next to the white table. What colour is the lamp? It is red, near the door.",
] * 4
VISION = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
          "image_size": 58, "patch_size": 8}  # fmt: skip
SIZES = {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 2048, "initializer_range": 0.2}  # fmt: skip


def random_scene(spec: InputsSpec, name: str, frames: int, proposals: int, seed: int = 0) -> SceneInputs:
    """Any numbers of the right shapes; the last proposal holds no patch."""
    draw = torch.Generator().manual_seed(seed)
    g, n, side = spec.grid_side, spec.object_grid_side, spec.used_side
    inside = torch.rand(proposals, frames, n, n, generator=draw) > 0.8
    if proposals:
        inside[-1] = False
    tokens = [pack_patches(torch.rand(proposals, frames, g, g, generator=draw) > 0.7)] if spec.token_boxes else []
    return SceneInputs(
        spec=spec,
        scene_id=name,
        frames=tuple(f"{i:05d}" for i in range(frames)),
        pixels=torch.randint(0, 256, (frames, side, side, 3), dtype=torch.uint8, generator=draw),
        token_points=torch.rand(frames, g, g, spec.points_per_token, 3, generator=draw) * 8 - 4,
        token_valid=torch.rand(frames, g, g, generator=draw) > 0.2
        if spec.mask_invalid_depth
        else torch.ones(frames, g, g, dtype=torch.bool),
        proposals=torch.rand(proposals, 6, generator=draw) * 4,
        proposal_bits=torch.cat([pack_patches(inside), *tokens], dim=2),
        proposal_ids=torch.arange(proposals) * 10,
    )


def question(kind: str, scene: str, targets: tuple[int, ...] = (10,)) -> Question:
    """One question of each task, with the published checkpoint's prompts. targets are object ids: 10 x the index."""
    ground = "<image>Identify the object according to the following description.\n"
    return {
        "scanrefer": Question("scanrefer", "r", scene, ground + "The brown chair", "<ground>", (), targets),
        "multi3drefer": Question(
            "multi3drefer", "m", scene,
            ground + "The lamp\nThere may be no corresponding object, or there may be one or more objects.",
            "<ground>", (), targets,
        ),
        "scan2cap": Question(
            "scan2cap", "c", scene, "<image> Given an object located at <coord> , describe the object in detail.",
            "The brown chair is near the door.", ((0.7, -1.1, 0.9),),
        ),
        "scanqa": Question("scanqa", "q", scene, "<image> What colour is the lamp? Answer the question simply.", "red"),
        "sqa3d": Question(
            "sqa3d", "s", scene,
            "<image> I face the table. What is near? Answer the question using a single word or phrase.", "lamp",
        ),
        "two_coords": Question(
            "other", "t", scene, "<image> Is <coord> near <coord> ?", "It is.", ((0.0, 1.0, 0.5), (-2.0, 0.3, 1.5)),
        ),
    }[kind]  # fmt: skip


TASKS = ("scanrefer", "multi3drefer", "scan2cap", "scanqa", "sqa3d", "two_coords")


def alone(processor, item, scenes, **options):
    """The batch of one item."""
    return processor([item], [s for s in scenes if s.scene_id == item.scene_id], **options)


def gradients(model, batch) -> dict[str, torch.Tensor]:
    """{parameter: its gradient from the batch's loss, zeros where there is none}"""
    model.zero_grad()
    model(**batch).loss.backward()
    found = {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}
    model.zero_grad()
    return found
