"""LLaVA-NeXT's own training script on an unedited checkout, with the repairs of the hook and with nothing of ours else.

Needs a checkout (LLAVA_NEXT_SRC, or `llava` importable) and what it imports (deepspeed, decord, av, tyro, einops).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from host_files import ROOT

pytestmark = [pytest.mark.host, pytest.mark.slow]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """A folder with qwen-tiny, a SigLIP tower in an offline hub cache, pictures and conversations."""
    import torch
    from PIL import Image
    from tokenizers import pre_tokenizers
    from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2TokenizerFast, SiglipVisionConfig, SiglipVisionModel

    folder = tmp_path_factory.mktemp("llava")
    torch.manual_seed(0)
    language = folder / "qwen-tiny"
    language.mkdir()
    letters = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    (language / "vocab.json").write_text(json.dumps(letters))
    (language / "merges.txt").write_text("#version: 0.2\n")
    marks = {"unk_token": "<|endoftext|>", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "bos_token": None}
    tokenizer = Qwen2TokenizerFast(
        vocab_file=str(language / "vocab.json"), merges_file=str(language / "merges.txt"), **marks,
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
    )  # fmt: skip
    tokenizer.save_pretrained(language)
    sizes = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
    config = Qwen2Config(
        **sizes, vocab_size=512, num_key_value_heads=1, max_position_embeddings=2048, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, tie_word_embeddings=False,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(language)
    # The host sends an existing path to CLIP, and a hub name with "siglip" in it to SigLIP of one fixed size.
    hub = folder / "hub" / "models--tiny--siglip-so400m-patch14-384"
    snapshot = hub / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (hub / "refs").mkdir()
    (hub / "refs" / "main").write_text("0" * 40)
    tower = dict(hidden_size=1152, intermediate_size=32, num_hidden_layers=2, num_attention_heads=16)
    SiglipVisionModel(SiglipVisionConfig(**tower, image_size=384, patch_size=14)).save_pretrained(snapshot)
    Image.new("RGB", (64, 48), (200, 30, 30)).save(folder / "picture.jpg")
    turns = [{"from": "human", "value": "<image>\nWhat colour?"}, {"from": "gpt", "value": "red"}]
    items = [{"id": str(i), "image": "picture.jpg", "conversations": turns} for i in range(6)]
    (folder / "data.json").write_text(json.dumps(items))
    return folder


HOOK = (ROOT / "video3d_plugin_hooks.pth").read_text()


def train(
    source: Path, tiny: Path, output: Path, *extra: str, script: tuple[str, ...], hook: str = HOOK, **variables: str
):
    """Three steps on the CPU. The hook comes from an overlay, whether or not the package is installed."""
    overlay = output.parent / "overlay"
    overlay.mkdir(exist_ok=True)
    (overlay / "sitecustomize.py").write_text(hook)
    paths = [overlay, ROOT, source, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(str(p) for p in paths if str(p)), "HF_HUB_OFFLINE": "1",
        "HF_HUB_CACHE": str(tiny / "hub"), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **variables,
    }  # fmt: skip
    command = [
        sys.executable, *script, "--model_name_or_path", tiny / "qwen-tiny", "--version", "qwen_1_5",
        "--data_path", tiny / "data.json", "--image_folder", tiny, "--vision_tower", "tiny/siglip-so400m-patch14-384",
        "--mm_projector_type", "mlp2x_gelu", "--mm_vision_select_layer", "-2",
        "--mm_tunable_parts", "mm_mlp_adapter,mm_language_model",
        "--attn_implementation", "sdpa", "--report_to", "none", "--output_dir", output, "--max_steps", "3",
        "--per_device_train_batch_size", "1", "--logging_steps", "1", "--use_cpu", "True", "--bf16", "True",
        "--gradient_checkpointing", "False", "--save_strategy", "no", "--image_aspect_ratio", "square", *extra,
    ]  # fmt: skip
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, env=environment, cwd=source)


@pytest.mark.parametrize("script", ["llava/train/train_mem.py", "llava/train/train.py"])
def test_the_hosts_own_training_runs_and_saves_with_the_repairs(source, tiny, tmp_path, script):
    done = train(source, tiny, tmp_path / "out", script=(script,))
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("'loss'") + done.stderr.count("'loss'") >= 3, done.stdout[-2000:]
    saved = {path.name for path in (tmp_path / "out").iterdir()}
    assert "config.json" in saved and any(name.endswith(".safetensors") for name in saved)


def test_checkpoints_on_the_way_are_saved(source, tiny, tmp_path):
    options = ["--save_strategy", "steps", "--save_steps", "2"]
    done = train(source, tiny, tmp_path / "out", *options, script=("llava/train/train_mem.py",))
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "out" / "checkpoint-2" / "trainer_state.json").is_file()


def test_without_the_hook_this_checkout_is_as_broken_or_as_whole_as_it_was(source, tiny, tmp_path):
    """Where the repair is needed, training fails without it: the repair, and nothing else, makes the difference."""
    done = train(source, tiny, tmp_path / "out", script=("llava/train/train_mem.py",), VIDEO3D_HOOKS="0")
    assert done.returncode != 0
    known = ("DebugOption", "cannot import name", "Torch not compiled with CUDA", "dispatch_batches", "NVIDIA driver")
    assert any(text in done.stderr for text in known), done.stderr[-2000:]


# The hook with the repairs of the host and without `--model`.
REPAIRS_ONLY = """
from video3d_plugin import _startup
_startup.AFTER_IMPORT["llava.train.llava_trainer"] = ("llava_trainer_loop", "llava_cpu_runs")
_startup.install()
"""


def test_without_model_it_trains_as_if_there_were_no_such_option(source, tiny, tmp_path):
    """Losses, gradients and weights, with the patch `llava_video3d` and without it."""
    from safetensors.torch import load_file

    seen = {}
    for name, hook in (("with", HOOK), ("without", REPAIRS_ONLY)):
        output = tmp_path / name / "out"
        output.parent.mkdir()
        # The host draws the projector before it sets its seed.
        seeded = f"import torch; torch.manual_seed(0)\n{hook}"
        done = train(source, tiny, output, script=("llava/train/train_mem.py",), hook=seeded)
        assert done.returncode == 0, done.stderr[-3000:]
        numbers = re.findall(r"'(?:loss|grad_norm)': '?[\d.]+", done.stdout + done.stderr)
        assert len(numbers) >= 6 and "video3d:" not in done.stdout
        seen[name] = numbers, load_file(str(output / "model.safetensors"))
    assert seen["with"][0] == seen["without"][0]
    assert seen["with"][1].keys() == seen["without"][1].keys()
    assert all(value.equal(seen["without"][1][name]) for name, value in seen["with"][1].items())
