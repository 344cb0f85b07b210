"""Assembles the Scene of one scan from its files; `scannet_files` finds them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from video3d_plugin.data.readers import mask3d, mesh, ply, video3dllm_release
from video3d_plugin.data.readers.alignment import read_alignment
from video3d_plugin.data.readers.camera_files import CameraOptions, with_camera
from video3d_plugin.data.readers.captures import read_capture
from video3d_plugin.data.readers.posed_images import read_posed_images
from video3d_plugin.data.readers.scannet_files import ScanFiles
from video3d_plugin.data.readers.sens import REFERENCE_STEP, read_sens
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files.text import parse_matrix, read_key_values
from video3d_plugin.geometry.camera_checks import check_points, is_rigid, world_pose_fault
from video3d_plugin.scene import Frame, Instance, Omission, Scene

_LONGEST_NAME = 240  # bytes: with `.depth.png`, 255 at the most
_ALIGNMENT_TOLERANCE = 1e-3  # largest difference of two entries of alignments that count as the same

_AS_RECORDED = CameraOptions()
_Frames = tuple[tuple[Frame, ...], list[Omission], list[str], np.ndarray]


@dataclass(frozen=True)
class Scan:
    """A scene with the surface that its boxes were computed from.

    Attributes:
        scene: The scene.
        surface: (M, 3) float32 mesh vertices, world frame, metres; None without a mesh.
    """

    scene: Scene
    surface: np.ndarray | None


def read_scan(
    files: ScanFiles,
    *,
    frame_step: int | None = None,
    max_proposals: int = mask3d.REFERENCE_LIMIT,
    camera: CameraOptions = _AS_RECORDED,
) -> Scan:
    """Read everything that a scan's files hold.

    Args:
        files: The files. Parts that are missing are noted in the scene.
        frame_step: Keep every n-th frame; the default depends on the format (see `load_scene`).
        max_proposals: Proposals to keep, best first.
        camera: What the user says of the camera.

    Raises:
        MissingError: The scan has no frames.
        DataError: A file is broken, or no frame can be used.
    """
    frames, omissions, notes, world_from_scan = _read_frames(files, frame_step, camera)
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
    return Scan(scene, surface)


def _read_frames(files: ScanFiles, frame_step: int | None, camera: CameraOptions) -> _Frames:
    """Return frames, omissions, notes and the alignment (4, 4), world from scan."""
    notes: list[str] = []
    given = _read_world_from_scan(files, notes)
    world_from_scan = np.eye(4) if given is None else given
    if files.capture is not None:
        frames, omissions, frame_notes, world_from_scan = read_capture(files.capture, frame_step, camera, given)
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
            names = set(files.info.frame_names)
            unlisted = sum(frame.name not in names for frame in frames)
            frames = tuple(frame for frame in frames if frame.name in names)
            if unlisted:
                frame_notes.append(f"{unlisted} frames with a pose are not in the EmbodiedScan list, and are not used")
    else:
        raise MissingError(f"scan {files.scene_id} has neither posed images nor a .sens file")
    return frames, omissions, [*notes, *frame_notes], world_from_scan


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
        return surface, (), [], ["no segments and aggregation: no annotated boxes"]
    if files.aligned is not None:
        scan = video3dllm_release.read_aligned_scan(files.aligned)
        return scan.points, scan.instances or (), [], [] if scan.instances is not None else ["no annotated boxes"]
    if files.gt_boxes is not None:
        instances = video3dllm_release.instances_of(files.gt_boxes)
        return None, instances, [], ["no mesh: annotated boxes are of the metadata files"]
    return None, (), [], ["no mesh: no annotated boxes"]


def _read_proposals(
    files: ScanFiles, surface: np.ndarray | None, limit: int
) -> tuple[np.ndarray, list[Omission], list[str]]:
    """Return proposals (N, 6) float32, omissions and notes: from the masks, else from the released files."""
    if files.mask is not None and surface is not None:
        boxes, omissions = mask3d.read_proposals(files.mask, surface, limit)
        return boxes.astype(np.float32), omissions, []
    if files.pred_boxes is not None:
        return files.pred_boxes[:limit].astype(np.float32), [], ["proposals are of the metadata files"]
    why = "no mask file" if files.mask is None else "masks but no mesh"
    return np.zeros((0, 6), np.float32), [], [f"{why}: no predicted proposals (--proposals auto makes some)"]


def _read_world_from_scan(files: ScanFiles, notes: list[str]) -> np.ndarray | None:
    """Return the alignment (4, 4): from the EmbodiedScan list, else the meta file, else the identity with a note.

    None for a recording of another format without either: `read_capture` finds its alignment itself.
    """
    from_meta = None
    if files.meta is not None and "axisAlignment" in (values := read_key_values(files.meta)):
        from_meta = parse_matrix(values["axisAlignment"], where=files.meta, remedy="axisAlignment has 16 numbers")
        if not is_rigid(from_meta):
            raise DataError("axisAlignment is not a rotation and a translation", where=files.meta)
    from_list = files.info.world_from_scan if files.info else None
    if from_list is not None:
        if from_meta is not None and np.abs(from_list - from_meta).max() > _ALIGNMENT_TOLERANCE:
            notes.append("EmbodiedScan's axis alignment differs from the meta file's; EmbodiedScan's is used")
        return from_list
    if from_meta is not None:
        return from_meta
    if files.capture is not None:
        return None
    if files.posed_images is not None and (alignment := read_alignment(files.posed_images)) is not None:
        return alignment
    notes.append("no axis alignment is given: the world frame is the scan's own")
    return np.eye(4)
