"""lmms-eval's own commands, each in its own process: found by every way in, honest exit status, one rank or two."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("lmms_eval_importable")]
OURS = {
    "scanrefer",
    "multi3drefer",
    "scan2cap",
    "scanqa",
    "sqa3d",
    "video3d_all",
    "scanqa_test_w_obj",
    "scanrefer_mini",
}
COMMAND = "import sys; from lmms_eval.cli.dispatch import main; sys.argv = ['lmms-eval', *sys.argv[1:]]; main()"
WAYS = {
    "lmms-eval --tasks list": ["-c", COMMAND, "--tasks", "list"],
    "lmms-eval tasks list": ["-c", COMMAND, "tasks", "list"],
    "python -m lmms_eval": ["-m", "lmms_eval", "--tasks", "list"],
    "accelerate launch": ["-m", "accelerate.commands.launch", "--cpu", "-m", "lmms_eval", "--tasks", "list"],
    "torchrun": ["-m", "torch.distributed.run", "--standalone", "-m", "lmms_eval", "--tasks", "list"],
}


@pytest.fixture
def python(host_environment, tmp_path):
    def python(*arguments, **environment) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            capture_output=True, text=True, cwd=tmp_path, env={**host_environment, **environment},
        )  # fmt: skip

    return python


@pytest.mark.parametrize("way", WAYS)
def test_the_tasks_are_found_by_name_without_data(python, way):
    done = python(*WAYS[way])
    words = set(re.findall(r"[\w.]+", done.stdout + done.stderr))
    assert words >= OURS, done.stderr[-2000:]


def test_without_hooks_lmms_eval_is_as_it_was(python):
    done = python(*WAYS["lmms-eval tasks list"], VIDEO3D_HOOKS="0")
    assert "scanrefer" not in done.stdout
    if done.returncode == 0:  # where torchvision needs its repair, lmms-eval does not even start without it
        assert "mmbench" in done.stdout


def evaluate(python, checkpoint, *arguments, launcher=("-m", "lmms_eval"), model_args="", **environment):
    named = f"pretrained={checkpoint},max_frames=2{model_args}"
    command = [*launcher, "--model", "video3d", "--model_args", named, *arguments]
    return python(*command, **environment)


def test_missing_data_is_one_line_that_says_what_to_run(python, checkpoint):
    done = evaluate(python, checkpoint, "--tasks", "scanrefer")
    assert done.returncode == 2
    assert "video3d: error: no data folder: VIDEO3D_DATA is not set" in done.stderr and "video3d prepare" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_missing_data_is_said_at_once_for_any_model(python):
    done = python("-m", "lmms_eval", "--model", "dummy", "--tasks", "scanqa")
    assert done.returncode == 2
    assert "video3d: error: no data folder" in done.stderr and "RetryError" not in done.stderr + done.stdout


def test_the_five_tasks_run_and_data_in_model_args_overrides_the_environment(
    python, checkpoint, benchmark_folder, tmp_path
):
    five = "scanrefer,multi3drefer,scan2cap,scanqa,sqa3d"
    options = ["--limit", "3", "--gen_kwargs", "max_new_tokens=3", "--log_samples", "--output_path", "out"]
    done = evaluate(
        python, checkpoint, "--tasks", five, *options,
        model_args=f",data={benchmark_folder}", VIDEO3D_DATA="nowhere",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    (path,) = (tmp_path / "out").rglob("*_results.json")
    results = json.loads(path.read_text())["results"]
    main = {"scanrefer": "acc@0.25", "multi3drefer": "f1@0.5", "scan2cap": "cider@0.5", "scanqa": "em@1", "sqa3d": "em"}
    assert all(isinstance(results[task][f"{name},none"], int | float) for task, name in main.items())
    assert len(list((tmp_path / "out").rglob("*_samples_*.jsonl"))) == 5


def samples(folder: Path, task: str) -> list[dict]:
    (path,) = folder.rglob(f"*_samples_{task}.jsonl")
    return sorted((json.loads(line) for line in path.read_text().splitlines()), key=lambda sample: sample["doc_id"])


def test_two_ranks_give_the_samples_and_the_numbers_of_one(python, checkpoint, benchmark_folder, tmp_path):
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "lmms_eval")
    seen = []
    for name, launcher in (("one", ("-m", "lmms_eval")), ("two", torchrun)):
        options = ["--tasks", "scanrefer,multi3drefer", "--limit", "7", "--log_samples", "--output_path", name]
        done = evaluate(
            python, checkpoint, *options, launcher=launcher,
            VIDEO3D_DATA=str(benchmark_folder), CUDA_VISIBLE_DEVICES="", model_args=",device=cpu",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        (path,) = (tmp_path / name).rglob("*_results.json")
        results = json.loads(path.read_text())
        seen.append((results["results"], *(samples(tmp_path / name, task) for task in ("scanrefer", "multi3drefer"))))
    assert len(seen[0][1]) == 7
    assert seen[0] == seen[1]


def test_unanswered_questions_give_status_3_after_everything_was_written(
    python, checkpoint, benchmark_folder, tmp_path
):
    shutil.copytree(benchmark_folder, tmp_path / "data", ignore=shutil.ignore_patterns("store"))
    scene = sorted((tmp_path / "data" / "scenes").glob("*.json"))[0]
    scene.write_text(scene.read_text().replace(".jpg", ".gone"))
    done = evaluate(
        python, checkpoint, "--tasks", "scanrefer", "--log_samples", "--output_path", "out",
        VIDEO3D_DATA=str(tmp_path / "data"),
    )  # fmt: skip
    assert done.returncode == 3, done.stderr[-3000:]
    assert "questions were left unanswered" in done.stderr and scene.stem in done.stderr
    (path,) = (tmp_path / "out").rglob("*_results.json")
    assert json.loads(path.read_text())["results"]["scanrefer"]["count_missing,none"] > 0
    assert "count_missing" in done.stdout


def test_predict_only_samples_name_their_scene(python, checkpoint, benchmark_folder, tmp_path):
    options = ["--tasks", "scanqa_mini", "--limit", "2", "--predict_only", "--output_path", "out"]
    options += ["--gen_kwargs", "max_new_tokens=2"]
    done = evaluate(python, checkpoint, *options, VIDEO3D_DATA=str(benchmark_folder))
    assert done.returncode == 0, done.stderr[-3000:]
    for sample in samples(tmp_path / "out", "scanqa_mini"):
        assert json.loads(sample["target"])["scene_id"].startswith("scene")


def test_another_model_fails_as_before(python, benchmark_folder):
    """Behaviour of the host changes only where this package is asked for: its own exit status stays 0."""
    done = python(
        "-m", "lmms_eval", "--model", "no_such_model", "--tasks", "scanqa", VIDEO3D_DATA=str(benchmark_folder)
    )
    assert done.returncode == 0 and "no_such_model" in done.stdout
