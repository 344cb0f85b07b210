"""Images are told by their first bytes; only those decoders are asked, and nowhere else in the package."""

from __future__ import annotations

import ast
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

import video3d_plugin
from video3d_plugin.errors import DataError
from video3d_plugin.files.images import COLOR_FORMATS, as_rgb, depth_from_png, image_format, open_image

PACKAGE = Path(video3d_plugin.__file__).parent
OPENERS = {"open", "imread", "imdecode", "imdecodemulti", "imreadmulti", "VideoCapture", "read_image", "decode_image"}
LIBRARIES = {"Image", "cv2", "imageio", "iio", "skimage", "plt", "mpimg", "torchvision", "decord"}


def encoded(kind, size=(20, 10)):
    buffer = io.BytesIO()
    Image.fromarray(np.arange(size[0] * size[1] * 3, dtype=np.uint8).reshape(size[1], size[0], 3)).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", COLOR_FORMATS)
def test_each_format_is_told_by_its_first_bytes(kind):
    data = encoded(kind)
    assert image_format(data) == kind
    with open_image(data, "x") as image:
        assert image.size == (20, 10) and image.convert("RGB").getpixel((0, 0)) is not None
    with pytest.raises(DataError, match="x: colour image cannot be decoded"), open_image(data[:40], "x") as image:
        image.convert("RGB")


@pytest.mark.parametrize("kind", ["GIF", "PPM", "TGA", "ICO", "PCX", "JPEG2000", "SGI", "PDF", "EPS"])
def test_other_formats_are_refused(kind):
    data = encoded(kind)
    assert image_format(data) is None
    with pytest.raises(DataError, match="not a recognised image format"), open_image(data, "x"):
        pytest.fail("opened")


@pytest.mark.parametrize(
    "start", [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"RIFF\0\0\0\0WEBPVP8 "]
)
def test_postscript_starts_no_program(monkeypatch, start):
    def started(*_, **__):
        pytest.fail("Ghostscript was started")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", started)
    monkeypatch.setattr("subprocess.Popen", started)
    Image.init()  # every plug-in is there, as after other libraries have asked for one
    postscript = start + b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(%pipe%touch x) (w) file\n"
    with pytest.raises(DataError), open_image(postscript, "x") as image:
        image.convert("RGB")
    with pytest.raises(DataError):
        depth_from_png(postscript, "x")


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_of(width, height, bits=8, kind=2, data=b""):
    head = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def webp_of(size, form):
    lossless = b"\x2f" + ((size - 1) | (size - 1) << 14).to_bytes(4, "little") + bytes(20)
    body = {
        "VP8X": b"VP8X" + struct.pack("<I", 10) + bytes(4) + (size - 1).to_bytes(3, "little") * 2,
        "VP8L": b"VP8L" + struct.pack("<I", len(lossless)) + lossless,
        "VP8 ": b"VP8 " + struct.pack("<I", 30) + b"\x10\0\0\x9d\x01\x2a" + struct.pack("<HH", size, size) + bytes(20),
    }[form]
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


@pytest.mark.parametrize(
    "data",
    [png_of(9000, 9000), png_of(1 << 30, 1 << 30), *(webp_of(16000, form) for form in ("VP8X", "VP8L", "VP8 "))],
    ids=["png", "huge png", "VP8X", "VP8L", "VP8"],
)
def test_a_header_that_claims_too_many_pixels(data):
    with pytest.raises(DataError, match="claims|exceeds limit"), open_image(data, "x"):
        pytest.fail("opened")


@pytest.mark.parametrize("size", [(0, 4), (9000, 9000), (1 << 30, 1)])
def test_a_depth_header_that_claims_too_many_pixels(size):
    with pytest.raises(DataError, match="claims"):
        depth_from_png(png_of(*size, bits=16, kind=0), "x")


def calls_of(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in OPENERS:
            base = ast.unparse(node.func.value)
            if base.split(".")[0] in LIBRARIES or base.endswith(".Image"):
                yield node


def test_nothing_else_opens_images():
    """One module opens images, and names the formats; whoever needs one asks it, or data.frames."""
    files = sorted(PACKAGE.rglob("*.py"))
    calls = {p.relative_to(PACKAGE).as_posix(): list(calls_of(ast.parse(p.read_text()))) for p in files}
    assert [name for name, found in calls.items() if found] == ["files/images.py"]
    for call in calls["files/images.py"]:
        assert call.func.attr == "imdecode" or "formats" in {keyword.arg for keyword in call.keywords}


@pytest.mark.parametrize(
    "line", ["Image.open(p)", "cv2.imread(p)", "PIL.Image.open(p)", "x = torchvision.io.read_image(p)"]
)
def test_an_opener_is_seen(line):
    assert list(calls_of(ast.parse(line)))


def test_grey_of_16_bits_is_scaled_and_not_clipped():
    values = np.linspace(0, 65_535, 200).astype(np.uint16).reshape(10, 20)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    with open_image(buffer.getvalue(), "x") as image:
        pixels = np.asarray(as_rgb(image))
    assert (pixels == (values // 256)[..., None]).all() and pixels.shape == (10, 20, 3)
