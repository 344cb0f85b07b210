"""Exports checkpoints for LLaVA-NeXT's own loader: the same weights, with a config.json in its format."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from video3d_plugin.config import KNOWN_TOWERS, Video3DConfig, tower_folder, tower_sizes
from video3d_plugin.errors import DataError
from video3d_plugin.files.atomic import is_ours, replacing_folder, write_json
from video3d_plugin.model.checkpoint.checks import read_bin
from video3d_plugin.model.checkpoint.folders import local_folder, weight_files
from video3d_plugin.model.checkpoint.tokenizer import PLAIN_CLASS, make_portable
from video3d_plugin.model.registry import BASE, CONFIG_KEY

log = logging.getLogger(__name__)

_TOWER_FOLDER = "siglip-vision-tower"  # LLaVA-NeXT picks the tower's class by "siglip" in its path
# What transformers 5 writes and LLaVA-NeXT's Qwen2Config does not know, and what is ours alone.
_DROPPED = ("dtype", "rope_parameters", "layer_types", "vision_config", "_name_or_path", "transformers_version")
_HOST_DEFAULTS: dict[str, Any] = {
    "image_aspect_ratio": "anyres_max_9",
    "mm_use_im_start_end": False,
    "mm_use_im_patch_token": False,
    "mm_vision_select_feature": "patch",
    "mm_vision_select_layer": -2,
    "mm_tunable_parts": "mm_vision_tower,mm_mlp_adapter,mm_language_model",
    "tokenizer_padding_side": "right",
    "use_mm_proj": True,
}


def export_llava(model_dir: str | Path, out: str | Path, tower: str | None = None) -> Path:
    """Write a checkpoint folder that LLaVA-NeXT's `load_pretrained_model` opens; returns it.

    Parameter names are the host's already, so weight files are copied as they are. LLaVA-NeXT builds its tower from a
    checkpoint of its own before it loads ours. The published tower is a hub name and stays one. Another tower is
    written beside, and config.json names it by absolute path, or by `tower`: LLaVA-NeXT at df17966 takes every existing
    local path for CLIP, so give the hub name under which the written folder is (or will be) found.
    """
    source, target = local_folder(model_dir), Path(out)
    check_new(target)
    files = weight_files(source)
    config = Video3DConfig.from_pretrained(str(source))
    written_by = getattr(config, CONFIG_KEY, None)
    if written_by not in (None, BASE):
        log.warning(
            "%s: LLaVA-NeXT does not know model %r and runs without its code; this package still does",
            source,
            written_by,
        )
    if config.averages_language_states:
        what = "LLaVA-NeXT crops frames and grounds with the tower's features alone; this package still does as 3DRS"
        log.warning("%s: %s", source, what)
    with replacing_folder(target) as made:
        for path in [*files, *source.glob("*.json"), *source.glob("*.txt"), *source.glob("*.jinja")]:
            if path.name not in ("config.json", "processor_config.json", "trainer_state.json"):
                shutil.copyfile(path, made / path.name)
        make_portable(made / "tokenizer_config.json", PLAIN_CLASS)
        content = host_config(config)
        if config.mm_vision_tower not in KNOWN_TOWERS:
            _write_tower(config, files, source, made)
            content["mm_vision_tower"] = tower or str(target.resolve() / _TOWER_FOLDER)
        write_json(made / "config.json", json.loads(json.dumps(content, default=str)), indent=1)
    return target


def check_new(folder: Path) -> None:
    """Raise DataError if `folder` has content, except for what a killed export left behind."""
    if folder.exists() and (not folder.is_dir() or any(not is_ours(entry.name) for entry in folder.iterdir())):
        raise DataError("exists and is not an empty folder", where=folder, remedy="give a new folder")


def host_config(config: Video3DConfig) -> dict[str, Any]:
    """Return the configuration as LLaVA-NeXT's scripts write it."""
    content = {key: value for key, value in config.to_dict().items() if key not in _DROPPED and value is not None}
    dtype = config.to_dict().get("dtype") or content.get("torch_dtype") or "float32"
    return {
        **_HOST_DEFAULTS,
        **content,
        "model_type": "llava_qwen",
        "architectures": ["LlavaQwenForCausalLM"],
        "torch_dtype": str(dtype).removeprefix("torch."),
        "coordinate_dtype": config.coordinates,  # without it, the folder would be taken for a published checkpoint
        "rope_scaling": content.get("rope_scaling"),
        "mm_hidden_size": config.vision["hidden_size"],
        "tokenizer_model_max_length": config.longest_sequence,
    }


def _write_tower(config: Video3DConfig, files: list[Path], source: Path, target: Path) -> None:
    """Write a SigLIP checkpoint of the tower. Its last layer, which neither program uses, is written as zeros."""
    own = tower_folder(config.mm_vision_tower, source) if config.mm_vision_tower else None
    folder = target / _TOWER_FOLDER
    if own is not None:
        tower_sizes(str(own))  # raises unless it is a SigLIP folder: others have no business in an export
        shutil.copytree(own, folder)
        return
    folder.mkdir()
    prefix, tensors = "model.vision_tower.vision_tower.", {}
    for path in files:
        weights = load_file(str(path)) if path.suffix == ".safetensors" else read_bin(path)
        tensors.update({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})
    last = config.vision["num_hidden_layers"] - 1
    layer = "vision_model.encoder.layers."
    dropped = {
        key.replace(f"{layer}0.", f"{layer}{last}."): torch.zeros_like(value)
        for key, value in tensors.items()
        if key.startswith(f"{layer}0.")
    }
    save_file({**tensors, **dropped}, str(folder / "model.safetensors"), metadata={"format": "pt"})
    sizes = {"model_type": "siglip_vision_model", "architectures": ["SiglipVisionModel"], **config.vision}
    write_json(folder / "config.json", json.loads(json.dumps(sizes, default=str)), indent=1)
