"""The Python interface: load a model and a scan, then answer, ground and caption.

model = load_model("checkpoint")
scene = load_scene("my_scan/")
model.answer(scene, "What colour is the chair?")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from video3d_plugin.arguments import (
    ArgumentError,
    check_count,
    check_flag,
    check_kind,
    check_known,
    check_number,
    check_one_of,
    check_text,
)
from video3d_plugin.errors import DataError
from video3d_plugin.grounding_result import Grounding, grounding_of
from video3d_plugin.loading import load_checkpoint
from video3d_plugin.prompts import ANSWER_PROMPT, CAPTION_PROMPT
from video3d_plugin.questions import Point, as_list, as_point, ground_question, text_question
from video3d_plugin.scene import Question
from video3d_plugin.scene_encoder import (
    PREFIX_ATTENTION,
    SceneEncoder,
    SceneLike,
    check_proposals,
    check_sampling,
    scene_id_of,
)

if TYPE_CHECKING:
    import torch

    from video3d_plugin.engine.base import Engine
    from video3d_plugin.model.prefix.decoding import PrefixAttention
    from video3d_plugin.model.prefix.scene_prefix import ScenePrefix

DEFAULT_BATCH_SIZE = 64  # questions decoded together


class Video3D(SceneEncoder):
    """A model and its processor, for questions about scenes.

    A scene is a `Scene` (from `load_scene`), `SceneInputs`, or a `ScenePrefix` (from `encode_scene`). A `Scene` is
    sampled to at most `max_frames` frames and encoded at its first question. The result is kept in `prefixes`, a cache
    of at most `cache_bytes`, so that later questions cost little more than their own tokens. Changing the model's
    weights invalidates it (see `model.prefix.key`); `prefixes.clear()` empties it.

    Methods take one question and return one result, or take a list and return a list.

    Args:
        model: The model; set to evaluation mode.
        processor: The processor that belongs to it.
        sampler: Name of the sampler that chooses the frames of a Scene.
        max_frames: Frames of a Scene at most.
        cache_bytes: Size of `prefixes` in bytes; None: 2 GiB.
        proposals: Where the proposals of a Scene come from: "gt", NAME or NAME:ARGUMENT of a proposal maker ("auto"),
            or the path of a JSON file of boxes. By default the scene's own; "auto" where it has none.
        prefix_attention: "cascade", or "expanded", the reference implementation, which copies the scene's cache for
            every question of a batch (0.4 GB a question with a 7B model and 32 frames).
        engine: Generates the answers to text questions (`video3d_plugin.engine`); None: the model itself.
        grounding_engine: Gives the hidden states with which descriptions are grounded; None: the model itself.

    >>> model = load_model(checkpoint)
    >>> scene = load_scene(my_scan)
    >>> isinstance(model.answer(scene, "What colour is the chair?", max_new_tokens=8), str)
    True
    >>> len(model.answer(scene, ["How many chairs are there?", "What is on the table?"], max_new_tokens=8))
    2
    """

    def __repr__(self) -> str:
        millions = sum(parameter.numel() for parameter in self.model.parameters()) / 1e6
        parameter = next(self.model.parameters())
        kind = f"{millions:.1f} M parameters, {str(parameter.dtype).removeprefix('torch.')} on {parameter.device}"
        return f"Video3D({kind}; at most {self.max_frames} frames by {self.sampler!r})"

    @overload
    def answer(self, scene: SceneLike, questions: str | Question, **options: Any) -> str: ...
    @overload
    def answer(self, scene: SceneLike, questions: Sequence[str | Question], **options: Any) -> list[str]: ...
    def answer(
        self,
        scene: SceneLike,
        questions: str | Question | Sequence[str | Question],
        *,
        points: Sequence[Point] = (),
        prompt: str = ANSWER_PROMPT,
        max_new_tokens: int = 512,
        batch_size: int = DEFAULT_BATCH_SIZE,
        **sampling: Any,
    ) -> str | list[str]:
        """Answer questions about a scene in text.

        Args:
            scene: The scene.
            questions: One question or a list. Plain text replaces {question} in `prompt`; special tokens in it are
                plain text. A Question is used as it is.
            points: With a single plain question: the points (3,), or boxes (6,) whose centres are taken, that its
                <coord> tokens stand for, in order; world frame, metres. Without points, <coord> is plain text too.
            prompt: Prompt of plain questions. `prompts.FREE_PROMPT` adds nothing to the question.
            max_new_tokens: Tokens of an answer at most.
            batch_size: Questions decoded together.
            **sampling: `do_sample=True` with `temperature`, `top_p`, `top_k` and `generator`. Decoding is greedy by
                default.

        Returns:
            The answer, or a list with one for each question.

        Raises:
            ArgumentError: An argument has a wrong type or range.
            DataError: A question is empty, belongs to another scene, or does not fit the prompt or its points; or a
                point lies outside of the scan.

        >>> model = load_model(checkpoint)
        >>> scene = load_scene(my_scan)
        >>> text = model.answer(scene, "What is at <coord> ?", points=[(1.2, -0.4, 0.5)], max_new_tokens=8)
        """
        single, asked = as_list("questions", questions)
        check_text("prompt", prompt)
        _check_generation(max_new_tokens, batch_size, sampling)
        check_kind("points", points, (Sequence, np.ndarray), "a list of points or boxes")
        points = list(points)
        if points and not (single and isinstance(asked[0], str)):
            raise DataError("points go with a single plain question", remedy="use Question(..., coords=...) otherwise")
        scene_id = scene_id_of(scene)
        coords = tuple(as_point(point) for point in points)
        records = [text_question(q, i, scene_id, prompt, coords) for i, q in enumerate(asked)]
        self.check_inside(scene, coords)
        texts = self._texts(scene, records, max_new_tokens, batch_size, **sampling)
        return texts[0] if single else texts

    @overload
    def ground(  # type: ignore[overload-overlap]  # text is a sequence of texts too; the first that fits counts
        self, scene: SceneLike, descriptions: str | Question, *, several: bool = ..., batch_size: int = ...
    ) -> Grounding: ...
    @overload
    def ground(
        self, scene: SceneLike, descriptions: Sequence[str | Question], *, several: bool = ..., batch_size: int = ...
    ) -> list[Grounding]: ...
    def ground(
        self,
        scene: SceneLike,
        descriptions: str | Question | Sequence[str | Question],
        *,
        several: bool = False,
        batch_size: int = DEFAULT_BATCH_SIZE,
    ) -> Grounding | list[Grounding]:
        """Find the object that a description refers to, among the scene's proposals.

        Args:
            scene: The scene.
            descriptions: One description or a list.
            several: False: exactly one object is meant (the prompt of ScanRefer). True: any number, or none (the prompt
                of Multi3DRefer); all proposals at least half as probable as the best are selected.
            batch_size: Descriptions decoded together.

        Returns:
            All proposals with their scores, best first, and which are selected; a list for a list.

        Raises:
            ArgumentError: An argument has a wrong type.
            DataError: The model has no grounding head, the scene no proposals, a description is empty, or a Question
                belongs to another scene.

        >>> model = load_model(checkpoint)
        >>> result = model.ground(load_scene(my_scan), "the brown chair next to the window")
        >>> result.best.box == result[0].box, len(result.best.box)  # centre and size, world frame, metres
        (True, 6)
        """
        single, asked = as_list("descriptions", descriptions)
        check_flag("several", several)
        check_count("batch_size", batch_size)
        scene_id, head = scene_id_of(scene), self.model.config.head
        records = [ground_question(d, i, scene_id, several) for i, d in enumerate(asked)]
        temperature = head.temperature if head is not None and head.has_zero_target else None
        texts = [d if isinstance(d, str) else d.prompt for d in asked]
        results = [
            grounding_of(text, scores.tolist(), boxes, temperature, several)
            for text, (scores, boxes) in zip(texts, self._scores(scene, records, batch_size), strict=True)
        ]
        return results[0] if single else results

    def ground_scores(
        self, scene: SceneLike, questions: Sequence[str | Question], *, batch_size: int = DEFAULT_BATCH_SIZE
    ) -> list[torch.Tensor]:
        """Return the grounding head's scores of all proposals.

        Args:
            scene: The scene.
            questions: Descriptions.
            batch_size: Descriptions decoded together.

        Returns:
            For each description (N,) float32 scores on the CPU, in the order of the proposals; (N + 1,) with the
            zero-target slot last for a model that has one.
        """
        asked = as_list("questions", questions)[1]
        check_count("batch_size", batch_size)
        records = [ground_question(q, i, scene_id_of(scene), False) for i, q in enumerate(asked)]
        return [scores for scores, _ in self._scores(scene, records, batch_size)]

    @overload
    def caption(self, scene: SceneLike, where: Point, *, max_new_tokens: int = ..., batch_size: int = ...) -> str: ...
    @overload
    def caption(
        self, scene: SceneLike, where: Sequence[Point], *, max_new_tokens: int = ..., batch_size: int = ...
    ) -> list[str]: ...
    def caption(
        self,
        scene: SceneLike,
        where: Point | Sequence[Point],
        *,
        max_new_tokens: int = 512,
        batch_size: int = DEFAULT_BATCH_SIZE,
    ) -> str | list[str]:
        """Describe the object at a point, with the prompt of Scan2Cap.

        Args:
            scene: The scene.
            where: A point (3,), or a box (6,) whose centre is taken; world frame, metres. A list of them, or an array
                (K, 3) or (K, 6), gives a list.
            max_new_tokens: Tokens of a description at most.
            batch_size: Points decoded together.

        Returns:
            The description, or a list of K.

        Raises:
            ArgumentError: `where` is not a point, a box or a list of them.
            DataError: A coordinate is not finite, or a point lies outside of the scan.

        >>> model = load_model(checkpoint)
        >>> scene = load_scene(my_scan)
        >>> isinstance(model.caption(scene, (1.2, -0.4, 0.5), max_new_tokens=8), str)
        True
        >>> len(model.caption(scene, scene.proposals[:2], max_new_tokens=8))
        2
        """
        if isinstance(where, str | bytes) or not hasattr(where, "__len__"):
            raise ArgumentError("where", where, "a point (x, y, z), a box (centre and size), or a list of them")
        _check_generation(max_new_tokens, batch_size, {})
        single = len(where) > 0 and np.ndim(where[0]) == 0
        places: Sequence[Any] = [where] if single else where
        points = [as_point(place) for place in places]
        scene_id = scene_id_of(scene)
        self.check_inside(scene, points)
        questions = [
            Question("caption", str(i), scene_id, CAPTION_PROMPT, coords=(point,)) for i, point in enumerate(points)
        ]
        texts = self._texts(scene, questions, max_new_tokens, batch_size)
        return texts[0] if single else texts

    def _texts(
        self, scene: SceneLike, questions: Sequence[Question], max_new_tokens: int, batch_size: int, **sampling: Any
    ) -> list[str]:
        answer = self._answering(sampling)

        def work(prefix: ScenePrefix, some: Sequence[Question]) -> list[str]:
            return [text for batch in _batches(some, batch_size) for text in answer(prefix, batch, max_new_tokens)]

        return self.by_frames(scene, questions, work)

    def _answering(self, sampling: Mapping[str, Any]) -> Callable[[ScenePrefix, Sequence[Question], int], list[str]]:
        """Return the function that answers a batch: the model's own, or the engine's."""
        engine = self.engine
        if engine is not None:
            from video3d_plugin.engine.answers import answer as ask_engine

            if "prefix_attention" in sampling:
                raise ArgumentError("prefix_attention", sampling["prefix_attention"], "nothing where an engine answers")
            return lambda prefix, batch, count: ask_engine(
                self.model, self.processor, engine, prefix, batch, count, **sampling
            )
        from video3d_plugin.model.prefix.inference import answer

        options = {"prefix_attention": self.prefix_attention, **sampling}
        return lambda prefix, batch, count: answer(
            self.model, self.processor, self.with_cache(prefix), batch, count, **options
        )

    def _scores(
        self, scene: SceneLike, questions: Sequence[Question], batch_size: int
    ) -> list[tuple[torch.Tensor, np.ndarray]]:
        """Return for each question the scores, and the boxes (N, 6) that they belong to."""
        from video3d_plugin.model.prefix.inference import ground

        def score(prefix: ScenePrefix, batch: Sequence[Question]) -> list[torch.Tensor]:
            if self.grounding_engine is None:
                return ground(self.model, self.processor, self.with_cache(prefix), batch, self.prefix_attention)
            from video3d_plugin.engine.answers import ground as ground_by_states

            return ground_by_states(self.model, self.processor, self.grounding_engine, prefix, batch)

        def work(prefix: ScenePrefix, some: Sequence[Question]) -> list[tuple[torch.Tensor, np.ndarray]]:
            boxes = prefix.boxes.cpu().numpy()
            return [(scores.cpu(), boxes) for batch in _batches(some, batch_size) for scores in score(prefix, batch)]

        return self.by_frames(scene, questions, work)


def load_model(
    path: str | Path | None = None,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    attn_implementation: str = "sdpa",
    lora: str | Path | None = None,
    prefix_attention: PrefixAttention = "cascade",
    sampler: str | None = None,
    max_frames: int | None = None,
    model_class: str | None = None,
    proposals: str | None = None,
    coordinate_dtype: str | None = None,
    clamp_points: bool | None = None,
    engine: Engine | None = None,
    **options: Any,
) -> Video3D:
    """Load a checkpoint for questions about scenes.

    Args:
        path: A checkpoint's folder, of this package or of LLaVA-NeXT, an adapter's folder, or a hub name. By default
            the small checkpoint that the package ships.
        device: Such as "cpu" or "cuda:0"; by default "cuda" where there is a GPU. Not together with `device_map`.
        dtype: "float32", "bfloat16", "float16" or a torch.dtype; by default bfloat16 on a GPU, float32 on a CPU.
        attn_implementation: Attention of the language model, as transformers names it.
        lora: Folder of a PEFT adapter (with its non_lora_trainables.bin), which is merged into the model.
        prefix_attention: See `Video3D`.
        sampler: Name of the frame sampler; by default that of the training, from the adapter's or the checkpoint's
            training.json, else "uniform".
        max_frames: Frames of a scene at most; by default those of the training, else 32, as for the published weights.
        model_class: Name of a registered model (entry points `video3d.models`) to load the checkpoint as; by default
            the one that wrote it. Parts that the checkpoint lacks are initialised.
        proposals: See `Video3D`.
        coordinate_dtype: Number format to which coordinates are rounded: "float32", "float16" or "bfloat16"; by default
            that of the checkpoint's config.json, else float16 for a published checkpoint, as in its evaluation, and
            float32 for others. See docs/conventions.md.
        clamp_points: Whether points are clamped to the extent of the scan's surface voxels, for checkpoints that were
            trained so (`mc-norm`); by default as the checkpoint's config.json says, else False.
        engine: See `Video3D`.
        **options: Passed to `from_pretrained`: `device_map`, `quantization_config`, ...; `load_in_8bit` and
            `load_in_4bit` quantise the language model (`model.checkpoint.quantised`).

    Returns:
        The model, ready for questions.

    Raises:
        ArgumentError: An argument has a wrong type or value.
        MissingError: The checkpoint or a file of it is missing.
        DataError: The checkpoint, the device or the number format cannot be used.

    >>> model = load_model(checkpoint, max_frames=4)
    >>> model.max_frames, model.sampler, model.spec.image_size > 0
    (4, 'uniform', True)
    """
    check_one_of("prefix_attention", prefix_attention, PREFIX_ATTENTION)
    check_sampling(sampler, max_frames)
    check_proposals(proposals)
    loaded = load_checkpoint(
        path,
        device=device,
        dtype=dtype,
        attn_implementation=attn_implementation,
        lora=lora,
        model_class=model_class,
        coordinate_dtype=coordinate_dtype,
        clamp_points=clamp_points,
        **options,
    )
    return Video3D(
        loaded.model,
        loaded.processor,
        sampler=sampler or loaded.sampler,
        max_frames=max_frames or loaded.max_frames,
        prefix_attention=prefix_attention,
        proposals=proposals,
        engine=engine,
    )


def _check_generation(max_new_tokens: int, batch_size: int, sampling: Mapping[str, Any]) -> None:
    check_count("max_new_tokens", max_new_tokens, 0)
    check_count("batch_size", batch_size)
    check_known("answer", sampling, ("do_sample", "temperature", "top_p", "top_k", "generator", "prefix_attention"))
    if "temperature" in sampling:
        check_number("temperature", sampling["temperature"], 1e-6, 1e6)
    if "top_p" in sampling:
        check_number("top_p", sampling["top_p"], 1e-6, 1)
    check_count("top_k", sampling.get("top_k", 0), 0)
    check_flag("do_sample", sampling.get("do_sample", False))


def _batches(items: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    return (items[i : i + size] for i in range(0, len(items), size))
