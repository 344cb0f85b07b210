"""Tokenizer files: what transformers 5 writes opens on 4, what this package saves opens on both."""

from __future__ import annotations

import json
import logging

import pytest

from video3d_plugin.errors import DataError
from video3d_plugin.model.checkpoint.tokenizer import load_tokenizer, make_portable, portable, save_tokenizer

TEXT = "<|im_start|>user\n<image>What is <ground> it's 12?<|im_end|>"


@pytest.fixture
def saved(tokenizer, tmp_path):
    save_tokenizer(tokenizer, tmp_path)
    return tmp_path


def rewrite(folder, **changes):
    """Replace entries of tokenizer_config.json; None removes one."""
    path = folder / "tokenizer_config.json"
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))
    return path


def as_transformers_5(folder, extra=("<|im_start|>", "<|im_end|>")):
    """The spelling that transformers 5 gives the file."""
    return rewrite(
        folder, tokenizer_class="TokenizersBackend", backend="tokenizers", extra_special_tokens=list(extra),
        additional_special_tokens=None, added_tokens_decoder=None,
    )  # fmt: skip


def test_the_spelling_of_transformers_5_becomes_the_portable_one():
    content = {"tokenizer_class": "TokenizersBackend", "extra_special_tokens": ["<a>", "<b>"], "eos_token": "<b>"}
    expected = {
        "tokenizer_class": "PreTrainedTokenizerFast", "additional_special_tokens": ["<a>", "<b>"], "eos_token": "<b>",
    }  # fmt: skip
    assert portable(content) == portable(portable(content)) == expected
    assert content["tokenizer_class"] == "TokenizersBackend", "the argument is left as it was"


def test_tokens_of_both_spellings_are_kept_once_each():
    content = {"additional_special_tokens": ["<a>"], "extra_special_tokens": ["<b>", "<a>"]}
    assert portable(content) == {"additional_special_tokens": ["<a>", "<b>"]}


def test_what_both_versions_read_is_left_alone():
    assert portable({}) == {}
    named = {"tokenizer_class": "Qwen2Tokenizer", "extra_special_tokens": {"image_token": "<image>"}}
    assert portable(named) == named


def test_what_is_saved_has_the_portable_form(saved):
    content = json.loads((saved / "tokenizer_config.json").read_text())
    assert content["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert not isinstance(content.get("extra_special_tokens"), list)
    assert portable(content) == content


def test_both_spellings_give_the_same_tokenizer(saved, tokenizer, caplog):
    first = load_tokenizer(saved)
    as_transformers_5(saved)
    with caplog.at_level(logging.WARNING):
        second = load_tokenizer(saved)
    assert not [record for record in caplog.records if "not the same type" in record.getMessage()]
    for one in (first, second):
        assert one(TEXT).input_ids == tokenizer(TEXT).input_ids
        assert set(one.all_special_tokens) == set(tokenizer.all_special_tokens)
        assert (one.eos_token_id, one.pad_token_id, len(one)) == (
            tokenizer.eos_token_id, tokenizer.pad_token_id, len(tokenizer),
        )  # fmt: skip


def test_a_list_of_tokens_opens_under_a_class_of_its_own(saved, tokenizer):
    as_transformers_5(saved)
    rewrite(saved, tokenizer_class="Qwen2Tokenizer")
    assert load_tokenizer(saved)(TEXT).input_ids == tokenizer(TEXT).input_ids


def test_what_was_opened_in_the_new_spelling_is_saved_in_the_portable_one(saved, tokenizer, tmp_path):
    as_transformers_5(saved)
    save_tokenizer(load_tokenizer(saved), tmp_path / "again")
    content = json.loads((tmp_path / "again" / "tokenizer_config.json").read_text())
    assert portable(content) == content
    assert load_tokenizer(tmp_path / "again")(TEXT).input_ids == tokenizer(TEXT).input_ids


@pytest.mark.parametrize("content", ["[]", "{", '"text"', ""])
def test_a_file_that_is_no_object_is_named(saved, content):
    path = saved / "tokenizer_config.json"
    path.write_text(content)
    with pytest.raises(DataError, match="tokenizer"):
        load_tokenizer(saved)
    with pytest.raises(DataError, match="tokenizer_config.json"):
        make_portable(path)
    assert path.read_text() == content


def test_a_missing_file_is_left_missing(tmp_path):
    make_portable(tmp_path / "tokenizer_config.json", "PreTrainedTokenizerFast")
    assert list(tmp_path.iterdir()) == []


def test_a_default_class_is_written_only_where_none_is_named(saved):
    path = rewrite(saved, tokenizer_class=None)
    make_portable(path, "PreTrainedTokenizerFast")
    assert json.loads(path.read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"
    rewrite(saved, tokenizer_class="Qwen2Tokenizer")
    make_portable(path, "PreTrainedTokenizerFast")
    assert json.loads(path.read_text())["tokenizer_class"] == "Qwen2Tokenizer"
