"""Training items a second: 16 questions of a scene in one row, against one row a question; forward and backward.

    python benchmarks/training_items.py [--device cuda --size 7b --dtype bfloat16]

The baseline runs one sequence a question, vision tower included, as LaVi-Lab/Video-3D-LLM at 3ff70e8 does, and adds up
gradients; it is timed on `--asked` of the questions and its time for all is that, times their number. The row with a
mask of all pairs, the plain twin of the attention that is used, is timed as well.
"""

from __future__ import annotations

import sys

import made_up
import torch
from measure import Transcript, in_process, in_turn, options, peak_megabytes, without_gpu

from video3d_plugin.model.scene_tokens import encode_scene_tokens

TARGET = 6


class Case:
    def __init__(self, args):
        self.model, self.processor = made_up.model_of(args.size, args.device, args.dtype)
        self.model.train()
        self.scene, self.questions = made_up.scene(args.frames), made_up.questions("train", args.questions)

    def apart(self, count: int | None = None):
        """(losses of the items, gradients): of one row a question."""
        asked = self.questions[:count]
        return self._gradients([[question] for question in asked], shared=False)

    def together(self, packed: bool = True, count: int | None = None):
        self.model.model.packed_attention_enabled = packed
        try:
            return self._gradients([self.questions[:count]], shared=True)
        finally:
            self.model.model.packed_attention_enabled = True

    def tokens(self, count: int) -> int:
        """Positions of the row that `count` questions make."""
        with torch.no_grad():
            visual = len(encode_scene_tokens(self.model, self.scene.tensors(), False, self.scene.scene_id).visual)
        batch = self.processor(self.questions[:count], [self.scene], with_labels=True, shared=True)
        return visual - 1 + batch["input_ids"].shape[1]

    def _gradients(self, batches, shared: bool):
        self.model.zero_grad(set_to_none=True)
        losses = []
        for batch in batches:
            output = self.model(**self.processor(batch, [self.scene], with_labels=True, shared=shared))
            (output.loss / len(batches)).backward()
            losses += output.item_losses.tolist()
        return losses, {name: p.grad for name, p in self.model.named_parameters() if p.grad is not None}


def agreement(case: Case, count: int) -> str:
    """Losses and gradients of `count` items, both ways."""
    losses, gradients = case.together(count=count)
    kept = {name: gradient.clone() for name, gradient in gradients.items()}
    expected, twins = case.apart(count)
    worst = max(abs(one - other) / abs(other) for one, other in zip(losses, expected, strict=True))
    difference = sum(float((kept[name] - twin).norm() ** 2) for name, twin in twins.items()) ** 0.5
    norm = sum(float(twin.norm() ** 2) for twin in twins.values()) ** 0.5
    return f"losses of {count} items agree to {worst:.1e}, their gradient to {difference / norm:.1e} of its norm"


def main() -> None:
    parser = options(
        __doc__, device="cpu", size="small", dtype="float32", frames=32, questions=16, asked=2, rounds=2, memory=""
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    say = Transcript()
    if without_gpu(say, args.device):
        return
    case = Case(args)
    ways = {"apart": lambda: case.apart(args.asked), "together": case.together, "masked": lambda: case.together(False)}
    if args.memory:
        ways["apart"] = lambda: case.apart(1)
        print(peak_megabytes(ways[args.memory], args.device))
        return
    sizes = made_up.SIZES[args.size]
    say(f"{args.size}: {sizes['num_hidden_layers']} layers of width {sizes['hidden_size']}, {args.frames} frames,"
        f" {args.dtype}, random weights")  # fmt: skip
    case.apart(1)
    times, _ = in_turn(ways, args.rounds, args.device)
    slow = times["apart"] * args.questions / args.asked
    say.row(
        f"{args.questions} questions of a scene, forward and backward, {args.device}", slow, times["together"], TARGET
    )
    say(f"  {args.questions / slow:.2f} and {args.questions / times['together']:.2f} items a second; the baseline's"
        f" time is that of {args.asked} questions times {args.questions / args.asked:.3g}")  # fmt: skip
    say.row("of these, against a row with a mask of all pairs", times["masked"], times["together"], None)
    say(f"  {agreement(case, args.asked)}")
    memory = {way: in_process(way) for way in ways}
    if None not in memory.values():
        tokens = [case.tokens(count) for count in (1, args.questions)]
        say(f"  peak memory: one question ({tokens[0]} tokens) {memory['apart']:.0f} MB, {args.questions} in a row"
            f" ({tokens[1]} tokens) {memory['together']:.0f} MB, with a mask of all pairs"
            f" {memory['masked']:.0f} MB")  # fmt: skip
    if args.device == "cpu" and not torch.cuda.is_available():
        say("the same on a GPU: not measured (no GPU)")
    say.publish(args.page, f"training-items-{args.device}", f"Training items a second, {args.device}")


if __name__ == "__main__":
    sys.exit(main())
