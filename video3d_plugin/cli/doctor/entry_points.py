"""Checks the entry points of this package, and those of add-ons in its groups."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata

from video3d_plugin.cli.doctor.check import Check
from video3d_plugin.cli.doctor.probe import Probe

# Group -> the names that this package registers, and whether add-ons may register more.
GROUPS = {
    "lmms_eval.models": (("video3d",), False),
    "video3d.models": (("video3d",), True),
    "video3d.tasks": ((), True),
    "video3d.frame_samplers": (("uniform", "mc", "mc-ratio90", "mc-ratio95"), True),
    "video3d.proposals": (("auto",), True),
}
_CODE = """
from importlib.metadata import EntryPoint
said = []
for name, value, group in {points!r}:
    try:
        EntryPoint(name, value, group).load()
        said.append("")
    except Exception as error:
        said.append(reason(error))
report(said)
"""


def entry_points(load: bool = True) -> Iterator[Check]:
    """Check entry points.

    Args:
        load: Whether to load them: those of this package in one process, each of the others in a process of its own.
    """
    ours, others, missing = [], [], []
    for group, (names, open_to_all) in GROUPS.items():
        points = {point.name: point for point in metadata.entry_points(group=group)}
        ours += [points[name] for name in names if name in points]
        missing += [f"{group}:{name}" for name in names if name not in points]
        if open_to_all:
            others += [points[name] for name in sorted(set(points) - set(names))]
    remedy = "install the package with pip; a folder on PYTHONPATH has no entry points"
    for name in missing:
        yield Check(f"entry point {name}", "absent", "not installed", remedy, needs="hooks")
    if not load:
        yield from (Check(_part(point), "ok", f"{_said(point)}, not loaded", needs="hooks") for point in ours + others)
        return
    for points, probe in [(batch, _probe(batch)) for batch in (ours, *([point] for point in others)) if batch]:
        reasons, crash = probe.result()
        for point, why in zip(points, reasons or [crash] * len(points), strict=True):
            yield _loaded(point, why)


def _probe(points: list[metadata.EntryPoint]) -> Probe:
    return Probe(_CODE.format(points=[(point.name, point.value, point.group) for point in points]))


def _part(point: metadata.EntryPoint) -> str:
    return f"entry point {point.group}:{point.name}"


def _loaded(point: metadata.EntryPoint, why: str) -> Check:
    if not why:
        return Check(_part(point), "ok", _said(point), needs="hooks")
    remedy = f"install {_owner(point) or 'it'} in a version that fits, or uninstall it"
    return Check(_part(point), "problem", f"{_said(point)}: {why}", remedy, needs="hooks")


def _said(point: metadata.EntryPoint) -> str:
    owner = _owner(point)
    return point.value if owner in (None, "video3d-plugin") else f"{point.value} of {owner}"


def _owner(point: metadata.EntryPoint) -> str | None:
    distribution = getattr(point, "dist", None)
    return distribution.name if distribution is not None else None
