"""Model classes by the name that `--model` takes: ours, and those of add-ons over the entry points `video3d.models`.

A class is a `PreTrainedModel` that takes the batches of `Video3DProcessor`, as Video3DForCausalLM does.
"""

from __future__ import annotations

import difflib
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from video3d_plugin.errors import DataError

GROUP = "video3d.models"
BUILT_IN = {"video3d": "video3d_plugin.model.modeling:Video3DForCausalLM"}


def names() -> tuple[str, ...]:
    """All known models, the built-in one first."""
    return (*BUILT_IN, *sorted(_third_party()))


def get(name: str) -> type:
    """The class of this name; DataError for an unknown one, listing those that are known."""
    if name in BUILT_IN:
        module, attribute = BUILT_IN[name].split(":")
        return getattr(import_module(module), attribute)
    points = _third_party()
    if name not in points:
        close = difflib.get_close_matches(name, names(), n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise DataError(f"unknown model {name!r}", remedy=f"{hint}known: {', '.join(names())}")
    try:
        return points[name].load()
    except Exception as error:  # a third party's import: anything can go wrong, and the user needs its name
        what = f"model {name!r} ({points[name].value}) cannot be loaded: {error}"
        raise DataError(what, remedy="repair or uninstall it") from error


def _third_party() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in BUILT_IN}
