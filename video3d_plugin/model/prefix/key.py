"""A key of everything that determines how a scene is encoded. A prefix may be reused while its key stays the same.

The weights enter the key by `prefix.weight_sums`, which does not read all of them for each question.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, cast

from video3d_plugin.model.prefix.weight_sums import weight_sums
from video3d_plugin.model.registry import identity

if TYPE_CHECKING:
    from video3d_plugin.model.modeling import Video3DForCausalLM
    from video3d_plugin.model.processing import Video3DProcessor

# Attributes of a module: whether dropout is on, and the state of PEFT's adapters.
_SWITCHES = ("training", "_disable_adapters", "_active_adapter", "scaling", "merged_adapters")


def prefix_key(model: Video3DForCausalLM, processor: Video3DProcessor, full: bool = False) -> str:
    """Return the key of the prefixes that a model and a processor make now.

    It covers the weights that a prefix depends on (all but the output layer and the grounding head), active, scaled and
    merged adapters, dropout, the inputs' specification, the token layout, and the text before the question. For an
    add-on's class it covers all weights, and the class.

    Args:
        model: The model.
        processor: Its processor.
        full: Read every weight, also where nothing says that one has changed. Encoding a scene does so.

    Returns:
        32 hexadecimal digits.
    """
    inner, config, wrapper = model.get_model(), model.config, cast(Any, model)
    switches = [[vars(module).get(name) for name in _SWITCHES] for module in inner.modules()]
    asked = (config.inputs_spec, config.layout, config.position, config.head is not None)
    kind = identity(type(wrapper.get_base_model() if hasattr(model, "get_base_model") else model))
    # An add-on's class may read any of its weights before the question, and have switches anywhere.
    sums = weight_sums(inner if kind is None else model, repr(switches), full)
    made_with = (sums, switches, asked, processor.prefix_ids(), kind)
    return hashlib.blake2b(repr(made_with).encode(), digest_size=16).hexdigest()
