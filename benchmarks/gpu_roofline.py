"""How far encoding a scene and grounding are from the peak of a large matrix product on the same device, measured.

    python benchmarks/gpu_roofline.py [--device cuda --size 7b --dtype bfloat16]

Operations are counted as in benchmarks/roofline.py. The scores of the questions are compared with those of the plain
implementation (`prefix_attention="expanded"`), in the same number format.
"""

from __future__ import annotations

import sys

import made_up
import torch
from measure import Transcript, in_turn, options, seconds, without_gpu
from roofline import asking, encoding

from video3d_plugin.pipeline import Video3D

SIDE = {"cpu": 1024, "cuda": 8192}
LIMIT = {"float32": 1e-3, "bfloat16": 0.25}  # of scores that are cosines over a temperature


def main() -> int:
    parser = options(__doc__, device="cpu", size="small", dtype="float32", frames=32, questions=64, rounds=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    say = Transcript()
    if without_gpu(say, args.device):
        return 0
    side, dtype = SIDE[args.device], getattr(torch, args.dtype)
    square = torch.randn(side, side, device=args.device, dtype=dtype)
    square @ square
    peak = 2 * side**3 / min(seconds(lambda: square @ square, args.device)[0] for _ in range(5))
    model, processor = made_up.model_of(args.size, args.device, args.dtype)
    video, plain = (Video3D(model, processor, prefix_attention=way) for way in ("cascade", "expanded"))
    scene, questions = made_up.scene(args.frames), made_up.questions("ground", args.questions)
    prefix = video.encode_scene(scene)
    ways = {
        "scene": lambda: video.encode_scene(scene),
        "questions": lambda: video.ground_scores(prefix, questions),
    }
    for work in ways.values():
        work()
    times, results = in_turn(ways, args.rounds, args.device)
    tokens = sum(len(processor.suffix_ids(question, answered=True)[0]) for question in questions)
    counted = {"scene": encoding(args.size, args.frames), "questions": asking(args.size, args.frames, tokens)}
    say(f"{args.size}, {args.frames} frames, {args.dtype}; a large matrix product reaches {peak / 1e12:.3g} TFLOP/s")
    for way, operations in counted.items():
        rate = operations / times[way]
        say(f"  {way}: {operations / 1e12:.3g} TFLOP counted, {times[way]:.3g} s, {rate / 1e12:.3g} TFLOP/s,"
            f" {rate / peak:.0%} of the peak")  # fmt: skip
    twins = plain.ground_scores(prefix, questions[:2])
    worst = max(float((one - other).abs().max()) for one, other in zip(results["questions"], twins, strict=False))
    passed = worst <= LIMIT[args.dtype]
    say(f"  scores of {len(twins)} questions agree with the plain ones to {worst:.1e}: {'ok' if passed else 'ABOVE'}")
    say.publish(args.page, f"gpu-roofline-{args.device}", f"Distance from the peak, {args.device}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
