"""The number format of coordinates: where it comes from, and what it is part of."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from video3d_plugin import load_model
from video3d_plugin.arguments import ArgumentError
from video3d_plugin.config import Video3DConfig
from video3d_plugin.data import store
from video3d_plugin.data.inputs import scene_inputs
from video3d_plugin.data.readers import load_scene
from video3d_plugin.errors import DataError
from video3d_plugin.hosts.lmms_eval.options import ModelOptions
from video3d_plugin.inputs_spec import COORDINATE_DTYPES, InputsSpec
from video3d_plugin.model.position import SinePosition
from video3d_plugin.model.prefix.key import prefix_key
from video3d_plugin.training.settings import TrainSettings


def rewritten(checkpoint, folder, **changes):
    """A copy of a checkpoint with other fields of config.json; None removes one."""
    folder.mkdir()
    for path in checkpoint.iterdir():
        if path.is_file() and path.name != "config.json":
            (folder / path.name).symlink_to(path)
    content = {**json.loads((checkpoint / "config.json").read_text()), **changes}
    (folder / "config.json").write_text(json.dumps({name: v for name, v in content.items() if v is not None}))
    return folder


@pytest.mark.parametrize(
    "changes, given, expected",
    [
        ({}, None, "float32"),
        ({}, "bfloat16", "bfloat16"),
        ({"coordinate_dtype": "bfloat16"}, None, "bfloat16"),
        ({"model_type": "llava_qwen"}, None, "float16"),
        ({"model_type": "llava_qwen"}, "float32", "float32"),
        ({"model_type": "llava_qwen", "coordinate_dtype": "float32"}, None, "float32"),
    ],
)
def test_it_is_the_callers_the_checkpoints_or_that_of_the_published_numbers(
    tiny_checkpoint, tmp_path, changes, given, expected
):
    folder = rewritten(tiny_checkpoint, tmp_path / "c", **changes)
    model = load_model(folder, device="cpu", **({} if given is None else {"coordinate_dtype": given}))
    assert model.spec.coordinate_dtype == model.model.config.position.coordinate_dtype == expected
    model.model.save_pretrained(tmp_path / "saved")
    assert Video3DConfig.from_pretrained(tmp_path / "saved").coordinates == expected


def test_another_format_is_refused_in_one_line(tiny_checkpoint, tmp_path):
    with pytest.raises(ArgumentError, match="coordinate_dtype"):
        load_model(tiny_checkpoint, coordinate_dtype="float64")
    folder = rewritten(tiny_checkpoint, tmp_path / "c", coordinate_dtype="float8")
    with pytest.raises(DataError, match="coordinate_dtype"):
        load_model(folder, device="cpu")
    with pytest.raises(DataError, match="coordinate_dtype"):
        TrainSettings(coordinate_dtype="half")
    with pytest.raises(Exception, match=r"coordinate_dtype=half is not known \(known: float32"):
        ModelOptions.from_model_args({"pretrained": "x", "coordinate_dtype": "half"})


def test_the_store_knows_it_and_older_files_stay_valid(my_scan, tmp_path):
    scene = load_scene(my_scan)
    specs = {dtype: InputsSpec(image_size=28, coordinate_dtype=dtype) for dtype in COORDINATE_DTYPES}
    keys = {dtype: store.key_of("s", spec, ["0"], np.zeros((0, 6)), np.zeros(0)) for dtype, spec in specs.items()}
    assert len(set(keys.values())) == 3
    assert "coordinate_dtype" not in specs["float32"].as_dict()
    assert asdict(specs["float32"]) == {**asdict(InputsSpec()), **specs["float32"].as_dict()}
    box = np.array([[1.2345678, 2.3456789, 0.5, 1, 1, 1]], np.float32)
    for dtype, spec in specs.items():
        inputs = scene_inputs(scene, [0, 1], spec, proposals=box)
        store.write(tmp_path / f"{dtype}.safetensors", inputs)
        stored = store.read(tmp_path / f"{dtype}.safetensors")
        assert stored is not None and stored.spec == spec and torch.equal(stored.token_points, inputs.token_points)
        rounded = torch.from_numpy(box).to(getattr(torch, dtype)).float()
        assert torch.equal(stored.proposals, rounded)
        assert torch.equal(inputs.token_points, inputs.token_points.to(getattr(torch, dtype)).float())


def test_the_prefix_cache_knows_it(tiny_checkpoint):
    models = [load_model(tiny_checkpoint, device="cpu", coordinate_dtype=dtype) for dtype in COORDINATE_DTYPES]
    assert len({prefix_key(model.model, model.processor) for model in models}) == 3


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("bound", [15, 15.0])
def test_voxels_are_computed_as_torch_does_with_the_range_as_it_is_written(dtype, bound):
    """`discrete_coords` of the reference, whose tensors of the range have the type of the numbers in config.json."""
    config = Video3DConfig(
        vision_config={"image_size": 28, "patch_size": 14, "hidden_size": 8, "intermediate_size": 8,
                       "num_hidden_layers": 1, "num_attention_heads": 1},
        world_position_embedding_type="avg-discrete-sin3d", coordinate_dtype=dtype,
        min_xyz_range=[-15, -15, -5], max_xyz_range=[bound, bound, 5],
    )  # fmt: skip
    points = torch.randn(500, 1, 3, generator=torch.Generator().manual_seed(0)) * 6
    low, high = torch.tensor([-15, -15, -5]), torch.tensor([bound, bound, 5])
    cast = points.to(getattr(torch, dtype))
    voxels = ((torch.minimum(torch.maximum(cast, low), high) - low) / 0.1).round()
    exact = SinePosition(64, Video3DConfig(**{**config.to_dict(), "coordinate_dtype": None}).position)
    spec = config.position
    expected = type(exact)(64, spec)
    from video3d_plugin.model.position import in_its_format, sine_position

    assert in_its_format(points, spec).dtype == voxels.dtype and torch.equal(in_its_format(points, spec), voxels)
    assert torch.equal(expected(points), sine_position(voxels, 64).to(voxels.dtype).float())
    assert not torch.equal(expected(points), exact(points))
