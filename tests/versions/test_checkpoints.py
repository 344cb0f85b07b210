"""A checkpoint saved on one version of transformers gives the same answers and boxes on every other.

VIDEO3D_PYTHONS names the interpreters, one for each version, separated as PATH is; `make test-versions` sets it.
Without it the interpreter that runs the tests saves and asks.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest

PROBE = Path(__file__).with_name("checkpoint_probe.py")
ROOT = PROBE.parent.parent.parent
PYTHONS = [name for name in os.environ.get("VIDEO3D_PYTHONS", "").split(os.pathsep) if name] or [sys.executable]
SAVED = ("adapter", "by_transformers", "learnt", "mini", "shipped")

pytestmark = [pytest.mark.slow] if len(PYTHONS) == 1 else []


@lru_cache
def version(python: str) -> str:
    code = "from importlib.metadata import version; print(version('transformers'))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@lru_cache  # of failures too: each process runs once
def probe(python: str, *arguments: str) -> subprocess.CompletedProcess:
    paths = [str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    return subprocess.run([python, PROBE, *arguments], capture_output=True, text=True, env=environment, check=False)


def output_of(python: str, *arguments: object) -> str:
    done = probe(python, *map(str, arguments))
    assert done.returncode == 0, f"transformers {version(python)}: {done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """Python -> folder of the checkpoints that it saved."""
    folders = {python: tmp_path_factory.mktemp("saved") for python in PYTHONS}

    def save(python: str) -> Path:
        output_of(python, "save", folders[python])
        return folders[python]

    return save


@pytest.fixture(scope="session")
def answers(saved, my_scan):
    """(Python that asks, Python that saved) -> {checkpoint: what it answers}."""

    def ask(python: str, saver: str) -> dict[str, dict]:
        lines = output_of(python, "ask", saved(saver), my_scan).splitlines()
        (line,) = [line for line in lines if "ANSWERS " in line]
        return json.loads(line.partition("ANSWERS ")[2])

    return ask


@pytest.mark.parametrize("opener", PYTHONS, ids=[f"opened on {version(python)}" for python in PYTHONS])
@pytest.mark.parametrize("saver", PYTHONS, ids=[f"saved on {version(python)}" for python in PYTHONS])
def test_every_version_opens_every_checkpoint(answers, saver, opener):
    there, here = answers(saver, saver), answers(opener, saver)
    assert sorted(here) == list(SAVED)
    assert here == there
    assert here["shipped"] == here["mini"] == here["adapter"] == here["by_transformers"]
    for name, answer in here.items():
        assert any(answer["texts"]), f"{name} answers nothing"
        assert [len(boxes) for boxes in answer["boxes"]] == [3, 3, 3]


@pytest.mark.parametrize("python", PYTHONS, ids=version)
def test_what_is_saved_has_the_portable_form(saved, python):
    for name in ("adapter", "learnt", "shipped"):
        content = json.loads((saved(python) / name / "tokenizer_config.json").read_text())
        assert content["tokenizer_class"] != "TokenizersBackend", name
        assert not isinstance(content.get("extra_special_tokens"), list), name
