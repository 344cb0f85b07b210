"""`video3d ask`, `view` and `sample` as typed: what they print, write and refuse."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from video3d_plugin import cli

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def ask(my_scan, tiny_checkpoint):
    """ask(*words) -> exit status."""

    def run(*words):
        options = ["--model", str(tiny_checkpoint), "--max-new-tokens", "4", "--device", "cpu"]
        return cli.main(["ask", str(my_scan), *map(str, words), *options])

    return run


@pytest.fixture(autouse=True)
def no_bars_of_libraries():
    """In a process of its own, the command turns them off before they are imported; see the last test."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    yield
    logging.enable_progress_bar()


def typed(monkeypatch, text, on_terminal=False):
    stream = io.StringIO(text)
    stream.isatty = lambda: on_terminal
    monkeypatch.setattr(sys, "stdin", stream)


def without_notes(error):
    """What is on stderr besides the notes on the scan."""
    return "".join(line for line in error.splitlines(keepends=True) if "my_scan: note: " not in line)


def test_a_question_is_answered_in_words(ask, capsys):
    assert ask("How many chairs are there?") == 0
    out, error = capsys.readouterr()
    assert out.count("\n") >= 1 and without_notes(error) == ""


@pytest.mark.parametrize("words", [("the chair", "--ground"), ("--ground", "the chair")])
def test_a_description_gives_boxes_with_the_chosen_one_marked(ask, capsys, words):
    assert ask(*words) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[1].startswith("->") and len(re.findall(r"-?\d+\.\d\d", rows[1])) >= 6
    assert sum(row.startswith("->") for row in rows) == 1


def test_json_says_what_was_asked_of_which_frames_and_view_reads_it(ask, my_scan, capsys, tmp_path):
    assert ask("the chair", "--ground", "--json") == 0
    text = capsys.readouterr().out
    content = json.loads(text)
    assert content["scene_id"] == "my_scan" and len(content["frames"]) == 4
    (item,) = content["items"]
    assert len(item["predicted"]) == 1 and len(item["predicted"][0]["box"]) == 6
    assert len(item["scores"]) == len(item["proposals"]) > 1
    (tmp_path / "a.json").write_text(text)
    page = tmp_path / "page.html"
    assert cli.main(["view", str(my_scan), "--boxes", str(tmp_path / "a.json"), "--save", str(page)]) == 0
    assert "the chair" in page.read_text()


def test_a_point_is_described_or_asked_about(ask, capsys):
    assert ask("--point", "0.5", "-0.25", "1", "--json") == 0
    described = json.loads(capsys.readouterr().out)["items"][0]
    assert described["point"] == [0.5, -0.25, 1.0]
    assert ask("What colour is it?", "--point", "0.5", "-0.25", "1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["items"][0]["question"] == "What colour is it?"


def test_a_point_outside_of_the_scan_is_refused(ask, capsys):
    assert ask("--point", "90", "0", "0") == 2
    out, error = capsys.readouterr()
    assert out == "" and "the point 90 0 0 lies outside of the scan (it spans x " in error.splitlines()[-1]


def test_piped_questions_are_answered_in_order_and_one_page_shows_all(ask, capsys, monkeypatch, tmp_path):
    typed(monkeypatch, "How many?\n\n/ground the chair\n/point 0 0 1\n/several the table\n")
    assert ask("--json", "--save", tmp_path / "all.html") == 0
    out, error = capsys.readouterr()
    assert [item["task"] for item in json.loads(out)["items"]] == ["answer", "ground", "answer", "ground"]
    assert "all.html" in error and (tmp_path / "all.html").stat().st_size > 500_000


def test_with_json_nothing_else_is_printed_whatever_is_typed(ask, capsys, monkeypatch):
    typed(monkeypatch, "/frames\n/help\nHow many?\n")
    assert ask("--json") == 0
    out, error = capsys.readouterr()
    assert len(json.loads(out)["items"]) == 1
    assert len(without_notes(error).splitlines()[0].split()) == 4 and "a question" in error


def test_wrong_lines_of_a_pipe_are_named_by_number_and_the_others_are_answered(ask, capsys, monkeypatch):
    typed(monkeypatch, f"/grund the chair\n\nHow many?\n{'x' * 50_000}\n/point 90 0 0\n/point 0 0 1\n")
    assert ask("--json") == 2
    out, error = capsys.readouterr()
    first, second, third = (line for line in error.splitlines() if "error: line" in line)
    assert "line 1: " in first and "did you mean /ground?" in first
    assert "line 4: " in second and "longer than 20000" in second
    assert "line 5: " in third and "lies outside of the scan" in third and "it spans x " in third
    items = json.loads(out)["items"]
    assert [item["status"] for item in items] == ["refused", "", "refused", "refused", ""]
    assert "did you mean" in items[0]["reason"] and items[0]["answer"] is None and items[1]["answer"] is not None


def test_a_wrong_line_does_not_end_a_conversation(ask, capsys, monkeypatch):
    lines = iter(["/grund x", "/point 1 2", "/frames", "/help", "How many?"])

    def answer(prompt):
        line = next(lines, None)
        if line is None:
            raise EOFError
        return line

    typed(monkeypatch, "", on_terminal=True)
    monkeypatch.setattr("builtins.input", answer)
    assert ask() == 0
    out = capsys.readouterr().out
    assert "did you mean /ground?" in out and "/point needs three numbers" in out and "a question" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--ground"], "--ground needs a description"),
        (["  "], "the question is empty"),
        (["", "--point", "1", "1", "1"], "the question is empty"),
        (["", "--ground"], "--ground needs a description"),
        (["x", "--ground", "--point", "0", "0", "0"], "exclude each other"),
        (["x", "--several", "--point", "0", "0", "0"], "exclude each other"),
        (["x", "--save", "a.txt"], "ends in .html"),
        (["x", "--save", "nowhere/a.html"], "its folder does not exist"),
        (["x", "--sampler", "ratio95"], "did you mean 'mc-ratio95'"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(ask, capsys, monkeypatch, tmp_path, words, said):
    monkeypatch.chdir(tmp_path)
    assert ask(*words) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_nothing_behind_and_is_one_line(ask, capsys, monkeypatch, tmp_path):
    from video3d_plugin.view import scene_view

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(scene_view.CloudBuilder, "add", interrupt)
    assert ask("How many?", "--save", tmp_path / "a.html") == 130
    error = without_notes(capsys.readouterr().err)
    assert error.count("\n") == 1 and error == "video3d: stopped\n" and list(tmp_path.iterdir()) == []


@pytest.fixture
def damaged_scan(my_scan, tmp_path):
    """The scan with a colour and a depth image that end too early."""
    folder = Path(shutil.copytree(my_scan, tmp_path / "damaged"))
    for name in ("00010.jpg", "00030.png"):
        (folder / name).write_bytes((folder / name).read_bytes()[:300])
    return folder


@pytest.mark.parametrize(
    "words",
    [["sample"], ["ask", "How many?"], ["ask", "the chair", "--ground"], ["view", "--save", "a.html"]],
    ids=" ".join,
)
def test_frames_that_do_not_decode_are_left_out_and_said_so(
    damaged_scan, tiny_checkpoint, capsys, monkeypatch, tmp_path, words
):
    monkeypatch.chdir(tmp_path)
    more = ["--max-new-tokens", "2", "--max-frames", "8", "--model", str(tiny_checkpoint)] if words[0] == "ask" else []
    assert cli.main([words[0], str(damaged_scan), *words[1:], *more]) == 0
    error = capsys.readouterr().err
    assert "damaged: 2 left out, the first: frame 00010: colour image cannot be decoded" in error


def test_a_scan_of_which_nothing_decodes_is_one_line(damaged_scan, capsys):
    for path in damaged_scan.glob("*.jpg"):
        path.write_bytes(b"\xff\xd8 no picture")
    assert cli.main(["sample", str(damaged_scan)]) == 2
    error = capsys.readouterr().err
    assert "damaged: no frame can be used; the first: frame 00000: colour image" in error and error.count("\n") == 1


def test_view_writes_a_page_named_after_the_scan(my_scan, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["view", str(my_scan), "--proposals", "auto", "--max-frames", "3"]) == 0
    text = (tmp_path / "my_scan.html").read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', text)[1])
    assert len(data["chosen"]) == 3 and data["proposals"] and data["scene"] == "my_scan"
    assert "MB" in capsys.readouterr().err


def test_view_shows_the_frames_that_the_model_of_ask_sees(my_scan, tiny_checkpoint, tmp_path, monkeypatch):
    def shown(*words):
        page = tmp_path / "page.html"
        assert cli.main(["view", str(my_scan), "--save", str(page), *words]) == 0
        data = json.loads(re.search(r'id="data">(.*?)</script>', page.read_text())[1])
        return data["sampler"], len(data["chosen"])

    assert shown("--model", str(tiny_checkpoint)) == ("uniform", 4)
    assert shown("--model", str(tiny_checkpoint), "--max-frames", "3") == ("uniform", 3)
    monkeypatch.setattr("video3d_plugin.loading.default_checkpoint", lambda: tiny_checkpoint)
    assert shown() == ("uniform", 4)
    monkeypatch.setenv("HOME", str(tiny_checkpoint.parent))
    assert shown("--model", f"~/{tiny_checkpoint.name}") == ("uniform", 4)
    assert cli.main(["view", str(my_scan), "--model", str(tmp_path / "nothing")]) == 2
    monkeypatch.undo()
    assert shown()[0] == "mc"  # what the shipped model was trained with


def test_rerun_without_its_package_says_how_to_get_it(my_scan, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rerun", None)
    assert cli.main(["view", str(my_scan), "--rerun", str(tmp_path / "a.rrd")]) == 2
    assert "pip install 'video3d-plugin[rerun]'" in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_a_rerun_recording_is_written(my_scan, tmp_path, capsys):
    pytest.importorskip("rerun", reason="rerun-sdk is not installed")
    boxes = tmp_path / "boxes.json"
    boxes.write_text("[[0, 0, 1, 1, 1, 1]]")
    path = tmp_path / "a.rrd"
    assert cli.main(["view", str(my_scan), "--rerun", str(path), "--boxes", str(boxes)]) == 0
    assert path.read_bytes()[:3] == b"RRF" and path.stat().st_size > 10_000
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.rrd", "boxes.json"]


def test_sample_lists_every_sampler_with_its_frames_and_coverage(my_scan, capsys):
    assert cli.main(["sample", str(my_scan), "--max-frames", "4", "--json"]) == 0
    samplers = json.loads(capsys.readouterr().out)["samplers"]
    assert list(samplers)[:4] == ["uniform", "mc", "mc-ratio90", "mc-ratio95"]
    assert len(samplers["uniform"]["frames"]) == 4
    assert 0 < samplers["uniform"]["coverage"] <= samplers["mc"]["coverage"] <= 1
    assert cli.main(["sample", str(my_scan), "--max-frames", "100", "--sampler", "uniform"]) == 0
    row = capsys.readouterr().out.splitlines()[2]
    assert "100.0%" in row and row.split()[1] == "8"  # all eight frames see all there is


def test_coverage_is_the_share_of_voxels_that_all_frames_see(my_scan):
    """By hand, from points and sets."""
    import numpy as np

    from video3d_plugin import load_scene
    from video3d_plugin.cli.sample import sample_all
    from video3d_plugin.data.inputs import frame_points

    scene = load_scene(my_scan)

    def cells(frames):
        return {tuple(c) for i in frames for c in np.rint(frame_points(scene, i) / np.float32(0.1)).astype(int)}

    _, (result,) = sample_all(scene, ["uniform"], 3)
    expected = len(cells(result.frames)) / len(cells(range(len(scene.frames))))
    assert result.covered == pytest.approx(expected, abs=2e-3)  # a point at a cell's edge may fall on either side


def test_the_picture_shows_what_is_seen_and_what_is_not(my_scan, tmp_path, capsys):
    import numpy as np
    from PIL import Image

    def shares(*samplers):
        path = tmp_path / "a.png"
        words = ["--max-frames", "1", "--save", str(path), "--sampler", *samplers]
        assert cli.main(["sample", str(my_scan), *words]) == 0
        image = np.asarray(Image.open(path)).astype(int)[60:524]
        green, red = image[..., 1] > image[..., 0] + 30, image[..., 0] > image[..., 1] + 20
        return image.shape, green.mean(), red.mean()

    (_, width, _), seen, unseen = shares("uniform")
    assert 0.003 < seen < unseen  # one frame does not show the whole room
    assert shares("uniform", "mc")[0][1] > width
    for wrong, said in (("a.gif", "ends in .png"), ("none/a.png", "does not exist")):
        assert cli.main(["sample", str(my_scan), "--save", str(tmp_path / wrong)]) == 2
        assert said in capsys.readouterr().err
    assert cli.main(["sample", str(my_scan), "--sampler", "unifrom"]) == 2
    assert "did you mean 'uniform'" in capsys.readouterr().err


def test_a_real_process_is_quiet_in_a_pipe_and_ctrl_c_is_one_line_and_130(my_scan, tiny_checkpoint, tmp_path):
    words = ["ask", str(my_scan), "--model", str(tiny_checkpoint), "--max-new-tokens", "3", "--device", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "-m", "video3d_plugin.cli", *words, "--save", "a.html"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job would ignore it
    )
    process.stdin.write("/frames\n")
    process.stdin.flush()
    assert len(process.stdout.readline().split()) == 4
    process.send_signal(signal.SIGINT)  # it waits for a question; within one, a library's callback might swallow it
    _, error = process.communicate(timeout=240)
    assert process.returncode == 130
    assert without_notes(error) == "video3d: stopped\n"
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def scan_with_assumptions(my_scan, tmp_path):
    """A scan whose camera is that of the colour images, in double size, and whose frames are of no known up."""
    import shutil

    from PIL import Image

    folder = shutil.copytree(my_scan, tmp_path / "my_scan")
    matrix = np.loadtxt(folder / "depth_intrinsic.txt")
    for path in folder.glob("*intrinsic*"):
        path.unlink()
    for path in folder.glob("*.jpg"):
        with Image.open(path) as image:
            image.resize((2 * image.width, 2 * image.height)).save(path)
    matrix[:2, :2] *= 2
    matrix[:2, 2] = 2 * matrix[:2, 2] + 0.5
    np.savetxt(folder / "intrinsic.txt", matrix)
    return folder


@pytest.mark.parametrize("command", ["sample", "view"])
def test_what_is_assumed_of_a_scan_is_said_once(scan_with_assumptions, tmp_path, capsys, command):
    options = ["--sampler", "uniform"] if command == "sample" else ["--save", str(tmp_path / "a.html")]
    assert cli.main([command, str(scan_with_assumptions), *options]) == 0
    error = capsys.readouterr().err
    assert error.count("my_scan: note: intrinsic.txt is of the colour images") == 1
    assert "annotated boxes" not in error


def test_the_camera_of_the_command_line_counts(scan_with_assumptions, capsys):
    words = ["--intrinsics", "100", "100", "60", "45", "--depth-unit", "0.001"]
    assert cli.main(["sample", str(scan_with_assumptions), "--sampler", "uniform", *words]) == 0
    assert "intrinsic.txt" not in capsys.readouterr().err
    assert cli.main(["sample", str(scan_with_assumptions), "--depth-unit", "5"]) == 2
    assert "a step of depth is 5 m" in capsys.readouterr().err
