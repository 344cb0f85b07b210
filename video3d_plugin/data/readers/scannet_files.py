"""A root folder in ScanNet's layout: where the files of each scan lie.

    scans/<id>/ or scans_test/<id>/    <id>.sens, <id>_vh_clean_2.ply, ...segs.json, <id>.aggregation.json, <id>.txt;
                                       or the folders that SensReader exports (see `split_folders`) without a .sens
    posed_images/<id>/                 frames as exported by others; used in preference to the .sens
    mask/<id>.mask.npz                 LEO's Mask3D masks
    embodiedscan/*.pkl                 EmbodiedScan infos: which frames count, alignment
    metadata/, pcd_with_object_aabbs/  boxes and aligned vertices as Video-3D LLM releases them, for scans without a
                                       mesh; its max-coverage selection of frames

Each of them may also lie under `scannet/`, as in the data tree of Video-3D LLM. A root without frames in this layout
may hold recordings of other formats (see `captures`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from video3d_plugin.data.readers import split_folders, video3dllm_release
from video3d_plugin.data.readers.captures import detect, find_captures, sens_files
from video3d_plugin.data.readers.embodiedscan import SceneInfo, read_infos
from video3d_plugin.errors import MissingError

_SCENE_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
# files that hold something of every scan
_SHARED = (
    "embodiedscan/embodiedscan_infos_*.pkl",
    "metadata/scannet_*_box.json",
    "metadata/pcd_discrete_0.1.pkl",
    "metadata/scannet_select_frames.json",
)
_SEGMENTS = "_vh_clean_2.0.010000.segs.json"


@dataclass(frozen=True)
class ScanFiles:
    """Where the parts of one scan lie, and what files of many scans hold of it; None for what is not there.

    Attributes:
        scene_id: Id of the scan.
        posed_images: Folder of posed images.
        sens: The .sens file.
        mesh: Mesh in the scan frame (<id>_vh_clean_2.ply).
        segments: Over-segmentation of the mesh (...segs.json).
        aggregation: Annotated objects as lists of segments (<id>.aggregation.json).
        meta: Text file with the axis alignment (<id>.txt).
        mask: LEO's Mask3D masks (<id>.mask.npz).
        aligned: Aligned vertices and boxes as Video-3D LLM releases them (<id>.pth).
        capture: Folder of a recording of another format.
        info: What EmbodiedScan's list says of the scan.
        gt_boxes: (N, 6) annotated boxes of the released metadata, world frame, metres.
        pred_boxes: (N, 6) proposals of the released metadata, world frame, metres.
        cells: (K, 3) int32 surface voxels of 0.1 m of the released voxel file, world frame.
        selected: The released max-coverage selection.
    """

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
    selected: video3dllm_release.NamedSelection | None = field(default=None, compare=False)

    @property
    def is_bare(self) -> bool:
        """Whether there is nothing but frames: no alignment, mesh or boxes from elsewhere."""
        others = (self.mesh, self.meta, self.mask, self.aligned, self.info, self.gt_boxes, self.pred_boxes, self.cells)
        return all(part is None for part in others)

    @property
    def is_of_dataset(self) -> bool:
        """Whether a data set's own list or meta file belongs to the scan, so that its geometry needs no check."""
        return self.info is not None or self.meta is not None

    @property
    def paths(self) -> dict[str, Path]:
        """The files and folders that exist, by field name."""
        names = ("posed_images", "sens", "mesh", "segments", "aggregation", "meta", "mask", "aligned", "capture")
        return {name: path for name in names if (path := getattr(self, name)) is not None}


@dataclass(frozen=True)
class ScanNetRoot:
    """A root folder. Each property is read when it is first used.

    Attributes:
        root: The folder.
        without_poses: Whether the poses are to be estimated: then the scans are the folders of colour and depth images
            in it, and nothing else of the layout belongs to them.
    """

    root: Path
    without_poses: bool = False

    def folders(self, *names: str) -> list[Path]:
        """Return the existing folders of these names, directly below the root or below its `scannet`."""
        if self.without_poses:
            return []
        candidates = [base / name for name in names for base in (self.root, self.root / "scannet")]
        return [path for path in candidates if path.is_dir()]

    @cached_property
    def infos(self) -> dict[str, SceneInfo]:
        """Scene id to its entry in the EmbodiedScan infos files."""
        infos: dict[str, SceneInfo] = {}
        for folder in self.folders("embodiedscan"):
            for path in sorted(folder.glob("embodiedscan_infos_*.pkl")):
                infos.update(read_infos(path)[0])
        return infos

    @cached_property
    def gt_boxes(self) -> dict[str, np.ndarray]:
        """Scene id to (N, 6) annotated boxes of the released metadata files."""
        return video3dllm_release.read_box_files(self.folders("metadata"), "gt")

    @cached_property
    def pred_boxes(self) -> dict[str, np.ndarray]:
        """Scene id to (N, 6) proposals of the released metadata files."""
        return video3dllm_release.read_box_files(self.folders("metadata"), "pred")

    @cached_property
    def cells(self) -> dict[str, np.ndarray]:
        """Scene id to (K, 3) surface voxels of the released voxel file. Large: only read for scans without a mesh."""
        paths = [path for folder in self.folders("metadata") if (path := folder / "pcd_discrete_0.1.pkl").is_file()]
        return video3dllm_release.read_voxel_file(paths[0]) if paths else {}

    @cached_property
    def selected(self) -> dict[str, video3dllm_release.NamedSelection]:
        """Scene id to the released max-coverage selection of frames."""
        paths = [folder / "scannet_select_frames.json" for folder in self.folders("metadata")]
        path = next((path for path in paths if path.is_file()), None)
        return video3dllm_release.read_selected_frames(path) if path else {}

    @property
    def shared_files(self) -> list[Path]:
        """The files that hold something of every scan."""
        bases = (self.root, self.root / "scannet")
        return [path for base in bases for pattern in _SHARED for path in sorted(base.glob(pattern))]

    @cached_property
    def captures(self) -> dict[str, Path]:
        """Scene id to folder of the recordings of other formats; empty where the root has ScanNet's folders."""
        if self.folders("posed_images", "scans", "scans_test"):
            return {}
        return find_captures(self.root, self.without_poses)

    @cached_property
    def scene_ids(self) -> tuple[str, ...]:
        """Sorted ids of the scans that have frames (posed images or a .sens) and a valid name."""
        if self.captures:
            return tuple(sorted(self.captures))
        return tuple(sorted(name for name in self._with_frames if _SCENE_ID.fullmatch(name)))

    @cached_property
    def misnamed_scans(self) -> tuple[str, ...]:
        """Scans that have frames but no valid name. Hidden folders do not count."""
        return tuple(sorted(n for n in self._with_frames if not _SCENE_ID.fullmatch(n) and not n.startswith(".")))

    @cached_property
    def _with_frames(self) -> set[str]:
        ids = {path.name for folder in self.folders("posed_images") for path in folder.iterdir() if path.is_dir()}
        for folder in self.folders("scans", "scans_test"):
            scans = (path for path in folder.iterdir() if path.is_dir())
            ids |= {scan.name for scan in scans if _sens_of(scan) or split_folders.FORMAT.matches(scan)}
        return ids

    @cached_property
    def scans_without_frames(self) -> tuple[str, ...]:
        """Scan folders with neither a .sens nor posed images."""
        ids = {p.name for folder in self.folders("scans", "scans_test") for p in folder.iterdir() if p.is_dir()}
        return tuple(sorted(ids - self._with_frames))

    def files(self, scene_id: str) -> ScanFiles:
        """Return the files of a scan.

        Raises:
            MissingError: The root has no such scan with frames.
        """
        if scene_id not in self.scene_ids:
            raise MissingError(f"no scan {scene_id!r} with frames", where=self.root, remedy=_known(self.scene_ids))
        if scene_id in self.captures:
            path = self.captures[scene_id]
            if path.suffix.lower() == ".sens" and path.is_file():
                return _with_annotations(ScanFiles(scene_id, sens=path), [path.parent], path.stem)
            is_capture = self.without_poses or detect(path) is not None
            return ScanFiles(scene_id, capture=path) if is_capture else ScanFiles(scene_id, posed_images=path)
        scans = [folder / scene_id for folder in self.folders("scans", "scans_test")]
        posed = self.folders("posed_images")
        splits = [path for folder in self.folders("pcd_with_object_aabbs") for path in _with_subfolders(folder)]
        posed_images = _first([folder / scene_id for folder in posed], Path.is_dir)
        sens = _first([file for scan in scans if (file := _sens_of(scan))])
        frames = [posed_images] if posed_images else [] if sens else scans
        capture = _first(frames, split_folders.FORMAT.matches)
        files = ScanFiles(
            scene_id=scene_id,
            posed_images=posed_images if capture is None else None,
            sens=sens,
            capture=capture,
            mask=_first([folder / f"{scene_id}.mask.npz" for folder in self.folders("mask")]),
            aligned=_first([path / f"{scene_id}.pth" for path in splits]),
            info=self.infos.get(scene_id),
            gt_boxes=self.gt_boxes.get(scene_id),
            pred_boxes=self.pred_boxes.get(scene_id),
            selected=self.selected.get(scene_id),
        )
        files = _with_annotations(files, scans, scene_id)
        if files.meta is None:
            files = replace(files, meta=_first([folder / f"{scene_id}.txt" for folder in posed]))
        has_surface = files.mesh is not None or files.aligned is not None
        return files if has_surface else replace(files, cells=self.cells.get(scene_id))


def _with_annotations(files: ScanFiles, scans: list[Path], scene_id: str) -> ScanFiles:
    """Return the files with the mesh, segments, objects and meta file of a scan, as they lie beside its .sens."""
    return replace(
        files,
        mesh=_first([scan / f"{scene_id}_vh_clean_2.ply" for scan in scans]),
        segments=_first([scan / f"{scene_id}{_SEGMENTS}" for scan in scans]),
        aggregation=_first([scan / f"{scene_id}.aggregation.json" for scan in scans]),
        meta=_first([scan / f"{scene_id}.txt" for scan in scans]),
    )


def _sens_of(scan: Path) -> Path | None:
    """Return the .sens of a scan's folder: that of its name, in any case, else the only one."""
    if (path := scan / f"{scan.name}.sens").is_file():
        return path
    paths = sens_files(scan) if scan.is_dir() else []
    named = [path for path in paths if path.stem.lower() == scan.name.lower()]
    return named[0] if named else paths[0] if len(paths) == 1 else None


def _first(paths: list[Path], test: Callable[[Path], bool] = Path.is_file) -> Path | None:
    return next((path for path in paths if test(path)), None)


def _with_subfolders(folder: Path) -> list[Path]:
    return [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]


def _known(names: tuple[str, ...]) -> str:
    return f"there are {len(names)}: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
