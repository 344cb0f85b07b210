"""The five benchmarks' official files: found by name, read into evaluation docs and training questions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from video3d_plugin.data.annotations import llava_style, multi3drefer, scan2cap, scanqa, scanrefer, sqa3d
from video3d_plugin.data.annotations.base import Benchmark, Context, Doc, SceneBoxes
from video3d_plugin.files.links import escapes_root, skipped_link_note

__all__ = ["BENCHMARKS", "Benchmark", "Context", "SceneBoxes", "find_files", "load_items"]

BENCHMARKS: dict[str, Benchmark] = {
    module.TASK: module.BENCHMARK for module in (scanrefer, multi3drefer, scan2cap, scanqa, sqa3d)
}
_NOT_SEARCHED = {"scans", "scans_test", "posed_images", "mask", "embodiedscan", "pcd_with_object_aabbs"}
_DEPTH = 4


def load_items(task: str, paths: Sequence[Path]) -> list[Doc]:
    """The items of a task's files, official or processed."""
    if paths[0].name.endswith(llava_style.SUFFIX):
        return llava_style.load(task, paths[0])
    return BENCHMARKS[task].load(paths)


def find_files(
    roots: Iterable[Path], follow_links: bool = False
) -> tuple[dict[tuple[str, str], tuple[Path, ...]], list[str]]:
    """({(task, split): its files}, notes), from the official file names anywhere up to four folders below the roots.

    A root may be such a file itself. Where a split's official files are missing, Video-3D LLM's processed one is taken,
    and noted.

    A file found twice is taken from the first root, and there from the first folder in order of name. Links out of
    a root, of files and of folders, are not followed unless asked for, and noted.
    """
    found: dict[str, Path] = {}
    processed = {
        (task, split): pattern.format(split)
        for task, pattern in llava_style.FILES.items()
        for split in llava_style.SPLITS[task]
    }
    wanted = set(processed.values())
    wanted |= {name for benchmark in BENCHMARKS.values() for names in benchmark.file_names.values() for name in names}
    notes: list[str] = []
    for base, path in _candidates(roots, follow_links, notes):
        if path.name not in wanted:
            if path == base:
                notes.append(f"{path} does not have the name of an official annotation file and is not used")
        elif not follow_links and escapes_root(path, base):
            notes.append(skipped_link_note(path, base))
        elif path.name in found:
            notes.append(f"{path.name} found twice: {found[path.name]} is used, {path} is not")
        else:
            found[path.name] = path
    files = {}
    for task, benchmark in BENCHMARKS.items():
        for split, names in benchmark.file_names.items():
            have = [name for name in names if name in found]
            if len(have) == len(names):
                files[task, split] = tuple(found[name] for name in names)
            elif have:
                lacking = ", ".join(name for name in names if name not in found)
                notes.append(f"{task} {split} is left out: {have[0]} is there, {lacking} is not")
    for (task, split), name in processed.items():
        if name in found and (task, split) not in files:
            files[task, split] = (found[name],)
            notes.append(f"{task} {split} is of the processed file {name}: it has no object names and no tokens")
    return files, notes


def _candidates(roots: Iterable[Path], follow_links: bool, notes: list[str]) -> Iterable[tuple[Path, Path]]:
    for root in roots:
        found = [root] if root.is_file() else _walk(root, follow_links, notes)
        yield from ((root, path) for path in found)


def _walk(root: Path, follow_links: bool, notes: list[str]) -> Iterable[Path]:
    depth = len(root.parts)
    for folder, folders, files in os.walk(root, followlinks=follow_links):
        here = Path(folder)
        at_limit = len(here.parts) - depth >= _DEPTH
        keep = [name for name in sorted(folders) if name not in _NOT_SEARCHED and not name.startswith(".")]
        folders[:] = [] if at_limit else keep
        for path in (here / name for name in folders):
            if not follow_links and path.is_symlink() and escapes_root(path, root):
                notes.append(skipped_link_note(path, root, "searched"))
        yield from (here / name for name in sorted(files))
