"""Reads LoRA adapters: adapter_config.json and the weights, checked before PEFT reads them.

PEFT imports modules, builds methods and runs regular expressions that this file names. Taken here are LoRA and DoRA on
modules of the model, with values of checked types; the modules are listed by name, so that PEFT matches no pattern.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from video3d_plugin.config.schema import NAME, WORD
from video3d_plugin.errors import DataError, MissingError, joined_names, quoted
from video3d_plugin.files.checkpoint_json import read_checkpoint_json
from video3d_plugin.files.schema import ListOf, Matching, Number, OneOf, Table, Text, Whole, check, optional
from video3d_plugin.model.checkpoint.checks import check_finite, read_bin, shapes_of

CONFIG, WEIGHTS = "adapter_config.json", ("adapter_model.safetensors", "adapter_model.bin")
# The linear layers of the language model, and of nothing else (heads and tower have linear layers, too).
TARGETS = r"model\.layers\.\d+\.(self_attn|mlp)\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
# The same with the projections of the tower, to which the reference's suffixes q_proj, k_proj and v_proj lead PEFT.
TOWER_TARGETS = rf"{TARGETS}|model\.vision_tower\..*\.self_attn\.(q_proj|k_proj|v_proj)"
_REMEDY = "only LoRA adapters as PEFT saves them are loaded; merge others into their base first"
_LETTERS = 512
_MATRIX = re.compile(r"base_model\.model\.(.+)\.lora_(?:embedding_)?[AB](?:\.weight|\.bias)?")
_LAYER = re.compile(r"\.layers\.(\d+)\.")
_LANGUAGE = "model.layers"
_MODULE = Matching(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*", "the name of a module", _LETTERS)
_RANK = Whole(1, 1 << 14)
_ALPHA = Number(0, 1e6, above=True)

# Fields that are read. Written by PEFT 0.13 to 0.21.
_REQUIRED: dict[str, Any] = {
    "peft_type": OneOf(("LORA",)),
    "r": _RANK,
    "lora_alpha": _ALPHA,
    "target_modules": (Text(_LETTERS), ListOf(_MODULE, 4096)),
}
_OPTIONAL: dict[str, Any] = {
    "task_type": OneOf(("CAUSAL_LM",)),
    "base_model_name_or_path": Text(4096, is_path=True),
    "lora_dropout": Number(0, 1),
    "bias": OneOf(("none", "all", "lora_only")),
    "use_rslora": bool,
    "use_dora": bool,
    "lora_bias": bool,
    "fan_in_fan_out": bool,
    "modules_to_save": ListOf(_MODULE, 64),
    "rank_pattern": Table(_RANK, name=_MODULE, most=4096),
    "alpha_pattern": Table(_ALPHA, name=_MODULE, most=4096),
    "layers_to_transform": (Whole(0, 4096), ListOf(Whole(0, 4096), 4096)),
    # How the matrices started: of no account once they are read, but where the base was changed with them.
    "init_lora_weights": (bool, OneOf(("gaussian", "orthogonal", "eva"))),
}
# Fields that say nothing of the weights; their types are all that is looked at.
_IGNORED: dict[str, Any] = {
    "peft_version": WORD,
    "revision": NAME,
    "inference_mode": bool,
    "megatron_core": NAME,
    "qalora_group_size": Number(0, 1e9),
    "ensure_weight_tying": bool,
    "loftq_config": {},
    "eva_config": {},
    "layers_pattern": (OneOf(("layers",)), ListOf(OneOf(("layers",)), 1)),
    "runtime_config": {},
}
_READ = (*_REQUIRED, *_OPTIONAL)


@dataclass(frozen=True)
class Adapter:
    """An adapter's folder.

    `settings` holds the fields of its adapter_config.json that are read, `weights` is the file with its matrices.
    """

    folder: Path
    settings: dict[str, Any]
    weights: Path

    @property
    def base(self) -> str:
        """The base checkpoint, a folder or a hub name."""
        name = self.settings.get("base_model_name_or_path")
        if not name:
            raise DataError(
                "the adapter names no base checkpoint", where=self.folder, remedy="pass its base, and lora="
            )
        return name

    def modules(self, names: Collection[str]) -> list[str]:
        """Return the modules that the adapter changes, among those (`names`) that LoRA can change.

        A list or pattern of the file may also fit parts that the model had not when the adapter was trained (LLaVA adds
        its tower later): a part, other than the language model, of which nothing is stored is left as it is.

        Raises:
            DataError: a name of its list is no module of the model, or nothing is left.
        """
        targets, path = self.settings["target_modules"], self.folder / CONFIG
        stored = {match[1] for name in self.shapes() if (match := _MATRIX.fullmatch(name))}
        if targets in (TARGETS, TOWER_TARGETS):  # the patterns that are known to end
            changed = [name for name in names if re.fullmatch(targets, name)]
        elif isinstance(
            targets, str
        ):  # a pattern of a file is not run; as far as its matrices show, it means all layers
            kinds = {_LAYER.sub(".layers.N.", name) for name in stored}
            changed = [name for name in names if _LAYER.sub(".layers.N.", name) in kinds]
        else:
            missing = [one for one in targets if not any(_ends(name, one) for name in names)]
            if missing:
                what = f"target_modules names what the model lacks: {joined_names(missing)}"
                raise DataError(what, where=path, remedy="use the base model of this adapter")
            changed = [name for name in names if any(_ends(name, one) for one in targets)]
        layers = self.settings.get("layers_to_transform")
        if layers is not None:
            numbers = {layers} if isinstance(layers, int) else set(layers)
            changed = [name for name in changed if (match := _LAYER.search(name)) and int(match[1]) in numbers]
        parts = {_part(name) for name in stored} | {_LANGUAGE}
        changed = [name for name in changed if _part(name) in parts]
        if not changed:
            raise DataError("changes no module of the model", where=path, remedy="use the base model of this adapter")
        return changed

    def of_module(self, pattern: str, name: str, default: Any) -> Any:
        """Return rank or alpha of a module, from `rank_pattern` or `alpha_pattern`, else the adapter's."""
        by_module = self.settings.get(pattern) or {}
        return next((value for key, value in by_module.items() if _ends(name, key)), default)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return shapes_of(self.weights)

    def tensors(self) -> dict[str, torch.Tensor]:
        shapes_of(self.weights)
        tensors = read_bin(self.weights) if self.weights.suffix == ".bin" else load_file(str(self.weights))
        check_finite(tensors, self.weights)
        return tensors


def _part(name: str) -> str:
    """Return the part of the model that a module belongs to: model.layers, model.vision_tower, lm_head, ..."""
    words = name.split(".")
    return ".".join(words[: 2 if words[0] == "model" else 1])


def _ends(name: str, part: str) -> bool:
    return name == part or name.endswith(f".{part}")


def read_adapter(folder: Path) -> Adapter:
    """Read an adapter's configuration, and check it.

    Raises:
        MissingError: A file is missing.
        DataError: A file is damaged, or describes something other than plain LoRA.
    """
    path = folder / CONFIG
    if not path.exists():
        raise MissingError("no adapter here", where=folder, remedy=f"a LoRA folder has {CONFIG}")
    content = read_checkpoint_json(path)
    check(content, {**_REQUIRED, **optional(_OPTIONAL), **optional(_IGNORED)}, path, _REMEDY)
    refused = [name for name in content if name not in (*_READ, *_IGNORED) and not _is_off(content[name])]
    if content.get("loftq_config"):
        refused.append("loftq_config")
    if refused:
        what = ", ".join(f"{name[:60]} {quoted(content[name])}" for name in refused[:4])
        raise DataError(f"asks for what is not taken from a file: {what}", where=path, remedy=_REMEDY)
    return Adapter(folder, {n: content[n] for n in _READ if content.get(n) is not None}, _weights(folder))


def _is_off(value: Any) -> bool:
    """Return whether a field unknown to this version has a value with which PEFT marks it as unused."""
    return value is None or value is False or value in ({}, [], "", 0)


def _weights(folder: Path) -> Path:
    for name in WEIGHTS:
        if (folder / name).exists():
            return folder / name
    raise MissingError(f"no {WEIGHTS[0]} here", where=folder, remedy="download it again")


def peft_settings(adapter: Adapter, modules: Iterable[str]) -> dict[str, Any]:
    """Return the arguments of PEFT's LoraConfig, with modules, ranks and alphas by full names."""
    modules, stored = list(modules), adapter.settings
    rank, alpha = stored["r"], stored["lora_alpha"]
    ranks = {name: adapter.of_module("rank_pattern", name, rank) for name in modules}
    alphas = {name: adapter.of_module("alpha_pattern", name, alpha) for name in modules}
    settings = {
        "r": rank,
        "lora_alpha": alpha,
        "target_modules": modules,
        "bias": stored.get("bias", "none"),
        "use_rslora": stored.get("use_rslora", False),
        "use_dora": stored.get("use_dora", False),
        "modules_to_save": stored.get("modules_to_save"),
        "rank_pattern": {name: value for name, value in ranks.items() if value != rank},
        "alpha_pattern": {name: value for name, value in alphas.items() if value != alpha},
        "init_lora_weights": True,
        "task_type": "CAUSAL_LM",
        "inference_mode": True,
    }
    return settings | ({"lora_bias": True} if stored.get("lora_bias") else {})
