"""Weights of 8 and 4 bits against those of 16 and 32: memory, and the difference of answers and boxes.

    python benchmarks/quantised_weights.py [--rooms 6]

Memory is counted in the tensors of a model with the layers of Qwen2-0.5B (random weights), and compared with what is
calculated from their shapes; the 7B's is calculated in the same way, without its weights. Answers and boxes are those
of the small checkpoint on synthetic rooms, and scores those of the random model on random pixels. Needs bitsandbytes
and torchao: pip install 'video3d-plugin[quantised]'
"""

from __future__ import annotations

import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import made_up
import torch
from measure import Transcript, options
from page import table

from video3d_plugin.data.folder import DataFolder
from video3d_plugin.data.prepare import prepare
from video3d_plugin.mini.rooms.mini_benchmark import make_mini
from video3d_plugin.model.checkpoint.quantised import library_for
from video3d_plugin.model.prefix import inference as prefixes
from video3d_plugin.pipeline import Video3D, load_model

HALF_B: dict[str, Any] = {
    "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
    "num_key_value_heads": 2,
}  # fmt: skip
WAYS = {"float": {}, "8 bit": {"load_in_8bit": True}, "4 bit": {"load_in_4bit": True}}


def bytes_held(model: torch.nn.Module) -> int:
    """Bytes of all weights, with the scales and tables of quantised ones."""
    return sum(sum(t.nbytes for t in _tensors(weight)) for weight in model.parameters())


def _tensors(weight: Any):
    if hasattr(weight, "__tensor_flatten__"):
        yield from (getattr(weight, name) for name in weight.__tensor_flatten__()[0])
        return
    yield weight.data
    state = getattr(weight, "quant_state", None)
    yield from (t for t in (getattr(state, "absmax", None), getattr(weight, "SCB", None)) if t is not None)


def bytes_calculated(model: torch.nn.Module, way: str) -> int:
    """Bytes of a bfloat16 model by the shapes of its weights; it may be on "meta"."""
    matrices = {m.weight for m in model.model.layers.modules() if isinstance(m, torch.nn.Linear)}
    rest = sum(2 * w.numel() for w in model.parameters() if w not in matrices)
    of_one = {
        "float": lambda w: 2 * w.numel(),
        "8 bit": lambda w: w.numel() + 2 * len(w),  # a scale in bfloat16 for each row
        "4 bit": lambda w: w.numel() // 2 + w.numel() // 64 * 4,  # a scale in float32 for each 64 weights
    }[way]
    return rest + sum(of_one(w) for w in matrices)


def random_model(folder: Path) -> list[list[str]]:
    """Memory and differences of a model with random weights and the layers of Qwen2-0.5B."""
    made_up.SIZES["half"], made_up.TOWERS["half"] = HALF_B, made_up.TOWERS["small"]
    model, processor = made_up.model_of("half", dtype="bfloat16")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    calculated = {way: bytes_calculated(model, way) for way in WAYS}
    scene, asked = made_up.scene(1, 20), made_up.questions("ground", 4)
    rows, exact = [], None
    del model
    for way, options_of in WAYS.items():
        video = load_model(folder, device="cpu", dtype="bfloat16", **options_of)
        held = bytes_held(video.model)
        state = video.encode_scene(scene)
        found = torch.stack(prefixes.ground(video.model, processor, state, asked))
        exact = found if exact is None else exact
        differ = float((found - exact).norm() / exact.norm())
        rows.append([way, f"{held / 1e6:.1f} MB", f"{calculated[way] / 1e6:.1f} MB", f"{differ:.3f}"])
        sizes = f"{held / 1e6:.1f} MB, calculated {calculated[way] / 1e6:.1f} MB"
        print(f"layers of Qwen2-0.5B, {way}: {sizes}; scores differ by {differ:.3f} of their norm", flush=True)
    return rows


def answers_of(video: Video3D, data: DataFolder, split: str) -> dict[str, list[Any]]:
    """{"answers": texts, "boxes": indices of the best of the annotated boxes}."""
    asked = [q for task in data.tasks() if task[1] == split for q in data.questions(*task)]
    found: dict[str, list[Any]] = {"answers": [], "boxes": []}
    for scene_id in sorted({question.scene_id for question in asked}):
        inputs = data.inputs(scene_id, video.spec, sampler=video.sampler, max_frames=video.max_frames, proposals="gt")
        prefix = video.encode_scene(inputs)
        own = [q for q in asked if q.scene_id == scene_id]
        texts, references = ([q for q in own if q.is_grounding == kind] for kind in (False, True))
        found["answers"] += video.answer(prefix, texts, max_new_tokens=24)
        scores = prefixes.ground(video.model, video.processor, prefix, references)
        found["boxes"] += [int(of_one.argmax()) for of_one in scores]
    return found


def small_checkpoint(rooms: int, folder: Path) -> list[list[str]]:
    """Equal answers and boxes of the small checkpoint on synthetic rooms that it was not trained on."""
    make_mini(folder / "rooms", val=rooms)
    prepare(folder / "rooms", folder / "data")
    data, rows, exact = DataFolder.open(folder / "data"), [], {}
    for way, options_of in WAYS.items():
        found = answers_of(load_model(device="cpu", **options_of), data, "val")
        exact = exact or found
        row = [way]
        for kind, results in found.items():
            same = sum(one == other for one, other in zip(results, exact[kind], strict=True))
            row.append(f"{same} of {len(results)}")
        rows.append(row)
        print(f"small checkpoint, {way}: {row[1]} answers and {row[2]} boxes as in float32", flush=True)
    return rows


def seven_b() -> list[list[str]]:
    """Calculated memory of the published model's weights."""
    from video3d_plugin.model.tiny import build_tiny, train_tokenizer

    tokenizer = train_tokenizer(["made up"], 300)
    with torch.device("meta"):
        model, _ = build_tiny(tokenizer, vision=made_up.TOWERS["7b"], **made_up.SIZES["7b"])
    rows = [[way, f"{bytes_calculated(model, way) / 1e9:.1f} GB"] for way in WAYS]
    for way, size in rows:
        print(f"7B, {way}: {size} of weights (calculated)", flush=True)
    return rows


def main() -> int:
    args = options(__doc__, rooms=6).parse_args()
    torch.set_num_threads(1)
    say = Transcript()
    missing = [name for name in ("bitsandbytes", "torchao") if find_spec(name) is None]
    if missing:
        say(f"not measured ({' and '.join(missing)} not installed)")
        return 0
    chosen = {bits: library_for(f"load_in_{bits.replace(' ', '')}", on_cuda=False) for bits in ("8 bit", "4 bit")}
    say(f"on the CPU: 8 bit by {chosen['8 bit']}, 4 bit by {chosen['4 bit']}")
    with tempfile.TemporaryDirectory() as folder:
        random = random_model(Path(folder) / "random")
        small = small_checkpoint(args.rooms, Path(folder))
    parts = [
        table(["layers of Qwen2-0.5B, random", "held", "calculated", "scores differ by"], random),
        table(["small checkpoint", "answers as in float32", "boxes as in float32"], small),
        table(["7B", "weights, calculated"], seven_b()),
    ]
    say.publish(args.page, "quantised-weights", "Weights of 8 and 4 bits", "\n\n".join(parts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
