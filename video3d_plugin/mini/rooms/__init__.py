"""Generates furnished rooms in ScanNet's own layout, with questions in the five benchmarks' official formats.

    from video3d_plugin.mini.rooms import make_benchmark
    make_benchmark("rooms", scenes=10, seed=0)                       # a val split, ready for `video3d prepare rooms`
    make_benchmark("rooms", split={"train": 200, "val": 40}, noise="realistic", workers=2)

World frame: z up, metres. The scan frame is turned about z and shifted against it, so that the axis alignment matters.
"""

from __future__ import annotations

from importlib import import_module

_PUBLIC = {
    "Counts": ".scenes",
    "EXACT": ".mesh",
    "PLAIN_STYLE": ".styles",
    "ProposalFaults": ".mesh",
    "Room": ".rooms",
    "Style": ".styles",
    "SyntheticScene": ".scenes",
    "baselines": ".guessing",
    "describe_split": ".describe",
    "iter_rooms": ".scenes",
    "make_benchmark": ".benchmark",
    "make_mini": ".mini_benchmark",
    "make_room": ".furnishing",
    "synthetic_scene": ".scenes",
}
__all__ = sorted(_PUBLIC)


def __getattr__(name: str):
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
