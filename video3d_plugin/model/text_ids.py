"""Tokenizes text of users and files, in which special tokens are plain text. All tokenization happens here.

A tokenizer reads `<|im_end|>` in a question as the end of the turn. `encode_text` does what `split_special_tokens=True`
should do, for fast and slow tokenizers of all supported versions of transformers, and for added tokens that are not
marked special (`<image>`, `<coord>`), which that option ignores. The ids of other text are unchanged.
"""

from __future__ import annotations

from typing import Any

from video3d_plugin.errors import DataError
from video3d_plugin.tokens import SPATIAL_TOKENS


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """Tokenize text without special tokens.

    Raises:
        DataError: `text` cannot be written as UTF-8, or the tokenizer has no other ids for it.
    """
    if not text:
        return []
    ids = _parsed(tokenizer, text)
    special = special_ids(tokenizer)
    if special.isdisjoint(ids):
        return ids
    ids = _letters(tokenizer, text)
    if not special.isdisjoint(ids):
        raise DataError(f"{text!r:.80} cannot be told from a special token", remedy="write it in other words")
    return ids


def encode_with_token(tokenizer: Any, text: str, token: str, count: int) -> list[int]:
    """Tokenize text in which only the first `count` occurrences of `token` are special.

    Args:
        tokenizer: A tokenizer of transformers.
        text: The text.
        token: The special token.
        count: How many of its occurrences are special.
    """
    if not count:
        return encode_text(tokenizer, text)
    mark, ids = token_id(tokenizer, token), _parsed(tokenizer, text)
    if [i for i in ids if i in special_ids(tokenizer)] == [mark] * count:
        return ids
    first, *others = text.split(token, count)
    ids = encode_text(tokenizer, first)
    for part in others:
        ids += [mark, *encode_text(tokenizer, part)]
    return ids


def token_id(tokenizer: Any, token: str) -> int:
    """Return the id of a special token; raise DataError if the tokenizer does not know it."""
    ids = _parsed(tokenizer, token)
    if len(ids) != 1:
        raise DataError(
            f"{token} is {len(ids)} tokens of the tokenizer",
            remedy="use the tokenizer of the checkpoint, or model.add_tokens(tokenizer)",
        )
    return ids[0]


def special_ids(tokenizer: Any) -> set[int]:
    """Return the ids of special tokens: added tokens that are marked special, ours, or in angle brackets.

    Ordinary words that were added to the vocabulary are not special.
    """
    added = tokenizer.added_tokens_decoder
    return {i for i, token in added.items() if token.special or _is_mark(str(token))}


def _is_mark(token: str) -> bool:
    return token in SPATIAL_TOKENS or (token.startswith("<") and token.endswith(">"))


def _parsed(tokenizer: Any, text: str) -> list[int]:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair: how Python carries bytes that it could not decode
        raise DataError(f"{text!r:.80} is no text", remedy="write the question in UTF-8") from None
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def _letters(tokenizer: Any, text: str) -> list[int]:
    """Tokenize text with the tokenizer's model alone, without its added tokens."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:  # a tokenizer in Python
        return list(tokenizer.convert_tokens_to_ids(tokenizer.tokenize(text, split_special_tokens=True)))
    if backend.normalizer is not None:
        text = backend.normalizer.normalize_str(text)
    pieces = [(text, None)] if backend.pre_tokenizer is None else backend.pre_tokenizer.pre_tokenize_str(text)
    return [token.id for piece, _ in pieces for token in backend.model.tokenize(piece)]
