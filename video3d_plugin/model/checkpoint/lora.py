"""LoRA: makes, saves, loads and merges adapters of the language model; heads and embeddings train in full.

The folder is as LLaVA-NeXT's training script leaves it: adapter_config.json, adapter_model.safetensors (PEFT), and
non_lora_trainables.bin with what was trained in full. Needs `peft` (extra `train`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from video3d_plugin.errors import DataError, MissingError, joined_names
from video3d_plugin.files.atomic import replacing
from video3d_plugin.model.checkpoint.adapter import TARGETS, TOWER_TARGETS, Adapter, peft_settings, read_adapter
from video3d_plugin.model.checkpoint.checks import check_finite, read_bin, shapes_of
from video3d_plugin.model.distributed import zero3
from video3d_plugin.model.registry import new_parts

_FULL = "non_lora_trainables.bin"
_OWN = "processor_config.json"  # written beside adapters by this package alone
_WRAPPER = "base_model.model."  # what PEFT puts before the names of the model that it wraps
_CHANGEABLE = (torch.nn.Linear, torch.nn.Embedding, torch.nn.Conv2d)
# Trained in full beside the adapter, with the class's new parts: what new tokens and the scene need.
_TRAINED_IN_FULL = ("embed_tokens", "lm_head", "mm_projector", "image_newline")


def add_lora(
    model: Any, *, rank: int = 64, alpha: int | None = None, dropout: float = 0.05, tower: bool = False
) -> Any:
    """Add an adapter to the linear layers of the language model; heads and embeddings stay trainable in full.

    Its `save_pretrained` (which the Trainer calls) writes the whole folder, and its `load_adapter` (which the Trainer
    calls to resume) reads what was trained in full as well.

    Args:
        model: The model.
        rank: Rank of the matrices.
        alpha: The adapter's output is scaled by alpha / rank; by default twice the rank.
        dropout: Share of an adapter's inputs that training drops.
        tower: Add adapters to the query, key and value projections of the vision tower too, as the reference's training
            does.
    """
    from peft import LoraConfig

    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank if alpha is None else alpha,
        lora_dropout=dropout,
        bias="none",
        task_type="CAUSAL_LM",
        base_model_name_or_path=model.name_or_path,
        target_modules=TOWER_TARGETS if tower else TARGETS,
    )
    wrapped = _peft_class()(model, config)
    train_in_full(wrapped)
    return wrapped


def train_in_full(model: Any) -> None:
    """Unfreeze the parameters that train in full beside an adapter."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    new = new_parts(type(base))
    for name, parameter in base.named_parameters():
        if "lora_" in name:
            continue
        if name.startswith(new) or ("vision_tower" not in name and any(part in name for part in _TRAINED_IN_FULL)):
            parameter.requires_grad_(True)


def _peft_class() -> type:
    """Return PEFT's model class, extended to save non_lora_trainables.bin; lazily, as importing peft takes seconds."""
    from peft import PeftModelForCausalLM

    class LoraModel(PeftModelForCausalLM):
        def save_pretrained(self, save_directory: str, *args: Any, **kwargs: Any) -> None:
            kwargs["save_embedding_layers"] = False  # they are in the other file
            super().save_pretrained(save_directory, *args, **kwargs)
            save_full(self, Path(save_directory))

        def load_adapter(self, model_id: str, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
            adapter = read_adapter(Path(model_id))  # raises on what is damaged, or no LoRA
            _check_places(self, adapter, {name: tuple(tensor.shape) for name, tensor in adapter.tensors().items()})
            result = super().load_adapter(model_id, *args, **kwargs)
            if (Path(model_id) / _FULL).is_file():
                load_full(self.get_base_model(), Path(model_id) / _FULL)
            return result

    return LoraModel


def save_full(wrapped: Any, folder: Path) -> None:
    """Save the parameters that were trained in full, and the configuration, beside an adapter."""
    in_full = {n: p for n, p in wrapped.named_parameters() if p.requires_grad and "lora_" not in n}
    with zero3.gathered_to_read(in_full.values()):
        full = {name: p.detach().cpu().clone() for name, p in in_full.items()}
    if torch.distributed.is_available() and torch.distributed.is_initialized() and torch.distributed.get_rank():
        return  # all ranks gather, one writes
    # not by name, which torch would write into the file
    with replacing(folder / _FULL) as temporary, open(temporary, "wb") as file:
        torch.save(full, file)
    wrapped.get_base_model().config.save_pretrained(str(folder))


def config_folder(folder: Path, base: Path) -> Path:
    """Return the folder with the configuration: the adapter's if it has one, else the base checkpoint's."""
    return folder if (folder / "config.json").is_file() else base


def check_complete(folder: Path) -> None:
    """Raise MissingError for an adapter of this package without the file of what was trained in full beside it.

    The base's weights would take its place.
    """
    if (folder / _OWN).is_file() and not (folder / _FULL).exists():
        what = f"no {_FULL} here: embeddings, heads and projector of this adapter are missing"
        raise MissingError(what, where=folder, remedy="copy it from the folder that the training wrote")


def merge_lora(model: Any, folder: str | Path) -> Any:
    """Merge an adapter and its fully trained parameters into a model.

    Raises:
        DataError: the adapter is damaged or no LoRA, a weight has no place in the model, or a place has no weight.
        MissingError: a file of it is missing, or peft is.
    """
    folder = Path(folder)
    adapter = read_adapter(folder)
    try:
        import peft
    except ModuleNotFoundError as error:
        if error.name != "peft":  # it is installed, but another dependency of it is not
            raise
        raise MissingError("loading an adapter needs peft", remedy="pip install 'video3d-plugin[train]'") from error
    if (folder / _FULL).exists():
        load_full(model, folder / _FULL)
    tensors = adapter.tensors()
    _fit_words(model, {n.removeprefix(_WRAPPER).replace(".base_layer.", "."): t for n, t in tensors.items()}, folder)
    modules = adapter.modules([name for name, module in model.named_modules() if isinstance(module, _CHANGEABLE)])
    try:
        wrapped = peft.PeftModel(model, peft.LoraConfig(**peft_settings(adapter, modules)))
    except (ValueError, TypeError, AttributeError, ImportError) as error:  # what its version cannot do
        what = f"peft {peft.__version__} cannot make this adapter: {error!s:.160}"
        raise DataError(
            what, where=folder, remedy="install a newer peft, or merge the adapter into its base"
        ) from error
    _check_places(wrapped, adapter, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
    peft.set_peft_model_state_dict(wrapped, tensors)
    merged = wrapped.merge_and_unload()
    merged.initialised_parts = model.initialised_parts
    return merged


def _check_places(wrapped: Any, adapter: Adapter, stored: dict[str, tuple[int, ...]]) -> None:
    """Raise DataError if weights of the adapter are missing, unexpected or of another shape."""
    from peft import get_peft_model_state_dict

    places = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    shapes = {name: tuple(tensor.shape) for name, tensor in places.items()}
    # PEFT may save embeddings of the base beside the matrices.
    whole = {name: tuple(tensor.shape) for name, tensor in wrapped.state_dict().items() if "lora_" not in name}
    _compare(stored, shapes, whole, adapter.weights, "use the base model of this adapter, and its adapter_config.json")


def check_same_matrices(model: Any, adapter: Adapter) -> None:
    """Check that an adapter fits the LoRA matrices that a model has already, before a host resumes from it.

    Args:
        model: A base model with injected matrices.
        adapter: The adapter of a checkpoint.

    Raises:
        DataError: A matrix is missing, unexpected or of another rank.
    """
    expected = {
        f"{_WRAPPER}{name.replace('.default.', '.')}": tuple(getattr(parameter, "ds_shape", parameter.shape))
        for name, parameter in model.named_parameters()
        if "lora_" in name
    }
    stored = {name: shape for name, shape in adapter.shapes().items() if "lora_" in name}
    remedy = "resume with the LoRA options that the run began with, or choose another output folder"
    _compare(stored, expected, {}, adapter.weights, remedy)


def _compare(
    stored: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]], allowed: dict[str, tuple[int, ...]],
    where: Path, remedy: str,
) -> None:  # fmt: skip
    """Raise DataError that lists the weights that are missing, unexpected or of another shape."""
    known = {**allowed, **expected}
    missing = [name for name in expected if name not in stored]
    extra = [name for name in stored if name not in known]
    other = [f"{n} {stored[n]}, expected {known[n]}" for n in stored if n in known and stored[n] != known[n]]
    lists = {"missing": missing, "unexpected": extra, "of another shape": other}
    problems = [
        f"{what}: {joined_names(n.removeprefix(_WRAPPER) for n in names)}" for what, names in lists.items() if names
    ]
    if problems:
        raise DataError("; ".join(problems), where=where, remedy=remedy)


def _fit_words(model: Any, stored: dict[str, torch.Tensor], where: Path) -> None:
    """Resize the model's embeddings to the stored ones."""
    words, out = stored.get("model.embed_tokens.weight"), stored.get("lm_head.weight")
    if words is not None and words.dim() == 2 and len(words) != model.config.vocab_size:
        if out is not None and len(out) != len(words):
            what = f"embed_tokens has {len(words)} rows and lm_head {len(out)}"
            raise DataError(what, where=where, remedy="save the adapter again")
        model.resize_token_embeddings(len(words))


@torch.no_grad()
def load_full(model: Any, path: Path) -> None:
    """Copy the parameters of non_lora_trainables.bin into a model.

    Raises:
        DataError: The file cannot be used, or has parameters that the model lacks.
    """
    shapes_of(path)
    tensors = read_bin(path)
    check_finite(tensors, path)
    stored = {name.removeprefix(_WRAPPER).replace(".base_layer.", "."): value for name, value in tensors.items()}
    _fit_words(model, stored, path)
    parameters = {name.replace(".base_layer.", "."): p for name, p in model.named_parameters() if "lora_" not in name}
    unknown = sorted(set(stored) - set(parameters))
    if unknown:
        raise DataError(f"unexpected: {joined_names(unknown)}", where=path, remedy="use the base model of this adapter")
    for name, value in stored.items():
        if parameters[name].shape != value.shape:
            raise DataError(
                f"{name} is {tuple(value.shape)}, the model has {tuple(parameters[name].shape)}",
                where=path,
                remedy="use the base model of this adapter",
            )
        parameters[name].copy_(value)
    model.initialised_parts = sorted(set(getattr(model, "initialised_parts", ())) - set(stored))
