"""What the comparison with the reference calls equal; the reference itself does not run here."""

from __future__ import annotations

import argparse
import json
import mmap
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from benchmarks.reference import __main__ as program  # noqa: E402
from benchmarks.reference import case, compare  # noqa: E402
from benchmarks.reference.timing import least, measured  # noqa: E402
from video3d_plugin.errors import DataError  # noqa: E402


def kept(folder: Path, name: str, theirs: dict, ours: dict, **arrays: tuple[torch.Tensor, torch.Tensor]) -> None:
    for index, (side, values) in enumerate((("theirs", theirs), ("ours", ours))):
        used = {"seconds": 8.0 / (1 + 3 * index), "megabytes": 5.0}
        (folder / f"{name}.{side}.json").write_text(json.dumps({**used, **values}))
        if arrays:
            save_file({key: pair[index] for key, pair in arrays.items()}, folder / f"{name}.{side}.safetensors")


def ask(kind: str, total: int, asked: int) -> dict:
    return {"kind": kind, "frames": 8, "questions": [{}] * total, "asked": asked}


def test_the_reference_is_charged_for_all_questions(tmp_path):
    kept(tmp_path, "answer-8", {"results": [[1, 2]]}, {"results": [[1, 2], [3]]})
    (row,) = compare.rows_of(tmp_path, "answer-8", ask("answer", 2, 1))
    assert row.equal and row.reference == 16.0 and row.ours == 2.0
    assert row.cells()[3:] == ["8.0x", "5 / 5 MB", "equal: 2 of 2 tokens; reference timed on 1"]


@pytest.mark.parametrize(
    "kind, theirs, ours",
    [
        ("answer", {"results": [[1, 2]]}, {"results": [[1, 3]]}),
        ("answer", {"results": [[1, 2]]}, {"results": [[1]]}),
        ("ground", {"results": [[0.5, 0.2]]}, {"results": [[0.5, 0.201]]}),
        ("coverage", {"gains": [5, 2], "covered": 7}, {"gains": [4, 3], "covered": 7}),
    ],
)
def test_other_results_are_called_different(tmp_path, kind, theirs, ours):
    kept(tmp_path, "job", theirs, ours)
    (row,) = compare.rows_of(tmp_path, "job", ask(kind, 1, 1))
    assert not row.equal and "DIFFERENT" in row.cells()[-1]


def test_inputs_are_equal_without_the_border_that_the_tower_does_not_use(tmp_path):
    pixels = torch.randint(0, 256, (1, 2, 3, 6, 6), dtype=torch.uint8)
    used = pixels[0].permute(0, 2, 3, 1)[:, :4, :4].contiguous()
    points = torch.rand(2, 3, 3, 3)
    job, ours = {"kind": "video", "frames": 2}, {"bytes": 1, "warm": 0.5, "warm_equal": True}
    kept(tmp_path, "video", {"bytes": 2}, ours, pixels=(pixels, used), points=(points, points))
    cold, warm = compare.rows_of(tmp_path, "video", job)
    assert cold.equal and warm.equal and warm.ours == 0.5
    kept(tmp_path, "video", {"bytes": 2}, {**ours, "warm_equal": False}, pixels=(pixels, used), points=(points, points))
    assert [row.equal for row in compare.rows_of(tmp_path, "video", job)] == [True, False]
    used = used.clone()
    used[0, 0, 0, 0] ^= 1
    kept(tmp_path, "video", {"bytes": 2}, ours, pixels=(pixels, used), points=(points, points))
    assert not compare.rows_of(tmp_path, "video", job)[0].equal


@pytest.mark.parametrize("shift, equal", [(0.0, True), (0.01, False)])
def test_training_compares_losses_and_gradients(tmp_path, shift, equal):
    gradient = torch.rand(4)
    kept(tmp_path, "train", {"losses": [2.0]}, {"losses": [2.0]}, weight=(gradient, gradient + shift))
    (row,) = compare.rows_of(tmp_path, "train", ask("train", 16, 1))
    assert row.equal == equal
    kept(tmp_path, "train", {"losses": [2.0]}, {"losses": [2.1]}, weight=(gradient, gradient))
    assert not compare.rows_of(tmp_path, "train", ask("train", 16, 1))[0].equal


def test_a_job_takes_one_side_from_another_job(tmp_path):
    jobs = case.jobs_of(32, 1, torch.zeros(2, 6).numpy())
    kept(tmp_path, "answer-32", {"results": [[1]]}, {"results": [[1]] * 32})
    assert not program.has_run(tmp_path, "one", jobs["one"])
    kept(tmp_path, "one", {"results": [[9]]}, {"results": [[1]]})
    assert program.has_run(tmp_path, "one", jobs["one"])
    assert compare.rows_of(tmp_path, "one", jobs["one"])[0].equal
    assert jobs["window"]["sliding_window"] == 4096 and jobs["answer-32"]["sliding_window"] > 32 * 14 * 15


def test_a_folder_of_other_sizes_is_refused(tmp_path):
    (tmp_path / "sizes.json").write_text("{}")
    args = argparse.Namespace(frames=8, coverage_frames=70, proposals=5, asked=1)
    with pytest.raises(DataError, match="other sizes"):
        program.kept_case(tmp_path, args)


def test_a_folder_that_is_no_checkout_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        program.parsed(["--checkout", str(tmp_path)])
    assert "has no llava/video_utils.py" in capsys.readouterr().err


def test_least_takes_the_quickest_run(monkeypatch):
    clock = iter([0.0, 5.0, 10.0, 12.0, 20.0, 27.0])
    monkeypatch.setattr("benchmarks.reference.timing.time.process_time", lambda: next(clock))
    results = iter("abc")
    used, last = least(lambda: next(results), 3)
    assert used["seconds"] == 2.0 and last == "c"


def filled(count: int) -> mmap.mmap:
    """Memory that the process did not hold before; the allocator would hand out what was freed."""
    memory = mmap.mmap(-1, count)
    memory.write(b"x" * count)
    return memory


def test_measured_returns_what_the_work_needs():
    used, result = measured(lambda: filled(30_000_000))
    assert len(result) == 30_000_000 and used["seconds"] > 0
    assert used["megabytes"] is None or used["megabytes"] > 25
