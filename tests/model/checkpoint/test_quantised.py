"""Weights of 8 and 4 bits: which library is chosen, and what a loaded model does."""

from __future__ import annotations

from importlib import metadata

import pytest
import torch
from model_cases import question, random_scene

from video3d_plugin.errors import MissingError
from video3d_plugin.model.checkpoint import quantised
from video3d_plugin.model.checkpoint.quantised import library_for, with_quantisation
from video3d_plugin.pipeline import load_model

BOTH = {"bitsandbytes": "0.50.2", "torchao": "0.18.0"}


@pytest.fixture
def installed(monkeypatch):
    """installed(name=version, ...) pretends that these libraries are installed, and that transformers is 5."""

    def pretend(**versions):
        def version(name):
            if name not in versions:
                raise metadata.PackageNotFoundError(name)
            return versions[name]

        monkeypatch.setattr(quantised.metadata, "version", version)
        monkeypatch.setattr(quantised, "TRANSFORMERS_VERSION", (5, 0))

    return pretend


@pytest.mark.parametrize(
    ("bits", "on_cuda", "row"),
    [
        ("load_in_8bit", True, ["bitsandbytes", "torchao"]),
        ("load_in_8bit", False, ["torchao", "bitsandbytes"]),
        ("load_in_4bit", True, ["bitsandbytes", "torchao"]),
        ("load_in_4bit", False, ["bitsandbytes"]),
    ],
)
def test_the_first_of_a_row_that_is_installed_is_chosen(installed, bits, on_cuda, row):
    installed(**BOTH)
    assert library_for(bits, on_cuda) == row[0]
    for name in row:
        installed(**{name: BOTH[name]})
        assert library_for(bits, on_cuda) == name
    installed()
    with pytest.raises(MissingError, match=f"{bits} on .* needs {' or '.join(row)}: {row[0]} is not installed"):
        library_for(bits, on_cuda)


def test_torchao_alone_is_not_enough_for_4_bits_on_a_cpu(installed):
    installed(torchao="0.18.0")
    with pytest.raises(MissingError, match="needs bitsandbytes: bitsandbytes is not installed .pip install"):
        library_for("load_in_4bit", on_cuda=False)


def test_versions_that_do_not_serve_are_named_in_one_line(installed, monkeypatch):
    installed(bitsandbytes="0.46.0", torchao="0.9.0+cpu")
    with pytest.raises(MissingError) as error:
        library_for("load_in_8bit", on_cuda=False)
    assert "torchao 0.9.0+cpu is older than 0.15, bitsandbytes 0.46.0 is older than 0.46.1" in str(error.value)
    assert "\n" not in str(error.value)
    monkeypatch.setattr(quantised, "TRANSFORMERS_VERSION", (4, 57))
    with pytest.raises(MissingError, match="torchao needs transformers 5"):
        library_for("load_in_8bit", on_cuda=False)


@pytest.mark.parametrize(
    ("device_map", "cuda"),
    [("cpu", False), ({"": "cpu"}, False), ({"": torch.device("cpu")}, False), ({"": 0}, True), ("cuda:1", True),
     ({"a": "cpu", "b": "cuda:0"}, True), ({"a": "disk", "b": "cpu"}, False), (None, False), ("auto", False)],
)  # fmt: skip
def test_the_device_is_that_of_the_device_map(device_map, cuda, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert quantised.goes_to_cuda(device_map) is cuda


def test_without_bits_nothing_changes_and_a_given_configuration_stays():
    assert with_quantisation({"load_in_8bit": False, "dtype": "x"}, ()) == {"dtype": "x"}
    assert with_quantisation({"load_in_8bit": True, "quantization_config": "own"}, ()) == {"quantization_config": "own"}


def test_neither_library_is_said_before_weights_are_read(tmp_path, installed):
    installed()
    with pytest.raises(MissingError, match=r"load_in_8bit .* video3d-plugin\[quantised\]"):
        load_model(device="cpu", load_in_8bit=True)


@pytest.mark.parametrize(
    ("bits", "library", "most"),
    [("load_in_8bit", "torchao", 0.05), ("load_in_8bit", "bitsandbytes", 0.05), ("load_in_4bit", "bitsandbytes", 0.5)],
)
def test_a_quantised_model_scores_about_alike_and_keeps_its_encodings(bits, library, most, monkeypatch):
    pytest.importorskip(library, reason=f"{library} is not installed")
    monkeypatch.setattr(quantised, "library_for", lambda *_: library)
    exact, small = load_model(device="cpu"), load_model(device="cpu", **{bits: True})
    scene = random_scene(exact.spec, "a", 2, 6)
    prefix, asked = small.encode_scene(scene), question("scanrefer", "a")
    one, other = (video.ground_scores(what, [asked])[0] for video, what in ((exact, scene), (small, prefix)))
    assert 0 < float((other - one).norm() / one.norm()) < most
    small.ground_scores(prefix, [asked])  # the first forward pass was no change of weights
    kinds = {type(layer.self_attn.q_proj.weight).__name__ for layer in small.model.model.layers}
    assert kinds <= {"Int8Tensor", "Int8Params", "Params4bit"} and kinds
    assert type(small.model.lm_head.weight) is torch.nn.Parameter
