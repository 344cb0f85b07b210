"""The model for people who ask it things: load once, encode a scene once, then answer, ground and caption.

model = load_model("checkpoint")
scene = model.encode_scene(inputs)
model.answer(scene, ["What colour is the chair?"])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video3d_plugin.ahead import loaded_ahead
from video3d_plugin.errors import DataError
from video3d_plugin.scene import InputsSpec, Question, SceneInputs

if TYPE_CHECKING:
    import torch

    from video3d_plugin.model.asking import PrefixAttention
    from video3d_plugin.model.modeling import Video3DForCausalLM
    from video3d_plugin.model.prefix import ScenePrefix
    from video3d_plugin.model.processing import Video3DProcessor

CAPTION_PROMPT = "<image> Given an object located at <coord> , describe the object in detail."
GROUND_PROMPT = "<image>Identify the object according to the following description.\n{description}"
QUESTIONS_AT_ONCE = 64
InputsOf = Callable[[str], SceneInputs] | Mapping[str, SceneInputs]


class Video3D:
    """A model and its processor. Methods take SceneInputs or an encoded scene; encode it once to ask more than once.

    prefix_attention: "cascade", or its plain twin "expanded", which copies the scene's cache for each question of a
    batch (7B, 32 frames: 0.4 GB a question); see `model.prefix`.
    """

    def __init__(
        self, model: Video3DForCausalLM, processor: Video3DProcessor, prefix_attention: PrefixAttention = "cascade"
    ):
        self.model, self.processor, self.prefix_attention = model.eval(), processor, prefix_attention

    @property
    def spec(self) -> InputsSpec:
        """What to make a scene's inputs for."""
        return self.model.config.inputs_spec

    @property
    def device(self) -> torch.device:
        return self.model.get_input_embeddings().weight.device

    def encode_scene(self, inputs: SceneInputs) -> ScenePrefix:
        """Everything before the question; see `model.prefix` for what it holds and how large it is."""
        from video3d_plugin.model.prefix import encode_scene

        if inputs.spec != self.spec:
            raise DataError(
                f"made for {inputs.spec}, the model asks for {self.spec}",
                where=inputs.scene_id,
                remedy="make the inputs with model.spec",
            )
        return encode_scene(self.model, self.processor, inputs)

    def answer(
        self,
        scene: SceneInputs | ScenePrefix,
        questions: str | Question | Sequence[str | Question],
        *,
        max_new_tokens: int = 512,
        batch_size: int = QUESTIONS_AT_ONCE,
        **sampling: Any,
    ) -> list[str]:
        """Texts, greedy unless `do_sample=True` (with temperature, top_p, top_k, generator). A plain string is the user
        turn as it is (`<image>` is put in front if it is missing)."""
        from video3d_plugin.model.prefix import answer

        prefix, asked = self._encoded(scene), self._questions(scene, questions)
        return [
            text
            for batch in _batches(asked, batch_size)
            for text in answer(
                self.model,
                self.processor,
                prefix,
                batch,
                max_new_tokens,
                prefix_attention=self.prefix_attention,
                **sampling,
            )
        ]

    def ground(
        self,
        scene: SceneInputs | ScenePrefix,
        questions: str | Question | Sequence[str | Question],
        *,
        batch_size: int = QUESTIONS_AT_ONCE,
    ) -> list[torch.Tensor]:
        """Scores of the scene's proposals for each description: (N,), or (N + 1,) with the zero-target slot last; CPU.

        A plain string is the description; it gets ScanRefer's prompt.
        """
        from video3d_plugin.model.prefix import ground

        prefix, asked = self._encoded(scene), self._questions(scene, questions, grounding=True)
        return [
            scores.cpu()
            for batch in _batches(asked, batch_size)
            for scores in ground(self.model, self.processor, prefix, batch, self.prefix_attention)
        ]

    def caption(
        self,
        scene: SceneInputs | ScenePrefix,
        points: Sequence[Sequence[float]],  # (K, 3) or boxes (K, 6), world frame, metres
        *,
        max_new_tokens: int = 512,
        batch_size: int = QUESTIONS_AT_ONCE,
    ) -> list[str]:
        """A description of the object at each point (or at the centre of each box), with Scan2Cap's prompt."""
        prefix = self._encoded(scene)
        questions = [
            Question("caption", str(i), prefix.scene_id, CAPTION_PROMPT, coords=(tuple(float(v) for v in point[:3]),))
            for i, point in enumerate(points)
        ]
        return self.answer(prefix, questions, max_new_tokens=max_new_tokens, batch_size=batch_size)

    def solve(
        self,
        questions: Sequence[Question],
        inputs_of: InputsOf,
        *,
        batch_size: int = QUESTIONS_AT_ONCE,
        max_new_tokens: int = 512,
        on_result: Callable[[int, Any], None] | None = None,
        **sampling: Any,
    ) -> list[Any]:
        """Questions of any tasks and scenes, in any order: a text, or the scores of a grounding question, for each.

        Every scene is read and encoded once; its questions then run in batches of at most `batch_size`. `inputs_of` is
        called in a thread of its own, one scene ahead.
        `on_result(index, result)` is called as results come (for progress bars and saving on the way).
        """
        results: list[Any] = [None] * len(questions)
        by_scene: dict[str, list[int]] = {}
        for index, question in enumerate(questions):
            by_scene.setdefault(question.scene_id, []).append(index)
        load = inputs_of if callable(inputs_of) else inputs_of.__getitem__
        for scene_id, loading in loaded_ahead(list(by_scene), load):
            prefix = self.encode_scene(loading.result())
            for batch in _alike([(i, questions[i]) for i in by_scene[scene_id]], batch_size):
                asked = [questions[i] for i in batch]
                if asked[0].is_grounding:
                    found = self.ground(prefix, asked, batch_size=batch_size)
                else:
                    found = self.answer(prefix, asked, max_new_tokens=max_new_tokens, batch_size=batch_size, **sampling)
                for i, result in zip(batch, found, strict=True):
                    results[i] = result
                    if on_result is not None:
                        on_result(i, result)
        return results

    def ground_many(self, questions: Sequence[Question], inputs_of: InputsOf, **options: Any) -> list[torch.Tensor]:
        """`solve` for grounding questions only."""
        _all_of_kind(questions, True)
        return self.solve(questions, inputs_of, **options)

    def answer_many(self, questions: Sequence[Question], inputs_of: InputsOf, **options: Any) -> list[str]:
        """`solve` for text questions only."""
        _all_of_kind(questions, False)
        return self.solve(questions, inputs_of, **options)

    def _encoded(self, scene: SceneInputs | ScenePrefix) -> ScenePrefix:
        return self.encode_scene(scene) if isinstance(scene, SceneInputs) else scene

    def _questions(self, scene, questions, grounding: bool = False) -> list[Question]:
        if isinstance(questions, (str, Question)):
            questions = [questions]
        made = []
        for index, question in enumerate(questions):
            if isinstance(question, str):
                prompt = GROUND_PROMPT.format(description=question.capitalize()) if grounding else question
                prompt = prompt if "<image>" in prompt else f"<image> {prompt}"
                question = Question("ask", str(index), scene.scene_id, prompt)
            if grounding and not question.is_grounding:
                question = replace(question, answer="<ground>")
            made.append(question)
        return made


def load_model(
    path: str | Path,
    *,
    device: str | None = None,
    dtype: str | torch.dtype | None = None,
    attn_implementation: str = "sdpa",
    lora: str | Path | None = None,
    prefix_attention: PrefixAttention = "cascade",
    **options: Any,
) -> Video3D:
    """A checkpoint folder (ours or LLaVA-NeXT's, or a hub name), ready to be asked.

    device   "cuda" where there is one, else "cpu"; not with device_map
    dtype    "float32", "bfloat16" or "float16"; bfloat16 on a GPU that has it, float32 on a CPU
    lora     a folder with a PEFT adapter (and non_lora_trainables.bin), merged into the model
    prefix_attention  see `Video3D`
    options  go to `from_pretrained`: device_map="auto", quantization_config, load_in_4bit, load_in_8bit, ...
    """
    import torch

    from video3d_plugin.model.checkpoint import load_pair

    if device is None and "device_map" not in options:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if dtype is None:
        dtype = torch.bfloat16 if torch.cuda.is_available() and device != "cpu" else torch.float32
    elif isinstance(dtype, str):
        if not isinstance(getattr(torch, dtype, None), torch.dtype):
            raise DataError(f"dtype {dtype!r} is unknown", remedy="known: float32, bfloat16, float16")
        dtype = getattr(torch, dtype)
    model, processor = load_pair(path, dtype=dtype, attn_implementation=attn_implementation, lora=lora, **options)
    quantised = getattr(model, "is_quantized", False)
    return Video3D(model if device is None or quantised else model.to(device), processor, prefix_attention)


def _batches(items: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    if size < 1:
        raise DataError(f"batch_size is {size}", remedy="use 1 or more")
    return (items[i : i + size] for i in range(0, len(items), size))


def _alike(questions: Sequence[tuple[int, Question]], size: int) -> Iterable[list[int]]:
    """Indices in batches of one kind, and of similar length: less padding, and answers that end together."""
    for grounding in (True, False):
        chosen = [(i, question) for i, question in questions if question.is_grounding == grounding]
        chosen.sort(key=lambda pair: len(pair[1].prompt))
        for batch in _batches(chosen, size):
            yield [i for i, _ in batch]


def _all_of_kind(questions: Sequence[Question], grounding: bool) -> None:
    for question in questions:
        if question.is_grounding != grounding:
            kind, method = ("grounding", "ground_many") if question.is_grounding else ("text", "answer_many")
            raise DataError(f"{question.item_id} is a {kind} question", remedy=f"use {method} or solve")
