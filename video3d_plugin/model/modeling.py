"""Video3DForCausalLM: Qwen2 with posed RGB-D video as input, under LLaVA-NeXT's parameter names.

Source: Video-3D LLM, arXiv 2412.00493; LaVi-Lab/Video-3D-LLM at 3ff70e8. Beyond the reference, a batch may mix text and
grounding items of several scenes and lengths, each item has a loss, and a row may pack several questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoModelForCausalLM, Qwen2ForCausalLM

from video3d_plugin.compat import CACHE
from video3d_plugin.config import Video3DConfig
from video3d_plugin.errors import DataError
from video3d_plugin.model import registry
from video3d_plugin.model import sequence as seq
from video3d_plugin.model.assembly import ItemAssembly
from video3d_plugin.model.attention.packed import attention_mask_for, is_segment_mask
from video3d_plugin.model.backbone import Video3DModel, keep_own_initialisation, keeps_own_initialisation
from video3d_plugin.model.distributed import zero3
from video3d_plugin.model.grounding import add_head
from video3d_plugin.model.item_losses import score_items
from video3d_plugin.model.llava_api import LlavaTrainingAPI
from video3d_plugin.model.no_cast import unwrap
from video3d_plugin.model.output import Video3DOutput
from video3d_plugin.model.processing import Video3DProcessor  # noqa: F401  (known to AutoProcessor where the model is)
from video3d_plugin.model.scene_tokens import SceneTensors, SceneTokens


class Video3DForCausalLM(LlavaTrainingAPI, ItemAssembly, Qwen2ForCausalLM):
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
                    keep_own_initialisation(part)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Initialise Qwen2's modules as Qwen2 does, and all others as torch does."""
        if not keeps_own_initialisation(module):
            super()._init_weights(module)
            return
        with zero3.gathered(module.parameters(recurse=False)):
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=module.embedding_dim**-0.5)
            elif hasattr(module, "reset_parameters"):
                reset: Any = module.reset_parameters
                reset()

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
        position_ids: torch.Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: torch.Tensor | None = None,
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
    ) -> Any:
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
            A `Video3DOutput`, or a tuple with `return_dict=False`.

        Raises:
            DataError: The batch is inconsistent; the message names the item.
        """
        rows = None
        scenes, coords, targets = unwrap(scenes), unwrap(coords), unwrap(targets)
        past = past_key_values if cache is None else cache
        if scenes is not None:
            assert input_ids is not None, "scenes go with input_ids"
            input_ids, scene_index = _on_cpu(input_ids), _on_cpu(scene_index)
            with_proposals = self.scenes_to_ground(input_ids, scenes, scene_index)
            tokens = self.encode_batch(input_ids, scenes, scene_index, with_proposals)
            rows, scene_of = self.assemble(
                input_ids, tokens, scene_index, attention_mask, labels, coords, segments, left=None
            )
            inputs_embeds, input_ids = rows.embeds, None
            packed = self.model.packed_attention_enabled and not output_attentions
            attention_mask = attention_mask_for(rows, self.config._attn_implementation, packed)
            position_ids = rows.position_ids
            use_cache = False if is_segment_mask(attention_mask) else use_cache
        elif input_ids is not None and past is None and bool((input_ids == seq.IMAGE_ID).any()):
            raise DataError("the prompt has <image> but no scene was given", remedy="pass scenes=[inputs.tensors()]")
        with nullcontext() if rows is None else self.model.placed_at(rows.axes):  # generation places them itself
            outputs = self.model(
                input_ids=input_ids,
                attention_mask=attention_mask,
                position_ids=position_ids,
                inputs_embeds=inputs_embeds,
                use_cache=use_cache,
                return_dict=True,
                **{CACHE: past},
                **_given(
                    output_attentions=output_attentions,
                    output_hidden_states=output_hidden_states,
                    cache_position=cache_position,
                ),
            )
        hidden = outputs[0]
        if rows is not None:
            fields = score_items(self, hidden, rows, tokens, scene_of, targets)
        else:
            last = logits_to_keep if isinstance(logits_to_keep, torch.Tensor) else logits_to_keep or num_logits_to_keep
            fields = self._continue(hidden, labels, last)
        result = Video3DOutput(  # in one go: transformers' outputs do not see fields that are set later
            **fields,
            **{CACHE: outputs[CACHE] if CACHE in outputs else None},
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )
        return result if return_dict is not False else result.to_tuple()

    # -- from hidden states to scores and losses ----------------------------------------------------------------

    def _continue(self, hidden: torch.Tensor, labels: torch.Tensor | None, last: int | torch.Tensor) -> dict[str, Any]:
        """Compute logits of the `last` positions (0: all), and the loss, of a step of the language model alone."""
        logits = self.lm_head(hidden[:, last if isinstance(last, torch.Tensor) else slice(-last or None, None)])
        loss = None
        if labels is not None:
            shifted = labels[:, 1:].flatten().to(logits.device)
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), shifted, ignore_index=seq.IGNORE)
        return {"loss": loss, "logits": logits}

    # -- generation ----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def generate(  # type: ignore[override]
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
    ) -> Any:
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
        generate: Any = super().generate  # type: ignore[misc]  # whose self has to be a protocol
        if scenes is None:
            if ids is not None and bool((ids == seq.IMAGE_ID).any()):
                raise DataError("the prompt has <image> but no scene was given", remedy="pass scenes=[...]")
            return generate(inputs=ids, attention_mask=attention_mask, **kwargs)
        if kwargs.pop("segments", None) is not None:
            raise DataError("rows of several items cannot be continued", remedy="generate with one item a row")
        assert ids is not None, "scenes go with input_ids"
        ids, scene_index = _on_cpu(ids), _on_cpu(scene_index)
        tokens = self.encode_batch(ids, scenes, scene_index, ())
        rows, _ = self.assemble(ids, tokens, scene_index, attention_mask, coords=coords, left=True)
        with self.model.placed_at(rows.axes):
            return generate(inputs_embeds=rows.embeds, attention_mask=rows.mask.to(rows.embeds.device), **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """Load a checkpoint of this package or of LLaVA-NeXT; see `model.checkpoint.weights.load`.

        The result is of the class that config.json names, or of the subclass this is called on.
        """
        from video3d_plugin.model.checkpoint.weights import load

        return load(cls, super().from_pretrained, pretrained_model_name_or_path, *args, **kwargs)


def _on_cpu(part: Any) -> Any:
    return part.cpu() if isinstance(part, torch.Tensor) else part


def _given(**kwargs: Any) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if value is not None}


AutoModelForCausalLM.register(Video3DConfig, Video3DForCausalLM, exist_ok=True)
