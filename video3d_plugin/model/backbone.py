"""Video3DModel: Qwen2 with the parts that turn frames into its tokens, under LLaVA-NeXT's parameter names."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from transformers import Qwen2Model

from video3d_plugin.config import Video3DConfig
from video3d_plugin.model.attention.axes import Qwen2AxesRotaryEmbedding
from video3d_plugin.model.attention.packed import enable_packed_attention
from video3d_plugin.model.position import build_position
from video3d_plugin.model.vision import VisionTower, build_projector

_OWN_INITIALISATION = "_video3d_own_initialisation"


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
            if config.position.rotary:
                self.rotary_emb = Qwen2AxesRotaryEmbedding(config=config)
        for part in (self.vision_tower, self.mm_projector, getattr(self, "world_position_embedding", None)):
            keep_own_initialisation(part)
        self.packed_attention_enabled = enable_packed_attention(self.layers)

    def placed_at(self, axes: torch.Tensor | None) -> AbstractContextManager[None]:
        """Place the tokens at three-axis positions (R, L, 3) within a context; nothing happens with None."""
        rotary = self.rotary_emb
        return rotary.at(axes) if isinstance(rotary, Qwen2AxesRotaryEmbedding) else nullcontext()

    def compile_layers(self, **options: Any) -> None:
        """Compile the layers one by one, in place: each is one graph, and all of them share it.

        What surrounds them (tower, assembly, losses) depends on numbers of scenes, tokens and proposals, and would be
        many small graphs.

        Args:
            **options: Passed to `torch.compile`.
        """
        for layer in self.layers:
            layer.compile(**options)

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


def keep_own_initialisation(part: nn.Module | None) -> None:
    """Mark the modules of a part: they are initialised as torch does, not as Qwen2 does."""
    for module in part.modules() if part is not None else ():
        setattr(module, _OWN_INITIALISATION, True)


def keeps_own_initialisation(module: nn.Module) -> bool:
    """Return whether `keep_own_initialisation` marked a module."""
    return bool(getattr(module, _OWN_INITIALISATION, False))
