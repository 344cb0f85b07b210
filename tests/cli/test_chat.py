"""The table of boxes that `video3d ask --ground` prints."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys

import numpy as np

from video3d_plugin import cli
from video3d_plugin.cli.chat import SHOWN, Chat, result_rows
from video3d_plugin.grounding_result import grounding_of
from video3d_plugin.scene import Scene
from video3d_plugin.scene_encoder import SceneEncoder

BOXES = np.ones((8, 6))
LABELS = ("chair",) * 6 + ("Dining table", "")


def found(description: str, scores: list[float], several: bool = False):
    return grounding_of(description, scores, BOXES, 0.07, several)


def test_rows_have_the_labels_of_their_boxes():
    rows = result_rows(found("the lamp", [0.1, 0.9, *[0.0] * 6]), LABELS).splitlines()
    assert rows[0].endswith("label") and rows[1].startswith("->") and rows[1].endswith("   chair")
    assert len(rows) == 1 + SHOWN
    plain = result_rows(found("the lamp", [0.1, 0.9, *[0.0] * 6]), ()).splitlines()
    assert plain[0].endswith("(m)") and plain[1].endswith("1.00")


def test_a_box_that_the_description_names_is_listed_however_low_its_score():
    rows = result_rows(found("the tables there", [0.9] * 6 + [0.1, 0.2]), LABELS).splitlines()
    assert len(rows) == 1 + SHOWN  # another word
    rows = result_rows(found("the TABLE", [0.9] * 6 + [0.1, 0.2]), LABELS).splitlines()
    assert rows[-2:] == ["    further boxes with a label of the description:", rows[-1]]
    assert rows[-1].endswith("   Dining table") and not rows[-1].startswith("->")


def test_it_is_said_when_the_model_rather_thinks_that_nothing_fits():
    assert "nothing" not in result_rows(found("the lamp", [0.9, *[0.0] * 8]), ())
    assert result_rows(found("the lamp", [0.2, *[0.0] * 7, 0.9]), ()).endswith(
        "\n    The model is 100% sure that nothing here fits."
    )
    several = result_rows(found("the lamp", [*[0.0] * 8, 0.9], several=True), ())
    assert several.endswith("\n->  nothing here fits") and "sure that" not in several


def test_json_holds_the_labels_of_the_proposals(monkeypatch):
    class Model:
        sampler, max_frames = "uniform", 4

    scene = Scene("room", (), np.eye(4), proposal_labels=LABELS)
    monkeypatch.setattr(Chat, "frames", lambda self: [])
    assert Chat(Model(), scene, "model").as_json()["proposal_labels"] == list(LABELS)


def test_the_room_is_encoded_once_for_all_questions_of_a_chat(my_scan, tiny_checkpoint, monkeypatch, capsys):
    encoded = []
    encode = SceneEncoder.encode_scene
    monkeypatch.setattr(SceneEncoder, "encode_scene", lambda *a, **k: encoded.append(a) or encode(*a, **k))
    monkeypatch.setattr(sys, "stdin", io.StringIO("How many?\n\n/ground the chair\n/several chairs\n/point 0 0 0.5\n"))
    assert cli.main(["ask", str(my_scan), "--model", str(tiny_checkpoint), "--max-new-tokens", "2"]) == 0
    assert len(encoded) == 1 and capsys.readouterr().out.count("\n") > 4


def test_the_arrow_up_brings_the_last_question_back():
    """A terminal of its own, and a stand-in for the model."""
    code = """
from types import SimpleNamespace
from video3d_plugin.cli import ask
scene = SimpleNamespace(scene_id="room", frames=(), proposals=())
answer = lambda text, *more: {"answer": f"answer to {text}"}
ask.read_questions(SimpleNamespace(scene=scene, ask=answer), on_terminal=True, show=True)
"""
    here, there = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", code], stdin=there, stdout=there, stderr=there)
    os.close(there)
    shown = b""

    def wait_for(text: bytes) -> None:
        nonlocal shown
        while text not in shown:
            shown += os.read(here, 1024)
        shown = shown.partition(text)[2]

    wait_for(b"> ")
    os.write(here, b"where is the lamp?\n")
    wait_for(b"answer to where is the lamp?")
    wait_for(b"> ")
    os.write(here, b"\x1b[A\n")
    wait_for(b"answer to where is the lamp?")
    os.write(here, b"/quit\n")
    assert process.wait(timeout=60) == 0
    os.close(here)
