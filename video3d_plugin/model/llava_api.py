"""The methods that LLaVA-NeXT's training script calls on a model.

Source: LLaVA-NeXT at df17966, llava/train/train.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from video3d_plugin.errors import DataError
from video3d_plugin.model.checkpoint.lora import train_in_full
from video3d_plugin.model.distributed import zero3
from video3d_plugin.model.registry import new_parts
from video3d_plugin.tokens import COORD_TOKEN, GROUND_TOKEN, SPATIAL_TOKENS

if TYPE_CHECKING:
    from transformers import PreTrainedModel as Model

    from video3d_plugin.model.backbone import Video3DModel
    from video3d_plugin.model.vision import VisionTower
else:
    Model = object


class LlavaTrainingAPI(Model):
    """Mix-in of Video3DForCausalLM, so that it trains under LLaVA-NeXT's own trainer."""

    if TYPE_CHECKING:
        model: Video3DModel

    def get_model(self) -> Video3DModel:
        """Return the language model with tower, projector and position embedding (Video3DModel)."""
        return self.model

    def get_vision_tower(self) -> VisionTower:
        """Return the vision tower."""
        return self.model.get_vision_tower()

    def initialize_vision_tokenizer(self, model_args: Any, tokenizer: Any) -> None:
        """Add the special tokens, and unfreeze the parts that always train; the host calls this after freezing others.

        Position embedding, grounding head and the new parts of a subclass train whatever `mm_tunable_parts` says, as in
        the reference (LaVi-Lab/Video-3D-LLM at 3ff70e8, llava/train/train_3d.py). With LoRA, so do all parts that an
        adapter does not store.

        Args:
            model_args: The host's model arguments.
            tokenizer: The host's tokenizer, changed in place.

        Raises:
            DataError: `mm_use_im_start_end` is set.
        """
        if getattr(model_args, "mm_use_im_start_end", False):
            raise DataError("mm_use_im_start_end is not supported", remedy="leave it at False")
        self.add_tokens(tokenizer)
        for name, parameter in self.named_parameters():
            if name.startswith(new_parts(type(self))):
                parameter.requires_grad_(True)
        adapters = [parameter for name, parameter in self.named_parameters() if "lora_" in name]
        for parameter in adapters:  # df17966 freezes those of the tower again
            parameter.requires_grad_(True)
        if adapters:
            train_in_full(self)

    def add_tokens(self, tokenizer: Any) -> list[str]:
        """Add <image>, <ground> and <coord> to a tokenizer, and rows for them to the embeddings.

        New tokens start as the mean of the old ones, also in spare rows (Qwen2 has more rows than tokens, which were
        never trained). The ids of <ground> and <coord> are stored in the configuration.

        Args:
            tokenizer: A tokenizer of transformers, changed in place.

        Returns:
            The tokens that it lacked.
        """
        known = tokenizer.get_vocab()
        new = [token for token in SPATIAL_TOKENS if token not in known]
        tokenizer.add_tokens(new)
        embeddings: Any = self.get_input_embeddings()
        old = zero3.whole_shape(embeddings.weight)[0]
        fresh = list(tokenizer.convert_tokens_to_ids(new))
        if len(tokenizer) > old:
            self._grow_embeddings(old, len(tokenizer))
            fresh.append(old)
        if fresh:
            self._start_from_mean(min(fresh), len(tokenizer))
        self.config.ground_token_ids = [tokenizer.convert_tokens_to_ids(GROUND_TOKEN)]
        self.config.coord_token_ids = [tokenizer.convert_tokens_to_ids(COORD_TOKEN)]
        return new

    def _grow_embeddings(self, old: int, size: int) -> None:
        trainable = {name: p.requires_grad for name, p in self.named_parameters()}
        self.resize_token_embeddings(size)
        for name, p in self.named_parameters():  # the host froze parts before this call
            p.requires_grad_(trainable.get(name, True))

    def _start_from_mean(self, old: int, end: int) -> None:
        """Set rows `old` to `end` of both embeddings to the mean of the rows before them."""
        layers: tuple[Any, Any] = (self.get_input_embeddings(), self.get_output_embeddings())
        with torch.no_grad(), zero3.gathered(layer.weight for layer in layers):
            for layer in layers:
                layer.weight[old:end] = layer.weight[:old].float().mean(0).to(layer.weight.dtype)
