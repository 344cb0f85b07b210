"""Rows of the table: seconds, megabytes and whether the results of both sides are equal."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

HEADER = ["", "reference", "video3d", "ratio", "memory", "results"]
TOLERANCE = 1e-4  # float32, another order of summation
_LABELS = {"answer": "short answers", "ground": "grounding questions", "train": "training questions"}


@dataclass(frozen=True)
class Row:
    """One process: seconds of both sides, megabytes of both sides, and what the comparison of results found."""

    what: str
    reference: float
    ours: float
    memory: tuple[float | None, float | None] | None
    equal: bool
    found: str

    def cells(self) -> list[str]:
        memory = "" if self.memory is None or None in self.memory else "{:.0f} / {:.0f} MB".format(*self.memory)
        verdict = "equal" if self.equal else "DIFFERENT"
        return [
            self.what, f"{self.reference:.4g} s", f"{self.ours:.4g} s", f"{self.reference / self.ours:.1f}x", memory,
            f"{verdict}: {self.found}",
        ]  # fmt: skip


def rows_of(folder: Path, name: str, job: dict[str, Any]) -> list[Row]:
    """The rows of a job that both sides have run.

    Args:
        folder: Where they wrote.
        name: The job's name.
        job: The job.

    Returns:
        One row, or two (cold and warm) for the inputs of a scene.
    """
    theirs, ours = _values(folder, name, job, "theirs"), _values(folder, name, job, "ours")
    memory = (theirs["megabytes"], ours["megabytes"])
    if job["kind"] == "coverage":
        equal, found = _same_coverage(theirs, ours)
        what = f"selection of {len(ours['gains'])} frames"
        return [Row(what, theirs["seconds"], ours["seconds"], memory, equal, found)]
    if job["kind"] == "video":
        equal, found = _same_inputs(*_arrays(folder, name))
        found += f"; {theirs['bytes'] / 1e6:.0f} / {ours['bytes'] / 1e6:.0f} MB handed to the model"
        what = f"inputs of {job['frames']} frames"
        same = equal and ours["warm_equal"]
        return [
            Row(f"{what}, from files", theirs["seconds"], ours["seconds"], memory, equal, found),
            Row(f"{what}, from the store", theirs["seconds"], ours["warm"], None, same, "as from files"),
        ]
    total, asked = len(job["questions"]), job["asked"]
    what = f"{total} {_LABELS[job['kind']] if total > 1 else 'short answer'}, {job['frames']} frames"
    compare = {"answer": _same_tokens, "ground": _same_scores}.get(job["kind"])
    if compare is None:
        equal, found = _same_training(theirs["losses"], ours["losses"], *_arrays(folder, name))
    else:
        equal, found = compare(theirs["results"], ours["results"])
    if asked < total:
        found += f"; reference timed on {asked}"
    return [Row(what, theirs["seconds"] * total / asked, ours["seconds"], memory, equal, found)]


def window_line(folder: Path, name: str, job: dict[str, Any]) -> str:
    """What transformers' default sliding window changes on the reference's side."""
    theirs, ours = _values(folder, name, job, "theirs"), _values(folder, name, job, "ours")
    differ = _largest(theirs["results"], ours["results"])
    return (
        f"{job['frames']} frames with sliding_window {job['sliding_window']} and use_sliding_window false: the"
        f" reference's grounding scores change by up to {differ:.1e}"
    )


def _values(folder: Path, name: str, job: dict[str, Any], side: str) -> dict[str, Any]:
    return json.loads((folder / f"{job.get(f'{side}_of', name)}.{side}.json").read_text())


def _arrays(folder: Path, name: str) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    return load_file(folder / f"{name}.theirs.safetensors"), load_file(folder / f"{name}.ours.safetensors")


def _same_coverage(theirs: dict[str, Any], ours: dict[str, Any]) -> tuple[bool, str]:
    equal = theirs["gains"] == ours["gains"] and theirs["covered"] == ours["covered"]
    return equal, f"{theirs['covered']} and {ours['covered']} voxels covered"


def _same_inputs(theirs: dict[str, torch.Tensor], ours: dict[str, torch.Tensor]) -> tuple[bool, str]:
    """The reference's pixels without the border that its tower does not use."""
    side = ours["pixels"].shape[1]
    pixels = theirs["pixels"].squeeze(0).permute(0, 2, 3, 1)[:, :side, :side]
    other = int((pixels != ours["pixels"]).sum())
    worst = float((theirs["points"] - ours["points"]).abs().max())
    return other == 0 and worst < TOLERANCE, f"{other} pixels differ, points by up to {worst:.0e} m"


def _same_tokens(theirs: list[list[int]], ours: list[list[int]]) -> tuple[bool, str]:
    pairs = list(zip(theirs, ours, strict=False))
    same = sum(one == other for pair in pairs for one, other in zip(*pair, strict=False))
    total = sum(max(map(len, pair)) for pair in pairs)
    return same == total, f"{same} of {total} tokens"


def _same_scores(theirs: list[list[float]], ours: list[list[float]]) -> tuple[bool, str]:
    worst = _largest(theirs, ours)
    return worst < TOLERANCE, f"scores to {worst:.0e}"


def _largest(theirs: list[list[float]], ours: list[list[float]]) -> float:
    """Largest difference between the scores of the questions that both have answered."""
    pairs = zip(theirs, ours, strict=False)
    return max(float((torch.tensor(one) - torch.tensor(other)).abs().max()) for one, other in pairs)


def _same_training(
    losses: list[float], other_losses: list[float], gradients: dict[str, torch.Tensor], other: dict[str, torch.Tensor]
) -> tuple[bool, str]:
    if set(gradients) != set(other):
        return False, f"gradients of other parameters: {sorted(set(gradients) ^ set(other))[:3]}"
    worst = max(abs(one - two) / abs(one) for one, two in zip(losses, other_losses, strict=True))
    norm = sum(float(g.norm() ** 2) for g in gradients.values()) ** 0.5
    apart = sum(float((g - other[name]).norm() ** 2) for name, g in gradients.items()) ** 0.5 / norm
    return max(worst, apart) < 10 * TOLERANCE, f"losses to {worst:.0e}, gradient to {apart:.0e}"
