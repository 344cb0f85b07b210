"""The vision tower over the frames of a scene in batches, against frame by frame.

    python benchmarks/vision_tower.py [--compile 1] [--device cuda --size 7b --dtype bfloat16]

Attention is torch's scaled_dot_product_attention; frames do not see each other, so a batch changes nothing but speed.
On a GPU the model runs all frames in one batch, on a CPU a few at a time.
"""

from __future__ import annotations

import copy
import functools
import sys

import made_up
import torch
from measure import Transcript, in_process, in_turn, options, peak_megabytes, without_gpu

from video3d_plugin.model.vision import VisionTower, normalise_pixels


def main() -> None:
    parser = options(__doc__, device="cpu", size="small", dtype="float32", frames=32, rounds=3, compile=0, memory="")
    args = parser.parse_args()
    torch.set_num_threads(1)
    say = Transcript()
    if without_gpu(say, args.device):
        return
    sizes, dtype = made_up.TOWERS[args.size], getattr(torch, args.dtype)
    torch.manual_seed(0)
    tower = VisionTower(sizes).eval().to(args.device, dtype)
    eager = VisionTower(sizes, attention="eager").eval().to(args.device, dtype)
    eager.load_state_dict(tower.state_dict())
    pixels = made_up.scene(args.frames, 0).pixels

    @torch.inference_mode()
    def one_by_one(model):
        return torch.cat([model(pixels[index : index + 1]) for index in range(len(pixels))])

    inner = tower.vision_tower.vision_model
    normalised = functools.partial(normalise_pixels, dtype=dtype, device=tower.device)
    together = torch.inference_mode()(lambda: tower(pixels))
    whole = torch.inference_mode()(lambda: inner(normalised(pixels)))
    compiled = copy.deepcopy(tower)
    compiled.vision_tower.vision_model.encoder.compile()
    ways = {
        "single": lambda: one_by_one(tower),
        "eager": lambda: one_by_one(eager),
        "whole": whole,
        "batched": together,
    }
    if args.memory:
        print(peak_megabytes(ways[args.memory], args.device))
        return
    tower(pixels[:1])
    if args.compile:
        ways["compiled"] = torch.inference_mode()(lambda: compiled(pixels))
        ways["compiled"]()
    times, results = in_turn(ways, args.rounds, args.device)
    say(f"{args.frames} frames, {sizes['num_hidden_layers']} layers of width {sizes['hidden_size']}, {args.dtype}")
    say.row("frame by frame, eager attention", times["eager"], times["batched"], None)
    say.row("frame by frame, the same attention", times["single"], times["batched"], None)
    say.row("all frames in one batch", times["whole"], times["batched"], None)
    if args.compile:
        say.row("batched, against torch.compile", times["batched"], times["compiled"], None)
    worst = max(float((found - results["batched"]).abs().max()) for found in results.values())
    say(f"  features agree to {worst:.1e}")
    memory = {way: in_process(way) for way in ("single", "whole", "batched")}
    if None not in memory.values():
        say(f"  peak memory: frame by frame {memory['single']:.0f} MB, in one batch {memory['whole']:.0f} MB,"
            f" as the model does {memory['batched']:.0f} MB")  # fmt: skip
    if args.device == "cpu" and not torch.cuda.is_available():
        say("on a GPU: not measured (no GPU)")
    say.publish(args.page, f"vision-tower-{args.device}", f"Vision tower, {args.device}")


if __name__ == "__main__":
    sys.exit(main())
