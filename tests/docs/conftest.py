"""A folder in which every command of the documentation finds what it names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from threedrs_checkpoint import as_threedrs

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="package")
def whole_desk(my_scan, tiny_checkpoint, tmp_path_factory) -> Path:
    """my_scan/, captures/, mine/, SCANNET (SOURCE), DATA, CHECKPOINT, 3DRS, and files of questions and answers."""
    from video3d_plugin.data.folder import DataFolder
    from video3d_plugin.data.prepare import prepare
    from video3d_plugin.mini.rooms import make_benchmark

    folder = tmp_path_factory.mktemp("docs")
    tilted(shutil.copytree(my_scan, folder / "my_scan"))
    shutil.copytree(folder / "my_scan", folder / "captures" / "my_scan")
    (folder / "mine").mkdir()
    shutil.copytree(tiny_checkpoint, folder / "CHECKPOINT")
    as_threedrs(tiny_checkpoint, folder / "3DRS")
    write = ("posed_images", "mesh", "mask", "annotations")
    sizes = {"frames": 6, "image_size": (60, 80), "write": write, "progress": False}
    make_benchmark(folder / "SCANNET", split={"val": 1, "train": 1}, seed=3, **sizes)
    (folder / "SOURCE").symlink_to("SCANNET")  # another word for it
    (folder / "tests").symlink_to(ROOT / "tests")
    prepare(folder / "SCANNET", folder / "DATA")
    (folder / "questions.txt").write_text("How many chairs are there?\n/ground the chair\n")
    (folder / "boxes.json").write_text(json.dumps({"my_scan": [[2, 2, 0.5, 1, 1, 1], [3, 4, 0.5, 1, 1, 1]]}))
    docs = DataFolder.open(folder / "DATA").docs("sqa3d", "test")
    lines = [json.dumps({"question_id": doc["question_id"], "answer": doc["answer"]}) for doc in docs]
    (folder / "predictions.jsonl").write_text("\n".join(lines))
    return folder


def tilted(scan: Path) -> None:
    """Turn the recording's frame by 117 degrees about x, as a recording has any: it is levelled when it is read."""
    angle = np.deg2rad(117)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    for pose in scan.glob("[0-9]*.txt"):
        np.savetxt(pose, turn @ np.loadtxt(pose))


@pytest.fixture
def desk(whole_desk, tmp_path) -> Path:
    """A copy of its own for the commands of one page."""
    return Path(shutil.copytree(whole_desk, tmp_path / "desk", symlinks=True))
