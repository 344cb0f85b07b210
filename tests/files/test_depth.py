"""Depth images in every format that is read: written here, decoded, and damaged."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest
from made_up_scan import depth_mm, png

from video3d_plugin.errors import DataError
from video3d_plugin.files.depth import HEAD_BYTES, decode_depth, depth_format

DEPTH = depth_mm(1)


def npy(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def pgm(comment=b""):
    height, width = DEPTH.shape
    return b"P5\n%b%d %d\n65535\n" % (comment, width, height) + DEPTH.astype(">u2").tobytes()


@pytest.mark.parametrize(
    "codec, data",
    [
        ("png", png(DEPTH)),
        ("pgm", pgm()),
        ("pgm", pgm(b"# written by a sensor\n# 12 34\n")),
        ("npy", npy(DEPTH)),
        ("npy", npy(np.asfortranarray(DEPTH))),
        ("npy", npy(DEPTH[..., None])),
        ("npy", npy(DEPTH.astype(">u2"))),
    ],
)
def test_16_bit_depth_is_what_was_written(codec, data):
    assert depth_format(data[:HEAD_BYTES], "x") == (codec, DEPTH.shape)
    depth = decode_depth(codec, data, DEPTH.shape, "x")
    assert depth.dtype == np.uint16 and (depth == DEPTH).all()


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", ">f4", "i4", "u1"])
def test_arrays_of_other_types_become_float32(kind):
    values = (DEPTH % 200).astype(kind)
    depth = decode_depth("npy", npy(values), DEPTH.shape, "x")
    assert depth.dtype == np.float32 and (depth == DEPTH % 200).all()


def test_what_is_no_distance_counts_as_not_measured():
    values = DEPTH / 1000
    values[0, :5] = np.nan, np.inf, -1, 1e30, 0
    depth = decode_depth("npy", npy(values), DEPTH.shape, "x")
    assert (depth[0, :5] == 0).all() and np.allclose(depth[1:], values[1:])


@pytest.mark.parametrize(
    "data, message",
    [
        (npy(np.array([{}], object), allow_pickle=True), "an array of 'object'"),
        (npy(np.array(["a"])), "an array of"),
        (npy(DEPTH[None].repeat(2, 0)), r"shape \(2, 48, 64\)"),
        (npy(DEPTH[0]), r"shape \(64,\)"),
        (npy(DEPTH)[:40], "not a whole .npy"),
        (
            npy(np.zeros((1, 1), np.uint16)).replace(b"(1, 1), }    ", b"(99999, 99999)}"),
            "claims 99999x99999|not a whole",
        ),
        (b"\x93NUMPY\x09\x00" + b"a" * 100, "not a whole .npy"),
        (b"P5 64 48 255\n" + bytes(64 * 48), "values up to 255"),
        (b"P5 64\n", "not a whole PGM"),
        (b"P5 999999999 999999999 65535\n", "claims"),
        (b"P6 64 48 65535\n", "not a PNG"),
        (pickle.dumps(DEPTH), "not a PNG"),
        (b"", "not a PNG"),
    ],
)
def test_what_is_no_depth_image_is_refused_by_its_first_bytes(data, message):
    with pytest.raises(DataError, match=message):
        depth_format(data[:HEAD_BYTES], "x")


@pytest.mark.parametrize(
    "codec, data", [("png", png(DEPTH)), ("pgm", pgm()), ("npy", npy(DEPTH)), ("npy", npy(DEPTH / 7))]
)
@pytest.mark.parametrize("lost", [1, 100])
def test_a_truncated_depth_image_is_refused(codec, data, lost):
    with pytest.raises(DataError, match="truncated"):
        decode_depth(codec, data[:-lost], DEPTH.shape, "x")
