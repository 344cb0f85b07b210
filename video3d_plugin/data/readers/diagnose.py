"""Says why a folder is not read: what was found in it, which format comes nearest, and what that format lacks.

`LAYOUTS` lists the files of each format, `_UNREAD` recordings that are known but not read, with what to do about them.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from video3d_plugin.errors import DataError, joined_names

# Patterns of the files that make a recording, as of Path.glob; alternatives are separated by |.
LAYOUTS: dict[str, tuple[str, ...]] = {
    "posed frames": ("*.jpg|*.jpeg|*.JPG", "*.png", "*.txt", "depth_intrinsic.txt|intrinsic*.txt"),
    "ScanNet": ("*.sens|scans/*|posed_images/*",),
    "7-Scenes": ("frame-*.color.*", "frame-*.depth.*", "frame-*.pose.txt"),
    "TUM RGB-D": ("rgb.txt|associations.txt", "depth.txt|associations.txt", "groundtruth.txt"),
    "ARKitScenes": ("*_frames/lowres_wide|lowres_wide", "*_frames/lowres_depth|lowres_depth", "*_frames/*.traj|*.traj"),
    "nerfstudio": ("transforms*.json", "images*/*|*.png|*.jpg", "depth*/*"),
    "Polycam": ("keyframes/*images/*.jpg", "keyframes/*cameras/*.json", "keyframes/depth/*.png"),
    "Stray Scanner": ("rgb.mp4", "depth/*", "odometry.csv", "camera_matrix.csv"),
    "Record3D": ("metadata*", "rgbd/*.jpg", "rgbd/*.depth"),
    "3D Scanner App": ("frame_*.jpg", "frame_*.json", "depth_*.png"),
    "Open3D/Redwood": ("color/*|rgb/*|image/*", "depth/*", "*.log|scene/*.log"),
    "Replica (NICE-SLAM)": ("traj.txt", "results/frame*", "results/depth*"),
    "ScanNet's SensReader export": ("color/*|rgb/*", "depth/*", "pose/*.txt|poses/*.txt"),
    "ROS bag": ("*.bag|*.mcap|metadata.yaml", "*.bag|*.mcap|*.db3"),
}
_MOST_ENTRIES = 5000
_DEPTH = 3  # folders below the recording that are looked at
_SHOWN_LETTERS = 200


@dataclass(frozen=True)
class _Unread:
    """A recording that is known by its files, of which all patterns are there, and not read."""

    name: str
    patterns: tuple[str, ...]
    remedy: str


_UNREAD = (
    _Unread(
        "a ScanNet++ iPhone recording",
        ("iphone/pose_intrinsic_imu.json|pose_intrinsic_imu.json",),
        "ScanNet++'s own tools extract its images; write them as posed frames",
    ),
    _Unread(
        "an export of RTAB-Map",
        ("*_camera_poses.txt|rtabmap_rgb",),
        "export the poses in RGBD-SLAM format, as groundtruth.txt of a TUM folder",
    ),
    _Unread("an RTAB-Map database", ("*.db",), "export images and poses from it: rtabmap-export --images --poses"),
    _Unread("a folder of Record3D files", ("*.r3d",), "give one .r3d, or unzip them: each is a zip file"),
    _Unread("a folder of zip files", ("*.zip",), "give one .zip, or unzip them"),
    _Unread("a recording of an Azure Kinect", ("*.mkv",), "extract its images, and record poses with a SLAM program"),
    _Unread(
        "a COLMAP model",
        ("sparse/*/images.*|sparse/images.*",),
        "it has no depth: add images of it, and transforms.json",
    ),
    _Unread("depth in OpenEXR", ("*.exr|EXR_RGBD/*|depth/*.exr",), "convert it to 16-bit PNG in millimetres"),
    _Unread(
        "colour and depth without poses",
        ("color/*|rgb/*|image/*|images/*", "depth/*"),
        "give --poses estimate, in Python poses='estimate'; or add pose/*.txt, trajectory.log or groundtruth.txt",
    ),
)
_MESHES = {".ply", ".obj", ".glb", ".gltf", ".usdz", ".stl", ".las", ".laz", ".e57", ".pcd"}
_IMAGES = {".jpg", ".jpeg", ".png", ".pgm", ".ppm", ".webp", ".bmp", ".tif", ".tiff", ".npy", ".mp4", ".mov", ".mkv"}


def unreadable(folder: Path) -> DataError:
    """Return the error for a folder that is in no known format.

    Args:
        folder: The folder.

    Returns:
        One line: what the folder holds, the nearest format and what is missing for it, or which recording that is not
        read it looks like; and the list of formats.
    """
    files = _inventory(folder)
    formats = f"formats: {', '.join(LAYOUTS)}; docs/own_scans.md describes them"
    if not files:
        return DataError("holds no files", where=folder, remedy=formats)
    found = f"not a recording that can be read: it holds {_summary(files)}"
    for unread in _UNREAD:
        if all(_present(folder, pattern) for pattern in unread.patterns):
            return DataError(f"{found}; looks like {unread.name}", where=folder, remedy=f"{unread.remedy}; {formats}")
    suffixes = {Path(name).suffix.lower() for name in files}
    if suffixes & _MESHES and not suffixes & _IMAGES:
        return DataError(f"{found}; a mesh without images", where=folder, remedy=f"frames are needed; {formats}")
    name, missing = _nearest(folder)
    if name is None:
        return DataError(found, where=folder, remedy=formats)
    lacking = f"; nearest format: {name}, but there is no {' and no '.join(missing)}" if missing else ""
    return DataError(f"{found}{lacking}", where=folder, remedy=formats)


def _inventory(folder: Path) -> list[str]:
    """Return the names of files below a folder, relative to it, as far as is looked."""
    names: list[str] = []
    for place, folders, files in os.walk(folder):
        relative = Path(place).relative_to(folder)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if len(relative.parts) >= _DEPTH:
            folders.clear()
        names += [(relative / name).as_posix() for name in sorted(files) if not name.startswith(".")]
        if len(names) > _MOST_ENTRIES:
            break
    return names[:_MOST_ENTRIES]


def _summary(files: list[str]) -> str:
    """Return the kinds of files by folder, the most frequent first: depth/ 39 .png, odometry.csv."""
    kinds = Counter((str(Path(name).parent), Path(name).suffix.lower()) for name in files)
    shown = []
    for (place, suffix), count in sorted(kinds.items(), key=lambda item: (-item[1], item[0])):
        inside = "" if place == "." else f"{place}/ "
        if count > 1:
            shown.append(f"{inside}{count} {suffix or 'files without a suffix'}")
        else:
            shown.append(next(n for n in files if (str(Path(n).parent), Path(n).suffix.lower()) == (place, suffix)))
    return joined_names(shown, _SHOWN_LETTERS)


def _present(folder: Path, patterns: str) -> bool:
    return any(next(folder.glob(pattern), None) is not None for pattern in patterns.split("|"))


def _nearest(folder: Path) -> tuple[str | None, list[str]]:
    """Return the format of which the largest share of files is there, and what is missing; None if none has any."""
    best: tuple[float, str | None, list[str]] = (0.0, None, [])
    for name, layout in LAYOUTS.items():
        missing = [pattern.replace("|", " or ") for pattern in layout if not _present(folder, pattern)]
        share = 1 - len(missing) / len(layout)
        if missing and share > best[0]:
            best = share, name, missing
    return best[1], best[2]
