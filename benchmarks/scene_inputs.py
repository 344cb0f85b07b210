"""What the model sees of a scene: from files, from the store, and the obvious way.

    python benchmarks/scene_inputs.py [--frames 32] [--proposals 50]

The baseline back-projects every pixel of every frame, resizes and crops images and coordinates, averages the
coordinates of each token and tests every pixel against every box: the way of LaVi-Lab/Video-3D-LLM at 3ff70e8.
Prints CPU seconds of one thread and bytes handed to the model.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from measure import Transcript, in_process, options, peak_megabytes
from PIL import Image
from room_scan import write_scan

from video3d_plugin import load_scene
from video3d_plugin.data import store
from video3d_plugin.data.inputs import scene_inputs
from video3d_plugin.inputs_spec import InputsSpec

TARGETS = {"cold": 4, "bytes": 8, "store": 100}


def baseline_inputs(scene, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(pixels (V, side, side, 3) uint8, coordinates (V, side, side, 3) float32): what crosses to the model there."""
    depths, poses, images = [], [], []
    for frame in scene.frames:
        depths.append(torch.from_numpy(np.array(Image.open(frame.depth.path)).astype(np.int32)).float())
        poses.append(torch.from_numpy(scene.world_from_scan @ frame.scan_from_camera).float())
        images.append(Image.open(frame.color.path).convert("RGB"))
    depth, pose = torch.stack(depths) / 1000, torch.stack(poses)
    _, height, width = depth.shape
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    k = torch.from_numpy(scene.frames[0].depth_intrinsics).float()
    x, y = (u - k[0, 2]) * depth / k[0, 0], (v - k[1, 2]) * depth / k[1, 1]
    camera = torch.stack([x, y, depth, torch.ones_like(depth)], -1).view(len(depth), -1, 4)
    world = (pose @ camera.permute(0, 2, 1)).permute(0, 2, 1)
    world = (world[..., :3] / world[..., 3:]).view(len(depth), height, width, 3)
    wide = int(width * (side / height))
    left = (wide - side) // 2
    resized = [
        cv2.resize(w.numpy(), (wide, side), interpolation=cv2.INTER_NEAREST)[:, left : left + side] for w in world
    ]
    pixels = [np.asarray(image.resize((wide, side)).crop((left, 0, left + side, side))) for image in images]
    return torch.from_numpy(np.stack(pixels)), torch.from_numpy(np.stack(resized))


def baseline_tokens(world: torch.Tensor, boxes: torch.Tensor, spec: InputsSpec) -> tuple[torch.Tensor, torch.Tensor]:
    """(token points, patches in boxes): what the model computes of the coordinates there."""
    n, p = spec.patches_per_side, spec.patch_size
    used = n * p
    tokens = torch.nn.functional.avg_pool2d(world[:, :used, :used].permute(0, 3, 1, 2), used // spec.grid_side)
    patches = world[:, :used, :used].reshape(-1, n, p, n, p, 3).transpose(2, 3).flatten(3, 4)
    inside = []
    for box in boxes:
        low, high = box[:3] - box[3:] / 2, box[:3] + box[3:] / 2
        inside.append(torch.all((low <= patches) & (patches <= high), -1).sum(3) >= int(p * p * 0.5))
    return tokens.permute(0, 2, 3, 1), torch.stack(inside)


def seconds(function, repeats: int) -> tuple[float, object]:
    """(least CPU seconds of a few runs, the last result)."""
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        result = function()
        best = min(best, time.process_time() - start)
    return best, result


def size(tensors) -> float:
    return sum(t.numel() * t.element_size() for t in tensors) / 1e6


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--proposals", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scan", type=Path, help="an existing root with one scan, instead of a made-up room")
    parser.add_argument("--memory", default="", help="one way only, printing its peak memory")
    args = parser.parse_args()
    say = Transcript()
    torch.set_num_threads(1)
    rng, spec = np.random.RandomState(0), InputsSpec()
    boxes = np.concatenate([rng.rand(args.proposals, 3) * [6, 5, 2.7], 0.3 + rng.rand(args.proposals, 3)], 1)
    with tempfile.TemporaryDirectory() as folder:
        root = args.scan or write_scan(Path(folder), args.frames)
        scene = load_scene(root)
        names = range(len(scene.frames))
        ways = {"video3d": lambda: scene_inputs(scene, names, spec, boxes, threads=1)}
        ways["baseline"] = lambda: baseline_tokens(
            baseline_inputs(scene, spec.image_size)[1], torch.tensor(boxes), spec
        )
        if args.memory:
            print(peak_megabytes(ways[args.memory]))
            return
        memory = {way: in_process(way, "--scan", str(root)) for way in ways}
        cold, made = seconds(ways["video3d"], args.repeats)
        slow_files, (pixels, world) = seconds(lambda: baseline_inputs(scene, spec.image_size), args.repeats)
        slow_tokens, (tokens, inside) = seconds(lambda: baseline_tokens(world, made.proposals, spec), args.repeats)
        path = Path(folder) / "store" / "scene.safetensors"
        store.write(path, made)
        store.read(path)  # the first reading in a process checks every byte
        # cloned, because a memory-mapped tensor is not read before it is used
        stored, _ = seconds(lambda: [tensor.clone() for tensor in store.read(path).tensors().values()], 20)
    used = pixels[:, : spec.used_side, : spec.used_side]
    agree = torch.equal(made.pixels, used) and (made.token_points[..., 0, :] - tokens).abs().max() < 1e-4
    differing = int((made.proposal_patches != inside).sum())
    slow = slow_files + slow_tokens
    # what the reference's processor hands over is float32 pixels and coordinates
    there, handed = size([pixels.float(), world]), size(made.tensors().values())
    say(f"{args.frames} frames, {args.proposals} boxes")
    say(f"values {'agree' if agree else 'DIFFER'}, {differing} of {inside.numel()} patches differ")
    say(f"baseline {slow:.2f} s (files {slow_files:.2f}, tokens and boxes {slow_tokens:.2f})")
    say.row("cold: from files", slow, cold, TARGETS["cold"])
    say.row("warm: from the store", slow, stored, TARGETS["store"])
    say.row("bytes handed to the model", there, handed, TARGETS["bytes"], "MB")
    if None not in memory.values():
        say(f"peak memory: baseline {memory['baseline']:.0f} MB, video3d {memory['video3d']:.0f} MB")
    say.publish(args.page, "scene-inputs", "Scene inputs")


if __name__ == "__main__":
    main()
