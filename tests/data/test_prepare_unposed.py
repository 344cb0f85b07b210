"""`video3d prepare --poses estimate`: recordings without poses become scenes, once."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from unposed_rooms import camera, wall_texture, write_unposed

from video3d_plugin.cli import main
from video3d_plugin.data import prepare_scene
from video3d_plugin.data.folder import DataFolder
from video3d_plugin.data.odometry.motion import logarithm
from video3d_plugin.data.readers import load_scene, unposed
from video3d_plugin.errors import DataError


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recordings, of which the second cannot be tracked."""
    root, texture = tmp_path_factory.mktemp("unposed"), wall_texture()
    write_unposed(root / "room", [camera(n) for n in range(6)], texture)
    write_unposed(root / "blank", [camera(n) for n in range(3)], np.full_like(texture, 200))
    return root


@pytest.fixture
def source(recordings: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(recordings, tmp_path / "source"))


def run_prepare(source: Path, output: Path, *words: str) -> int:
    return main(["prepare", str(source), "-o", str(output), "--poses", "estimate", "--align", "none", *words])


def test_the_poses_are_estimated_and_the_drift_is_said(source: Path, tmp_path: Path, capsys) -> None:
    assert run_prepare(source, tmp_path / "data") == 0
    table = capsys.readouterr().out
    assert "note: poses are estimated from the images, with a drift of about" in table
    assert "left out: scene blank: " in table and "tracking is lost at frame 1" in table
    folder = DataFolder.open(tmp_path / "data")
    assert folder.scene_ids == ("room",)
    frames = folder.scene("room").frames
    alone = load_scene(source, "room", poses="estimate", align="none").frames
    for number, (frame, other) in enumerate(zip(frames, alone, strict=True)):
        off = logarithm(np.linalg.inv(np.linalg.inv(camera(0)) @ camera(number)) @ frame.scan_from_camera)
        assert np.linalg.norm(off[3:]) < 0.03
        assert np.array_equal(frame.scan_from_camera, other.scan_from_camera)


def test_a_second_run_estimates_nothing_again(source: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    shutil.rmtree(source / "blank")
    run_prepare(source, tmp_path / "data")
    monkeypatch.setattr(unposed, "estimate_poses", None)
    assert run_prepare(source, tmp_path / "data") == 0
    table = capsys.readouterr().out
    assert "1 (1 were ready)" in table and table.count("poses are estimated") == 2


def test_other_estimates_and_images_are_noticed(source: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    shutil.rmtree(source / "blank")
    run_prepare(source, tmp_path / "data")
    monkeypatch.setattr(prepare_scene, "ODOMETRY", prepare_scene.ODOMETRY + 1)
    run_prepare(source, tmp_path / "data")
    shutil.copy(source / "room" / "color" / "4.png", source / "room" / "color" / "5.png")
    shutil.copy(source / "room" / "depth" / "4.png", source / "room" / "depth" / "5.png")
    run_prepare(source, tmp_path / "data")
    assert capsys.readouterr().out.count("1 (0 were ready)") == 3


def test_a_source_without_such_recordings_is_refused(tmp_path: Path, capsys) -> None:
    (tmp_path / "empty").mkdir()
    assert run_prepare(tmp_path / "empty", tmp_path / "data") == 2
    assert "no recording whose poses can be estimated" in capsys.readouterr().err
    with pytest.raises(DataError):
        load_scene(tmp_path / "empty", poses="estimate")
