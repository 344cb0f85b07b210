"""What ranks with different items must do alike: the order of modules and of gradients, and DeepSpeed itself."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from model_cases import gradients, question, random_scene

from video3d_plugin.model.modeling import Video3DForCausalLM

HERE = Path(__file__).resolve().parent
HEADS = [
    {},
    {"world_position_embedding_type": "sample5-mlp", "ground_head_type": "score"},
    {"world_position_embedding_type": "avg-discrete-mlp", "ground_head_type": "mlp"},
    {"world_position_embedding_type": None, "object_feature_type": "patch27", "mm_newline_position": "frame"},
]
BATCHES = {
    "one text": [("scanqa", "a")],
    "one to ground": [("scanrefer", "b", (20,))],
    "texts of two scenes": [("scanqa", "a"), ("sqa3d", "b")],
    "to ground in two scenes": [("multi3drefer", "a", ()), ("scanrefer", "b", (30,)), ("multi3drefer", "a", (0, 20))],
    "points": [("two_coords", "a"), ("scan2cap", "b")],
    "mixed": [("scan2cap", "b"), ("multi3drefer", "a", (10,)), ("scanqa", "b")],
}


@pytest.fixture
def rank_sync(monkeypatch):
    """Several ranks, as far as the model can see. Returns a switch."""

    def switch(on: bool) -> None:
        monkeypatch.setattr(Video3DForCausalLM, "rank_sync_enabled", on)

    switch(True)
    return switch


def batch_of(processor, name):
    items = [question(*item) for item in BATCHES[name]]
    sizes = {"a": (2, 4, 1), "b": (3, 6, 2)}
    scenes = [random_scene(processor.config.inputs_spec, n, *sizes[n]) for n in sorted({i.scene_id for i in items})]
    return processor(items, scenes, with_labels=True)


def order_of(model, batch) -> tuple[list[str], list[str]]:
    """(modules in the order of their calls, parameters in the order in which their gradients come)."""
    called, came, hooks = [], [], []
    for name, module in model.named_modules():
        if any(True for _ in module.parameters(recurse=False)):
            hooks.append(module.register_forward_pre_hook(lambda m, i, name=name: called.append(name)))
    for name, p in model.named_parameters():
        hooks.append(p.register_post_accumulate_grad_hook(lambda p, name=name: came.append(name)))
    model.zero_grad()
    model.train()(**batch).loss.backward()
    for hook in hooks:
        hook.remove()
    return called, came


@pytest.mark.parametrize("overrides", HEADS)
def test_any_batch_runs_the_same_modules_and_gets_its_gradients_in_the_same_order(build, rank_sync, overrides):
    model, processor = build(**overrides)
    seen = {name: order_of(model, batch_of(processor, name)) for name in BATCHES}
    first = seen["one text"]
    assert len(set(first[1])) == len(first[1]) == len(list(model.parameters()))
    for name, orders in seen.items():
        assert orders == first, name


def test_without_it_they_differ(build, rank_sync):
    rank_sync(False)
    model, processor = build()
    seen = [order_of(model, batch_of(processor, name)) for name in ("one text", "one to ground")]
    assert seen[0][0] != seen[1][0] and seen[0][1] != seen[1][1]


@pytest.mark.parametrize("overrides", HEADS)
def test_losses_and_gradients_are_those_of_scene_by_scene(build, rank_sync, overrides):
    model, processor = build(**overrides)
    model.train()
    for name in BATCHES:
        batch = batch_of(processor, name)
        rank_sync(True)
        found, together = gradients(model, batch), model(**batch)
        rank_sync(False)
        expected, apart = gradients(model, batch), model(**batch)
        assert torch.allclose(together.item_losses, apart.item_losses, rtol=1e-5), name
        assert together.logits.shape == apart.logits.shape
        for parameter, gradient in found.items():
            norm = float(expected[parameter].norm())
            assert float((gradient - expected[parameter]).norm()) <= 1e-4 * norm + 1e-6, (name, parameter)


def test_normalised_and_raw_pixels_may_meet(build, rank_sync):
    model, processor = build()
    batch = batch_of(processor, "texts of two scenes")
    expected = model.train()(**batch).item_losses
    pixels = batch["scenes"][1]["pixels"]
    batch["scenes"][1] = {**batch["scenes"][1], "pixels": pixels.float() / 127.5 - 1.0}
    assert torch.allclose(model(**batch).item_losses, expected, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "stage", "checkpointing"), [(HEADS[0], 2, True), (HEADS[0], 3, True), (HEADS[1], 3, False)]
)
def test_two_ranks_under_deepspeed_train_as_one_process_does(overrides, stage, checkpointing):
    if find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed")
    paths = [HERE.parents[1] / "helpers", HERE.parents[2], *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(str(p) for p in paths if str(p)), "DS_ACCELERATOR": "cpu",
        "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    words = [HERE / "rank_sync_probe.py", json.dumps(overrides), stage, checkpointing]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *words]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, env=environment, timeout=1200)
    found = re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)
    assert found, done.stderr[-3000:]
    result = json.loads(found[1])
    assert result["loss"] < 1e-4 and result["weights"] < 1e-3, result
    # What no item reads; and a bias that softmax does not see, whose gradient is 0 or rounding.
    assert all("post_layernorm" in n or n.endswith("k_proj.bias") for n in result["still"]), result
