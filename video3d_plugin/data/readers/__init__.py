"""Readers: one module for each file format, and `load_scene`, which makes a Scene of any supported recording."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from video3d_plugin.arguments import check_count, check_path, check_text
from video3d_plugin.errors import DataError, MissingError

if TYPE_CHECKING:
    import numpy as np

    from video3d_plugin.data.camera_options import CameraOptions
    from video3d_plugin.data.readers.scannet_files import ScanFiles
    from video3d_plugin.scene import Scene


def load_scene(
    path: str | Path,
    scene_id: str | None = None,
    *,
    frame_step: int | None = None,
    intrinsics: Sequence[float] | None = None,
    depth_unit_m: float | None = None,
    color_intrinsics: Sequence[float] | None = None,
    color_from_depth: str | Path | Sequence[float] | np.ndarray | None = None,
    poses: str = "recorded",
    align: str | Path = "auto",
    proposals: str | None = None,
) -> Scene:
    """Load the scene at `path`. Images stay on disk until a frame is decoded.

    A recording without an axis alignment is levelled: for this, the depth of at most 60 of its frames is decoded.
    The depth of at most sixteen is decoded to check the geometry; `notes` of the scene say what seems wrong.

    Args:
        path: A .sens file or a folder with one, a folder of posed frames, a recording of a known data set, app or
            robot, a scan's folder scans/<id>, a root in ScanNet's layout, a data folder made by `video3d prepare`, or
            one of these folders in a .zip (unpacked to a temporary folder until this process ends). Also
            DATA/<scene id> of a data folder, and a scene id alone if the environment variable VIDEO3D_DATA names the
            data folder. docs/own_scans.md lists what is read of each format.
        scene_id: Which scan of a root; may be left out if there is only one.
        frame_step: Keep every n-th frame. By default all frames of a folder, at most 300 of a recording of another data
            set, and every tenth of a .sens (fewer are skipped in a short one).
        intrinsics: fx, fy, cx, cy in pixels of the depth image, instead of those of the recording.
        depth_unit_m: Metres per depth unit, instead of that of the recording.
        color_intrinsics: fx, fy, cx, cy in pixels of the colour image, where depth is of another camera: depth is
            brought into the colour camera when it is decoded. The points that it shows stay where they are.
        color_from_depth: 4x4 numbers, or a text file of them: the rigid transform from the depth camera to the colour
            camera, metres. By default the recording's, or none.
        poses: "recorded", or "estimate" for a recording of colour and depth images without poses
            (docs/own_scans.md). Every image is decoded; that takes about 0.1 s a frame.
        align: Where the world frame comes from. "auto": the scan's axis alignment; else the direction up that its
            folder (world_from_scan.txt, gravity.txt) or its format gives, else an estimate of it, with the direction of
            the walls and the height of the floor as the frames show them. "none": the scan's own frame. A path: a file
            of 4x4 numbers, world from scan in metres, or of three numbers, the direction down in the scan frame.
        proposals: Where predicted boxes come from: "gt" (the annotated boxes), NAME or NAME:ARGUMENT of a maker
            ("auto"), or the path of a JSON file of boxes. A maker decodes frames, which takes seconds. By default the
            boxes that the recording has; none where it has none.

    Returns:
        The scene. Its boxes, `instances` and `proposals`, are (6,) centre and size in the world frame (z up), metres.
        Its notes say how it was levelled.

    Raises:
        MissingError: There is no such file, folder or scan.
        DataError: The recording cannot be used, or does not allow this alignment. Both errors name the file and the
            remedy.

    >>> scene = load_scene(my_scan)  # a folder or a .zip
    >>> len(scene.frames) > 0, scene.frames[0].scan_from_camera.shape, scene.proposals.shape[1]
    (True, (4, 4), 6)
    """
    check_path("path", path)
    check_text("scene_id", scene_id, optional=True)
    check_count("frame_step", frame_step, optional=True)
    check_text("proposals", proposals, optional=True)
    check_path("align", align)
    from video3d_plugin.data.camera_options import CameraOptions
    from video3d_plugin.data.readers.alignment import check_align

    check_align(align)
    camera = CameraOptions.checked(intrinsics, depth_unit_m, color_intrinsics, color_from_depth, poses)
    if proposals is None:
        return _load(Path(path), scene_id, frame_step, camera, align)
    from video3d_plugin.data.proposals import check_source, replace_proposals

    check_source(proposals)
    return replace_proposals(_load(Path(path), scene_id, frame_step, camera, align), proposals)


def _load(path: Path, scene_id: str | None, frame_step: int | None, camera: CameraOptions, align: str | Path) -> Scene:
    path, scene_id = _in_data_folder(path, scene_id)
    is_file = _is_file(path)
    if is_file and path.suffix.lower() in (".zip", ".r3d"):
        from video3d_plugin.data.readers.zipped import unpacked_here

        path, is_file = unpacked_here(path), False
    if _is_data_folder(path):
        from video3d_plugin.data.camera_options import CameraOptions
        from video3d_plugin.data.folder import DataFolder
        from video3d_plugin.data.readers.alignment import AUTO

        if camera != CameraOptions():
            what, remedy = "is a prepared data folder, which has its cameras", "give the camera to `video3d prepare`"
            raise DataError(what, where=path, remedy=remedy)
        if str(align) != AUTO:
            what = "is a prepared data folder, whose scenes have their alignment"
            raise DataError(what, where=path, remedy="prepare it again with this --align")
        folder = DataFolder.open(path)
        return _keep_every(folder.scene(_resolve_scene_id(folder.scene_ids, scene_id, path)), frame_step or 1)
    from video3d_plugin.data.geometry_check import with_geometry_notes
    from video3d_plugin.data.levelling.scene import level_scene
    from video3d_plugin.data.readers.captures import is_recording_file
    from video3d_plugin.data.readers.scannet import read_scan
    from video3d_plugin.data.readers.scannet_files import ScanFiles

    if is_file and camera.estimates_poses:
        raise DataError("poses are estimated of folders only", where=path, remedy="extract its colour and depth images")
    if is_file:
        if not is_recording_file(path):
            what, remedy = "not a .sens, .zip, .r3d or bag", "give one of these, or a folder"
            raise DataError(what, where=path, remedy=remedy)
        is_sens = path.suffix.lower() == ".sens"
        files = ScanFiles(scene_id or path.stem, sens=path if is_sens else None, capture=None if is_sens else path)
    else:
        files = _unposed_files(path, scene_id) if camera.estimates_poses else _folder_files(path, scene_id)
    scan = read_scan(files, frame_step=frame_step, camera=camera, align=align)
    scene = level_scene(scan.scene, scan.alignment)
    return scene if files.is_of_dataset else with_geometry_notes(scene, is_level=not scan.alignment.fixed)


def _unposed_files(path: Path, scene_id: str | None) -> ScanFiles:
    """Return the files of a recording of colour and depth images whose poses are to be estimated."""
    from video3d_plugin.data.readers.diagnose import unreadable
    from video3d_plugin.data.readers.scannet_files import ScanFiles, ScanNetRoot
    from video3d_plugin.data.readers.unposed import FORMAT

    if FORMAT.matches(path):
        return ScanFiles(scene_id or path.resolve().name, capture=path)
    root = ScanNetRoot(path, without_poses=True)
    if not root.scene_ids:
        raise unreadable(path)
    return root.files(_resolve_scene_id(root.scene_ids, scene_id, path))


def _folder_files(path: Path, scene_id: str | None) -> ScanFiles:
    """Return the files of the scan in a folder that is not a data folder."""
    from video3d_plugin.data.readers.diagnose import unreadable
    from video3d_plugin.data.readers.posed_images import any_posed_frame
    from video3d_plugin.data.readers.scannet_files import ScanFiles, ScanNetRoot

    folder = path.resolve()
    if folder.parent.name in ("scans", "scans_test", "posed_images"):
        parent = ScanNetRoot(folder.parent.parent)
        if folder.name in parent.scene_ids:
            return parent.files(folder.name)
    root = ScanNetRoot(path)
    if root.scene_ids:
        return root.files(_resolve_scene_id(root.scene_ids, scene_id, path))
    if not any_posed_frame(path):
        raise unreadable(path)
    return ScanFiles(scene_id or folder.name, posed_images=path)


def _is_file(path: Path) -> bool:
    """Return True for a regular file and False for a folder; raise MissingError or DataError for anything else."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise MissingError("no such file or folder", where=path) from None
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be read: {getattr(error, 'strerror', None) or error}", where=path) from error
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise DataError("is neither a file nor a folder but a pipe, a socket or a device", where=path)
    return stat.S_ISREG(mode)


def _in_data_folder(path: Path, scene_id: str | None) -> tuple[Path, str | None]:
    """Return data folder and scene id if `path` is DATA/<scene id>, or an id of the folder that VIDEO3D_DATA names.

    Otherwise the arguments are returned. A path that exists is never taken for an id.
    """
    if scene_id is not None or os.path.exists(path):  # False, too, for what no file can be called
        return path, scene_id
    named = os.environ.get("VIDEO3D_DATA", "")
    folder = Path(named) if len(path.parts) == 1 and named else path.parent
    if (folder / "scenes" / f"{path.name}.json").is_file() and _is_data_folder(folder):
        return folder, path.name
    return path, None


def _is_data_folder(path: Path) -> bool:
    """Return whether a folder is one that `video3d prepare` made."""
    from video3d_plugin.data.records import HEAD

    return (path / HEAD).is_file()


def _keep_every(scene: Scene, step: int) -> Scene:
    if step == 1:
        return scene
    note = f"one frame in {step} is used, of {len(scene.frames)}"
    return replace(scene, frames=scene.frames[::step], notes=(*scene.notes, note))


def _resolve_scene_id(known: tuple[str, ...], scene_id: str | None, path: Path) -> str:
    """Return `scene_id`, or the only id there is."""
    if scene_id is not None:
        return scene_id
    if len(known) == 1:
        return known[0]
    if not known:
        raise MissingError("holds no scene", where=path)
    few = ", ".join(known[:5]) + (", ..." if len(known) > 5 else "")
    raise DataError(f"holds {len(known)} scenes: {few}", where=path, remedy="say which: scene_id, --scene-id")
