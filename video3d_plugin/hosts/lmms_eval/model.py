"""`lmms-eval --model video3d`: the adapter between lmms-eval's requests and this package's model.

lmms-eval hands over all tasks' requests at once. They are grouped by scene; a scene is encoded once and its prefix
serves all its questions, while a thread loads the next scene. Text questions are answered in batches, grounding
questions with the scores of the scene's proposals, as a JSON string: lmms-eval carries nothing but strings.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from lmms_eval.api.model import lmms
from tqdm import tqdm

from video3d_plugin.errors import DataError, Video3DError
from video3d_plugin.files.prefetch import prefetch
from video3d_plugin.hosts.lmms_eval import cache_fingerprint
from video3d_plugin.hosts.lmms_eval.batching import Batches, by_key, is_out_of_memory, release_memory
from video3d_plugin.hosts.lmms_eval.options import ModelOptions
from video3d_plugin.hosts.lmms_eval.state import STATE
from video3d_plugin.prompts import GROUND_ANSWER
from video3d_plugin.sampling.registry import reads_question
from video3d_plugin.scene import Question, SceneInputs
from video3d_plugin.tasks import is_grounding, needs_point

if TYPE_CHECKING:
    from lmms_eval.api.instance import Instance

    from video3d_plugin.pipeline import Video3D

log = logging.getLogger(__name__)

MAX_NEW_TOKENS = 512
NEEDED_PATCHES = ("lmms_eval_errors", "lmms_eval_file_locks", "lmms_eval_response_cache")


@dataclass(frozen=True)
class Job:
    """One request: where its answer goes, what is asked, and how long the answer may be."""

    position: int
    request: Any
    question: Question
    max_new_tokens: int

    @property
    def order(self) -> tuple[str, str, str, int]:
        """Requests in any order, on any number of ranks, are asked in this one."""
        return (self.question.scene_id, self.question.task, self.question.item_id, self.position)


def question_of(doc: dict) -> Question:
    """The question of an evaluation doc, with the prompt that the published weights were trained with.

    Raises DataError for a doc of another benchmark: this model answers questions about scenes.
    """
    missing = [name for name in ("task", "item_id", "scene_id", "prompt") if name not in doc]
    if missing:
        raise DataError(
            f"a question without {', '.join(missing)}: it is not about a prepared scene",
            where="--model video3d",
            remedy="choose among this package's tasks, e.g. --tasks video3d_all",
        )
    return Question(
        task=doc["task"],
        item_id=str(doc["item_id"]),
        scene_id=doc["scene_id"],
        prompt=doc["prompt"],
        answer=GROUND_ANSWER if is_grounding(doc["task"]) else None,
        coords=tuple(tuple(float(v) for v in point) for point in doc.get("coords") or ()),
    )


def is_undetected(question: Question) -> bool:
    """No proposal overlaps the object enough to point at it. By Scan2Cap's protocol its caption is empty."""
    return needs_point(question.task) and not question.coords


class Video3DLmms(lmms):
    """The model as lmms-eval knows it; `hosts.lmms_eval.options.ModelOptions` lists the arguments of --model_args.

    Attributes:
        model_class: The registered model that checkpoints are loaded as; None for the one that wrote them.
    """

    is_simple = True
    model_class: str | None = None

    def __init__(self, **model_args: Any) -> None:
        super().__init__()
        options = ModelOptions.from_model_args(model_args)
        apply_needed_patches()
        self.when_answered = None  # the response cache's patch puts a function here: store(request, response)
        self.data = STATE.open_data(options.data)  # before the weights: a missing folder is said at once
        self._device = device_of_this_rank(options.device)
        self.video3d = (
            load(options, self._device)
            if self.model_class is None
            else load(options, self._device, model_class=self.model_class)
        )
        # lmms-eval selects a task's options by the name of the model, and the tasks know video3d's alone.
        STATE.current.reads_scenes = self.model_class is not None
        self.options = options.resolved(self.video3d.sampler, self.video3d.max_frames)
        self.batches = Batches(options.batch_size)
        self.fingerprint = self.options.fingerprint(
            cache_fingerprint.of_checkpoint(options.pretrained, options.lora),
            str(self.video3d.model.dtype),
            cache_fingerprint.of_add_ons(type(self.video3d.model), self.options.sampler),
        )
        STATE.model_fingerprint = self.fingerprint

    @property
    def batch_size(self) -> int:
        return self.batches.size

    @property
    def device(self):
        return self._device

    def loglikelihood(self, requests):
        raise Video3DError("--model video3d answers and grounds; it gives no likelihoods (choose other tasks)")

    def generate_until_multi_round(self, requests):
        raise Video3DError("--model video3d answers single questions (choose tasks of one round)")

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        """Answers in the order of the requests. Greedy; `until` is not used: the model ends its own answers."""
        answers = [""] * len(requests)
        jobs = by_key(self._jobs(requests), key=lambda job: job.question.scene_id, order=lambda job: job.order)
        jobs = {scene: kept for scene, listed in jobs.items() if (kept := self._worth_asking(listed))}
        total = sum(map(len, jobs.values()))
        hidden = True if self.rank else None  # None: shown on a terminal only
        with tqdm(total=total, unit="question", desc=f"0/{len(jobs)} scenes", disable=hidden) as bar:
            for number, (scene_id, loading, asked) in self._loaded(jobs):
                bar.set_description(f"{number}/{len(jobs)} scenes")
                for job, answer in self._answer_scene(scene_id, loading, asked):
                    answers[job.position] = answer
                    if self.when_answered is not None:
                        self.when_answered(job.request, answer)
                    bar.update()
        summary = STATE.summary()
        if summary is not None:
            log.warning(summary)
        return answers

    def load_scene(self, scene_id: str, question: Question | None = None) -> SceneInputs:
        return self.data.inputs(
            scene_id,
            self.video3d.spec,
            sampler=self.options.sampler,
            max_frames=self.options.max_frames,
            proposals=self.options.proposals,
            **({} if question is None else {"question": question}),
        )

    def _loaded(self, jobs: dict[str, list[Job]]) -> Iterator[tuple[int, tuple[str, Future, list[Job]]]]:
        """Yield (number of the scene, (scene id, its inputs to come, the jobs that see them)).

        A scene comes once, or for a sampler that chooses frames for each question, once for each choice.
        """
        if not reads_question(self.options.sampler):
            for number, (scene_id, loading) in enumerate(prefetch(list(jobs), self.load_scene), 1):
                yield number, (scene_id, loading, jobs[scene_id])
            return
        for number, (scene_id, listed) in enumerate(jobs.items(), 1):
            groups = self._by_frames(scene_id, listed)
            questions = [group[0].question for group in groups]
            load = partial(_load_for, self, scene_id, questions)
            for index, loading in prefetch(range(len(groups)), load):
                yield number, (scene_id, loading, groups[index])

    def _by_frames(self, scene_id: str, jobs: list[Job]) -> list[list[Job]]:
        """Group jobs of a scene whose questions get the same frames. Where none can be chosen, they stay open."""
        groups: dict[tuple[int, ...], list[Job]] = {}
        for job in jobs:
            try:
                frames = self.data.frames(scene_id, self.options.sampler, self.options.max_frames, job.question)
            except (Video3DError, OSError) as error:
                self._leave_open([job], str(error))
                continue
            groups.setdefault(tuple(frames), []).append(job)
        return list(groups.values())

    def _jobs(self, requests: Sequence[Instance]) -> list[Job]:
        jobs = []
        for position, request in enumerate(requests):
            if (request.metadata or {}).get("__padding_only__"):
                continue  # keeps ranks in step for models that talk to each other; this one does not
            _, options, _, doc_id, task, split = request.args
            question = question_of(self.task_dict[task][split][doc_id])
            jobs.append(Job(position, request, question, _max_new_tokens(options)))
        return jobs

    @staticmethod
    def _worth_asking(jobs: list[Job]) -> list[Job]:
        return [job for job in jobs if not is_undetected(job.question)]

    def _answer_scene(self, scene_id: str, loading, jobs: list[Job]):
        """Yield (job, answer). A scene that cannot be read or does not fit leaves its questions open, and says why."""
        try:
            inputs = loading.result()
            prefix = self.video3d.encode_scene(inputs)
        except (Video3DError, OSError) as error:
            self._leave_open(jobs, str(error))
            return
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            release_memory()
            self._leave_open(
                jobs, f"{scene_id}: out of memory with {self.options.max_frames} frames (lower max_frames)"
            )
            return
        for group in by_key(jobs, key=_kind, order=lambda job: job.order).values():
            yield from self._answer_group(prefix, inputs, group)

    def _answer_group(self, prefix, inputs: SceneInputs, jobs: list[Job]):
        """Yield (job, answer); of a batch with a question that cannot be answered, the others still are."""
        done = 0
        answers = self.batches.run(jobs, lambda batch: self._ask(prefix, inputs, batch))
        try:
            for job, answer in zip(jobs, answers, strict=True):
                done += 1
                yield job, answer
        except Video3DError as error:
            if len(jobs) == 1:
                self._leave_open(jobs, str(error))
                return
            for job in jobs[done:]:
                yield from self._answer_group(prefix, inputs, [job])
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            release_memory()
            self._leave_open(jobs[done:], f"{inputs.scene_id}: out of memory with one question (lower max_frames)")

    def _ask(self, prefix, inputs: SceneInputs, jobs: Sequence[Job]) -> list[str]:
        questions = [job.question for job in jobs]
        if questions[0].is_grounding:
            found = self.video3d.ground_scores(prefix, questions, batch_size=len(questions))
            return [grounding_answer(scores, inputs) for scores in found]
        limit = jobs[0].max_new_tokens
        return self.video3d.answer(prefix, questions, max_new_tokens=limit, batch_size=len(questions))

    @staticmethod
    def _leave_open(jobs: list[Job], reason: str) -> None:
        for job in jobs:
            STATE.note_unanswered(job.question.task, job.question.scene_id, job.question.item_id, reason)


def _load_for(model: Video3DLmms, scene_id: str, questions: Sequence[Question], index: int) -> SceneInputs:
    return model.load_scene(scene_id, questions[index])


def _kind(job: Job) -> tuple[bool, int]:
    """What can share a batch: all grounding questions, and text questions of the same length limit."""
    return (job.question.is_grounding, 0 if job.question.is_grounding else job.max_new_tokens)


def grounding_answer(scores: Any, inputs: SceneInputs) -> str:
    """{"scores": [...], "boxes": [[x, y, z, dx, dy, dz], ...]}: a score a proposal, then, if the model has one, the
    score of "nothing is there". Metres, world frame; the shortest decimals that are the same float32."""
    boxes = [_decimals(box) for box in inputs.proposals.tolist()]
    return json.dumps({"scores": _decimals(scores.tolist()), "boxes": boxes})


def _decimals(values: Sequence[float]) -> list[float]:
    import numpy as np

    return [float(str(np.float32(value))) for value in values]


def load(options: ModelOptions, device: Any, model_class: str | None = None) -> Video3D:
    """Load the checkpoint; what the options leave open is left to `pipeline.load_model`."""
    from video3d_plugin.pipeline import load_model

    given = {
        "dtype": None if options.dtype == "auto" else options.dtype,
        "attn_implementation": options.attn_implementation,
        "lora": options.lora,
        "sampler": options.sampler,
        "max_frames": options.max_frames,
        "model_class": model_class,
    }
    given = {name: value for name, value in given.items() if value is not None}
    return load_model(options.pretrained, device=str(device), prefix_attention=options.prefix_attention, **given)


def device_of_this_rank(device: str | None):
    """The device to use: of several GPUs, each rank of this machine takes its own."""
    import torch

    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
    chosen = torch.device(device)
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise Video3DError(f"device={device}: torch finds no GPU (use device=cpu, or mend the driver)")
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    return chosen


def apply_needed_patches() -> None:
    """Where the start-up hook is off, or this process imported lmms-eval before it was installed."""
    from video3d_plugin.patches import registry

    registry.require(*NEEDED_PATCHES)


def _max_new_tokens(options: dict | None) -> int:
    return int((options or {}).get("max_new_tokens") or MAX_NEW_TOKENS)
