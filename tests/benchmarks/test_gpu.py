"""The script for a GPU runs at toy size on a CPU, and every part has one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import gpu

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments):
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_part_compares_with_the_plain_kernel_and_is_written_to_the_page(tmp_path):
    page = tmp_path / "page.md"
    done = run("--toy", "--only", "kernels", "--page", str(page))
    assert done.returncode == 0, done.stderr
    assert "CPU_FLASH" in done.stdout and "within 1e-04" in done.stdout and "all parts ran" in done.stdout
    assert "attention-kernels-cpu" in page.read_text()


def test_a_part_that_fails_is_named(monkeypatch, capsys):
    monkeypatch.setattr(gpu, "PARTS", [("broken", "attention_kernels", [], ["--no-such-option"])])
    assert gpu.main(["--toy"]) == 1
    assert "failed or out of time: broken" in capsys.readouterr().out


def test_parts_that_the_time_does_not_allow_are_named(monkeypatch, capsys):
    monkeypatch.setattr(gpu, "SECONDS", 0)
    assert gpu.main(["--toy"]) == 1
    assert "training" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.slow  # builds the small model in seven processes
def test_all_parts_run_at_toy_size():
    done = run("--toy")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("==") == len(gpu.PARTS)
