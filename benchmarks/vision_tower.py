"""The vision tower over all frames of a scene at once, against frame by frame.

    python benchmarks/vision_tower.py [--device cuda --size 7b --dtype bfloat16]

Attention is torch's scaled_dot_product_attention; frames do not see each other, so a batch changes nothing but speed.
"""

from __future__ import annotations

import sys

import made_up
import torch
from measure import Transcript, in_process, in_turn, options, peak_megabytes, without_gpu

from video3d_plugin.model.vision import VisionTower


def main() -> None:
    parser = options(__doc__, device="cpu", size="small", dtype="float32", frames=32, rounds=3, memory="")
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

    together = torch.inference_mode()(lambda: tower(pixels))
    ways = {"single": lambda: one_by_one(tower), "eager": lambda: one_by_one(eager), "batched": together}
    if args.memory:
        print(peak_megabytes(ways[args.memory], args.device))
        return
    tower(pixels[:1])
    times, results = in_turn(ways, args.rounds, args.device)
    say(f"{args.frames} frames, {sizes['num_hidden_layers']} layers of width {sizes['hidden_size']}, {args.dtype}")
    say.row("frame by frame, eager attention", times["eager"], times["batched"], None)
    say.row("frame by frame, the same attention", times["single"], times["batched"], None)
    worst = max(float((results[way] - results["batched"]).abs().max()) for way in ("single", "eager"))
    say(f"  features agree to {worst:.1e}")
    memory = {way: in_process(way) for way in ("single", "batched")}
    if None not in memory.values():
        say(f"  peak memory: frame by frame {memory['single']:.0f} MB, batched {memory['batched']:.0f} MB")
    if args.device == "cpu" and not torch.cuda.is_available():
        say("on a GPU: not measured (no GPU at hand)")
    say.publish(args.page, f"vision-tower-{args.device}", f"Vision tower, {args.device}")


if __name__ == "__main__":
    sys.exit(main())
