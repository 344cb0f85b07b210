"""The fused attention kernel of a device against the plain one: values, gradients and time, at the shape of a prefix.

    python benchmarks/attention_kernels.py [--device cuda --dtype bfloat16 --prefix 6735 --queries 2880]

Queries of all questions attend to one prefix, and each question to itself. Values and gradients are compared with the
plain kernel in float32 on the same rounded inputs, the error of the plain kernel in the same format stands beside.
"""

from __future__ import annotations

import sys

import torch
from measure import Transcript, in_turn, options, without_gpu

from video3d_plugin.model.attention import kernels, packed
from video3d_plugin.model.attention.shared_prefix import Layout

LIMIT = {"float32": 1e-4, "bfloat16": 2e-2, "float16": 5e-3}  # of the largest number of the exact result


class Case:
    """Packed questions after a prefix, as a layer has them."""

    def __init__(self, args):
        draw = torch.Generator().manual_seed(0)
        lengths = [args.queries // args.questions] * args.questions
        count = sum(lengths)
        shapes = [(count, args.heads, args.groups, args.size), (args.prefix, args.heads, args.size)]
        shapes = [shapes[0], shapes[1], shapes[1], *[(count, args.heads, args.size)] * 2]
        dtype = getattr(torch, args.dtype)
        self.parts = [torch.randn(shape, generator=draw).to(args.device, dtype) for shape in shapes]
        self.grad = torch.randn(shapes[0], generator=draw).to(args.device, dtype)
        self.layout = Layout.of(lengths, self.parts[0].device)

    def run(self, kernel: kernels.Kernel | None, exact: bool = False) -> list[torch.Tensor]:
        """Output and gradients, by the kernel of the device or a given one."""
        chosen = kernels.kernel_for(self.parts[0]) if kernel is None else kernel
        leaves = [(t.float() if exact else t).detach().requires_grad_() for t in self.parts]
        own, packed.kernel_for = packed.kernel_for, lambda query: chosen
        try:
            out = packed.ItemAttention.apply(*leaves, self.layout)
        finally:
            packed.kernel_for = own
        return [out.detach(), *torch.autograd.grad(out, leaves, self.grad.to(out.dtype))]


def error(found: list[torch.Tensor], exact: list[torch.Tensor]) -> float:
    """Largest difference of any tensor, as a share of its largest number."""
    pairs = zip(found, exact, strict=True)
    return max(float((one.float() - other).abs().max() / other.abs().max()) for one, other in pairs)


def main() -> int:
    parser = options(
        __doc__, device="cpu", dtype="float32", prefix=2000, queries=320, questions=8, heads=2, groups=2, size=32,
        rounds=3,
    )  # fmt: skip
    args = parser.parse_args()
    torch.set_num_threads(1)
    say = Transcript()
    if without_gpu(say, args.device):
        return 0
    case = Case(args)
    name = kernels.kernel_for(case.parts[0]).name
    ways = {"plain": lambda: case.run(kernels.PLAIN), "fused": lambda: case.run(None)}
    times, results = in_turn(ways, args.rounds, args.device)
    exact = case.run(kernels.PLAIN, exact=True)
    found, plain = error(results["fused"], exact), error(results["plain"], exact)
    say(f"{args.queries} queries of {args.questions} questions, prefix of {args.prefix}, {args.heads} x {args.groups}"
        f" heads of {args.size}, {args.dtype}: {name}")  # fmt: skip
    say.row("forward and backward, against the plain kernel", times["plain"], times["fused"], None)
    passed = found <= LIMIT[args.dtype]
    say(f"  values and gradients differ by {found:.1e}, those of the plain kernel by {plain:.1e}:"
        f" {'within' if passed else 'ABOVE'} {LIMIT[args.dtype]:.0e}")  # fmt: skip
    where = f"{args.device}-{args.dtype}"
    say.publish(args.page, f"attention-kernels-{where}", f"Attention kernels, {args.device}, {args.dtype}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
