"""`--format reference`: the reference project's `data/` tree, made of a prepared data folder and its source.

    metadata/scannet_{train,val}_gt_box.json, scannet_{val,test}_pred_box.json, pcd_discrete_0.1.pkl,
    metadata/scannet_select_frames.json
    processed/<task>_<split>_llava_style.json
    scannet/pcd_with_object_aabbs/<split>/<id>.pth
    scannet/posed_images/<id>/ (only for scans that come as .sens)

Differences from what its scripts write: a scan whose object ids have gaps is kept, with boxes of no size in the
gaps, because its programs find an object by its place in the list (the scripts drop such scans); ties between frames
go to the earlier one (random there); jpegs are copied out of a .sens byte by byte (decoded and encoded again there).
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
from video3d_plugin.data.folder import DataFolder, read_selection
from video3d_plugin.data.readers import mask3d, mesh, ply
from video3d_plugin.data.readers.scannet_files import ScanFiles, ScanNetRoot
from video3d_plugin.data.readers.sens_export import export_sens
from video3d_plugin.data.reference.scan import reference_scan
from video3d_plugin.errors import DataError
from video3d_plugin.files.atomic import write_bytes, write_json
from video3d_plugin.files.text import read_text
from video3d_plugin.sampling.coverage import REFERENCE_FRAMES, Selection
from video3d_plugin.scene import Scene
from video3d_plugin.tasks import get
from video3d_plugin.tasks.annotations import Context, SceneBoxes
from video3d_plugin.tasks.object_classes import Labels

_EMPTY_BOX = [0.0] * 6


@dataclass
class Written:
    """What an export wrote: {file: entries}, and what a user should know."""

    files: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def export_reference(
    folder: DataFolder,
    root: ScanNetRoot,
    output: Path,
    annotation_roots: Sequence[Path],
    annotations: Mapping[tuple[str, str], Sequence[Path]],
    labels: Labels | None,
    scans: bool = True,
) -> Written:
    """Write the tree under `output`; `scans` says whether also the .pth files and exported frames (the bulk).

    annotation_roots    folders to look for ScanNet's lists of splits in
    annotations         {(task, split): its files}, as `find_files` gives them
    Everything is written under a temporary name and renamed; a .pth that is there is not made again.
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
    _write_items(output, annotations, Context(boxes, labels), written)
    if scans:
        _write_scans(output, scenes, root, splits, labels, written)
    return written


def exact_proposals(files: ScanFiles, scene: Scene, limit: int | None = None) -> np.ndarray:
    """(N, 6) float64 proposals: those of the masks without the rounding to float32 that Scene's have."""
    if files.mask is None or files.mesh is None:
        return scene.proposals.astype(np.float64)
    surface = mesh.align(ply.read_vertices(files.mesh), scene.world_from_scan)
    exact = mask3d.read_proposals(files.mask, surface, len(scene.proposals) if limit is None else limit)[0]
    same = exact.shape == scene.proposals.shape and (exact.astype(np.float32) == scene.proposals).all()
    return exact if same else scene.proposals.astype(np.float64)


def _splits_of(
    folder: DataFolder, root: ScanNetRoot, annotation_roots: Sequence[Path], written: Written
) -> dict[str, str]:
    """{scene id: train, val or test}: of ScanNet's lists, else of the annotation files that mention it, else val."""
    splits: dict[str, str] = {}
    for split in ("train", "val", "test"):
        for path in (p for base in annotation_roots for p in sorted(base.rglob(f"scannetv2_{split}.txt"))):
            splits.update(dict.fromkeys(read_text(path).split(), split))
    for task, split in sorted(folder.tasks(), key=lambda key: key[1] == "test"):
        for doc in folder.docs(task, split):
            splits.setdefault(doc["scene_id"], split if split in ("train", "val") else "val")
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
                    written.notes.append(f"{scene_id}: gaps in its object ids are filled with boxes of no size")
        _json(output, f"metadata/scannet_{split}_gt_box.json", boxes, written)
    for split in ("val", "test"):
        chosen = {f"scannet/{i}": p.tolist() for i, p in proposals.items() if splits[i] == split and len(p)}
        _json(output, f"metadata/scannet_{split}_pred_box.json", chosen, written)


def boxes_by_place(scene: Scene) -> list[list[float]]:
    """Annotated boxes such that place = object id."""
    by_id = {instance.object_id: list(instance.box) for instance in scene.instances}
    return [by_id.get(number, _EMPTY_BOX) for number in range(max(by_id, default=-1) + 1)]


def _write_frames(output: Path, folder: DataFolder, scenes: dict[str, Scene], written: Written) -> None:
    """Voxels of every scan's surface, and the frames that cover most of them."""
    voxels, selected = {}, []
    for scene_id, scene in scenes.items():
        cells = folder.surface_cells(scene_id)
        if cells is None:
            written.notes.append(f"{scene_id}: no mesh, so no voxels and no selected frames")
            continue
        voxels[scene_id] = [tuple(cell) for cell in cells.tolist()]
        try:
            folder.frames(scene_id, "mc", REFERENCE_FRAMES)
            selection = read_selection(folder.selection_path(scene_id), folder.frames_key(scene_id))
            selected.append(_selected(scene, selection or folder.coverage(scene_id).select(REFERENCE_FRAMES)))
        except DataError as error:
            written.notes.append(f"{scene_id}: no selected frames: {error}")
    # plain lists of tuples of integers: a pickle because the reference reads one
    write_bytes(output / "metadata" / "pcd_discrete_0.1.pkl", pickle.dumps(voxels, protocol=4))
    written.files["metadata/pcd_discrete_0.1.pkl"] = len(voxels)
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
    labels: Labels | None,
    written: Written,
) -> None:
    import torch
    from tqdm import tqdm

    for scene_id, scene in tqdm(scenes.items(), desc="reference", unit="scene", disable=None):
        files = root.files(scene_id)
        if files.posed_images is None and files.sens is not None:
            done = export_sens(files.sens, output / "scannet" / "posed_images" / scene_id, scene.frames)
            written.files[f"scannet/posed_images/{scene_id}/"] = done
        if files.mesh is None or labels is None:
            why = "no mesh" if files.mesh is None else "no label table"
            written.notes.append(f"{scene_id}: {why}, so no .pth")
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
