"""How far a measured row is from the limit, and what the limit is for a 7B model on one H200. ARITHMETIC, not timing.

    python benchmarks/roofline.py

Operations and bytes are counted from the model's shape (a multiplication and an addition are two operations). On a CPU
the peak is that of a large matrix product, timed here, and the share of it that encoding a scene and grounding reach is
a measurement. For the H200 the peak is the maker's (bfloat16 without sparsity) and everything about it is a
calculation: no part of it was run.
"""

from __future__ import annotations

import sys

import made_up
import torch
from measure import Transcript, in_turn, options, seconds

from video3d_plugin.pipeline import Video3D

H200 = {"operations": 989e12, "bytes": 4.8e12}  # a second; NVIDIA H200 data sheet, SXM
QUESTIONS = {"grounding": 9508 + 11120, "text": 2068 + 4675 + 3519}  # of the five benchmarks, 30,890 together
SCENES = 312  # ScanNet's validation scenes: no benchmark asks about more
GRID, PATCHES, EXTRA = 14, 27, 15  # tokens and patches along a side; chat tokens of the prefix


def linear(sizes: dict) -> int:
    """Weights of one layer's matrix products."""
    width, inner = sizes["hidden_size"], sizes["intermediate_size"]
    keys = width * sizes.get("num_key_value_heads", sizes["num_attention_heads"]) // sizes["num_attention_heads"]
    matrices = 3 if "num_key_value_heads" in sizes else 2  # a gated MLP, or SigLIP's
    return 2 * width * width + 2 * width * keys + matrices * width * inner


def prefix_length(frames: int) -> int:
    return frames * GRID * (GRID + 1) + EXTRA


def encoding(size: str, frames: int) -> float:
    """Operations to encode a scene: tower (its last layer is not run), projector, language model."""
    text, tower, length = made_up.SIZES[size], made_up.TOWERS[size], prefix_length(frames)
    patches = frames * PATCHES**2
    of_tower = (tower["num_hidden_layers"] - 1) * (
        2 * linear(tower) * patches + 4 * patches * PATCHES**2 * tower["hidden_size"]
    )
    projector = 2 * patches * text["hidden_size"] * (tower["hidden_size"] + text["hidden_size"])
    layers = text["num_hidden_layers"] - 1  # of the last one only keys and values
    return of_tower + projector + layers * (2 * linear(text) * length + 2 * length**2 * text["hidden_size"])


def asking(size: str, frames: int, tokens: int) -> float:
    """Operations for `tokens` tokens of questions or answers."""
    text = made_up.SIZES[size]
    of_token = 2 * linear(text) + 4 * prefix_length(frames) * text["hidden_size"]
    return text["num_hidden_layers"] * of_token * tokens


def writing_bytes(size: str, frames: int, batch: int) -> float:
    """Bytes read for one token of each of `batch` answers: all weights and the prefix once, in bfloat16."""
    text = made_up.SIZES[size]
    keys = text["hidden_size"] * text["num_key_value_heads"] // text["num_attention_heads"]
    weights = text["num_hidden_layers"] * linear(text) + text["vocab_size"] * text["hidden_size"]
    return 2 * (weights + 2 * text["num_hidden_layers"] * keys * prefix_length(frames))


def on_h200(say: Transcript, frames: int = 32) -> None:
    encode, question, full = (
        encoding("7b", frames),
        asking("7b", frames, 45),
        encoding("7b", frames) + asking("7b", frames, 45),
    )
    say(f"7B shape, {frames} frames, one H200 at {H200['operations'] / 1e12:.0f} TFLOP/s and"
        f" {H200['bytes'] / 1e12} TB/s (calculated, not measured):")  # fmt: skip
    say(f"  a scene {encode / 1e12:.0f} TFLOP, at least {encode / H200['operations'] * 1e3:.0f} ms;"
        f" a question of 45 tokens {question / 1e12:.2f} TFLOP,"
        f" {question / H200['operations'] * 1e3:.2f} ms")  # fmt: skip
    step = writing_bytes("7b", frames, 32) / H200["bytes"]
    say(f"  a token of each of 32 answers reads {writing_bytes('7b', frames, 32) / 1e9:.1f} GB: {step * 1e3:.1f} ms,"
        f" {step / 32 * 1e3:.2f} ms a token of an answer")  # fmt: skip
    shared = encode + 64 * question
    say(f"  64 grounding questions of a scene: {64 * full / shared:.0f} times fewer operations than one by one")
    steps = QUESTIONS["text"] * 8 / 32
    total = (SCENES * encode + sum(QUESTIONS.values()) * question) / H200["operations"] + steps * step
    say(f"  all {sum(QUESTIONS.values())} questions of {SCENES} scenes, answers of 8 tokens: at least {total:.0f} s;"
        f" ten minutes are {total / 600:.0%} of the peak")  # fmt: skip


def on_cpu(say: Transcript, size: str, frames: int, rounds: int) -> None:
    model, processor = made_up.model_of(size)
    video, scene, questions = Video3D(model, processor), made_up.scene(frames), made_up.questions("ground", 64)
    prefix = video.encode_scene(scene)
    square = torch.randn(1536, 1536)
    ways = {
        "peak": lambda: square @ square,
        "scene": lambda: video.encode_scene(scene),
        "questions": lambda: video.ground_scores(prefix, questions),
    }
    seconds(ways["peak"])
    times, _ = in_turn(ways, rounds)
    peak = 2 * len(square) ** 3 / times["peak"]
    tokens = sum(len(processor.suffix_ids(q, answered=True)[0]) - 2 for q in questions)
    say(f"model {size}, {frames} frames, one CPU thread; a large matrix product reaches {peak / 1e9:.0f} GFLOP/s:")
    for name, operations in (("scene", encoding(size, frames)), ("questions", asking(size, frames, tokens))):
        rate = operations / times[name]
        say(f"  {name}: {operations / 1e9:.1f} GFLOP counted, {times[name]:.2f} s measured, {rate / 1e9:.1f} GFLOP/s,"
            f" {rate / peak:.0%} of the peak")  # fmt: skip


def main() -> None:
    args = options(__doc__, frames=32, rounds=3).parse_args()
    torch.set_num_threads(1)
    say = Transcript()
    for size in ("small", "25m"):  # 25m: the model of the section "Beside the reference"
        on_cpu(say, size, args.frames, args.rounds)
    on_h200(say, args.frames)
    say.publish(args.page, "roofline", "Distance from the limit (operations counted, not timed)")


if __name__ == "__main__":
    sys.exit(main())
