"""Draws the picture of the README, `make picture`: the page that `video3d ask --save` writes, in headless Chromium.

The scan is a generated room. Neither the shipped checkpoint nor its training has seen it, and no boxes are given.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import chromium

from video3d_plugin import cli
from video3d_plugin.mini.rooms import make_benchmark

SEED = 20
DESCRIPTION = "the yellow chair in between the red refrigerator and the curtain"
WINDOW = (1280, 760)  # pixels
SIZE = (1040, 617)  # of the picture
COLORS = 144  # of its palette: smaller than 300 kB


def draw(output: Path, folder: Path) -> None:
    """Generate the room in `folder`, ask, and write the picture of the answer to `output`."""
    rooms = make_benchmark(folder, scenes=1, seed=SEED, frames=36, write=("posed_images",), progress=False)
    (scan,) = (rooms / "posed_images").iterdir()
    page = folder / "chair.html"
    if cli.main(["ask", str(scan), DESCRIPTION, "--ground", "--save", str(page)]):
        raise SystemExit("video3d ask failed")
    browser = chromium.find()
    if browser is None:
        raise SystemExit("no Chromium here: set VIDEO3D_CHROMIUM to its path")
    with chromium.Page(browser, *WINDOW) as tab:
        tab.open(page)
        tab.settle()
        picture = tab.screenshot().resize(SIZE)
    picture.quantize(COLORS, method=0, kmeans=3, dither=0).save(output, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, metavar="FILE.png")
    with tempfile.TemporaryDirectory() as folder:
        draw(parser.parse_args().output, Path(folder))


if __name__ == "__main__":
    main()
