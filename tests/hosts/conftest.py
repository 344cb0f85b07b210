"""A made-up benchmark, a tiny checkpoint of random weights, and an environment where lmms-eval finds this package."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from host_files import ROOT, TRAIN_MEM, overlay_of_the_package
from made_up_rooms import prepared_rooms


@pytest.fixture(autouse=True)
def fresh_process():
    """A test's models choose a data folder and note open questions for the process; the next test starts without."""
    from video3d_plugin.hosts.lmms_eval.state import STATE

    yield
    STATE.reset()


@pytest.fixture(scope="session")
def source() -> Path:
    """A LLaVA-NeXT checkout with all that its training imports, on a transformers that it trains with."""
    given = os.environ.get("LLAVA_NEXT_SRC")
    spec = None if given else find_spec("llava")
    folder = Path(given) if given else Path(spec.origin).parent.parent if spec and spec.origin else None
    if folder is None or not (folder / "llava" / "train" / "train_mem.py").is_file():
        pytest.skip("no LLaVA-NeXT checkout: set LLAVA_NEXT_SRC, or install llava")
    if find_spec("deepspeed") is None:
        pytest.skip("LLaVA-NeXT's training imports deepspeed, which is not installed")
    import transformers

    if int(transformers.__version__.split(".")[0]) >= 5:
        pytest.skip(f"LLaVA-NeXT trains on transformers 4.45 to 4.57, here is {transformers.__version__}")
    return folder


@pytest.fixture(scope="session")
def lmms_eval_importable():
    """lmms-eval, with torchvision repaired where it must be; tests that use it skip where it is not installed."""
    from video3d_plugin._startup import install

    install()
    return pytest.importorskip("lmms_eval", reason="lmms-eval is not installed (pip install 'video3d-plugin[eval]')")


@pytest.fixture(scope="session")
def training_folder(tmp_path_factory) -> Path:
    """A prepared data folder of two synthetic rooms of a train split, with questions of all five benchmarks."""
    return prepared_rooms(tmp_path_factory.mktemp("training"), scenes=2, seed=4, split="train")


@pytest.fixture(scope="session")
def make_checkpoint(benchmark_folder, tmp_path_factory):
    """seed -> folder of a tiny model with random weights and a tokenizer learnt from the benchmark's prompts."""
    from video3d_plugin.data.folder import DataFolder
    from video3d_plugin.model.tiny import build_tiny, train_tokenizer

    folder = DataFolder.open(benchmark_folder)
    prompts = [doc["prompt"] for task, split in folder.tasks() for doc in folder.docs(task, split)]
    tokenizer = train_tokenizer(prompts, 400)
    root = tmp_path_factory.mktemp("checkpoints")

    def make(seed: int) -> Path:
        path = root / f"tiny{seed}"
        if not path.exists():
            small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
            model, processor = build_tiny(tokenizer, seed=seed, **small)
            model.save_pretrained(path)
            processor.save_pretrained(path)
        return path

    return make


@pytest.fixture(scope="session")
def checkpoint(make_checkpoint) -> Path:
    return make_checkpoint(0)


@pytest.fixture(scope="session")
def host(source, tmp_path_factory) -> dict[str, str]:
    """Environment of a process in which the hook runs and `llava` is the checkout."""
    overlay = tmp_path_factory.mktemp("overlay")
    (overlay / "sitecustomize.py").write_text((ROOT / "video3d_plugin_hooks.pth").read_text())
    paths = [overlay, ROOT, source, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {
        **os.environ, "PYTHONPATH": os.pathsep.join(str(p) for p in paths if str(p)), "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "VIDEO3D_HOOKS": "1",
    }  # fmt: skip


@pytest.fixture(scope="session")
def train(source, host, checkpoint, training_folder):
    """Runs a script for `steps` steps of two questions; returns (the process, its losses)."""

    def run(output: Path, *extra: object, script=TRAIN_MEM, steps: int = 3, first_paths=(), **options: object):
        options = {
            "model": "video3d", "model_name_or_path": checkpoint, "version": "qwen_1_5", "data_path": training_folder,
            "mm_tunable_parts": "mm_vision_tower,mm_mlp_adapter,mm_language_model", "attn_implementation": "sdpa",
            "report_to": "none", "output_dir": output, "max_steps": steps, "per_device_train_batch_size": 2,
            "logging_steps": 1, "use_cpu": True, "gradient_checkpointing": False, "save_strategy": "no",
            "frames_upbound": 3, "model_max_length": 8192, "learning_rate": 1e-3, "lr_scheduler_type": "constant",
            "image_grid_pinpoints": "(1x1),...,(6x6)", "bf16": False, **options,
        }  # fmt: skip
        words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
        command = [sys.executable, *script, *words, *map(str, extra)]
        paths = os.pathsep.join([*map(str, first_paths), host["PYTHONPATH"]])
        done = subprocess.run(command, capture_output=True, text=True, env={**host, "PYTHONPATH": paths}, cwd=source)
        losses = [float(text) for text in re.findall(r"'loss': '?([\d.]+)", done.stdout + done.stderr)]
        return done, losses

    return run


@pytest.fixture(scope="session")
def processed_items(training_folder) -> list[dict]:
    """Three questions of each task, as Video-3D LLM's processed files have them."""
    from video3d_plugin.data.folder import DataFolder

    folder = DataFolder.open(training_folder)
    items = []
    for task, split in folder.tasks():
        for question in folder.questions(task, split)[:3]:
            turns = [{"from": "human", "value": question.prompt}, {"from": "gpt", "value": question.answer}]
            metadata = {"dataset": task, "object_id": list(question.targets or ())}
            boxes = {"box_input": [*question.coords[0], 1, 1, 1]} if question.coords else {}
            items.append(
                {"video": f"scannet/{question.scene_id}", "conversations": turns, "metadata": metadata, **boxes}
            )
    return items


@pytest.fixture(scope="session")
def base_checkpoint(checkpoint, tmp_path_factory) -> Path:
    """The tiny checkpoint without the three tokens and the grounding head: as LLaVA-Video is before this training."""
    import json

    from safetensors.torch import load_file, save_file

    folder, new = tmp_path_factory.mktemp("base"), ("<image>", "<ground>", "<coord>")
    words = json.loads((checkpoint / "tokenizer.json").read_text())
    words["added_tokens"] = [token for token in words["added_tokens"] if token["content"] not in new]
    (folder / "tokenizer.json").write_text(json.dumps(words))
    settings = json.loads((checkpoint / "tokenizer_config.json").read_text())
    known = settings.get("added_tokens_decoder", {})
    settings["added_tokens_decoder"] = {i: token for i, token in known.items() if token["content"] not in new}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    size = 1 + max(max(words["model"]["vocab"].values()), *(token["id"] for token in words["added_tokens"]))
    config = json.loads((checkpoint / "config.json").read_text())
    config = {n: v for n, v in config.items() if n not in ("ground_token_ids", "coord_token_ids")}
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": size}))
    weights = {n: w for n, w in load_file(checkpoint / "model.safetensors").items() if not n.startswith("ground_head")}
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        weights[name] = weights[name][:size].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="session")
def trained(train, tmp_path_factory) -> tuple[Path, list[float]]:
    """(checkpoint of four steps with a stop at two, its losses)."""
    output = tmp_path_factory.mktemp("trained") / "out"
    done, losses = train(output, steps=4, save_strategy="steps", save_steps=2)
    assert done.returncode == 0, done.stderr[-3000:]
    return output, losses


@pytest.fixture(scope="session")
def host_environment(tmp_path_factory) -> dict[str, str]:
    """Environment variables for processes in which lmms-eval finds this package, whether or not it is installed.

    Not installed, an overlay on PYTHONPATH stands for site-packages: the package's metadata, and a sitecustomize that
    runs the line of the .pth file.
    """
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    for name in ("VIDEO3D_HOOKS", "VIDEO3D_DATA"):
        environment.pop(name, None)
    look = (
        "import sys; from importlib.metadata import entry_points\n"
        "hooked = any(type(f).__name__ == 'HostFinder' for f in sys.meta_path)\n"
        "print(hooked and any(p.name == 'video3d' for p in entry_points(group='lmms_eval.models')))"
    )
    done = subprocess.run([sys.executable, "-c", look], env=environment, capture_output=True, text=True)
    if done.stdout.strip() != "True":
        environment["PYTHONPATH"] = f"{overlay_of_the_package(tmp_path_factory.mktemp('overlay'))}{os.pathsep}{ROOT}"
    return environment
