"""What a patch is: a target, the source it was written against, and changes that can be undone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Protocol

from video3d_plugin.errors import Video3DError
from video3d_plugin.hosts.source_check import source_digest


class PatchMismatch(Video3DError):
    """The host's code is not one this patch was written against."""


class Change(Protocol):
    """One reversible step. `undo` raises PatchMismatch, before changing anything, where it cannot be taken back."""

    def do(self) -> None: ...

    def can_undo(self) -> str | None: ...

    def undo(self) -> None: ...


@dataclass
class Replace:
    """`owner.name = value`, on a module, class or object. Keeps whether the owner itself had the attribute."""

    owner: Any
    name: str
    value: Any
    _old: Any = field(default=None, init=False)
    _own: bool = field(default=False, init=False)

    def do(self) -> None:
        self._own = self.name in vars(self.owner)
        self._old = vars(self.owner).get(self.name)
        setattr(self.owner, self.name, self.value)

    def can_undo(self) -> str | None:
        """The reason why it cannot be taken back now: somebody else has replaced it since."""
        return None if vars(self.owner).get(self.name) is self.value else f"{self.name} was replaced again since"

    def undo(self) -> None:
        if self._own:
            setattr(self.owner, self.name, self._old)
        else:
            delattr(self.owner, self.name)


class Remove(Replace):
    """`del owner.name`: what the owner inherits shows again."""

    def __init__(self, owner: Any, name: str) -> None:
        super().__init__(owner, name, None)

    def do(self) -> None:
        self._own, self._old = True, vars(self.owner)[self.name]
        delattr(self.owner, self.name)

    def can_undo(self) -> str | None:
        return f"{self.name} was put back since" if self.name in vars(self.owner) else None


@dataclass(frozen=True)
class Patch:
    """One patch, as its module declares it.

    target      module that is changed; the patch is applied once it has been imported
    before      host module just before whose execution the hook applies the patch, where that is another
    known       dotted name inside the target -> {digest of its source: version or commit it was seen in}
    changes     module -> the changes; called after the sources were checked; may itself raise PatchMismatch
    not_needed  module -> why this host needs no patch, or None where it does
    """

    name: str
    target: str
    why: str
    known: Mapping[str, Mapping[str, str]]
    changes: Callable[[ModuleType], Sequence[Change]]
    not_needed: Callable[[ModuleType], str | None] = lambda module: None
    before: str | None = None

    def check_sources(self, module: ModuleType) -> None:
        """Raise PatchMismatch where a function is missing or not one of those seen."""
        for dotted, seen in self.known.items():
            works = ", ".join(sorted(set(seen.values())))
            function = resolve(module, dotted)
            if function is None:
                raise PatchMismatch(f"patch {self.name}: {self.target}.{dotted} is gone (known to work: {works})")
            digest = source_digest(function)
            if digest not in seen:
                raise PatchMismatch(
                    f"patch {self.name}: {self.target}.{dotted} is not code it was written for, digest {digest} "
                    f"(known to work: {works}; install that, or turn the hooks off with VIDEO3D_HOOKS=0)"
                )


def resolve(module: ModuleType, dotted: str) -> Any:
    """`Class.method` inside a module, or None."""
    found: Any = module
    for part in dotted.split("."):
        found = getattr(found, part, None)
    return found
