"""`lmms-eval --model video3d`: the adapter between lmms-eval's requests and this package's model.

lmms-eval hands over all tasks' requests at once. They are grouped by scene; a scene is encoded once and its prefix
serves all its questions, while a thread loads the next scene. Text questions are answered in batches, grounding
questions with the scores of the scene's proposals, as a JSON string: lmms-eval carries nothing but strings.
"""

from __future__ import annotations

import difflib
import inspect
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmms_eval.api.model import lmms
from tqdm import tqdm

from video3d_plugin.errors import DataError, Video3DError
from video3d_plugin.files.prefetch import prefetch
from video3d_plugin.hosts.lmms_eval import active_data, cache_fingerprint, unanswered
from video3d_plugin.hosts.lmms_eval.batching import Batches, by_key, is_out_of_memory, release_memory
from video3d_plugin.prompts import GROUND_ANSWER
from video3d_plugin.scene import Question, SceneInputs
from video3d_plugin.tasks import is_grounding, needs_point

if TYPE_CHECKING:
    from lmms_eval.api.instance import Instance

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


def registry_checked(sampler: str) -> str:
    """The sampler's name; an unknown one is an error that lists the known, before any weight is loaded."""
    from video3d_plugin.sampling import registry

    registry.get(sampler)
    return sampler


class Video3DLmms(lmms):
    """The model as lmms-eval knows it. Arguments are those of --model_args, plus what lmms-eval adds itself.

    pretrained           checkpoint folder, or a name on the hub
    data                 data folder; overrides VIDEO3D_DATA
    batch_size           questions answered at a time; 1 gives the same digits whatever else is asked
    max_frames, sampler  how a scene is seen: at most so many frames, chosen by this sampler; None: as in the
                         checkpoint's training (training.json), else 32 and uniform, as the published weights were
    proposals            "pred" (the scene's predicted boxes) or "gt" (its annotated ones)
    dtype                auto, float32, bfloat16 or float16
    attn_implementation  sdpa, eager or flash_attention_2; None: the best that is installed
    lora                 folder of a LoRA adapter
    prefix_attention     cascade, or expanded (slower: a copy of the scene's cache for each question); see model.prefix
    device               cpu, cuda or cuda:N; None: the GPU of this rank where there is one
    """

    is_simple = True

    def __init__(
        self,
        pretrained: str | None = None,
        data: str | None = None,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        device: str | None = None,
        max_frames: int | None = None,
        sampler: str | None = None,
        dtype: str = "auto",
        attn_implementation: str | None = None,
        lora: str | None = None,
        proposals: str = "pred",
        prefix_attention: str = "cascade",
        **unknown: Any,
    ) -> None:
        super().__init__()
        self._refuse_unknown(unknown)
        if pretrained is None:
            raise Video3DError("--model video3d needs a checkpoint (--model_args pretrained=FOLDER)")
        if proposals not in ("pred", "gt"):
            raise Video3DError(f"proposals={proposals} is not known (known: pred, gt)")
        if prefix_attention not in ("cascade", "expanded"):
            raise Video3DError(f"prefix_attention={prefix_attention} is not known (known: cascade, expanded)")
        apply_needed_patches()
        self.when_answered = None  # the response cache's patch puts a function here: store(request, response)
        self.data = active_data.choose(data)  # before the weights: a missing folder is said at once
        self.proposals = proposals
        self.max_frames = None if max_frames is None else _number("max_frames", max_frames)
        self.sampler = None if sampler is None else registry_checked(str(sampler))
        self.batches = Batches(_batch_size(batch_size, max_batch_size))
        self.batch_size = self.batches.size
        self._device = device_of_this_rank(device)
        self.video3d = load(pretrained, self._device, dtype, attn_implementation, lora)
        self.video3d.prefix_attention = prefix_attention
        self.max_frames = self.max_frames or self.video3d.max_frames
        self.sampler = self.sampler or registry_checked(self.video3d.sampler)
        how = [self.video3d.model.dtype, self.sampler, self.max_frames, self.proposals]
        checkpoint = cache_fingerprint.of_checkpoint(pretrained, lora)
        self.video3d_identity = "/".join(map(str, [checkpoint, *how, attn_implementation, prefix_attention]))
        cache_fingerprint.model_made(self.video3d_identity)

    @staticmethod
    def _refuse_unknown(unknown: dict) -> None:
        known = [name for name in inspect.signature(Video3DLmms.__init__).parameters if name not in ("self", "unknown")]
        for name in unknown:
            guess = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {guess[0]}?" if guess else f"known: {', '.join(known)}"
            raise Video3DError(f"--model_args {name} is not known ({hint})")

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
            for number, (scene_id, loading) in enumerate(prefetch(list(jobs), self.load_scene), 1):
                bar.set_description(f"{number}/{len(jobs)} scenes")
                for job, answer in self._answer_scene(scene_id, loading, jobs[scene_id]):
                    answers[job.position] = answer
                    if self.when_answered is not None:
                        self.when_answered(job.request, answer)
                    bar.update()
        if unanswered.summary():
            log.warning(unanswered.summary())
        return answers

    def load_scene(self, scene_id: str) -> SceneInputs:
        return self.data.inputs(
            scene_id,
            self.video3d.spec,
            sampler=self.sampler,
            max_frames=self.max_frames,
            proposals=self.proposals,
        )

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
            self._leave_open(jobs, f"{scene_id}: out of memory with {self.max_frames} frames (lower max_frames)")
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
            unanswered.note_unanswered(job.question.task, job.question.scene_id, job.question.item_id, reason)


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


def load(pretrained: str, device, dtype: str, attn_implementation: str | None, lora: str | None):
    """`pipeline.load_model`, with the arguments that were left open left to it."""
    from video3d_plugin.pipeline import load_model

    chosen = {"dtype": None if dtype == "auto" else dtype, "attn_implementation": attn_implementation, "lora": lora}
    return load_model(pretrained, device=str(device), **{k: v for k, v in chosen.items() if v is not None})


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


def _batch_size(batch_size: int | str, max_batch_size: int | None) -> int:
    """A number; `auto` starts with max_batch_size (or 16) and halves where memory runs out."""
    if isinstance(batch_size, str) and batch_size.startswith("auto"):
        return _number("max_batch_size", max_batch_size or 16)
    return _number("batch_size", batch_size)


def _number(name: str, value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = 0
    if number < 1 or (isinstance(value, float) and value != number):
        raise Video3DError(f"{name}={value} is not a whole number above 0")
    return number
