"""Saves checkpoints with one Python and asks them with another: `checkpoint_probe.py save|ask FOLDER [SCAN]`.

save  writes four checkpoints into FOLDER, one for each way in which this package saves one
ask   prints, as one line of JSON, what the shipped checkpoint (`mini`) and every checkpoint in FOLDER answer about SCAN
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from video3d_plugin import load_model, load_scene
from video3d_plugin.loading import default_checkpoint

QUESTIONS = ["How many chairs are there?", "What colour is the table?", "Is there a bed near the door?"]
DESCRIPTIONS = ["the chair near the table", "the brown table", "the bed"]


def save(folder: Path) -> None:
    """The shipped checkpoint saved again, the same with the tokenizer saved by transformers alone, an exported
    adapter, and a small model with a tokenizer learnt here."""
    from video3d_plugin.model.checkpoint.lora import add_lora
    from video3d_plugin.model.tiny import build_tiny, train_tokenizer

    loaded = load_model(default_checkpoint(), device="cpu")
    for name in ("shipped", "by_transformers"):
        loaded.model.save_pretrained(folder / name)
        loaded.processor.save_pretrained(folder / name)
    loaded.processor.tokenizer.save_pretrained(folder / "by_transformers")  # published without this package's care
    adapter = add_lora(loaded.model, rank=2)
    adapter.peft_config["default"].base_model_name_or_path = str(default_checkpoint())
    adapter.save_pretrained(str(folder / "adapter"))
    loaded.processor.save_pretrained(folder / "adapter")
    small = {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "initializer_range": 0.3}
    vision = {"hidden_size": 24, "intermediate_size": 32, "num_attention_heads": 2, "image_size": 58, "patch_size": 8}
    model, processor = build_tiny(train_tokenizer([*QUESTIONS, *DESCRIPTIONS] * 2, 400), vision=vision, **small)
    model.save_pretrained(folder / "learnt")
    processor.save_pretrained(folder / "learnt")


def ask(folder: Path, scan: Path) -> dict[str, dict]:
    scene = load_scene(scan)
    answers = {}
    for path in [default_checkpoint(), *sorted(path for path in folder.iterdir() if path.is_dir())]:
        model = load_model(path, device="cpu", sampler="uniform", max_frames=4)  # training.json is not saved again
        tokenizer = model.processor.tokenizer
        found = model.ground(scene, DESCRIPTIONS)
        answers["mini" if path == default_checkpoint() else path.name] = {
            "ids": [tokenizer(text + "\n<ground><|im_end|> it's 12é").input_ids for text in QUESTIONS],
            "texts": model.answer(scene, QUESTIONS, max_new_tokens=12),
            "boxes": [[[round(v, 5) for v in box.box] for box in one[:3]] for one in found],
        }
    return answers


if __name__ == "__main__":
    what, folder = sys.argv[1], Path(sys.argv[2])
    if what == "save":
        save(folder)
    else:
        print("ANSWERS " + json.dumps(ask(folder, Path(sys.argv[3]))))
