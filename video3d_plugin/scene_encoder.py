"""SceneEncoder: samples the frames of scenes, encodes them for questions, and keeps the encoded ones."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from video3d_plugin.arguments import check_count, check_kind, check_known, check_one_of, check_text
from video3d_plugin.errors import DataError
from video3d_plugin.inputs_spec import InputsSpec
from video3d_plugin.loading import MAX_FRAMES, SAMPLER
from video3d_plugin.model.prefix.cache import PrefixCache, scene_key
from video3d_plugin.questions import check_scene
from video3d_plugin.scene import Question, Scene, SceneInputs

if TYPE_CHECKING:
    import torch

    from video3d_plugin.engine.base import Engine, StateEngine
    from video3d_plugin.model.modeling import Video3DForCausalLM
    from video3d_plugin.model.prefix.decoding import PrefixAttention
    from video3d_plugin.model.prefix.scene_prefix import ScenePrefix
    from video3d_plugin.model.processing import Video3DProcessor

_MOST_BEYOND = 0.01  # share of a scene's tokens that may lie beyond the model's range without a warning
PREFIX_ATTENTION = ("cascade", "expanded")

SceneLike: TypeAlias = "Scene | SceneInputs | ScenePrefix"


class SceneEncoder:
    """A model and its processor, with the scenes that were encoded last. `pipeline.Video3D` asks questions of it.

    Args:
        model: The model; set to evaluation mode.
        processor: The processor that belongs to it.
        sampler: Name of the sampler that chooses the frames of a Scene.
        max_frames: Frames of a Scene at most.
        cache_bytes: Size of `prefixes` in bytes; None: 2 GiB.
        prefix_attention: "cascade" or "expanded"; see `pipeline.Video3D`.
        proposals: Where the proposals of a Scene come from; see `pipeline.Video3D`.
        engine: Answers text questions; the language model then runs here for grounding only. See `pipeline.Video3D`.
        grounding_engine: Gives the hidden states of grounding questions. See `pipeline.Video3D`.
    """

    def __init__(
        self,
        model: Video3DForCausalLM,
        processor: Video3DProcessor,
        *,
        sampler: str = SAMPLER,
        max_frames: int = MAX_FRAMES,
        cache_bytes: int | None = None,
        prefix_attention: PrefixAttention = "cascade",
        proposals: str | None = None,
        engine: Engine | None = None,
        grounding_engine: StateEngine | None = None,
    ):
        check_sampling(sampler, max_frames)
        check_proposals(proposals)
        check_one_of("prefix_attention", prefix_attention, PREFIX_ATTENTION)
        check_count("cache_bytes", cache_bytes, 0, optional=True)
        self.model, self.processor = model.eval(), processor
        self.sampler, self.max_frames, self.prefix_attention = sampler, max_frames, prefix_attention
        self.proposals, self.engine, self.grounding_engine = proposals, engine, grounding_engine
        self._run: tuple[ScenePrefix, ScenePrefix] | None = None  # the last of `with_cache`: argument, result
        self._extent: tuple[str, tuple[np.ndarray, np.ndarray]] | None = None  # of the last Scene, by its key
        self.prefixes = PrefixCache() if cache_bytes is None else PrefixCache(cache_bytes)

    @property
    def spec(self) -> InputsSpec:
        """The specification that inputs of this model must have."""
        return self.model.config.inputs_spec

    @property
    def device(self) -> torch.device:
        """The device of the token embeddings."""
        return self.model.get_input_embeddings().weight.device

    def inputs(
        self,
        scene: Scene,
        *,
        sampler: str | None = None,
        max_frames: int | None = None,
        proposals: str | np.ndarray | None = None,
        question: Question | None = None,
    ) -> SceneInputs:
        """Sample and decode the frames of a scene, and compute what the model reads of them.

        Args:
            scene: The scene.
            sampler: Name of the frame sampler; by default the model's.
            max_frames: Frames at most; by default the model's number.
            proposals: "pred" (the scene's own proposals), "gt" (its annotated boxes), or boxes (N, 6): centre and size,
                world frame, metres. By default those of the model's `proposals`.
            question: The question, for a sampler that selects frames for each question.

        Returns:
            The inputs, made for `spec`.

        Raises:
            ArgumentError: An argument has a wrong type or value.
            DataError: A frame, a pose or a box cannot be used.
        """
        from video3d_plugin.data.inputs import sample

        check_kind("scene", scene, Scene, "a Scene (load_scene gives one)")
        check_sampling(sampler, max_frames)
        if isinstance(proposals, str):
            check_one_of("proposals", proposals, ("pred", "gt"))
        check_kind("question", question, (Question, type(None)), "a Question")
        frames = sample(scene, sampler or self.sampler, max_frames or self.max_frames, question=question)
        return self._inputs_of(scene, frames, proposals)

    def _inputs_of(self, scene: Scene, frames: Sequence[int], proposals: str | np.ndarray | None = None) -> SceneInputs:
        from video3d_plugin.data.inputs import scene_inputs
        from video3d_plugin.data.proposals import with_proposals

        if proposals is None and self.model.config.head is not None:
            scene = with_proposals(scene, self.proposals)
        return scene_inputs(scene, frames, self.spec, "pred" if proposals is None else proposals)

    def encode_scene(self, scene: SceneInputs | Scene, **view: Any) -> ScenePrefix:
        """Run the vision tower and the language model over everything that precedes a question.

        With an engine, the language model does not run: the result holds embeddings, and `with_cache` adds the rest.

        Args:
            scene: A Scene, or inputs made for `spec`.
            **view: With a Scene: arguments of `inputs`.

        Returns:
            The encoded scene, which the other methods accept. It is not put into `prefixes`. `model.prefix.inference`
            says how large it is.

        Raises:
            ArgumentError: An argument is unknown or has a wrong type.
            DataError: The inputs were made for another specification.
        """
        from video3d_plugin.model.prefix import embeddings, inference

        check_kind("scene", scene, (Scene, SceneInputs), "a Scene (load_scene gives one) or SceneInputs")
        check_known(
            "encode_scene", view, ("sampler", "max_frames", "proposals", "question") if isinstance(scene, Scene) else ()
        )
        if isinstance(scene, Scene):
            scene = self.inputs(scene, **view)
        if scene.spec != self.spec:
            raise DataError(
                f"made for {scene.spec}, the model asks for {self.spec}",
                where=scene.scene_id,
                remedy="make the inputs with model.spec",
            )
        self._warn_beyond_range(scene)
        encode = inference.encode_scene if self.engine is None else embeddings.embed_scene
        return encode(self.model, self.processor, scene)

    def with_cache(self, prefix: ScenePrefix) -> ScenePrefix:
        """Return a prefix with its keys and values, which are computed where it holds embeddings alone.

        Args:
            prefix: An encoded scene. The result for the last one is kept.
        """
        from video3d_plugin.model.prefix import inference

        if prefix.has_cache:
            return prefix
        if self._run is None or self._run[0] is not prefix:
            self._run = prefix, inference.with_cache(self.model, prefix)
        return self._run[1]

    def _warn_beyond_range(self, inputs: SceneInputs) -> None:
        """Warn if the scene is larger than the range of positions that the model tells apart."""
        from video3d_plugin.model.position import share_beyond

        position = self.model.config.position
        if position is None or not position.discretised:
            return
        share = share_beyond(inputs.token_points, position)
        if share > _MOST_BEYOND:
            ranges = zip("xyz", position.low, position.high, strict=True)
            reach = ", ".join(f"{axis} {low:g} to {high:g}" for axis, low, high in ranges)
            warnings.warn(
                f"scene {inputs.scene_id}: {share:.0%} of what its frames show lies beyond the model's range ({reach}, "
                "in metres) and counts as lying at its border; use a part of the scan, or --align auto to centre it",
                stacklevel=3,
            )

    def check_inside(self, scene: SceneLike, points: Sequence[Sequence[float]]) -> None:
        """Raise DataError for a point that lies outside of what a scene shows.

        Args:
            scene: The scene. Of a Scene, up to 32 frames are decoded; their extent is kept until another Scene comes.
            points: x, y, z each, in metres, world frame.
        """
        from video3d_plugin.data.extent import MARGIN_OF_INPUTS_M, check_inside, extent

        if not points:
            return
        if not isinstance(scene, Scene):
            low, high = scene.extent.numpy()
            check_inside(points, low, high, scene.scene_id, MARGIN_OF_INPUTS_M)
            return
        key = scene_key(scene)
        if self._extent is None or self._extent[0] != key:
            self._extent = key, extent(scene)
        check_inside(points, *self._extent[1], scene.scene_id)

    def by_frames(
        self,
        scene: SceneLike,
        questions: Sequence[Question],
        work: Callable[[ScenePrefix, Sequence[Question]], list[Any]],
    ) -> list[Any]:
        """Return the results of `work` in the order of the questions.

        A sampler that selects frames for each question is run first; questions with the same frames share a prefix.
        """
        from video3d_plugin.sampling.registry import reads_question

        check_scene(questions, scene_id_of(scene))
        if not (isinstance(scene, Scene) and reads_question(self.sampler)):
            return work(self.encoded(scene), questions)
        from video3d_plugin.data.inputs import sample, scene_coverage

        coverage = scene_coverage(scene)
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, question in enumerate(questions):
            frames = tuple(sample(scene, self.sampler, self.max_frames, coverage, question))
            groups.setdefault(frames, []).append(index)
        results: list[Any] = [None] * len(questions)
        for frames, indices in groups.items():
            prefix = self.encoded(scene, frames)
            for index, result in zip(indices, work(prefix, [questions[i] for i in indices]), strict=True):
                results[index] = result
        return results

    def encoded(self, scene: SceneLike, frames: tuple[int, ...] | None = None) -> ScenePrefix:
        """Return the scene's prefix: the one given, the one in `prefixes`, or a new one (of `frames`, if given)."""
        from video3d_plugin.model.prefix.key import prefix_key

        made_by = prefix_key(self.model, self.processor)
        if isinstance(scene, Scene) and frames is not None:
            inputs_key = (scene_key(scene), frames, self.proposals, made_by, self.device)
            return self.prefixes.get(inputs_key, lambda: self.encode_scene(self._inputs_of(scene, frames)))
        if isinstance(scene, Scene):
            key = (scene_key(scene), self.sampler, self.max_frames, self.proposals, made_by, self.device)
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


def scene_id_of(scene: SceneLike) -> str:
    """Return the scene's id; raise for anything that is not a scene."""
    from video3d_plugin.model.prefix.scene_prefix import ScenePrefix

    check_kind("scene", scene, (Scene, SceneInputs, ScenePrefix, str, Path), "a Scene (load_scene gives one)")
    if isinstance(scene, str | Path):
        raise DataError(f"{str(scene)!r:.60} is a name, not a scene", remedy="use load_scene to read it")
    return scene.scene_id


def check_sampling(sampler: str | None, max_frames: int | None) -> None:
    """Raise ArgumentError unless these are the name of a sampler and a number of frames, or None."""
    check_text("sampler", sampler, optional=True)
    check_count("max_frames", max_frames, optional=True)


def check_proposals(proposals: str | None) -> None:
    """Raise unless this is a source of proposals (`data.proposals.check_source`), or None."""
    from video3d_plugin.data.proposals import check_source

    check_text("proposals", proposals, optional=True)
    if proposals is not None:
        check_source(proposals)
