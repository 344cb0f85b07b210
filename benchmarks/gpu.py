"""`make bench-gpu`: what docs/results.md says is not measured, on one GPU, in under ten minutes.

    python benchmarks/gpu.py [--toy] [--only PART ...] [--page FILE]

Runs the other benchmarks at the shape of the published 7B model, in bfloat16 with random weights (80 GB of memory for
the training items, 24 GB for the rest), and then the distance from the peak of a large matrix product. Each compares
its results with the plain implementation. A part that fails, or that the time does not allow, is named at the end.
`--toy` runs the same on a CPU, with a small model and two frames.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SECONDS = 570  # of all parts together
MODEL = ["--device", "cuda", "--size", "7b", "--dtype", "bfloat16"]
TOY_MODEL = ["--device", "cpu", "--size", "small", "--frames", "2", "--rounds", "1", "--no-memory"]
KERNEL = ["--device", "cuda", "--dtype", "bfloat16", "--prefix", "6735", "--queries", "2880", "--questions", "64",
          "--heads", "4", "--groups", "7", "--size", "128"]  # fmt: skip

# Name, script, arguments, arguments of the toy. The quick checks come first.
PARTS = [
    ("kernels", "attention_kernels", KERNEL, ["--prefix", "200", "--queries", "40", "--rounds", "1"]),
    ("kernels-float32", "attention_kernels", [*KERNEL, "--dtype", "float32"], ["--prefix", "100", "--rounds", "1"]),
    ("proposals", "proposal_features", ["--device", "cuda"],
     ["--frames", "2", "--proposals", "5", "--rounds", "1", "--no-memory"]),
    ("tower", "vision_tower", MODEL, TOY_MODEL),
    ("roofline", "gpu_roofline", MODEL, TOY_MODEL),
    ("answers", "scene_answers", [*MODEL, "--asked", "2", "--rounds", "2"],
     [*TOY_MODEL, "--ground", "2", "--answer", "2", "--asked", "1"]),
    ("training", "training_items", [*MODEL, "--asked", "1", "--rounds", "1"],
     [*TOY_MODEL, "--questions", "2", "--asked", "1"]),
]  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="a small model on the CPU")
    parser.add_argument("--only", nargs="*", metavar="PART", help=f"of: {', '.join(part[0] for part in PARTS)}")
    parser.add_argument("--page", type=Path, help="write the results to this page")
    args = parser.parse_args(arguments)
    unknown = set(args.only or ()) - {part[0] for part in PARTS}
    if unknown:
        parser.error(f"no part {', '.join(sorted(unknown))}")
    if not args.toy:
        import torch

        if not torch.cuda.is_available():
            print("no GPU: nothing measured; --toy runs the parts on a CPU")
            return 1
    start, failed = time.monotonic(), []
    for name, script, real, toy in PARTS:
        if args.only and name not in args.only:
            continue
        left = SECONDS - (time.monotonic() - start)
        page = [] if args.page is None else ["--page", str(args.page)]
        print(f"== {name}, {left:.0f} s left", flush=True)
        command = [sys.executable, str(HERE / f"{script}.py"), *(toy if args.toy else real), *page]
        try:
            if left <= 0 or subprocess.run(command, check=False, timeout=left).returncode:
                failed.append(name)
        except subprocess.TimeoutExpired:
            failed.append(name)
    print(f"failed or out of time: {', '.join(failed)}" if failed else "all parts ran")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
