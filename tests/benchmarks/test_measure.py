"""What the benchmarks count and say; how long things take is not tested."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import made_up  # noqa: E402
import measure  # noqa: E402
import roofline  # noqa: E402


def test_a_row_says_whether_its_target_is_reached(capsys):
    say = measure.Transcript()
    say.row("fast", 10.0, 0.5, 20)
    say.row("slow", 10.0, 1.0, 20)
    say.row("other", 3.0, 2.0, None)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "fast: baseline 10 s, video3d 0.5 s: 20.0x  20x reached"
    assert printed[1].endswith("10.0x  20x NOT reached") and printed[2].endswith("1.5x")


def test_a_published_section_holds_the_table_and_the_output(tmp_path, capsys):
    say = measure.Transcript()
    say("first words")
    say.row("fast", 10.0, 0.5, 20)
    say.publish(None, "x", "Nothing")
    say.publish(tmp_path / "results.md", "some-speed", "Some speed")
    text = (tmp_path / "results.md").read_text()
    assert "## Some speed" in text and "| fast | 10 s | 0.5 s | 20.0x | 20x reached |" in text
    assert "```\nfirst words\nfast: baseline" in text and f"torch {torch.__version__}" in text


def test_ways_take_turns():
    calls = []
    times, results = measure.in_turn({"a": lambda: calls.append("a"), "b": lambda: calls.append("b") or 7}, 3)
    assert calls == list("ababab") and results["b"] == 7 and set(times) == {"a", "b"}


def test_without_a_gpu_nothing_is_measured_and_it_is_said(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert measure.without_gpu(measure.Transcript(), "cuda") and "not measured" in capsys.readouterr().out
    assert not measure.without_gpu(measure.Transcript(), "cpu")


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells a process's peak memory")
def test_the_peak_is_seen_and_what_was_held_before_is_not():
    """In a fresh process: memory that other tests have freed would be used again without a new peak."""
    code = "import measure; held = bytearray(200_000_000); print(measure.peak_megabytes(lambda: bytearray(50_000_000)))"
    folder = Path(measure.__file__).parent
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    assert 40 < float(done.stdout) < 120


def test_operations_of_the_7b_shape_by_hand():
    # q and o: 2 * 3584^2; k and v: 2 * 3584 * 512; a gated MLP: 3 * 3584 * 18944
    assert roofline.linear(made_up.SIZES["7b"]) == 25690112 + 3670016 + 203685888
    # SigLIP-so400m: 4 * 1152^2 and an MLP of two matrices
    assert roofline.linear(made_up.TOWERS["7b"]) == 5308416 + 9916416
    assert roofline.prefix_length(32) == 32 * 210 + 15
    a, b = (roofline.asking("7b", 32, tokens) for tokens in (10, 20))
    assert b == 2 * a and a > 10 * 28 * 2 * roofline.linear(made_up.SIZES["7b"])


def test_made_up_questions_have_the_lengths_of_real_ones():
    model, processor = made_up.model_of("small")
    lengths = [len(processor.suffix_ids(q, answered=True)[0]) for q in made_up.questions("ground", 64)]
    assert 30 <= sum(lengths) / 64 <= 60
    assert len(processor.prefix_ids()) == roofline.EXTRA + 1  # and <image>
    assert model.config.inputs_spec == made_up.scene(1, 3).spec
    kinds = [q.is_grounding for q in made_up.questions("train", 6)]
    assert kinds == [True, False] * 3


def test_the_plot_repeats(tmp_path):
    pytest.importorskip("matplotlib")
    import scaling

    series = {"questions": {1: (0.1, 0.2), 4: (0.2, 0.8)}, "proposals": {10: (0.1, 1.0), 500: (0.2, None)}}
    for name in ("a.svg", "b.svg"):
        scaling.draw_panels(series, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes() != b""
