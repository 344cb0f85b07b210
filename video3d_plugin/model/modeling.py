"""Video3DForCausalLM: Qwen2 with posed RGB-D video as input, under LLaVA-NeXT's parameter names.

Source: Video-3D LLM, arXiv 2412.00493; LaVi-Lab/Video-3D-LLM at 3ff70e8. Beyond the reference, a batch may mix text and
grounding items of several scenes and lengths, each item has a loss, and a row may pack several questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoModelForCausalLM, Qwen2ForCausalLM, Qwen2Model
from transformers.modeling_outputs import ModelOutput

from video3d_plugin.compat import CACHE
from video3d_plugin.config import Video3DConfig
from video3d_plugin.errors import DataError
from video3d_plugin.model import registry
from video3d_plugin.model import sequence as seq
from video3d_plugin.model.attention.packed import attention_mask_for, enable_packed_attention, is_segment_mask
from video3d_plugin.model.distributed import zero3
from video3d_plugin.model.distributed.rank_sync import RankSync, zero_loss
from video3d_plugin.model.grounding import add_head, ground_loss, score_proposals, score_scenes
from video3d_plugin.model.llava_api import LlavaTrainingAPI
from video3d_plugin.model.no_cast import unwrap
from video3d_plugin.model.position import build_position
from video3d_plugin.model.processing import Video3DProcessor  # noqa: F401  (known to AutoProcessor where the model is)
from video3d_plugin.model.scene_tokens import SceneTokens, encode_scene_tokens, encode_scenes
from video3d_plugin.model.vision import VisionTower, build_projector

_OWN_INITIALISATION = "_video3d_own_initialisation"
SceneTensors = dict[str, torch.Tensor]  # SceneInputs.tensors()


@dataclass
class Video3DOutput(ModelOutput):
    """Output of the model for a batch of I items in R rows of length L.

    Attributes:
        loss: () mean of `item_losses`.
        item_losses: (I,) loss of each item; 0 for an item without labels.
        logits: (R, L, vocabulary). In training with labels (K, vocabulary), of the K labelled positions only.
        ground_scores: For each item (N,) or (N + 1,) scores of the proposals; None for text items.
        cache: Cache of keys and values; `past_key_values` before transformers 5.24.
        hidden_states: As in transformers.
        attentions: As in transformers.
    """

    loss: torch.Tensor | None = None
    item_losses: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    ground_scores: list[torch.Tensor | None] | None = None
    if CACHE == "cache":
        cache: Any = None
    else:
        past_key_values: Any = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class Video3DModel(Qwen2Model):
    """Qwen2 with vision tower, projector, newline token and position embedding, under LLaVA-NeXT's names.

    Attributes:
        packed_attention_enabled: Whether packed rows use `model.attention.packed`. False masks them instead, with the
            same result.
    """

    config_class = Video3DConfig

    def __init__(self, config: Video3DConfig):
        super().__init__(config)
        self.vision_tower = VisionTower(config.vision, config.mm_vision_tower, config._attn_implementation)
        vision_size = self.vision_tower.hidden_size
        self.mm_projector = build_projector(config.mm_projector_type, vision_size, config.hidden_size)
        self.vision_resampler = nn.Identity()  # the host's scripts ask for its (absent) parameters
        if config.layout.has_newline:
            self.image_newline = nn.Parameter(torch.randn(config.hidden_size) / config.hidden_size**0.5)
        if config.position is not None:
            self.world_position_embedding = build_position(config.hidden_size, config.position)
        for part in (self.vision_tower, self.mm_projector, getattr(self, "world_position_embedding", None)):
            _keep_own_initialisation(part)
        self.packed_attention_enabled = enable_packed_attention(self.layers)

    def get_vision_tower(self) -> VisionTower:
        """Return the vision tower."""
        return self.vision_tower

    def initialize_vision_modules(self, model_args: Any, fsdp: Any = None) -> None:
        """Store settings of LLaVA-NeXT's training script, which calls this to build tower and projector."""
        self.config.use_mm_proj = True
        self.config.mm_hidden_size = self.vision_tower.hidden_size
        for name in ("mm_vision_select_layer", "mm_vision_select_feature"):
            setattr(self.config, name, getattr(model_args, name, None))
        self.mm_projector.requires_grad_(True)
        self.vision_tower.keeps_dtype = True


class Video3DForCausalLM(LlavaTrainingAPI, RankSync, Qwen2ForCausalLM):
    """The model, with a language-model head and optionally a grounding head.

    `Video3DProcessor` makes its batches, and `from_pretrained` loads checkpoints.

    Args:
        config: The configuration.

    Attributes:
        new_parts: Prefixes of the names of parameters that a published checkpoint may lack. Each part is loaded as a
            whole or initialised as a whole. A subclass lists its own parts only; its parents' parts count too.
        forward_is_for_training: Set by a subclass that overrides `forward` for training alone, for instance to add a
            loss: answering questions does not call `forward`.
    """

    config_class = Video3DConfig
    new_parts: tuple[str, ...] = ("ground_head", "model.world_position_embedding.")
    forward_is_for_training = False
    accepts_loss_kwargs = False  # the loss is a mean over items already: the Trainer must not rescale it
    _no_split_modules = ["Qwen2DecoderLayer", "SiglipEncoderLayer"]
    _supports_flex_attn = True

    def __init__(self, config: Video3DConfig):
        # Past Qwen2ForCausalLM's own constructor, which would build a second language model.
        config.vision_config = dict(config.vision)  # saved with the model: sizes then need no tower at hand
        registry.record_class(config, type(self))
        super(Qwen2ForCausalLM, self).__init__(config)
        self.initialised_parts: list[str] = []  # parameters that a loaded checkpoint did not have
        self.model = Video3DModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.head is not None:
            add_head(self, config.head, config.hidden_size)
            for name, part in self.named_children():
                if name.startswith("ground_head"):
                    _keep_own_initialisation(part)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Initialise Qwen2's modules as Qwen2 does, and all others as torch does."""
        if not getattr(module, _OWN_INITIALISATION, False):
            super()._init_weights(module)
            return
        with zero3.gathered(module.parameters(recurse=False)):
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=module.embedding_dim**-0.5)
            elif hasattr(module, "reset_parameters"):
                module.reset_parameters()

    def init_new_parameter(self, name: str, parameter: nn.Parameter) -> None:
        """Give a parameter that the checkpoint lacks its first value, in place: standard normal.

        Called for those that lie on no module with a `reset_parameters` of its own.
        """
        nn.init.normal_(parameter)

    def adapt_scene_tokens(self, tokens: SceneTokens, scene: SceneTensors) -> SceneTokens:
        """Change what the language model and the grounding head get of a scene, in training and when asked.

        For subclasses; the scene's tokens as they are. The result must not depend on a question.

        Args:
            tokens: `visual` (T, hidden size) in place of <image>, `proposals` (N, hidden size).
            scene: The scene's tensors, see `SceneInputs`.
        """
        return tokens

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: torch.FloatTensor | None = None,
        labels: torch.LongTensor | None = None,
        scenes: Sequence[SceneTensors] | None = None,
        scene_index: torch.LongTensor | None = None,
        coords: torch.FloatTensor | None = None,
        targets: Sequence[torch.LongTensor] | None = None,
        segments: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        cache_position: torch.LongTensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        num_logits_to_keep: int = 0,
        cache: Any = None,
    ) -> Video3DOutput:
        """Run a batch of items or, without `scenes`, one step of the language model, as generation does.

        The arguments that are not listed are those of Qwen2ForCausalLM.

        Args:
            input_ids: (R, W) token ids, with seq.IMAGE_ID once a row.
            attention_mask: (R, W) 0 on padding, on either side.
            labels: (R, W) token ids, -100 for tokens without loss. Items with a <ground> token have the grounding loss
                only.
            scenes: For each scene `SceneInputs.tensors()`.
            scene_index: (R,) index of each row's scene; by default the scenes in order.
            coords: (C, 3) points of all <coord> tokens, row by row; world frame, metres.
            targets: For each item the indices of the correct proposals; read for grounding items with labels.
            segments: (R, W) items of packed rows; see `model.sequence`.
            cache: The same as `past_key_values`, under its name since transformers 5.24.

        Returns:
            The output, or a tuple with `return_dict=False`.

        Raises:
            DataError: The batch is inconsistent; the message names the item.
        """
        rows = None
        scenes, coords, targets = unwrap(scenes), unwrap(coords), unwrap(targets)
        if scenes is not None:
            tokens = self._encode_scenes(
                input_ids, scenes, scene_index, self._scenes_to_ground(input_ids, scenes, scene_index)
            )
            rows, scene_of = self.assemble(
                input_ids, tokens, scene_index, attention_mask, labels, coords, segments, left=None
            )
            inputs_embeds, input_ids = rows.embeds, None
            packed = self.model.packed_attention_enabled and not output_attentions
            attention_mask = attention_mask_for(rows, self.config._attn_implementation, packed)
            position_ids = rows.position_ids
            use_cache = False if is_segment_mask(attention_mask) else use_cache
        elif input_ids is not None and bool((input_ids == seq.IMAGE_ID).any()):
            raise DataError("the prompt has <image> but no scene was given", remedy="pass scenes=[inputs.tensors()]")
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            return_dict=True,
            **{CACHE: past_key_values if cache is None else cache},
            **_given(
                output_attentions=output_attentions,
                output_hidden_states=output_hidden_states,
                cache_position=cache_position,
            ),
        )
        hidden = outputs[0]
        if rows is not None:
            found = self._score_items(hidden, rows, tokens, scene_of, targets)
        else:
            kept = logits_to_keep if isinstance(logits_to_keep, torch.Tensor) else logits_to_keep or num_logits_to_keep
            found = self._continue(hidden, labels, kept)
        result = Video3DOutput(  # in one go: transformers' outputs do not see fields that are set later
            **found,
            **{CACHE: outputs[CACHE] if CACHE in outputs else None},
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )
        return result if return_dict is not False else result.to_tuple()

    # -- from ids and scenes to embeddings ---------------------------------------------------------------------

    def assemble(
        self,
        input_ids: torch.Tensor,
        scenes: Sequence[SceneTokens],
        scene_index: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        coords: torch.Tensor | None = None,
        segments: torch.Tensor | None = None,
        left: bool | None = None,
    ) -> tuple[seq.PackedBatch, list[int]]:
        """Build the input rows of the language model.

        Args:
            input_ids: (R, W) token ids, with seq.IMAGE_ID once a row.
            scenes: The encoded scenes.
            scene_index: (R,) index of each row's scene; by default the scenes in order.
            attention_mask: (R, W) 0 on padding; by default there is none.
            labels: (R, W) or None.
            coords: (C, 3) points of all <coord> tokens, row by row; world frame, metres.
            segments: (R, W) items of packed rows, or None.
            left: Pad on the left; None: on the side where `attention_mask` has padding.

        Returns:
            The padded rows, and for each row the index of its scene.

        Raises:
            DataError: Placeholders, points, lengths or scene indices do not fit.
        """
        input_ids, attention_mask, labels, segments = (
            None if part is None else part.to(self.device) for part in (input_ids, attention_mask, labels, segments)
        )
        mask = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
        scene_of = self._scene_of(len(input_ids), len(scenes), scene_index)
        visual = [scenes[index].visual for index in scene_of]
        text_lengths = mask.sum(1).tolist() if segments is None else _longest_items(mask, segments)
        lengths = [n - 1 + len(v) for n, v in zip(text_lengths, visual, strict=True)]
        seq.check_prompts(input_ids, mask, lengths, self.config.longest_sequence)
        embeds = self.embed_text(input_ids, mask, coords)
        if left is None:
            left = bool((~mask[:, 0]).any())
        return seq.insert_visual(embeds, input_ids, mask, visual, labels, segments, left), scene_of

    def embed_text(self, input_ids: torch.Tensor, mask: torch.Tensor, coords: torch.Tensor | None) -> torch.Tensor:
        """Embed tokens, and add to each <coord> token the position embedding of its point.

        Args:
            input_ids: (R, W) token ids.
            mask: (R, W) bool, False on padding.
            coords: (C, 3) points of all <coord> tokens, row by row, world frame, metres; None if there are none.

        Returns:
            (R, W, H).

        Raises:
            DataError: The number of points differs from that of <coord> tokens, or a point is not finite.
        """
        embeds = self.model.embed_tokens(input_ids.clamp(min=0))
        wanted = 0 if coords is None else len(coords)
        coord_id = self.config.coord_token_id
        at = (input_ids == coord_id) & mask if coord_id is not None else torch.zeros_like(mask)
        if int(at.sum()) != wanted:
            per_item = ", ".join(str(n) for n in at.sum(1).tolist())
            raise DataError(
                f"the batch has {int(at.sum())} <coord> tokens (by item: {per_item}) and {wanted} points",
                remedy="give one point for each <coord>, in the order of the items",
            )
        if self.config.position is not None and not wanted and self.rank_sync_enabled:
            coords = embeds.new_zeros(1, self.config.position.points_per_token, 3)  # for the other ranks' sake
            return embeds + zero_loss(self.model.world_position_embedding(coords)).to(embeds)
        if not wanted or self.config.position is None:
            return embeds
        if coords.shape[1:] != (3,):
            raise DataError(f"coords are {tuple(coords.shape)}, expected (C, 3)", remedy="give points as x, y, z")
        broken = ~torch.isfinite(coords).all(1).to(at.device)
        if bool(broken.any()):
            item = int(at.nonzero()[broken][0, 0])
            raise DataError(f"item {item} of the batch has a <coord> that is not finite", remedy="check its point")
        points = coords.to(embeds.device).float()[:, None].expand(-1, self.config.position.points_per_token, -1)
        vectors = self.model.world_position_embedding(points).to(embeds)
        return embeds.index_put(tuple(at.nonzero(as_tuple=True)), vectors, accumulate=True)

    def _scene_of(self, rows: int, scenes: int, scene_index: torch.Tensor | None) -> list[int]:
        index = list(range(rows)) if scene_index is None else [int(i) for i in scene_index]
        if len(index) != rows or any(not 0 <= i < scenes for i in index):
            raise DataError(
                f"scene_index {index} does not fit {rows} rows and {scenes} scenes",
                remedy="give one index a row, below the number of scenes",
            )
        return index

    def _scenes_to_ground(self, input_ids, scenes, scene_index) -> set[int]:
        """Return the indices of scenes with a grounding item, the only ones that need proposal features."""
        if self.config.head is None or self.config.ground_token_id is None:
            return set()
        scene_of = self._scene_of(len(input_ids), len(scenes), scene_index)
        asks = (input_ids == self.config.ground_token_id).any(1).tolist()
        return {index for index, ask in zip(scene_of, asks, strict=True) if ask}

    def _encode_scenes(self, input_ids, scenes, scene_index, with_proposals: set[int]) -> list[SceneTokens]:
        scene_of = self._scene_of(len(input_ids), len(scenes), scene_index)
        rows = [", ".join(str(row) for row, own in enumerate(scene_of) if own == i) for i in range(len(scenes))]
        names = [f"item {own} of the batch (scene {i})" for i, own in enumerate(rows)]
        grounded = [i in with_proposals for i in range(len(scenes))]
        if self.rank_sync_enabled:
            return encode_scenes(self, scenes, grounded, names, rank_sync=True)
        return [encode_scene_tokens(self, *part) for part in zip(scenes, grounded, names, strict=True)]

    # -- from hidden states to scores and losses ----------------------------------------------------------------

    def _continue(self, hidden, labels, kept: int | torch.Tensor) -> dict[str, Any]:
        """Compute logits of the last `kept` positions (0: all), and the loss, of a step of the language model alone."""
        logits = self.lm_head(hidden[:, kept if isinstance(kept, torch.Tensor) else slice(-kept or None, None)])
        loss = None
        if labels is not None:
            shifted = labels[:, 1:].flatten().to(logits.device)
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), shifted, ignore_index=seq.IGNORE)
        return {"loss": loss, "logits": logits}

    def _score_items(self, hidden, rows: seq.PackedBatch, tokens, scene_of: list[int], targets) -> dict[str, Any]:
        """Compute loss, item_losses, logits and ground_scores of the output."""
        hidden = hidden.to(rows.embeds.device)  # a model over several devices ends on another one than it starts
        places = seq.item_places(rows.mask, rows.segments)
        unused: list[
            torch.Tensor
        ] = []  # results of parts that ran for the other ranks' sake, see model.distributed.rank_sync
        all_scores = self._ground_scores(hidden, rows, places, tokens, scene_of, unused)
        if rows.labels is None:
            return {"logits": self.lm_head(hidden), "ground_scores": all_scores}
        losses: list[torch.Tensor | None] = [None] * len(places)
        texts = [item for item, scores in enumerate(all_scores) if scores is None]
        labelled, text_losses = self._text_losses(hidden, rows.labels, [places[item] for item in texts], unused)
        for item, loss in zip(texts, text_losses, strict=True):
            losses[item] = loss
        for item, scores in enumerate(all_scores):
            if scores is not None:
                chosen = self._targets(item, targets, len(tokens[scene_of[places[item][0]]].proposals), scores.device)
                losses[item] = ground_loss(scores, chosen, self.config.head).to(hidden.device)
        item_losses = torch.stack(losses)
        return {
            "loss": item_losses.mean() + self._touch_unused() + sum(zero_loss(result) for result in unused),
            "item_losses": item_losses,
            "logits": labelled if self.training else self.lm_head(hidden),
            "ground_scores": all_scores,
        }

    def _text_losses(self, hidden, labels, places, unused: list) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the logits (K, vocabulary) of all labelled positions, and the mean loss of each item."""
        wanted = [labels[row, columns[1:]] for row, columns in places]
        kept = [label != seq.IGNORE for label in wanted]
        counts = [int(own.sum()) for own in kept]
        at = [columns[:-1][own] for (_, columns), own in zip(places, kept, strict=True)]
        rows = [columns.new_full((len(columns),), row) for (row, _), columns in zip(places, at, strict=True)]
        # All at once: taken item by item, each would cost a gradient of the size of `hidden`.
        states = hidden[torch.cat(rows), torch.cat(at)] if at else hidden[:0, 0]
        more = hidden[: int(self.rank_sync_enabled), 0]  # a row that no item needs, or none
        logits = self.lm_head(torch.cat([states, more]) if len(more) else states)
        if len(more):
            logits, made_up = logits.split([sum(counts), 1])
            unused.append(made_up)
        flat = torch.cat([label[own] for label, own in zip(wanted, kept, strict=True)] or [labels[:0, 0]])
        terms = F.cross_entropy(logits.float(), flat.to(logits.device), reduction="none").to(hidden.device)
        # an item without labels has loss 0, not NaN
        return logits, [own.sum() / max(len(own), 1) for own in terms.split(counts)]

    def _ground_scores(self, hidden, rows, places, tokens, scene_of, unused: list) -> list[torch.Tensor | None]:
        """Score the items that contain a <ground> token, scene by scene."""
        scores: list[torch.Tensor | None] = [None] * len(places)
        if self.config.head is None or self.config.ground_token_id is None:
            return scores
        asked: dict[int, list[tuple[int, int, torch.Tensor]]] = {}  # by scene: item, row, column
        for item, (row, columns) in enumerate(places):
            found = columns[rows.ids[row, columns] == self.config.ground_token_id]
            if len(found) > 1:
                raise DataError(f"item {item} of the batch has {len(found)} <ground> tokens", remedy="use one an item")
            if len(found):
                asked.setdefault(scene_of[row], []).append((item, row, found[0]))
        for scene, queries in asked.items():
            if not len(tokens[scene].proposals):
                items = ", ".join(str(item) for item, _, _ in queries)
                raise DataError(f"item {items} of the batch asks to ground in a scene without proposals",
                                remedy="give the scene's proposal boxes")  # fmt: skip
        pairs = [(_states(hidden, own), tokens[scene].proposals) for scene, own in asked.items()]
        if self.rank_sync_enabled:
            together = score_scenes(self, self.config.head, pairs or [(hidden[:1, 0], tokens[0].proposals)])
            unused += [] if pairs else together
        else:
            together = [score_proposals(self, self.config.head, *pair) for pair in pairs]
        for own, all_rows in zip(asked.values(), together if pairs else [], strict=True):
            for (item, _, _), row_scores in zip(own, all_rows, strict=True):
                scores[item] = row_scores
        return scores

    @staticmethod
    def _targets(item: int, targets, count: int, device: torch.device) -> torch.Tensor:
        """Return the item's targets (K,), after checking them against the number of proposals."""
        if targets is None or item >= len(targets):
            raise DataError(f"item {item} of the batch asks to ground, but has no targets", remedy="pass targets")
        chosen = torch.as_tensor(targets[item], dtype=torch.long, device=device)
        if len(chosen) and not (0 <= int(chosen.min()) and int(chosen.max()) < count):
            raise DataError(
                f"item {item} of the batch has targets {chosen.tolist()}, the scene has {count} proposals",
                remedy="give indices of proposals",
            )
        return chosen

    # -- generation ----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def generate(
        self,
        inputs: torch.Tensor | None = None,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        scenes: Sequence[SceneTensors] | None = None,
        scene_index: torch.Tensor | None = None,
        coords: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        targets: Any = None,
        **kwargs: Any,
    ):
        """Generate text for a batch, as `generate` of transformers does.

        Args:
            inputs: The same as `input_ids`.
            input_ids: (R, W) token ids.
            attention_mask: (R, W) 0 on padding, on either side; rows are padded on the left for generation.
            scenes: As in `forward`.
            scene_index: As in `forward`.
            coords: As in `forward`.
            labels: Ignored.
            targets: Ignored.
            **kwargs: Options of transformers.

        Returns:
            (R, new tokens) the generated tokens only; without scenes, what transformers returns.

        Raises:
            DataError: A scene is missing, or rows pack several items.
        """
        ids = inputs if input_ids is None else input_ids
        if scenes is None:
            if ids is not None and bool((ids == seq.IMAGE_ID).any()):
                raise DataError("the prompt has <image> but no scene was given", remedy="pass scenes=[...]")
            return super().generate(inputs=ids, attention_mask=attention_mask, **kwargs)
        if kwargs.pop("segments", None) is not None:
            raise DataError("rows of several items cannot be continued", remedy="generate with one item a row")
        tokens = self._encode_scenes(ids, scenes, scene_index, set())
        rows, _ = self.assemble(ids, tokens, scene_index, attention_mask, coords=coords, left=True)
        return super().generate(inputs_embeds=rows.embeds, attention_mask=rows.mask, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        """Load a checkpoint of this package or of LLaVA-NeXT; see `model.checkpoint.weights.load`.

        The result is of the class that config.json names, or of the subclass this is called on.
        """
        from video3d_plugin.model.checkpoint.weights import load

        return load(cls, super().from_pretrained, pretrained_model_name_or_path, *args, **kwargs)


def _states(hidden: torch.Tensor, queries: list[tuple[int, int, torch.Tensor]]) -> torch.Tensor:
    """Return the hidden states (Q, H) of queries (item, row, column)."""
    return hidden[[row for _, row, _ in queries], torch.stack([column for _, _, column in queries])]


def _keep_own_initialisation(part: nn.Module | None) -> None:
    for module in part.modules() if part is not None else ():
        setattr(module, _OWN_INITIALISATION, True)


def _longest_items(mask: torch.Tensor, segments: torch.Tensor) -> list[int]:
    """Return for each row the length of its longest item, prefix included."""
    longest = [0] * len(mask)
    for row, columns in seq.item_places(mask, segments.masked_fill(~mask, -1)):
        longest[row] = max(longest[row], len(columns))
    return longest


def _given(**kwargs: Any) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if value is not None}


AutoModelForCausalLM.register(Video3DConfig, Video3DForCausalLM, exist_ok=True)
