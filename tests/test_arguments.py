"""A wrong argument of the Python API is named, with what was expected; no traceback from inside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from video3d_plugin import load_model, load_scene
from video3d_plugin.arguments import ArgumentError
from video3d_plugin.errors import DataError
from video3d_plugin.loading import default_checkpoint
from video3d_plugin.scene import Question


@pytest.fixture(scope="module")
def model():
    return load_model(default_checkpoint(), device="cpu")


@pytest.fixture(scope="module")
def inputs(model):
    from video3d_plugin.scene import SceneInputs

    spec = model.spec
    g, n, side = spec.grid_side, spec.object_grid_side, spec.used_side
    return SceneInputs(
        spec=spec, scene_id="a", frames=("0",), pixels=torch.zeros(1, side, side, 3, dtype=torch.uint8),
        token_points=torch.zeros(1, g, g, spec.points_per_token, 3), token_valid=torch.ones(1, g, g, dtype=torch.bool),
        proposals=torch.ones(1, 6), proposal_bits=torch.zeros(1, 1, -(-n * n // 8), dtype=torch.uint8),
        proposal_ids=torch.tensor([0]),
    )  # fmt: skip


LOAD = [
    ({"path": 7}, "path is 7, expected a path"),
    ({"path": ["a"]}, "path is a list"),
    ({"path": ""}, "path is ''"),
    ({"path": "a\0b"}, "null"),
    ({"lora": 3}, "lora is 3"),
    ({"device": 0}, "device is 0"),
    ({"dtype": 32}, "dtype is 32.*bfloat16"),
    ({"sampler": 4}, "sampler is 4"),
    ({"max_frames": "4"}, "max_frames is '4', expected a whole number"),
    ({"max_frames": 0}, "max_frames is 0"),
    ({"max_frames": True}, "max_frames is True"),
    ({"max_frames": 2.5}, "max_frames is 2.5"),
    ({"attn_implementation": None}, "attn_implementation is None"),
    ({"prefix_attention": "fast"}, "prefix_attention is 'fast', expected one of cascade, expanded"),
]


@pytest.mark.parametrize(("given", "says"), LOAD)
def test_load_model_names_the_argument(given, says):
    with pytest.raises(ArgumentError, match=says) as error:
        load_model(**given)
    assert isinstance(error.value, TypeError) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (((7,), {}), "path is 7"),
        (((None,), {}), "path is None"),
        ((("x",), {"scene_id": 3}), "scene_id is 3"),
        ((("x",), {"frame_step": "2"}), "frame_step is '2'"),
        ((("x",), {"frame_step": 0}), "frame_step is 0"),
    ],
)
def test_load_scene_names_the_argument(given, says):
    with pytest.raises(ArgumentError, match=says):
        load_scene(*given[0], **given[1])


ASKED = [
    ("answer", (None, "x"), {}, "scene is None, expected a Scene"),
    ("answer", (7, "x"), {}, "scene is 7"),
    ("answer", ("S", 7), {}, "questions is 7, expected a list, each text or a Question"),
    ("answer", ("S", None), {}, "questions is None"),
    ("answer", ("S", b"x"), {}, "questions is a bytes"),
    ("answer", ("S", {"a": "b"}), {}, "questions is a dict"),
    ("answer", ("S", ["x", 3]), {}, r"questions\[1\] is 3, expected text or a Question"),
    ("answer", ("S", "x"), {"prompt": 3}, "prompt is 3"),
    ("answer", ("S", "x"), {"points": 3}, "points is 3"),
    ("answer", ("S", "x"), {"points": [3]}, "a point is 3"),
    ("answer", ("S", "x"), {"points": [["a", 1, 2]]}, "a point is a list"),
    ("answer", ("S", "x"), {"max_new_tokens": "8"}, "max_new_tokens is '8'"),
    ("answer", ("S", "x"), {"max_new_tokens": -1}, "max_new_tokens is -1"),
    ("answer", ("S", "x"), {"batch_size": 1.5}, "batch_size is 1.5"),
    ("answer", ("S", "x"), {"temprature": 1}, "temprature is 1, expected no such argument of answer .known: do_sample"),
    ("answer", ("S", "x"), {"do_sample": True, "temperature": 0}, "temperature is 0"),
    ("answer", ("S", "x"), {"do_sample": True, "top_p": "a"}, "top_p is 'a'"),
    ("answer", ("S", "x"), {"do_sample": "yes"}, "do_sample is 'yes'"),
    ("ground", ("S", 3), {}, "descriptions is 3"),
    ("ground", ("S", "x"), {"several": "no"}, "several is 'no'"),
    ("ground", ("S", "x"), {"batch_size": None}, "batch_size is None"),
    ("ground_scores", ("S", [None]), {}, r"questions\[0\] is None"),
    ("caption", ("S", 3), {}, "where is 3"),
    ("caption", ("S", "x"), {}, "where is 'x'"),
    ("caption", ("S", [["x"]]), {}, "a point is a list"),
    ("encode_scene", (3,), {}, "scene is 3"),
    ("encode_scene", ("S",), {"max_frames": 3}, "max_frames is 3, expected no such argument"),
    ("inputs", ("S",), {}, "scene is a SceneInputs, expected a Scene"),
]


@pytest.mark.parametrize(("method", "given", "options", "says"), ASKED)
def test_asking_names_the_argument(model, inputs, method, given, options, says):
    given = [inputs if value == "S" else value for value in given]
    with pytest.raises(ArgumentError, match=says) as error:
        getattr(model, method)(*given, **options)
    assert "\n" not in str(error.value)


def test_the_processor_names_the_argument(model, inputs):
    for given, says in (
        ((3, [inputs]), "questions is 3"),
        ((["x"], [inputs]), r"questions\[0\] is 'x', expected a Question"),
        (([Question("t", "1", "a", "<image>x")], inputs), "scenes is a SceneInputs"),
        (([Question("t", "1", "a", "<image>x")], [None]), r"scenes\[0\] is None"),
    ):
        with pytest.raises(ArgumentError, match=says):
            model.processor(*given)


def test_numbers_of_numpy_and_paths_are_taken(model, inputs):
    assert isinstance(model.answer(inputs, np.array(["why"]).tolist(), max_new_tokens=np.int64(1))[0], str)
    assert len(model.answer(inputs, (text for text in ("a", "b")), max_new_tokens=1)) == 2
    assert load_model(Path(default_checkpoint()), device=torch.device("cpu"), max_frames=np.int32(3)).max_frames == 3


def test_an_argument_error_is_both_kinds():
    assert issubclass(ArgumentError, TypeError) and issubclass(ArgumentError, DataError)
