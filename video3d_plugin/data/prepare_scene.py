"""Prepares one scan, independent of all others. It is finished when its scene file is renamed to its final name."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from video3d_plugin.data.camera_options import CameraOptions
from video3d_plugin.data.folder import DataFolder
from video3d_plugin.data.frames import without_broken_frames
from video3d_plugin.data.geometry_check import with_geometry_notes
from video3d_plugin.data.inputs import scene_coverage
from video3d_plugin.data.levelling.scene import level_scene
from video3d_plugin.data.prepare_fingerprints import annotations_fingerprint, file_stamp, frames_fingerprint
from video3d_plugin.data.prepare_frames import copies_are_whole, copy_frames, drop_linked_frames, refuse_links
from video3d_plugin.data.proposals import check_source, replace_proposals
from video3d_plugin.data.readers.alignment import AUTO, NONE, check_align
from video3d_plugin.data.readers.mask3d import REFERENCE_LIMIT
from video3d_plugin.data.readers.scannet import read_scan
from video3d_plugin.data.readers.scannet_files import ScanFiles
from video3d_plugin.data.records import FORMAT, root_to_json, scene_from_json, scene_to_json, try_read_record
from video3d_plugin.data.report import SceneResult
from video3d_plugin.data.selections import read_selection, write_selection
from video3d_plugin.data.surface import write_cells
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files.atomic import digest, write_json
from video3d_plugin.geometry.voxels import unique_voxels
from video3d_plugin.sampling.coverage import REFERENCE_FRAMES, VOXEL_SIZE_M, Selection
from video3d_plugin.scene import Omission, Scene

LEVELLING = 1  # counts changes of `data.levelling` after which recordings are prepared anew
ODOMETRY = 1  # the same of `data.odometry`, for recordings whose poses are estimated


@dataclass(frozen=True)
class SceneOptions:
    """Options of a single scan.

    Attributes:
        frame_step: Keep every n-th frame; the default depends on the format (see `load_scene`).
        proposals: Where predicted boxes come from: "mask3d" (mask files, else released metadata), "gt" (the annotated
            boxes), NAME or NAME:ARGUMENT of a maker ("auto"), or the path of a JSON file of boxes.
        max_proposals: Largest number of proposals, best first (the reference uses 50).
        check: "full": every image is decoded once, and broken frames are left out. "headers": only headers are read.
        follow_links: Whether to use files that are symbolic links out of the source folder.
        copy_frames: Whether to copy colour and depth into the data folder, so that it no longer needs the source.
        align: Where the world frame of recordings comes from: "auto", "none" or a file (see `load_scene`).
        camera: What the user says of the cameras of the recordings, and whether their poses are estimated.
        voxel_size_m: Side of the surface's voxels for max-coverage sampling, metres; None for the reference's 0.1.
            Released voxels and selections, which have 0.1, are then not used.
    """

    frame_step: int | None = None
    proposals: str = "mask3d"
    max_proposals: int = REFERENCE_LIMIT
    check: str = "full"
    follow_links: bool = False
    copy_frames: bool = False
    align: str = AUTO
    camera: CameraOptions = field(default_factory=CameraOptions)
    voxel_size_m: float | None = None

    def __post_init__(self) -> None:
        if self.check not in ("full", "headers"):
            raise DataError(f"check={self.check!r}", remedy="known: full, headers")
        if self.frame_step is not None and self.frame_step < 1:
            raise DataError(f"frame step {self.frame_step}", remedy="use 1 or more")
        if self.voxel_size_m is not None and not 0.01 <= self.voxel_size_m <= 1:
            raise DataError(f"voxel size {self.voxel_size_m}", remedy="give metres, from 0.01 to 1")
        check_source(self.proposals)
        check_align(self.align)
        if self.max_proposals < 0:
            raise DataError(f"max_proposals is {self.max_proposals}", remedy="use 0 or more")


@dataclass(frozen=True)
class SceneJob:
    """A scan to prepare.

    Attributes:
        files: The scan's files.
        source: The source folder.
        output: The data folder; it has a head already.
        options: The options.
        stages: Which of "scenes" and "frames" to run; other names are ignored.
    """

    files: ScanFiles
    source: Path
    output: Path
    options: SceneOptions
    stages: tuple[str, ...]

    @property
    def scene_path(self) -> Path:
        """The scene's record in the data folder."""
        return self.output / "scenes" / f"{self.files.scene_id}.json"

    @property
    def root(self) -> Path:
        """The folder that holds the scene's frames once it is prepared."""
        return self.output if self.options.copy_frames else self.source

    @property
    def surface_path(self) -> Path:
        """The scene's surface voxels in the data folder."""
        return self.output / "surface" / f"{self.files.scene_id}.npz"


def prepare_scene(job: SceneJob) -> SceneResult:
    """Run the stages of a job.

    Returns:
        What was made and left out. For a scan that cannot be used, `failed` is the reason.

    Raises:
        DataError: The data folder cannot be written: no other scan could be prepared either.
    """
    scene_id, folder = job.files.scene_id, DataFolder.open(job.output)
    try:
        reused = _make_scene(job, folder)
        if not reused:
            folder = DataFolder.open(job.output)  # the first one caches the earlier scene
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
        released: Selection | None = None
        if folder.voxel_size_m(scene_id) == VOXEL_SIZE_M:
            released, notes = _released_selection(job.files, scene)
        was_current, omissions = _select_frames(folder, scene, released)
        reused = reused and was_current
    return SceneResult.of(scene, omissions, notes, reused=reused)


def _is_output(error: DataError, output: Path) -> bool:
    return error.where is not None and Path(error.where).is_relative_to(output)


def _make_scene(job: SceneJob, folder: DataFolder) -> bool:
    """Write the scene's record and surface unless they are up to date; return whether they were."""
    if "scenes" not in job.stages:
        if not job.scene_path.is_file():
            raise MissingError("scene is not prepared", where=job.scene_path, remedy="run the stage `scenes` first")
        return True
    frames_part = frames_fingerprint(job.files)
    annotations_part = annotations_fingerprint(job.files, job.options.proposals)
    fingerprint = digest([FORMAT, frames_part, annotations_part, _options_fingerprint(job)])
    if _is_current(job, folder, fingerprint):
        return True
    if not job.options.follow_links:
        refuse_links(job.files.paths.values(), job.source)
    options = job.options
    scan = read_scan(
        job.files,
        frame_step=options.frame_step,
        max_proposals=options.max_proposals,
        camera=options.camera,
        align=options.align,
    )
    scene = scan.scene if job.options.follow_links else drop_linked_frames(scan.scene, job.source)
    scene = level_scene(scene, scan.alignment)
    if not job.files.is_of_dataset:
        scene = with_geometry_notes(scene, is_level=not scan.alignment.fixed)
    if job.options.check == "full":
        scene = without_broken_frames(scene)
    scene = replace_proposals(scene, job.options.proposals, job.options.max_proposals)
    if job.options.copy_frames:
        scene = copy_frames(scene, job.output)
    size = options.voxel_size_m
    surface, cells = None, job.files.cells if size is None else None
    if scan.surface is not None and len(scan.surface):
        cells = unique_voxels(scan.surface, size or VOXEL_SIZE_M)
    if cells is not None and len(cells):
        surface = digest(cells.tolist())
        write_cells(job.surface_path, cells)
    else:
        job.surface_path.unlink(missing_ok=True)
    record: dict[str, Any] = {"fingerprint": fingerprint, "frames_fingerprint": frames_part, "surface": surface}
    if size is not None:
        record["voxel_size_m"] = size
    write_json(job.scene_path, {**record, **scene_to_json(scene, job.root, job.output)})
    return False


def _options_fingerprint(job: SceneJob) -> dict[str, Any]:
    """Return the options that the scene's record depends on, with the stamp of the file that `align` names.

    Records of scans with an alignment of their own stay valid: they have none of the entries about levelling. So do
    records of scans whose camera or voxel size the user does not give: their entries are then left out.
    """
    options = asdict(job.options)
    camera = {name: value for name, value in options.pop("camera").items() if value not in (None, "recorded")}
    if job.options.camera.estimates_poses:
        camera["odometry"] = ODOMETRY
    if options["voxel_size_m"] is None:
        del options["voxel_size_m"]
    align = options.pop("align")
    if align not in (AUTO, NONE):
        align = file_stamp(Path(align))
    return options | camera | ({"align": align, "levelling": LEVELLING} if job.files.is_bare or align != AUTO else {})


def _released_selection(files: ScanFiles, scene: Scene) -> tuple[Selection | None, tuple[str, ...]]:
    """Return the released selection as indices of the scene's frames (None if there is none), and notes.

    It is not used if one of its frames is not in the scene; a note says so.
    """
    if files.selected is None:
        return None, ()
    index = {frame.name: i for i, frame in enumerate(scene.frames)}
    missing = sum(name not in index for name in files.selected.names)
    if missing:
        note = f"{missing} frames of the released choice are not there: max-coverage frames are chosen anew"
        return None, (note,)
    order = tuple(index[name] for name in files.selected.names)
    return Selection(order, files.selected.gains, files.selected.visible), ()


def _select_frames(folder: DataFolder, scene: Scene, released: Selection | None) -> tuple[bool, tuple[Omission, ...]]:
    """Store the max-coverage selection, the released one if there is one, unless it is up to date.

    Returns whether it was up to date, and an omission where no selection can be made: a scan whose depth or poses do
    not allow one can still be sampled uniformly.
    """
    path, key = folder.selection_path(scene.scene_id), folder.frames_key(scene.scene_id)
    stored = read_selection(path, key, released is not None)
    if stored is not None and released in (None, stored):
        return True, ()
    selection = released
    if selection is None:
        try:
            size = folder.voxel_size_m(scene.scene_id)
            coverage = scene_coverage(scene, lambda: folder.surface_cells(scene.scene_id), voxel_size_m=size)
            selection = coverage.select(REFERENCE_FRAMES)
        except (DataError, MissingError) as error:
            return False, (Omission("max-coverage choice of frames", str(error)),)
    write_selection(path, key, selection, released=released is not None)
    return False, ()


def _is_current(job: SceneJob, folder: DataFolder, fingerprint: str) -> bool:
    """Return whether the scene's record has this fingerprint and its surface and copied frames are whole.

    If the source was moved, or the record is of a version without `root`, the record's `root` is corrected.
    """
    record = try_read_record(job.scene_path)
    if record is None or record.get("fingerprint") != fingerprint:
        return False
    root = root_to_json(job.root, job.output)
    if record.get("root", ...) != root:
        write_json(job.scene_path, {**record, "root": root})
    try:
        folder.surface_cells(job.files.scene_id)
        return not job.options.copy_frames or copies_are_whole(scene_from_json(record, job.output, job.scene_path))
    except (DataError, MissingError):
        return False
