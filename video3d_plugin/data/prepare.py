"""`video3d prepare`: from a folder of scans and official annotation files to a data folder.

Three stages, each of which can run alone once those before it have run:

    scenes        frames checked, boxes from mesh or masks, voxels of the surface     one file a scene
    frames        the max-coverage choice of frames                                   one file a scene
    annotations   evaluation docs and training questions                              two files a task and split
    store         SceneInputs, ready to be mapped (only when asked for)               one file a scene

Every result carries a fingerprint of what it was made from (names, sizes and times of the source files, options).
A result whose fingerprint is right is not made again; so an interrupted run continues, and a changed option redoes
what depends on it and nothing else. Results are written under a temporary name and renamed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from video3d_plugin.data import schemas
from video3d_plugin.data.annotation_files import find_files, load_items
from video3d_plugin.data.folder import HEAD, DataFolder
from video3d_plugin.data.prepare_scene import SceneJob, SceneOptions, SceneResult, prepare_scene, refuse_links
from video3d_plugin.data.readers.scannet import ScanNetRoot
from video3d_plugin.data.records import FORMAT, question_to_json, try_read_record
from video3d_plugin.data.report import Report, TaskResult
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files.atomic import digest, is_ours, locked, remove_leftovers, write_json
from video3d_plugin.files.links import escapes_root, skipped_link_note
from video3d_plugin.inputs_spec import InputsSpec
from video3d_plugin.tasks import TaskSpec, get
from video3d_plugin.tasks.annotations import Context, SceneBoxes
from video3d_plugin.tasks.object_classes import LABEL_FILE, WITHOUT_LABELS, Labels

STAGES = ("scenes", "frames", "annotations")
_RENAME = "rename it: letters, digits, _ . - and no more than 128"

_QUESTIONS = 3  # version of what is kept of docs and questions; folders whose questions have metadata stay valid


@dataclass(frozen=True)
class PrepareOptions:
    """What can be chosen.

    stages        which of STAGES to run
    scenes        scan ids or shell patterns; all by default
    annotations   further folders or files to look for official annotation files in (SOURCE is always looked at)
    scene         options of a single scan
    reference     also write the reference project's own files, into OUTPUT/reference
    store         if given, SceneInputs of this specification are stored too
    store_inputs  sampler, max_frames and proposals of what is stored
    jobs          processes; -1 for one a core
    backend       joblib's backend: "loky", or "dask" or "ray" to spread over machines
    """

    stages: Sequence[str] = STAGES
    scenes: Sequence[str] = ()
    annotations: Sequence[Path] = ()
    scene: SceneOptions = field(default_factory=SceneOptions)
    reference: bool = False
    store: InputsSpec | None = None
    store_inputs: dict[str, Any] = field(default_factory=dict)
    jobs: int = 1
    backend: str = "loky"


def prepare(source: str | Path, output: str | Path, options: PrepareOptions | None = None, **changes: Any) -> Report:
    """Make or complete the data folder `output` from `source`; returns what was done and left out.

    `changes` are fields of PrepareOptions. Raises MissingError or DataError where nothing can be made at all, or
    where the disk is full; a scan that cannot be used is left out and reported.
    """
    options = replace(options or PrepareOptions(), **changes)
    source, output = Path(source).resolve(), Path(output).resolve()
    if unknown := set(options.stages) - set(STAGES):
        raise DataError(f"unknown stage {sorted(unknown)[0]!r}", remedy=f"known: {', '.join(STAGES)}")
    if not source.is_dir():
        raise MissingError("no such folder", where=source, remedy="give a folder in ScanNet's layout")
    given = [Path(path) for path in options.annotations]
    if options.scene.proposals.endswith(".json"):
        given.append(Path(options.scene.proposals))
    for path in given:
        if not path.exists():
            raise MissingError("no such file or folder", where=path)
    if output == source or source.is_relative_to(output):
        raise DataError("is or contains the source", where=output, remedy="choose another --output")
    root = ScanNetRoot(source)
    if not root.scene_ids and root.misnamed_scans:
        few = ", ".join(root.misnamed_scans[:5])
        raise DataError(f"no scan whose name can be a scene's: {few}", where=source, remedy=_RENAME)
    if not root.scene_ids:
        remedy = "expected scans/<id>/<id>.sens, posed_images/<id>/, or recordings that docs/data.md lists"
        raise MissingError("no scan with frames", where=source, remedy=remedy)
    if not options.scene.follow_links:
        refuse_links(root.shared_files, source)
    with locked(output):
        return _prepare_locked(root, output, options)


def _prepare_locked(root: ScanNetRoot, output: Path, options: PrepareOptions) -> Report:
    head = _read_head(output)
    remove_leftovers(output)
    head["format"] = FORMAT
    write_json(output / HEAD, head, indent=1)  # first, so that an interrupted run is known for what it is
    report = Report()
    wanted = _chosen(root.scene_ids, options.scenes, root.root)
    jobs = [
        SceneJob(root.files(scene_id), root.root, output, options.scene, tuple(options.stages)) for scene_id in wanted
    ]
    if {"scenes", "frames"} & set(options.stages):
        for result in _run(jobs, prepare_scene, options, "scenes"):
            report.add_scene(result)
        if not options.scenes:
            for scene_id in root.scans_without_frames:
                report.add_scene(SceneResult(scene_id, failed="has neither a .sens file nor posed images"))
            for name in root.misnamed_scans:
                report.add_scene(SceneResult(name, failed=f"its name cannot be a scene's ({_RENAME})"))
            _remove_lost_scenes(root, output, report)
    found = _find_annotations(root, options, report)
    if "annotations" in options.stages:
        head["tasks"] = _prepare_annotations(found, output, report)
        write_json(output / HEAD, head, indent=1)
    folder = DataFolder.open(output)
    if not folder.scene_ids:
        raise DataError(f"no usable scan: {report.first_failure()}", where=root.root)
    if options.store is not None:
        _fill_store(folder, wanted, options)
    if options.reference:
        _write_reference(folder, root, output, found, report)
    _recall(folder, options, report)
    report.describe(folder)
    write_json(output / "report.json", report.to_json(), indent=1)
    return report


def _recall(folder: DataFolder, options: PrepareOptions, report: Report) -> None:
    """Add what earlier runs made and left out and this one did not look at, so that report.json tells of it all."""
    if options.scenes or not {"scenes", "frames"} & set(options.stages):
        seen = {result.scene_id for result in report.scenes}
        for scene_id in (scene_id for scene_id in folder.scene_ids if scene_id not in seen):
            try:
                report.add_scene(SceneResult.of(folder.scene(scene_id), reused=True))
            except DataError as error:
                report.add_scene(SceneResult(scene_id, failed=str(error)))
        before = try_read_record(folder.path / "report.json", schemas.REPORT) or {}
        for scene_id, why in before.get("failed", {}).items():
            if scene_id not in seen and scene_id not in folder.scene_ids:
                report.add_scene(SceneResult(scene_id, failed=why))
    if "annotations" not in options.stages:
        for task, split in folder.tasks():
            if record := try_read_record(folder.path / "docs" / f"{task}_{split}.json", schemas.DOCS_FILE):
                report.add_task(_task_result(task, split, record))


def _task_result(task: str, split: str, record: dict[str, Any]) -> TaskResult:
    return TaskResult(task, split, **record["counts"], skipped=tuple(map(tuple, record["skipped"])))


def _read_head(output: Path) -> dict[str, Any]:
    """The folder's head; nothing for a new folder, and where the head is damaged or of another format."""
    path = output / HEAD
    if not path.exists():
        if any(not is_ours(entry.name) for entry in output.iterdir()):
            raise DataError("is not empty and not a data folder", where=output, remedy="choose another --output")
        return {}
    head = try_read_record(path, schemas.HEAD) or {}
    return head if head.get("format") == FORMAT else {}


def _chosen(known: Sequence[str], patterns: Sequence[str], where: Path) -> list[str]:
    if not patterns:
        return list(known)
    chosen = [scene_id for scene_id in known if any(fnmatchcase(scene_id, pattern) for pattern in patterns)]
    for pattern in patterns:
        if not any(fnmatchcase(scene_id, pattern) for scene_id in known):
            raise MissingError(f"no scan {pattern!r} with frames", where=where, remedy=f"it has {len(known)} scans")
    return chosen


def _remove_lost_scenes(root: ScanNetRoot, output: Path, report: Report) -> None:
    """Scenes of an earlier run that the source no longer has, or that can no longer be used."""
    failed = {result.scene_id for result in report.scenes if result.failed}
    for path in (output / "scenes").glob("*.json"):
        if path.stem not in root.scene_ids or path.stem in failed:
            path.unlink()


def _run(jobs: Sequence[Any], function: Callable[[Any], Any], options: PrepareOptions, what: str) -> Iterable[Any]:
    """Results in the order of `jobs`, with a progress bar (none where the output is not a terminal)."""
    from tqdm import tqdm

    bar = {"total": len(jobs), "desc": what, "unit": "scene", "disable": None}
    if options.backend == "loky" and (options.jobs == 1 or len(jobs) <= 1):
        yield from tqdm(map(function, jobs), **bar)
        return
    import joblib

    lazily = options.backend in ("loky", "threading")
    with _cluster(options.backend), joblib.parallel_config(backend=options.backend, n_jobs=options.jobs):
        results = joblib.Parallel(return_as="generator" if lazily else "list")(
            joblib.delayed(function)(j) for j in jobs
        )
        yield from tqdm(results, **bar)


@contextlib.contextmanager
def _cluster(backend: str) -> Iterator[None]:
    """Make joblib's `dask` and `ray` backends usable: with the client there is, else one of the environment's cluster,
    else one of this machine."""
    try:
        if backend == "dask":
            from distributed import Client, default_client

            try:
                default_client()
            except ValueError:
                with Client():  # reads DASK_SCHEDULER_ADDRESS
                    yield
                return
        elif backend == "ray":
            from ray.util.joblib import register_ray

            register_ray()
    except ImportError as error:
        remedy = "pip install 'video3d-plugin[cluster]'" if backend == "dask" else "pip install ray"
        raise MissingError(f"--backend {backend} needs {error.name}", remedy=remedy) from error
    yield


@dataclass(frozen=True)
class _Annotations:
    """What there is of annotations: where it was looked for, {(task, split): its files}, and ScanNet's label table."""

    bases: Sequence[Path]
    files: dict[tuple[str, str], tuple[Path, ...]]
    labels_path: Path | None

    def labels(self) -> Labels | None:
        return Labels.read(self.labels_path) if self.labels_path else None


def _find_annotations(root: ScanNetRoot, options: PrepareOptions, report: Report) -> _Annotations:
    """Found only for a stage that reads them, or the reference's files; what is not used is noted."""
    bases = [root.root, *map(Path, options.annotations)]
    if "annotations" not in options.stages and not options.reference:
        return _Annotations(bases, {}, None)
    files, notes = find_files(bases, options.scene.follow_links)
    report.notes += notes
    labels_path = _find_labels(bases, options.scene.follow_links, report.notes)
    if labels_path is None:
        report.notes.append(WITHOUT_LABELS)
    return _Annotations(bases, files, labels_path)


def _prepare_annotations(found: _Annotations, output: Path, report: Report) -> list[dict[str, Any]]:
    folder = DataFolder.open(output)
    scenes = {scene_id: SceneBoxes.of(folder.scene(scene_id)) for scene_id in folder.scene_ids}
    labels, labels_stamps = found.labels(), _stamps([found.labels_path] if found.labels_path else [])
    boxes = digest({i: [sorted(map(list, s.boxes.items())), s.proposals.tolist()] for i, s in scenes.items()})
    tasks = []
    for (task, split), paths in found.files.items():
        fingerprint = digest([FORMAT, _QUESTIONS, boxes, _stamps(paths), labels_stamps])
        docs_path, questions_path = (output / kind / f"{task}_{split}.json" for kind in ("docs", "questions"))
        done = _done(docs_path, fingerprint, schemas.DOCS_FILE)
        if done is not None and _done(questions_path, fingerprint, schemas.QUESTIONS_FILE) is None:
            done = None
        if done is None:
            done = _write_task(get(task), split, paths, Context(scenes, labels), fingerprint, docs_path, questions_path)
        report.add_task(_task_result(task, split, done))
        if done["counts"]["docs"]:
            tasks.append({"task": task, "split": split, **done["counts"]})
    return tasks


def _write_task(
    spec: TaskSpec,
    split: str,
    paths: Sequence[Path],
    context: Context,
    fingerprint: str,
    docs_path: Path,
    questions_path: Path,
) -> dict[str, Any]:
    """Both files of a task and split; docs last, so that they vouch for the questions."""
    items = load_items(spec, paths)
    questions = []
    if split not in spec.hidden_splits:
        questions = spec.questions(items, split, Context(context.scenes, context.labels))
    docs = spec.docs(items, split, context)
    record = {
        "fingerprint": fingerprint,
        "counts": {"items": len(items), "docs": len(docs), "questions": len(questions)},
        "skipped": [[count, *kind] for kind, count in sorted(context.skipped.items())],
    }
    write_json(questions_path, {"fingerprint": fingerprint, "items": [question_to_json(q) for q in questions]})
    write_json(docs_path, {**record, "items": docs})
    return record


def _write_reference(folder: DataFolder, root: ScanNetRoot, output: Path, found: _Annotations, report: Report) -> None:
    from video3d_plugin.data.reference.export import export_reference

    written = export_reference(folder, root, output / "reference", found.bases, found.files, found.labels())
    report.notes += [f"reference: {note}" for note in written.notes]


def _done(path: Path, fingerprint: str, kind: Any) -> dict[str, Any] | None:
    """The record at `path` if it was made from the same things, and is whole."""
    record = try_read_record(path, kind)
    return record if record and record.get("fingerprint") == fingerprint else None


def _stamps(paths: Iterable[Path]) -> list[list[Any]]:
    return [[path.name, status.st_size, status.st_mtime_ns] for path in paths for status in [path.stat()]]


def _find_labels(bases: Sequence[Path], follow_links: bool, notes: list[str]) -> Path | None:
    places = ("", "annotations", "metadata", "scannet", "scans", "scannet/scans")
    for base, path in ((base, base / place / LABEL_FILE) for base in bases for place in places):
        if path.is_file() and not follow_links and escapes_root(path, base):
            notes.append(skipped_link_note(path, base))
        elif path.is_file():
            return path
    return None


def _fill_store(folder: DataFolder, scene_ids: Sequence[str], options: PrepareOptions) -> None:
    jobs = [(folder.path, scene_id, options.store, options.store_inputs) for scene_id in scene_ids]
    for _ in _run([job for job in jobs if job[1] in folder.scene_ids], _store_scene, options, "store"):
        pass


def _store_scene(job: tuple[Path, str, InputsSpec, dict[str, Any]]) -> None:
    path, scene_id, spec, arguments = job
    DataFolder.open(path).store_inputs(scene_id, spec, **arguments)
