"""Encodes scenes: their tensors become visual tokens and proposal features, independent of any question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from video3d_plugin.config import Video3DConfig
from video3d_plugin.errors import DataError
from video3d_plugin.geometry.boxes import unpack_patches
from video3d_plugin.geometry.patch_grid import as_coordinates
from video3d_plugin.model.distributed.rank_sync import apply_joined
from video3d_plugin.model.grounding import proposal_features
from video3d_plugin.model.position import in_its_format
from video3d_plugin.model.vision import VisionTower, flatten_with_newlines, normalise_pixels, pool_grid

SceneTensors = dict[str, torch.Tensor]  # SceneInputs.tensors()


@dataclass(frozen=True)
class SceneTokens:
    """An encoded scene.

    Attributes:
        visual: (T, H) the embeddings that replace <image>.
        proposals: (N, H) input features of the grounding head; (0, H) where no item of the batch grounds in the scene,
            or it has no proposals.
        inside: (N, C) bool, which of the scene's C cells (tokens without newlines) lie in which proposal; None where
            the language model's states are not averaged.
        columns: (C,) the index of each cell among the T tokens; None as `inside`.
        axes: (T, 3) int64 voxels of the visual tokens, 0 for newlines; None for a model that does not rotate by them.
    """

    visual: torch.Tensor
    proposals: torch.Tensor
    inside: torch.Tensor | None = None
    columns: torch.Tensor | None = None
    axes: torch.Tensor | None = None


def encode_scene_tokens(
    model: Any,  # a Video3DForCausalLM, whose module imports this one
    scene: SceneTensors,
    with_proposals: bool = True,
    name: str = "the scene",
) -> SceneTokens:
    """Encode one scene.

    Args:
        model: A Video3DForCausalLM.
        scene: `SceneInputs.tensors()`, on any device; see there for the shapes.
        with_proposals: Whether to compute proposal features.
        name: The scene's name in errors.

    Raises:
        DataError: A tensor has another shape than the model's `inputs_spec` requires, or is not finite.
    """
    return encode_scenes(model, [scene], [with_proposals], [name])[0]


def encode_scenes(
    model: Any,  # a Video3DForCausalLM, whose module imports this one
    scenes: Sequence[SceneTensors],
    with_proposals: Sequence[bool],
    names: Sequence[str],
    rank_sync: bool = False,
) -> list[SceneTokens]:
    """Encode several scenes; each module of the model runs once, on all of them joined.

    Args:
        model: A Video3DForCausalLM.
        scenes: For each scene `SceneInputs.tensors()`.
        with_proposals: For each scene whether to compute proposal features.
        names: The scenes' names in errors.
        rank_sync: Give the first scene a dummy proposal where none is needed; see `model.distributed.rank_sync`.

    Raises:
        DataError: As for `encode_scene_tokens`.
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
    centres = [
        as_coordinates(scenes[index]["proposals"].to(features[index].device), config.inputs_spec)[:, :3]
        for index in some
    ]
    if rank_sync and not any(with_proposals):
        some, features[0] = [0], patches[0][0, :1]
        centres = [torch.zeros(1, 3, device=features[0].device)]
    if config.position is not None and some:  # proposals saw features without positions: they get their centre's
        points = [own[:, None].expand(-1, config.position.points_per_token, -1) for own in centres]
        for index, embedding in zip(some, apply_joined(inner.world_position_embedding, points), strict=True):
            features[index] = features[index] + embedding.to(features[index])
    cells = [_cells(config, *of_scene) for of_scene in zip(grids, scenes, with_proposals, strict=True)]
    encoded = [SceneTokens(*of_scene, *own) for *of_scene, own in zip(visual, features, cells, strict=True)]
    adapted = [model.adapt_scene_tokens(tokens, scene) for tokens, scene in zip(encoded, scenes, strict=True)]
    if config.position is None or not config.position.rotary:
        return adapted
    axes = [_axes(scene, config).to(tokens.visual.device) for scene, tokens in zip(scenes, adapted, strict=True)]
    for own, tokens, name in zip(axes, adapted, names, strict=True):
        if len(own) != len(tokens.visual):
            what = f"{len(tokens.visual)} visual tokens have {len(own)} positions"
            raise DataError(what, where=name, remedy="mrope needs the tokens as they are encoded")
    return [replace(tokens, axes=own) for tokens, own in zip(adapted, axes, strict=True)]


def _axes(scene: SceneTensors, config: Video3DConfig) -> torch.Tensor:
    """Return the voxels of a scene's tokens (T, 3)."""
    assert config.position is not None, "only a model with 3D positions places its tokens"
    voxels = in_its_format(scene["token_points"], config.position)[..., 0, :].long()
    return flatten_with_newlines(voxels, voxels.new_zeros(3), config.layout)


def _cells(
    config: Video3DConfig, grid: torch.Tensor, scene: SceneTensors, with_proposals: bool
) -> tuple[torch.Tensor, torch.Tensor] | tuple[None, None]:
    """Return `SceneTokens.inside` and `columns`."""
    spec = config.inputs_spec
    if not (with_proposals and spec.token_boxes):
        return None, None
    bits = scene["proposal_bits"].to(grid.device)[..., -spec.token_bytes :]
    numbers = torch.arange(grid[..., 0].numel(), device=grid.device, dtype=torch.float64).view(*grid.shape[:3], 1)
    order = flatten_with_newlines(numbers, numbers.new_full((1,), -1), config.layout)[:, 0]
    return unpack_patches(bits, spec.grid_side).flatten(1), (order >= 0).nonzero()[:, 0]


def grounding_features(tokens: SceneTokens, hidden: torch.Tensor) -> torch.Tensor:
    """Return what the grounding head compares with: the tower's features, or their mean with the language model's.

    Source: Visual-AI/3DRS at 0401f54, llava/model/language_model/llava_qwen.py, `predict_box`.

    Args:
        tokens: The encoded scene.
        hidden: (T, H) last hidden states of its visual tokens; not read where states are not averaged.

    Returns:
        (N, H).
    """
    if tokens.inside is None or tokens.columns is None:
        return tokens.proposals
    states = hidden[tokens.columns.to(hidden.device)]
    return (tokens.proposals.to(states) + proposal_features(states, tokens.inside.to(states.device))) / 2


def _pixels(scenes: Sequence[SceneTensors], tower: VisionTower) -> list[torch.Tensor]:
    """Return the scenes' pixels in one number format, so that they can be joined: floats where a scene has floats."""
    pixels = [scene["pixels"].to(tower.device, non_blocking=True) for scene in scenes]
    if len({one.dtype for one in pixels}) == 1:
        return pixels
    return [normalise_pixels(one, torch.float32, one.device).permute(0, 2, 3, 1) for one in pixels]


def _placed(
    inner: Any, config: Video3DConfig, grids: list[torch.Tensor], scenes: Sequence[SceneTensors]
) -> list[torch.Tensor]:
    """Add to each cell of the grids the position embedding of its points."""
    points = [scene["token_points"].to(grid.device) for grid, scene in zip(grids, scenes, strict=True)]
    placed = []
    for grid, embedding, scene in zip(grids, apply_joined(inner.world_position_embedding, points), scenes, strict=True):
        embedding = embedding.to(grid)
        if "token_valid" in scene and config.mask_invalid_depth:
            embedding = embedding * scene["token_valid"].to(grid.device)[..., None]
        placed.append(grid + embedding)
    return placed


def _check(scene: SceneTensors, config: Video3DConfig, with_proposals: bool, name: str) -> None:
    """Raise DataError for tensors that do not fit the model."""
    frames, spec = len(scene["pixels"]), config.inputs_spec
    if not frames:
        raise DataError("no frames", where=name, remedy="give at least one posed RGB-D frame")
    shapes: dict[str, tuple[int, ...]] = {"pixels": (frames, spec.used_side, spec.used_side, 3)}
    finite = []
    if config.position is not None:
        shapes["token_points"] = (frames, spec.grid_side, spec.grid_side, spec.points_per_token, 3)
        finite.append("token_points")
    if with_proposals:
        count = len(scene["proposals"])
        shapes |= {"proposals": (count, 6), "proposal_bits": (count, frames, spec.proposal_bytes)}
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
