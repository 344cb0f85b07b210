"""Exports the language part of a checkpoint as a plain Qwen2 folder, which vLLM, SGLang, TGI and transformers load.

Vision tower, projector, position embedding and grounding head stay behind: this package computes the embeddings of a
scene and sends them to the engine (`video3d_plugin.engine`).
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from video3d_plugin.errors import DataError, joined_names
from video3d_plugin.files.atomic import replacing_folder, write_json
from video3d_plugin.model.checkpoint.export import check_new
from video3d_plugin.model.checkpoint.tokenizer import save_tokenizer
from video3d_plugin.model.registry import BASE, CONFIG_KEY

log = logging.getLogger(__name__)

# The fields of Qwen2Config that change what the layers compute, by their names in transformers 4, which 5 reads too.
_FIELDS = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "hidden_act", "max_position_embeddings", "rms_norm_eps", "rope_theta", "rope_scaling",
    "use_sliding_window", "sliding_window", "max_window_layers", "attention_dropout", "initializer_range",
    "tie_word_embeddings", "use_cache", "bos_token_id", "pad_token_id",
)  # fmt: skip


def export_language(model: Any, processor: Any, out: str | Path) -> Path:
    """Write the language model, its tokenizer and its end tokens.

    generation_config.json names the end tokens alone. Engines apply other entries of it, such as a repetition penalty,
    to every request, and this package does not.

    Args:
        model: A Video3DForCausalLM, unquantised.
        processor: Its Video3DProcessor.
        out: Folder to write; new or empty.

    Returns:
        The folder.

    Raises:
        DataError: The folder has content, or the layers are not those of Qwen2.
    """
    target = Path(out)
    check_new(target)
    written_by = getattr(model.config, CONFIG_KEY, None)
    if written_by not in (None, BASE):
        log.warning("%s: code of model %r that changes the layers of Qwen2 is not exported", target, written_by)
    if model.config.position is not None and model.config.position.rotary:
        raise DataError(
            "rotates visual tokens by their voxels, which Qwen2 does not",
            where=getattr(model.config, "_name_or_path", None),
            remedy="export a checkpoint without rotary positions, or answer without an engine",
        )
    content = language_config(model)
    with torch.device("meta"):
        language = Qwen2ForCausalLM(Qwen2Config(**content))
    weights = _language_weights(model, language)
    language.load_state_dict(weights, assign=True, strict=False)
    language.tie_weights()
    with replacing_folder(target) as made:
        language.save_pretrained(made)
        save_tokenizer(processor.tokenizer, made)
        write_json(made / "config.json", content, indent=1)
        ends = {"eos_token_id": processor.stop_ids, "pad_token_id": processor.padding_id, "do_sample": False}
        write_json(made / "generation_config.json", ends, indent=1)
    return target


def language_config(model: Any) -> dict[str, Any]:
    """Return the content of the folder's config.json, which transformers 4.45 and later read alike."""
    source = model.config.to_dict()
    content = {name: source[name] for name in _FIELDS if source.get(name) is not None}
    if not content.get("use_sliding_window"):
        content.pop("sliding_window", None)
    rope = source.get("rope_parameters") or {}  # transformers 5 holds the scaling there
    if rope.get("rope_type", "default") != "default":
        content["rope_scaling"] = {name: value for name, value in rope.items() if name != "rope_theta"}
    return {
        "model_type": "qwen2",
        "architectures": ["Qwen2ForCausalLM"],
        "torch_dtype": str(model.dtype).removeprefix("torch."),
        "eos_token_id": source.get("eos_token_id"),
        **content,
    }


def _language_weights(model: Any, language: Any) -> dict[str, torch.Tensor]:
    """Return the model's tensors under the names of a Qwen2ForCausalLM on the meta device."""
    own, expected = model.state_dict(), language.state_dict()
    wrong = [name for name, like in expected.items() if name not in own or own[name].shape != like.shape]
    layers = [name for name in own if name.startswith("model.layers.") and name not in expected]
    if wrong or layers:
        raise DataError(
            f"layers that are not Qwen2's: {joined_names([*wrong, *layers])}",
            where=getattr(model.config, "_name_or_path", None),
            remedy="export an unquantised checkpoint of Video-3D LLM, with its adapter merged (--lora)",
        )
    return {name: own[name] for name in expected}
