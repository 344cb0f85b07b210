"""One job of the reference's own program on a CPU. Runs in the reference's environment, its checkout on PYTHONPATH.

    python theirs.py FOLDER JOB      (`case.py` writes FOLDER, `jobs.json` there holds the jobs)

Writes FOLDER/JOB.theirs.json and, where there are arrays, FOLDER/JOB.theirs.safetensors. Three things are adapted from
outside, none of which changes what is computed: "cuda" becomes "cpu", `preprocess_qwen` is taken out of files whose
other imports need a GPU, and the newline token's id, a constant of Qwen2's vocabulary there, is the tokenizer's.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import os
import random
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from timing import least, measured

QWEN2_NEWLINE = 198
VIDEO = "scannet/scene0000_00"


def checkout() -> Path:
    import llava

    return Path(llava.__file__).resolve().parent.parent


def coverage(folder: Path, job: dict[str, Any]):
    """scripts/3d/preprocessing/max_coverage_sampling.py"""
    script = runpy.run_path(str(checkout() / "scripts/3d/preprocessing/max_coverage_sampling.py"))
    moved = torch.Tensor.to
    torch.Tensor.to = lambda tensor, *where, **more: (
        tensor if where and where[0] == "cuda" else moved(tensor, *where, **more)
    )
    output = folder / "selected.json"
    args = argparse.Namespace(voxel_size=0.1, video_dir="data/scannet/posed_images", output_file=str(output))
    random.seed(0)  # it chooses among equal frames by chance
    used, _ = measured(lambda: script["main"](args))
    (found,) = json.loads(output.read_text())
    return used, {"gains": found["voxel_nums"], "covered": found["num_select_voxels"]}, {}


def processed(frames: int) -> dict[str, Any]:
    """What its data pipeline makes of the scan."""
    from llava.model.multimodal_encoder.siglip_encoder import SigLipImageProcessor
    from llava.video_utils import VideoProcessor

    images = SigLipImageProcessor()
    return VideoProcessor().process_3d_video(VIDEO, images, force_sample=True, frames_upbound=frames)


def video(folder: Path, job: dict[str, Any]):
    """VideoProcessor.process_3d_video"""
    from llava.model.llava_arch import LlavaMetaForCausalLM

    used, made = least(lambda: processed(job["frames"]), job["repeats"])
    points = LlavaMetaForCausalLM.average_coordinate_in_patch(None, made["world_coords"])
    pixels = ((made["images"] + 1) * 127.5).round().to(torch.uint8)
    handed = sum(made[name].numel() * made[name].element_size() for name in ("images", "world_coords"))
    return used, {"bytes": handed}, {"points": points.contiguous(), "pixels": pixels}


def scene(frames: int) -> tuple[torch.Tensor, dict[str, Any]]:
    """(images, video_dict), as its evaluation scripts pass them to the model, in float32."""
    from llava.video_utils import merge_video_dict

    batch = merge_video_dict([processed(frames)])
    return batch.pop("images"), batch


def tokenizer_of(folder: Path):
    """The tokenizer of the checkpoint; its merges in the form that older versions of `tokenizers` read."""
    from transformers import PreTrainedTokenizerFast

    stored = json.loads((folder / "checkpoint" / "tokenizer.json").read_text())
    merges = stored["model"]["merges"]
    stored["model"]["merges"] = [m if isinstance(m, str) else " ".join(m) for m in merges]
    path = folder / f"tokenizer-{os.getpid()}.json"
    path.write_text(json.dumps(stored))
    return PreTrainedTokenizerFast(
        tokenizer_file=str(path), eos_token="<|im_end|>", pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"], clean_up_tokenization_spaces=False,
    )  # fmt: skip


def model_of(folder: Path, sliding_window: int):
    """LlavaQwenForCausalLM with the checkpoint's weights, sdpa, float32."""
    from llava.model.language_model.llava_qwen import LlavaQwenConfig, LlavaQwenForCausalLM

    saved = folder / "checkpoint"
    fields = json.loads((saved / "config.json").read_text())
    for name in ("model_type", "architectures", "rope_parameters", "layer_types", "dtype", "transformers_version"):
        fields.pop(name, None)
    tower = folder / f"siglip-{os.getpid()}"
    weights = load_file(saved / "model.safetensors")
    _write_tower(tower, fields.pop("vision_config"), weights)
    fields.update(mm_vision_tower=str(tower), sliding_window=sliding_window, use_sliding_window=False)
    config = LlavaQwenConfig(**fields)
    config._attn_implementation = "sdpa"
    model = LlavaQwenForCausalLM(config)
    missing, unexpected = model.load_state_dict(weights, strict=False)
    if missing or unexpected:
        raise RuntimeError(f"the checkpoint does not fit the reference: lacks {missing}, has {unexpected}")
    return model.eval().requires_grad_(True)


def _write_tower(folder: Path, sizes: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
    """The vision tower as a folder of its own, which is how the reference starts."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "siglip_vision_model", **sizes}))
    prefix = "model.vision_tower.vision_tower."
    part = {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
    save_file(part, folder / "model.safetensors", metadata={"format": "pt"})


def function_of(path: str, name: str, newline: int):
    """Function `name` of a file of the checkout, without the file's imports."""
    from llava import constants

    tree = ast.parse((checkout() / path).read_text())
    (found,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    for node in ast.walk(found):
        if isinstance(node, ast.Constant) and node.value == QWEN2_NEWLINE:
            node.value = newline
    import transformers

    space = {"torch": torch, "transformers": transformers, "re": re, "copy": copy, "Dict": dict, **vars(constants)}
    exec(compile(ast.Module([found], []), path, "exec"), space)
    return space[name]


def ids_of(folder: Path, kind: str, question: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """(input ids, labels) of a question as the evaluation or training script makes them."""
    tokenizer = tokenizer_of(folder)
    (newline,) = tokenizer("\n").input_ids
    talk = [{"from": "human", "value": question["prompt"]}, {"from": "gpt", "value": question["answer"]}]
    if kind == "train":
        make = function_of("llava/train/train_3d.py", "preprocess_qwen", newline)
        made = make([_image_first(talk)], tokenizer, has_image=True)
        return made["input_ids"], made["labels"]
    make = function_of("llava/eval/model_scanrefer.py", "preprocess_qwen", newline)
    if kind == "answer":
        talk[1]["value"] = None
    return make(talk, tokenizer, has_image=True)


def _image_first(talk: list[dict[str, str]]) -> list[dict[str, str]]:
    """What preprocess_multimodal of train_3d.py does with the benchmark's prompts, which all begin with <image>."""
    if not talk[0]["value"].startswith("<image>"):
        raise RuntimeError(f"the prompt does not begin with <image>: {talk[0]['value']!r}")
    return talk


def ask(folder: Path, job: dict[str, Any]):
    """generate, or the grounding head's scores, of one question after the other."""
    model = model_of(folder, job["sliding_window"])
    images, video_dict = scene(job["frames"])
    asked = [ids_of(folder, job["kind"], question) for question in job["questions"][: job["asked"]]]
    shared = {"images": images, "modalities": "video", "video_dict": video_dict}

    @torch.inference_mode()
    def one(ids, labels):
        if job["kind"] != "answer":
            return model(ids, labels=labels, use_object_proposals=True, **shared)[1].float()
        return model.generate(ids, do_sample=False, max_new_tokens=job["new_tokens"], use_cache=True, **shared)[0]

    if job["warm_up"]:
        one(*asked[0])
    used, results = measured(lambda: [one(*each) for each in asked])
    return used, {"results": [result.tolist() for result in results]}, {}


def train(folder: Path, job: dict[str, Any]):
    """Forward and backward of one item after the other, gradients accumulated."""
    model = model_of(folder, job["sliding_window"]).train()
    images, video_dict = scene(job["frames"])
    asked = job["questions"][: job["asked"]]
    rows = [ids_of(folder, "train", question) for question in asked]

    shared = {"images": images, "modalities": ["video"], "video_dict": video_dict, "use_cache": False}

    def one(question, ids, labels):
        if question["target"] is None:
            return model(ids, labels=labels, **shared).loss
        return model(ids, labels=labels, use_object_proposals=True, box_labels=[question["target"]], **shared)[0]

    def step():
        losses = []
        for question, row in zip(asked, rows, strict=True):
            loss = one(question, *row)
            (loss / len(asked)).backward()
            losses.append(loss.item())
        return losses

    used, losses = measured(step)
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return used, {"losses": losses}, gradients


JOBS = {"coverage": coverage, "video": video, "answer": ask, "ground": ask, "window": ask, "train": train}


def main() -> int:
    folder, name = Path(sys.argv[1]).resolve(), sys.argv[2]
    torch.set_num_threads(1)
    job = json.loads((folder / "jobs.json").read_text())[name]
    os.chdir(folder / job["scan"])
    used, values, arrays = JOBS[job["kind"]](folder, job)
    if arrays:
        save_file({key: value.contiguous() for key, value in arrays.items()}, folder / f"{name}.theirs.safetensors")
    (folder / f"{name}.theirs.json").write_text(json.dumps({**used, **values}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
