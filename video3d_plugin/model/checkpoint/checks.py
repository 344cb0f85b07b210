"""Checks the files of a checkpoint's folder, which are untrusted, before transformers, tokenizers or torch read them.

Nothing is unpickled but tensors, no code that a folder brings is run, and no file outside it is opened.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from video3d_plugin.config.schema import NAME, TOKEN_ID, TOKEN_IDS, WORD
from video3d_plugin.errors import DataError, joined_names, quoted
from video3d_plugin.files.checkpoint_json import (
    DOWNLOAD,
    LARGE_BYTES,
    check_keys,
    check_pointer,
    read_checkpoint_file,
    read_checkpoint_json,
)
from video3d_plugin.files.regular import open_regular
from video3d_plugin.files.schema import ListOf, Matching, Number, OneOf, Table, Text, Whole, check, optional

Shapes = dict[str, tuple[int, ...]]
_COUNT = Whole(0, 1 << 26)
_NUMBER = Number(-1e6, 1e6)
GENERATION: dict[str, Any] = {
    **dict.fromkeys(("eos_token_id", "bos_token_id", "decoder_start_token_id"), (TOKEN_ID, TOKEN_IDS)),
    "pad_token_id": Whole(-1, 1 << 28),
    **dict.fromkeys(("max_length", "max_new_tokens", "min_length", "min_new_tokens", "top_k"), _COUNT),
    **dict.fromkeys(("num_beams", "num_beam_groups", "num_return_sequences"), Whole(1, 1 << 10)),
    **dict.fromkeys(("no_repeat_ngram_size", "encoder_no_repeat_ngram_size"), Whole(0, 1 << 16)),
    **dict.fromkeys(("do_sample", "use_cache", "renormalize_logits", "remove_invalid_values"), bool),
    **dict.fromkeys(("output_scores", "output_logits", "output_attentions", "output_hidden_states"), bool),
    **dict.fromkeys(("temperature", "repetition_penalty"), Number(0, 1e6)),
    **dict.fromkeys(("top_p", "typical_p", "min_p", "epsilon_cutoff", "eta_cutoff"), Number(0, 1)),
    **dict.fromkeys(("length_penalty", "diversity_penalty", "guidance_scale"), _NUMBER),
    "suppress_tokens": ListOf(TOKEN_ID, 1 << 16),
    "begin_suppress_tokens": ListOf(TOKEN_ID, 1 << 16),
    "cache_implementation": WORD,
    "early_stopping": (bool, OneOf(("never",))),
}
TOKENIZERS = ("Qwen2Tokenizer", "Qwen2TokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend")
_TOKEN = (Text(4096), {"content": Text(4096)})
_STANDARD_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_TOKENS = (ListOf(_TOKEN, 1 << 12), Table(_TOKEN, most=1 << 16))
_SPECIAL_TOKENS = {**dict.fromkeys(_STANDARD_TOKENS, _TOKEN), "additional_special_tokens": _TOKENS}
TOKENIZER: dict[str, Any] = {
    **_SPECIAL_TOKENS,
    "tokenizer_class": OneOf(TOKENIZERS),
    "processor_class": NAME,
    "model_max_length": Number(1, 1e31),
    "padding_side": OneOf(("left", "right")),
    "truncation_side": OneOf(("left", "right")),
    "add_prefix_space": bool,
    "clean_up_tokenization_spaces": bool,
    "split_special_tokens": bool,
    "errors": OneOf(("replace", "strict", "ignore")),
    "extra_special_tokens": _TOKENS,
    "model_input_names": ListOf(WORD, 16),
    "added_tokens_decoder": Table(_TOKEN, name=Matching(r"\d{1,9}", "the id of a token"), most=1 << 16),
}
# What would make a tokenizer read another file than those of its folder, or be made by arguments of the file's.
_TOKENIZER_REFUSED = ("tokenizer_file", "vocab_file", "merges_file", "init_inputs", "tokenizer_object", "gguf_file",
                      "special_tokens_map_file", "added_tokens_file", "fast_tokenizer_files")  # fmt: skip
PROCESSOR: dict[str, Any] = {
    "processor_class": NAME,
    "system_message": Text(1 << 16),
    "label_style": OneOf(("llava_next", "answer")),
}
_SUMMED_BYTES = 1 << 30  # of larger .bin files the checksums are not read
_WEIGHTS = ("F64", "F32", "F16", "BF16")


def check_tokenizer_files(folder: Path) -> None:
    """Raise DataError if a folder's tokenizer files hold unsupported values; absent files are accepted."""
    for name in ("tokenizer.json", "vocab.json", "merges.txt"):
        if os.path.lexists(folder / name):
            read_checkpoint_file(folder / name, LARGE_BYTES)
    for name, kind in (
        ("tokenizer_config.json", optional(TOKENIZER)),
        ("special_tokens_map.json", optional(_SPECIAL_TOKENS)),
        ("added_tokens.json", Table(TOKEN_ID, name=Text(4096))),
    ):
        path = folder / name
        if os.path.lexists(path):
            content = read_checkpoint_json(path)
            check(content, kind, path, DOWNLOAD)
            _check_names(content, path)
    if os.path.lexists(folder / "chat_template.jinja"):
        read_checkpoint_file(folder / "chat_template.jinja", 1 << 20)


def _check_names(content: Mapping[str, Any], path: Path) -> None:
    from transformers import PreTrainedTokenizerBase

    if path.name != "added_tokens.json":
        check_keys(content, type("Any", (), {}), _TOKENIZER_REFUSED, path, "remove it, or do not use this folder")
        clash = [name for name in content if callable(getattr(PreTrainedTokenizerBase, name, None))]
        if clash:
            raise DataError(f"{joined_names(clash)}: no setting of a tokenizer", where=path, remedy=DOWNLOAD)


def check_generation_config(folder: Path) -> None:
    """Raise DataError if the folder has a generation_config.json that transformers cannot use."""
    path = folder / "generation_config.json"
    if not os.path.lexists(path):
        return
    from transformers import GenerationConfig

    content = read_checkpoint_json(path)
    check_keys(content, GenerationConfig, ("custom_generate", "compile_config"), path, DOWNLOAD)
    check(content, optional(GENERATION), path, DOWNLOAD)
    try:
        GenerationConfig.from_pretrained(str(folder))
    except Exception as error:  # each version checks in its own way, with types of its own
        what = f"cannot be used: {type(error).__name__}: {error!s:.120}"
        raise DataError(what, where=path, remedy="delete it: answers are greedy without it") from error


def read_stop_ids(folder: Path) -> list[int]:
    """Return the ids of the tokens that end an answer by a folder's generation_config.json; [] without the file."""
    path = folder / "generation_config.json"
    if not os.path.lexists(path):
        return []
    content = read_checkpoint_json(path)
    check(content, optional(GENERATION), path, DOWNLOAD)
    ids = content.get("eos_token_id")
    return [] if ids is None else list(ids) if isinstance(ids, list) else [ids]


def read_processor_config(path: Path) -> dict[str, Any]:
    """Read a processor_config.json; raise DataError for a value that the processor does not support."""
    content = read_checkpoint_json(path)
    check(content, optional(PROCESSOR), path, DOWNLOAD)
    return content


# -- weights ------------------------------------------------------------------------------------------------------


def check_weight_file(path: Path) -> None:
    """Raise DataError or MissingError unless it is a regular file, not empty, and no Git LFS pointer."""
    with open_regular(path, remedy=DOWNLOAD) as file:
        beginning = file.read(64)
    if not beginning:
        raise DataError("is empty", where=path, remedy=DOWNLOAD)
    check_pointer(beginning, path)


def shapes_of(path: Path, floats: bool = True) -> Shapes:
    """Read names and shapes of the tensors in a weight file.

    Args:
        path: A .safetensors or .bin file.
        floats: Raise DataError for tensors that are not floating-point.
    """
    check_weight_file(path)
    if path.suffix != ".safetensors":
        tensors = read_bin(path, "meta")
        if floats:
            _check_floats({name: str(t.dtype) for name, t in tensors.items() if not t.is_floating_point()}, path)
        return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    try:
        with safe_open(str(path), framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}
            shapes = {name: tuple(one.get_shape()) for name, one in slices.items()}
            kinds = {name: one.get_dtype() for name, one in slices.items()}
            made_for = (file.metadata() or {}).get("format", "pt")
    except Exception as error:  # safetensors raises its own type
        raise DataError(f"cannot be read: {error!s:.120}", where=path, remedy=DOWNLOAD) from error
    if made_for != "pt":
        raise DataError(f"its weights are of the format {quoted(made_for)}", where=path, remedy="save them for PyTorch")
    if floats:
        _check_floats({name: kind for name, kind in kinds.items() if kind not in _WEIGHTS}, path)
    return shapes


def _check_floats(kinds: Mapping[str, str], path: Path) -> None:
    if kinds:
        names = joined_names(f"{name} ({kind})" for name, kind in kinds.items())
        raise DataError(
            f"weights that are no floating-point numbers: {names}", where=path, remedy="save them as floats"
        )


def read_bin(path: Path, device: str = "cpu") -> dict[str, torch.Tensor]:
    """Read the tensors of a .bin file by name; torch refuses any other pickled object.

    Raises:
        DataError: the file is damaged, compressed, holds something else, or a tensor larger than the file.
    """
    check_weight_file(path)
    try:
        tensors = _load(path, device)
    except DataError:
        raise
    except Exception as error:  # unpickling what is damaged raises anything
        reason = "it holds more than tensors" if "Weights only load failed" in str(error) else f"{error!s:.100}"
        raise DataError(f"cannot be read: {type(error).__name__}: {reason}", where=path, remedy=DOWNLOAD) from error
    wrong = [k for k, v in tensors.items() if not (isinstance(k, str) and isinstance(v, torch.Tensor))]
    if wrong:
        raise DataError(f"holds what is no tensor: {joined_names(map(str, wrong))}", where=path, remedy=DOWNLOAD)
    size = path.stat().st_size
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or math.prod(tensor.shape) * tensor.element_size() > size:
            raise DataError(f"{quoted(name)} claims more than the file holds", where=path, remedy=DOWNLOAD)
    return tensors


def _load(path: Path, device: str) -> dict[Any, Any]:
    if not zipfile.is_zipfile(path):  # written by a torch before 1.6, which cannot be memory-mapped; or nothing at all
        content = torch.load(path, map_location=device, weights_only=True)
    else:
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise DataError("is compressed, which torch.save never does", where=path, remedy="do not use it")
            if device != "meta" and path.stat().st_size <= _SUMMED_BYTES and (broken := archive.testzip()):
                raise DataError(f"{quoted(broken)} in it is damaged", where=path, remedy=DOWNLOAD)
        content = torch.load(str(path), map_location=device, weights_only=True, mmap=True)
    if not isinstance(content, dict):
        raise DataError(f"holds a {type(content).__name__}, not tensors by name", where=path, remedy=DOWNLOAD)
    return dict(content)


def check_finite(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Raise DataError if a tensor holds infinite numbers or NaN."""
    broken = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise DataError(f"not all finite: {joined_names(broken)}", where=path, remedy="use a checkpoint of before that")
