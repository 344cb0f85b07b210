"""Model classes by name: the built-in one and add-ons of the entry-point group `video3d.models`.

A checkpoint names the class that wrote it under `video3d_model` in its config.json; without that key it is
Video3DForCausalLM's. docs/extending.md says what a class of an add-on may change.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from video3d_plugin.errors import DataError
from video3d_plugin.extensions import ExtensionGroup

BASE = "video3d"
CONFIG_KEY = "video3d_model"


def _check(name: str, loaded: Any) -> None:
    """Raise DataError for an object that cannot stand for Video3DForCausalLM."""
    base = get(BASE)
    if not (isinstance(loaded, type) and issubclass(loaded, base)):
        raise DataError(f"{_shown(loaded)} is no subclass of {base.__name__}")
    if getattr(loaded, "config_class", None) is not base.config_class:
        raise DataError("its config_class is not Video3DConfig (settings of its own are further keys of config.json)")
    for part in new_parts(loaded):
        if not isinstance(part, str) or not part:
            raise DataError(f"new_parts holds {part!r}, expected beginnings of parameter names")
    overrides = getattr(loaded, "forward", None) is not base.forward
    if overrides and not getattr(loaded, "forward_is_for_training", False):
        raise DataError(
            "it overrides forward(), which answering does not call: override embed_text, assemble or "
            "adapt_scene_tokens, or set forward_is_for_training = True if training alone needs it"
        )


MODELS = ExtensionGroup("video3d.models", "model", {BASE: "video3d_plugin.model.modeling:Video3DForCausalLM"}, _check)
GROUP, BUILT_IN = MODELS.group, MODELS.built_in


def names() -> tuple[str, ...]:
    """All known models, the built-in one first."""
    return MODELS.names()


def get(name: str) -> Any:
    """The class of this name.

    Raises:
        DataError: The name is unknown (the message lists the known ones), or the add-on cannot be loaded.
    """
    return MODELS.get(name)


def new_parts(model_class: type) -> tuple[str, ...]:
    """Beginnings of the names of parameters that a checkpoint of a parent class may lack, parents' first."""
    declared: dict[Any, None] = {}
    for kind in reversed(model_class.__mro__):
        parts = vars(kind).get("new_parts", ())
        if not isinstance(parts, tuple | list):
            raise DataError(f"new_parts of {kind.__name__} is a {type(parts).__name__}, expected a tuple of names")
        declared |= dict.fromkeys(parts)
    return tuple(declared)


def registered_name(model_class: type) -> str | None:
    """The name of the class, or of its nearest registered parent (wrappers of trainers are subclasses)."""
    for kind in model_class.__mro__:
        if kind.__module__.partition(".")[0] in ("torch", "transformers"):
            break
        name = MODELS.name_of(kind)
        if name is not None:
            return name
    return None


def identity(model_class: type) -> str | None:
    """Identifies an add-on's class and its version, for cache keys; None for Video3DForCausalLM itself."""
    if model_class is get(BASE):
        return None
    name = registered_name(model_class)
    source = MODELS.source(name) if name is not None else None
    return f"{model_class.__module__}:{model_class.__qualname__} {source or ''}".rstrip()


def record_class(config: Any, model_class: type) -> None:
    """Write into a configuration which model class it is saved with; the built-in class leaves no key."""
    name = registered_name(model_class)
    if name in (None, BASE):
        vars(config).pop(CONFIG_KEY, None)
    else:
        setattr(config, CONFIG_KEY, name)


def class_of_checkpoint(asked: type, config: Any, folder: Path) -> type:
    """The class that a checkpoint is loaded as.

    Args:
        asked: The class whose `from_pretrained` was called. Video3DForCausalLM stands for whichever wrote the
            checkpoint; another class may start from a checkpoint of itself or of one of its parents.
        config: The checkpoint's configuration.
        folder: The checkpoint's folder, for messages.

    Raises:
        DataError: The class that wrote the checkpoint is not installed, cannot be loaded, or is no parent of `asked`.
    """
    name = getattr(config, CONFIG_KEY, None)
    if name in (None, BASE):
        return asked
    if name not in names():
        remedy = f"install the add-on that registers it under {GROUP}; registered here: {', '.join(names())}"
        raise DataError(f"its config.json names model {name!r}, which is not installed", where=folder, remedy=remedy)
    wrote = get(name)
    if asked is get(BASE):
        return wrote
    if not issubclass(asked, wrote):
        what = f"was written by model {name!r}, and {asked.__name__} is not derived from it"
        raise DataError(what, where=folder, remedy=f"load it as {name!r}, or start from a checkpoint without its parts")
    return asked


def _shown(loaded: Any) -> str:
    return f"class {loaded.__name__}" if isinstance(loaded, type) else f"a {type(loaded).__name__}"
