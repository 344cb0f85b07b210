"""What a run of `--model video3d` under LLaVA-NeXT sees and leaves: items, ranks, checkpoints, add-ons, errors.

Needs what test_scripts.py needs. VIDEO3D_EVAL_PYTHON names an interpreter that has lmms-eval.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest
from host_files import ROOT, TRAIN_MEM, overlay_of_the_package

HERE = Path(__file__).resolve().parent
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *TRAIN_MEM)
pytestmark = [pytest.mark.host, pytest.mark.slow]
# The host makes new parts before it sets its seed. And gloo alone serves DeepSpeed: its own operator for CPU ranks
# would have to be compiled.
WITHOUT_LUCK = """
import deepspeed, torch
torch.manual_seed(0)
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
"""


def test_every_item_of_every_epoch_is_seen_at_any_batch_size(
    host, source, checkpoint, training_folder, processed_items, tmp_path
):
    (tmp_path / "items.json").write_text(json.dumps(processed_items))
    options = {
        "model": "video3d", "model_name_or_path": checkpoint, "version": "qwen_1_5", "frames_upbound": 2,
        "data_path": tmp_path / "items.json", "video3d_data": training_folder, "attn_implementation": "sdpa",
        "mm_tunable_parts": "mm_language_model", "report_to": "none", "output_dir": tmp_path, "use_cpu": True,
        "num_train_epochs": 2, "gradient_checkpointing": False, "save_strategy": "no", "model_max_length": 8192,
    }  # fmt: skip
    sizes = [(1, 1), (2, 1), (4, 1), (7, 1), (1, 3), (2, 4), (3, 50)]
    words = [json.dumps({name: str(value) for name, value in options.items()}), json.dumps(sizes)]
    done = subprocess.run(
        [sys.executable, HERE / "items_probe.py", *words], capture_output=True, text=True, env=host, cwd=source
    )
    found = re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)
    assert found, done.stderr[-3000:]
    for (batch, shared), steps in zip(sizes, json.loads(found[1]), strict=True):
        epochs = steps[: len(steps) // 2], steps[len(steps) // 2 :]
        assert len(epochs[0]) == len(epochs[1])
        for epoch in epochs:
            counts = Counter(name for names in epoch for name in names)
            assert len(counts) == len(processed_items) and set(counts.values()) == {1}, (batch, shared, counts)
        assert epochs[0] != epochs[1], "the second epoch has the order of the first"
        assert all(len(names) <= batch * shared for names in steps)
        if shared == 1:  # of 15 items of five tasks
            assert [len(names) for names in epochs[0]] == [batch] * (15 // batch) + [15 % batch] * (15 % batch > 0)


@pytest.fixture(scope="module")
def two_ranks(train, base_checkpoint, tmp_path_factory):
    """(losses, weights) of three steps on two ranks without DeepSpeed, from a checkpoint without head and tokens."""
    return run_on_two_ranks(train, base_checkpoint, tmp_path_factory.mktemp("two"))


def run_on_two_ranks(train, base_checkpoint, folder, **options):
    from safetensors.torch import load_file

    (folder / "overlay").mkdir()
    hook = (ROOT / "video3d_plugin_hooks.pth").read_text()
    (folder / "overlay" / "sitecustomize.py").write_text(hook + WITHOUT_LUCK)
    options |= {"model_name_or_path": base_checkpoint, "ddp_backend": "gloo", "first_paths": [folder / "overlay"]}
    done, losses = train(folder / "out", script=TORCHRUN, gradient_checkpointing=True, **options)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "initialised, to be trained" in done.stderr  # the grounding head
    return losses, load_file(folder / "out" / "model.safetensors")


@pytest.mark.parametrize("stage", [2, 3])
def test_two_ranks_under_zero_train_as_without_it(train, base_checkpoint, two_ranks, tmp_path, stage):
    """Losses and the saved weights: new tokens, the new head, mixed batches that differ between the ranks."""
    import transformers

    if int(transformers.__version__.split(".")[1]) < 50:
        pytest.skip(f"with transformers {transformers.__version__}, accelerate 0.34 leaves DeepSpeed out on the CPU")
    settings = ROOT / "examples" / "deepspeed" / f"zero{stage}.json"
    losses, weights = run_on_two_ranks(train, base_checkpoint, tmp_path, deepspeed=settings)
    expected_losses, expected = two_ranks
    assert len(losses) == 3 and losses == pytest.approx(expected_losses, rel=1e-4)
    assert {name: w.shape for name, w in weights.items()} == {name: w.shape for name, w in expected.items()}
    for name, value in expected.items():
        if not name.endswith("k_proj.bias"):  # softmax does not see it: its steps are rounding, blown up by Adam
            assert float((weights[name] - value).norm()) <= 1e-2 * float(value.norm()) + 1e-5, name


LOAD = """
import sys
from llava.model.builder import load_pretrained_model
path, base = sys.argv[1], sys.argv[2] or None
tokenizer, model, images, length = load_pretrained_model(
    path, base, "any-name", torch_dtype="float32", attn_implementation="sdpa", device_map="cpu")
from video3d_plugin.pipeline import load_model
own = load_model(base or path, lora=path if base else None, device="cpu", dtype="float32")
state, expected = model.state_dict(), own.model.state_dict()
same = state.keys() == expected.keys() and all(value.equal(expected[name]) for name, value in state.items())
print("RESULT", type(model).__name__, model.dtype, length, len(model.initialised_parts), model.training, images.size,
      tokenizer.get_vocab() == own.processor.tokenizer.get_vocab(), same)
"""


@pytest.mark.parametrize("lora", [False, True])
def test_the_hosts_loader_opens_what_ours_opens(train, trained, checkpoint, host, source, tmp_path, lora):
    path = trained[0]
    if lora:
        path = tmp_path / "lora"
        done, _ = train(path, lora_enable=True, lora_r=4, learning_rate=1e-2)
        assert done.returncode == 0, done.stderr[-3000:]
    words = [str(path), str(checkpoint) if lora else ""]
    done = subprocess.run([sys.executable, "-c", LOAD, *words], capture_output=True, text=True, env=host, cwd=source)
    says = "RESULT Video3DForCausalLM torch.float32 8192 0 False {'height': 112, 'width': 112} True True"
    assert says in done.stdout, done.stdout[-500:] + done.stderr[-2000:]


def test_lmms_eval_evaluates_the_checkpoint(trained, host_environment, benchmark_folder, tmp_path):
    """In the environment that VIDEO3D_EVAL_PYTHON names, or in this one where it has lmms-eval."""
    python = os.environ.get("VIDEO3D_EVAL_PYTHON") or (sys.executable if find_spec("lmms_eval") else None)
    if python is None:
        pytest.skip("no lmms-eval here: set VIDEO3D_EVAL_PYTHON to an interpreter that has it")
    (tmp_path / "overlay").mkdir()
    paths = f"{overlay_of_the_package(tmp_path / 'overlay')}{os.pathsep}{ROOT}"
    environment = {**host_environment, "VIDEO3D_DATA": str(benchmark_folder), "PYTHONPATH": paths}
    tasks = "scanqa,scanrefer"
    words = f"--model video3d --model_args pretrained={trained[0]},max_frames=3 --tasks {tasks} --limit 2"
    command = [python, "-m", "lmms_eval", *words.split(), "--batch_size", "1", "--output_path", tmp_path / "results"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    (file,) = (tmp_path / "results").rglob("*results.json")
    results = json.loads(file.read_text())["results"]
    for task in tasks.split(","):
        scores = [value for name, value in results[task].items() if isinstance(value, float) and "stderr" not in name]
        assert scores, results


ADD_ON = """
from video3d_plugin.model.modeling import Video3DForCausalLM

class Other(Video3DForCausalLM):
    pass

def last(scene, max_frames, coverage):
    print("ADD-ON", scene.scene_id, flush=True)
    return list(range(len(scene.frames)))[-max_frames:]
"""


def test_model_and_sampler_of_an_add_on_are_found(train, tmp_path):
    folder = tmp_path / "site"
    info = folder / "other_add_on-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "other_add_on.py").write_text(ADD_ON)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-add-on\nVersion: 1.0\n")
    points = "[video3d.models]\nother = other_add_on:Other\n[video3d.frame_samplers]\nother = other_add_on:last\n"
    (info / "entry_points.txt").write_text(points)
    options = {"model": "other", "frame_sampling_strategy": "other", "first_paths": [folder]}
    done, losses = train(tmp_path / "out", **options)
    assert done.returncode == 0 and len(losses) == 3, done.stderr[-3000:]
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"] == ["Other"]
    assert "ADD-ON scene" in done.stdout
    done, _ = train(tmp_path / "again", **{**options, "first_paths": []})
    assert done.returncode == 2 and "unknown model 'other'" in done.stderr


@pytest.fixture(scope="module")
def no_weights(checkpoint, tmp_path_factory) -> Path:
    """A checkpoint whose weights are an empty file: to open them is an error of its own."""
    folder = tmp_path_factory.mktemp("empty") / "checkpoint"
    shutil.copytree(checkpoint, folder)
    (folder / "model.safetensors").write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"model": "videod"}, "unknown model 'videod' (did you mean 'video3d'? known: video3d)"),
        ({"data_path": "nowhere.yaml"}, "nowhere.yaml: file not found"),
        ({"data_path": "SCENELESS"}, "item 0 is about scene9999_00"),
        ({"source": "ALTERED"}, "does not support this version of train"),
        ({"transformers": "5.1.0"}, "transformers 5.1.0 does not train under LLaVA-NeXT"),
    ],
)
def test_errors_come_before_a_weight_is_loaded(train, source, no_weights, tmp_path, options, says, training_folder):
    options, paths, script = dict(options), [], TRAIN_MEM
    if options.get("data_path") == "SCENELESS":
        turns = [{"from": "human", "value": "<image> What?"}, {"from": "gpt", "value": "A chair"}]
        items = [{"video": "scannet/scene9999_00", "conversations": turns, "metadata": {}}]
        (tmp_path / "items.json").write_text(json.dumps(items))
        options["data_path"] = tmp_path / "items.json"
    if options.pop("source", None):
        shutil.copytree(source / "llava", tmp_path / "altered" / "llava", ignore=shutil.ignore_patterns("__pycache__"))
        file = tmp_path / "altered" / "llava" / "train" / "train.py"
        file.write_text(file.read_text().replace("    global local_rank\n", "    global local_rank\n    _ = 1\n"))
        paths, script = [tmp_path / "altered"], (str(tmp_path / "altered" / "llava" / "train" / "train_mem.py"),)
    version = options.pop("transformers", None)
    if version:
        # what is installed is known by its metadata, and the first on the path counts
        (tmp_path / "site" / f"transformers-{version}.dist-info").mkdir(parents=True)
        metadata = f"Metadata-Version: 2.1\nName: transformers\nVersion: {version}\n"
        (tmp_path / "site" / f"transformers-{version}.dist-info" / "METADATA").write_text(metadata)
        paths = [tmp_path / "site"]
    options = {"video3d_data": training_folder, "model_name_or_path": no_weights, **options}
    done, _ = train(tmp_path / "out", script=script, first_paths=paths, **options)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr[-2000:]
    assert done.stderr.strip().splitlines()[-1].startswith("error: ") and says in done.stderr
    if version is None and script is not TRAIN_MEM:
        assert "LLaVA-NeXT b42941c, LLaVA-NeXT df17966" in done.stderr
