"""A folder in which every command of the documentation finds what it names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from threedrs_checkpoint import as_threedrs

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="package")
def desk(my_scan, tiny_checkpoint, tmp_path_factory) -> Path:
    """my_scan/, captures/, mine/, SCANNET (SOURCE), DATA, CHECKPOINT, 3DRS, and files of questions and answers."""
    from video3d_plugin.data.folder import DataFolder
    from video3d_plugin.data.prepare import prepare
    from video3d_plugin.mini.rooms import make_benchmark

    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(my_scan, folder / "my_scan")
    shutil.copytree(my_scan, folder / "captures" / "my_scan")
    (folder / "mine").mkdir()
    shutil.copytree(tiny_checkpoint, folder / "CHECKPOINT")
    as_threedrs(tiny_checkpoint, folder / "3DRS")
    write = ("posed_images", "mesh", "mask", "annotations")
    sizes = {"frames": 6, "image_size": (60, 80), "write": write, "progress": False}
    make_benchmark(folder / "SCANNET", split={"val": 1, "train": 1}, seed=3, **sizes)
    prepare(folder / "SCANNET", folder / "DATA")
    (folder / "SOURCE").symlink_to(folder / "SCANNET")  # another word for it
    (folder / "tests").symlink_to(ROOT / "tests")
    (folder / "questions.txt").write_text("How many chairs are there?\n/ground the chair\n")
    (folder / "boxes.json").write_text(json.dumps({"my_scan": [[2, 2, 0.5, 1, 1, 1], [3, 4, 0.5, 1, 1, 1]]}))
    docs = DataFolder.open(folder / "DATA").docs("sqa3d", "test")
    lines = [json.dumps({"question_id": doc["question_id"], "answer": doc["answer"]}) for doc in docs]
    (folder / "predictions.jsonl").write_text("\n".join(lines))
    return folder
