"""Assembles the Scene of one scan from its files; `scannet_files` finds them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from video3d_plugin.data.camera_options import CameraOptions
from video3d_plugin.data.levelling.alignment import UNKNOWN, Alignment, z_up
from video3d_plugin.data.levelling.scene import provisional_alignment
from video3d_plugin.data.readers import mask3d, mesh, ply, video3dllm_release
from video3d_plugin.data.readers.alignment import AUTO, asked_alignment, from_gravity, read_alignment
from video3d_plugin.data.readers.camera_files import with_camera
from video3d_plugin.data.readers.captures import read_capture
from video3d_plugin.data.readers.posed_images import read_posed_images
from video3d_plugin.data.readers.scannet_files import ScanFiles
from video3d_plugin.data.readers.sens import REFERENCE_STEP, read_sens
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files.text import parse_matrix, read_key_values
from video3d_plugin.geometry.camera_checks import check_points, is_rigid, world_pose_fault
from video3d_plugin.notes import Note
from video3d_plugin.scene import Frame, Instance, Omission, Scene

_LONGEST_NAME = 240  # bytes: with `.depth.png`, 255 at the most
_ALIGNMENT_TOLERANCE = 1e-3  # largest difference of two entries of alignments that count as the same

_AS_RECORDED = CameraOptions()
_Frames = tuple[tuple[Frame, ...], list[Omission], list[str], Alignment]


@dataclass(frozen=True)
class Scan:
    """A scene with the surface that its boxes were computed from.

    Attributes:
        scene: The scene. It is not levelled yet.
        surface: (M, 3) float32 mesh vertices, world frame, metres; None without a mesh.
        alignment: What is known of its world frame; `levelling.scene.level_scene` applies it.
    """

    scene: Scene
    surface: np.ndarray | None
    alignment: Alignment


def read_scan(
    files: ScanFiles,
    *,
    frame_step: int | None = None,
    max_proposals: int = mask3d.REFERENCE_LIMIT,
    camera: CameraOptions = _AS_RECORDED,
    align: str | Path = AUTO,
) -> Scan:
    """Read everything that a scan's files hold. No image is decoded.

    Args:
        files: The files. Parts that are missing are noted in the scene.
        frame_step: Keep every n-th frame; the default depends on the format (see `load_scene`).
        max_proposals: Proposals to keep, best first.
        camera: What the user says of the camera.
        align: "auto", "none" or a file; see `load_scene`.

    Raises:
        MissingError: The scan has no frames.
        DataError: A file is broken, no frame can be used, or the scan's boxes do not allow another alignment.
    """
    frames, omissions, notes, alignment = _read_frames(files, frame_step, camera, align)
    world_from_scan = provisional_alignment(frames) if alignment.matrix is None else alignment.matrix
    frames = _keep_usable(frames, world_from_scan, omissions)
    if not frames:
        reasons = f": {omissions[0].what}: {omissions[0].reason}" if omissions else ""
        where = files.posed_images or files.sens or files.capture
        raise DataError(f"no usable frame{reasons}", where=where, remedy="export the scan again")
    surface, instances, instance_omissions, instance_notes = _read_annotated(files, world_from_scan)
    proposals, proposal_omissions, proposal_notes = _read_proposals(files, surface, max_proposals)
    scene = Scene(
        files.scene_id,
        frames,
        world_from_scan,
        instances=instances,
        proposals=proposals,
        omissions=(*omissions, *instance_omissions, *proposal_omissions),
        notes=(*notes, *instance_notes, *proposal_notes),
    )
    return Scan(scene, surface, alignment)


def _read_frames(files: ScanFiles, frame_step: int | None, camera: CameraOptions, align: str | Path) -> _Frames:
    """Return frames, omissions, notes and what is known of the world frame."""
    notes: list[str] = []
    alignment = _read_alignment(files, align, notes)
    if files.capture is not None:
        frames, omissions, frame_notes, known = read_capture(files.capture, frame_step, camera)
        alignment = known if alignment is UNKNOWN else alignment
    elif files.posed_images is not None:
        names = files.info.frame_names if files.info else None
        intrinsics = files.info.depth_intrinsics if files.info else None
        frames, omissions, frame_notes = read_posed_images(files.posed_images, names, intrinsics, frame_step, camera)
    elif files.sens is not None:
        # EmbodiedScan lists every tenth frame that has a pose
        step = frame_step or (REFERENCE_STEP if files.info else None)
        frames, omissions, frame_notes = read_sens(files.sens, step)
        frames = with_camera(frames, None, camera, frame_notes)
        if files.info and frame_step is None:
            listed_names = set(files.info.frame_names)
            unlisted = sum(frame.name not in listed_names for frame in frames)
            frames = tuple(frame for frame in frames if frame.name in listed_names)
            if unlisted:
                frame_notes.append(f"{unlisted} frames with a pose are not in the EmbodiedScan list, and are not used")
    else:
        raise MissingError(f"scan {files.scene_id} has neither posed images nor a .sens file")
    if alignment.fixed and str(align) != AUTO:
        notes.append(f"the world frame is given by {alignment.source}")
    return frames, omissions, [*notes, *frame_notes], alignment


def _keep_usable(
    frames: tuple[Frame, ...], world_from_scan: np.ndarray, omissions: list[Omission]
) -> tuple[Frame, ...]:
    """Return the frames whose aligned camera is near enough to the origin and whose name a copied file can have.

    The others are added to `omissions`.
    """
    faults = [
        "its name is too long"
        if len(frame.name.encode()) > _LONGEST_NAME
        else world_pose_fault(world_from_scan @ frame.scan_from_camera)
        for frame in frames
    ]
    omissions += [Omission(f"frame {f.name}", fault) for f, fault in zip(frames, faults, strict=True) if fault]
    return tuple(frame for frame, fault in zip(frames, faults, strict=True) if fault is None)


def _read_annotated(
    files: ScanFiles, world_from_scan: np.ndarray
) -> tuple[np.ndarray | None, tuple[Instance, ...], list[Omission], list[str]]:
    """Return surface (M, 3), annotated objects, omissions and notes: from the mesh, else from the released files."""
    if files.mesh is not None:
        surface = check_points(mesh.align(ply.read_vertices(files.mesh), world_from_scan), files.mesh, "the mesh")
        if files.segments and files.aggregation:
            return surface, *mesh.read_instances(files.segments, files.aggregation, surface), []
        return surface, (), [], [_annotations("no segments and aggregation: no annotated boxes")]
    if files.aligned is not None:
        scan = video3dllm_release.read_aligned_scan(files.aligned)
        notes: list[str] = [] if scan.instances is not None else [_annotations("no annotated boxes")]
        return scan.points, scan.instances or (), [], notes
    if files.gt_boxes is not None:
        instances = video3dllm_release.instances_of(files.gt_boxes)
        return None, instances, [], [_annotations("no mesh: annotated boxes are of the metadata files")]
    return None, (), [], [_annotations("no mesh: no annotated boxes")]


def _annotations(text: str) -> Note:
    return Note(text, "annotations")


def _read_proposals(
    files: ScanFiles, surface: np.ndarray | None, limit: int
) -> tuple[np.ndarray, list[Omission], list[str]]:
    """Return proposals (N, 6) float32, omissions and notes: from the masks, else from the released files."""
    if files.mask is not None and surface is not None:
        boxes, omissions = mask3d.read_proposals(files.mask, surface, limit)
        return boxes.astype(np.float32), omissions, []
    if files.pred_boxes is not None:
        note = Note("proposals are of the metadata files", "proposals")
        return files.pred_boxes[:limit].astype(np.float32), [], [note]
    why = "no mask file" if files.mask is None else "masks but no mesh"
    note = Note(f"{why}: no predicted proposals (--proposals auto makes some)", "proposals")
    return np.zeros((0, 6), np.float32), [], [note]


def _read_alignment(files: ScanFiles, align: str | Path, notes: list[str]) -> Alignment:
    """Return what is known of the world frame.

    In this order: what `align` asks for, the EmbodiedScan list, the meta file, a file in the folder of frames. A scan
    with a mesh or boxes is never levelled, since others' annotations of it are in its own frame.
    """
    fixed_parts = [name for name in ("aligned", "gt_boxes", "pred_boxes", "cells") if getattr(files, name) is not None]
    asked = asked_alignment(align)
    if asked is not None:
        if fixed_parts:
            what = f"scan {files.scene_id} has boxes or a surface in its own world frame ({fixed_parts[0]})"
            raise DataError(f"{what}, which allows no other alignment", remedy="leave out --align")
        return _whole(asked) if files.mesh is not None else asked
    matrix = _axis_alignment(files, notes)
    if matrix is not None:
        return Alignment(matrix=matrix, source="the scan's axis alignment", fixed=True)
    folder = files.posed_images or files.capture
    given = None if folder is None else read_alignment(folder if folder.is_dir() else folder.parent)
    if files.mesh is not None or files.mask is not None or files.info is not None or fixed_parts:
        if given is not None:
            return _whole(given)
        notes.append(Note("no axis alignment is given: the world frame is the scan's own", "assumption"))
        return Alignment(matrix=np.eye(4), fixed=True)
    if given is not None:
        return given
    sens = files.sens is not None and files.posed_images is None
    return z_up("ScanNet") if sens else UNKNOWN


def _whole(alignment: Alignment) -> Alignment:
    """Return an alignment that is applied as it is, to the mesh too: without levelling, and without turning images."""
    matrix = alignment.matrix
    if matrix is None:
        assert alignment.up is not None
        matrix = from_gravity(-alignment.up)
    return Alignment(matrix=matrix, source=alignment.source, fixed=True)


def _axis_alignment(files: ScanFiles, notes: list[str]) -> np.ndarray | None:
    """Return the axis alignment (4, 4) of the EmbodiedScan list, else of the meta file, else None."""
    from_meta = None
    if files.meta is not None and "axisAlignment" in (values := read_key_values(files.meta)):
        from_meta = parse_matrix(values["axisAlignment"], where=files.meta, remedy="axisAlignment has 16 numbers")
        if not is_rigid(from_meta):
            raise DataError("axisAlignment is not a rotation and a translation", where=files.meta)
    from_list = files.info.world_from_scan if files.info else None
    if from_list is not None and from_meta is not None and np.abs(from_list - from_meta).max() > _ALIGNMENT_TOLERANCE:
        notes.append("EmbodiedScan's axis alignment differs from the meta file's; EmbodiedScan's is used")
    return from_meta if from_list is None else from_list
