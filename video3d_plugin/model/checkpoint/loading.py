"""Loads model and processor of a checkpoint, and merges an adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from video3d_plugin.config import Video3DConfig
from video3d_plugin.errors import DataError, joined_names
from video3d_plugin.model import registry
from video3d_plugin.model.checkpoint.adapter import read_adapter
from video3d_plugin.model.checkpoint.folders import local_folders
from video3d_plugin.model.checkpoint.lora import check_complete, config_folder, merge_lora
from video3d_plugin.model.checkpoint.quantised import lay_out
from video3d_plugin.model.modeling import Video3DForCausalLM
from video3d_plugin.model.processing import Video3DProcessor
from video3d_plugin.tokens import COORD_TOKEN, GROUND_TOKEN


def load_pair(
    path: str | Path, *, lora: str | Path | None = None, model_class: str | None = None, **options: Any
) -> tuple[Any, Video3DProcessor]:
    """Load model and processor.

    Args:
        path: A checkpoint's folder or hub name, or an adapter's folder, which is merged into its base checkpoint.
        lora: An adapter's folder, to be merged into the checkpoint.
        model_class: Name of a registered model to load the checkpoint as, which may have parts that the checkpoint
            lacks; by default the one that wrote it.
        **options: Passed to `from_pretrained`.

    Returns:
        The model and its processor.

    Raises:
        MissingError: A file or folder is missing.
        DataError: The checkpoint, adapter or tokenizer cannot be used, or they do not belong together.
    """
    kind = Video3DForCausalLM if model_class is None else registry.get(model_class)
    options |= {} if model_class is None else {"exact_class": True}
    folder, adapter = local_folders(path, lora, options)
    if adapter is None:
        model, words = kind.from_pretrained(str(folder), **options), folder
    else:
        read_adapter(adapter)  # what is wrong with it is said before gigabytes are read
        check_complete(adapter)
        settings = config_folder(adapter, folder)
        model = kind.from_pretrained(str(folder), config=settings, **options)
        model = merge_lora(model, adapter)
        if settings == adapter and model.initialised_parts:
            parts = joined_names(model.initialised_parts)
            what = f"its config.json asks for parts that neither it nor its base has: {parts}"
            raise DataError(what, where=adapter, remedy="add its non_lora_trainables.bin")
        words = adapter if (adapter / "tokenizer_config.json").is_file() else folder
    lay_out(model)
    processor = Video3DProcessor.from_pretrained(words, config=model.config)
    _check_words(processor, model.config, words)
    return model, processor


def _check_words(processor: Video3DProcessor, config: Video3DConfig, folder: Path) -> None:
    """Raise DataError if the tokenizer has more tokens than the weights, or other ids of the special tokens."""
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
