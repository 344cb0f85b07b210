"""The page as a file: whole, small, without the network, and safe whatever texts are in it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from hostile_text import HOSTILE, hostile_view

from video3d_plugin.errors import DataError
from video3d_plugin.view.page import ASSETS, LIBRARY, SCRIPTS, as_json, page, write_page


def data_of(text: str) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_the_data_comes_back_as_it_went_in(view, item):
    data = data_of(page(view, [item], model="mini"))
    assert data["scene"] == view.scene.scene_id and data["about"] == {"model": "mini"}
    assert len(data["frames"]) == len(view.frames) and data["chosen"] == list(view.chosen)
    assert np.allclose(np.array(data["frames"][2]["pose"]).reshape(4, 4), view.frames[2].world_from_camera, atol=1e-5)
    assert base64.b64decode(data["frames"][0]["image"]) == view.frames[0].image
    assert np.allclose(data["proposals"], view.scene.proposals, atol=1e-3)
    assert data["items"][0]["proposals"] is None and data["items"][0]["scores"] == item["scores"]
    other = data_of(page(view, [{**item, "proposals": [[0, 0, 0, 1, 1, 1]], "scores": [1.0]}]))
    assert other["items"][0]["proposals"] == [[0, 0, 0, 1, 1, 1]]


def test_quantised_positions_are_within_half_a_step(view):
    text = page(view)
    cloud = data_of(text)["cloud"]
    raw = base64.b64decode(re.search(r'id="cloud">(.*?)</script>', text)[1])
    count = cloud["count"]
    assert count == len(view.cloud) and len(raw) == 12 * count
    positions = np.frombuffer(raw[: 6 * count], "<u2").reshape(-1, 3) * cloud["step"] + cloud["origin"]
    assert np.abs(positions - view.cloud.points).max() <= 0.51 * cloud["step"] < 2e-4
    assert np.array_equal(np.frombuffer(raw[6 * count : 9 * count], np.uint8).reshape(-1, 3), view.cloud.colors)


def test_hostile_text_stays_inside_its_string(view, item):
    nasty = {**item, "question": HOSTILE, "answer": HOSTILE, "expected": [HOSTILE], "id": HOSTILE, "task": HOSTILE}
    text, plain = page(hostile_view(view), [nasty], model=HOSTILE), page(view, [item])
    for mark in ("<script", "</script", "<img"):
        assert text.lower().count(mark) == plain.lower().count(mark), mark
    assert data_of(text)["scene"] == HOSTILE and data_of(text)["items"][0]["answer"] == HOSTILE


def test_the_policy_allows_the_pages_own_scripts_and_nothing_else(view):
    text = page(view)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy and "http" not in policy
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 2
    for script in scripts:
        assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy
    assert not re.search(r'(src|href)="', re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL))


def test_no_part_could_end_its_element_or_make_html_of_text():
    for name in (LIBRARY, *SCRIPTS):
        content = (ASSETS / name).read_text()
        assert "</script" not in content.lower() and "<!--" not in content, name
        if name != LIBRARY:
            assert not re.search(
                r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", content
            )
    assert "</style" not in (ASSETS / "viewer.css").read_text().lower()


def test_numbers_that_json_cannot_hold_and_half_characters_do_not_break_the_page(view, item):
    assert json.loads(as_json({"a": float("nan"), "b": [np.float32("inf"), np.int64(3)], "c": "\ud800"})) == {
        "a": None, "b": [None, 3], "c": "?"}  # fmt: skip
    page(view, [{**item, "score": float("nan"), "question": "\ud800"}])


def test_a_scene_with_nothing_in_it_still_makes_a_page(view):
    empty = replace(view.cloud, points=np.zeros((0, 3), np.float32), colors=np.zeros((0, 3), np.uint8))
    bare = replace(view.scene, instances=(), proposals=np.zeros((0, 6), np.float32))
    data = data_of(
        page(replace(view, cloud=replace(empty, facing=np.zeros((0, 3), np.float32)), scene=bare, chosen=()))
    )
    assert data["cloud"]["count"] == 0 and data["proposals"] == [] == data["chosen"]


def test_an_interrupted_write_leaves_the_old_page(view, tmp_path, monkeypatch):
    import os

    path = tmp_path / "a.html"
    size = write_page(path, view)
    assert path.stat().st_size == size
    path.write_text("old")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_page(path, view)
    assert [p.name for p in tmp_path.iterdir()] == ["a.html"] and path.read_text() == "old"


def test_a_full_disk_is_one_line(view, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_page(tmp_path / "file" / "a.html", view)
