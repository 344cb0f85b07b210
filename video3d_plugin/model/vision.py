"""The visual half up to the token sequence: SigLIP tower, projector, pooling of the grid, newline tokens.

Parameter names are LLaVA-NeXT's (`vision_tower.vision_tower.vision_model.*`, `mm_projector.*`). Sizes come from the
tower's configuration.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import SiglipVisionConfig
from transformers.models.siglip.modeling_siglip import SiglipEncoder, SiglipVisionEmbeddings

from video3d_plugin.config import LayoutSpec, parse_projector
from video3d_plugin.errors import DataError

# The tower attends over few patches without a mask; implementations made for the language model's masks do not fit it.
_TOWER_ATTENTION = {
    "eager": "eager",
    "flash_attention_2": "flash_attention_2",
    "flash_attention_3": "flash_attention_3",
}

_FRAMES_AT_ONCE_ON_CPU = 4


class VisionModel(nn.Module):
    """SigLIP's embeddings and all encoder layers but the last; `post_layernorm` is carried, not applied.

    Source: LLaVA-NeXT at df17966, llava/model/multimodal_encoder/siglip_encoder.py: the last layer and the pooling
    head are removed and the last hidden state is taken before the final norm.
    """

    def __init__(self, config: SiglipVisionConfig):
        super().__init__()
        self.embeddings = SiglipVisionEmbeddings(config)
        shortened = SiglipVisionConfig.from_dict(config.to_dict())
        shortened.num_hidden_layers = config.num_hidden_layers - 1
        shortened._attn_implementation = config._attn_implementation
        self.encoder = SiglipEncoder(shortened)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:  # (V, 3, U, U) in [-1, 1] -> (V, n * n, C)
        patches = self.embeddings.patch_embedding(pixels).flatten(2).transpose(1, 2)
        # All positions in order: SigLIP's position_ids buffer is not saved and is garbage after a meta-device load.
        # Asked of the layer and not of its weight, which under ZeRO-3 is whole only while the layer runs.
        places = torch.arange(patches.shape[1], device=patches.device)
        patches = patches + self.embeddings.position_embedding(places)
        return self.encoder(inputs_embeds=patches)[0]


class _Tower(nn.Module):
    """One level of LLaVA-NeXT's parameter names."""

    def __init__(self, config: SiglipVisionConfig):
        super().__init__()
        self.vision_model = VisionModel(config)


class VisionTower(nn.Module):
    """What LLaVA-NeXT's training script expects of a tower (`config`, `is_loaded`, `num_patches_per_side`, ...)."""

    def __init__(self, sizes: dict[str, Any], name: str | None = None, attention: str | None = None):
        super().__init__()
        self.vision_tower_name = name or ""
        self.config = SiglipVisionConfig(**sizes)
        if self.config.num_hidden_layers < 2:
            raise DataError(
                f"the vision tower has {self.config.num_hidden_layers} layers, and the last one is dropped",
                remedy="use a tower of two layers or more",
            )
        self.config._attn_implementation = _TOWER_ATTENTION.get(attention or "", "sdpa")
        self.vision_tower = _Tower(self.config)
        self.is_loaded = True
        self.keeps_dtype = False  # set under LLaVA-NeXT's training script, see `to`

    def load_model(self, device_map: Any = None) -> None:
        """Called by the host; the weights are part of the checkpoint here, so there is nothing left to do."""

    def to(self, *args: Any, **kwargs: Any) -> VisionTower:
        """As torch's, but for LLaVA-NeXT's training script, which asks for float16 in all runs without bf16: there only
        the device changes, so that float32 runs stay float32 and float16 ones keep float32 weights to train."""
        if self.keeps_dtype:
            kwargs.pop("dtype", None)
            args = tuple(arg for arg in args if not isinstance(arg, torch.dtype))
        return super().to(*args, **kwargs) if args or kwargs else self

    def compile_layers(self, **options: Any) -> None:
        """torch.compile the layers, in place, names unchanged; options are torch.compile's. The first call takes
        minutes. Measured on one CPU core it does not pay (benchmarks/vision_tower.py --compile 1)."""
        self.vision_tower.vision_model.encoder.compile(**options)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(V, U, U, 3) uint8, or float in [-1, 1] -> (V, n * n, C) patch features; U = n * p, the pixels of n patches.

        The rest of a crop that the patch size does not divide changes nothing: the convolution has no padding.
        All frames at once; where nothing is trained on a CPU a few at a time, which is as fast there and takes less
        memory (benchmarks/vision_tower.py).
        """
        few = self.device.type == "cpu" and not torch.is_grad_enabled()
        parts = pixels.split(_FRAMES_AT_ONCE_ON_CPU if few else max(1, len(pixels)))
        return torch.cat([self.vision_tower.vision_model(self._normalised(part)) for part in parts])

    def _normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        return normalise_pixels(pixels, self.dtype, self.device)

    @property
    def dtype(self) -> torch.dtype:
        return self.vision_tower.vision_model.post_layernorm.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.vision_tower.vision_model.post_layernorm.weight.device

    @property
    def hidden_size(self) -> int:
        return self.config.hidden_size

    @property
    def image_size(self) -> int:
        return self.config.image_size

    @property
    def num_patches_per_side(self) -> int:
        return self.config.image_size // self.config.patch_size

    @property
    def num_patches(self) -> int:
        return self.num_patches_per_side**2

    @property
    def image_processor(self):
        """SigLIP's own image processor, for hosts that ask the tower for one; this package does not use it."""
        from transformers import SiglipImageProcessor

        return SiglipImageProcessor(size={"height": self.image_size, "width": self.image_size})


def normalise_pixels(pixels: torch.Tensor, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """(V, U, U, 3) uint8 RGB -> (V, 3, U, U) in [-1, 1], on the device. Floats are taken as normalised already."""
    pixels = pixels.to(device, non_blocking=True).permute(0, 3, 1, 2)
    if not pixels.is_floating_point():
        pixels = pixels.float() / 127.5 - 1.0
    return pixels.to(dtype).contiguous()


class _ResidualBlock(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.pre_norm = nn.LayerNorm(width)
        self.proj = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pre_norm(x)
        return x + self.proj(x)


def build_projector(kind: str, vision_size: int, hidden_size: int) -> nn.Module:
    """LLaVA-NeXT's `mm_projector` by its option string, with its parameter names."""
    layers, residuals = parse_projector(kind)
    if layers == 0:
        return nn.Identity()
    if kind == "linear":
        return nn.Linear(vision_size, hidden_size)
    modules: list[nn.Module] = [nn.Linear(vision_size, hidden_size)]
    for _ in range(layers - 1):
        modules += [nn.GELU(), nn.Linear(hidden_size, hidden_size)]
    modules += [_ResidualBlock(hidden_size) for _ in range(residuals)]
    return nn.Sequential(*modules)


def pool_grid(patches: torch.Tensor, layout: LayoutSpec) -> torch.Tensor:
    """(V, n * n, H) patch features -> (V, g, g, H) pooled grid, row by row.

    Source: LLaVA-NeXT at df17966, llava_arch.py, get_2dPool: bilinear interpolation to ceil(n / stride), or average or
    max pooling, which drop a last odd row and column.
    """
    side, stride = round(patches.shape[1] ** 0.5), layout.pool_stride
    grid = patches.unflatten(1, (side, side)).permute(0, 3, 1, 2)
    if layout.pooling == "bilinear":
        target = -(-side // stride)
        grid = F.interpolate(grid.contiguous(), size=(target, target), mode="bilinear")
    else:
        pool = F.avg_pool2d if layout.pooling == "average" else F.max_pool2d
        grid = pool(grid, stride)
    return grid.permute(0, 2, 3, 1)


def flatten_with_newlines(grid: torch.Tensor, newline: torch.Tensor | None, layout: LayoutSpec) -> torch.Tensor:
    """(V, g, g, H) -> (T, H): frames in order, row by row, with the newline token where `layout` puts it.

    grid: after every row, T = V g (g + 1). frame: after every frame, T = V (g g + 1). one_token: once at the end,
    T = V g g + 1. no_token: nowhere, T = V g g.
    """
    frames, side, _, width = grid.shape
    if layout.newline == "grid":
        return torch.cat([grid, newline.to(grid).expand(frames, side, 1, width)], dim=2).flatten(0, 2)
    if layout.newline == "frame":
        return torch.cat([grid.flatten(1, 2), newline.to(grid).expand(frames, 1, width)], dim=1).flatten(0, 1)
    tokens = grid.flatten(0, 2)
    if layout.newline == "one_token":
        return torch.cat([tokens, newline.to(grid)[None]], dim=0)
    return tokens


def visual_length(frames: int, side: int, layout: LayoutSpec) -> int:
    """Tokens that `flatten_with_newlines` makes of `frames` grids of `side` x `side`."""
    extra = {"grid": frames * side, "frame": frames, "one_token": 1, "no_token": 0}[layout.newline]
    return frames * side * side + extra
