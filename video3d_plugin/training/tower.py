"""A vision tower from scratch learns to see first, in the words of the language model.

The real model's tower comes pretrained (SigLIP), and its projector is aligned with words before all else (LLaVA's first
stage). Here both in one: each patch, and the mean of each object's patches, after the projector, is to be like the
vectors of the words that name the object. Without this stage a small model would have to learn colours and shapes
through its language model, which takes hours.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from video3d_plugin.errors import DataError
from video3d_plugin.geometry.boxes import unpack_patches
from video3d_plugin.model.grounding import proposal_features
from video3d_plugin.scene import InputsSpec, SceneInputs
from video3d_plugin.training.moving import moved
from video3d_plugin.training.naming import NONE, Naming
from video3d_plugin.training.objects import Named
from video3d_plugin.training.optimizer import TOWER_LAYERS, build_optimizer
from video3d_plugin.training.stage import run_stage

if TYPE_CHECKING:
    from video3d_plugin.data.folder import DataFolder
    from video3d_plugin.model.modeling import Video3DForCausalLM
    from video3d_plugin.model.processing import Video3DProcessor
    from video3d_plugin.training.run import TrainSettings

_RATE = 2e-3
_SPREAD = 0.4  # of features that no position is added to: about a sine's within a room


class TowerLesson(nn.Module):
    """Tower and projector, and how like the right words what they make of patches is."""

    def __init__(self, model: Video3DForCausalLM, naming: Naming):
        super().__init__()
        inner = model.get_model()
        self.tower, self.projector = inner.get_vision_tower(), inner.mm_projector
        self.register_buffer("_words", inner.embed_tokens.weight.detach().clone(), persistent=False)
        self._side, self._naming = model.config.inputs_spec.object_grid_side, naming

    def forward(self, scenes: list[dict[str, torch.Tensor]], wanted: torch.Tensor) -> dict[str, torch.Tensor]:
        """wanted (N, 2): label and attribute number of every proposal of the scenes in order, NONE where not asked."""
        states, numbers, first = [], [], 0
        for scene in scenes:
            patches = self.projector(self.tower(scene["pixels"])).flatten(0, 1)
            inside = unpack_patches(scene["proposal_bits"].to(patches.device), self._side).flatten(1)
            own = wanted[first : first + len(inside)]
            first += len(inside)
            states += [patches, proposal_features(patches, inside)]
            numbers += [patch_numbers(inside, scene["proposals"].to(patches.device), own), own]
        return {"loss": self._naming.loss(torch.cat(states), torch.cat(numbers), self._words)}


def patch_numbers(inside: torch.Tensor, boxes: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """(M, 2) numbers of M patches: those of the smallest box that each lies in, NONE where in no box.

    inside (N, M) bool; boxes (N, 6) centre and size, metres; wanted (N, 2).
    """
    if not len(inside):
        return wanted.new_full((inside.shape[1], 2), NONE)
    volume = boxes[:, 3:].prod(1)[:, None]
    smallest = torch.where(inside, volume, torch.inf).min(0)
    return wanted[smallest.indices].masked_fill(smallest.values.isinf()[:, None], NONE)


class _Scenes(torch.utils.data.Dataset):
    """Scenes with the label and attribute numbers of their annotated objects that at least one patch shows."""

    def __init__(self, folder: DataFolder, named: Mapping[str, Named], naming: Naming, inputs: dict[str, Any]):
        self._folder, self._named, self._naming, self._inputs = folder, named, naming, inputs
        self._ids = sorted(named)

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        scene_id = self._ids[index]
        inputs = self._folder.inputs(scene_id, proposals="gt", **self._inputs)
        seen = inputs.proposal_bits.flatten(1).any(1).tolist()
        rows = [
            self._naming.numbers(self._named[scene_id], object_id) if shown else (NONE, NONE)
            for object_id, shown in zip(inputs.proposal_ids.tolist(), seen, strict=True)
        ]
        return inputs.tensors(), torch.tensor(rows).reshape(-1, 2)


def _collate(items) -> dict[str, Any]:
    return {"scenes": [scene for scene, _ in items], "wanted": torch.cat([wanted for _, wanted in items])}


def teach_tower(
    model: Video3DForCausalLM,
    processor: Video3DProcessor,
    folder: DataFolder,
    named: Mapping[str, Named],
    output: str | Path,
    settings: TrainSettings,
    resume: bool = False,
) -> float:
    """Train the model's tower and projector in place for `settings.tower_steps` steps; returns the last logged loss.

    named   objects by scene (see `training.objects.named_objects`); scenes without annotated objects do not help
    resume  go on where an interrupted run stopped
    Raises DataError where no scene has any.
    """
    if not any(named.values()):
        raise DataError("no annotated objects to learn to see from", remedy="prepare scans with labels, or --model")
    inputs = {"spec": model.config.inputs_spec, "sampler": settings.sampler, "max_frames": settings.max_frames}
    naming = Naming.of(named.values(), processor.tokenizer)
    scenes = _Scenes(folder, named, naming, inputs)
    lesson = TowerLesson(model, naming)
    learns = [p.requires_grad for p in lesson.parameters()]
    lesson.requires_grad_(True)  # also a tower that is to stay as it is from then on
    rates = replace(settings, learning_rate=_RATE, vision_tower_lr=None)
    optimizer = build_optimizer(lesson, rates, TOWER_LAYERS)
    steps, what = settings.tower_steps, "learning to see"
    loss = run_stage(lesson, scenes, _collate, optimizer, steps, output, settings, what, resume=resume)
    for parameter, before in zip(lesson.parameters(), learns, strict=True):
        parameter.requires_grad_(before)
    balance(model, sample_of(folder, sorted(named), model.config.inputs_spec, settings))
    return loss


_SAMPLE = 16  # scenes whose tokens say how large features and positions are


def sample_of(
    folder: DataFolder, scene_ids: Sequence[str], spec: InputsSpec, settings: TrainSettings
) -> list[SceneInputs]:
    """A few of the training's scenes as it sees them: where it moves scenes, moved."""
    rng, found = random.Random(settings.seed), []
    for scene_id in scene_ids[:: max(1, len(scene_ids) // _SAMPLE)][:_SAMPLE]:
        inputs = folder.inputs(scene_id, spec, sampler=settings.sampler, max_frames=settings.max_frames)
        found.append(moved(inputs, [], rng, scene_id)[0] if settings.move_scenes else inputs)
    return found


@torch.no_grad()
def balance(model: Video3DForCausalLM, scenes: Sequence[SceneInputs]) -> None:
    """Make visual features vary as much as the position encoding that is added to them, for the larger of the two would
    drown the other; and take the mean of both out of the projector, and that of the encoding out of <coord>: within a
    room most waves of a sine hardly move, and what all tokens share only makes less of what tells them apart.
    """
    inner, position = model.get_model(), model.config.position
    features = torch.cat([inner.mm_projector(inner.vision_tower(own.pixels)).flatten(0, -2) for own in scenes])
    mean, spread = features.mean(0), features.std(0).square().mean().sqrt().clamp(min=1e-6)
    shared, wanted = torch.zeros_like(mean), _SPREAD
    if position is not None:
        points = torch.cat([own.token_points.flatten(0, 2) for own in scenes]).to(features.device)
        places = inner.world_position_embedding(points).to(features)
        shared, wanted = places.mean(0), places.std(0).square().mean().sqrt()
    last = [part for part in inner.mm_projector.modules() if isinstance(part, nn.Linear)][-1]
    last.weight.mul_(wanted / spread)
    if last.bias is not None:
        last.bias.copy_((last.bias - mean) * wanted / spread - shared)
    if model.config.coord_token_id is not None:
        inner.embed_tokens.weight[model.config.coord_token_id] -= shared
