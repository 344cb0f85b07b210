"""`clamp_points`: the reference's `mc-norm`, against a plain twin of its pipeline on whole images."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from video3d_plugin import load_model
from video3d_plugin.arguments import ArgumentError
from video3d_plugin.data import store
from video3d_plugin.data.inputs import crops, scene_coverage, scene_inputs
from video3d_plugin.data.readers import load_scene
from video3d_plugin.hosts.lmms_eval.options import ModelOptions
from video3d_plugin.inputs_spec import InputsSpec
from video3d_plugin.model.prefix.key import prefix_key

SPEC = InputsSpec(image_size=56)
CLAMPED = replace(SPEC, clamp_points=True)


@pytest.fixture(scope="module")
def scene(my_scan):
    return load_scene(my_scan)


@pytest.fixture(scope="module")
def surface(scene):
    """Voxels in the middle of the scan, so that most points lie outside of their extent."""
    cells = scene_coverage(scene).table.cells
    return cells[(np.abs(cells - np.median(cells, 0)) < 8).all(1)]


def test_points_are_clamped_before_they_are_averaged(scene, surface):
    coverage = scene_coverage(scene, lambda: surface)
    inputs = scene_inputs(scene, [0, 1], CLAMPED, coverage=coverage)
    whole = crops(scene, [0, 1], SPEC)[1].numpy()
    low = np.array([min(cell[axis] for cell in surface) for axis in range(3)], np.float32) / 10
    high = np.array([max(cell[axis] for cell in surface) for axis in range(3)], np.float32) / 10
    clamped = np.minimum(np.maximum(whole, low), high)
    assert (clamped != whole).any(-1).mean() > 0.2
    side = SPEC.image_size // SPEC.grid_side
    for frame, row, column in np.ndindex(2, SPEC.grid_side, SPEC.grid_side):
        cell = clamped[frame, row * side : (row + 1) * side, column * side : (column + 1) * side]
        mean = inputs.token_points[frame, row, column, 0].numpy()
        np.testing.assert_allclose(mean, cell.reshape(-1, 3).astype(float).mean(0), atol=1e-5)


def test_boxes_are_tested_against_clamped_points_and_stay_as_they_are(scene, surface):
    coverage = scene_coverage(scene, lambda: surface)
    low, high = coverage.extent
    outside = np.concatenate([high + 0.5, np.full(3, 0.6)]).astype(np.float32)[None]  # above the extent in all axes
    inputs = scene_inputs(scene, [0, 1], CLAMPED, proposals=outside, coverage=coverage)
    assert not inputs.proposal_patches.any() and torch.equal(inputs.proposals, torch.from_numpy(outside))


def test_a_scan_without_a_surface_has_the_extent_of_what_its_frames_see(scene):
    low, high = scene_coverage(scene).extent
    points = torch.cat([points[points.abs().sum(-1) > 0] for points in crops(scene, range(len(scene.frames)), SPEC)[1]])
    assert (torch.from_numpy(low) - 0.0501 <= points.amin(0)).all()
    clamped = scene_inputs(scene, [0, 1], CLAMPED).token_points
    assert (clamped >= torch.from_numpy(low)).all() and (clamped <= torch.from_numpy(high)).all()


def test_the_store_keeps_them_apart_and_older_files_stay_valid(scene, surface, tmp_path):
    keys = [store.key_of("s", spec, ["0"], np.zeros((0, 6)), np.zeros(0)) for spec in (SPEC, CLAMPED)]
    assert keys[0] != keys[1] and "clamp_points" not in SPEC.as_dict()
    inputs = scene_inputs(scene, [0], CLAMPED, coverage=scene_coverage(scene, lambda: surface))
    store.write(tmp_path / "a.safetensors", inputs)
    assert store.read(tmp_path / "a.safetensors").spec == CLAMPED


def test_the_caller_or_the_checkpoint_decides_and_a_saved_one_keeps_it(tiny_checkpoint, tmp_path):
    plain = load_model(tiny_checkpoint, device="cpu")
    model = load_model(tiny_checkpoint, device="cpu", clamp_points=True)
    assert model.spec.clamp_points and not plain.spec.clamp_points
    assert prefix_key(model.model, model.processor) != prefix_key(plain.model, plain.processor)
    model.model.save_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["clamp_points"] is True
    with pytest.raises(ArgumentError, match="clamp_points"):
        load_model(tiny_checkpoint, clamp_points="yes")
    assert ModelOptions.from_model_args({"pretrained": "x", "clamp_points": True}).clamp_points is True
    with pytest.raises(Exception, match=r"clamp_points=maybe is not known \(known: True, False\)"):
        ModelOptions.from_model_args({"pretrained": "x", "clamp_points": "maybe"})
