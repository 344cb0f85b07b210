"""The model that a run starts from: a checkpoint, with the options that the caller asks for and parts that it lacks."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video3d_plugin.config import Video3DConfig
from video3d_plugin.config.paper import PAPER
from video3d_plugin.model import registry
from video3d_plugin.model.checkpoint.folders import local_folder, weight_files
from video3d_plugin.model.processing import Video3DProcessor

if TYPE_CHECKING:
    from video3d_plugin.model.modeling import Video3DForCausalLM

log = logging.getLogger(__name__)

# Parts of Video-3D LLM that a checkpoint of LLaVA-NeXT has not.
_PARTS = ("world_position_embedding_type", "object_feature_type", "ground_head_type")


def config_with(path: str | Path, options: Mapping[str, Any]) -> Video3DConfig:
    """Return a checkpoint's configuration with options in place of its own values.

    Args:
        path: The checkpoint's folder or hub name.
        options: Keys of config.json with values; None keeps the checkpoint's.

    Raises:
        DataError: The checkpoint is damaged, or an option has an unknown value.
        MissingError: There is no such checkpoint.
    """
    folder = local_folder(path)
    weight_files(folder)  # raises if they are missing or damaged
    config = Video3DConfig.from_pretrained(str(folder))
    for name, value in options.items():
        if value is not None:
            setattr(config, name, value)
    _ = config.position, config.layout, config.head, config.inputs_spec  # each raises for an unknown value
    return config


def load_to_train(
    path: str | Path, options: Mapping[str, Any], *, model_class: str | None = None
) -> tuple[Video3DForCausalLM, Video3DProcessor]:
    """Load a checkpoint in its own number format, ready to be trained.

    A checkpoint that knows no <ground> and <coord>, such as LLaVA-Video, gets these tokens, and the paper's position
    encoding, object features and grounding head where `options` name no others. New weights are random.

    Args:
        path: The checkpoint's folder or hub name.
        options: Keys of config.json that take the place of the checkpoint's; None keeps the checkpoint's.
        model_class: Name of a registered model to train it as.

    Returns:
        The model and its processor.

    Raises:
        DataError: The checkpoint is damaged, an option has an unknown value, or the weights do not fit the options.
        MissingError: A file of the checkpoint is missing.
    """
    config = config_with(path, options)
    is_base = config.ground_token_ids is None
    given = {name for name, value in options.items() if value is not None}
    if is_base:
        for name in _PARTS:
            if name not in given and getattr(config, name) is None:
                setattr(config, name, PAPER[name])
    kind = registry.get(model_class or registry.BASE)
    model = kind.from_pretrained(str(path), config=config, dtype="auto", exact_class=model_class is not None)
    processor = Video3DProcessor.from_pretrained(str(path), config=model.config)
    if is_base:
        new = ", ".join(model.add_tokens(processor.tokenizer)) or "<ground>, <coord> in config.json"
        position, features, head = (getattr(config, name) for name in _PARTS)
        what = "%s had no %s: added; position %s, object features %s, grounding head %s"
        log.warning(what, path, new, position, features, head)
    return model, processor
