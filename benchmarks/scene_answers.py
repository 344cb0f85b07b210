"""Answers a second: a scene encoded once and asked all its questions, against one full forward pass a question.

    python benchmarks/scene_answers.py [--device cuda --size 7b --dtype bfloat16]

Grounding asks for the scores of all proposals, answering writes a short text greedily. The baseline runs vision tower,
position encoding and language model for every question, as LaVi-Lab/Video-3D-LLM at 3ff70e8 does; of the questions it
is timed on `--asked`, and its time for all is that, times their number (said in the output). Weights are random.
"""

from __future__ import annotations

import sys

import made_up
import torch
from measure import Transcript, in_process, in_turn, options, peak_megabytes, without_gpu

from video3d_plugin.model.prefix import inference as prefixes
from video3d_plugin.pipeline import Video3D

TARGETS = {"cpu": {"ground": 20, "answer": 20}, "cuda": {"ground": 50, "answer": 20}}
NEW_TOKENS = 8


class Case:
    """One kind of question with both ways to answer it."""

    def __init__(self, kind: str, args):
        self.kind, self.device = kind, args.device
        self.model, self.processor = made_up.model_of(args.size, args.device, args.dtype)
        self.video = Video3D(self.model, self.processor, prefix_attention=args.prefix_attention)
        self.scene = made_up.scene(args.frames)
        self.questions = made_up.questions(kind, args.ground if kind == "ground" else args.answer)

    def fast(self, count: int | None = None):
        prefix = self.video.encode_scene(self.scene)
        asked = self.questions[:count]
        if self.kind == "ground":
            return self.video.ground_scores(prefix, asked)
        return prefixes.answer_tokens(
            self.model, self.processor, prefix, asked, NEW_TOKENS, prefix_attention=self.video.prefix_attention
        )

    @torch.inference_mode()
    def slow(self, count: int):
        return [self._full(question) for question in self.questions[:count]]

    def _full(self, question):
        batch = self.processor([question], [self.scene])
        if self.kind == "ground":
            return self.model(**batch).ground_scores[0].float().cpu()
        stops = self.processor.stop_ids
        tokens = self.model.generate(**batch, max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=stops)[0]
        return prefixes.until_stop(tokens.tolist(), stops)

    def agreement(self, found, expected) -> str:
        pairs = list(zip(found, expected, strict=False))
        if self.kind == "ground":
            worst = max(float((one - other).abs().max()) for one, other in pairs)
            return f"scores of {len(pairs)} questions agree to {worst:.1e}"
        same = sum(one == other for pair in pairs for one, other in zip(*pair, strict=False))
        total = sum(max(map(len, pair)) for pair in pairs)
        return f"{same} of {total} tokens of {len(pairs)} answers agree"


def measured(say: Transcript, kind: str, args) -> None:
    case = Case(kind, args)
    total, asked = len(case.questions), min(args.asked, len(case.questions))
    case.slow(1), case.fast(1)
    times, results = in_turn({"slow": lambda: case.slow(asked), "fast": case.fast}, args.rounds, args.device)
    slow = times["slow"] * total / asked
    prefix = case.video.encode_scene(case.scene)
    label = {"ground": "grounding", "answer": "short answers"}[kind]
    say.row(f"{label}, {total} questions, {args.device}", slow, times["fast"], TARGETS[args.device][kind])
    say(f"  {total / slow:.2f} and {total / times['fast']:.1f} a second; the baseline's time is that of {asked}"
        f" questions times {total / asked:g}")  # fmt: skip
    say(f"  {case.agreement(results['fast'], results['slow'])}")
    lengths = [len(case.processor.suffix_ids(q, answered=False)[0]) for q in case.questions]
    say(f"  prefix of {len(prefix)} tokens, {sum(lengths) / len(lengths):.0f} tokens a question on average")
    memory = {way: in_process(f"{kind}-{way}") for way in ("slow", "fast")}
    if None not in memory.values():
        limit = memory["slow"] + prefix.nbytes / 1e6
        verdict = "within" if memory["fast"] <= limit else "ABOVE"
        say(f"  peak memory: baseline {memory['slow']:.0f} MB, video3d {memory['fast']:.0f} MB, {verdict} the"
            f" baseline's and one prefix ({prefix.nbytes / 1e6:.0f} MB)")  # fmt: skip


def main() -> None:
    parser = options(
        __doc__, device="cpu", size="small", dtype="float32", prefix_attention="cascade", frames=32,
        ground=64, answer=32, asked=4, rounds=3, memory="",
    )  # fmt: skip
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.memory:  # one way, in this process of its own
        kind, way = args.memory.split("-")
        case = Case(kind, args)
        print(peak_megabytes(case.fast if way == "fast" else lambda: case.slow(1), args.device))
        return
    say = Transcript()
    sizes = made_up.SIZES[args.size]
    say(f"{args.size}: {sizes['num_hidden_layers']} layers of width {sizes['hidden_size']}, {args.frames} frames,"
        f" {args.dtype}, random weights, {args.prefix_attention}")  # fmt: skip
    if without_gpu(say, args.device):
        return
    for kind in ("ground", "answer"):
        measured(say, kind, args)
    if args.device == "cpu" and not torch.cuda.is_available():
        say("the same on a GPU, 7B shape with random weights, bfloat16: not measured (no GPU)")
    say.publish(args.page, f"scene-answers-{args.device}", f"Answers a second, {args.device}")


if __name__ == "__main__":
    sys.exit(main())
