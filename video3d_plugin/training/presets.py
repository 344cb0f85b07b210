"""Named settings: a small model from scratch, and how long it is trained.

`demo` is what `video3d demo` trains in about a minute where no trained checkpoint ships; `mini` is the small model
that the mini benchmark is meant for; `paper` fine-tunes a real checkpoint with the paper's settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from video3d_plugin.errors import DataError
from video3d_plugin.scene import Question
from video3d_plugin.training.run import TrainSettings

if TYPE_CHECKING:
    from video3d_plugin.model.modeling import Video3DForCausalLM
    from video3d_plugin.model.processing import Video3DProcessor


@dataclass(frozen=True)
class Preset:
    """`language` and `vision` are sizes of a model built from scratch; None: a checkpoint must be given."""

    settings: TrainSettings
    language: Mapping[str, Any] | None = None
    vision: Mapping[str, Any] = field(default_factory=dict)
    vocab_size: int = 1024


_WORD_SCALE = 0.4
_SMALL_RATES = {"learning_rate": 1e-3, "vision_tower_lr": None, "weight_decay": 0.01, "warmup_fraction": 0.05}

PRESETS: dict[str, Preset] = {
    "demo": Preset(
        TrainSettings(
            **_SMALL_RATES, steps=300, scenes_per_step=2, questions_per_scene=16, max_frames=8, save_every=10_000
        ),
        language={"hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 3, "initializer_range": 0.1},
        vision={"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 3, "image_size": 112},
        vocab_size=900,
    ),
    "mini": Preset(
        TrainSettings(
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
            later_rates=0.3,
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
    "paper": Preset(TrainSettings(questions_per_scene=1, scenes_per_step=16, scenes_at_once=1, precision="bfloat16")),
}


def preset(name: str) -> Preset:
    """The preset called `name`; an unknown name is an error that lists the known ones."""
    if name not in PRESETS:
        raise DataError(f"no preset {name!r}", remedy=f"known: {', '.join(PRESETS)}")
    return PRESETS[name]


def for_checkpoint(chosen: Preset) -> TrainSettings:
    """The preset's settings for a model that is trained already: without what one from scratch learns first."""
    return replace(chosen.settings, tower_steps=0, lookup_steps=0, object_steps=0)


def from_scratch(
    chosen: Preset, questions: Iterable[Question], *, seed: int = 0
) -> tuple[Video3DForCausalLM, Video3DProcessor]:
    """A model with random weights and a tokenizer learnt from the questions' own text. Repeats with the seed."""
    from video3d_plugin.model.tiny import build_tiny, train_tokenizer

    if chosen.language is None:
        raise DataError("this preset fine-tunes a checkpoint", remedy="give --model CHECKPOINT")
    texts = [text for q in questions for text in (q.prompt, q.answer) if text]
    tokenizer = train_tokenizer(texts, chosen.vocab_size)
    model, processor = build_tiny(tokenizer, vision=dict(chosen.vision), seed=seed, **chosen.language)
    _begin(model)
    processor.label_style = "answer"  # a small model has no capacity to spare for the prompt's chat marks
    return model, processor


def _begin(model: Video3DForCausalLM) -> None:
    """Layers that add nothing until they have learnt something, words as large as the positions added to tokens, and
    first layers that attend to what is like the token itself.

    Measured on short questions about objects: what took 240 steps to find takes 90 with the first two; what lies at a
    point is learnt in 200 steps instead of 350 with the third.
    """
    import torch

    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        for layer in model.model.layers:
            attention = layer.self_attn
            if attention.k_proj.weight.shape == attention.q_proj.weight.shape:
                attention.k_proj.weight.copy_(attention.q_proj.weight)
        embeddings = model.model.embed_tokens.weight
        embeddings.mul_(_WORD_SCALE / embeddings.std())
