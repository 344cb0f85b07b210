"""The reference's numbers: LaVi-Lab/Video-3D-LLM at 3ff70e8, float32, CPU, eager attention, transformers 4.40.2,
on the inputs and weights of golden/recipe.py (rebuilt by video3d_plugin.verify.recipe)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from video3d_plugin import cli
from video3d_plugin.verify import model as verify_model
from video3d_plugin.verify import recipe
from video3d_plugin.verify import training as verify_training

CHECKOUT_GOLDENS = Path(__file__).resolve().parent.parent / "goldens"
CASES = ("default", "head_score", "newline_frame", "pe_minmax-discrete-sin3d", "pe_sample1-mlp",
         "pe_sample5-discrete-sin3d")  # fmt: skip


def test_no_golden_is_left_out(goldens):
    assert tuple(sorted(p.name for p in (goldens / "model").iterdir())) == CASES
    assert sorted(p.stem for p in (goldens / "training").iterdir()) == ["default", "head_score"]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("case", CASES)
def test_losses_logits_scores_and_tokens_are_the_references(goldens, case, attention):
    differences = verify_model.compare(goldens / "model" / case, device="cpu", dtype="float32", attention=attention)
    assert set(differences) == set(load_file(str(goldens / "model" / case / "golden.safetensors")))
    assert max(differences.values()) < 1e-4, differences


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_coordinates_in_another_number_format_are_the_references(dtype):
    case = CHECKOUT_GOLDENS / "coordinates" / f"{dtype}_avg-discrete-sin3d"
    differences = verify_model.compare(case, device="cpu", dtype="float32", attention="sdpa")
    assert set(differences) == set(load_file(str(case / "golden.safetensors")))
    assert max(differences.values()) < 1e-5, differences


def test_each_format_differs_from_the_others(goldens):
    files = [goldens / "model" / "default", *sorted((CHECKOUT_GOLDENS / "coordinates").iterdir())]
    logits = [load_file(str(path / "golden.safetensors"))["text.logits_tail"] for path in files]
    assert len(logits) == 3 and not any(torch.allclose(a, b) for a, b in ((logits[0], x) for x in logits[1:]))


def test_the_command_checks_a_folder_of_coordinates(capsys):
    assert cli.main(["verify", str(CHECKOUT_GOLDENS), "--kind", "coordinates"]) == 0
    assert "2 of 2 cases agree" in capsys.readouterr().out


@pytest.mark.parametrize("case", ["default", "head_score"])
def test_gradients_of_every_parameter_are_the_references(goldens, case):
    path = goldens / "training" / f"{case}.safetensors"
    differences = verify_training.compare(path, device="cpu", dtype="float32", attention="sdpa")
    parameters = sum(name.startswith("text.norm.") for name in differences)
    assert parameters == len(list(recipe.model(goldens / "model" / case, device="cpu", dtype="float32").parameters()))
    assert max(differences.values()) < 1e-3


def test_a_changed_golden_is_reported(goldens, tmp_path):
    case = tmp_path / "model" / "other-name"
    shutil.copytree(goldens / "model" / "default", case)
    golden = load_file(str(case / "golden.safetensors"))
    golden["ground.scores"][2] += 2e-4
    save_file(golden, str(case / "golden.safetensors"))
    (result,) = verify_model.verify(tmp_path / "model")
    assert result.ok is False and result.case == "other-name" and "ground.scores" in result.note
    golden["ground.scores"][2] -= 2e-4
    golden["text.greedy"][0, 5] += 1
    save_file(golden, str(case / "golden.safetensors"))
    (result,) = verify_model.verify(tmp_path / "model")
    assert result.ok is False and "text.greedy" in result.note


def test_a_changed_gradient_is_reported(goldens, tmp_path):
    shutil.copytree(goldens / "model" / "default", tmp_path / "model" / "default")
    golden = load_file(str(goldens / "training" / "default.safetensors"))
    golden["text.norm.model.layers.0.mlp.up_proj.weight"] *= 1.002
    (tmp_path / "training").mkdir()
    save_file(golden, str(tmp_path / "training" / "default.safetensors"))
    (result,) = verify_training.verify(tmp_path / "training")
    assert result.ok is False and "up_proj" in result.note


def test_half_precision_stays_near(goldens):
    (result, *_) = verify_model.verify(goldens / "model", dtype="bfloat16")
    assert result.ok and result.worst > 1e-4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("case", CASES)
def test_a_gpu_gives_the_references_numbers(goldens, case):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    differences = verify_model.compare(goldens / "model" / case, device="cuda", dtype="float32", attention="sdpa")
    assert max(differences.values()) < 1e-4, differences
