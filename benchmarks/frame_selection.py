"""Max-coverage selection of frames, against the obvious way: points of every pixel, `unique` over rows, Python sets.

    python benchmarks/frame_selection.py [--frames 300]

The baseline below is that way, written to be read; both choose from the same files, and the coverage must be equal.
Prints CPU seconds of one thread, which other programs on the machine do not change, and their ratio.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from measure import Transcript, in_process, options, peak_megabytes, seconds
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
    parser.add_argument("--memory", default="", help="one way only, printing its peak memory")
    args = parser.parse_args()
    say = Transcript()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = args.scan or write_scan(Path(folder), args.frames, color_size=(48, 64))
        scene = load_scene(root)
        points = [frame_points(scene, index, stride=4) for index in range(0, len(scene.frames), 3)]
        cells = unique_voxels(np.concatenate(points), VOXEL_M)
        surface = {tuple(cell) for cell in cells.tolist()}
        ways = {
            "video3d": lambda: scene_coverage(scene, lambda: cells).select(LIMIT),
            "baseline": lambda: baseline(scene, surface),
        }
        if args.memory:
            print(peak_megabytes(ways[args.memory]))
            return
        fast, selection = seconds(ways["video3d"])
        slow, (order, gains) = seconds(ways["baseline"])
        memory = {way: in_process(way, "--scan", str(root)) for way in ways}
    same = sum(selection.gains) == sum(gains)
    say(f"{len(scene.frames)} frames of {'x'.join(map(str, scene.frames[0].depth_size[::-1]))}, {len(cells)} voxels")
    say.row(f"{LIMIT} frames of {len(scene.frames)}", slow, fast, TARGET)
    say(f"coverage: baseline {sum(gains)} voxels, video3d {sum(selection.gains)}, {'equal' if same else 'DIFFERENT'}")
    say(f"first frames: {order[:8]} and {list(selection.order[:8])}")
    if None not in memory.values():
        say(f"peak memory: baseline {memory['baseline']:.0f} MB, video3d {memory['video3d']:.0f} MB")
    say.publish(args.page, "frame-selection", "Frame selection")


if __name__ == "__main__":
    main()
