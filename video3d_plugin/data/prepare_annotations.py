"""The stage `annotations` of `video3d prepare`: evaluation docs and training questions from annotation files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from video3d_plugin.data import schemas
from video3d_plugin.data.annotation_files import find_files, load_items
from video3d_plugin.data.folder import DataFolder
from video3d_plugin.data.prepare_fingerprints import file_stamp
from video3d_plugin.data.records import FORMAT, question_to_json, try_read_record
from video3d_plugin.data.report import Report, TaskResult
from video3d_plugin.files.atomic import digest, write_json
from video3d_plugin.files.links import escapes_root, skipped_link_note
from video3d_plugin.tasks import TaskSpec, get
from video3d_plugin.tasks.annotations import THRESHOLD, Context, SceneBoxes
from video3d_plugin.tasks.object_classes import LABEL_FILE, SHIPPED_LABELS, Labels
from video3d_plugin.tasks.scannet_tables import LABELS_PATH, shipped_labels

_QUESTIONS = 3  # version of what docs and questions hold; folders whose questions have metadata stay valid
_LABEL_PLACES = ("", "annotations", "metadata", "scannet", "scans", "scannet/scans")


@dataclass(frozen=True)
class AnnotationFiles:
    """The annotation files that a preparation uses.

    Attributes:
        roots: Folders and files that were searched.
        files: (task, split) to its files.
        labels_path: ScanNet's label table; None: that of the package.
    """

    roots: Sequence[Path]
    files: dict[tuple[str, str], tuple[Path, ...]]
    labels_path: Path | None

    @classmethod
    def find(cls, roots: Sequence[Path], follow_links: bool, notes: list[str]) -> AnnotationFiles:
        """Search the roots for official files and ScanNet's label table; append what is not used to `notes`."""
        files, file_notes = find_files(roots, follow_links)
        notes += file_notes
        labels_path = _find_labels(roots, follow_links, notes)
        if labels_path is None:
            notes.append(SHIPPED_LABELS)
        return cls(roots, files, labels_path)

    def labels(self) -> Labels:
        """Read ScanNet's label table."""
        return Labels.read(self.labels_path) if self.labels_path else shipped_labels()


def prepare_annotations(
    annotations: AnnotationFiles, output: Path, report: Report, threshold: float = THRESHOLD
) -> list[dict[str, Any]]:
    """Write the docs and questions of every task and split that are not up to date.

    Args:
        annotations: The annotation files.
        output: The data folder; its scenes must be prepared.
        report: Gets one result for each task and split.
        threshold: Smallest IoU at which a proposal stands for an object (Scan2Cap).

    Returns:
        The entries of `tasks` in the data folder's head, those without docs left out.

    Raises:
        DataError: An annotation file is broken, or a file cannot be written.
    """
    folder = DataFolder.open(output)
    scenes = {scene_id: SceneBoxes.of(folder.scene(scene_id)) for scene_id in folder.scene_ids}
    labels = annotations.labels()
    path = annotations.labels_path
    label_stamps = [file_stamp(path) if path else digest(LABELS_PATH.read_text())]
    boxes = digest({i: [sorted(map(list, s.boxes.items())), s.proposals.tolist()] for i, s in scenes.items()})
    tasks = []
    for (task, split), paths in annotations.files.items():
        stamps = [FORMAT, _QUESTIONS, boxes, [file_stamp(path) for path in paths], label_stamps]
        fingerprint = digest(stamps if threshold == THRESHOLD else [*stamps, threshold])
        docs_path, questions_path = (output / kind / f"{task}_{split}.json" for kind in ("docs", "questions"))
        record = _read_current(docs_path, fingerprint, schemas.DOCS_FILE)
        if record is None or _read_current(questions_path, fingerprint, schemas.QUESTIONS_FILE) is None:
            context = Context(scenes, labels, threshold)
            record = _write_task(get(task), split, paths, context, fingerprint, docs_path, questions_path)
        report.add_task(task_result(task, split, record))
        if record["counts"]["docs"]:
            tasks.append({"task": task, "split": split, **record["counts"]})
    return tasks


def task_result(task: str, split: str, record: dict[str, Any]) -> TaskResult:
    """Return the report's entry for a task and split from the record of its docs file."""
    return TaskResult(task, split, **record["counts"], skipped=tuple(map(tuple, record["skipped"])))


def _write_task(
    spec: TaskSpec,
    split: str,
    paths: Sequence[Path],
    context: Context,
    fingerprint: str,
    docs_path: Path,
    questions_path: Path,
) -> dict[str, Any]:
    """Write both files of a task and split, the docs last: a docs file implies that its questions file is whole."""
    items = load_items(spec, paths)
    questions = []
    if split not in spec.hidden_splits:
        questions = spec.questions(items, split, Context(context.scenes, context.labels, context.threshold))
    docs = spec.docs(items, split, context)
    record = {
        "fingerprint": fingerprint,
        "counts": {"items": len(items), "docs": len(docs), "questions": len(questions)},
        "skipped": [[count, *kind] for kind, count in sorted(context.skipped.items())],
    }
    write_json(questions_path, {"fingerprint": fingerprint, "items": [question_to_json(q) for q in questions]})
    write_json(docs_path, {**record, "items": docs})
    return record


def _read_current(path: Path, fingerprint: str, kind: Any) -> dict[str, Any] | None:
    """Return the record at `path` if it is whole and has this fingerprint; else None."""
    record = try_read_record(path, kind)
    return record if record and record.get("fingerprint") == fingerprint else None


def _find_labels(roots: Sequence[Path], follow_links: bool, notes: list[str]) -> Path | None:
    for root, path in ((root, root / place / LABEL_FILE) for root in roots for place in _LABEL_PLACES):
        if path.is_file() and not follow_links and escapes_root(path, root):
            notes.append(skipped_link_note(path, root))
        elif path.is_file():
            return path
    return None
