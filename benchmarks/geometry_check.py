"""Alarms of the geometry check on right scans, and on the same scans with a planted mistake.

    python benchmarks/geometry_check.py SCAN ...

Prints, for each scan and several frame steps, the notes of the scan as it is, and of each planted mistake the kind of
cause that is named.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from video3d_plugin import load_scene
from video3d_plugin.data.geometry_check import geometry_notes, likely_cause
from video3d_plugin.scene import Frame, Scene

OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


def moved(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Frame], Frame]:
    return lambda frame: replace(frame, scan_from_camera=change(frame.scan_from_camera))


def positions(factor: float) -> Callable[[Frame], Frame]:
    return moved(lambda pose: np.vstack([np.hstack([pose[:3, :3], pose[:3, 3:] * factor]), pose[3:]]))


def unit(factor: float) -> Callable[[Frame], Frame]:
    return lambda frame: replace(frame, depth_unit_m=frame.depth_unit_m * factor)


def focal(factor: float) -> Callable[[Frame], Frame]:
    scale = np.diag([factor, factor, 1, 1])
    keep = np.eye(4, dtype=bool)
    return lambda frame: replace(
        frame, depth_intrinsics=np.where(keep, frame.depth_intrinsics @ scale, frame.depth_intrinsics)
    )


MISTAKES: dict[str, tuple[str, Callable[[Frame], Frame]]] = {
    "inverted poses": ("poses", moved(np.linalg.inv)),
    "OpenGL poses": ("poses", moved(lambda pose: pose @ OPENGL)),
    "inverted OpenGL poses": ("poses", moved(lambda pose: np.linalg.inv(pose @ OPENGL))),
    "positions in millimetres": ("scale", positions(1000)),
    "positions a quarter": ("scale", positions(0.25)),
    "depth unit of TUM": ("scale", unit(0.2)),
    "depth unit tenfold": ("scale", unit(10)),
    "focal length of 525 for 384": ("intrinsics", focal(525 / 384)),
    "focal length half": ("intrinsics", focal(0.5)),
}


def planted(scene: Scene, mistake: Callable[[Frame], Frame]) -> Scene:
    return replace(scene, frames=tuple(map(mistake, scene.frames)))


def main(paths: list[str]) -> None:
    for path in paths:
        for step in (1, 4, 10, 30):
            scene = load_scene(path, frame_step=step)
            if len(scene.frames) < 3:
                continue
            started = time.perf_counter()
            notes = geometry_notes(scene.frames)
            print(f"{path} step {step}: {len(scene.frames)} frames, {time.perf_counter() - started:.2f} s: {notes}")
            for name, (kind, mistake) in MISTAKES.items():
                cause = likely_cause(planted(scene, mistake).frames)
                if cause is None or cause.kind != kind:
                    print(f"    {name}: {cause}")


if __name__ == "__main__":
    main(sys.argv[1:])
