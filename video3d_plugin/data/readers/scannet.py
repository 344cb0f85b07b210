"""A root folder in ScanNet's layout: finds every scan's files and assembles Scenes from what there is.

    scans/<id>/ or scans_test/<id>/    <id>.sens, <id>_vh_clean_2.ply, ...segs.json, <id>.aggregation.json, <id>.txt
    posed_images/<id>/                 frames as exported by others; taken in preference to the .sens
    mask/<id>.mask.npz                 LEO's Mask3D masks
    embodiedscan/*.pkl                 EmbodiedScan infos: which frames, alignment
    metadata/, pcd_with_object_aabbs/  boxes and aligned vertices as Video-3D LLM releases them, where there is no mesh;
                                       its max-coverage choice of frames

Each of them may also lie under `scannet/`, as in the data tree of Video-3D LLM.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from video3d_plugin.data.readers import masks, mesh, ply, released
from video3d_plugin.data.readers.captures import detect, find_captures, given_alignment, read_capture
from video3d_plugin.data.readers.infos import SceneInfo, read_infos
from video3d_plugin.data.readers.posed_images import read_posed_images
from video3d_plugin.data.readers.sens import REFERENCE_STEP, read_sens
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files.text import parse_matrix, read_key_values
from video3d_plugin.geometry.camera_checks import check_points, is_rigid, world_pose_fault
from video3d_plugin.scene import Frame, Instance, Omission, Scene

_LONGEST_NAME = 240  # bytes: with `.depth.png`, 255 at the most
_SAFE_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
# what is read for all scans at once
_SHARED = (
    "embodiedscan/embodiedscan_infos_*.pkl",
    "metadata/scannet_*_box.json",
    "metadata/pcd_discrete_0.1.pkl",
    "metadata/scannet_select_frames.json",
)
_SEGMENTS = "_vh_clean_2.0.010000.segs.json"


@dataclass(frozen=True)
class ScanFiles:
    """Where the parts of one scan lie; None for those that are not there."""

    scene_id: str
    posed_images: Path | None = None
    sens: Path | None = None
    mesh: Path | None = None
    segments: Path | None = None
    aggregation: Path | None = None
    meta: Path | None = None
    mask: Path | None = None
    aligned: Path | None = None
    capture: Path | None = None
    info: SceneInfo | None = field(default=None, compare=False)
    gt_boxes: np.ndarray | None = field(default=None, compare=False)
    pred_boxes: np.ndarray | None = field(default=None, compare=False)
    cells: np.ndarray | None = field(default=None, compare=False)
    selected: released.NamedSelection | None = field(default=None, compare=False)

    @property
    def paths(self) -> dict[str, Path]:
        """The parts that are there, by name."""
        names = ("posed_images", "sens", "mesh", "segments", "aggregation", "meta", "mask", "aligned", "capture")
        return {name: path for name in names if (path := getattr(self, name)) is not None}


@dataclass(frozen=True)
class ScanNetRoot:
    """A root folder. Nothing is read before it is asked for."""

    root: Path

    def folders(self, *names: str) -> list[Path]:
        """Existing folders of these names, directly below the root or below its `scannet`."""
        candidates = [base / name for name in names for base in (self.root, self.root / "scannet")]
        return [path for path in candidates if path.is_dir()]

    @cached_property
    def infos(self) -> dict[str, SceneInfo]:
        """All EmbodiedScan infos under the root."""
        infos: dict[str, SceneInfo] = {}
        for folder in self.folders("embodiedscan"):
            for path in sorted(folder.glob("embodiedscan_infos_*.pkl")):
                infos.update(read_infos(path)[0])
        return infos

    @cached_property
    def gt_boxes(self) -> dict[str, np.ndarray]:
        """Boxes of annotated objects from released metadata files."""
        return released.read_box_files(self.folders("metadata"), "gt")

    @cached_property
    def pred_boxes(self) -> dict[str, np.ndarray]:
        """Proposals from released metadata files."""
        return released.read_box_files(self.folders("metadata"), "pred")

    @cached_property
    def cells(self) -> dict[str, np.ndarray]:
        """Surface voxels of 0.1 m from the released voxel file. It is large: asked for only where no mesh is there."""
        paths = [path for folder in self.folders("metadata") if (path := folder / "pcd_discrete_0.1.pkl").is_file()]
        return released.read_voxel_file(paths[0]) if paths else {}

    @cached_property
    def selected(self) -> dict[str, released.NamedSelection]:
        """The released max-coverage choices of frames."""
        paths = [folder / "scannet_select_frames.json" for folder in self.folders("metadata")]
        path = next((path for path in paths if path.is_file()), None)
        return released.read_selected_frames(path) if path else {}

    @property
    def shared_files(self) -> list[Path]:
        """The files that are read for all scans at once."""
        bases = (self.root, self.root / "scannet")
        return [path for base in bases for pattern in _SHARED for path in sorted(base.glob(pattern))]

    @cached_property
    def captures(self) -> dict[str, Path]:
        """Recordings of other kinds, where the root has none of ScanNet's folders."""
        return {} if self.folders("posed_images", "scans", "scans_test") else find_captures(self.root)

    @cached_property
    def scene_ids(self) -> tuple[str, ...]:
        """Scans that have frames (a folder of posed images, or a .sens) and a name that a file can have, sorted."""
        if self.captures:
            return tuple(sorted(self.captures))
        return tuple(sorted(name for name in self._with_frames if _SAFE_ID.fullmatch(name)))

    @cached_property
    def misnamed_scans(self) -> tuple[str, ...]:
        """Scans that have frames and another name: reported, not used. Hidden folders are none."""
        return tuple(sorted(n for n in self._with_frames if not _SAFE_ID.fullmatch(n) and not n.startswith(".")))

    @cached_property
    def _with_frames(self) -> set[str]:
        ids = {path.name for folder in self.folders("posed_images") for path in folder.iterdir() if path.is_dir()}
        for folder in self.folders("scans", "scans_test"):
            ids |= {path.name for path in folder.iterdir() if (path / f"{path.name}.sens").is_file()}
        return ids

    @cached_property
    def scans_without_frames(self) -> tuple[str, ...]:
        """Scan folders with neither a .sens nor posed images: reported, not used."""
        ids = {p.name for folder in self.folders("scans", "scans_test") for p in folder.iterdir() if p.is_dir()}
        return tuple(sorted(ids - self._with_frames))

    def files(self, scene_id: str) -> ScanFiles:
        """The files of a scan; MissingError for one without frames."""
        if scene_id not in self.scene_ids:
            raise MissingError(f"no scan {scene_id!r} with frames", where=self.root, remedy=_known(self.scene_ids))
        if scene_id in self.captures:
            folder = self.captures[scene_id]
            return ScanFiles(scene_id, capture=folder) if detect(folder) else ScanFiles(scene_id, posed_images=folder)
        scans = [folder / scene_id for folder in self.folders("scans", "scans_test")]
        posed = [folder for folder in self.folders("posed_images")]

        def first(paths: list[Path], test: Callable[[Path], bool] = Path.is_file) -> Path | None:
            return next((path for path in paths if test(path)), None)

        beside_posed = [folder / f"{scene_id}.txt" for folder in posed]
        found = ScanFiles(
            scene_id=scene_id,
            posed_images=first([folder / scene_id for folder in posed], Path.is_dir),
            sens=first([scan / f"{scene_id}.sens" for scan in scans]),
            mesh=first([scan / f"{scene_id}_vh_clean_2.ply" for scan in scans]),
            segments=first([scan / f"{scene_id}{_SEGMENTS}" for scan in scans]),
            aggregation=first([scan / f"{scene_id}.aggregation.json" for scan in scans]),
            meta=first([scan / f"{scene_id}.txt" for scan in scans] + beside_posed),
            mask=first([folder / f"{scene_id}.mask.npz" for folder in self.folders("mask")]),
            aligned=first(
                [
                    path / f"{scene_id}.pth"
                    for folder in self.folders("pcd_with_object_aabbs")
                    for path in _splits(folder)
                ]
            ),
            info=self.infos.get(scene_id),
            gt_boxes=self.gt_boxes.get(scene_id),
            pred_boxes=self.pred_boxes.get(scene_id),
            selected=self.selected.get(scene_id),
        )
        has_surface = found.mesh is not None or found.aligned is not None
        return found if has_surface else replace(found, cells=self.cells.get(scene_id))


@dataclass(frozen=True)
class Scan:
    """A Scene and the aligned mesh vertices (M, 3) float32, world frame, metres (None without a mesh)."""

    scene: Scene
    surface: np.ndarray | None


def read_scan(files: ScanFiles, *, frame_step: int | None = None, max_proposals: int = masks.REFERENCE_LIMIT) -> Scan:
    """Everything the files say of a scan. Parts that are missing are noted, broken ones raise DataError."""
    notes: list[str] = []
    world_from_scan = _alignment(files, notes)
    if files.capture is not None:
        frames, omissions, more, world_from_scan = read_capture(files.capture, frame_step)
    elif files.posed_images is not None:
        names = files.info.frame_names if files.info else None
        intrinsics = files.info.depth_intrinsics if files.info else None
        frames, omissions, more = read_posed_images(files.posed_images, names, intrinsics, frame_step)
    elif files.sens is not None:
        # EmbodiedScan lists every tenth frame that has a pose
        step = frame_step or (REFERENCE_STEP if files.info else None)
        frames, omissions, more = read_sens(files.sens, step)
        if files.info and frame_step is None:
            listed = set(files.info.frame_names)
            unlisted = sum(frame.name not in listed for frame in frames)
            frames = tuple(frame for frame in frames if frame.name in listed)
            if unlisted:
                more.append(f"{unlisted} frames with a pose are not in the EmbodiedScan list, and are not used")
    else:
        raise MissingError(f"scan {files.scene_id} has neither posed images nor a .sens file")
    notes += more
    frames = _usable(frames, world_from_scan, omissions)
    if not frames:
        reasons = f": {omissions[0].what}: {omissions[0].reason}" if omissions else ""
        where = files.posed_images or files.sens or files.capture
        raise DataError(f"no usable frame{reasons}", where=where, remedy="export the scan again")
    scene = Scene(files.scene_id, frames, world_from_scan, omissions=tuple(omissions), notes=tuple(notes))
    surface, instances, lost, note = _annotated(files, world_from_scan)
    proposals, more_lost, more_note = _proposals(files, surface, max_proposals)
    scene = replace(
        scene,
        instances=instances,
        proposals=proposals,
        omissions=(*scene.omissions, *lost, *more_lost),
        notes=(*scene.notes, *note, *more_note),
    )
    return Scan(scene, surface)


def _usable(frames: tuple[Frame, ...], world_from_scan: np.ndarray, omissions: list[Omission]) -> tuple[Frame, ...]:
    """The frames whose aligned camera is not too far from the origin and whose name can be that of a copied file; the
    others become omissions."""
    faults = [
        "its name is too long"
        if len(frame.name.encode()) > _LONGEST_NAME
        else world_pose_fault(world_from_scan @ frame.scan_from_camera)
        for frame in frames
    ]
    omissions += [Omission(f"frame {f.name}", fault) for f, fault in zip(frames, faults, strict=True) if fault]
    return tuple(frame for frame, fault in zip(frames, faults, strict=True) if fault is None)


def _annotated(
    files: ScanFiles, world_from_scan: np.ndarray
) -> tuple[np.ndarray | None, tuple[Instance, ...], list[Omission], list[str]]:
    """(aligned vertices, annotated objects, omissions, notes): of the mesh, else of the released files."""
    if files.mesh is not None:
        surface = check_points(mesh.align(ply.read_vertices(files.mesh), world_from_scan), files.mesh, "the mesh")
        if files.segments and files.aggregation:
            return surface, *mesh.read_instances(files.segments, files.aggregation, surface), []
        return surface, (), [], ["no segments and aggregation: no annotated boxes"]
    if files.aligned is not None:
        scan = released.read_aligned_scan(files.aligned)
        return scan.points, scan.instances or (), [], [] if scan.instances is not None else ["no annotated boxes"]
    if files.gt_boxes is not None:
        return None, released.instances_of(files.gt_boxes), [], ["no mesh: annotated boxes are of the metadata files"]
    return None, (), [], ["no mesh: no annotated boxes"]


def _proposals(
    files: ScanFiles, surface: np.ndarray | None, limit: int
) -> tuple[np.ndarray, list[Omission], list[str]]:
    """(proposals (N, 6) float32, omissions, notes): of the masks, else of the released files."""
    if files.mask is not None and surface is not None:
        boxes, lost = masks.read_proposals(files.mask, surface, limit)
        return boxes.astype(np.float32), lost, []
    if files.pred_boxes is not None:
        return files.pred_boxes[:limit].astype(np.float32), [], ["proposals are of the metadata files"]
    why = "no mask file" if files.mask is None else "masks but no mesh"
    return np.zeros((0, 6), np.float32), [], [f"{why}: no predicted proposals (--proposals auto makes some)"]


def _splits(folder: Path) -> list[Path]:
    return [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]


def _alignment(files: ScanFiles, notes: list[str]) -> np.ndarray:
    """World from scan: of the EmbodiedScan list, else of the meta file, else the identity with a note."""
    stated = None
    if files.meta is not None and "axisAlignment" in (values := read_key_values(files.meta)):
        stated = parse_matrix(values["axisAlignment"], where=files.meta, remedy="axisAlignment has 16 numbers")
        if not is_rigid(stated):
            raise DataError("axisAlignment is not a rotation and a translation", where=files.meta)
    listed = files.info.world_from_scan if files.info else None
    if listed is not None and stated is not None and np.abs(listed - stated).max() > 1e-3:
        notes.append("EmbodiedScan's axis alignment differs from the meta file's; EmbodiedScan's is used")
    if listed is None and stated is None:
        if files.capture is not None:
            return np.eye(4)  # the capture's reader says what is known of its frame
        if files.posed_images is not None and (given := given_alignment(files.posed_images)) is not None:
            return given
        notes.append("no axis alignment is given: the world frame is the scan's own")
        return np.eye(4)
    return listed if listed is not None else stated  # type: ignore[return-value]


def _known(names: tuple[str, ...]) -> str:
    return f"there are {len(names)}: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
