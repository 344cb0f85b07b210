"""Detector files that OpenCV reads: a small ONNX file, and the forms of outputs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_onnx import detector_file

from video3d_plugin.data.proposals.detector.models.opencv_dnn import decode, load_opencv
from video3d_plugin.errors import DataError, MissingError

SIZE = (48, 32)  # width, height
CORNERS = [12.0, 8.0, 36.0, 24.0]
SHARES = [0.25, 0.25, 0.75, 0.75]


@pytest.fixture
def model(tmp_path):
    """Two detections; the score of the first is the mean of red, of the second the mean of blue."""
    bias = np.array([[*CORNERS, 0, 2], [0, 0, 12, 8, 0, 1]])
    weights = np.zeros((3, 2, 6))
    weights[0, 0, 4] = weights[2, 1, 4] = 1
    path = tmp_path / "detector.onnx"
    path.write_bytes(detector_file(weights.reshape(3, 12), bias.ravel(), (1, 2, 6), SIZE[::-1]))
    (tmp_path / "detector.json").write_text(json.dumps({"size": SIZE, "labels": ["person", "chair", "table"]}))
    return path


def filled(red, green, blue):
    return Image.fromarray(np.full((60, 90, 3), (red, green, blue), np.uint8))


def test_an_onnx_file_detects_in_red_green_blue_with_labels_from_the_json_file(model):
    (found,) = load_opencv(model, ())(filled(204, 255, 0))
    assert found.label == "table" and found.score == pytest.approx(0.8, abs=1e-3)
    assert found.box == pytest.approx(SHARES) and found.mask is None
    (found,) = load_opencv(model, ())(filled(0, 255, 255))
    assert found.label == "chair" and found.box == pytest.approx([0, 0, 0.25, 0.25])


def test_classes_select_labels_and_unknown_ones_are_refused(model):
    assert [found.label for found in load_opencv(model, ("chair",))(filled(255, 0, 255))] == ["chair"]
    with pytest.raises(DataError, match=r"has no class 'sofa' \(its classes: person, chair, table\)"):
        load_opencv(model, ("sofa",))


def test_without_a_json_file_classes_have_numbers(model):
    model.with_suffix(".json").unlink()
    (found,) = load_opencv(model, ())(filled(204, 0, 0))
    assert found.label == "class 2"


@pytest.mark.parametrize(
    "stated",
    [
        {"size": [0, 5]},
        {"size": 640},
        {"labels": {"one": "chair"}},
        {"labels": {"9" * 5000: "chair"}},
        {"labels": [3]},
        {"scale": "big"},
        [],
    ],
)
def test_a_wrong_json_file_is_refused_by_name(stated, model):
    model.with_suffix(".json").write_text(json.dumps(stated))
    with pytest.raises(DataError, match=r"detector\.json"):
        load_opencv(model, ())


def test_a_truncated_file_and_a_missing_one_are_one_line(model, tmp_path):
    model.write_bytes(model.read_bytes()[:-80])
    with pytest.raises(DataError, match=r"detector\.onnx: OpenCV .* cannot read it"):
        load_opencv(model, ())
    with pytest.raises(MissingError, match="file not found"):
        load_opencv(tmp_path / "none.onnx", ())
    (tmp_path / "graph.pb").write_bytes(b"no graph")
    with pytest.raises(DataError, match="cannot read it"):
        load_opencv(tmp_path / "graph.pb", ())


def row_major(rows):
    return np.array([rows], np.float32)


CENTRED = [24.0, 16.0, 24.0, 16.0]
FORMS = {
    "ssd": [np.array([[[[0, 2, 0.8, *SHARES], [0, 1, 0.1, *SHARES]]]], np.float32)],
    "end to end": [row_major([[*CORNERS, 0.8, 2]])],
    "objectness": [row_major([[*CENTRED, 0.8, 0, 0.1, 1.0, 0]] * 1 + [[*CENTRED, 0.1, 0, 1, 1, 0]] * 9)],
    "class scores": [row_major([[*CENTRED, 0.1, 0.2, 0.8, 0.0]] + [[*CENTRED, 0, 0, 0, 0]] * 9).transpose(0, 2, 1)],
    "three arrays": [np.array([2]), np.array([CORNERS]), np.array([0.8])],
    "three arrays of four": [np.array([0.8, 0.1, 0, 0]), np.array([2, 2, 2, 2]), np.array([CORNERS] * 4)],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_output_gives_the_same_detection(form):
    boxes, scores, numbers = decode(FORMS[form], SIZE, Path("model"))
    assert boxes.shape == (1, 4) and boxes[0] == pytest.approx(SHARES)
    assert scores[0] == pytest.approx(0.8) and numbers[0] == 2


def test_values_that_are_not_finite_are_left_out():
    rows = row_major([[np.nan, 8, 36, 24, 0.8, 2], [*CORNERS, np.nan, 2], [*CORNERS, 7.0, 2], [*CORNERS, 0.9, 1]])
    assert decode([rows], SIZE, Path("model"))[2].tolist() == [1]


@pytest.mark.parametrize("shape", [(1, 1000), (1, 3, 8, 8), (1, 4, 4), (2, 10, 6), ()])
def test_a_network_that_is_no_detector_is_refused(shape):
    with pytest.raises(DataError, match=r"model: has outputs of shape .*expected \(1, 1, N, 7\)"):
        decode([np.zeros(shape, np.float32)], SIZE, Path("model"))
