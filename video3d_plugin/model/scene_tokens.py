"""One scene's tensors -> its visual tokens and its proposals' features. Nothing here depends on the question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from video3d_plugin.errors import DataError
from video3d_plugin.geometry.boxes import unpack_patches
from video3d_plugin.model.grounding import proposal_features
from video3d_plugin.model.vision import lay_out, pool_grid

if TYPE_CHECKING:
    from video3d_plugin.model.modeling import Video3DForCausalLM


@dataclass(frozen=True)
class SceneTokens:
    """visual (T, H): the sequence in place of `<image>`; proposals (N, H): what enters the grounding head.

    proposals is (0, H) where no grounding item asked for them or the scene has none.
    """

    visual: torch.Tensor
    proposals: torch.Tensor


def encode_scene_tokens(
    model: Video3DForCausalLM,
    scene: dict[str, torch.Tensor],
    with_proposals: bool = True,
    name: str = "the scene",
) -> SceneTokens:
    """`scene` is SceneInputs.tensors(), on any device; see `video3d_plugin.scene.SceneInputs` for shapes.

    Errors call it by `name`.
    """
    inner, config = model.get_model(), model.config
    _check(scene, config, with_proposals, name)
    # Projected patches keep their own grid for proposals; the pooled grid becomes tokens.
    patches = inner.mm_projector(inner.vision_tower(scene["pixels"]))
    grid = pool_grid(patches, config.layout)
    placed = grid
    if config.position is not None:
        points = scene["token_points"].to(grid.device)
        embedding = inner.world_position_embedding(points).to(grid)
        if "token_valid" in scene and config.mask_invalid_depth:
            embedding = embedding * scene["token_valid"].to(grid.device)[..., None]
        placed = grid + embedding
    newline = inner.image_newline if config.layout.has_newline else None
    visual = lay_out(placed, newline, config.layout)
    if not with_proposals:
        return SceneTokens(visual, visual.new_zeros(0, visual.shape[1]))
    # Proposals see the features before positions are added, and their box centre's position instead.
    source = patches if config.object_patch == "patch14" else grid.flatten(1, 2)
    inside = unpack_patches(scene["proposal_bits"].to(grid.device), config.inputs_spec.object_grid_side).flatten(1)
    features = proposal_features(source.flatten(0, 1), inside)
    if config.position is not None and len(features):
        centres = scene["proposals"].to(grid.device).float()[:, None, :3]
        centres = centres.expand(-1, config.position.points_per_token, -1)
        features = features + inner.world_position_embedding(centres).to(features)
    return SceneTokens(visual, features)


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
