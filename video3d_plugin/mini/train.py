"""Train a small model: random weights, a tokenizer of the questions' own words, and the stages of the curriculum."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video3d_plugin.mini.curriculum.stages import curriculum_stages
from video3d_plugin.mini.presets import MiniPreset
from video3d_plugin.mini.settings import MiniSettings
from video3d_plugin.scene import Question
from video3d_plugin.training.trainer import train

if TYPE_CHECKING:
    from video3d_plugin.data.folder import DataFolder
    from video3d_plugin.model.modeling import Video3DForCausalLM
    from video3d_plugin.model.processing import Video3DProcessor

_WORD_SCALE = 0.4


def train_mini(
    model: Video3DForCausalLM,
    processor: Video3DProcessor,
    folder: DataFolder,
    output: str | Path,
    settings: MiniSettings,
    *,
    resume: bool = False,
) -> dict[str, Any]:
    """Train a model with the stages that `settings` asks for.

    Takes and returns the same as `training.trainer.train`.
    """
    return train(model, processor, folder, output, settings, stages=curriculum_stages, resume=resume)


def from_scratch(
    preset: MiniPreset, questions: Iterable[Question], *, seed: int = 0
) -> tuple[Video3DForCausalLM, Video3DProcessor]:
    """Build a model with random weights, and a tokenizer trained on the text of the questions.

    Args:
        preset: The sizes of the model and of the vocabulary.
        questions: The training questions.
        seed: Seeds the weights; the same seed and questions give the same model.

    Returns:
        The model and its processor.
    """
    from video3d_plugin.model.tiny import build_tiny, train_tokenizer

    texts = [text for q in questions for text in (q.prompt, q.answer) if text]
    tokenizer = train_tokenizer(texts, preset.vocab_size)
    model, processor = build_tiny(tokenizer, vision=dict(preset.vision), seed=seed, **preset.language)
    _initialize(model)
    processor.label_style = "answer"  # a small model has no capacity to spare for the prompt's chat tokens
    return model, processor


def _initialize(model: Video3DForCausalLM) -> None:
    """Change the random initial weights in place.

    Layers add nothing at first, word embeddings are as large as the position encodings that are added to tokens, and
    queries equal keys, so that a token attends to similar tokens. On short questions about objects the first two took
    the steps until an object is found from 240 to 90; the third took those until the object at a point is named from
    350 to 200.
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
