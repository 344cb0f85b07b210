"""`--format reference`: writes the reference project's `data/` tree from a prepared data folder and its source.

    metadata/scannet_{train,val}_gt_box.json, scannet_{val,test}_pred_box.json, pcd_discrete_0.1.pkl,
    metadata/scannet_select_frames.json
    processed/<task>_<split>_llava_style.json
    scannet/pcd_with_object_aabbs/<split>/<id>.pth
    scannet/posed_images/<id>/ (only for scans that come as .sens)

Differences from what the official scripts write:

- A scan whose object ids have gaps is kept, with boxes of size 0 in the gaps, because its programs find an object by
  its place in the list. The scripts drop such scans.
- Ties between frames go to the earlier one; the scripts break them at random.
- Jpegs are copied out of a .sens byte by byte; the scripts decode and encode them.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from video3d_plugin.data.annotation_files import load_items, processed_splits
from video3d_plugin.data.folder import DataFolder
from video3d_plugin.data.readers import mask3d, mesh, ply
from video3d_plugin.data.readers.scannet_files import ScanFiles, ScanNetRoot
from video3d_plugin.data.readers.sens_export import export_sens
from video3d_plugin.data.reference.scan import reference_scan
from video3d_plugin.data.selections import read_selection
from video3d_plugin.data.turning import unturned
from video3d_plugin.errors import DataError
from video3d_plugin.files.atomic import write_bytes, write_json
from video3d_plugin.files.text import read_text
from video3d_plugin.sampling.coverage import REFERENCE_FRAMES, VOXEL_SIZE_M, Selection
from video3d_plugin.scene import Scene
from video3d_plugin.tasks import get
from video3d_plugin.tasks.annotations import THRESHOLD, Context, SceneBoxes
from video3d_plugin.tasks.object_classes import Labels
from video3d_plugin.tasks.scannet_tables import shipped_splits

_EMPTY_BOX = [0.0] * 6


@dataclass
class Written:
    """What an export wrote.

    Attributes:
        files: File to its number of entries.
        notes: What a user should know.
    """

    files: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def export_reference(
    folder: DataFolder,
    root: ScanNetRoot,
    output: Path,
    annotation_roots: Sequence[Path],
    annotations: Mapping[tuple[str, str], Sequence[Path]],
    labels: Labels,
    scans: bool = True,
    threshold: float = THRESHOLD,
) -> Written:
    """Write the tree. Files are written under a temporary name and renamed; an existing .pth is not made again.

    Args:
        folder: The data folder.
        root: The source that it was prepared from.
        output: Folder to write to.
        annotation_roots: Folders to search for ScanNet's lists of splits.
        annotations: (task, split) to its files, as `find_files` returns them.
        labels: ScanNet's label table.
        threshold: Smallest IoU at which a proposal stands for an object (Scan2Cap).
        scans: Whether to write the .pth files and exported frames too, which are most of the bytes.

    Returns:
        The files written, and notes.

    Raises:
        DataError: A source file is broken, or the output cannot be written.
    """
    written = Written()
    splits = _splits_of(folder, root, annotation_roots, written)
    scenes = {scene_id: folder.scene(scene_id) for scene_id in folder.scene_ids}
    proposals = {scene_id: exact_proposals(root.files(scene_id), scene) for scene_id, scene in scenes.items()}
    _write_boxes(output, scenes, proposals, splits, written)
    _write_frames(output, folder, scenes, written)
    boxes = {
        scene_id: SceneBoxes({i.object_id: i.box for i in scene.instances}, proposals[scene_id])
        for scene_id, scene in scenes.items()
    }
    _write_items(output, annotations, Context(boxes, labels, threshold), written)
    if scans:
        _write_scans(output, scenes, root, splits, labels, written)
    return written


def exact_proposals(files: ScanFiles, scene: Scene, limit: int | None = None) -> np.ndarray:
    """Return a scene's proposals as (N, 6) float64 boxes, world frame, metres.

    Boxes of masks are computed again, without the rounding to float32 of `scene.proposals`.

    Args:
        files: The scan's files.
        scene: The scene.
        limit: Largest number of masks to read; that of the scene's proposals by default.
    """
    if files.mask is None or files.mesh is None:
        return scene.proposals.astype(np.float64)
    surface = mesh.align(ply.read_vertices(files.mesh), scene.world_from_scan)
    exact = mask3d.read_proposals(files.mask, surface, len(scene.proposals) if limit is None else limit)[0]
    same = exact.shape == scene.proposals.shape and (exact.astype(np.float32) == scene.proposals).all()
    return exact if same else scene.proposals.astype(np.float64)


def _splits_of(
    folder: DataFolder, root: ScanNetRoot, annotation_roots: Sequence[Path], written: Written
) -> dict[str, str]:
    """Return each scene's split: from lists in the source, from annotations, from ScanNet's own lists, else val."""
    splits: dict[str, str] = {}
    for split in ("train", "val", "test"):
        for path in (p for base in annotation_roots for p in sorted(base.rglob(f"scannetv2_{split}.txt"))):
            splits.update(dict.fromkeys(read_text(path).split(), split))
    for task, split in sorted(folder.tasks(), key=lambda key: key[1] == "test"):
        for doc in folder.docs(task, split):
            splits.setdefault(doc["scene_id"], split if split in ("train", "val") else "val")
    splits = {**shipped_splits(), **splits}
    unknown = [scene_id for scene_id in folder.scene_ids if scene_id not in splits]
    if unknown:
        written.notes.append(f"{len(unknown)} scans are in no split's list and are written as val: {unknown[0]}, ...")
    return {scene_id: splits.get(scene_id, "val") for scene_id in folder.scene_ids}


def _write_boxes(
    output: Path, scenes: dict[str, Scene], proposals: dict[str, np.ndarray], splits: dict[str, str], written: Written
) -> None:
    for split in ("train", "val"):
        boxes = {}
        for scene_id, scene in scenes.items():
            if splits[scene_id] == split and scene.instances:
                boxes[f"scannet/{scene_id}"] = boxes_by_place(scene)
                if len(boxes[f"scannet/{scene_id}"]) > len(scene.instances):
                    written.notes.append(f"{scene_id}: gaps in its object ids are filled with boxes of size 0")
        _json(output, f"metadata/scannet_{split}_gt_box.json", boxes, written)
    for split in ("val", "test"):
        rows = {f"scannet/{i}": p.tolist() for i, p in proposals.items() if splits[i] == split and len(p)}
        _json(output, f"metadata/scannet_{split}_pred_box.json", rows, written)


def boxes_by_place(scene: Scene) -> list[list[float]]:
    """Return the annotated boxes in a list in which the place is the object id; gaps are boxes of size 0."""
    by_id = {instance.object_id: list(instance.box) for instance in scene.instances}
    return [by_id.get(number, _EMPTY_BOX) for number in range(max(by_id, default=-1) + 1)]


def _write_frames(output: Path, folder: DataFolder, scenes: dict[str, Scene], written: Written) -> None:
    """Write the voxels of every scan's surface, and the frames that cover most of them."""
    voxels: dict[float, dict[str, Any]] = {VOXEL_SIZE_M: {}}
    selected = []
    for scene_id, scene in scenes.items():
        cells = folder.surface_cells(scene_id)
        if cells is None:
            written.notes.append(f"{scene_id}: no mesh, so no voxels and no selected frames")
            continue
        of_size = voxels.setdefault(folder.voxel_size_m(scene_id), {})
        of_size[scene_id] = [tuple(cell) for cell in cells.tolist()]
        try:
            folder.frames(scene_id, "mc", REFERENCE_FRAMES)
            selection = read_selection(folder.selection_path(scene_id), folder.frames_key(scene_id))
            selected.append(_selected(scene, selection or folder.coverage(scene_id).select(REFERENCE_FRAMES)))
        except DataError as error:
            written.notes.append(f"{scene_id}: no selected frames: {error}")
    # plain lists of tuples of integers: a pickle because the reference reads one
    for size, scans in voxels.items():
        name = f"metadata/pcd_discrete_{size}.pkl"
        write_bytes(output / name, pickle.dumps(scans, protocol=4))
        written.files[name] = len(scans)
    _json(output, "metadata/scannet_select_frames.json", selected, written)


def _selected(scene: Scene, selection: Selection) -> dict[str, Any]:
    folder = f"data/scannet/posed_images/{scene.scene_id}"
    return {
        "video_id": f"scannet/{scene.scene_id}",
        "frame_files": [f"{folder}/{scene.frames[i].name}.jpg" for i in selection.order[:REFERENCE_FRAMES]],
        "voxel_nums": list(selection.gains[:REFERENCE_FRAMES]),
        "num_all_voxels": selection.visible,
        "num_select_voxels": sum(selection.gains[:REFERENCE_FRAMES]),
    }


def _write_items(
    output: Path, annotations: Mapping[tuple[str, str], Sequence[Path]], context: Context, written: Written
) -> None:
    for (task, split), paths in annotations.items():
        spec = get(task)
        name = processed_splits(spec).get(split)
        if spec.processed is not None and name is not None:
            items = spec.processed.write(load_items(spec, paths), split, context)
            if items:
                _json(output, f"processed/{name}", items, written)
    for (reason, concerns), count in context.skipped.items():
        written.notes.append(f"{count} items left out: {reason}: {concerns}")


def _write_scans(
    output: Path,
    scenes: dict[str, Scene],
    root: ScanNetRoot,
    splits: dict[str, str],
    labels: Labels,
    written: Written,
) -> None:
    import torch
    from tqdm import tqdm

    for scene_id, scene in tqdm(scenes.items(), desc="reference", unit="scene", disable=None):
        files = root.files(scene_id)
        if files.posed_images is None and files.sens is not None:
            frames = [unturned(frame) for frame in scene.frames]  # colour is copied as it is stored
            count = export_sens(files.sens, output / "scannet" / "posed_images" / scene_id, frames)
            written.files[f"scannet/posed_images/{scene_id}/"] = count
        if files.mesh is None:
            written.notes.append(f"{scene_id}: no mesh, so no .pth")
            continue
        name = f"scannet/pcd_with_object_aabbs/{splits[scene_id]}/{scene_id}.pth"
        if not (output / name).is_file():
            content = reference_scan(files, scene.world_from_scan, dict(labels.nyu40id))
            buffer = io.BytesIO()  # not the file itself, whose name torch would write into the archive
            torch.save(content, buffer)
            write_bytes(output / name, buffer.getvalue())
        written.files[name] = 1


def _json(output: Path, name: str, value: Any, written: Written) -> None:
    write_json(output / name, value)
    written.files[name] = len(value)
