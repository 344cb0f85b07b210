"""The model of docs/extending.md inside LLaVA-NeXT: it trains, saves, resumes, and is opened as its own class."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from add_on import install_from_page

pytestmark = [pytest.mark.host, pytest.mark.slow]
OPTIONS = {"model": "roomgain", "steps": 4, "save_strategy": "steps", "save_steps": 2, "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return install_from_page(tmp_path_factory.mktemp("site") / "site", "A model")


@pytest.fixture(scope="module")
def trained(train, site, tmp_path_factory):
    output = tmp_path_factory.mktemp("roomgain") / "out"
    done, losses = train(output, first_paths=[site], **OPTIONS)
    assert done.returncode == 0, done.stderr[-3000:]
    return output, losses


def test_its_parameter_is_trained_and_its_checkpoint_names_the_class(trained, site, monkeypatch):
    from video3d_plugin.pipeline import load_model

    output, losses = trained
    assert len(losses) == 4
    assert json.loads((output / "config.json").read_text())["video3d_model"] == "roomgain"
    monkeypatch.syspath_prepend(site)
    model = load_model(output, device="cpu").model
    assert type(model).__name__ == "RoomGain" and model.initialised_parts == []
    assert torch.count_nonzero(model.scene_gain) > 0


def test_a_killed_run_of_it_goes_on_with_the_same_losses(train, trained, site, tmp_path):
    shutil.copytree(trained[0] / "checkpoint-2", tmp_path / "again" / "checkpoint-2")
    done, resumed = train(tmp_path / "again", first_paths=[site], **OPTIONS)
    assert done.returncode == 0, done.stderr[-3000:]
    assert resumed == pytest.approx(trained[1][2:], rel=1e-4)


def test_an_adapter_of_it_trains_the_parameter_in_full(train, site, tmp_path, monkeypatch):
    from video3d_plugin.pipeline import load_model

    done, _ = train(tmp_path / "lora", first_paths=[site], **{**OPTIONS, "lora_enable": True, "lora_r": 4})
    assert done.returncode == 0, done.stderr[-3000:]
    monkeypatch.syspath_prepend(site)
    model = load_model(tmp_path / "lora", device="cpu").model
    assert type(model).__name__ == "RoomGain" and torch.count_nonzero(model.scene_gain) > 0


def test_without_the_add_on_the_model_is_refused_in_one_line(train, tmp_path):
    done, losses = train(tmp_path / "out", **OPTIONS)
    assert done.returncode != 0 and losses == []
    last = done.stderr.strip().splitlines()[-1]
    assert "roomgain" in last and "Traceback" not in done.stderr, done.stderr[-2000:]
