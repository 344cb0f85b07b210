"""Features of a scene's object proposals, against a loop over the proposals.

    python benchmarks/proposal_features.py [--proposals 100] [--frames 32] [--width 1152]

The baseline takes each box in turn, tests every pixel of every frame against it, and averages the patches in which
enough pixels lie: the way of LaVi-Lab/Video-3D-LLM at 3ff70e8. Here patches are decided by their sorted coordinates
(`geometry.boxes`), once when a scene's inputs are made, and the features are one pooled product (`model.grounding`).
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from measure import Transcript, in_process, in_turn, options, peak_megabytes, without_gpu
from room_scan import FOCAL, camera, ray_cast

from video3d_plugin.geometry.boxes import proposal_patches
from video3d_plugin.geometry.cameras import back_project
from video3d_plugin.inputs_spec import InputsSpec
from video3d_plugin.model.grounding import proposal_features

TARGET = 20


def room_points(frames: int, side: int) -> torch.Tensor:
    """(V, S, S, 3) world points of a furnished room, metres."""
    focal, centre = FOCAL * side / 480, side / 2 - 0.5
    intrinsics = np.array([[focal, 0, centre, 0], [0, focal, centre, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    poses = [camera(index / max(1, frames - 1)) for index in range(frames)]
    depth = np.stack([ray_cast(pose, intrinsics, (side, side)) for pose in poses]).astype(np.float32)
    many = torch.from_numpy(np.stack([intrinsics] * frames))
    return back_project(torch.from_numpy(depth), many, torch.from_numpy(np.stack(poses)))


def baseline(points: torch.Tensor, boxes: torch.Tensor, patches: torch.Tensor, spec: InputsSpec) -> torch.Tensor:
    """(N, H): box by box."""
    n, p, used = spec.patches_per_side, spec.patch_size, spec.used_side
    cells = points[:, :used, :used].reshape(-1, n, p, n, p, 3).transpose(2, 3).flatten(3, 4)
    features = []
    for box in boxes:
        low, high = box[:3] - box[3:] / 2, box[:3] + box[3:] / 2
        inside = torch.all((low <= cells) & (cells <= high), -1).sum(3) >= int(p * p * 0.5)
        own = patches[inside.flatten()]
        features.append(own.mean(0) if len(own) else patches.new_zeros(patches.shape[1]))
    return torch.stack(features)


def main() -> None:
    parser = options(__doc__, device="cpu", frames=32, proposals=100, width=1152, rounds=3, memory="")
    args = parser.parse_args()
    torch.set_num_threads(1)
    say, spec = Transcript(), InputsSpec()
    if without_gpu(say, args.device):
        return
    draw = torch.Generator().manual_seed(0)
    points = room_points(args.frames, spec.image_size)
    low, size = torch.rand(args.proposals, 3, generator=draw), torch.rand(args.proposals, 3, generator=draw)
    boxes = torch.cat([low * torch.tensor([6, 5, 2.7]), 0.3 + size], 1)
    patches = torch.randn(args.frames * spec.patches_per_side**2, args.width, generator=draw)
    points, boxes, patches = points.to(args.device), boxes.to(args.device), patches.to(args.device)
    known = proposal_patches(points, boxes, spec).flatten(1)
    ways = {
        "loop": lambda: baseline(points, boxes, patches, spec),
        "pooled": lambda: proposal_features(patches, proposal_patches(points, boxes, spec).flatten(1)),
        "known": lambda: proposal_features(patches, known),
    }
    if args.memory:
        print(peak_megabytes(ways[args.memory], args.device))
        return
    times, results = in_turn(ways, args.rounds, args.device)
    say(f"{args.proposals} proposals, {args.frames} frames, features of width {args.width}, "
        f"{int(known.any(1).sum())} proposals seen, {float(known.sum(1).float().mean()):.0f} patches each")  # fmt: skip
    say.row("boxes against pixels, and features", times["loop"], times["pooled"], TARGET)
    say.row("features, boxes known from the scene's inputs", times["loop"], times["known"], TARGET)
    worst = max(float((results[way] - results["loop"]).abs().max()) for way in ("pooled", "known"))
    say(f"  features agree to {worst:.1e}")
    memory = {way: in_process(way) for way in ways}
    if None not in memory.values():
        say(f"  peak memory: baseline {memory['loop']:.0f} MB, video3d {memory['pooled']:.0f} MB, with known boxes"
            f" {memory['known']:.0f} MB; (N, V, H, W, 3) would take"
            f" {args.proposals * args.frames * spec.used_side**2 * 3 * 4 / 1e6:.0f} MB")  # fmt: skip
    if args.device == "cpu" and not torch.cuda.is_available():
        say("on a GPU: not measured (no GPU)")
    say.publish(args.page, f"proposal-features-{args.device}", f"Proposal features, {args.device}")


if __name__ == "__main__":
    sys.exit(main())
