"""Tokenizer files that every supported version of transformers opens, whichever version wrote them.

transformers 5 writes a `tokenizer_config.json` that 4.45 to 4.57 reject: a class named `TokenizersBackend`, and the
additional special tokens as a list under `extra_special_tokens`. Both have an older spelling that 5 reads as well.
All tokenizers of this package are saved with `save_tokenizer`, which writes the older spelling, and opened with
`load_tokenizer`, which also opens what transformers 5 wrote without this package.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen2Config
from transformers.models.auto.tokenization_auto import get_tokenizer_config

from video3d_plugin.compat import TRANSFORMERS_VERSION
from video3d_plugin.errors import DataError, Video3DError
from video3d_plugin.files.atomic import write_json
from video3d_plugin.files.json import read_object

_FILE = "tokenizer_config.json"
PLAIN_CLASS = "PreTrainedTokenizerFast"  # reads everything from tokenizer.json
_NEW_CLASS = "TokenizersBackend"
_NEW_TOKENS, _OLD_TOKENS = "extra_special_tokens", "additional_special_tokens"


def save_tokenizer(tokenizer: Any, folder: str | Path) -> None:
    """Saves a tokenizer so that transformers 4.45 and later open it.

    Args:
        tokenizer: A tokenizer of transformers.
        folder: Folder to write to; files of the same names are replaced.
    """
    tokenizer.save_pretrained(str(folder))
    make_portable(Path(folder) / _FILE)


def make_portable(path: Path, default_class: str | None = None) -> None:
    """Rewrites a `tokenizer_config.json` in the portable form; leaves it alone where it has that form or is missing.

    Args:
        path: The file.
        default_class: Tokenizer class to write where the file names none.

    Raises:
        DataError: The file is not a JSON object.
    """
    if not path.is_file():
        return
    content = read_object(path)
    changed = portable(content)
    if default_class and not changed.get("tokenizer_class"):
        changed["tokenizer_class"] = default_class
    if changed != content:
        write_json(path, changed, indent=2)


def portable(content: dict[str, Any]) -> dict[str, Any]:
    """Returns the content of a `tokenizer_config.json` in the spelling that transformers 4 and 5 both read."""
    content = dict(content)
    if content.get("tokenizer_class") == _NEW_CLASS:
        content["tokenizer_class"] = PLAIN_CLASS
    extra = content.get(_NEW_TOKENS)
    if isinstance(extra, list):  # a dict is the form of transformers 4.47 and later for named tokens: 5 reads that too
        del content[_NEW_TOKENS]
        known = content.get(_OLD_TOKENS) or []
        content[_OLD_TOKENS] = [*known, *(token for token in extra if token not in known)]
    return content


def load_tokenizer(path: str | Path) -> Any:
    """Opens the tokenizer of a checkpoint.

    Its class is the one that `tokenizer_config.json` names; where the file names none it is Qwen2's.

    Args:
        path: A checkpoint folder or a hub name.

    Returns:
        A tokenizer of transformers.

    Raises:
        DataError: The files cannot be read.
    """
    try:
        if TRANSFORMERS_VERSION >= (5, 0):
            return AutoTokenizer.from_pretrained(str(path), config=Qwen2Config(), trust_remote_code=False)
        return _load_with_transformers_4(path)
    except Video3DError:
        raise
    except BaseException as error:  # the tokenizers library raises nothing narrower, and its panics are no Exception
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise DataError(
            f"the tokenizer cannot be read: {type(error).__name__}: {error!s:.120}",
            where=path,
            remedy="download it again",
        ) from error


def _load_with_transformers_4(path: str | Path) -> Any:
    local = Path(path) / _FILE
    content = read_object(local) if local.is_file() else get_tokenizer_config(str(path))
    changed = portable(content)
    options: dict[str, Any] = {}
    if isinstance(content.get(_NEW_TOKENS), list):
        options = {_NEW_TOKENS: {}, _OLD_TOKENS: changed[_OLD_TOKENS]}
    if content.get("tokenizer_class") != _NEW_CLASS:
        return AutoTokenizer.from_pretrained(str(path), config=Qwen2Config(), trust_remote_code=False, **options)
    with _without_class_warning():
        return PreTrainedTokenizerFast.from_pretrained(str(path), **options)


@contextmanager
def _without_class_warning() -> Iterator[None]:
    """Hides the warning that the file names another class than the one that loads it: the two are the same class."""
    logger = logging.getLogger("transformers.tokenization_utils_base")

    def unrelated(record: logging.LogRecord) -> bool:
        return "is not the same type as the class this function is called from" not in record.getMessage()

    logger.addFilter(unrelated)
    try:
        yield
    finally:
        logger.removeFilter(unrelated)
