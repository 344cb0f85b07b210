"""Max-coverage selection of frames, against the obvious way: points of every pixel, `unique` over rows, Python sets.

    python benchmarks/frame_selection.py [--frames 300]

The baseline below is that way, written to be read; both choose from the same files, and the coverage must be equal.
Prints CPU seconds of one thread, which other programs on the machine do not change, and their ratio.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from measure import Transcript, options
from PIL import Image
from room_scan import write_scan

from video3d_plugin import load_scene
from video3d_plugin.data.inputs import frame_points, scene_coverage
from video3d_plugin.geometry.voxels import unique_voxels
from video3d_plugin.sampling.coverage import candidates

LIMIT, VOXEL_M = 32, 0.1
TARGET = 40


def baseline(scene, surface: set) -> tuple[list[int], list[int]]:
    """Frames and gains, as max-coverage sampling is usually written."""
    seen = {}
    for index in candidates(len(scene.frames)):
        frame = scene.frames[index]
        depth = torch.from_numpy(np.array(Image.open(frame.depth.path)).astype(np.int32)).float() / 1000
        v, u = torch.meshgrid(torch.arange(depth.shape[0]), torch.arange(depth.shape[1]), indexing="ij")
        k = torch.from_numpy(frame.depth_intrinsics).float()
        x, y = (u - k[0, 2]) * depth / k[0, 0], (v - k[1, 2]) * depth / k[1, 1]
        camera = torch.stack([x, y, depth, torch.ones_like(depth)], -1).view(-1, 4)
        world = (torch.from_numpy(scene.world_from_scan @ frame.scan_from_camera).float() @ camera.T).T
        voxels = torch.unique((world[:, :3] / world[:, 3:] / VOXEL_M).round().int(), dim=0)
        seen[index] = {tuple(voxel) for voxel in voxels.tolist()}
    used, order, gains = set(), [], []
    for _ in range(min(LIMIT, len(seen))):
        best, most = None, -1
        for index, voxels in seen.items():
            new = len((voxels & surface) - used)
            if new > most:
                best, most = index, new
        used |= seen.pop(best) & surface
        order.append(best)
        gains.append(most)
    return order, gains


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--scan", type=Path, help="an existing root with one scan, instead of a made-up room")
    args = parser.parse_args()
    say = Transcript()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = args.scan or write_scan(Path(folder), args.frames, color_size=(48, 64))
        scene = load_scene(root)
        points = [frame_points(scene, index, stride=4) for index in range(0, len(scene.frames), 3)]
        cells = unique_voxels(np.concatenate(points), VOXEL_M)
        start = time.process_time()
        selection = scene_coverage(scene, lambda: cells).select(LIMIT)
        fast = time.process_time() - start
        start = time.process_time()
        order, gains = baseline(scene, {tuple(cell) for cell in cells.tolist()})
        slow = time.process_time() - start
    same = sum(selection.gains) == sum(gains)
    say(f"{len(scene.frames)} frames of {'x'.join(map(str, scene.frames[0].depth_size[::-1]))}, {len(cells)} voxels")
    say(f"baseline {slow:.2f} s, video3d {fast:.2f} s: {slow / fast:.1f}x")
    say(f"coverage: baseline {sum(gains)} voxels, video3d {sum(selection.gains)}, {'equal' if same else 'DIFFERENT'}")
    say(f"first frames: {order[:8]} and {list(selection.order[:8])}")
    say(f"target {TARGET}x: {'reached' if slow / fast >= TARGET else 'NOT reached'}")
    say.publish(args.page, "frame-selection", "Frame selection")


if __name__ == "__main__":
    main()
