"""Scenes' tensors -> their visual tokens and proposals' features. Nothing here depends on the question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from video3d_plugin.errors import DataError
from video3d_plugin.geometry.boxes import unpack_patches
from video3d_plugin.model.distributed.rank_sync import apply_joined
from video3d_plugin.model.grounding import proposal_features
from video3d_plugin.model.vision import flatten_with_newlines, normalise_pixels, pool_grid


@dataclass(frozen=True)
class SceneTokens:
    """visual (T, H): the sequence in place of `<image>`; proposals (N, H): what enters the grounding head.

    proposals is (0, H) where no grounding item asked for them or the scene has none.
    """

    visual: torch.Tensor
    proposals: torch.Tensor


def encode_scene_tokens(
    model: Any,  # a Video3DForCausalLM, whose module imports this one
    scene: dict[str, torch.Tensor],
    with_proposals: bool = True,
    name: str = "the scene",
) -> SceneTokens:
    """`scene` is SceneInputs.tensors(), on any device; see `video3d_plugin.scene.SceneInputs` for shapes.

    Errors call it by `name`.
    """
    return encode_scenes(model, [scene], [with_proposals], [name])[0]


def encode_scenes(
    model: Any,  # a Video3DForCausalLM, whose module imports this one
    scenes: Sequence[dict[str, torch.Tensor]],
    with_proposals: Sequence[bool],
    names: Sequence[str],
    rank_sync: bool = False,
) -> list[SceneTokens]:
    """As `encode_scene_tokens`; each part of the model runs once, on all scenes together.

    rank_sync: where no scene needs its proposals, the first one gets a made-up one, see `model.distributed.rank_sync`.
    """
    inner, config = model.get_model(), model.config
    for scene, proposals, name in zip(scenes, with_proposals, names, strict=True):
        _check(scene, config, proposals, name)
    # Projected patches keep their own grid for proposals; the pooled grid becomes tokens.
    patches = apply_joined(
        lambda pixels: inner.mm_projector(inner.vision_tower(pixels)), _pixels(scenes, inner.vision_tower)
    )
    grids = [pool_grid(own, config.layout) for own in patches]
    newline = inner.image_newline if config.layout.has_newline else None
    placed = grids if config.position is None else _placed(inner, config, grids, scenes)
    visual = [flatten_with_newlines(grid, newline, config.layout) for grid in placed]
    features = [tokens.new_zeros(0, tokens.shape[1]) for tokens in visual]
    for index, scene in enumerate(scenes):
        if with_proposals[index]:
            source = patches[index] if config.object_patch == "patch14" else grids[index].flatten(1, 2)
            bits = scene["proposal_bits"].to(source.device)
            inside = unpack_patches(bits, config.inputs_spec.object_grid_side).flatten(1)
            features[index] = proposal_features(source.flatten(0, 1), inside)
    some = [index for index, own in enumerate(features) if len(own)]
    centres = [scenes[index]["proposals"].to(features[index].device).float()[:, :3] for index in some]
    if rank_sync and not any(with_proposals):
        some, features[0] = [0], patches[0][0, :1]
        centres = [torch.zeros(1, 3, device=features[0].device)]
    if config.position is not None and some:  # proposals saw features without positions: they get their centre's
        points = [own[:, None].expand(-1, config.position.points_per_token, -1) for own in centres]
        for index, embedding in zip(some, apply_joined(inner.world_position_embedding, points), strict=True):
            features[index] = features[index] + embedding.to(features[index])
    return [SceneTokens(tokens, proposals) for tokens, proposals in zip(visual, features, strict=True)]


def _pixels(scenes: Sequence[dict[str, torch.Tensor]], tower) -> list[torch.Tensor]:
    """Of one kind, so that they can be joined: normalised floats where some scene has them."""
    pixels = [scene["pixels"].to(tower.device, non_blocking=True) for scene in scenes]
    if len({one.dtype for one in pixels}) == 1:
        return pixels
    return [normalise_pixels(one, torch.float32, one.device).permute(0, 2, 3, 1) for one in pixels]


def _placed(inner, config, grids: list[torch.Tensor], scenes: Sequence[dict[str, torch.Tensor]]) -> list[torch.Tensor]:
    """The grids with the position embedding of each cell's points added."""
    points = [scene["token_points"].to(grid.device) for grid, scene in zip(grids, scenes, strict=True)]
    placed = []
    for grid, embedding, scene in zip(grids, apply_joined(inner.world_position_embedding, points), scenes, strict=True):
        embedding = embedding.to(grid)
        if "token_valid" in scene and config.mask_invalid_depth:
            embedding = embedding * scene["token_valid"].to(grid.device)[..., None]
        placed.append(grid + embedding)
    return placed


def _check(scene: dict[str, torch.Tensor], config, with_proposals: bool, name: str) -> None:
    """Raise a DataError that says what does not fit, before anything is computed."""
    frames, spec = len(scene["pixels"]), config.inputs_spec
    if not frames:
        raise DataError("no frames", where=name, remedy="give at least one posed RGB-D frame")
    shapes = {"pixels": (frames, spec.used_side, spec.used_side, 3)}
    finite = []
    if config.position is not None:
        shapes["token_points"] = (frames, spec.grid_side, spec.grid_side, spec.points_per_token, 3)
        finite.append("token_points")
    if with_proposals:
        count, patches = len(scene["proposals"]), spec.object_grid_side**2
        shapes |= {"proposals": (count, 6), "proposal_bits": (count, frames, -(-patches // 8))}
        finite.append("proposals")
    for part, expected in shapes.items():
        if tuple(scene[part].shape) != expected:
            raise DataError(
                f"{part} are {tuple(scene[part].shape)}, expected {expected}",
                where=name,
                remedy="make the scene's inputs with this model's config.inputs_spec",
            )
    for part in finite:
        if not bool(torch.isfinite(scene[part]).all()):
            raise DataError(f"{part} are not all finite", where=name, remedy="leave out broken poses, depths and boxes")
