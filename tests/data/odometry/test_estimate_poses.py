"""Poses are estimated of a rendered recording without them; what cannot be tracked is refused."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from unposed_rooms import FRAMES, SIZE, camera, wall_texture, write_unposed

from video3d_plugin.data.odometry import track
from video3d_plugin.data.odometry.graph import Edge, fit_poses
from video3d_plugin.data.odometry.motion import Motion, exponential, logarithm
from video3d_plugin.data.readers import load_scene
from video3d_plugin.errors import DataError


@pytest.fixture(scope="module")
def texture() -> np.ndarray:
    return wall_texture()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, texture: np.ndarray) -> Path:
    return write_unposed(tmp_path_factory.mktemp("unposed") / "room", [camera(n) for n in range(FRAMES)], texture)


def test_a_room_is_recovered(recording: Path) -> None:
    scene = load_scene(recording, poses="estimate", align="none")
    assert len(scene.frames) == FRAMES
    for number, frame in enumerate(scene.frames):
        off = logarithm(np.linalg.inv(np.linalg.inv(camera(0)) @ camera(number)) @ frame.scan_from_camera)
        assert np.linalg.norm(off[3:]) < 0.03
        assert np.degrees(np.linalg.norm(off[:3])) < 1
    assert any("poses are estimated" in note and "drift" in note for note in scene.notes)


def test_frames_are_thinned_after_tracking(recording: Path) -> None:
    scene = load_scene(recording, poses="estimate", align="none", frame_step=5)
    assert [frame.name for frame in scene.frames] == ["0", "5", "10", "15"]
    off = logarithm(np.linalg.inv(camera(5)) @ scene.frames[1].scan_from_camera)
    assert np.linalg.norm(off[3:]) < 0.03


def test_without_the_option_the_remedy_is_named(recording: Path) -> None:
    with pytest.raises(DataError, match="--poses estimate"):
        load_scene(recording)


def test_a_jump_is_refused_and_its_frame_is_named(tmp_path: Path, texture: np.ndarray) -> None:
    turned = exponential(np.array([0, np.pi, 0, 0, 0, 0]))
    folder = write_unposed(tmp_path / "jump", [camera(0), camera(1), turned, turned], texture)
    with pytest.raises(DataError, match=r"tracking is lost at frame 2 \(3 of 4\).*move slowly"):
        load_scene(folder, poses="estimate")


def test_blank_walls_are_refused(tmp_path: Path, texture: np.ndarray) -> None:
    folder = write_unposed(tmp_path / "blank", [camera(n) for n in range(3)], np.full_like(texture, 200))
    with pytest.raises(DataError, match="tracking is lost at frame 1"):
        load_scene(folder, poses="estimate")


def test_frames_without_depth_are_refused(tmp_path: Path, texture: np.ndarray) -> None:
    folder = write_unposed(tmp_path / "void", [camera(n) for n in range(3)], texture)
    cv2.imwrite(str(folder / "depth" / "1.png"), np.zeros(SIZE, np.uint16))
    with pytest.raises(DataError, match="tracking is lost at frame 1"):
        load_scene(folder, poses="estimate")


@pytest.mark.parametrize("name", ["color/1.png", "depth/1.png"])
def test_a_broken_image_is_named(tmp_path: Path, texture: np.ndarray, name: str) -> None:
    folder = write_unposed(tmp_path / "broken", [camera(n) for n in range(3)], texture)
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"1\.png"):
        load_scene(folder, poses="estimate")


def test_one_frame_and_too_many_are_refused(tmp_path: Path, texture: np.ndarray, monkeypatch) -> None:
    folder = write_unposed(tmp_path / "few", [camera(0)], texture)
    with pytest.raises(DataError, match="2 to 3000 frames, not of 1"):
        load_scene(folder, poses="estimate")
    monkeypatch.setattr(track, "MOST_FRAMES", 0)
    with pytest.raises(DataError, match="not of 1"):
        load_scene(folder, poses="estimate")


def test_an_uncertain_estimate_is_refused(recording: Path, monkeypatch) -> None:
    monkeypatch.setattr(track, "MOST_DEVIATION_M", 1e-4)
    with pytest.raises(DataError, match="the drift is about .* more than"):
        load_scene(recording, poses="estimate")


@pytest.mark.parametrize(
    "deviation_m, deviation_deg, contradicted, message",
    [
        (0.059, 2.9, 0.2, None),
        (0.061, 2.9, 0.2, "6 cm and 2.9 degrees .standard deviation., more than 6 cm or 3 degrees"),
        (0.059, 3.1, 0.2, "more than 6 cm or 3 degrees"),
        (0.059, 2.9, 0.4, "40% of the keyframes' motions contradict others"),
    ],
)
def test_the_limits_of_uncertainty(deviation_m, deviation_deg, contradicted, message) -> None:
    fault = track.uncertainty(track.EstimatedPoses(np.eye(4)[None], deviation_m, deviation_deg, contradicted, 9, 9))
    assert fault is None if message is None else re.search(message, fault[0])


def test_other_values_and_folders_are_refused(recording: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="known: recorded, estimate"):
        load_scene(recording, poses="guess")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no files"):
        load_scene(tmp_path / "empty", poses="estimate")


def test_deviations_grow_along_a_chain_and_shrink_with_a_loop() -> None:
    step = exponential(np.array([0, 0.1, 0, 0.1, 0, 0]))
    poses = np.array([np.linalg.matrix_power(step, n) for n in range(12)])
    chain = [Edge(n, n + 1, Motion(step, 50)) for n in range(11)]
    loop = Edge(0, 11, Motion(poses[11], 50))
    open_chain, closed = fit_poses(poses, chain), fit_poses(poses, [*chain, loop])
    assert closed.deviation_m < open_chain.deviation_m
    assert open_chain.contradicted == 0


def test_a_false_loop_counts_little() -> None:
    step = exponential(np.array([0, 0.1, 0, 0.1, 0, 0]))
    poses = np.array([np.linalg.matrix_power(step, n) for n in range(6)])
    edges = [Edge(n, n + k, Motion(poses[k], 100)) for k in (1, 2) for n in range(6 - k)]
    false = Edge(0, 5, Motion(poses[5] @ exponential(np.array([0, 0, 0, 0.5, 0, 0])), 100))
    fitted = fit_poses(poses, [*edges, false])
    assert np.abs(fitted.poses[:, :3, 3] - poses[:, :3, 3]).max() < 0.02
    assert fitted.contradicted > 0
