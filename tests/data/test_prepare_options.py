"""Options of the reference's preparation scripts: --voxel_size and --threshold."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from video3d_plugin.cli import main
from video3d_plugin.data.folder import DataFolder
from video3d_plugin.data.inputs import frame_points
from video3d_plugin.data.prepare import prepare
from video3d_plugin.data.prepare_scene import SceneOptions
from video3d_plugin.errors import DataError

SCENE = "scene0000_00"


def voxels_of(points, size):
    """`discrete_point` of the reference, without a range: {(x, y, z)}."""
    return {tuple(int(v) for v in np.rint(np.float32(p) / np.float32(size))) for p in points.tolist()}


def test_the_voxel_size_is_that_of_surface_coverage_and_exported_file(full_root, tmp_path):
    plain = prepare(full_root.path, tmp_path / "plain")
    report = prepare(
        full_root.path,
        tmp_path / "data",
        reference=True,
        scene=SceneOptions(voxel_size_m=0.25),
        stages=("scenes", "frames"),
    )
    folder, other = DataFolder.open(tmp_path / "data"), DataFolder.open(tmp_path / "plain")
    assert plain.scenes and report.scenes[0].failed is None
    cells = {tuple(cell) for cell in folder.surface_cells(SCENE).tolist()}
    assert cells != {tuple(cell) for cell in other.surface_cells(SCENE).tolist()}
    metadata = tmp_path / "data" / "reference" / "metadata"
    assert {*pickle.loads((metadata / "pcd_discrete_0.25.pkl").read_bytes())[SCENE]} == cells
    coverage, scene = folder.coverage(SCENE), folder.scene(SCENE)
    assert (coverage.voxel_size_m, other.coverage(SCENE).voxel_size_m) == (0.25, 0.1)
    for index in range(len(scene.frames)):
        seen = {tuple(cell) for cell in coverage.table.cells[coverage.seen(index)].tolist()}
        near = voxels_of(frame_points(scene, index), 0.25) & cells
        assert len(seen ^ near) <= 0.02 * max(len(near), 50)  # points on the face between two voxels
    assert folder.frames_key(SCENE) != other.frames_key(SCENE)  # a selection of other voxels is not used
    again = prepare(
        full_root.path, tmp_path / "data", scene=SceneOptions(voxel_size_m=0.25), stages=("scenes", "frames")
    )
    assert again.scenes[0].reused
    assert not prepare(full_root.path, tmp_path / "data", stages=("scenes", "frames")).scenes[0].reused


def test_the_threshold_decides_which_proposals_stand_for_objects(full_root, tmp_path):
    def boxes(threshold):
        prepare(full_root.path, tmp_path / "data", scene=SceneOptions(check="headers"), threshold=threshold)
        docs = DataFolder.open(tmp_path / "data").docs("scan2cap", "val")
        return [(doc["box_iou"], doc["box"]) for doc in docs]

    ious = [iou for iou, _ in boxes(0.0)]
    assert all(iou is None or iou > 0 for iou in ious)  # the reference starts from an IoU of 0, which must be exceeded
    for threshold in (0.3, 0.5, 1.0):
        expected = [iou if iou is not None and iou >= threshold else None for iou in ious]
        assert [iou for iou, _ in boxes(threshold)] == expected
        assert all((iou is None) == (box is None) for iou, box in boxes(threshold))


@pytest.mark.parametrize("option", [{"threshold": 1.5}, {"threshold": float("nan")}])
def test_a_threshold_that_is_no_iou_is_refused(full_root, tmp_path, option):
    with pytest.raises(DataError, match="threshold"):
        prepare(full_root.path, tmp_path / "data", **option)


@pytest.mark.parametrize("size", [0, -0.1, float("nan"), 5])
def test_a_voxel_size_that_is_none_is_refused(size):
    with pytest.raises(DataError, match="voxel size"):
        SceneOptions(voxel_size_m=size)


def test_the_command_passes_both(full_root, tmp_path, capsys):
    words = ["prepare", str(full_root.path), "-o", str(tmp_path / "data"), "--voxel-size", "0.2", "--threshold", "0.9"]
    assert main([*words, "--check", "headers"]) == 0
    record = json.loads((tmp_path / "data" / "scenes" / f"{SCENE}.json").read_text())
    assert record["voxel_size_m"] == 0.2
    assert main([*words[:-1], "7"]) == 2 and "threshold 7" in capsys.readouterr().err
