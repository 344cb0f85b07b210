"""Loads checkpoints of this package and of LLaVA-NeXT, as they are published.

`Video3DForCausalLM.from_pretrained` calls `load`, which first reads names and shapes of the weights. The vocabulary
size is that of the weights; missing or unexpected parameters are an error that lists them; a base checkpoint without
grounding head or position embedding gets newly initialised ones. Only tensors are unpickled.
"""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from video3d_plugin.compat import loading_arguments
from video3d_plugin.config import SAVED_WITH, Video3DConfig, tower_folder, tower_sizes
from video3d_plugin.errors import DataError, MissingError, Video3DError, joined_names
from video3d_plugin.model import registry
from video3d_plugin.model.checkpoint.checks import check_generation_config, read_bin
from video3d_plugin.model.checkpoint.folders import local_folder, weight_files, weight_shapes
from video3d_plugin.model.checkpoint.forks import adapt_to_fork
from video3d_plugin.model.checkpoint.quantised import with_quantisation
from video3d_plugin.model.cpu_bfloat16 import use_float32_products
from video3d_plugin.model.distributed import zero3

log = logging.getLogger(__name__)

_TOWER = "model.vision_tower."
# What published checkpoints carry that no forward pass reads: buffers, the tower's dropped layer and pooling head.
_NOT_READ = ("rotary_emb.inv_freq", "embeddings.position_ids", "vision_model.head.", "vision_tower.logit_")
# Arguments of from_pretrained that some versions of transformers would take for entries of the configuration.
_NOT_OF_THE_CONFIG = (
    "dtype", "torch_dtype", "attn_implementation", "quantization_config", "device_map", "load_in_4bit", "load_in_8bit",
)  # fmt: skip


def load(
    cls: Any,
    transformers_load: Callable[..., Any],
    path: str | Path,
    *args: Any,
    config: Any = None,
    output_loading_info: bool = False,
    **kwargs: Any,
) -> Any:
    """Load a model for `from_pretrained`.

    Args:
        cls: The model's class.
        transformers_load: `from_pretrained` of transformers, bound to the class.
        path: A checkpoint's folder or a hub name.
        *args: Passed on.
        config: A configuration, or a folder with one, to use instead of the checkpoint's.
        output_loading_info: Return transformers' loading information too.
        **kwargs: Passed on, with `load_in_4bit` and `load_in_8bit` (see `checkpoint.quantised`). `exact_class`: load as
            `cls` also where that is the built-in class and config.json names another.

    Returns:
        The model; its `initialised_parts` lists the parameters that the checkpoint lacks.

    Raises:
        MissingError: The checkpoint or a file of it is missing.
        DataError: A file cannot be used, or parameters are missing or unexpected.
    """
    if path is None or kwargs.get("state_dict") is not None:
        kwargs.pop("exact_class", None)
        return transformers_load(path, *args, config=config, output_loading_info=output_loading_info, **kwargs)
    folder = local_folder(path, kwargs)
    if config is None or isinstance(config, str | os.PathLike):
        mine = {name: kwargs.pop(name) for name in _NOT_OF_THE_CONFIG if name in kwargs}
        config, kwargs = Video3DConfig.from_pretrained(str(config or folder), return_unused_kwargs=True, **kwargs)
        kwargs |= mine
    elif not isinstance(config, Video3DConfig):  # the host hands its own class
        config = Video3DConfig.from_dict({**config.to_dict(), "_name_or_path": str(folder)})
    exact = kwargs.pop("exact_class", False) and cls is registry.get(registry.BASE)
    actual: Any = cls if exact else registry.class_of_checkpoint(cls, config, folder)
    if actual is not cls:
        return actual.from_pretrained(folder, *args, config=config, output_loading_info=output_loading_info, **kwargs)
    kwargs = with_quantisation(kwargs, registry.new_parts(cls))
    quantised = (
        kwargs.get("quantization_config") is not None or getattr(config, "quantization_config", None) is not None
    )
    shapes = weight_shapes(folder, floats=not quantised)
    check_generation_config(folder)
    config.vocab_size = _vocabulary(shapes, config, folder)
    config.vision_config = _vision(config, folder)
    fresh = _compare(cls, config, shapes, folder, left_out=adapt_to_fork(config, shapes, folder))
    try:
        options = loading_arguments(kwargs, low_memory=not zero3.enabled())
        model, info = transformers_load(str(folder), *args, config=config, output_loading_info=True, **options)
    except RuntimeError as error:
        is_bin = all(file.suffix == ".bin" for file in weight_files(folder))
        if not is_bin or isinstance(error, torch.cuda.OutOfMemoryError):
            raise
        raise DataError(f"a .bin file is damaged: {error!s:.100}", where=folder, remedy="download it again") from error
    _check_parameters(model, fresh)
    _materialise(model, fresh)
    tower = [name for name in fresh if name.startswith(_TOWER)]
    if tower:
        load_tower(model, config.mm_vision_tower, folder)
    model.initialised_parts = sorted(set(fresh) - set(tower))
    if model.initialised_parts:
        initialise(model, model.initialised_parts)
        log.warning("%s has no %s: initialised, to be trained", folder, _summary(model.initialised_parts))
    use_float32_products(model)
    return (model, info) if output_loading_info else model


def _vocabulary(shapes: dict[str, tuple[int, ...]], config: Video3DConfig, folder: Path) -> int:
    words = shapes.get("model.embed_tokens.weight")
    if words is None:
        raise DataError(
            f"no model.embed_tokens.weight among {len(shapes)} tensors", where=folder, remedy="give a LLaVA-Qwen folder"
        )
    out = shapes.get("lm_head.weight", words)
    if out[0] != words[0]:
        raise DataError(
            f"embed_tokens has {words[0]} rows and lm_head {out[0]}", where=folder, remedy="save the checkpoint again"
        )
    return words[0]


def _vision(config: Video3DConfig, folder: Path) -> dict[str, Any]:
    return config.vision_config or tower_sizes(config.mm_vision_tower, folder)


def _compare(
    cls: type, config: Video3DConfig, shapes: dict[str, tuple[int, ...]], folder: Path, left_out: tuple[str, ...] = ()
) -> list[str]:
    """Return the parameters to initialise, or to load from the tower's folder; other differences are a DataError."""
    shapes = {name: shape for name, shape in shapes.items() if not name.startswith(left_out or "\0")}
    expected_shapes = _shapes_by(cls, config, folder)
    if config.tie_word_embeddings and "lm_head.weight" not in shapes:
        expected_shapes.pop("lm_head.weight")
    missing = [name for name in expected_shapes if name not in shapes]
    last = config.vision_config["num_hidden_layers"] - 1
    not_read = (*_NOT_READ, f"vision_model.encoder.layers.{last}.")
    extra = [name for name in shapes if name not in expected_shapes and not any(part in name for part in not_read)]
    other = [
        f"{name} {shapes[name]}, expected {shape}"
        for name, shape in expected_shapes.items()
        if shapes.get(name, shape) != shape
    ]
    fresh = []
    for part in (_TOWER, *registry.new_parts(cls)):
        whole = [name for name in expected_shapes if name.startswith(part)]
        if whole and not any(name in shapes for name in whole):
            fresh += whole
    missing = [name for name in missing if name not in fresh]
    lists = {"missing": missing, "unexpected": extra, "of another shape": other}
    problems = [f"{what}: {joined_names(names)}" for what, names in lists.items() if names]
    if problems:
        raise DataError("; ".join(problems), where=folder, remedy=SAVED_WITH)
    return fresh


def _shapes_by(cls: type, config: Video3DConfig, folder: Path) -> dict[str, tuple[int, ...]]:
    """Return name and shape of each tensor of a model with this configuration."""
    try:
        with torch.device("meta"):  # of a copy: building a model settles its attention in the configuration
            model = cls(copy.deepcopy(config))
    except Video3DError:
        raise
    except Exception as error:  # sizes that contradict each other: a division by zero, a negative size, any type
        what = f"config.json asks for no possible model: {type(error).__name__}: {error}"
        raise DataError(what, where=folder, remedy=SAVED_WITH) from error
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def load_tower(model: Any, name: str | None, beside: Path) -> None:
    """Load the vision tower's weights from a SigLIP checkpoint.

    Args:
        model: The model, changed in place.
        name: The tower's folder, absolute or relative to `beside`, or its hub name.
        beside: The checkpoint's folder.

    Raises:
        MissingError: There is no name, or no such tower.
        DataError: Its sizes differ, or weights are missing.
    """
    if not name:
        raise MissingError("the weights hold no vision tower and the config names none", where=beside,
                           remedy="set mm_vision_tower to a SigLIP folder or hub name")  # fmt: skip
    folder = tower_folder(name, beside) or local_folder(name)
    sizes = tower_sizes(str(folder))
    tower = model.get_vision_tower()
    model_sizes = {key: getattr(tower.config, key) for key in sizes}
    different = {key: (value, model_sizes[key]) for key, value in sizes.items() if model_sizes[key] != value}
    if different:
        raise DataError(f"sizes differ from the model's tower: {different}", where=folder, remedy="use its own tower")
    vision = tower.vision_tower.vision_model
    names_of_tower = set(vision.state_dict())
    tensors: dict[str, torch.Tensor] = {}
    for path in weight_files(folder):
        for key, tensor in _tensors_of(path):
            name = key.split("vision_model.", 1)[-1]
            if name in names_of_tower:
                tensors[name] = tensor
    missing = sorted(names_of_tower - set(tensors))
    if missing:
        raise DataError(f"missing: {joined_names(missing)}", where=folder, remedy="give a whole SigLIP checkpoint")
    with zero3.gathered(vision.parameters()):
        vision.load_state_dict(tensors)


def _tensors_of(path: Path) -> Iterable[tuple[str, torch.Tensor]]:
    if path.suffix != ".safetensors":
        yield from read_bin(path).items()
        return
    with safe_open(str(path), framework="pt") as file:
        for name in file.keys():
            if not name.startswith("text_model."):
                yield name, file.get_tensor(name)


def _check_parameters(model: torch.nn.Module, names: Iterable[str]) -> None:
    """Raise for a buffer in a new part: what to fill it with is nowhere said."""
    buffers = dict(model.named_buffers())
    if wrong := [name for name in names if name in buffers]:
        what = f"{type(model).__name__}: new_parts hold buffers: {joined_names(wrong)}"
        raise DataError(what, remedy="make them parameters, or register them with persistent=False")


def _materialise(model: Any, names: Iterable[str]) -> None:
    """Allocate parameters that the checkpoint lacks: some versions of transformers leave them on "meta"."""
    for name in names:
        owner, _, leaf = name.rpartition(".")
        parameter = model.get_parameter(name)
        if parameter.is_meta:
            room = torch.empty_like(parameter, device=model.get_input_embeddings().weight.device)
            setattr(model.get_submodule(owner), leaf, torch.nn.Parameter(room))


@torch.no_grad()
def initialise(model: Any, names: Iterable[str]) -> None:
    """Initialise parameters: modules as torch does, vectors on the model itself from a normal distribution.

    Args:
        model: The model, changed in place.
        names: Names of the parameters.
    """
    names = list(names)
    resets = {owner: _reset_of(model, owner) for owner in sorted({name.rpartition(".")[0] for name in names})}
    with zero3.gathered(model.get_parameter(name) for name in names):
        for name in names:
            if resets[name.rpartition(".")[0]] is None:
                model.init_new_parameter(name, model.get_parameter(name))
        for reset in resets.values():
            if reset is not None:
                reset()


def _reset_of(model: torch.nn.Module, owner: str) -> Callable[[], None] | None:
    """What initialises a module's own parameters; None for the model itself and for modules without such a method."""
    module = model.get_submodule(owner) if owner else None
    return getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)


def _summary(names: list[str]) -> str:
    """Summarise parameter names by the modules that they belong to."""
    count = {True: 1, False: 2}
    return ", ".join(sorted({".".join(name.split(".")[: count[name.startswith("ground")]]) for name in names}))
