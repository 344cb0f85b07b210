"""A real HoloLens scan (VIDEO3D_SHARED/realscan) against what the reference scripts made of it (its `expected`).

Reference: LaVi-Lab/Video-3D-LLM at 3ff70e8. Pixels may differ by 2 grey levels, coordinates and boxes by 1e-4 m;
voxels must be equal up to a counted band of points at a rounding edge; items are equal as JSON.
"""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from video3d_plugin.data.folder import DataFolder
from video3d_plugin.data.frames import open_color, read_depth
from video3d_plugin.data.inputs import crops, sample
from video3d_plugin.data.prepare import prepare
from video3d_plugin.data.readers import load_scene
from video3d_plugin.data.readers.pickles import as_array, load_pickle, load_pth
from video3d_plugin.inputs_spec import InputsSpec

SCENE = "scene9001_00"


@pytest.fixture(scope="module")
def real(shared):
    folder = shared / "realscan"
    if not folder.is_dir():
        pytest.skip("VIDEO3D_SHARED has no realscan")
    return folder


@pytest.fixture(scope="module")
def expected(real):
    return real / "expected"


@pytest.fixture(scope="module")
def prepared(real, tmp_path_factory):
    output = tmp_path_factory.mktemp("real") / "data"
    report = prepare(real, output, reference=True)
    assert not report.omissions
    return DataFolder.open(output)


@pytest.fixture(scope="module")
def written(prepared):
    return prepared.path / "reference"


def read(path):
    return json.loads(path.read_text())


def names(files):
    return [file.rsplit("/", 1)[-1].removesuffix(".jpg") for file in files]


def test_uniform_frames(prepared, expected):
    said = read(expected / "video_processor.json")[f"uniform|scannet/{SCENE}"]
    scene = prepared.scene(SCENE)
    for count, files in (
        (32, said["frames"]),
        (8, said["frames_upbound_8"]),
        (10, said["no_force"]),
        (4, said["frames4"]),
    ):
        assert [scene.frames[i].name for i in sample(scene, "uniform", count)] == names(files)


@pytest.mark.parametrize("sampler", ["uniform", "mc", "mc-ratio90", "mc-ratio95"])
def test_pixels_and_coordinates(prepared, expected, sampler):
    """The reference's own frames, so that its random ties do not matter."""
    scene, arrays = prepared.scene(SCENE), np.load(expected / "video_processor.npz", allow_pickle=False)
    chosen = names(read(expected / "video_processor.json")[f"{sampler}|scannet/{SCENE}"]["frames4"])
    prefix = f"{sampler}__scannet-{SCENE}__"
    pixels, points = crops(scene, chosen, InputsSpec())
    assert np.abs(pixels.numpy()[0, ::8, ::8].astype(int) - arrays[prefix + "image"]).max() <= 2
    assert np.abs(points.numpy()[:2, ::16, ::16] - arrays[prefix + "world_coords"]).max() <= 1e-4


def test_max_coverage_adds_what_the_reference_adds(prepared, expected):
    """The gains are equal although the frames may differ where the reference drew lots."""
    (said,) = read(expected / "scannet_select_frames.json")
    coverage = prepared.coverage(SCENE).select(32)
    assert list(coverage.gains) == said["voxel_nums"]
    assert (coverage.visible, sum(coverage.gains)) == (said["num_all_voxels"], said["num_select_voxels"])
    first_tie = next(i for i, (a, b) in enumerate(zip(coverage.gains, coverage.gains[1:], strict=False)) if a == b)
    scene = prepared.scene(SCENE)
    assert [scene.frames[i].name for i in coverage.order[:first_tie]] == names(said["frame_files"])[:first_tie]


def test_a_released_choice_of_frames_is_used_as_it_is(real, expected, tmp_path):
    """With the reference's own choice among the source's files, its random ties included, every sampler agrees."""
    source = tmp_path / "source"
    shutil.copytree(real, source, ignore=shutil.ignore_patterns("expected", "annotations"))
    (source / "metadata").mkdir()
    shutil.copy(expected / "scannet_select_frames.json", source / "metadata")
    prepare(source, tmp_path / "data")
    folder, said = DataFolder.open(tmp_path / "data"), read(expected / "video_processor.json")
    for sampler in ("mc", "mc-ratio90", "mc-ratio95"):
        chosen = [folder.scene(SCENE).frames[i].name for i in folder.frames(SCENE, sampler, 32)]
        assert chosen == names(said[f"{sampler}|scannet/{SCENE}"]["frames"])


def test_ratio_samplers_stop_where_the_reference_stops(prepared, expected):
    said = read(expected / "video_processor.json")
    for sampler in ("mc-ratio90", "mc-ratio95"):
        assert len(prepared.frames(SCENE, sampler, 32)) == len(said[f"{sampler}|scannet/{SCENE}"]["frames"])


def test_boxes(written, expected):
    for name in ("scannet_val_gt_box.json", "scannet_val_pred_box.json"):
        got, want = read(written / "metadata" / name), read(expected / name)
        assert got.keys() == want.keys()
        for scene_id in want:
            np.testing.assert_allclose(got[scene_id], want[scene_id], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["scanrefer_vg", "multi3drefer", "scan2cap", "scanqa"])
def test_items_are_equal_as_json(written, expected, name):
    file = f"{name}_val_llava_style.json"
    assert read(written / "processed" / file) == read(expected / file)


def test_voxels(written, expected):
    got = as_array(load_pickle(written / "metadata" / "pcd_discrete_0.1.pkl")[SCENE], "got", "voxels")
    want = np.load(expected / "pcd_discrete_0.1.npz", allow_pickle=False)["voxels"]
    differing = {tuple(c) for c in got.tolist()} ^ {tuple(c) for c in want.tolist()}
    assert len(got) == len(want) and len(differing) <= 2


def test_the_scan_with_labels_and_corners(written, expected):
    path = written / "scannet" / "pcd_with_object_aabbs" / "val" / f"{SCENE}.pth"
    scan, want = load_pth(path), np.load(expected / "aabbs.npz", allow_pickle=False)
    array = {name: as_array(scan[name], path, name) for name in scan}
    for name in ("aabb_obj_ids", "instance_ids", "sem_labels"):
        assert array[name].dtype == want[name].dtype and (array[name] == want[name]).all(), name
    assert np.abs(array["xyz"][:1000] - want["xyz_head"]).max() <= 1e-4
    for got, box in zip(array["aabb_corner_xyz"], want["aabb_corner_xyz"], strict=True):
        assert {tuple(c) for c in got.round(4).tolist()} == {tuple(c) for c in box.round(4).tolist()}
    assert np.allclose(np.linalg.norm(array["normal"], axis=1), 1, atol=1e-5) and array["rgb"].dtype == np.uint8
    core = np._core if hasattr(np, "_core") else np.core
    arrays = [
        core.multiarray._reconstruct,
        np.ndarray,
        np.dtype,
        *(type(np.dtype(t)) for t in ("f4", "u1", "i1", "i2")),
    ]
    if hasattr(torch.serialization, "safe_globals"):  # torch 2.5 itself reads it, as the reference does
        with torch.serialization.safe_globals(arrays):
            content = torch.load(path, weights_only=True)
        assert set(content) == set(scan)


def test_the_sens_holds_the_frames_of_the_folder(real):
    """Colour byte by byte, depth pixel by pixel, poses to the six decimals of the text files."""
    sens = load_scene(real / "scans" / SCENE / f"{SCENE}.sens")
    posed = load_scene(real / "posed_images" / SCENE)
    assert len(sens.frames) == len(posed.frames) == 38
    for a, b in list(zip(sens.frames, posed.frames, strict=True))[::9]:
        assert (read_depth(a) == read_depth(b)).all()
        assert np.abs(np.asarray(open_color(a)).astype(int) - np.asarray(open_color(b))).mean() < 4
        np.testing.assert_allclose(a.scan_from_camera, b.scan_from_camera, atol=1e-5)


def test_every_task_is_ready(prepared):
    assert prepared.tasks() == {
        ("scanrefer", "val"): 25,
        ("multi3drefer", "val"): 6,
        ("scan2cap", "val"): 13,
        ("scanqa", "val"): 3,
    }
    inputs = prepared.inputs(SCENE, InputsSpec(), sampler="mc-ratio95")
    assert inputs.proposals.shape == (50, 6) and len(inputs.frames) == 13 and inputs.proposal_patches.any()
