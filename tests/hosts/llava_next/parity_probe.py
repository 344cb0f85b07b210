"""Run in a process of its own by test_llava_video3d.py: golden items through LLaVA-NeXT's `train()`, no step taken.

The script's train() runs as it is: it loads the golden model from a folder, freezes and unfreezes, builds LLaVATrainer.
Where it would start to train, each golden item is collated, its loss computed by the trainer, and the gradients read.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

GOLDEN, WORK = Path(sys.argv[1]), Path(sys.argv[2])
NAMES = ("text", "coord", "ground_one", "ground_many", "ground_zero")
FOUR = ("text", "coord", "ground_one", "ground_zero")


def write_checkpoint(folder: Path) -> None:
    """The golden model, and a tokenizer of its 200 ids with the two tokens where the goldens have them."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    from video3d_plugin.verify import recipe

    model = recipe.model(GOLDEN / "model" / "default", device="cpu", dtype="float32")
    model.save_pretrained(folder)
    words = {f"w{i}": i for i in range(model.config.vocab_size)}
    places = {"<|im_end|>": 2, "<|im_start|>": 3, "<image>": 197, "<ground>": 198, "<coord>": 199}
    for word, i in places.items():
        del words[f"w{i}"]
        words[word] = i
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="w1")), pad_token="w0",  # text is no special token
        eos_token="<|im_end|>", additional_special_tokens=list(places),
    )  # fmt: skip
    tokenizer.save_pretrained(folder)


def collator_of(trainer):
    """The trainer's own collator, with a processor that knows the ids of the golden items."""
    from video3d_plugin.verify import recipe

    collator = trainer.data_collator
    processor = collator._processor

    def encode(question, *, answered, training=False):
        ids, labels = recipe.item(question.task)
        return ids[0].tolist(), labels[0].tolist()

    processor.encode = encode
    return collator


def groups_of(names, spec):
    """A group (scene, [question]) for each golden item, as the dataset gives them."""
    from video3d_plugin.scene import Question, SceneInputs
    from video3d_plugin.verify import recipe

    inputs = SceneInputs(spec=spec, scene_id="golden", frames=("0", "1", "2"), **recipe.scene(spec))
    for name in names:
        kind, _, targets = name.partition("_")
        yield (
            inputs,
            [
                Question(
                    task=kind,
                    item_id=name,
                    scene_id="golden",
                    prompt="<image>",
                    coords=(recipe.COORD,) if kind == "coord" else (),
                    targets=recipe.TARGETS[targets] if targets else None,
                )
            ],
        )


def losses_and_gradients(trainer, collator, groups):
    model = trainer.model.train()
    model.zero_grad()
    loss = trainer.compute_loss(model, trainer._prepare_inputs(collator(list(groups))))
    loss.backward()
    gradients = {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}
    return float(loss.detach()), gradients


def compare(trainer) -> dict:
    from safetensors.torch import load_file

    golden = load_file(str(GOLDEN / "training" / "default.safetensors"))
    spec, collator = trainer.model.config.inputs_spec, collator_of(trainer)
    worst, compared, kept = {"loss": 0.0, "gradient": 0.0}, 0, {}
    for name in NAMES:
        loss, gradients = kept[name] = losses_and_gradients(trainer, collator, groups_of([name], spec))
        expected = float(golden[f"{name}.loss"])
        worst["loss"] = max(worst["loss"], abs(loss - expected) / abs(expected))
        for parameter, gradient in gradients.items():
            norm = float(golden[f"{name}.norm.{parameter}"])
            scale = max(norm, 1e-5)
            head = gradient.flatten()[:8] - golden[f"{name}.head.{parameter}"]
            different = max(abs(float(gradient.double().norm()) - norm), float(head.abs().max())) / scale
            worst["gradient"] = max(worst["gradient"], different)
            compared += 1
    loss, gradients = losses_and_gradients(trainer, collator, groups_of(FOUR, spec))
    expected = sum(float(golden[f"{name}.loss"]) for name in FOUR) / len(FOUR)
    four = {"loss": abs(loss - expected) / expected, "gradient": 0.0}
    for parameter, gradient in gradients.items():  # golden gradients are norms: the mean is of those just compared
        mean = sum(kept[name][1][parameter] for name in FOUR) / len(FOUR)
        scale = max(float(mean.norm()), 1e-5)
        four["gradient"] = max(four["gradient"], float((gradient - mean).norm()) / scale)
    return {"one": worst, "four": four, "compared": compared, "trainer": type(trainer).__name__}


def main() -> None:
    import llava.train.train as script

    write_checkpoint(WORK / "golden")
    # Scenes and questions are the goldens': the run needs some data folder to start with.
    from video3d_plugin.data.prepare import prepare
    from video3d_plugin.mini.rooms import make_benchmark

    write = ("posed_images", "mesh", "annotations")
    rooms = make_benchmark(WORK / "rooms", scenes=1, seed=1, frames=3, write=write, progress=False, split="train")
    prepare(rooms, WORK / "data")
    result = {}

    class Stop(Exception):
        pass

    def instead(trainer, *args, **kwargs):
        result.update(compare(trainer))
        raise Stop

    script.LLaVATrainer.train = instead
    sys.argv = [
        "train.py", "--model", "video3d", "--model_name_or_path", str(WORK / "golden"), "--version", "qwen_1_5",
        "--data_path", str(WORK / "data"), "--output_dir", str(WORK / "out"), "--attn_implementation", "sdpa",
        "--mm_tunable_parts", "mm_vision_tower,mm_mlp_adapter,mm_language_model", "--report_to", "none",
        "--use_cpu", "True", "--gradient_checkpointing", "False",
    ]  # fmt: skip
    try:
        script.train()
    except Stop:
        print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main()
