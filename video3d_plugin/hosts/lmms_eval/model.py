"""`lmms-eval --model video3d`: the adapter between lmms-eval's requests and this package's model.

lmms-eval passes the requests of all tasks at once. They are grouped by scene. A scene is encoded once for all its
questions, while a thread loads the next scene. Text questions are answered in batches; grounding questions are answered
with the scores of the scene's proposals as a JSON string, since lmms-eval passes strings only.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

from lmms_eval.api.model import lmms
from tqdm import tqdm

from video3d_plugin.errors import Video3DError
from video3d_plugin.files.prefetch import prefetch
from video3d_plugin.hosts.lmms_eval import cache_fingerprint
from video3d_plugin.hosts.lmms_eval.batching import AdaptiveBatches, group_sorted, is_out_of_memory, release_memory
from video3d_plugin.hosts.lmms_eval.engines import connect
from video3d_plugin.hosts.lmms_eval.generation import Generation
from video3d_plugin.hosts.lmms_eval.host_tasks import NOT_PREPARED, question_of_host, without_scene
from video3d_plugin.hosts.lmms_eval.options import PROPOSALS, ModelOptions
from video3d_plugin.hosts.lmms_eval.questions import (
    QuestionRequest,
    grounding_answer,
    is_scene_doc,
    is_undetected,
    question_from_doc,
)
from video3d_plugin.hosts.lmms_eval.state import STATE
from video3d_plugin.sampling.registry import reads_question
from video3d_plugin.scene import SceneInputs

if TYPE_CHECKING:
    from lmms_eval.api.instance import Instance

    from video3d_plugin.pipeline import Video3D

log = logging.getLogger(__name__)

NEEDED_PATCHES = ("lmms_eval_errors", "lmms_eval_file_locks", "lmms_eval_response_cache")


class Video3DLmms(lmms):
    """The model class that lmms-eval loads for `--model video3d`.

    Args:
        **model_args: Arguments of --model_args, see `hosts.lmms_eval.options.ModelOptions`.

    Raises:
        Video3DError: An argument, the checkpoint or the data folder is not valid.

    Attributes:
        model_class: The registered model that checkpoints are loaded as; None for the one that wrote them.
    """

    is_simple = True
    model_class: str | None = None

    def __init__(self, **model_args: Any) -> None:
        super().__init__()
        options = ModelOptions.from_model_args(model_args)
        apply_needed_patches()
        self.when_answered = None  # set by the patch of the response cache: store(request, response)
        self.data = STATE.open_data(options.data)  # before the weights: a missing folder fails at once
        self._device = device_of_this_rank(options.device)
        self.video3d = (
            load(options, self._device)
            if self.model_class is None
            else load(options, self._device, model_class=self.model_class)
        )
        if options.engine is not None:
            connect(self.video3d, options)
        # lmms-eval selects a task's options by the name of the model, and the tasks know video3d's alone.
        STATE.current.reads_scenes = self.model_class is not None
        self.options = options.resolved(self.video3d.sampler, self.video3d.max_frames)
        self.made_proposals: dict[str, Any] = {}  # (N, 6) boxes by scene id
        self.batches = AdaptiveBatches(options.batch_size)
        self.fingerprint = self.options.fingerprint(
            cache_fingerprint.of_checkpoint(options.pretrained, options.lora),
            str(self.video3d.model.dtype),
            cache_fingerprint.of_add_ons(type(self.video3d.model), str(self.options.sampler), self.options.proposals),
        )
        STATE.model_fingerprint = self.fingerprint

    @property
    def batch_size(self) -> int:
        """Number of questions answered at a time; smaller than the option after memory ran out."""
        return self.batches.size

    @property
    def device(self) -> Any:
        """The torch device."""
        return self._device

    def loglikelihood(self, requests: Any) -> Any:
        """Not supported."""
        raise Video3DError("--model video3d computes no likelihoods (choose other tasks)")

    def generate_until_multi_round(self, requests: Any) -> Any:
        """Not supported."""
        raise Video3DError("--model video3d does not support several rounds (choose tasks of one round)")

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        """Answer questions.

        Args:
            requests: Requests of any tasks, with their `generation_kwargs` (see `hosts.lmms_eval.generation`).

        Returns:
            Answers in the order of the requests; "" where a question was left unanswered, with the reason in STATE.

        Raises:
            Video3DError: An option of generation is not known, or not allowed.
        """
        answers = [""] * len(requests)
        answerable = [request for request in self._question_requests(requests) if not is_undetected(request.question)]
        by_scene = group_sorted(answerable, key=lambda r: r.question.scene_id, order=lambda r: r.order)
        hidden = True if self.rank else None  # None: shown on a terminal only
        with tqdm(total=len(answerable), unit="question", desc=f"0/{len(by_scene)} scenes", disable=hidden) as bar:
            for number, (scene_id, loading, group) in self._load_scenes(by_scene):
                bar.set_description(f"{number}/{len(by_scene)} scenes")
                for request, answer in self._answer_scene(scene_id, loading, group):
                    answers[request.position] = answer
                    if self.when_answered is not None:
                        self.when_answered(request.request, answer)
                    bar.update()
        summary = STATE.summary()
        if summary is not None:
            log.warning(summary)
        return answers

    def load_scene(self, scene_id: str, frames: Sequence[int] | None = None) -> SceneInputs:
        """Read the model's inputs of a prepared scene.

        Args:
            scene_id: Id of the scene.
            frames: Indices of the frames to use; by default those that the sampler selects.
        """
        options: Any = self.options  # resolved: its sampler and max_frames are set
        return self.data.inputs(
            scene_id,
            self.video3d.spec,
            sampler=options.sampler,
            max_frames=options.max_frames,
            proposals=self._proposals(scene_id),
            frames=frames,
        )

    def _proposals(self, scene_id: str) -> Any:
        """Return the option `proposals`, or the boxes of its maker, which runs once for a scene."""
        if self.options.proposals in PROPOSALS:
            return self.options.proposals
        if scene_id not in self.made_proposals:
            from video3d_plugin.data.proposals import replace_proposals

            scene = replace_proposals(self.data.scene(scene_id), self.options.proposals)
            self.made_proposals[scene_id] = scene.proposals
        return self.made_proposals[scene_id]

    def _load_scenes(
        self, by_scene: dict[str, list[QuestionRequest]]
    ) -> Iterator[tuple[int, tuple[str, Future[SceneInputs], list[QuestionRequest]]]]:
        """Yield (number of the scene, (scene id, its inputs to come, the requests that see them)).

        A scene comes once, or for a sampler that selects frames for each question, once for each selection.
        """
        if not reads_question(str(self.options.sampler)):
            for number, (scene_id, loading) in enumerate(prefetch(list(by_scene), self.load_scene), 1):
                yield number, (scene_id, loading, by_scene[scene_id])
            return
        for number, (scene_id, requests) in enumerate(by_scene.items(), 1):
            groups = self._group_by_frames(scene_id, requests)
            for frames, loading in prefetch(list(groups), partial(self.load_scene, scene_id)):
                yield number, (scene_id, loading, groups[frames])

    def _group_by_frames(
        self, scene_id: str, requests: list[QuestionRequest]
    ) -> dict[tuple[int, ...], list[QuestionRequest]]:
        """Group requests about a scene that see the same frames; those without frames are left unanswered."""
        options: Any = self.options
        groups: dict[tuple[int, ...], list[QuestionRequest]] = {}
        for request in requests:
            try:
                frames = self.data.frames(scene_id, options.sampler, options.max_frames, request.question)
            except (Video3DError, OSError) as error:
                _note_unanswered([request], str(error))
                continue
            groups.setdefault(tuple(frames), []).append(request)
        return groups

    def _question_requests(self, requests: Sequence[Instance]) -> list[QuestionRequest]:
        result = []
        asked: Counter[tuple[str, str]] = Counter()
        for position, request in enumerate(requests):
            if (request.metadata or {}).get("__padding_only__"):
                continue  # synchronises ranks that communicate; these do not
            text, options, _, doc_id, task, split = request.args
            doc = self.task_dict[task][split][doc_id]
            of_host = not is_scene_doc(doc)
            question = question_of_host(task, doc_id, doc, text) if of_host else question_from_doc(doc)
            repetition = asked[question.task, question.item_id]
            asked[question.task, question.item_id] += 1
            result.append(QuestionRequest(position, request, question, Generation.of(options), repetition, of_host))
        return self._about_prepared_scenes(result)

    def _about_prepared_scenes(self, requests: list[QuestionRequest]) -> list[QuestionRequest]:
        """Leave questions of lmms-eval's own tasks unanswered whose scenes are not prepared."""
        of_host = [request for request in requests if request.of_host]
        if not of_host:
            return requests
        missing = without_scene(of_host, self.data.scene_ids, self.data.path)
        for task in sorted({request.question.task for request in of_host}):
            log.warning("%s: answered from the prepared frames of each scene, not from the task's own video", task)
        for request in missing:
            _note_unanswered([request], f"{request.question.task}: {NOT_PREPARED}")
        left_out = {request.position for request in missing}
        return [request for request in requests if request.position not in left_out]

    def _answer_scene(
        self, scene_id: str, loading: Future[SceneInputs], requests: list[QuestionRequest]
    ) -> Iterator[tuple[QuestionRequest, str]]:
        """Yield (request, answer). Questions about a scene that cannot be read or does not fit are left unanswered."""
        try:
            inputs = loading.result()
            prefix = self.video3d.encode_scene(inputs)
        except (Video3DError, OSError) as error:
            _note_unanswered(requests, str(error))
            return
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            release_memory()
            _note_unanswered(
                requests, f"{scene_id}: out of memory with {self.options.max_frames} frames (lower max_frames)"
            )
            return
        for group in group_sorted(
            requests, key=lambda request: request.batch_key, order=lambda request: request.order
        ).values():
            yield from self._answer_group(prefix, inputs, group)

    def _answer_group(
        self, prefix: Any, inputs: SceneInputs, requests: list[QuestionRequest]
    ) -> Iterator[tuple[QuestionRequest, str]]:
        """Yield (request, answer). A question that cannot be answered does not affect the others of its batch."""
        done = 0
        answers = self.batches.run(requests, lambda batch: self._answer_batch(prefix, inputs, batch))
        try:
            for request, answer in zip(requests, answers, strict=True):
                done += 1
                yield request, answer
        except Video3DError as error:
            if len(requests) == 1:
                _note_unanswered(requests, str(error))
                return
            for request in requests[done:]:
                yield from self._answer_group(prefix, inputs, [request])
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            release_memory()
            _note_unanswered(requests[done:], f"{inputs.scene_id}: out of memory with one question (lower max_frames)")

    def _answer_batch(self, prefix: Any, inputs: SceneInputs, requests: Sequence[QuestionRequest]) -> list[str]:
        questions = [request.question for request in requests]
        if questions[0].is_grounding:
            all_scores = self.video3d.ground_scores(prefix, questions, batch_size=len(questions))
            return [grounding_answer(scores, inputs) for scores in all_scores]
        generation = requests[0].generation
        sampling = generation.sampling(questions, requests[0].repetition, self._device)
        limit = generation.max_new_tokens
        answers = self.video3d.answer(prefix, questions, max_new_tokens=limit, batch_size=len(questions), **sampling)
        return [generation.ended(answer) for answer in answers]


def _note_unanswered(requests: Sequence[QuestionRequest], reason: str) -> None:
    for request in requests:
        question = request.question
        STATE.note_unanswered(question.task, question.scene_id, question.item_id, reason)


def load(options: ModelOptions, device: Any, model_class: str | None = None) -> Video3D:
    """Load the checkpoint.

    Args:
        options: Options of the model. Those that are None are left to `pipeline.load_model`.
        device: The torch device.
        model_class: The registered model to load the checkpoint as; None for the one that wrote it.
    """
    from video3d_plugin.pipeline import load_model

    arguments: dict[str, Any] = {
        "prefix_attention": options.prefix_attention,
        "dtype": None if options.dtype == "auto" else options.dtype,
        "attn_implementation": options.attn_implementation,
        "lora": options.lora,
        "sampler": options.sampler,
        "max_frames": options.max_frames,
        "model_class": model_class,
        "coordinate_dtype": options.coordinate_dtype,
        "clamp_points": options.clamp_points,
    }
    arguments = {name: value for name, value in arguments.items() if value is not None}
    return load_model(options.pretrained, device=str(device), **arguments)


def device_of_this_rank(device: str | None) -> Any:
    """Return the torch device of this rank. With several GPUs, each rank of a machine has its own.

    Args:
        device: cpu, cuda or cuda:N; None for a GPU if there is one.

    Raises:
        Video3DError: CUDA is requested and torch finds no GPU.
    """
    import torch

    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
    result = torch.device(device)
    if result.type == "cuda" and not torch.cuda.is_available():
        raise Video3DError(f"device={device}: torch finds no GPU (use device=cpu, or mend the driver)")
    if result.type == "cuda":
        torch.cuda.set_device(result)
    return result


def apply_needed_patches() -> None:
    """Apply the patches of lmms-eval that this model needs, where the start-up hook has not done so.

    The hook may be turned off, or lmms-eval may have been imported before it was installed.
    """
    from video3d_plugin.patches import registry

    registry.require(*NEEDED_PATCHES)
