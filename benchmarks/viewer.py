"""The viewer on a scene of 250 frames: processor time of making the page and of opening it, and its size.

Baseline, readable: every measured pixel of every frame, uncompressed (12 bytes a position, 3 a colour), and the
frames' own images. Needs a Chromium (VIDEO3D_CHROMIUM, or one on PATH); without it the page is not opened.

    python -m benchmarks viewer
    python benchmarks/viewer.py --scan my_scan/     a recording instead of a made-up room
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from measure import ROOT, Transcript

FRAMES, IMAGE = 250, (480, 640)
MOST_MB, MOST_MAKING_S, MOST_OPENING_S = 12, 15, 3
MANY_POINTS, IMAGES = 500_000, 60
# Milliseconds between the images of a movement round the room, once the number of points has settled; how many there
# are, the resolution, and the milliseconds that an image of all points takes once the movement has ended.
TURN = """(async () => {
  const times = [];
  let before = performance.now();
  for (let i = 0; i < COUNT; i++) {
    V.stage.camera.position.applyAxisAngle(V.stage.up, 0.01);
    V.stage.controls.update();
    V.draw();
    const now = await new Promise((done) => requestAnimationFrame(done));
    times.push(now - before);
    before = now;
  }
  const settled = times.slice(COUNT / 2).sort((a, b) => a - b)[COUNT / 4], moving = V.stage.renderer.getPixelRatio();
  while (!V.complete) await new Promise((done) => setTimeout(done, 20));
  const { pace, ratio } = V.stage;
  before = performance.now();
  drawAtPace(V.stage, true);
  V.stage.renderer.getContext().readPixels(0, 0, 1, 1, 6408, 5121, new Uint8Array(4)); // waits until it is drawn
  return [settled, pace.part, moving / ratio, performance.now() - before];
})()"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, help="write the results to this page, in a section of their own")
    parser.add_argument("--scan", help="a recording")
    args, options = parser.parse_known_args()
    say = Transcript()
    with tempfile.TemporaryDirectory() as folder:
        scan = args.scan or str(_room(Path(folder) / "room"))
        page = Path(folder) / "scene.html"
        making_s = _made(scan, options, page)
        say(f"{FRAMES} frames of {IMAGE[1]}x{IMAGE[0]}")
        say(f"video3d view: {making_s:.1f} s of processor time, all of the command (limit {MOST_MAKING_S})")
        say(f"page: {page.stat().st_size / 1e6:.1f} MB (limit {MOST_MB}){_plain(scan) if not options else ''}")
        browser = _browser()
        if browser is None:
            say("no Chromium found: not opened")
        else:
            _open(browser, page, scan if not options else "", Path(folder) / "many.html", say)
    say.publish(args.page, "viewer", "Viewer")


def _room(folder: Path) -> Path:
    from video3d_plugin.mini.rooms import make_benchmark

    return make_benchmark(
        folder, scenes=1, seed=0, frames=FRAMES, image_size=IMAGE, noise="realistic",
        write=("posed_images", "mesh", "mask"), progress=False,
    )  # fmt: skip


def _made(scan: str, options: list[str], page: Path) -> float:
    """Processor seconds of `video3d view`, from start to end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "video3d_plugin.cli", "view", scan, *options]
    subprocess.run([*command, "--all-frames", str(FRAMES), "--save", page], check=True, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _plain(scan: str) -> str:
    from video3d_plugin import load_scene

    frames = load_scene(scan).frames
    size = sum(15 * f.depth_size[0] * f.depth_size[1] + len(f.color.read()) for f in frames)
    return f"; {size / 1e6:.0f} MB plain"


def _browser() -> ModuleType | None:
    path = ROOT / "tests" / "helpers" / "chromium.py"
    spec = importlib.util.spec_from_file_location("chromium", path)
    assert spec is not None and spec.loader is not None
    chromium = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(chromium)
    return chromium if chromium.find() else None


def _open(chromium: ModuleType, page: Path, scan: str, many: Path, say: Transcript) -> None:
    """Open the page, and one of MANY_POINTS; the browser runs already."""
    with chromium.Page(chromium.find()) as tab:
        cpu_s, wall_s = min(_opened(tab, page) for _ in range(2))
        say(f"opened in Chromium: {cpu_s:.1f} s of processor time (limit {MOST_OPENING_S}), {wall_s:.1f} s; no GPU")
        if scan:
            _write_many(scan, many)
            tab.open(many)
            before = tab.cpu_s()
            between_ms, part, ratio, whole_ms = tab.js(TURN.replace("COUNT", str(IMAGES)))
            cpu_ms = (tab.cpu_s() - before) / IMAGES * 1e3
            say(
                f"turning {MANY_POINTS} points, no GPU: {1e3 / between_ms:.1f} images a second, of {part} points at "
                f"{ratio:.0%} of the resolution, {cpu_ms:.0f} ms of processor time each; "
                f"at rest all points, in {whole_ms:.0f} ms"
            )
        if tab.errors or [url for url in tab.requests if not url.startswith("file:")]:
            raise SystemExit(f"errors {tab.errors}, requests {tab.requests}")


def _opened(tab: Any, page: Path) -> tuple[float, float]:
    """Processor seconds of all of the browser's processes until the page's first picture, and seconds."""
    before = tab.cpu_s()
    wall_s = tab.open(page)
    return tab.cpu_s() - before, wall_s


def _write_many(scan: str, page: Path) -> None:
    """Write a page of the scan with MANY_POINTS: its own, and others a few millimetres beside them."""
    from video3d_plugin import load_scene
    from video3d_plugin.view import gather, write_page

    view = gather(load_scene(scan), max_points=MANY_POINTS)
    rows = np.arange(MANY_POINTS) % len(view.cloud)
    beside = np.random.RandomState(0).normal(0, 0.005, (MANY_POINTS, 3)).astype(np.float32)
    beside[: len(view.cloud)] = 0
    points, colors, facing = view.cloud.points[rows] + beside, view.cloud.colors[rows], view.cloud.facing[rows]
    write_page(page, replace(view, cloud=replace(view.cloud, points=points, colors=colors, facing=facing)))


if __name__ == "__main__":
    main()
