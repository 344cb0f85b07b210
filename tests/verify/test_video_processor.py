"""`video3d verify --kind video_processor`: agrees on the goldens, and sees each way of being wrong."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.verify import verify


@pytest.fixture
def folder(data_goldens, tmp_path):
    shutil.copytree(data_goldens / "video_processor", tmp_path / "g" / "video_processor")
    return tmp_path / "g"


def results(folder):
    return {r.case: r for r in verify(folder, ["video_processor"])}


def change_golden(folder, **changes):
    path = folder / "video_processor" / "golden.npz"
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    for name, function in changes.items():
        arrays[name] = function(arrays[name])
    np.savez(path, **arrays)


def test_the_goldens_agree(folder):
    found = results(folder)
    assert set(found) == {"uniform", "frames", "pixels", "coordinates", "pixel_mean", "objects"}
    assert all(r.ok for r in found.values()), found


@pytest.mark.parametrize(
    "case, changes",
    [
        ("pixels", {"pixels_stride4": lambda a: a + np.uint8(3)}),
        ("coordinates", {"coords_stride6": lambda a: a + np.float32(2e-4)}),
        ("coordinates", {"coords_stride6": lambda a: np.where(np.arange(3) == 0, np.nan, a)}),
        ("coordinates", {"coords_stride6": lambda a: a[:, :-1]}),
        ("objects", {"objects": lambda a: a * 1.001}),
        ("pixel_mean", {"pixel_mean": lambda a: a + 3}),
    ],
)
def test_a_difference_is_out(folder, case, changes):
    change_golden(folder, **changes)
    found = results(folder)
    assert found[case].ok is False and all(r.ok for name, r in found.items() if name != case)


def test_other_frames_are_out(folder):
    change_golden(folder, frame_files=lambda a: a[[0, 2, 2, 3, 4, 5, 6, 7]])
    assert results(folder)["frames"].ok is False


def test_another_uniform_choice_is_out(folder):
    path = folder / "video_processor" / "uniform.json"
    content = json.loads(path.read_text())
    content["5"][1] = "00050.jpg"
    path.write_text(json.dumps(content))
    assert results(folder)["uniform"].ok is False


def test_a_changed_image_is_out(folder):
    from PIL import Image

    path = folder / "video_processor" / "data" / "scannet" / "posed_images" / "scene9000_00" / "00000.jpg"
    image = Image.open(path).convert("RGB")
    image.point(lambda value: min(255, value + 12)).save(path, quality=95)
    found = results(folder)
    assert found["pixels"].ok is False and found["coordinates"].ok


def test_missing_goldens_are_an_error(folder):
    (folder / "video_processor" / "golden.npz").unlink()
    with pytest.raises(MissingError, match=r"golden\.npz: the golden is missing"):
        results(folder)
    (folder / "video_processor" / "golden.npz").write_bytes(b"broken")
    with pytest.raises(DataError, match="cannot be read"):
        results(folder)
