"""Draws the pictures of README and docs, `make picture`: pages that `video3d ask --save` writes, in headless Chromium.

The scan is a generated room. Neither the shipped checkpoint nor its training has seen it, and no boxes are given.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import chromium

from video3d_plugin import cli
from video3d_plugin.mini.rooms import make_benchmark

SEED = 20
DESCRIPTION = "the yellow chair in between the red refrigerator and the curtain"
WINDOW = (1280, 760)  # pixels
SIZE = (1040, 617)  # of the picture
COLORS = 144  # of its palette: smaller than 300 kB
PHONE = (390, 844)  # pixels, shown three quarters as large
RECORDED = (832, 494)  # pixels of the recording; below 2 MB
STILL_MS, MOVING_MS, END_MS = 90, 110, 2500
# The free camera at a share of the way from the whole room to the selected box.
APPROACH = """(() => {
  const from = roomView(V.stage), to = boxView(V.stage, V.boxes.find((b) => b.kind === "predicted").box);
  const t = SHARE * SHARE * (3 - 2 * SHARE);
  takeView(V.stage, { position: from.position.lerp(to.position, t), target: from.target.lerp(to.target, t) });
})()"""
WHOLE = """(async () => {
  V.complete = false;
  V.draw();
  for (let i = 0; i < 600 && !V.complete; i++) await new Promise((done) => setTimeout(done, 20));
})()"""


def asked(folder: Path) -> Path:
    """Generate the room in `folder` and ask; return the page of the answer."""
    rooms = make_benchmark(folder, scenes=1, seed=SEED, frames=36, write=("posed_images",), progress=False)
    (scan,) = (rooms / "posed_images").iterdir()
    page = folder / "chair.html"
    if cli.main(["ask", str(scan), DESCRIPTION, "--ground", "--save", str(page)]):
        raise SystemExit("video3d ask failed")
    return page


def opened(tab: chromium.Page, page: Path, size: tuple[int, int], scheme: str = "dark") -> None:
    """Open the page in a window of this size."""
    tab.call("Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1, mobile=False)
    features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
    tab.call("Emulation.setEmulatedMedia", features=[{"name": n, "value": v} for n, v in features.items()])
    tab.open(page)
    tab.settle()


def stills(tab: chromium.Page, page: Path, output: Path) -> None:
    """Write the answer (ask.png), a look through a frame, a measurement from above, and the page on a phone."""
    opened(tab, page, WINDOW)
    tab.screenshot().resize(SIZE).quantize(COLORS, method=0, kmeans=3, dither=0).save(output / "ask.png", optimize=True)
    tab.js(f"startLook(V.stage, {_frame_with_the_box(tab)})")
    tab.settle()
    tab.screenshot().resize(SIZE).save(output / "frame.webp", quality=80, method=6)
    opened(tab, page, WINDOW, "light")
    tab.key("t")
    tab.settle()
    tab.key("m")
    for x, y in ((374, 205), (563, 422)):
        tab.click(x, y)
        tab.settle()
    tab.screenshot().resize(SIZE).save(output / "measure.webp", quality=80, method=6)
    opened(tab, page, PHONE)
    tab.screenshot().resize((293, 633)).save(output / "phone.webp", quality=80, method=6)


def recording(tab: chromium.Page, page: Path, output: Path) -> None:
    """Write a recording: the question, the box that is chosen, and a flight along the frames into one that shows it."""
    opened(tab, page, WINDOW, "dark")
    question = tab.js("$('question').textContent")
    tab.js("V.boxes = []; select(V.stage, null); $('answer-part').hidden = true")
    tab.js("$('item-note').textContent = ''; $('box-part').hidden = true")
    images, times = [], []

    def shoot(milliseconds: int) -> None:
        tab.js(WHOLE)
        images.append(tab.screenshot().resize(RECORDED))
        times.append(milliseconds)

    for end in range(0, len(question) + 1, 6):
        tab.js(f"$('question').textContent = {json.dumps(question[:end])}")
        shoot(STILL_MS)
    tab.js("$('question').textContent = " + json.dumps(question))
    shoot(700)
    tab.js("showItem(V.stage, 0); $('box-part').hidden = false")
    shoot(1500)
    for step in range(1, 11):
        tab.js(APPROACH.replace("SHARE", str(step / 10)))
        shoot(MOVING_MS)
    last = _frame_with_the_box(tab)
    for step in range(13):
        tab.js(f"flyAlong(V.stage, {max(0, last - 4 + step / 3):.3f}); $('timeline').value = {last - 4 + step / 3:.3f}")
        shoot(MOVING_MS)
    tab.js(f"startLook(V.stage, {last})")
    shoot(END_MS)
    first, *others = images
    first.save(output / "ask.webp", save_all=True, append_images=others, duration=times, loop=0, quality=55, method=4)


def _frame_with_the_box(tab: chromium.Page) -> Any:
    """Index of the frame, after the fourth, that is nearest to the chosen box and has it near the middle."""
    return tab.js("""(() => {
      const box = V.boxes.find((b) => b.kind === "predicted").box;
      const far = ({ pose: m }, i) => {
        const d = [box[0] - m[3], box[1] - m[7], box[2] - m[11]];
        const [x, y, z] = [0, 1, 2].map((c) => m[c] * d[0] + m[4 + c] * d[1] + m[8 + c] * d[2]);
        return i > 3 && z > 0.8 && Math.max(Math.abs(x), Math.abs(y)) < 0.35 * z ? z : 1e9;
      };
      const distances = V.data.frames.map(far);
      return distances.indexOf(Math.min(...distances));
    })()""")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, metavar="FOLDER")
    output = parser.parse_args().output
    browser = chromium.find()
    if browser is None:
        raise SystemExit("no Chromium here: set VIDEO3D_CHROMIUM to its path")
    with tempfile.TemporaryDirectory() as folder:
        page = asked(Path(folder))
        with chromium.Page(browser, *WINDOW) as tab:
            stills(tab, page, output)
            recording(tab, page, output)


if __name__ == "__main__":
    main()
