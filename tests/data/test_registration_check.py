"""Edges of colour and depth: at the same pixels, apart, scaled, too few."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from made_up_scan import matrix_text, png, pose
from PIL import Image

from video3d_plugin.data.readers import load_scene
from video3d_plugin.data.registration_check import registration_note

HEIGHT, WIDTH = 240, 320


def boxes(seed):
    """Depth in millimetres of boxes before a wall, and a colour image with the same outlines and some texture."""
    rng = np.random.default_rng(seed)
    depth, color = np.full((HEIGHT, WIDTH), 4000, np.uint16), np.full((HEIGHT, WIDTH, 3), 180, np.uint8)
    for _ in range(8):
        top, left = rng.integers(10, 170), rng.integers(10, 250)
        place = slice(top, top + rng.integers(30, 60)), slice(left, left + rng.integers(30, 60))
        depth[place], color[place] = rng.integers(1000, 3000), rng.integers(0, 120, 3)
    return depth, np.clip(color + rng.normal(0, 4, color.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def scene_of(tmp_path):
    def make(change, count=6):
        (tmp_path / "depth_intrinsic.txt").write_text(matrix_text(np.diag([300.0, 300, 1, 1])))
        for index in range(count):
            depth, color = boxes(index)
            (tmp_path / f"{index}.png").write_bytes(png(depth))
            Image.fromarray(change(color)).save(tmp_path / f"{index}.jpg", quality=95)
            (tmp_path / f"{index}.txt").write_text(matrix_text(pose(index)))
        return load_scene(tmp_path)

    return make


def test_images_of_one_camera_agree(scene_of):
    assert registration_note(scene_of(lambda color: color)) is None


@pytest.mark.parametrize("size", [(640, 480), (160, 120)])
def test_the_size_of_the_colour_image_does_not_matter(scene_of, size):
    assert registration_note(scene_of(lambda color: cv2.resize(color, size))) is None


def test_a_shift_is_noted_with_its_pixels(scene_of):
    note = registration_note(scene_of(lambda color: np.roll(color, 9, axis=1)))
    assert note is not None and "about 9 pixels apart" in note and "--color-from-depth" in note


def test_another_field_of_view_is_noted(scene_of):
    matrix = np.array([[0.91, 0, WIDTH * 0.045], [0, 0.91, HEIGHT * 0.045]])
    assert registration_note(scene_of(lambda color: cv2.warpAffine(color, matrix, (WIDTH, HEIGHT)))) is not None


def test_colour_that_is_noise_is_not_judged(scene_of):
    rng = np.random.default_rng(0)
    assert registration_note(scene_of(lambda color: rng.integers(0, 255, color.shape).astype(np.uint8))) is None


def test_few_frames_are_not_judged(scene_of):
    assert registration_note(scene_of(lambda color: np.roll(color, 9, axis=1), count=3)) is None
