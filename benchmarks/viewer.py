"""The viewer on a scene of 300 frames: bytes of the page, seconds to write it, seconds until a browser shows it.

Baseline, readable: every measured pixel of every frame, uncompressed (12 bytes a position, 3 a colour), and the
frames' own images. Needs a Chromium (VIDEO3D_CHROMIUM, or one on PATH); without it only bytes are measured.

    python -m benchmarks viewer
"""

from __future__ import annotations

import importlib.util
import tempfile
import time
from pathlib import Path

FRAMES, IMAGE = 300, (480, 640)
MOST_MB, MOST_S = 60, 5.0


def main() -> None:
    from video3d_plugin import load_scene
    from video3d_plugin.mini.rooms import make_benchmark
    from video3d_plugin.view import gather, write_page

    with tempfile.TemporaryDirectory() as folder:
        root = make_benchmark(
            Path(folder) / "room", scenes=1, seed=0, frames=FRAMES, image_size=IMAGE, noise="realistic",
            write=("posed_images", "mesh", "mask"), progress=False,
        )  # fmt: skip
        scene, page = load_scene(root), Path(folder) / "scene.html"
        start = time.perf_counter()
        view = gather(scene, range(0, len(scene.frames), 10), "uniform")
        size = write_page(page, view)
        taken = time.perf_counter() - start
        plain = sum(15 * f.depth_size[0] * f.depth_size[1] + len(f.color.read()) for f in scene.frames)
        points = f"{len(view.cloud)} points of {view.cloud.voxel_m:.3f} m"
        print(f"{len(scene.frames)} frames of {IMAGE[1]}x{IMAGE[0]}, {points}")
        ratio = f"{plain / 1e6:.0f} MB plain: {plain / size:.0f} times smaller"
        print(f"page {size / 1e6:.1f} MB (limit {MOST_MB}), {ratio}")
        print(f"written in {taken:.1f} s ({taken / len(scene.frames) * 1e3:.0f} ms a frame)")
        opened = _opened(page)
        if opened is None:
            print("no Chromium found: not opened")
            return
        seconds, cpu_s = opened
        print(f"opened in {seconds:.1f} s (limit {MOST_S:.0f}), {cpu_s:.1f} s of processor time; drawn without a GPU")


def _opened(page: Path) -> tuple[float, float] | None:
    """Seconds from asking for the page to its first picture, the browser running already, and processor seconds of all
    its processes; the better of two."""
    path = Path(__file__).resolve().parent.parent / "tests" / "helpers" / "chromium.py"
    spec = importlib.util.spec_from_file_location("chromium", path)
    chromium = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(chromium)
    browser = chromium.find()
    if browser is None:
        return None
    with chromium.Page(browser) as tab:
        results = []
        for _ in range(2):
            before = tab.cpu_s()
            results.append((tab.open(page), tab.cpu_s() - before))
        if tab.errors or tab.requests[2:]:
            raise SystemExit(f"errors {tab.errors}, requests {tab.requests[2:]}")
    return min(results)


if __name__ == "__main__":
    main()
