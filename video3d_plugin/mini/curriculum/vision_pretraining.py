"""First stage: vision tower and projector learn to represent objects as the language model's word vectors.

A published checkpoint has a pretrained tower (SigLIP) and a projector that LLaVA's first stage has aligned with words.
This stage replaces both: each patch of an object, and the mean of its patches, should be similar after the projector to
the vectors of the words for the object. Without it a small model would learn colours and shapes through its language
model, which takes hours.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from video3d_plugin.errors import DataError
from video3d_plugin.geometry.boxes import unpack_patches
from video3d_plugin.inputs_spec import InputsSpec
from video3d_plugin.mini.curriculum.augment import turn_and_shift
from video3d_plugin.mini.curriculum.object_questions import ObjectNames
from video3d_plugin.mini.curriculum.vocabulary import NONE, Vocabulary
from video3d_plugin.mini.optimizer import TOWER_LAYERS, build_optimizer
from video3d_plugin.model.grounding import proposal_features
from video3d_plugin.scene import SceneInputs
from video3d_plugin.training.stage import Stage

if TYPE_CHECKING:
    from video3d_plugin.data.folder import DataFolder
    from video3d_plugin.mini.settings import MiniSettings
    from video3d_plugin.model.modeling import Video3DForCausalLM
    from video3d_plugin.model.processing import Video3DProcessor

_LEARNING_RATE = 2e-3
_SCENES_PER_STEP = 2
_SPREAD = 0.4  # of features without position encoding: about that of a sine encoding within a room
_BALANCE_SCENES = 16  # scenes whose tokens tell how large features and positions are


class VisionPretraining(nn.Module):
    """Vision tower and projector, with the loss of the first stage.

    Args:
        model: The model whose parts are trained. Its word embeddings are the constant targets.
        vocabulary: Labels and attributes of the training set.
    """

    def __init__(self, model: Video3DForCausalLM, vocabulary: Vocabulary):
        super().__init__()
        inner = model.get_model()
        self.tower, self.projector = inner.get_vision_tower(), inner.mm_projector
        self.register_buffer("_words", inner.embed_tokens.weight.detach().clone(), persistent=False)
        self._side, self._vocabulary = model.config.inputs_spec.object_grid_side, vocabulary

    def forward(self, scenes: list[dict[str, torch.Tensor]], labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute the loss.

        Args:
            scenes: Model inputs of each scene.
            labels: (N, 2) label and attribute number of every proposal of the scenes in order; NONE is left out.

        Returns:
            {"loss": scalar}
        """
        states, numbers, first = [], [], 0
        for scene in scenes:
            patches = self.projector(self.tower(scene["pixels"])).flatten(0, 1)
            inside = unpack_patches(scene["proposal_bits"].to(patches.device), self._side).flatten(1)
            own = labels[first : first + len(inside)]
            first += len(inside)
            states += [patches, proposal_features(patches, inside)]
            numbers += [patch_labels(inside, scene["proposals"].to(patches.device), own), own]
        return {"loss": self._vocabulary.loss(torch.cat(states), torch.cat(numbers), self._words)}


def patch_labels(inside: torch.Tensor, boxes: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the label and attribute number of each patch: those of the smallest box that it lies in.

    Args:
        inside: (N, M) bool, whether patch M lies in box N.
        boxes: (N, 6) centre and size, metres.
        labels: (N, 2) numbers of the boxes.

    Returns:
        (M, 2); NONE for a patch in no box.
    """
    if not len(inside):
        return labels.new_full((inside.shape[1], 2), NONE)
    volume = boxes[:, 3:].prod(1)[:, None]
    smallest = torch.where(inside, volume, torch.inf).min(0)
    return labels[smallest.indices].masked_fill(smallest.values.isinf()[:, None], NONE)


class _Scenes(torch.utils.data.Dataset):
    """Scenes with the label and attribute numbers of their annotated objects that at least one patch shows."""

    def __init__(
        self, folder: DataFolder, names: Mapping[str, ObjectNames], vocabulary: Vocabulary, inputs: dict[str, Any]
    ):
        self._folder, self._names, self._vocabulary, self._inputs = folder, names, vocabulary, inputs
        self._ids = sorted(names)

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        scene_id = self._ids[index]
        inputs = self._folder.inputs(scene_id, proposals="gt", **self._inputs)
        is_shown = inputs.proposal_bits.flatten(1).any(1).tolist()
        rows = [
            self._vocabulary.numbers(self._names[scene_id], object_id) if shown else (NONE, NONE)
            for object_id, shown in zip(inputs.proposal_ids.tolist(), is_shown, strict=True)
        ]
        return inputs.tensors(), torch.tensor(rows).reshape(-1, 2)


def _collate(items) -> dict[str, Any]:
    return {"scenes": [scene for scene, _ in items], "labels": torch.cat([labels for _, labels in items])}


def vision_stage(
    model: Video3DForCausalLM,
    processor: Video3DProcessor,
    folder: DataFolder,
    names: Mapping[str, ObjectNames],
    settings: MiniSettings,
) -> Stage:
    """Return the stage that trains the model's tower and projector in place, for `settings.tower_steps` steps.

    The tower is trained even if it is frozen afterwards. When the stage has ended, the features are balanced with the
    position encoding (`balance`).

    Args:
        model: The model.
        processor: Its processor.
        folder: The data folder with the scenes.
        names: Attribute and label of objects, by scene.
        settings: Steps, optimizer, sampler and number of frames.

    Raises:
        DataError: If no scene has annotated objects.
    """
    if not any(names.values()):
        raise DataError("no annotated objects to learn to see from", remedy="prepare scans with labels, or --model")
    vocabulary = Vocabulary.of(names.values(), processor.tokenizer)
    inputs = {"spec": model.config.inputs_spec, "sampler": settings.sampler, "max_frames": settings.max_frames}
    module = VisionPretraining(model, vocabulary)
    rates = replace(settings, learning_rate=_LEARNING_RATE, vision_tower_lr=None)

    @contextmanager
    def context() -> Iterator[None]:
        requires_grad = [p.requires_grad for p in module.parameters()]
        module.requires_grad_(True)
        yield
        for parameter, before in zip(module.parameters(), requires_grad, strict=True):
            parameter.requires_grad_(before)
        balance(model, sample_scenes(folder, sorted(names), model.config.inputs_spec, settings))

    return Stage(
        "learning to see",
        module,
        _Scenes(folder, names, vocabulary, inputs),
        _collate,
        lambda: build_optimizer(module, rates, TOWER_LAYERS),
        steps=settings.tower_steps,
        scenes_per_step=_SCENES_PER_STEP,
        context=context,
    )


def sample_scenes(
    folder: DataFolder, scene_ids: Sequence[str], spec: InputsSpec, settings: MiniSettings
) -> list[SceneInputs]:
    """Return a few training scenes, turned and shifted if the training does so.

    Args:
        folder: The data folder with the scenes.
        scene_ids: Ids of the training scenes.
        spec: The input sizes of the model.
        settings: Sampler, number of frames, seed and whether scenes are moved.
    """
    rng, result = random.Random(settings.seed), []
    for scene_id in scene_ids[:: max(1, len(scene_ids) // _BALANCE_SCENES)][:_BALANCE_SCENES]:
        inputs = folder.inputs(scene_id, spec, sampler=settings.sampler, max_frames=settings.max_frames)
        result.append(turn_and_shift(inputs, [], rng, scene_id)[0] if settings.move_scenes else inputs)
    return result


@torch.no_grad()
def balance(model: Video3DForCausalLM, scenes: Sequence[SceneInputs]) -> None:
    """Scale visual features to the spread of the position encoding that is added to them, in place.

    The larger of the two would drown the other. The mean of both is taken out of the projector's bias, and the mean
    position encoding out of the embedding of <coord>: most waves of a sine encoding hardly move within a room, and what
    all tokens share only makes their differences smaller.

    Args:
        model: The model.
        scenes: Scenes whose tokens are measured.
    """
    inner, position = model.get_model(), model.config.position
    features = torch.cat([inner.mm_projector(inner.vision_tower(own.pixels)).flatten(0, -2) for own in scenes])
    mean, spread = features.mean(0), features.std(0).square().mean().sqrt().clamp(min=1e-6)
    mean_encoding, target_spread = torch.zeros_like(mean), _SPREAD
    if position is not None:
        points = torch.cat([own.token_points.flatten(0, 2) for own in scenes]).to(features.device)
        encodings = inner.world_position_embedding(points).to(features)
        mean_encoding, target_spread = encodings.mean(0), encodings.std(0).square().mean().sqrt()
    last = [part for part in inner.mm_projector.modules() if isinstance(part, nn.Linear)][-1]
    last.weight.mul_(target_spread / spread)
    if last.bias is not None:
        last.bias.copy_((last.bias - mean) * target_spread / spread - mean_encoding)
    if model.config.coord_token_id is not None:
        inner.embed_tokens.weight[model.config.coord_token_id] -= mean_encoding
