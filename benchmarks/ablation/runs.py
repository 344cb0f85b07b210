"""Trains and scores one variant with one seed, and keeps the numbers and the recipe in a file, which is not run again:
a stopped ablation goes on from there, on another machine too."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from benchmarks.ablation.variants import COLUMNS, HOME, VIEWS, Variant
from video3d_plugin.data.folder import DataFolder
from video3d_plugin.errors import DataError
from video3d_plugin.evaluate import evaluate
from video3d_plugin.files.atomic import write_bytes
from video3d_plugin.mini.curriculum.object_questions import TASK as OBJECTS
from video3d_plugin.mini.curriculum.object_questions import names_in_folder, object_questions
from video3d_plugin.mini.curriculum.vision_pretraining import balance, sample_scenes, vision_stage
from video3d_plugin.mini.presets import MiniPreset
from video3d_plugin.mini.rooms.describe import describe_split
from video3d_plugin.mini.settings import MiniSettings
from video3d_plugin.mini.train import from_scratch, train_mini
from video3d_plugin.pipeline import load_model
from video3d_plugin.training.dataset import training_questions
from video3d_plugin.training.stage import run_stage

TASKS = ("scanrefer", "scan2cap", "scanqa")
_SEEING = ("vision_tower", "mm_projector")
_RENAMED = {"later_rates": "final_stage_lr_factor"}  # settings by the name that earlier runs were kept with
Numbers = dict[str, float]  # column -> number


@dataclass(frozen=True)
class Bench:
    """Where the rooms lie (None: nothing is trained), how many train and score, where models go and where numbers are
    kept, what a run is like, how many questions of a task score it."""

    data: Path | None
    rooms: tuple[int, int]
    output: Path
    measured: Path
    preset: MiniPreset
    limit: int | None

    @property
    def recipe(self) -> dict[str, Any]:
        """All that a run's numbers depend on besides variant, seed and code, as json has it."""
        settings = _that_count(self.preset.settings)
        sizes = {"language": dict(self.preset.language or {}), "vision": dict(self.preset.vision)}
        return json.loads(json.dumps({"rooms": self.rooms, "limit": self.limit, **sizes, "settings": settings}))

    @property
    def models(self) -> Path:
        """Where this recipe's models go: a model of another recipe must not be scored as one of this."""
        return self.output / hashlib.sha256(json.dumps(self.recipe, sort_keys=True).encode()).hexdigest()[:12]

    @cached_property
    def splits(self) -> dict[str, str]:
        """A hash of what is asked about the rooms, by split."""
        source = self.folder().path.parent / "source"
        return {split: describe_split(source, split)["sha256"] for split in ("train", "val")}

    def folder(self) -> DataFolder:
        return DataFolder.open(self.data)

    def numbers(self, variant: Variant, seed: int) -> dict[str, Numbers]:
        """{"sampler frames": numbers}; from the file of an earlier run where there is one."""
        kept = self.kept(variant, seed)
        if kept is not None:
            return kept
        print(f"{variant.name}, seed {seed}", flush=True)
        checkpoint = self._trained(variant, seed)
        views = [HOME] if variant.options else VIEWS
        found = {f"{sampler} {frames}": self._score(checkpoint, sampler, frames) for sampler, frames in views}
        self.measured.mkdir(parents=True, exist_ok=True)
        kept = {"recipe": self.recipe, "made_on": self.splits, "numbers": found}
        write_bytes(self._file(variant, seed), (json.dumps(kept, indent=1) + "\n").encode())
        return found

    def kept(self, variant: Variant, seed: int) -> dict[str, Numbers] | None:
        """The numbers of a run that has ended. DataError for one of another recipe."""
        path = self._file(variant, seed)
        if not path.is_file():
            return None
        kept = json.loads(path.read_text(encoding="utf-8"))
        recipe = kept["recipe"]
        settings = {_RENAMED.get(name, name): value for name, value in recipe["settings"].items()}
        recipe["settings"] = {**_that_count(MiniSettings()), **settings}  # defaults of settings that came later
        if recipe != self.recipe:
            remedy = "give the steps and rooms that it was made with, or another folder with --measured"
            raise DataError("is a run of another recipe", where=path, remedy=remedy)
        if self.data is not None and "made_on" in kept and kept["made_on"] != self.splits:
            remedy = "today's generator makes other ones: give another folder with --measured, and run all anew"
            raise DataError("is a run on other rooms", where=path, remedy=remedy)
        return kept["numbers"]

    def _file(self, variant: Variant, seed: int) -> Path:
        return self.measured / f"{slug(variant.name)}-seed{seed}.json"

    def _trained(self, variant: Variant, seed: int) -> Path:
        checkpoint = self.models / f"{slug(variant.name)}-seed{seed}"
        if (checkpoint / "training.json").is_file():
            return checkpoint
        folder, settings = self.folder(), replace(self.preset.settings, seed=seed, tasks=TASKS, tower_steps=0)
        chosen = replace(self.preset, language={**self.preset.language, **variant.options})
        questions = training_questions(folder, TASKS)
        model, processor = from_scratch(chosen, questions, seed=seed)
        seeing = self.seeing(seed)
        for name in _SEEING:
            part = getattr(model.get_model(), name)
            part.load_state_dict({k.removeprefix(name + "."): v for k, v in seeing.items() if k.startswith(name)})
        scene_ids = sorted({question.scene_id for question in questions})
        balance(model, sample_scenes(folder, scene_ids, model.config.inputs_spec, settings))
        train_mini(model.train(), processor, folder, checkpoint, settings)
        return checkpoint

    def seeing(self, seed: int) -> dict[str, torch.Tensor]:
        """Tower and projector of this seed, which all variants start from: how they learn to see does not depend on
        the variant, and words begin alike."""
        from safetensors.torch import load_file, save_file

        path = self.models / f"seeing-seed{seed}.safetensors"
        if not path.is_file():
            folder, settings = self.folder(), replace(self.preset.settings, seed=seed, tasks=TASKS)
            questions = training_questions(folder, TASKS)
            model, processor = from_scratch(self.preset, questions, seed=seed)
            stage = vision_stage(model, processor, folder, names_in_folder(folder, questions), settings)
            run_stage(stage, self.models / "seeing", settings)
            parts = {name: getattr(model.get_model(), name).state_dict() for name in _SEEING}
            save_file({f"{name}.{k}": v.contiguous() for name, state in parts.items() for k, v in state.items()}, path)
        return load_file(path)

    def _score(self, checkpoint: Path, sampler: str, frames: int) -> Numbers:
        results: dict[str, dict[str, Any]] = evaluate(
            list(TASKS),
            pretrained=checkpoint,
            data=self.data,
            output=checkpoint / "results",
            batch_size=64,
            limit=self.limit,
            max_new_tokens=48,
            proposals="gt",
            sampler=sampler,
            max_frames=frames,
        )
        results[OBJECTS] = {"em": self._named(checkpoint, sampler, frames)}
        return {column: float(results[task][metric]) for column, task, metric in COLUMNS}

    def _named(self, checkpoint: Path, sampler: str, frames: int) -> float:
        """Per cent of the held-out objects that are named rightly, attribute and label, from their box's centre."""
        folder, model = self.folder(), load_model(checkpoint)
        named = names_in_folder(folder, folder.questions("scanrefer", "val"))
        right: list[bool] = []
        for scene_id, objects in named.items():
            inputs = folder.inputs(scene_id, model.spec, sampler=sampler, max_frames=frames, proposals="gt")
            asked = [question for question in object_questions(folder.scene(scene_id), objects) if question.coords]
            answers = model.answer(model.encode_scene(inputs), asked, max_new_tokens=8)
            right += [said.strip().lower() == q.answer for said, q in zip(answers, asked, strict=True)]
        return 100 * sum(right) / len(right)


def _that_count(settings: MiniSettings) -> dict[str, Any]:
    return {k: v for k, v in asdict(settings).items() if k not in ("seed", "tasks", "save_every")}


def slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower())


def share_cores(jobs: int) -> None:
    """In one of `jobs` worker processes: take its part of the cores."""
    torch.set_num_threads(max(1, torch.get_num_threads() // jobs))
