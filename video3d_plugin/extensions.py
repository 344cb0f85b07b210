"""Extension points: what other distributions add through entry points.

    video3d.frame_samplers   video3d_plugin.sampling.registry
    video3d.proposals        video3d_plugin.data.proposals.registry
    video3d.models           video3d_plugin.model.registry
    video3d.tasks            video3d_plugin.tasks.registry

Nothing is imported before it is used. An add-on that cannot be loaded is an error for whoever asks for it by name and
a warning for everybody else. Add-ons cannot replace what is built in.
"""

from __future__ import annotations

import difflib
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from video3d_plugin.errors import DataError

_REMEDY = "repair or uninstall it"


@dataclass(frozen=True)
class ExtensionGroup:
    """The members of one entry-point group, by name.

    Attributes:
        group: Name of the entry-point group.
        kind: What a member is called in messages, such as "frame sampler".
        built_in: The package's own members, name to "module:attribute". They work without being installed;
            pyproject.toml lists the same.
        check: Called with the name and the loaded object of an add-on; raises DataError for one that cannot be used.
    """

    group: str
    kind: str
    built_in: Mapping[str, str]
    check: Callable[[str, Any], None] | None = None
    _loaded: dict[tuple[str, str], Any] = field(default_factory=dict, repr=False, compare=False)

    def names(self) -> tuple[str, ...]:
        """All known names, the built-in ones first. Nothing is loaded."""
        return (*self.built_in, *sorted(self._add_ons()))

    def get(self, name: str) -> Any:
        """The member of this name.

        Raises:
            DataError: The name is unknown (the message lists the known ones), or the add-on cannot be loaded.
        """
        if name in self.built_in:
            return _attribute(self.built_in[name])
        add_ons = self._add_ons()
        if name not in add_ons:
            raise DataError(f"unknown {self.kind} {name!r}", remedy=self._advice(name))
        return self._load(add_ons[name])

    def usable(self) -> dict[str, Any]:
        """Every member that can be loaded, the built-in ones first. A broken add-on is left out with a warning."""
        members = {name: _attribute(value) for name, value in self.built_in.items()}
        for name, point in sorted(self._add_ons().items()):
            try:
                members[name] = self._load(point)
            except DataError as error:
                warnings.warn(f"{error.what}; it is left out ({_REMEDY})", stacklevel=2)
        return members

    def name_of(self, member: Any) -> str | None:
        """The name under which a class or function is registered; None where it is not.

        Entry points are compared as text. Only add-ons of the member's own top-level package are loaded, for an entry
        point may name a re-export.
        """
        value = f"{member.__module__}:{member.__qualname__}"
        for name, built_in in self.built_in.items():
            if built_in == value:
                return name
        points = self._add_ons()
        for name, point in points.items():
            if point.value == value or self._loaded.get((name, point.value)) is member:
                return name
        package = member.__module__.partition(".")[0]
        for name, point in points.items():
            if point.value.partition(":")[0].partition(".")[0] == package:
                try:
                    if self._load(point) is member:
                        return name
                except DataError:  # it is not this member, which has been loaded
                    continue
        return None

    def source(self, name: str) -> str | None:
        """Where an add-on comes from, as "module:attribute of distribution version"; None for a built-in member."""
        point = self._add_ons().get(name)
        return None if point is None else _source(point)

    def _add_ons(self) -> dict[str, EntryPoint]:
        points = _points(self.group, tuple(sys.path))
        return {point.name: point for point in points if point.name not in self.built_in}

    def _load(self, point: EntryPoint) -> Any:
        key = (point.name, point.value)
        if key not in self._loaded:
            try:
                loaded = point.load()
                if self.check is not None:
                    self.check(point.name, loaded)
            except (Exception, SystemExit) as error:  # somebody else's module may raise anything
                reason = str(error) or type(error).__name__
                what = f"{self.kind} {point.name!r} ({_source(point)}) cannot be loaded: {reason}"
                raise DataError(what, remedy=_REMEDY) from error
            self._loaded[key] = loaded
        return self._loaded[key]

    def _advice(self, name: str) -> str:
        known = self.names()
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"{hint}known: {', '.join(known)}"


def _source(point: EntryPoint) -> str:
    distribution = getattr(point, "dist", None)
    return point.value if distribution is None else f"{point.value} of {distribution.name} {distribution.version}"


def _attribute(value: str) -> Any:
    module, attribute = value.split(":")
    return getattr(import_module(module), attribute)


@lru_cache(maxsize=64)
def _points(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """The group's entry points, read once for each `sys.path`: reading all distributions takes 20 ms."""
    return tuple(entry_points(group=group))
