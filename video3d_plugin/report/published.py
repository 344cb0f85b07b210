"""Published systems with their numbers in every benchmark, collected from the TaskSpecs."""

from __future__ import annotations

from dataclasses import dataclass, field

from video3d_plugin.tasks import usable
from video3d_plugin.tasks.systems import AS_OF, KNOWN, System

__all__ = ["AS_OF", "PublishedSystem", "published_systems"]


@dataclass(frozen=True)
class PublishedSystem(System):
    """A published system.

    Attributes:
        numbers: {task: {metric: value}}, in per cent (CIDEr x 100).
    """

    numbers: dict[str, dict[str, float]] = field(default_factory=dict)


def published_systems() -> list[PublishedSystem]:
    """Return the known systems, then others that an add-on's benchmark lists."""
    by_task = {task: spec.published for task, spec in usable().items()}
    systems = {system.name: system for system in KNOWN}
    for published in by_task.values():
        for name in published:
            systems.setdefault(name, System(name, name, is_peer=True))
    return [
        PublishedSystem(
            **vars(system),
            numbers={task: dict(rows[name]) for task, rows in by_task.items() if name in rows},
        )
        for name, system in systems.items()
    ]
