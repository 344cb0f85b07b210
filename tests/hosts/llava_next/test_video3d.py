"""`--model video3d` in LLaVA-NeXT's own training scripts, on an unedited checkout: trains, saves, resumes, is opened.

Needs what test_scripts.py needs. A made-up benchmark and a tiny checkpoint; all runs on the CPU.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from host_files import ROOT, TRAIN_MEM

HERE = Path(__file__).resolve().parent
pytestmark = [pytest.mark.host, pytest.mark.slow]

LAUNCHERS = {
    "train_mem.py": TRAIN_MEM,
    "train.py": ("llava/train/train.py",),
    "-m": ("-m", "llava.train.train"),
    "torchrun": ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "llava/train/train.py"),
    "torchrun of train_mem": ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=1", *TRAIN_MEM),
    "accelerate": ("-m", "accelerate.commands.launch", "--cpu", "--num_processes=1", *TRAIN_MEM),
}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_it_trains_however_the_script_is_started(train, tmp_path, checkpoint, launcher):
    from video3d_plugin.model.checkpoint.folders import weight_shapes
    from video3d_plugin.pipeline import load_model

    several = {"ddp_backend": "gloo"} if "torchrun" in launcher else {}
    done, losses = train(tmp_path / "out", script=LAUNCHERS[launcher], **several)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(losses) == 3 and all(0 < loss < 20 for loss in losses), done.stdout[-2000:]
    assert "questions about 2 scenes" in done.stdout
    assert weight_shapes(tmp_path / "out") == weight_shapes(checkpoint)
    before = load_model(checkpoint, device="cpu").model.state_dict()
    loaded = load_model(tmp_path / "out", device="cpu").model
    assert loaded.initialised_parts == []
    changed = {name for name, value in loaded.state_dict().items() if not value.equal(before[name])}
    for part in ("vision_tower", "mm_projector", "image_newline", "ground_head", "layers.0", "embed_tokens"):
        assert any(part in name for name in changed), part


def test_mixed_batches_of_processed_files_with_everything_the_reference_passes(
    train, tmp_path, training_folder, processed_items
):
    items = processed_items
    (tmp_path / "items.json").write_text(json.dumps(items))
    (tmp_path / "multi.yaml").write_text(f"datasets:\n  - json_path: {tmp_path}/items.json\n")
    words = (
        "--image_folder data --video_folder data --embodiedscan_folder data/embodiedscan/ --mm_vision_tower_lr=2e-6 "
        "--mm_projector_type mlp2x_gelu --mm_vision_select_layer -2 --mm_use_im_start_end False "
        "--mm_use_im_patch_token False --image_aspect_ratio anyres_max_9 --mm_patch_merge_type spatial_unpad "
        "--weight_decay 0. --warmup_ratio 0.03 --tf32 False --dataloader_num_workers 1 --lazy_preprocess True "
        "--dataloader_drop_last True --mm_newline_position grid --add_spatial_instruction True --force_sample True "
        "--mm_spatial_pool_stride 2 --world_position_embedding_type avg-discrete-sin3d --voxel_size 0.1 "
        "--object_feature_type patch14-pe --ground_head_type infonce --group_by_task_length True "
        "--ground_head_temperature 0.07 --min_xyz_range -15 -15 -5 --max_xyz_range 15 15 5 "
        "--frame_sampling_strategy mc32 --vision_tower google/siglip-so400m-patch14-384"
    )
    done, losses = train(
        tmp_path / "out", *words.split(), data_path=tmp_path / "multi.yaml", video3d_data=training_folder,
        per_device_train_batch_size=5, steps=3,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(losses) == 3 and "15 questions" in done.stdout and "not needed" in done.stdout


def test_questions_that_share_a_sequence_give_the_loss_of_separate_ones(train, tmp_path):
    """All questions of both scenes in one step: the same mean, packed or not."""
    size = {"steps": 1, "per_device_train_batch_size": 500}
    done, packed = train(tmp_path / "a", questions_per_scene=500, **size)
    assert done.returncode == 0, done.stderr[-3000:]
    done, apart = train(tmp_path / "b", questions_per_scene=250, **size)
    assert packed == pytest.approx(apart, abs=2e-4)


@pytest.mark.parametrize("lora", [False, True])
def test_a_killed_run_goes_on_with_the_same_losses(train, trained, tmp_path, lora):
    import shutil

    options = {"steps": 4, "save_strategy": "steps", "save_steps": 2}
    if lora:
        options |= {"lora_enable": True, "lora_r": 4, "lora_dropout": 0.0}
        done, losses = train(tmp_path / "whole", **options)
        assert done.returncode == 0, done.stderr[-3000:]
        whole = tmp_path / "whole"
    else:
        whole, losses = trained
    shutil.copytree(whole / "checkpoint-2", tmp_path / "again" / "checkpoint-2")
    done, resumed = train(tmp_path / "again", **options)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(losses) == 4 and resumed == pytest.approx(losses[2:], rel=1e-4), (losses, resumed)


def test_a_lora_run_that_goes_on_with_another_rank_ends_in_one_line(train, tmp_path):
    options = {"steps": 2, "save_strategy": "steps", "save_steps": 1, "lora_enable": True}
    done, _ = train(tmp_path / "out", lora_r=4, **options)
    assert done.returncode == 0, done.stderr[-3000:]
    done, losses = train(tmp_path / "out", lora_r=8, **options)
    assert done.returncode != 0 and losses == []
    last = done.stderr.strip().splitlines()[-1]
    assert "checkpoint-2" in last and "of another shape" in last and "Traceback" not in done.stderr, done.stderr[-2000:]


def test_gradient_checkpointing_changes_no_loss(train, trained, tmp_path):
    done, losses = train(tmp_path / "out", steps=4, gradient_checkpointing=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert losses == pytest.approx(trained[1], rel=1e-3)


def test_a_lora_run_leaves_a_folder_that_loads(train, tmp_path, checkpoint):
    import torch

    from video3d_plugin.pipeline import load_model

    options = {"lora_enable": True, "lora_r": 4, "bf16": True, "gradient_checkpointing": True}
    done, losses = train(tmp_path / "out", steps=4, learning_rate=1e-2, **options)
    assert done.returncode == 0, done.stderr[-3000:]
    loaded, before = load_model(tmp_path / "out", device="cpu"), load_model(checkpoint, device="cpu")
    assert loaded.processor.tokenizer.get_vocab() == before.processor.tokenizer.get_vocab()
    old = before.model.state_dict()
    changed = {name for name, value in loaded.model.state_dict().items() if not torch.equal(value, old[name])}
    for part in ("q_proj", "down_proj", "embed_tokens", "ground_head", "image_newline"):
        assert any(part in name for name in changed), part
    assert not any("input_layernorm" in name for name in changed)


def test_loss_and_gradients_are_the_references(host, source, shared, tmp_path):
    """Golden items (VIDEO3D_SHARED/golden/training) through the host's train(), its trainer and our collator."""
    done = subprocess.run(
        [sys.executable, HERE / "parity_probe.py", str(shared / "golden"), str(tmp_path)],
        capture_output=True, text=True, env=host, cwd=source,
    )  # fmt: skip
    found = re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)
    assert found, done.stderr[-3000:]
    result = json.loads(found[1])
    assert result["compared"] > 300 and result["trainer"] == "LLaVATrainer"
    assert result["one"]["loss"] < 1e-4 and result["one"]["gradient"] < 1e-3, result
    assert result["four"]["loss"] < 1e-4 and result["four"]["gradient"] < 1e-3, result


TORCHRUN = ("-m", "torch.distributed.run", "--standalone")


def test_two_ranks_with_gradient_checkpointing(train, tmp_path):
    script = (*TORCHRUN, "--nproc_per_node=2", *TRAIN_MEM)
    done, losses = train(tmp_path / "out", script=script, ddp_backend="gloo", gradient_checkpointing=True)
    assert done.returncode == 0 and len(losses) == 3, done.stderr[-3000:]


@pytest.mark.parametrize("name", ["train_video3d.sh", "train_video3d_lora.sh"])
def test_the_example_scripts_run_with_zero_2_and_lora(host, source, checkpoint, training_folder, tmp_path, name):
    """As they are shipped, but for one process on the CPU and two steps; options that come last count."""
    if int(version("accelerate").split(".")[0]) < 1:
        pytest.skip("accelerate before 1.0 does not run DeepSpeed on a CPU, which test_deepspeed_cpu.py sees refused")
    less = (
        "--max_steps 2 --use_cpu True --model_max_length 8192 --gradient_accumulation_steps 2 --save_strategy no "
        "--frames_upbound 3 --dataloader_num_workers 0"
    )
    less += " --tf32 False" if "lora" not in name else ""
    path = f"{Path(sys.executable).parent}{os.pathsep}{host['PATH']}"
    variables = {"CHECKPOINT": str(checkpoint), "DATA": str(training_folder), "LLAVA_NEXT": str(source), "GPUS": "1",
                 "OUTPUT": str(tmp_path / "out"), "PATH": path}  # fmt: skip
    done = subprocess.run(
        ["bash", str(ROOT / "examples" / name), *less.split()],
        capture_output=True,
        text=True,
        env={**host, **variables},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(re.findall(r"'loss': '?[\d.]+", done.stdout + done.stderr)) == 2
    assert (tmp_path / "out" / "processor_config.json").is_file()
