"""Frame samplers by name: the built-in ones and add-ons of the entry-point group `video3d.frame_samplers`.

A sampler is `f(scene, max_frames, coverage) -> list[int]`: indices of frames, in capture order. One that also has a
parameter `question` is called with the `Question` by that name, and chooses frames for each question.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from video3d_plugin.errors import DataError
from video3d_plugin.extensions import ExtensionGroup

Sampler = Callable[..., list[int]]


def _check(name: str, loaded: Any) -> None:
    if not callable(loaded):
        raise DataError(f"is a {type(loaded).__name__}, expected a function")


SAMPLERS = ExtensionGroup(
    "video3d.frame_samplers",
    "frame sampler",
    {
        "uniform": "video3d_plugin.sampling.uniform:uniform",
        "mc": "video3d_plugin.sampling.coverage:mc",
        "mc-ratio90": "video3d_plugin.sampling.coverage:mc_ratio90",
        "mc-ratio95": "video3d_plugin.sampling.coverage:mc_ratio95",
    },
    _check,
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


def reads_question(name: str) -> bool:
    """Whether the sampler of this name chooses frames for each question."""
    return "question" in _parameters(get(name))


def check_without_question(name: str, who: str) -> None:
    """Raise where frames are chosen once for all questions of a scene.

    Args:
        name: The sampler.
        who: What chooses them, for the message, such as "training".

    Raises:
        DataError: The sampler is unknown or asks for the question.
    """
    if reads_question(name):
        raise DataError(
            f"frame sampler {name!r} chooses frames for each question, and {who} has one choice for all of a scene's",
            remedy="choose another sampler, such as uniform or mc-ratio95",
        )


@lru_cache(maxsize=64)
def _parameters(sampler: Sampler) -> frozenset[str]:
    """Names of the parameters that can be given by name."""
    try:
        parameters = inspect.signature(sampler).parameters.values()
    except (TypeError, ValueError):  # some functions written in C have no signature, and then no such parameter
        return frozenset()
    return frozenset(p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD))
