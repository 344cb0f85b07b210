"""Frame samplers by name: the built-in ones and add-ons of the entry-point group `video3d.frame_samplers`.

A sampler is `f(scene, max_frames, coverage) -> list[int]`: indices of frames, in capture order.
"""

from __future__ import annotations

from collections.abc import Callable

from video3d_plugin.extensions import ExtensionGroup

Sampler = Callable[..., list[int]]

SAMPLERS = ExtensionGroup(
    "video3d.frame_samplers",
    "frame sampler",
    {
        "uniform": "video3d_plugin.sampling.uniform:uniform",
        "mc": "video3d_plugin.sampling.coverage:mc",
        "mc-ratio90": "video3d_plugin.sampling.coverage:mc_ratio90",
        "mc-ratio95": "video3d_plugin.sampling.coverage:mc_ratio95",
    },
)
GROUP, BUILT_IN = SAMPLERS.group, SAMPLERS.built_in


def names() -> tuple[str, ...]:
    """All known samplers, the built-in ones first."""
    return SAMPLERS.names()


def usable() -> tuple[str, ...]:
    """All samplers that can be loaded; a broken add-on is left out with a warning."""
    return tuple(SAMPLERS.usable())


def get(name: str) -> Sampler:
    """The sampler of this name; DataError for an unknown one, listing those that are known."""
    sampler: Sampler = SAMPLERS.get(name)
    return sampler
