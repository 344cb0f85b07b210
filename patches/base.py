"""The parts of a patch: its target, digests of the source that it was written for, and reversible changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Protocol

from video3d_plugin.errors import Video3DError
from video3d_plugin.hosts.source_check import source_digest


class PatchMismatch(Video3DError):
    """The host's code is not the code that a patch was written for, or a patch cannot be undone."""


class Change(Protocol):
    """One reversible step of a patch."""

    def do(self) -> None:
        """Make the change."""

    def can_undo(self) -> str | None:
        """Return why the change cannot be undone now, or None where it can."""

    def undo(self) -> None:
        """Undo the change; called only where `can_undo` returned None."""


@dataclass
class Replace:
    """Set an attribute.

    Undoing restores the value, or removes the attribute where the owner had inherited it.

    Attributes:
        owner: Module, class or object.
        name: Name of the attribute.
        value: Its new value.
    """

    owner: Any
    name: str
    value: Any
    _old: Any = field(default=None, init=False)
    _had: bool = field(default=False, init=False)

    def do(self) -> None:
        self._had = self.name in vars(self.owner)
        self._old = vars(self.owner).get(self.name)
        setattr(self.owner, self.name, self.value)

    def can_undo(self) -> str | None:
        return None if vars(self.owner).get(self.name) is self.value else f"{self.name} was replaced again since"

    def undo(self) -> None:
        if self._had:
            setattr(self.owner, self.name, self._old)
        else:
            delattr(self.owner, self.name)


class Remove(Replace):
    """Delete an attribute, so that the inherited one is used.

    Args:
        owner: Module, class or object that has the attribute itself.
        name: Name of the attribute.
    """

    def __init__(self, owner: Any, name: str) -> None:
        super().__init__(owner, name, None)

    def do(self) -> None:
        self._had, self._old = True, vars(self.owner)[self.name]
        delattr(self.owner, self.name)

    def can_undo(self) -> str | None:
        return f"{self.name} was put back since" if self.name in vars(self.owner) else None


@dataclass(frozen=True)
class Patch:
    """One patch, as its module declares it.

    Attributes:
        name: Name of the patch and of its module.
        target: Module that is changed; the patch is applied once it has been imported.
        why: Purpose of the patch, in one line.
        known: Dotted name inside the target -> {digest of its source: version or commit of the host}.
        changes: Called with the target after the sources were checked; returns the changes, or raises PatchMismatch.
        not_needed: Called with the target; returns why this host needs no patch, or None where it does.
        before: Host module, where the hook applies the patch just before that module is executed.
    """

    name: str
    target: str
    why: str
    known: Mapping[str, Mapping[str, str]]
    changes: Callable[[ModuleType], Sequence[Change]]
    not_needed: Callable[[ModuleType], str | None] = lambda module: None
    before: str | None = None

    def check_sources(self, module: ModuleType) -> None:
        """Compare the target's functions with the digests in `known`.

        Args:
            module: The target.

        Raises:
            PatchMismatch: If a function is missing or its source has another digest.
        """
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
    """Return what a dotted name such as "Class.method" is inside a module, or None."""
    value: Any = module
    for part in dotted.split("."):
        value = getattr(value, part, None)
    return value
