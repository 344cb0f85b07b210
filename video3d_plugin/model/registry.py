"""Model classes by the name that `--model` takes: ours, and add-ons of the entry-point group `video3d.models`.

A class is a `PreTrainedModel` that takes the batches of `Video3DProcessor`, as Video3DForCausalLM does.
"""

from __future__ import annotations

from video3d_plugin.extensions import ExtensionGroup

MODELS = ExtensionGroup("video3d.models", "model", {"video3d": "video3d_plugin.model.modeling:Video3DForCausalLM"})
GROUP, BUILT_IN = MODELS.group, MODELS.built_in


def names() -> tuple[str, ...]:
    """All known models, the built-in one first."""
    return MODELS.names()


def get(name: str) -> type:
    """The class of this name; DataError for an unknown one, listing those that are known."""
    model: type = MODELS.get(name)
    return model
