"""The check of a scan's geometry: silent on a right scan, and each planted mistake is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from video3d_plugin.data.geometry_check import geometry_notes, likely_cause
from video3d_plugin.data.readers import load_scene
from video3d_plugin.errors import DataError
from video3d_plugin.scene import FileSlice

OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


@pytest.fixture(scope="module")
def frames(my_scan):
    return load_scene(my_scan).frames


def with_poses(frames, change):
    return [replace(frame, scan_from_camera=change(frame.scan_from_camera)) for frame in frames]


def moved(factor):
    return lambda pose: np.vstack([np.hstack([pose[:3, :3], pose[:3, 3:] * factor]), pose[3:]])


def with_focal(frames, factor):
    def change(matrix):
        matrix = matrix.copy()
        matrix[[0, 1], [0, 1]] *= factor
        return matrix

    return [replace(frame, depth_intrinsics=change(frame.depth_intrinsics)) for frame in frames]


def with_unit(frames, factor):
    return [replace(frame, depth_unit_m=frame.depth_unit_m * factor) for frame in frames]


@pytest.mark.parametrize("step", [1, 3])
def test_a_right_scan_raises_no_alarm(frames, step):
    assert geometry_notes(frames[::step], np.eye(4)) == []


@pytest.mark.parametrize(
    "change, words",
    [
        (np.linalg.inv, "world to camera"),
        (lambda pose: pose @ OPENGL, r"OpenGL: multiply the poses from the right by diag\(1, -1, -1, 1\)"),
        (lambda pose: np.linalg.inv(pose @ OPENGL), "inverted poses and the camera axes of OpenGL"),
    ],
)
def test_wrong_conventions_of_poses_are_named(frames, change, words):
    cause = likely_cause(with_poses(frames, change))
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(cause.text)
    assert cause.kind == "poses"


@pytest.mark.parametrize("factor, words", [(1000, "0.001 times as large"), (100, "0.01 times"), (0.25, "4 times")])
def test_positions_in_other_units_are_named(frames, factor, words):
    cause = likely_cause(with_poses(frames, moved(factor)))
    assert cause.kind == "scale" and words in cause.text and "not to be in metres" in cause.text


@pytest.mark.parametrize("factor", [0.2, 5, 10])
def test_a_wrong_depth_unit_is_named_with_the_right_one(frames, factor):
    cause = likely_cause(with_unit(frames, factor))
    assert cause.kind == "scale" and f"a depth unit of 0.001 m instead of {0.001 * factor:.3g}" in cause.text


@pytest.mark.parametrize("factor", [0.5, 0.73, 1.37, 2])
def test_wrong_intrinsics_are_named(frames, factor):
    cause = likely_cause(with_focal(frames, factor))
    assert cause.kind == "intrinsics" and "the intrinsics seem to be of another camera" in cause.text


def test_poses_of_other_images_are_an_alarm_without_a_cause(frames):
    poses = [frame.scan_from_camera for frame in frames]
    mixed = [replace(f, scan_from_camera=p) for f, p in zip(frames, poses[::-1], strict=True)]
    cause = likely_cause(mixed)
    assert cause is not None and cause.kind in ("unknown", "poses")


def test_depth_that_no_sensor_gives_is_named(frames):
    notes = geometry_notes(with_poses(with_unit(frames, 100), moved(100)))
    assert len(notes) == 1 and "is beyond 20 m, which no indoor sensor gives" in notes[0]
    notes = geometry_notes(with_poses(with_unit(frames, 0.02), moved(0.02)))
    assert "most of the depth is within 15 cm" in notes[0]


def test_a_value_for_not_measured_that_is_not_0_is_named(my_scan, tmp_path):
    import cv2

    frames = []
    for index, frame in enumerate(load_scene(my_scan).frames):
        depth = cv2.imread(str(frame.depth.path), -1)
        depth[: depth.shape[0] // 8] = 65535
        cv2.imwrite(str(tmp_path / f"{index}.png"), depth)
        frames.append(replace(frame, depth=FileSlice(tmp_path / f"{index}.png")))
    assert any("has the value 65535: write 0" in note for note in geometry_notes(frames))


def test_a_room_that_is_too_high_is_named(frames):
    high = with_poses(with_unit(frames, 5), moved(5))
    assert "m high: are poses and depth in metres" in geometry_notes(high, np.eye(4))[0]
    assert geometry_notes(high) == []  # nothing is known of up


def test_what_cannot_be_decoded_or_compared_is_no_alarm(frames, tmp_path):
    broken = [replace(frame, depth=FileSlice(tmp_path / "none.png")) for frame in frames]
    for few in (broken, [], frames[:1], [frames[0], frames[0]]):
        assert geometry_notes(few, np.eye(4)) == [] or few == frames[:1]
    hostile = with_poses(frames, lambda pose: pose + np.eye(4, k=3) * 1e8)
    geometry_notes(hostile, np.eye(4))


def test_readers_say_it(my_scan, tmp_path):
    import shutil

    folder = shutil.copytree(my_scan, tmp_path / "x")
    for path in folder.glob("[0-9]*.txt"):
        np.savetxt(path, np.linalg.inv(np.loadtxt(path)))
    assert any("world to camera" in note for note in load_scene(folder).notes)


def test_an_assumed_camera_that_is_wrong_is_refused(my_scan, tmp_path):
    """The room in TUM's layout without a calibration: the default camera of 525 does not fit its depth."""
    import cv2
    from scipy.spatial.transform import Rotation

    rows = []
    for index, frame in enumerate(load_scene(my_scan).frames):
        for kind in ("rgb", "depth"):
            (tmp_path / kind).mkdir(exist_ok=True)
        depth = cv2.imread(str(frame.depth.path), -1)
        cv2.imwrite(str(tmp_path / f"depth/{index}.png"), depth * 5)
        (tmp_path / f"rgb/{index}.jpg").write_bytes(frame.color.read())
        pose = frame.scan_from_camera
        values = [index, *pose[:3, 3], *Rotation.from_matrix(pose[:3, :3]).as_quat()]
        rows.append(" ".join(map(str, values)))
    indices = range(len(rows))
    (tmp_path / "groundtruth.txt").write_text("\n".join(rows))
    (tmp_path / "associations.txt").write_text("\n".join(f"{i} rgb/{i}.jpg {i} depth/{i}.png" for i in indices))
    with pytest.raises(DataError, match="no intrinsics, and the usual ones are wrong: .*focal lengths .*--intrinsics"):
        load_scene(tmp_path)
    matrix = load_scene(my_scan).frames[0].depth_intrinsics
    camera = (matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2])
    assert not any("agree" in note for note in load_scene(tmp_path, intrinsics=camera).notes)
