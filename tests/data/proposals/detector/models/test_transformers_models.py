"""Detectors of transformers, with small random models of each kind."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_detectors import DETECTORS, NAMES, bert

from video3d_plugin.data.proposals.detector import load_detector
from video3d_plugin.data.proposals.detector.models.mask_generation import decode_runs
from video3d_plugin.errors import DataError, MissingError

ZERO_SHOT = ("owlv2", "grounding_dino")
WITH_MASKS = ("mask2former", "sam")
CLASSES = ("chair", "coffee table")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """{kind: folder of a model}, each written when a test first asks for it."""
    root = tmp_path_factory.mktemp("detectors")

    class Folders(dict):
        def __missing__(self, kind):
            try:
                self[kind] = DETECTORS[kind](root / kind)
            except (ImportError, RuntimeError) as error:  # transformers 4.45 imports torchvision for some models
                if "torchvision" not in str(error):
                    raise
                pytest.skip(f"{kind} needs torchvision here")
            return self[kind]

    return Folders()


@pytest.fixture
def image():
    return Image.fromarray(np.random.RandomState(0).randint(0, 255, (48, 64, 3), dtype=np.uint8))


@pytest.mark.parametrize("kind", DETECTORS)
def test_every_kind_gives_masks_or_boxes_with_labels_and_scores(kind, folders, image):
    if kind == "rt_detr" and not hasattr(torch.compiler, "is_compiling"):
        pytest.skip("transformers' RT-DETR needs torch 2.3")
    detections = load_detector(str(folders[kind]), CLASSES if kind in ZERO_SHOT else ())(image)
    assert detections
    names = {"sam": {""}}.get(kind, set(CLASSES) if kind in ZERO_SHOT else set(NAMES.values()))
    for found in detections:
        assert found.label in names and 0 <= found.score <= 1
        if kind in WITH_MASKS:
            assert found.box is None and found.mask.shape == (48, 64) and found.mask.dtype == bool
        else:
            assert found.mask is None and found.box.shape == (4,) and ((found.box >= 0) & (found.box <= 1)).all()


def test_classes_of_a_detector_that_has_its_own_select_among_them(folders, image):
    assert load_detector(str(folders["yolos"]), ("lamp",))(image) == []  # all are chairs
    assert {found.label for found in load_detector(str(folders["yolos"]), ("chair",))(image)} == {"chair"}
    with pytest.raises(DataError, match=r"has no class 'sofa' \(its classes: chair, table, lamp\)"):
        load_detector(str(folders["yolos"]), ("sofa",))


@pytest.mark.parametrize("kind", ZERO_SHOT)
def test_a_zero_shot_model_needs_names(kind, folders):
    with pytest.raises(DataError, match="needs the names of the objects .*--classes"):
        load_detector(str(folders[kind]), ())


def test_a_mask_generator_takes_no_names(folders):
    with pytest.raises(DataError, match="without names"):
        load_detector(str(folders["sam"]), ("chair",))


def test_a_model_of_another_kind_is_refused_with_what_is_supported(tmp_path):
    with pytest.raises(DataError, match="is a BertModel, which is no detector .expected an object detector, a zero-s"):
        load_detector(str(bert(tmp_path)), ())


def test_pickled_weights_are_not_read(folders, tmp_path):
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((folders["yolos"] / name).read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(MissingError, match="cannot be loaded: .*safetensors"):
        load_detector(str(tmp_path), ())


def test_code_of_a_model_repository_does_not_run(folders, tmp_path):
    config = json.loads((folders["yolos"] / "config.json").read_text())
    config |= {"model_type": "their_own", "auto_map": {"AutoConfig": "theirs.TheirConfig"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "theirs.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(MissingError, match="cannot be loaded"):
        load_detector(str(tmp_path), ())
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"model_type": 3}'])
def test_a_damaged_configuration_is_one_line(content, tmp_path):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises((MissingError, DataError)) as caught:
        load_detector(str(tmp_path), ())
    assert "\n" not in str(caught.value)


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(MissingError, match="someone/something: cannot be loaded: .*check the name and the network"):
        load_detector("someone/something", ())


def test_a_missing_folder_is_no_name_of_the_hub():
    with pytest.raises(MissingError, match="there is no such detector: '/no/such/folder'"):
        load_detector("/no/such/folder", ())


def test_runs_go_down_the_columns_and_start_outside_the_mask():
    mask = np.array([[0, 1, 1], [1, 1, 0]], bool)
    assert (decode_runs({"size": [2, 3], "counts": [1, 4, 1]}) == mask).all()
    assert decode_runs({"size": [2, 3], "counts": [0, 6]}).all()
    assert not decode_runs({"size": [2, 3], "counts": [6]}).any()
