"""Finds the benchmarks' annotation files by name, official or processed, and reads their items."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from video3d_plugin.files.links import escapes_root, skipped_link_note
from video3d_plugin.tasks import TaskSpec, usable
from video3d_plugin.tasks.annotations import Item
from video3d_plugin.tasks.processed import SUFFIX

_SKIPPED_FOLDERS = {"scans", "scans_test", "posed_images", "mask", "embodiedscan", "pcd_with_object_aabbs"}
_MAX_DEPTH = 4


def load_items(spec: TaskSpec, paths: Sequence[Path]) -> list[Item]:
    """Read the items of a benchmark's files.

    Args:
        spec: The benchmark.
        paths: The official files of one split, or Video-3D LLM's processed one.

    Raises:
        MissingError: A file does not exist.
        DataError: A file is broken.
    """
    if spec.processed is not None and paths[0].name.endswith(SUFFIX):
        return spec.processed.load(spec.name, paths[0])
    return spec.read(paths)


def processed_splits(spec: TaskSpec) -> dict[str, str]:
    """Return the names of Video-3D LLM's processed files by split: one for each split with answers."""
    if spec.processed is None:
        return {}
    return {split: spec.processed.pattern.format(split) for split in spec.files if split not in spec.hidden_splits}


def find_files(
    roots: Iterable[Path], follow_links: bool = False
) -> tuple[dict[tuple[str, str], tuple[Path, ...]], list[str]]:
    """Search for annotation files by their official names, up to four folders below the roots.

    If a split's official files are missing, Video-3D LLM's processed file is used, with a note. Of a name that occurs
    more than once, the first counts, in the order of the roots and of the folders' names.

    Args:
        roots: Folders to search. A root may be an annotation file itself.
        follow_links: Whether to use files and folders that are symbolic links out of a root. If not, they are noted.

    Returns:
        (task, split) to its files, and notes on what is not used.
    """
    specs = usable()
    processed = {(task, split): name for task, spec in specs.items() for split, name in processed_splits(spec).items()}
    official = {(task, split): names for task, spec in specs.items() for split, names in spec.files.items()}
    notes: list[str] = []
    by_name = _paths_by_name(
        {*processed.values(), *(n for names in official.values() for n in names)}, roots, follow_links, notes
    )
    files = {}
    for (task, split), names in official.items():
        present = [name for name in names if name in by_name]
        if len(present) == len(names):
            files[task, split] = tuple(by_name[name] for name in names)
        elif present:
            missing = ", ".join(name for name in names if name not in by_name)
            notes.append(f"{task} {split} is left out: {present[0]} is there, {missing} is not")
    for (task, split), name in processed.items():
        if name in by_name and (task, split) not in files:
            files[task, split] = (by_name[name],)
            notes.append(f"{task} {split} is of the processed file {name}: it has no object names and no tokens")
    return files, notes


def _paths_by_name(names: set[str], roots: Iterable[Path], follow_links: bool, notes: list[str]) -> dict[str, Path]:
    """Return the first path of each name below the roots; what is not used is noted."""
    paths: dict[str, Path] = {}
    for base, path in _candidates(roots, follow_links, notes):
        if path.name not in names:
            if path == base:
                notes.append(f"{path} does not have the name of an official annotation file and is not used")
        elif not follow_links and escapes_root(path, base):
            notes.append(skipped_link_note(path, base))
        elif path.name in paths:
            notes.append(f"{path.name} found twice: {paths[path.name]} is used, {path} is not")
        else:
            paths[path.name] = path
    return paths


def _candidates(roots: Iterable[Path], follow_links: bool, notes: list[str]) -> Iterable[tuple[Path, Path]]:
    for root in roots:
        paths = [root] if root.is_file() else _walk(root, follow_links, notes)
        yield from ((root, path) for path in paths)


def _walk(root: Path, follow_links: bool, notes: list[str]) -> Iterable[Path]:
    depth = len(root.parts)
    for folder, folders, files in os.walk(root, followlinks=follow_links):
        here = Path(folder)
        at_limit = len(here.parts) - depth >= _MAX_DEPTH
        keep = [name for name in sorted(folders) if name not in _SKIPPED_FOLDERS and not name.startswith(".")]
        folders[:] = [] if at_limit else keep
        for path in (here / name for name in folders):
            if not follow_links and path.is_symlink() and escapes_root(path, root):
                notes.append(skipped_link_note(path, root, "searched"))
        yield from (here / name for name in sorted(files))
