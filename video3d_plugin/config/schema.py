"""What the fields of a config.json may hold. They are checked before transformers reads them; others are passed on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from video3d_plugin.errors import DataError, quoted
from video3d_plugin.files.checkpoint_json import check_keys
from video3d_plugin.files.schema import ListOf, Matching, Number, OneOf, Text, Whole, check, optional

WORD = Text(64, one_line=True)
NAME = Text(256, one_line=True)
TOKEN_ID = Whole(0, 1 << 28)
TOKEN_IDS = ListOf(TOKEN_ID, 64)
_DTYPE = Matching(r"(torch\.)?(float(16|32|64)|bfloat16)", "float32, bfloat16, float16 or float64")
_ATTENTION = OneOf(("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"))
_POSITIONS = Whole(1, 1 << 26)
_TRIPLE = [Number(-1e6, 1e6)] * 3
_ROTARY_BASE = Number(0, 1e15, above=True)

VISION_SIZES: dict[str, Any] = {
    "hidden_size": Whole(1, 1 << 16),
    "intermediate_size": Whole(1, 1 << 18),
    "num_hidden_layers": Whole(1, 512),
    "num_attention_heads": Whole(1, 1024),
    "image_size": Whole(1, 1 << 14),
    "patch_size": Whole(1, 1 << 14),
}
_VISION_OPTIONS: dict[str, Any] = {
    "num_channels": Whole(1, 64),
    "hidden_act": WORD,
    "layer_norm_eps": Number(0, 1, above=True),
    "attention_dropout": Number(0, 1),
    "model_type": WORD,
}
VISION = {**VISION_SIZES, **_VISION_OPTIONS}
_ROTARY = optional(
    {
        "rope_theta": _ROTARY_BASE,
        "rope_type": WORD,
        "type": WORD,
        "factor": Number(0, 1e6, above=True),
        "original_max_position_embeddings": _POSITIONS,
    }
)
CONFIG: dict[str, Any] = {
    "max_position_embeddings?": _POSITIONS,
    **optional(
        {
            "model_type": WORD,
            "architectures": ListOf(NAME, 16),
            "vocab_size": Whole(1, 1 << 24),
            "hidden_size": Whole(1, 1 << 16),
            "intermediate_size": Whole(1, 1 << 20),
            "num_hidden_layers": Whole(1, 512),
            "num_attention_heads": Whole(1, 1024),
            "num_key_value_heads": Whole(1, 1024),
            "head_dim": Whole(1, 1 << 14),
            "tokenizer_model_max_length": _POSITIONS,
            "max_window_layers": Whole(0, 1 << 16),
            "sliding_window": _POSITIONS,
            "use_sliding_window": bool,
            "layer_types": ListOf(WORD, 512),
            "hidden_act": WORD,
            "rms_norm_eps": Number(0, 1, above=True),
            "initializer_range": Number(0, 1e3),
            "attention_dropout": Number(0, 1),
            "rope_theta": _ROTARY_BASE,
            "rope_scaling": _ROTARY,
            "rope_parameters": _ROTARY,
            "tie_word_embeddings": bool,
            "use_cache": bool,
            "bos_token_id": (TOKEN_ID, TOKEN_IDS),
            "eos_token_id": (TOKEN_ID, TOKEN_IDS),
            "pad_token_id": Whole(-1, 1 << 28),
            "dtype": _DTYPE,
            "torch_dtype": _DTYPE,
            "attn_implementation": _ATTENTION,
            "_attn_implementation": _ATTENTION,
            "num_labels": Whole(0, 10_000),
            "vision_config": {**VISION_SIZES, **optional(_VISION_OPTIONS)},
            "mask_invalid_depth": bool,
            "coordinate_dtype": Text(16),
            "clamp_points": bool,
            "frame_fit": WORD,
            "grounding_features": WORD,
            "mm_vision_tower": Text(4096, is_path=True),
            "mm_hidden_size": Whole(1, 1 << 16),
            "mm_projector_type": WORD,
            "mm_patch_merge_type": WORD,
            "mm_newline_position": WORD,
            "mm_spatial_pool_mode": WORD,
            "mm_spatial_pool_stride": Whole(0, 1 << 10),
            "world_position_embedding_type": NAME,
            "object_feature_type": NAME,
            "ground_head_type": WORD,
            "ground_head_temperature": Number(0, 1e6),
            "voxel_size": Number(0, 1e3),
            "min_xyz_range": _TRIPLE,
            "max_xyz_range": _TRIPLE,
            "ground_token_ids": TOKEN_IDS,
            "coord_token_ids": TOKEN_IDS,
            "add_faster_video": bool,
            "video3d_model": NAME,
        }
    ),
}
# Names of other files, of code, and of what a class says of itself.
_NO_SETTINGS = (
    "configuration_files", "transformers_weights", "attribute_map", "sub_configs", "base_config_key",
    "base_model_tp_plan", "base_model_pp_plan", "base_model_ep_plan", "keys_to_ignore_at_inference",
    "distributed_config", "gguf_file", "pruned_heads", "_experts_implementation", "experts_implementation",
)  # fmt: skip


def check_config(content: Mapping[str, Any], cls: type, where: Path, remedy: str) -> None:
    """Check the content of a config.json.

    Args:
        content: The object in the file.
        cls: The configuration's class.
        where: The file, for errors.
        remedy: What the user can do, for errors.

    Raises:
        DataError: A field has a value that the class does not support.
    """
    check_keys(content, cls, _NO_SETTINGS, where, remedy)
    check({name: value for name, value in content.items() if value != {}}, CONFIG, where, remedy)
    quantised = content.get("quantization_config")
    if quantised is not None and not (isinstance(quantised, dict) and quantised.get("quant_method") == "bitsandbytes"):
        what = f"quantization_config is {quoted(quantised)}, and only bitsandbytes is taken from a file"
        raise DataError(what, where=where, remedy="use weights that are not quantised")
