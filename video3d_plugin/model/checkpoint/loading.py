"""Model and processor of a checkpoint folder, with an adapter where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from video3d_plugin.config import Video3DConfig
from video3d_plugin.errors import DataError, joined_names
from video3d_plugin.model.checkpoint.adapter import read_adapter
from video3d_plugin.model.checkpoint.lora import config_folder, merge_lora
from video3d_plugin.model.checkpoint.weights import local_folders
from video3d_plugin.model.modeling import Video3DForCausalLM
from video3d_plugin.model.processing import Video3DProcessor
from video3d_plugin.tokens import COORD_TOKEN, GROUND_TOKEN


def load_pair(path: str | Path, *, lora: str | Path | None = None, **options: Any):
    """(model, processor) of a checkpoint folder or hub name; with `lora`, an adapter folder merged into it.

    An adapter folder given as `path` is merged into the base checkpoint that it names.
    """
    folder, adapter = local_folders(path, lora, options)
    if adapter is None:
        model, words = Video3DForCausalLM.from_pretrained(str(folder), **options), folder
    else:
        read_adapter(adapter)  # what is wrong with it is said before gigabytes are read
        settings = config_folder(adapter, folder)
        model = Video3DForCausalLM.from_pretrained(str(folder), config=settings, **options)
        model = merge_lora(model, adapter)
        if settings == adapter and model.initialised_parts:
            parts = joined_names(model.initialised_parts)
            what = f"its config.json asks for parts that neither it nor its base has: {parts}"
            raise DataError(what, where=adapter, remedy="add its non_lora_trainables.bin")
        words = adapter if (adapter / "tokenizer_config.json").is_file() else folder
    processor = Video3DProcessor.from_pretrained(words, config=model.config)
    _check_words(processor, model.config, words)
    return model, processor


def _check_words(processor: Video3DProcessor, config: Video3DConfig, folder: Path) -> None:
    """Raise unless the tokenizer is the one that the weights were trained with, as far as that shows."""
    remedy = "use the tokenizer that was saved with these weights"
    highest = max(processor.tokenizer.get_vocab().values()) + 1
    if highest > config.vocab_size:
        what = f"the tokenizer knows {highest} tokens, the weights {config.vocab_size}"
        raise DataError(what, where=folder, remedy=remedy)
    known = processor.tokenizer.get_vocab()
    for token, own in ((GROUND_TOKEN, config.ground_token_id), (COORD_TOKEN, config.coord_token_id)):
        if own is not None and known.get(token, own) != own:
            what = f"{token} is token {known[token]} of the tokenizer and {own} in config.json"
            raise DataError(what, where=folder, remedy=remedy)
        if own is not None and own >= config.vocab_size:
            what = f"config.json says that {token} is token {own}, and the weights know {config.vocab_size}"
            raise DataError(what, where=folder, remedy=remedy)
