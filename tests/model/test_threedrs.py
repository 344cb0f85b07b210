"""Checkpoints of 3DRS: against its own functions, and the model against plain means of the full forward pass."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from model_cases import alone, question, random_scene
from PIL import Image
from threedrs_checkpoint import as_threedrs

from video3d_plugin.data.inputs import crops
from video3d_plugin.errors import DataError
from video3d_plugin.geometry.boxes import proposal_bits, unpack_patches
from video3d_plugin.inputs_spec import InputsSpec
from video3d_plugin.model.checkpoint.forks import adapt_to_fork
from video3d_plugin.model.modeling import Video3DForCausalLM
from video3d_plugin.model.prefix.inference import encode_scene, ground
from video3d_plugin.model.scene_tokens import SceneTokens, grounding_features
from video3d_plugin.model.sequence import IMAGE_ID
from video3d_plugin.scene import FileSlice, Frame, Scene

FORK = {"grounding_features": "tower_and_language_model", "frame_fit": "resize"}
SPEC = InputsSpec(fit="resize", token_boxes=True)


@pytest.fixture(scope="module")
def golden(data_goldens):
    with np.load(data_goldens / "threedrs" / "golden.npz") as file:
        return dict(file)


def golden_points() -> torch.Tensor:
    """The points that the golden was computed of, (32, 384, 384, 3)."""
    v, y, x = np.meshgrid(np.arange(32), np.arange(384), np.arange(384), indexing="ij")
    axes = (
        np.sin(x / 61 + v / 5) * 2 + y / 300,
        np.cos(y / 47 - v / 7) * 2 + x / 400,
        1 + np.sin((x + y) / 83 + v / 3),
    )
    return torch.from_numpy(np.stack(axes, -1).astype(np.float32))


def test_features_of_proposals_are_those_of_its_own_functions(golden):
    random = np.random.RandomState(int(golden["hidden_seed"]))
    hidden = torch.from_numpy(random.standard_normal((1, 3 + 32 * 14 * 15 + 4, 6)).astype(np.float32))[0, 3:-4]
    bits = proposal_bits(golden_points(), torch.from_numpy(golden["boxes"]), SPEC)
    inside = unpack_patches(bits[..., -SPEC.token_bytes :], SPEC.grid_side).flatten(1)
    columns = torch.arange(32 * 14 * 15).view(32 * 14, 15)[:, :-1].flatten()  # a newline ends each row
    tokens = SceneTokens(hidden, torch.from_numpy(golden["tower"]), inside, columns)
    assert torch.allclose(grounding_features(tokens, hidden), torch.from_numpy(golden["mean"]), atol=1e-6)
    assert (golden["language"] != 0).any(1).sum() == 6  # and three proposals without a token


def test_frames_are_resized_as_by_its_own_functions(golden, tmp_path):
    Image.fromarray(golden["color"]).save(tmp_path / "0.png")
    Image.fromarray(golden["depth"]).save(tmp_path / "0d.png")
    frame = Frame(
        name="0",
        color=FileSlice(tmp_path / "0.png"),
        depth=FileSlice(tmp_path / "0d.png"),
        scan_from_camera=golden["pose"],
        depth_intrinsics=golden["intrinsics"],
        depth_size=golden["depth"].shape,
    )
    scene = Scene("s", (frame,), np.eye(4))
    pixels, points = crops(scene, [0], SPEC)
    assert np.array_equal(pixels[0, ::16, ::16].numpy(), golden["pixels"])
    assert np.abs(points[0, ::16, ::16].numpy() - golden["world"]).max() < 1e-5
    assert not np.array_equal(crops(scene, [0], InputsSpec())[0][0, ::16, ::16].numpy(), golden["pixels"])


@pytest.fixture(scope="module")
def pair(build):
    return build(**FORK)


@pytest.fixture(scope="module")
def scene(pair):
    return random_scene(pair[0].config.inputs_spec, "b", 3, 5, seed=2)


def test_the_model_s_spec_resizes_and_asks_for_tokens(pair, scene):
    spec = pair[0].config.inputs_spec
    assert (spec.fit, spec.token_boxes) == ("resize", True)
    assert scene.proposal_bits.shape[2] == spec.proposal_bytes
    assert spec.as_dict()["token_boxes"] and "token_boxes" not in InputsSpec().as_dict()


def twin(model, processor, scene) -> torch.Tensor:
    """Features by transformers' forward pass and a loop over proposals."""
    from video3d_plugin.model.scene_tokens import encode_scene_tokens

    tokens = encode_scene_tokens(model, scene.tensors())
    rows, _ = model.assemble(torch.tensor([processor.prefix_ids()]), [tokens])
    hidden = model.model(inputs_embeds=rows.embeds, attention_mask=rows.mask).last_hidden_state[0]
    g, frames = scene.spec.grid_side, len(scene.frames)
    states = hidden[rows.ids[0] == IMAGE_ID]
    newlines = model.config.layout.newline == "grid"
    states = states.view(frames, g, g + 1, -1)[:, :, :-1] if newlines else states.view(frames, g, g, -1)
    inside = unpack_patches(scene.proposal_bits[..., -scene.spec.token_bytes :], g)
    features = []
    for box, own in zip(inside, tokens.proposals, strict=True):
        features.append((own + (states[box].mean(0) if box.any() else 0)) / 2)
    return torch.stack(features)


@torch.no_grad()
def test_grounding_compares_with_the_mean_of_both_features(pair, scene):
    model, processor = pair
    model.eval()
    asked = question("scanrefer", "b")
    prefix = encode_scene(model, processor, scene)
    expected = twin(model, processor, scene)
    assert torch.allclose(prefix.proposals, expected, atol=1e-5)
    (scores,) = ground(model, processor, prefix, [asked])
    batch = alone(processor, asked, [scene])
    assert torch.allclose(model(**batch).ground_scores[0], scores, atol=1e-4)


def save_as_threedrs(model, processor, folder, left_out="-"):
    """A checkpoint of the model as 3DRS writes it."""
    model.save_pretrained(folder / "plain")
    processor.save_pretrained(folder / "plain")
    return as_threedrs(folder / "plain", folder / "3DRS", left_out)


def test_its_checkpoint_is_recognised_and_what_is_left_out_is_named(pair, scene, tmp_path, caplog):
    model, processor = pair
    model.eval()
    folder = save_as_threedrs(model, processor, tmp_path)
    with caplog.at_level(logging.WARNING):
        loaded = Video3DForCausalLM.from_pretrained(folder)
    assert "3DRS: corres_linear, linear_dc, geometric_linear, proj_3d are left out" in caplog.text
    assert loaded.config.inputs_spec == model.config.inputs_spec and not loaded.initialised_parts
    loaded.eval()
    assert torch.equal(
        encode_scene(loaded, processor, scene).proposals, encode_scene(model, processor, scene).proposals
    )
    loaded.save_pretrained(tmp_path / "again")
    assert Video3DForCausalLM.from_pretrained(tmp_path / "again").config.inputs_spec == model.config.inputs_spec


def test_the_page_s_lines_load_it(pair, tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[2] / "docs" / "faq.md").read_text().split("### Do checkpoints of 3DRS")[1]
    (lines,) = re.findall(r"^```python\n(.*?)^```", page.split("\n### ")[0], flags=re.S | re.M)
    save_as_threedrs(*pair, tmp_path)
    monkeypatch.chdir(tmp_path)
    exec(compile(lines, "faq.md", "exec"), {})
    assert capsys.readouterr().out.strip() == "resize tower_and_language_model"


def test_a_checkpoint_with_some_of_its_parameters_is_an_error(pair, tmp_path):
    folder = save_as_threedrs(*pair, tmp_path, left_out="model.linear_dc.")
    with pytest.raises(DataError, match="unexpected: .*corres_linear"):
        Video3DForCausalLM.from_pretrained(folder)


@pytest.mark.parametrize(
    ("config", "names", "reason"),
    [
        ({}, ["model.generative_projector.0.weight"], "VEGA-3D, which needs the features of a generative video model"),
        ({"use_generative_feature": True}, [], "VEGA-3D, which needs the features of a generative video model"),
        ({}, ["empty_object_embedding"], "3D-IDE, which pools proposals in another way"),
    ],
)
def test_other_forks_are_refused_in_one_line(config, names, reason, tmp_path):
    with pytest.raises(DataError, match=f"is a checkpoint of {reason}.*Video-3D LLM and 3DRS can be loaded") as caught:
        adapt_to_fork(SimpleNamespace(**config), dict.fromkeys(names, (1,)), tmp_path)
    assert "\n" not in str(caught.value)


def test_unknown_values_of_the_keys_are_refused(build):
    for key in FORK:
        with pytest.raises(DataError, match=f"{key} 'other' is not understood"):
            _ = build(**{key: "other"})[0].config.inputs_spec
