"""JSON files of checkpoint folders, which are untrusted: read with size limits and checked against rules.

A rule states which values of a field are accepted, before transformers or PEFT reads them. Fields without a rule are
passed on unchecked.
"""

from __future__ import annotations

import json
import logging
import math
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from video3d_plugin.errors import DataError, MissingError, quoted

log = logging.getLogger(__name__)

SMALL_BYTES = 4 << 20  # config.json and its like have a few kilobytes
LARGE_BYTES = 256 << 20  # tokenizer.json, vocab.json, merges.txt, the index of a sharded checkpoint
DEPTH = 32
DOWNLOAD = "download it again"
_POINTER = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True)
class Rule:
    """A rule for the value of a field.

    Attributes:
        expected: Completes "expected ..." in errors.
        fits: Returns whether a value other than null is accepted.
        null: Whether null is accepted.
    """

    expected: str
    fits: Callable[[Any], bool]
    null: bool = True


def whole(low: int, high: int) -> Rule:
    """Accept whole numbers from `low` to `high`."""
    return Rule(f"a whole number from {low} to {high}", lambda v: type(v) is int and low <= v <= high)


def number(low: float, high: float, above: bool = False) -> Rule:
    """Accept finite numbers from `low` to `high`; with `above`, not `low` itself."""
    expected = f"a number {'above' if above else 'from'} {low:g} to {high:g}"
    return Rule(expected, lambda v: is_number(v) and (low < v if above else low <= v) and v <= high)


def text(letters: int = 4096) -> Rule:
    """Accept text of at most `letters` characters."""
    return Rule(f"text of at most {letters} letters", lambda v: is_text(v, letters))


def one_of(*known: Any) -> Rule:
    """Accept the texts `known`."""
    return Rule("one of " + ", ".join(map(str, known)), lambda v: isinstance(v, str) and v in known)


def several(rule: Rule, most: int) -> Rule:
    """Accept lists of at most `most` values that fit `rule`."""
    return Rule(
        f"a list of at most {most}, each {rule.expected}",
        lambda v: isinstance(v, list) and len(v) <= most and all(x is not None and rule.fits(x) for x in v),
    )


def either(*rules: Rule) -> Rule:
    """Accept values that fit one of the rules."""
    return Rule(" or ".join(rule.expected for rule in rules), lambda v: any(rule.fits(v) for rule in rules))


def required(rule: Rule) -> Rule:
    """Accept what `rule` does, without null."""
    return Rule(rule.expected, rule.fits, null=False)


FLAG = Rule("true or false", lambda v: isinstance(v, bool))
OBJECT = Rule("an object", lambda v: isinstance(v, dict))


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number; booleans are not."""
    return type(value) in (int, float) and math.isfinite(value)


def is_text(value: Any, letters: int = 4096) -> bool:
    """Return whether a value is text of at most `letters` characters without NUL."""
    return isinstance(value, str) and len(value) <= letters and "\0" not in value


def check_fields(content: Mapping[str, Any], rules: Mapping[str, Rule], where: Path, remedy: str = DOWNLOAD) -> None:
    """Check the fields of an object.

    Args:
        content: The object.
        rules: Rules by field name; absent fields are accepted.
        where: The file, for errors.
        remedy: What the user can do, for errors.

    Raises:
        DataError: A value does not fit its rule.
    """
    for name, rule in rules.items():
        if name in content and not (content[name] is None and rule.null):
            if content[name] is None or not rule.fits(content[name]):
                raise DataError(
                    f"{name} is {quoted(content[name])}, expected {rule.expected}", where=where, remedy=remedy
                )


def read_bounded(path: Path, most: int) -> bytes:
    """Read a file.

    Args:
        path: The file.
        most: Bytes at most.

    Raises:
        MissingError: It does not exist.
        DataError: It is not a regular file, too large, a Git LFS pointer, or cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise MissingError("file not found", where=path, remedy=DOWNLOAD) from None
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", where=path, remedy=DOWNLOAD) from None
    try:
        check_state(os.fstat(descriptor), path)
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(most + 1)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", where=path, remedy=DOWNLOAD) from None
    finally:
        os.close(descriptor)
    if len(content) > most:
        raise DataError(f"has more than {most} bytes", where=path, remedy="do not use this folder")
    check_pointer(content, path)
    return content


def check_state(state: os.stat_result, path: Path) -> None:
    """Raise DataError unless the file is a regular one."""
    if not stat.S_ISREG(state.st_mode):
        raise DataError("is no regular file", where=path, remedy=DOWNLOAD)


def check_pointer(beginning: bytes, path: Path) -> None:
    """Raise DataError if a file begins like a Git LFS pointer."""
    if beginning.startswith(_POINTER):
        raise DataError("is a Git LFS pointer, not the file", where=path, remedy="run `git lfs pull` in its folder")


def read_checkpoint_json(path: Path, most: int = SMALL_BYTES, remedy: str = DOWNLOAD) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Args:
        path: The file.
        most: Bytes at most.
        remedy: What the user can do, for errors.

    Raises:
        MissingError: It does not exist.
        DataError: It is not JSON, not an object, nested too deeply, too large, or holds a number that is not finite.
    """
    try:
        content = json.loads(read_bounded(path, most).decode("utf-8"), parse_constant=_refuse)
    except DataError:
        raise
    except (ValueError, RecursionError) as error:
        detail = "nested too deeply" if isinstance(error, RecursionError) else f"{error!s:.120}"
        raise DataError(f"not valid JSON: {detail}", where=path, remedy=remedy) from None
    if not isinstance(content, dict):
        raise DataError(f"expected a JSON dict, found a {type(content).__name__}", where=path, remedy=remedy)
    _check_values(content, path, remedy)
    return content


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number")


def _check_values(content: Any, path: Path, remedy: str) -> None:
    level, depth = [content], 0
    while level:
        depth += 1
        if depth > DEPTH:
            raise DataError(f"nested more than {DEPTH} levels deep", where=path, remedy=remedy)
        below: list[Any] = []
        for value in level:
            parts = [*value, *value.values()] if isinstance(value, dict) else value
            for part in parts:
                if isinstance(part, dict | list):
                    below.append(part)
                elif isinstance(part, float) and not math.isfinite(part):
                    raise DataError("holds a number that is not finite", where=path, remedy=remedy)
                elif isinstance(part, str) and not _is_unicode(part):
                    raise DataError(f"holds {quoted(part)}, which is half a character", where=path, remedy=remedy)
        level = below


def _is_unicode(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


# -- config.json ------------------------------------------------------------------------------------------------------

_ID = whole(0, 1 << 28)
_IDS = either(_ID, several(_ID, 64))
_DTYPE = one_of(
    *(f"{prefix}{name}" for prefix in ("", "torch.") for name in ("float32", "bfloat16", "float16", "float64"))
)
ATTENTION = one_of("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")
_POSITIONS = whole(1, 1 << 26)
_TRIPLE = several(number(-1e6, 1e6), 3)

VISION_SIZES = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "image_size",
    "patch_size",
)
VISION_RULES: dict[str, Rule] = {
    "hidden_size": whole(1, 1 << 16),
    "intermediate_size": whole(1, 1 << 18),
    "num_hidden_layers": whole(1, 512),
    "num_attention_heads": whole(1, 1024),
    "image_size": whole(1, 1 << 14),
    "patch_size": whole(1, 1 << 14),
    "num_channels": whole(1, 64),
    "hidden_act": text(64),
    "layer_norm_eps": number(0, 1, above=True),
    "attention_dropout": number(0, 1),
    "model_type": text(64),
}
_ROPE_RULES: dict[str, Rule] = {
    "rope_theta": number(0, 1e15, above=True),
    "rope_type": text(64),
    "type": text(64),
    "factor": number(0, 1e6, above=True),
    "original_max_position_embeddings": _POSITIONS,
}
CONFIG_RULES: dict[str, Rule] = {
    "model_type": text(64),
    "architectures": several(text(256), 16),
    "vocab_size": whole(1, 1 << 24),
    "hidden_size": whole(1, 1 << 16),
    "intermediate_size": whole(1, 1 << 20),
    "num_hidden_layers": whole(1, 512),
    "num_attention_heads": whole(1, 1024),
    "num_key_value_heads": whole(1, 1024),
    "head_dim": whole(1, 1 << 14),
    "max_position_embeddings": required(_POSITIONS),
    "tokenizer_model_max_length": _POSITIONS,
    "max_window_layers": whole(0, 1 << 16),
    "sliding_window": _POSITIONS,
    "use_sliding_window": FLAG,
    "layer_types": several(text(64), 512),
    "hidden_act": text(64),
    "rms_norm_eps": number(0, 1, above=True),
    "initializer_range": number(0, 1e3),
    "attention_dropout": number(0, 1),
    "rope_theta": number(0, 1e15, above=True),
    "rope_scaling": OBJECT,
    "rope_parameters": OBJECT,
    "tie_word_embeddings": FLAG,
    "use_cache": FLAG,
    "bos_token_id": _IDS,
    "eos_token_id": _IDS,
    "pad_token_id": whole(-1, 1 << 28),
    "dtype": _DTYPE,
    "torch_dtype": _DTYPE,
    "attn_implementation": ATTENTION,
    "_attn_implementation": ATTENTION,
    "num_labels": whole(0, 10_000),
    "vision_config": OBJECT,
    "mask_invalid_depth": FLAG,
    "mm_vision_tower": text(),
    "mm_hidden_size": whole(1, 1 << 16),
    "mm_projector_type": text(64),
    "mm_patch_merge_type": text(64),
    "mm_newline_position": text(64),
    "mm_spatial_pool_mode": text(64),
    "mm_spatial_pool_stride": whole(0, 1 << 10),
    "world_position_embedding_type": text(256),
    "object_feature_type": text(256),
    "ground_head_type": text(64),
    "ground_head_temperature": number(0, 1e6),
    "voxel_size": number(0, 1e3),
    "min_xyz_range": _TRIPLE,
    "max_xyz_range": _TRIPLE,
    "ground_token_ids": several(_ID, 64),
    "coord_token_ids": several(_ID, 64),
    "add_faster_video": FLAG,
    "video3d_model": text(256),
}
# Names of other files, of code, and of what a class says of itself.
_NOT_OF_A_FILE = (
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
    check_keys(content, cls, _NOT_OF_A_FILE, where, remedy)
    check_fields(content, CONFIG_RULES, where, remedy)
    for name in ("rope_scaling", "rope_parameters"):
        check_fields(content.get(name) or {}, _ROPE_RULES, where, remedy)
    check_fields(content.get("vision_config") or {}, VISION_RULES, where, remedy)
    if content.get("vision_config") and (
        missing := [n for n in VISION_SIZES if content["vision_config"].get(n) is None]
    ):
        raise DataError(f"vision_config lacks {', '.join(missing)}", where=where, remedy=remedy)
    quantised = content.get("quantization_config")
    if quantised is not None and not (isinstance(quantised, dict) and quantised.get("quant_method") == "bitsandbytes"):
        what = f"quantization_config is {quoted(quantised)}, and only bitsandbytes is taken from a file"
        raise DataError(what, where=where, remedy="use weights that are not quantised")


def check_keys(content: Mapping[str, Any], cls: type, refused: Iterable[str], where: Path, remedy: str) -> None:
    """Raise DataError for keys that would overwrite methods or other attributes that are no settings.

    Logs a warning for `auto_map`, which names code that is never run.
    """
    for name in content:
        own = getattr(cls, name, None) if isinstance(name, str) else None
        is_method = callable(own) or (isinstance(own, property) and own.fset is None)
        if (name in refused and content[name]) or is_method or name.startswith("__"):
            raise DataError(f"{quoted(name)} is no setting of a file", where=where, remedy=remedy)
    if content.get("auto_map"):
        log.warning("%s names code of its own (auto_map): it is not run", where)
