"""`video3d prepare`: from a folder of scans and official annotation files to a data folder.

Stages, each of which can run alone once those before it have run:

    scenes        frames checked, boxes from mesh or masks, voxels of the surface     one file a scene
    frames        the max-coverage selection of frames                                one file a scene
    annotations   evaluation docs and training questions                              two files a task and split
    store         SceneInputs, ready to be mapped (only when asked for)               one file a scene

Every result has a fingerprint of its sources (names, sizes and times of files, options). A result with the right
fingerprint is not made again, so an interrupted run continues, and a changed option redoes what depends on it and
nothing else. Results are written under a temporary name and renamed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from video3d_plugin.data import schemas
from video3d_plugin.data.folder import DataFolder
from video3d_plugin.data.prepare_annotations import AnnotationFiles, prepare_annotations, task_result
from video3d_plugin.data.prepare_frames import refuse_links
from video3d_plugin.data.prepare_scene import SceneJob, SceneOptions, prepare_scene
from video3d_plugin.data.prepare_workers import run_jobs
from video3d_plugin.data.readers.scannet_files import ScanNetRoot
from video3d_plugin.data.records import FORMAT, HEAD, try_read_record
from video3d_plugin.data.report import Report, SceneResult
from video3d_plugin.errors import DataError, Interrupted, MissingError
from video3d_plugin.files.atomic import is_ours, locked, remove_leftovers, write_json
from video3d_plugin.inputs_spec import InputsSpec
from video3d_plugin.sampling.registry import check_without_question
from video3d_plugin.tasks.annotations import THRESHOLD

log = logging.getLogger(__name__)

STAGES = ("scenes", "frames", "annotations")
_SCENE_STAGES = {"scenes", "frames"}
_RENAME = "rename it: letters, digits, _ . - and no more than 128"


@dataclass(frozen=True)
class PrepareOptions:
    """Options of `prepare`.

    Attributes:
        stages: Which of STAGES to run.
        scenes: Scan ids or shell patterns; all scans by default.
        annotations: Further folders or files to search for official annotation files. The source is always searched.
        scene: Options of a single scan.
        threshold: Smallest IoU at which a proposal stands for the object that Scan2Cap asks to describe.
        reference: Whether to write the reference project's own files too, into OUTPUT/reference.
        store: If given, SceneInputs of this specification are stored too.
        store_inputs: Sampler, max_frames and proposals of what is stored (see `DataFolder.inputs`).
        jobs: Number of processes; -1 for one a core.
        backend: joblib's backend: "loky" or "threading", or "dask" or "ray" to spread over machines.
    """

    stages: Sequence[str] = STAGES
    scenes: Sequence[str] = ()
    annotations: Sequence[Path] = ()
    scene: SceneOptions = field(default_factory=SceneOptions)
    threshold: float = THRESHOLD
    reference: bool = False
    store: InputsSpec | None = None
    store_inputs: dict[str, Any] = field(default_factory=dict)
    jobs: int = 1
    backend: str = "loky"


def prepare(source: str | Path, output: str | Path, options: PrepareOptions | None = None, **changes: Any) -> Report:
    """Make or complete the data folder `output` from `source`.

    Args:
        source: Folder of scans: ScanNet's layout (see `readers.scannet_files`) or recordings of other formats.
        output: The data folder; made if it does not exist.
        options: The options.
        **changes: Fields of PrepareOptions that override `options`.

    Returns:
        What was done and what was left out. A scan that cannot be used is left out and reported.

    Raises:
        MissingError: The source, a scan or a file that the options name does not exist.
        DataError: No scan can be used, an annotation file is broken, or the output cannot be written.
        Interrupted: Ctrl-C; it says how many scenes are prepared.
    """
    options = replace(options or PrepareOptions(), **changes)
    if options.store is not None:
        check_without_question(options.store_inputs.get("sampler", "uniform"), "the store")
    source, output = Path(source).resolve(), Path(output).resolve()
    root = _check_arguments(source, output, options)
    with locked(output):
        return _prepare_locked(root, output, options)


def _check_arguments(source: Path, output: Path, options: PrepareOptions) -> ScanNetRoot:
    if unknown := set(options.stages) - set(STAGES):
        raise DataError(f"unknown stage {sorted(unknown)[0]!r}", remedy=f"known: {', '.join(STAGES)}")
    if not 0 <= options.threshold <= 1:
        raise DataError(f"threshold {options.threshold}", remedy="give an IoU, from 0 to 1")
    if not source.is_dir():
        raise MissingError("no such folder", where=source, remedy="give a folder in ScanNet's layout")
    named = [Path(path) for path in options.annotations]
    if options.scene.proposals.endswith(".json"):
        named.append(Path(options.scene.proposals))
    for path in named:
        if not path.exists():
            raise MissingError("no such file or folder", where=path)
    if output == source or source.is_relative_to(output):
        raise DataError("is or contains the source", where=output, remedy="choose another --output")
    root = ScanNetRoot(source, without_poses=options.scene.camera.estimates_poses)
    if not root.scene_ids and root.misnamed_scans:
        few = ", ".join(root.misnamed_scans[:5])
        raise DataError(f"no scan has a name that a scene can have: {few}", where=source, remedy=_RENAME)
    if not root.scene_ids:
        raise _no_scan(source, root.without_poses)
    if not options.scene.follow_links:
        refuse_links(root.shared_files, source)
    return root


def _no_scan(source: Path, without_poses: bool) -> MissingError:
    if without_poses:
        remedy = "expected folders of colour and depth images: color/ and depth/, or <frame>.color.jpg and .depth.png"
        return MissingError("no recording whose poses can be estimated", where=source, remedy=remedy)
    remedy = "expected scans/<id>/<id>.sens, posed_images/<id>/, or recordings that docs/data.md lists"
    return MissingError("no scan with frames", where=source, remedy=remedy)


def _prepare_locked(root: ScanNetRoot, output: Path, options: PrepareOptions) -> Report:
    head = _read_head(output)
    remove_leftovers(output)
    head["format"] = FORMAT
    write_json(output / HEAD, head, indent=1)  # first, so that the folder of an interrupted run is recognised
    report = Report()
    scene_ids = _matching_scenes(root.scene_ids, options.scenes, root.root)
    try:
        _run_stages(root, output, scene_ids, options, head, report)
    except KeyboardInterrupt as stop:
        raise Interrupted(_what_is_ready(report, scene_ids, options) + "the same command goes on from there") from stop
    write_json(output / "report.json", report.to_json(), indent=1)
    return report


def _run_stages(
    root: ScanNetRoot,
    output: Path,
    scene_ids: Sequence[str],
    options: PrepareOptions,
    head: dict[str, Any],
    report: Report,
) -> None:
    """Run the stages that the options name, and add what they did to the report."""
    if _SCENE_STAGES & set(options.stages):
        _prepare_scenes(root, output, scene_ids, options, report)
    annotations = _find_annotations(root, options, report)
    if "annotations" in options.stages:
        log.info("annotations")
        head["tasks"] = prepare_annotations(annotations, output, report, options.threshold)
        write_json(output / HEAD, head, indent=1)
    folder = DataFolder.open(output)
    if not folder.scene_ids:
        raise DataError(f"no usable scan: {report.first_failure()}", where=root.root)
    if options.store is not None:
        _fill_store(folder, scene_ids, options.store, options)
    if options.reference:
        log.info("the reference's own files")
        _write_reference(folder, root, output, annotations, options, report)
    _add_earlier_results(folder, options, report)
    report.describe(folder)


def _what_is_ready(report: Report, scene_ids: Sequence[str], options: PrepareOptions) -> str:
    if not _SCENE_STAGES & set(options.stages):
        return ""
    ready = sum(not scene.failed for scene in report.scenes)
    return f"{ready} of {len(scene_ids)} scenes are prepared, and "


def _prepare_scenes(
    root: ScanNetRoot, output: Path, scene_ids: Sequence[str], options: PrepareOptions, report: Report
) -> None:
    """Run the stages of single scenes, and report the scans that cannot be scenes."""
    stages = tuple(options.stages)
    log.info("scenes and frames: %d scans", len(scene_ids))
    jobs = [SceneJob(root.files(scene_id), root.root, output, options.scene, stages) for scene_id in scene_ids]
    results = run_jobs(prepare_scene, jobs, processes=options.jobs, backend=options.backend, description="scenes")
    for result in results:
        report.add_scene(result)
    if options.scenes:
        return
    for scene_id in root.scans_without_frames:
        report.add_scene(SceneResult(scene_id, failed="has neither a .sens file nor posed images"))
    for name in root.misnamed_scans:
        report.add_scene(SceneResult(name, failed=f"a scene cannot have its name ({_RENAME})"))
    _remove_outdated_scenes(root, output, report)


def _read_head(output: Path) -> dict[str, Any]:
    """Return the folder's head; an empty one for a new folder, or if the head is damaged or of another format."""
    path = output / HEAD
    if not path.exists():
        if any(not is_ours(entry.name) for entry in output.iterdir()):
            raise DataError("is not empty and not a data folder", where=output, remedy="choose another --output")
        return {}
    head = try_read_record(path, schemas.HEAD) or {}
    return head if head.get("format") == FORMAT else {}


def _matching_scenes(scene_ids: Sequence[str], patterns: Sequence[str], where: Path) -> list[str]:
    """Return the ids that match one of the shell patterns; all without patterns. A pattern has to match something."""
    if not patterns:
        return list(scene_ids)
    for pattern in patterns:
        if not any(fnmatchcase(scene_id, pattern) for scene_id in scene_ids):
            remedy = f"it has {len(scene_ids)} scans"
            raise MissingError(f"no scan {pattern!r} with frames", where=where, remedy=remedy)
    return [scene_id for scene_id in scene_ids if any(fnmatchcase(scene_id, pattern) for pattern in patterns)]


def _remove_outdated_scenes(root: ScanNetRoot, output: Path, report: Report) -> None:
    """Delete the scenes of an earlier run that the source no longer has, or that can no longer be used."""
    failed = {result.scene_id for result in report.scenes if result.failed}
    for path in (output / "scenes").glob("*.json"):
        if path.stem not in root.scene_ids or path.stem in failed:
            path.unlink()


def _find_annotations(root: ScanNetRoot, options: PrepareOptions, report: Report) -> AnnotationFiles:
    """Search for annotation files if a stage reads them or the reference's files are written."""
    roots = [root.root, *map(Path, options.annotations)]
    if "annotations" not in options.stages and not options.reference:
        return AnnotationFiles(roots, {}, None)
    return AnnotationFiles.find(roots, options.scene.follow_links, report.notes)


def _add_earlier_results(folder: DataFolder, options: PrepareOptions, report: Report) -> None:
    """Add what earlier runs made and left out and this run did not look at, so that report.json is complete."""
    if options.scenes or not _SCENE_STAGES & set(options.stages):
        reported = {result.scene_id for result in report.scenes}
        for scene_id in (scene_id for scene_id in folder.scene_ids if scene_id not in reported):
            try:
                report.add_scene(SceneResult.of(folder.scene(scene_id), reused=True))
            except DataError as error:
                report.add_scene(SceneResult(scene_id, failed=str(error)))
        before = try_read_record(folder.path / "report.json", schemas.REPORT) or {}
        for scene_id, why in before.get("failed", {}).items():
            if scene_id not in reported and scene_id not in folder.scene_ids:
                report.add_scene(SceneResult(scene_id, failed=why))
    if "annotations" not in options.stages:
        for task, split in folder.tasks():
            if record := try_read_record(folder.path / "docs" / f"{task}_{split}.json", schemas.DOCS_FILE):
                report.add_task(task_result(task, split, record))


def _write_reference(
    folder: DataFolder,
    root: ScanNetRoot,
    output: Path,
    annotations: AnnotationFiles,
    options: PrepareOptions,
    report: Report,
) -> None:
    from video3d_plugin.data.reference.export import export_reference

    labels = annotations.labels()
    written = export_reference(
        folder, root, output / "reference", annotations.roots, annotations.files, labels, threshold=options.threshold
    )
    report.notes += [f"reference: {note}" for note in written.notes]


def _fill_store(folder: DataFolder, scene_ids: Sequence[str], spec: InputsSpec, options: PrepareOptions) -> None:
    jobs = [(folder.path, i, spec, options.store_inputs) for i in scene_ids if i in folder.scene_ids]
    log.info("store: inputs of %d scenes", len(jobs))
    results = run_jobs(_store_scene, jobs, processes=options.jobs, backend=options.backend, description="store")
    for _ in results:
        pass  # running a job stores its scene


def _store_scene(job: tuple[Path, str, InputsSpec, dict[str, Any]]) -> None:
    path, scene_id, spec, arguments = job
    DataFolder.open(path).store_inputs(scene_id, spec, **arguments)
