"""Presets of small models that are trained from scratch: their sizes and how long they are trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from video3d_plugin.errors import DataError
from video3d_plugin.mini.settings import MiniSettings


@dataclass(frozen=True)
class MiniPreset:
    """A small model and its training.

    Attributes:
        settings: The settings of the run.
        language: Sizes of the language model, as in `Video3DConfig`.
        vision: Sizes of the vision tower, as in its configuration.
        vocab_size: Entries of the tokenizer, which is trained on the questions.
    """

    settings: MiniSettings
    language: Mapping[str, Any]
    vision: Mapping[str, Any] = field(default_factory=dict)
    vocab_size: int = 1024

    @property
    def fine_tuning_settings(self) -> MiniSettings:
        """The settings for a model that is trained already: without the stages of a model from scratch."""
        return replace(self.settings, tower_steps=0, lookup_steps=0, object_steps=0)


PRESETS: dict[str, MiniPreset] = {
    # `video3d demo --train`: about a minute on two cores
    "demo": MiniPreset(
        MiniSettings(
            learning_rate=1e-3,
            vision_tower_lr=None,
            weight_decay=0.01,
            warmup_fraction=0.05,
            steps=300,
            scenes_per_step=2,
            questions_per_scene=16,
            max_frames=8,
            save_every=10_000,
        ),
        language={"hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 3, "initializer_range": 0.1},
        vision={"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 3, "image_size": 112},
        vocab_size=900,
    ),
    # the model of the mini benchmark: about an hour on two cores
    "mini": MiniPreset(
        MiniSettings(
            learning_rate=2e-3,
            vision_tower_lr=0.0,
            weight_decay=0.01,
            warmup_fraction=0.02,
            optimizer="muon",
            steps=1650,
            scenes_per_step=4,
            questions_per_scene=12,
            max_frames=12,
            sampler="mc",
            save_every=400,
            move_scenes=True,
            task_rounds={"scanrefer": 2, "multi3drefer": 2, "scanqa": 3, "sqa3d": 2},
            object_rounds=1,
            tower_steps=2500,
            lookup_steps=900,
            final_stage_lr_factor=0.3,
        ),
        language={
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_hidden_layers": 5,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "initializer_range": 0.1,
            "rope_theta": 1e8,
        },
        vision={"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "image_size": 168},
        vocab_size=900,
    ),
}


def preset(name: str) -> MiniPreset:
    """Return a preset by name.

    Args:
        name: A key of `PRESETS`.

    Raises:
        DataError: If there is none of that name.
    """
    if name not in PRESETS:
        raise DataError(f"no preset {name!r}", remedy=f"known: {', '.join(PRESETS)}")
    return PRESETS[name]
