"""Frame samplers by name: the built-in ones and any third party's, over the entry points `video3d.frame_samplers`.

A sampler is `f(scene, max_frames, coverage) -> list[int]`: indices of frames, in capture order.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from video3d_plugin.errors import DataError

GROUP = "video3d.frame_samplers"
Sampler = Callable[..., list[int]]

# The package's own samplers work without being installed; pyproject.toml lists the same, for `importlib.metadata`.
BUILT_IN = {
    "uniform": "video3d_plugin.sampling.uniform:uniform",
    "mc": "video3d_plugin.sampling.coverage:mc",
    "mc-ratio90": "video3d_plugin.sampling.coverage:mc_ratio90",
    "mc-ratio95": "video3d_plugin.sampling.coverage:mc_ratio95",
}


def names() -> tuple[str, ...]:
    """All known samplers, the built-in ones first."""
    return (*BUILT_IN, *sorted(_third_party()))


def get(name: str) -> Sampler:
    """The sampler of this name; DataError for an unknown one, listing those that are known."""
    if name in BUILT_IN:
        module, function = BUILT_IN[name].split(":")
        return getattr(import_module(module), function)
    points = _third_party()
    if name not in points:
        raise DataError(f"unknown frame sampler {name!r}", remedy=_advice(name))
    try:
        return points[name].load()
    except Exception as error:  # a third party's import: anything can go wrong, and the user needs its name
        remedy = "repair or uninstall it"
        raise DataError(
            f"frame sampler {name!r} ({points[name].value}) cannot be loaded: {error}", remedy=remedy
        ) from error


def _third_party() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in BUILT_IN}


def _advice(name: str) -> str:
    known = names()
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(known)}"
