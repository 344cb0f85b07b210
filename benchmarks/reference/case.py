"""What both sides work on: two scans, their files in the reference's layout, a checkpoint and the jobs."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import made_up
from benchmarks.room_scan import write_scan
from video3d_plugin import load_scene
from video3d_plugin.data.inputs import frame_points
from video3d_plugin.geometry.voxels import unique_voxels

VIDEO = "scannet/scene0000_00"
VOXEL_M = 0.1
NO_WINDOW = 131072  # the published checkpoint's sliding_window, longer than any scene
DEFAULT_WINDOW = 4096  # of transformers' Qwen2Config


def write_case(folder: Path, frames: int, coverage_frames: int, proposals: int, asked: int) -> dict[str, Any]:
    """Write scans, annotations, checkpoint and jobs.

    Args:
        folder: Where.
        frames: Frames of the scan that is asked about.
        coverage_frames: Frames of the scan that frames are selected from.
        proposals: Boxes of the scan.
        asked: Questions of a job that the reference is timed on.

    Returns:
        The jobs by name.
    """
    rng = np.random.RandomState(0)
    boxes = np.concatenate([rng.rand(proposals, 3) * [6, 5, 2.7], 0.3 + rng.rand(proposals, 3)], 1).astype(np.float32)
    _write_scan(folder / "scan", frames, (968, 1296), boxes)
    _write_scan(folder / "long", coverage_frames, (48, 64), boxes)
    model, processor = made_up.model_of("25m")
    model.save_pretrained(folder / "checkpoint")
    processor.tokenizer.save_pretrained(folder / "checkpoint")
    jobs = jobs_of(frames, asked, boxes)
    (folder / "jobs.json").write_text(json.dumps(jobs))
    return jobs


def jobs_of(frames: int, asked: int, boxes: np.ndarray) -> dict[str, Any]:
    """Jobs by name. Some take one side's result from another job, which measures the same: `ours_of`, `theirs_of`."""
    few = min(8, frames)
    jobs: dict[str, Any] = {
        "coverage": {"scan": "long", "kind": "coverage", "limit": 32},
        "video": {"scan": "scan", "kind": "video", "frames": frames, "repeats": 3},
    }
    for count in (few, frames):
        jobs[f"answer-{count}"] = _ask("answer", count, 32, asked)
        jobs[f"ground-{count}"] = _ask("ground", count, 64, asked)
        jobs[f"train-{count}"] = _ask("train", count, 16, max(2, asked))  # of both kinds, which take turns
    one = _ask("answer", frames, 1, asked)
    jobs["one"] = {**one, "sides": ["ours"], "theirs_of": f"answer-{frames}"}
    window = {**_ask("ground", frames, 64, 1), "kind": "window", "sliding_window": DEFAULT_WINDOW}
    jobs["window"] = {**window, "sides": ["theirs"], "ours_of": f"ground-{frames}"}
    jobs[f"train-{frames}"] = jobs.pop(f"train-{frames}")  # the longest one last
    return {name: {"sides": ["theirs", "ours"], "boxes": boxes.tolist(), **job} for name, job in jobs.items()}


def _ask(kind: str, frames: int, total: int, asked: int) -> dict[str, Any]:
    questions = [
        {"task": q.task, "id": q.item_id, "prompt": q.prompt, "answer": q.answer, "target": q.targets}
        for q in made_up.questions(kind, total)
    ]
    return {
        "scan": "scan", "kind": kind, "frames": frames, "questions": questions, "asked": asked,
        "sliding_window": NO_WINDOW, "new_tokens": 8, "warm_up": frames <= 8,
    }  # fmt: skip


def _write_scan(folder: Path, frames: int, color_size: tuple[int, int], boxes: np.ndarray) -> None:
    """A scan, and the reference's annotation of it: infos, boxes and the voxels of its surface."""
    data = folder / "data"
    scene = load_scene(write_scan(data / "scannet", frames, color_size=color_size))
    (data / "embodiedscan").mkdir(parents=True)
    (data / "metadata").mkdir()
    info = {
        "sample_idx": VIDEO,
        "images": [{"img_path": str(Path(f.color.path).relative_to(data.resolve()))} for f in scene.frames],
        "axis_align_matrix": np.asarray(scene.world_from_scan).tolist(),
        "depth_cam2img": np.asarray(scene.frames[0].depth_intrinsics).tolist(),
    }
    for split in ("train", "val", "test"):
        path = data / "embodiedscan" / f"embodiedscan_infos_{split}.pkl"
        path.write_bytes(pickle.dumps({"data_list": [info] if split == "val" else []}))
    for name, content in (("train_gt", {}), ("val_pred", {VIDEO: boxes.tolist()})):
        (data / "metadata" / f"scannet_{name}_box.json").write_text(json.dumps(content))
    cells = {scene.scene_id: [tuple(cell) for cell in surface(scene).tolist()]}
    (data / "metadata" / f"pcd_discrete_{VOXEL_M}.pkl").write_bytes(pickle.dumps(cells))


def surface(scene: Any) -> np.ndarray:
    """(N, 3) voxels of every third frame, the surface that frames are to cover."""
    points = [frame_points(scene, index, stride=4) for index in range(0, len(scene.frames), 3)]
    return unique_voxels(np.concatenate(points), VOXEL_M)
