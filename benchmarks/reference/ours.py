"""One job of this package on a CPU, on the files that the reference's side works on.

    python -m benchmarks.reference.ours FOLDER JOB

Writes FOLDER/JOB.ours.json and, where there are arrays, FOLDER/JOB.ours.safetensors. Readers and the model are loaded
before the clock starts on both sides.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from benchmarks.reference.case import surface
from benchmarks.reference.timing import least, measured
from video3d_plugin import load_model, load_scene
from video3d_plugin.data import store
from video3d_plugin.data.inputs import scene_coverage, scene_inputs
from video3d_plugin.inputs_spec import InputsSpec
from video3d_plugin.model.prefix import inference as prefixes
from video3d_plugin.scene import Question, SceneInputs

SCENE = "scene0000_00"
WARM_READS = 20


def coverage(folder: Path, job: dict[str, Any]):
    scene = _scene(folder, job)
    cells = surface(scene)
    used, found = measured(lambda: scene_coverage(scene, lambda: cells).select(job["limit"]))
    return used, {"gains": list(found.gains), "covered": sum(found.gains)}, {}


def video(folder: Path, job: dict[str, Any]):
    """Cold: from the files of the scan. Warm: from the store."""
    used, made = least(lambda: _inputs(folder, job), job["repeats"])
    path = folder / "store" / "scene.safetensors"
    store.write(path, made)
    stored = store.read(path).tensors()  # the first reading in a process checks every byte
    same = all(torch.equal(stored[name], tensor) for name, tensor in made.tensors().items())

    def read() -> None:
        for _ in range(WARM_READS):  # cloned, because a memory-mapped tensor is not read before it is used
            [tensor.clone() for tensor in store.read(path).tensors().values()]

    warm, _ = measured(read)
    handed = sum(tensor.numel() * tensor.element_size() for tensor in made.tensors().values())
    values = {"warm": warm["seconds"] / WARM_READS, "warm_equal": same, "bytes": handed}
    return used, values, {"points": made.token_points[..., 0, :], "pixels": made.pixels}


def ask(folder: Path, job: dict[str, Any]):
    """The scene once, then all questions."""
    inputs, questions, asker = _inputs(folder, job), _questions(job), load_model(folder / "checkpoint", device="cpu")

    def run(count: int | None = None):
        prefix = asker.encode_scene(inputs)
        if job["kind"] == "ground":
            return [scores.tolist() for scores in asker.ground_scores(prefix, questions[:count])]
        return prefixes.answer_tokens(
            asker.model, asker.processor, prefix, questions[:count], job["new_tokens"],
            prefix_attention=asker.prefix_attention,
        )  # fmt: skip

    if job["warm_up"]:
        run(1)
    used, results = measured(run)
    return used, {"results": results}, {}


def train(folder: Path, job: dict[str, Any]):
    """All questions in one row; for the comparison of results those that the reference is asked, afterwards."""
    asker = load_model(folder / "checkpoint", device="cpu")
    model, inputs, questions = asker.model.train().requires_grad_(True), _inputs(folder, job), _questions(job)

    def step(count: int | None = None) -> list[float]:
        model.zero_grad(set_to_none=True)
        output = model(**asker.processor(questions[:count], [inputs], with_labels=True, shared=True))
        output.loss.backward()
        return output.item_losses.tolist()

    used, _ = measured(step)
    losses = step(job["asked"])
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return used, {"losses": losses}, gradients


JOBS = {"coverage": coverage, "video": video, "answer": ask, "ground": ask, "train": train}


def _scene(folder: Path, job: dict[str, Any]):
    return load_scene(folder / job["scan"] / "data" / "scannet")


def _inputs(folder: Path, job: dict[str, Any]) -> SceneInputs:
    """Frames at equal distances, as the reference takes them."""
    scene = _scene(folder, job)
    indices = np.linspace(0, len(scene.frames) - 1, job["frames"], dtype=int).tolist()
    boxes = np.array(job["boxes"], np.float32)
    inputs = scene_inputs(scene, indices, InputsSpec(), boxes, threads=1)
    return replace(inputs, proposal_ids=torch.arange(len(boxes)))


def _questions(job: dict[str, Any]) -> list[Question]:
    return [_question(**fields) for fields in job["questions"]]


def _question(task: str, id: str, prompt: str, answer: str, target: list[int] | None) -> Question:
    return Question(task, id, SCENE, prompt, answer, (), None if target is None else tuple(target))


def main() -> int:
    folder, name = Path(sys.argv[1]).resolve(), sys.argv[2]
    torch.set_num_threads(1)
    job = json.loads((folder / "jobs.json").read_text())[name]
    used, values, arrays = JOBS[job["kind"]](folder, job)
    if arrays:
        save_file({key: value.contiguous() for key, value in arrays.items()}, folder / f"{name}.ours.safetensors")
    (folder / f"{name}.ours.json").write_text(json.dumps({**used, **values}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
