"""One scan: the unit of `video3d prepare`, independent of all others, finished by the rename of its scene file."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from video3d_plugin.data.folder import DataFolder, read_selection, write_selection
from video3d_plugin.data.frames import without_broken_frames
from video3d_plugin.data.inputs import scene_coverage
from video3d_plugin.data.proposals import fused_points, propose, read_proposals_json
from video3d_plugin.data.readers.mask3d import REFERENCE_LIMIT
from video3d_plugin.data.readers.scannet import read_scan
from video3d_plugin.data.readers.scannet_files import ScanFiles
from video3d_plugin.data.records import FORMAT, root_to_json, scene_from_json, scene_to_json, try_read_record
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files.atomic import digest, write_bytes, write_json
from video3d_plugin.files.links import escapes_root
from video3d_plugin.files.regular import is_regular
from video3d_plugin.geometry.voxels import unique_voxels
from video3d_plugin.sampling.coverage import REFERENCE_FRAMES, VOXEL_SIZE_M, Selection
from video3d_plugin.scene import FileSlice, Omission, Scene

PROPOSALS = ("mask3d", "gt", "auto")


@dataclass(frozen=True)
class SceneOptions:
    """What can be chosen for a scan.

    frame_step      every n-th frame; see `load_scene`
    proposals       where predicted boxes come from: "mask3d" (mask files, else released metadata), "gt" (the
                    annotated boxes), "auto" (clusters of what the frames see), or the path of a JSON file of boxes
    max_proposals   proposals used, best first (the reference uses 50)
    check           "full": every image is decoded once, broken frames are left out; "headers": only headers are read
    follow_links    use files that are symbolic links out of the source folder
    copy_frames     copy colour and depth into the data folder, so that it does not need the source any more
    """

    frame_step: int | None = None
    proposals: str = "mask3d"
    max_proposals: int = REFERENCE_LIMIT
    check: str = "full"
    follow_links: bool = False
    copy_frames: bool = False

    def __post_init__(self) -> None:
        if self.check not in ("full", "headers"):
            raise DataError(f"check={self.check!r}", remedy="known: full, headers")
        if self.frame_step is not None and self.frame_step < 1:
            raise DataError(f"frame step {self.frame_step}", remedy="use 1 or more")
        if self.proposals not in PROPOSALS and not self.proposals.endswith(".json"):
            raise DataError(f"proposals={self.proposals!r}", remedy=f"known: {', '.join(PROPOSALS)}, or a .json file")
        if self.max_proposals < 0:
            raise DataError(f"max_proposals is {self.max_proposals}", remedy="use 0 or more")


@dataclass(frozen=True)
class SceneJob:
    files: ScanFiles
    source: Path
    output: Path
    options: SceneOptions
    stages: tuple[str, ...]

    @property
    def scene_path(self) -> Path:
        return self.output / "scenes" / f"{self.files.scene_id}.json"

    @property
    def root(self) -> Path:
        """Below what the scene's frames lie once it is prepared."""
        return self.output if self.options.copy_frames else self.source

    @property
    def surface_path(self) -> Path:
        return self.output / "surface" / f"{self.files.scene_id}.npz"


@dataclass(frozen=True)
class SceneResult:
    """What became of a scan: counts, omissions, notes; `failed` says why there is no scene."""

    scene_id: str
    frames: int = 0
    instances: int = 0
    proposals: int = 0
    omissions: tuple[Omission, ...] = ()
    notes: tuple[str, ...] = ()
    failed: str | None = None
    reused: bool = False

    @classmethod
    def of(
        cls, scene: Scene, omissions: tuple[Omission, ...] = (), notes: tuple[str, ...] = (), *, reused: bool
    ) -> SceneResult:
        """The result that is this scene; `omissions` and `notes` are further ones."""
        counts = len(scene.frames), len(scene.instances), len(scene.proposals)
        return cls(scene.scene_id, *counts, (*scene.omissions, *omissions), (*scene.notes, *notes), reused=reused)


def prepare_scene(job: SceneJob) -> SceneResult:
    """Run the asked stages for one scan. A scan that cannot be used is a result, not an error; a full disk is one."""
    scene_id, folder = job.files.scene_id, DataFolder.open(job.output)
    try:
        reused = _make_scene(job, folder)
        if not reused:
            folder = DataFolder.open(job.output)  # the other one remembers what was there before
        scene = folder.scene(scene_id)
    except MissingError as error:
        return SceneResult(scene_id, failed=str(error))
    except DataError as error:
        if isinstance(error.__cause__, OSError) and "scenes" in job.stages and _is_output(error, job.output):
            raise
        return SceneResult(scene_id, failed=str(error))
    omissions: tuple[Omission, ...] = ()
    notes: tuple[str, ...] = ()
    if "frames" in job.stages:
        released, notes = _released_selection(job.files, scene)
        were_there, omissions = _select_frames(folder, scene, released)
        reused = reused and were_there
    return SceneResult.of(scene, omissions, notes, reused=reused)


def _is_output(error: DataError, output: Path) -> bool:
    return error.where is not None and Path(error.where).is_relative_to(output)


def _make_scene(job: SceneJob, folder: DataFolder) -> bool:
    """Write the scene's record and surface, unless they are there already; returns whether they were."""
    if "scenes" not in job.stages:
        if not job.scene_path.is_file():
            raise MissingError("scene is not prepared", where=job.scene_path, remedy="run the stage `scenes` first")
        return True
    frames_fingerprint = _fingerprint_frames(job.files)
    fingerprint = digest([FORMAT, frames_fingerprint, _fingerprint_parts(job), asdict(job.options)])
    if _is_made(job, folder, fingerprint):
        return True
    if not job.options.follow_links:
        refuse_links(job.files.paths.values(), job.source)
    scan = read_scan(job.files, frame_step=job.options.frame_step, max_proposals=job.options.max_proposals)
    scene = scan.scene if job.options.follow_links else _without_linked_frames(scan.scene, job.source)
    if job.options.check == "full":
        scene = without_broken_frames(scene)
    scene = _with_proposals(scene, job.options)
    if job.options.copy_frames:
        scene = _copy_frames(scene, job.output)
    surface, cells = None, job.files.cells
    if scan.surface is not None and len(scan.surface):
        cells = unique_voxels(scan.surface, VOXEL_SIZE_M)
    if cells is not None and len(cells):
        surface = digest(cells.tolist())
        write_bytes(job.surface_path, _npz(cells=cells))
    else:
        job.surface_path.unlink(missing_ok=True)
    record = {"fingerprint": fingerprint, "frames_fingerprint": frames_fingerprint, "surface": surface}
    write_json(job.scene_path, {**record, **scene_to_json(scene, job.root, job.output)})
    return False


def _released_selection(files: ScanFiles, scene: Scene) -> tuple[Selection | None, tuple[str, ...]]:
    """(the released choice as indices of the scene's frames, or None; notes that say why it is not used)."""
    if files.selected is None:
        return None, ()
    index = {frame.name: i for i, frame in enumerate(scene.frames)}
    lost = sum(name not in index for name in files.selected.names)
    if lost:
        return None, (f"{lost} frames of the released choice are not there: max-coverage frames are chosen anew",)
    return Selection(tuple(index[n] for n in files.selected.names), files.selected.gains, files.selected.visible), ()


def _select_frames(folder: DataFolder, scene: Scene, released: Selection | None) -> tuple[bool, tuple[Omission, ...]]:
    """Store the released max-coverage choice, else make it, unless it is there; returns whether it was, and what could
    not be made: a scan whose depth or poses allow no choice still has its other frames."""
    path, key = folder.selection_path(scene.scene_id), folder.frames_key(scene.scene_id)
    known = read_selection(path, key, released is not None)
    if known is not None and released in (None, known):
        return True, ()
    selection = released
    if selection is None:
        try:
            coverage = scene_coverage(scene, lambda: folder.surface_cells(scene.scene_id))
            selection = coverage.select(REFERENCE_FRAMES)
        except (DataError, MissingError) as error:
            return False, (Omission("max-coverage choice of frames", str(error)),)
    write_selection(path, key, selection, released=released is not None)
    return False, ()


_LINK = "is a link out of the source folder"
_FOLLOW = "allow it with --follow-links if you trust it"


def refuse_links(paths: Iterable[Path], source: Path) -> None:
    """DataError if one of the paths is, or lies behind, a link out of the source folder."""
    for path in paths:
        if escapes_root(path, source):
            raise DataError(_LINK, where=path, remedy=_FOLLOW)


def _without_linked_frames(scene: Scene, source: Path) -> Scene:
    """The scene without frames whose files are links out of the source; they become omissions.

    The files of the others are only opened within the source, should they be exchanged for links meanwhile.
    """
    linked = {
        frame.name
        for frame in scene.frames
        for path in {frame.color.path, frame.depth.path}
        if path.is_symlink() and escapes_root(path, source)
    }
    frames = tuple(
        replace(frame, color=replace(frame.color, root=source), depth=replace(frame.depth, root=source))
        for frame in scene.frames
        if frame.name not in linked
    )
    if not frames:
        raise DataError(f"every frame {_LINK}", where=scene.scene_id, remedy=_FOLLOW)
    omissions = tuple(Omission(f"frame {name}", f"{_LINK} ({_FOLLOW})") for name in sorted(linked))
    return replace(scene, frames=frames, omissions=(*scene.omissions, *omissions))


def _with_proposals(scene: Scene, options: SceneOptions) -> Scene:
    """The scene with the proposals that were asked for; what the masks gave is dropped with its notes and omissions."""
    kind = options.proposals
    if kind == "mask3d":
        return scene
    notes = tuple(note for note in scene.notes if "proposals" not in note)
    omissions = tuple(omission for omission in scene.omissions if not omission.what.startswith("proposal "))
    if kind == "gt":
        boxes = np.array([instance.box for instance in scene.instances])
        notes += ("proposals are the annotated boxes",)
    elif kind == "auto":
        boxes = propose(fused_points(scene), options.max_proposals)
        notes += ("proposals are clusters of what the frames see",)
    else:
        found = read_proposals_json(Path(kind), scene.scene_id)
        boxes = np.zeros((0, 6)) if found is None else found[: options.max_proposals]
        notes += (f"proposals are of {Path(kind).name}" if found is not None else f"no proposals in {Path(kind).name}",)
    proposals = np.asarray(boxes, np.float32).reshape(-1, 6)
    return replace(scene, proposals=proposals, notes=notes, omissions=omissions)


def _copy_frames(scene: Scene, output: Path) -> Scene:
    """The scene with its files copied to frames/<id>/, byte for byte."""
    folder = output / "frames" / scene.scene_id
    frames = []
    for frame in scene.frames:
        color = folder / f"{frame.name}{_suffix(frame.color, '.jpg')}"
        depth = folder / f"{frame.name}{'.depth.png' if frame.depth_codec == 'png' else '.depth.zlib'}"
        frames.append(replace(frame, color=_copy_slice(frame.color, color), depth=_copy_slice(frame.depth, depth)))
    return replace(scene, frames=tuple(frames))


def _suffix(source: FileSlice, default: str) -> str:
    return source.path.suffix.lower() if source.size is None and source.path.suffix else default


def _copy_slice(source: FileSlice, path: Path) -> FileSlice:
    """Copy the bytes to a file; it is named with its size, so that a copy that was cut short is noticed."""
    data = source.read()
    if source.size is not None and len(data) < source.size:
        raise DataError(f"ends after {len(data)} of {source.size} bytes", where=source.path, remedy="copy it again")
    write_bytes(path, data)
    return FileSlice(path, 0, len(data))


def _are_whole(scene: Scene) -> bool:
    """Whether the copied files of all frames are there and have the sizes that they were written with."""
    slices = [part for frame in scene.frames for part in (frame.color, frame.depth)]
    return all(is_regular(part.path) and part.path.stat().st_size == part.size for part in slices)


def _npz(**arrays: np.ndarray) -> bytes:
    """A compressed .npz whose bytes depend on the arrays alone (numpy writes a fixed date)."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _is_made(job: SceneJob, folder: DataFolder, fingerprint: str) -> bool:
    """Whether the scene was made from the same things, and its record, its surface and its copied frames are whole.

    The record is told where the frames lie now: the source was moved, or the record is one of before they said it.
    """
    record = try_read_record(job.scene_path)
    if record is None or record.get("fingerprint") != fingerprint:
        return False
    root = root_to_json(job.root, job.output)
    if record.get("root", ...) != root:
        write_json(job.scene_path, {**record, "root": root})
    try:
        folder.surface_cells(job.files.scene_id)
        return not job.options.copy_frames or _are_whole(scene_from_json(record, job.output, job.scene_path))
    except (DataError, MissingError):
        return False


def _fingerprint_frames(files: ScanFiles) -> str:
    """Of the frames' files and of what says which of them count."""
    parts: list[Any] = []
    if files.posed_images is not None:
        with os.scandir(files.posed_images) as entries:
            parts = sorted([e.name, e.stat().st_size, e.stat().st_mtime_ns] for e in entries if e.is_file())
    elif files.sens is not None:
        parts = [_stamp(files.sens)]
    elif files.capture is not None:
        paths = (path for path in files.capture.rglob("*") if path.is_file())
        parts = sorted([path.relative_to(files.capture).as_posix(), *_stamp(path)[1:]] for path in paths)
    info = files.info
    if info is not None:
        matrices = (info.world_from_scan, info.depth_intrinsics)
        parts.append([list(info.frame_names), *(None if m is None else m.tolist() for m in matrices)])
    return digest(parts)


_FRAME_PARTS = ("posed_images", "sens", "capture")


def _fingerprint_parts(job: SceneJob) -> str:
    """Of what there is beside the frames."""
    files = job.files
    stamps = {name: _stamp(path) for name, path in files.paths.items() if name not in _FRAME_PARTS}
    given = (files.gt_boxes, files.pred_boxes, files.cells)
    boxes = [None if array is None else array.tolist() for array in given]
    chosen = None if job.options.proposals in PROPOSALS else _stamp(Path(job.options.proposals))
    return digest([stamps, boxes, chosen])


def _stamp(path: Path) -> list[Any]:
    status = path.stat()
    return [path.name, status.st_size, status.st_mtime_ns]
