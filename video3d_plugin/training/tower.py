"""A vision tower from scratch learns to see first: the label and the attribute of each object, from its patches.

The real model's tower comes pretrained (SigLIP); without this stage a small one would have to learn colours and shapes
through the language model, which takes hours. Trained on the features that the grounding head reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from video3d_plugin.errors import DataError
from video3d_plugin.geometry.boxes import unpack_patches
from video3d_plugin.model.grounding import proposal_features
from video3d_plugin.training.objects import Named

if TYPE_CHECKING:
    from video3d_plugin.data.folder import DataFolder
    from video3d_plugin.model.modeling import Video3DForCausalLM
    from video3d_plugin.training.run import TrainSettings

_NONE = -100
_RATE = 2e-3


class TowerLesson(nn.Module):
    """The tower, and a linear reading of each object's mean patch feature as label and attribute."""

    def __init__(self, tower: nn.Module, patches_per_side: int, labels: int, attributes: int):
        super().__init__()
        self.tower, self._side, self._labels = tower, patches_per_side, labels
        self.read = nn.Sequential(nn.LayerNorm(tower.hidden_size), nn.Linear(tower.hidden_size, labels + attributes))

    def forward(self, scenes: list[dict[str, torch.Tensor]], wanted: torch.Tensor) -> dict[str, torch.Tensor]:
        """wanted (N, 2): label and attribute number of every proposal of the scenes in order, -100 where not asked."""
        logits = torch.cat([self.read(self._features(scene)) for scene in scenes])
        label = _mean_loss(logits[:, : self._labels], wanted[:, 0])
        return {"loss": label + _mean_loss(logits[:, self._labels :], wanted[:, 1])}

    def _features(self, scene: dict[str, torch.Tensor]) -> torch.Tensor:
        patches = self.tower(scene["pixels"]).flatten(0, 1)
        inside = unpack_patches(scene["proposal_bits"].to(patches.device), self._side).flatten(1)
        return proposal_features(patches, inside)


def _mean_loss(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Cross-entropy; 0, with a gradient, where nothing is asked."""
    total = F.cross_entropy(logits, wanted, ignore_index=_NONE, reduction="sum") if logits.shape[1] else logits.sum()
    return total / (wanted != _NONE).sum().clamp(min=1)


class _Scenes(torch.utils.data.Dataset):
    """Scenes with the label and attribute numbers of their annotated objects that at least one patch shows."""

    def __init__(self, folder: DataFolder, named: Mapping[str, Named], inputs: dict[str, Any]):
        self._folder, self._named, self._inputs = folder, named, inputs
        self._ids = sorted(named)
        self.labels = _numbers(label for objects in named.values() for _, label in objects.values())
        self.attributes = _numbers(word for objects in named.values() for word, _ in objects.values() if word)

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        scene_id = self._ids[index]
        inputs = self._folder.inputs(scene_id, proposals="gt", **self._inputs)
        seen = inputs.proposal_bits.flatten(1).any(1).tolist()
        rows = [
            self._wanted(scene_id, object_id) if shown else (_NONE, _NONE)
            for object_id, shown in zip(inputs.proposal_ids.tolist(), seen, strict=True)
        ]
        return inputs.tensors(), torch.tensor(rows).reshape(-1, 2)

    def _wanted(self, scene_id: str, object_id: int) -> tuple[int, int]:
        word, label = self._named[scene_id].get(object_id, (None, None))
        return self.labels.get(label, _NONE), self.attributes.get(word, _NONE)


def _numbers(words) -> dict[str, int]:
    return {word: number for number, word in enumerate(sorted(set(words)))}


def _collate(items) -> dict[str, Any]:
    return {"scenes": [scene for scene, _ in items], "wanted": torch.cat([wanted for _, wanted in items])}


def teach_tower(
    model: Video3DForCausalLM,
    folder: DataFolder,
    named: Mapping[str, Named],
    output: str | Path,
    settings: TrainSettings,
) -> float:
    """Train the model's tower in place for `settings.tower_steps` steps; returns the last logged loss.

    named   objects by scene (see `training.objects.named_objects`); scenes without annotated objects do not help
    Raises DataError where no scene has any.
    """
    from transformers import Trainer, TrainingArguments

    from video3d_plugin.training.progress import show_progress

    if not any(named.values()):
        raise DataError("no annotated objects to learn to see from", remedy="prepare scans with labels, or --model")
    spec = model.config.inputs_spec
    inputs = {"spec": spec, "sampler": settings.sampler, "max_frames": settings.max_frames}
    scenes = _Scenes(folder, named, inputs)
    tower = model.get_model().get_vision_tower()
    lesson = TowerLesson(tower, spec.object_grid_side, len(scenes.labels), len(scenes.attributes))
    trainer = Trainer(
        model=lesson,
        args=TrainingArguments(
            output_dir=str(output),
            max_steps=settings.tower_steps,
            per_device_train_batch_size=2,
            learning_rate=_RATE,
            lr_scheduler_type="cosine",
            warmup_steps=50,
            weight_decay=0.01,
            logging_steps=max(1, settings.tower_steps // 20),
            save_strategy="no",
            seed=settings.seed,
            data_seed=settings.seed,
            remove_unused_columns=False,
            report_to="none",
            use_cpu=not torch.cuda.is_available(),
        ),
        train_dataset=scenes,
        data_collator=_collate,
    )
    show_progress(trainer, "learning to see")
    trainer.train()
    balance(model, scenes[0][0])
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return losses[-1]


@torch.no_grad()
def balance(model: Video3DForCausalLM, scene: dict[str, torch.Tensor]) -> None:
    """Scale the projector so that visual features are as large as the position encoding that is added to them: the
    larger of the two would drown the other."""
    inner = model.get_model()
    last = [part for part in inner.mm_projector.modules() if isinstance(part, nn.Linear)][-1]
    features = inner.mm_projector(inner.vision_tower(scene["pixels"]))
    wanted = 0.7  # of a sine
    if model.config.position is not None:
        wanted = inner.world_position_embedding(scene["token_points"].to(features.device)).std()
    scale = wanted / features.std().clamp(min=1e-6)
    last.weight.mul_(scale)
    if last.bias is not None:
        last.bias.mul_(scale)
