"""The DeepSpeed configurations: what DeepSpeed and transformers read of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent.parent / "examples" / "deepspeed"
EXPECTED = {
    "zero2": (2, None, None, 1),
    "zero2_offload": (2, "cpu", None, 1),
    "zero3": (3, None, None, 1),
    "zero3_offload": (3, "cpu", "cpu", 1),
    "zero3pp": (3, None, None, 8),
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_configuration_says_what_its_name_says_and_leaves_the_optimizer_to_the_host(name):
    config = json.loads((FOLDER / f"{name}.json").read_text())
    zero = config["zero_optimization"]
    devices = [zero.get(f"offload_{part}", {}).get("device") for part in ("optimizer", "param")]
    assert (zero["stage"], *devices, zero.get("zero_hpz_partition_size", 1)) == EXPECTED[name]
    # an optimizer here would have one learning rate: --mm_vision_tower_lr would have no effect
    assert "optimizer" not in config and "scheduler" not in config
    # DeepSpeed refuses another optimizer than its own with offloading unless this is false
    assert config.get("zero_force_ds_cpu_optimizer", True) == (devices[0] is None)
    assert zero["stage"] != 3 or zero["stage3_gather_16bit_weights_on_model_save"]


def test_all_are_listed():
    assert {path.stem for path in FOLDER.glob("*.json")} == {*EXPECTED}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_deepspeed_takes_it(name):
    config = pytest.importorskip("deepspeed.runtime.zero.config")
    content = json.loads((FOLDER / f"{name}.json").read_text())
    zero = {key: 10**8 if value == "auto" else value for key, value in content["zero_optimization"].items()}
    parsed = config.get_zero_config({"zero_optimization": zero})
    assert (int(parsed.stage), parsed.zero_hpz_partition_size) == (EXPECTED[name][0], EXPECTED[name][3])
