"""The model for people who ask it things: load a model and a scan, then answer, ground and caption.

model = load_model("checkpoint")
scene = load_scene("my_scan/")
model.answer(scene, "What colour is the chair?")
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np

from video3d_plugin.arguments import (
    ArgumentError,
    check_count,
    check_flag,
    check_items,
    check_kind,
    check_known,
    check_number,
    check_one_of,
    check_path,
    check_text,
)
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.grounding_result import Grounding, grounding_of
from video3d_plugin.inputs_spec import InputsSpec
from video3d_plugin.model.prefix.cache import PrefixCache, scene_key
from video3d_plugin.prompts import (
    ANSWER_PROMPT,
    CAPTION_PROMPT,
    Point,
    as_point,
    ground_question,
    listed_of,
    text_question,
)
from video3d_plugin.scene import Question, Scene, SceneInputs

if TYPE_CHECKING:
    import torch

    from video3d_plugin.model.modeling import Video3DForCausalLM
    from video3d_plugin.model.prefix.decoding import PrefixAttention
    from video3d_plugin.model.prefix.scene_prefix import ScenePrefix
    from video3d_plugin.model.processing import Video3DProcessor

MAX_FRAMES = 32
QUESTIONS_AT_ONCE = 64
PREFIX_ATTENTION = ("cascade", "expanded")
NUMBER_FORMATS = ("float32", "bfloat16", "float16")

SceneLike: TypeAlias = "Scene | SceneInputs | ScenePrefix"


class Video3D:
    """A model and its processor, ready to be asked.

    A scene is a `Scene` (what `load_scene` gives), `SceneInputs`, or an encoded scene from `encode_scene`. A Scene is
    seen through at most `max_frames` frames that `sampler` chooses, and encoded when first asked about; what was
    encoded is kept (`prefixes`, 2 GiB by default), so the next question about it costs little more than itself: a look
    at the weights, which must be those that encoded it (`model.prefix.key`). `prefixes.clear()` forgets everything.
    prefix_attention: "cascade", or its plain twin "expanded", which copies the scene's cache for each question of a
    batch (7B, 32 frames: 0.4 GB a question); see `model.prefix`.

    A single question in, a single result out; a list in, a list out.

    >>> model = load_model(checkpoint)
    >>> scene = load_scene(my_scan)
    >>> isinstance(model.answer(scene, "What colour is the chair?", max_new_tokens=8), str)
    True
    >>> len(model.answer(scene, ["How many chairs are there?", "What is on the table?"], max_new_tokens=8))
    2
    """

    def __init__(
        self,
        model: Video3DForCausalLM,
        processor: Video3DProcessor,
        *,
        sampler: str = "uniform",
        max_frames: int = MAX_FRAMES,
        cache_bytes: int | None = None,
        prefix_attention: PrefixAttention = "cascade",
    ):
        _check_view(sampler, max_frames)
        check_one_of("prefix_attention", prefix_attention, PREFIX_ATTENTION)
        check_count("cache_bytes", cache_bytes, 0, optional=True)
        self.model, self.processor = model.eval(), processor
        self.sampler, self.max_frames, self.prefix_attention = sampler, max_frames, prefix_attention
        self.prefixes = PrefixCache() if cache_bytes is None else PrefixCache(cache_bytes)

    @property
    def spec(self) -> InputsSpec:
        """What to make a scene's inputs for."""
        return self.model.config.inputs_spec

    @property
    def device(self) -> torch.device:
        return self.model.get_input_embeddings().weight.device

    def inputs(
        self,
        scene: Scene,
        *,
        sampler: str | None = None,
        max_frames: int | None = None,
        proposals: str | np.ndarray | None = None,
    ) -> SceneInputs:
        """What this model sees of a scene.

        sampler, max_frames    the model's own by default
        proposals              "pred" (the scene's), "gt" (its annotated boxes), (N, 6) boxes centre and size, world
                               frame, metres; None: the scene's, or clusters of its surface where it has none
        """
        from video3d_plugin.data.inputs import sample, scene_inputs
        from video3d_plugin.data.proposals import with_proposals

        check_kind("scene", scene, Scene, "a Scene (load_scene gives one)")
        _check_view(sampler, max_frames)
        if isinstance(proposals, str):
            check_one_of("proposals", proposals, ("pred", "gt"))
        chosen = sample(scene, sampler or self.sampler, max_frames or self.max_frames)
        if proposals is None and self.model.config.head is not None:
            scene = with_proposals(scene)
        return scene_inputs(scene, chosen, self.spec, "pred" if proposals is None else proposals)

    def encode_scene(self, scene: SceneInputs | Scene, **view: Any) -> ScenePrefix:
        """Everything before the question; see `model.prefix` for what it holds and how large it is. Not cached.

        view    with a Scene, the arguments of `inputs`
        """
        from video3d_plugin.model.prefix.inference import encode_scene

        check_kind("scene", scene, (Scene, SceneInputs), "a Scene (load_scene gives one) or SceneInputs")
        check_known("encode_scene", view, ("sampler", "max_frames", "proposals") if isinstance(scene, Scene) else ())
        if isinstance(scene, Scene):
            scene = self.inputs(scene, **view)
        if scene.spec != self.spec:
            raise DataError(
                f"made for {scene.spec}, the model asks for {self.spec}",
                where=scene.scene_id,
                remedy="make the inputs with model.spec",
            )
        return encode_scene(self.model, self.processor, scene)

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
        batch_size: int = QUESTIONS_AT_ONCE,
        **sampling: Any,
    ) -> str | list[str]:
        """The answer's text, greedy unless `do_sample=True` (with temperature, top_p, top_k, generator).

        questions  plain text is put into `prompt` in place of {question} (FREE_PROMPT adds nothing to it), and what
                   reads as a special token in it is text; a Question says everything itself
        points     what each <coord> in a single plain question stands for: (3,) points or (6,) boxes, world, metres;
                   without points, <coord> is text too

        >>> model = load_model(checkpoint)
        >>> scene = load_scene(my_scan)
        >>> text = model.answer(scene, "What is at <coord> ?", points=[(1.2, -0.4, 0.5)], max_new_tokens=8)
        """
        single, listed = _listed("questions", questions)
        check_text("prompt", prompt)
        _check_generation(max_new_tokens, batch_size, sampling)
        check_kind("points", points, (Sequence, np.ndarray), "a list of points or boxes")
        points = list(points)
        if points and not (single and isinstance(listed[0], str)):
            raise DataError("points go with a single plain question", remedy="use Question(..., coords=...) otherwise")
        prefix = self._encoded(scene)
        coords = tuple(as_point(point) for point in points)
        asked = [text_question(q, i, prefix.scene_id, prompt, coords) for i, q in enumerate(listed)]
        _all_of_scene(asked, prefix.scene_id)
        texts = self._texts(prefix, asked, max_new_tokens, batch_size, **sampling)
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
        batch_size: int = QUESTIONS_AT_ONCE,
    ) -> Grounding | list[Grounding]:
        """The scene's proposals for a description, best first, each with its score.

        several    there may be any number of such objects, none too (Multi3DRefer's prompt): all that are at
                   least half as probable as the best; else exactly one is meant (ScanRefer's)

        >>> model = load_model(checkpoint)
        >>> found = model.ground(load_scene(my_scan), "the brown chair next to the window")
        >>> found.best.box == found[0].box, len(found.best.box)  # centre and size, world frame, metres
        (True, 6)
        """
        single, listed = _listed("descriptions", descriptions)
        check_flag("several", several)
        check_count("batch_size", batch_size)
        prefix, head = self._encoded(scene), self.model.config.head
        asked = [ground_question(d, i, prefix.scene_id, several) for i, d in enumerate(listed)]
        _all_of_scene(asked, prefix.scene_id)
        boxes = prefix.boxes.cpu().numpy()
        temperature = head.temperature if head is not None and head.has_zero_target else None
        texts = [d if isinstance(d, str) else d.prompt for d in listed]
        found = [
            grounding_of(text, scores.tolist(), boxes, temperature, several)
            for text, scores in zip(texts, self._scores(prefix, asked, batch_size), strict=True)
        ]
        return found[0] if single else found

    def ground_scores(
        self, scene: SceneLike, questions: Sequence[str | Question], *, batch_size: int = QUESTIONS_AT_ONCE
    ) -> list[torch.Tensor]:
        """Raw scores of the scene's proposals, in the proposals' order, for each description: (N,), or (N + 1,) with
        the zero-target slot last; float32, CPU."""
        listed = _listed("questions", questions)[1]
        check_count("batch_size", batch_size)
        prefix = self._encoded(scene)
        asked = [ground_question(q, i, prefix.scene_id, False) for i, q in enumerate(listed)]
        _all_of_scene(asked, prefix.scene_id)
        return self._scores(prefix, asked, batch_size)

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
        batch_size: int = QUESTIONS_AT_ONCE,
    ) -> str | list[str]:
        """A description of the object at a point (3,), or at the centre of a box (6,): world frame, metres.

        A list of points or boxes, or a (K, 3) or (K, 6) array, gives a list. With Scan2Cap's prompt.

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
        listed: Sequence[Any] = [where] if single else where
        points = [as_point(point) for point in listed]
        prefix = self._encoded(scene)
        questions = [
            Question("caption", str(i), prefix.scene_id, CAPTION_PROMPT, coords=(point,))
            for i, point in enumerate(points)
        ]
        texts = self._texts(prefix, questions, max_new_tokens, batch_size)
        return texts[0] if single else texts

    def _texts(
        self, prefix: ScenePrefix, asked: Sequence[Question], max_new_tokens: int, batch_size: int, **sampling: Any
    ) -> list[str]:
        from video3d_plugin.model.prefix.inference import answer

        how = {"prefix_attention": self.prefix_attention, **sampling}
        return [
            text
            for batch in _batches(asked, batch_size)
            for text in answer(self.model, self.processor, prefix, batch, max_new_tokens, **how)
        ]

    def _scores(self, prefix: ScenePrefix, asked: Sequence[Question], batch_size: int) -> list[torch.Tensor]:
        from video3d_plugin.model.prefix.inference import ground

        return [
            scores.cpu()
            for batch in _batches(asked, batch_size)
            for scores in ground(self.model, self.processor, prefix, batch, self.prefix_attention)
        ]

    def _encoded(self, scene: SceneLike) -> ScenePrefix:
        """The scene's prefix: given, kept from before, or made now."""
        from video3d_plugin.model.prefix.key import prefix_key
        from video3d_plugin.model.prefix.scene_prefix import ScenePrefix

        check_kind("scene", scene, (Scene, SceneInputs, ScenePrefix, str, Path), "a Scene (load_scene gives one)")
        if isinstance(scene, str | Path):
            raise DataError(f"{str(scene)!r:.60} is a name, not a scene", remedy="use load_scene to read it")
        made_by = prefix_key(self.model, self.processor)
        if isinstance(scene, Scene):
            key = (scene_key(scene), self.sampler, self.max_frames, made_by, self.device)
            return self.prefixes.get(key, lambda: self.encode_scene(scene))
        if isinstance(scene, SceneInputs):
            return self.prefixes.get((id(scene), made_by, self.device), lambda: self.encode_scene(scene), holder=scene)
        if scene.made_by not in (None, made_by):
            raise DataError(
                "encoded by another model, or before this one was changed",
                where=scene.scene_id,
                remedy="encode it again with this model's encode_scene",
            )
        return scene


def default_checkpoint() -> Path:
    """The small checkpoint that the package ships, trained on made-up rooms; MissingError where it is not there."""
    folder = Path(__file__).resolve().parent / "mini" / "checkpoint"
    if not (folder / "config.json").is_file():
        raise MissingError(
            "this installation has no small checkpoint",
            where=folder,
            remedy="name one (--model CHECKPOINT, or load_model(CHECKPOINT)): a folder that `video3d train` wrote, "
            "or published weights",
        )
    return folder


def load_model(
    path: str | Path | None = None,
    *,
    device: str | None = None,
    dtype: str | torch.dtype | None = None,
    attn_implementation: str = "sdpa",
    lora: str | Path | None = None,
    prefix_attention: PrefixAttention = "cascade",
    sampler: str | None = None,
    max_frames: int | None = None,
    **options: Any,
) -> Video3D:
    """A checkpoint folder (ours or LLaVA-NeXT's, or a hub name), ready to be asked; by default the small one shipped.

    sampler, max_frames    how scenes are seen; by default as in the training (training.json of the adapter, else of the
                           checkpoint), else uniform and 32, as the published weights were trained
    device   "cuda" where there is one, else "cpu"; not with device_map
    dtype    "float32", "bfloat16" or "float16"; bfloat16 on a GPU that has it, float32 on a CPU
    lora     a folder with a PEFT adapter (and non_lora_trainables.bin), merged into the model
    prefix_attention  see `Video3D`
    options  go to `from_pretrained`: device_map="auto", quantization_config, load_in_4bit, load_in_8bit, ...

    >>> model = load_model(checkpoint, max_frames=4)
    >>> model.max_frames, model.sampler, model.spec.image_size > 0
    (4, 'uniform', True)
    """
    check_path("path", path, optional=True)
    check_path("lora", lora, optional=True)
    check_text("attn_implementation", attn_implementation)
    check_one_of("prefix_attention", prefix_attention, PREFIX_ATTENTION)
    _check_view(sampler, max_frames)
    path = default_checkpoint() if path is None else path
    import torch

    check_kind("dtype", dtype, (str, torch.dtype, type(None)), f"one of {', '.join(NUMBER_FORMATS)}, or a torch.dtype")
    check_kind("device", device, (str, torch.device, type(None)), "text as cpu or cuda:0, or a torch.device")

    from video3d_plugin.model.checkpoint.loading import load_pair
    from video3d_plugin.model.checkpoint.weights import local_folders

    folder, adapter = local_folders(path, lora, options)
    if device is None and "device_map" not in options:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device is not None:
        _check_device(device)
    if dtype is None:
        dtype = torch.bfloat16 if torch.cuda.is_available() and device != "cpu" else torch.float32
    elif isinstance(dtype, str):
        if dtype not in NUMBER_FORMATS:
            raise DataError(f"dtype {dtype!r} is unknown", remedy=f"known: {', '.join(NUMBER_FORMATS)}")
        dtype = getattr(torch, dtype)
    model, processor = load_pair(folder, dtype=dtype, attn_implementation=attn_implementation, lora=adapter, **options)
    quantised = getattr(model, "is_quantized", False)
    trained = trained_view(folder, adapter)
    return Video3D(
        model if device is None or quantised else model.to(device),
        processor,
        sampler=sampler or trained.get("sampler", "uniform"),
        max_frames=max_frames or trained.get("max_frames", MAX_FRAMES),
        prefix_attention=prefix_attention,
    )


def _listed(name: str, given: Any) -> tuple[bool, list[Any]]:
    """(whether one question was given, the questions)."""
    if not isinstance(given, str | Question):
        given = list(given) if isinstance(given, Iterable) and not isinstance(given, bytes | Mapping) else given
        check_items(name, given, (str, Question), "text or a Question")
    return listed_of(given)


def _check_view(sampler: str | None, max_frames: int | None) -> None:
    check_text("sampler", sampler, optional=True)
    check_count("max_frames", max_frames, optional=True)


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


def _check_device(device: str | torch.device) -> None:
    """Raise if torch cannot put a tensor there; before the weights are read."""
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ImportError) as error:  # which of them differs by device
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"device {str(device)!r} cannot be used: {reason:.100}",
            remedy="use cpu, or install a torch built for this GPU and its driver",
        ) from error


def trained_view(folder: Path, adapter: Path | None = None) -> dict[str, Any]:
    """`sampler` and `max_frames` of the adapter's training, else of the checkpoint's; empty where neither says."""
    if adapter is not None and (found := trained_view(adapter)):
        return found
    path = folder / "training.json"
    if not path.is_file():
        return {}
    from video3d_plugin.files.checkpoint_json import OBJECT, check_fields, text, whole
    from video3d_plugin.files.json import read_json

    remedy = "delete it: it only records how the checkpoint was trained"
    content = read_json(path, dict, remedy)  # of any size, and with NaN where a loss was
    check_fields(content, {"settings": OBJECT}, path, remedy)
    settings = content.get("settings") or {}
    check_fields(settings, {"sampler": text(256), "max_frames": whole(1, 1 << 20)}, path, remedy)
    return {name: settings[name] for name in ("sampler", "max_frames") if settings.get(name) is not None}


def _batches(items: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    if size < 1:
        raise DataError(f"batch_size is {size}", remedy="use 1 or more")
    return (items[i : i + size] for i in range(0, len(items), size))


def _all_of_scene(questions: Sequence[Question], scene_id: str) -> None:
    for question in questions:
        if question.scene_id != scene_id:
            raise DataError(
                f"the question belongs to scene {question.scene_id}, but was asked about scene {scene_id}",
                where=f"{question.task} {question.item_id}",
                remedy=f"pass scene {question.scene_id}",
            )
