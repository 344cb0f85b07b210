"""The vision part of the model: SigLIP tower, projector, pooling of the patch grid, newline tokens.

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
    """SigLIP without its last layer and pooling head. `post_layernorm` is a parameter, but not applied.

    Source: LLaVA-NeXT at df17966, llava/model/multimodal_encoder/siglip_encoder.py, which takes the last hidden state
    before the final norm.
    """

    def __init__(self, config: SiglipVisionConfig):
        super().__init__()
        self.embeddings = SiglipVisionEmbeddings(config)
        shortened = SiglipVisionConfig.from_dict(config.to_dict())
        shortened.num_hidden_layers = config.num_hidden_layers - 1
        shortened._attn_implementation = config._attn_implementation
        self.encoder = SiglipEncoder(shortened)  # type: ignore[arg-type]  # it reads the vision part of a SiglipConfig
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(V, 3, U, U) in [-1, 1] -> (V, n * n, C) patch features."""
        patches = self.embeddings.patch_embedding(pixels).flatten(2).transpose(1, 2)
        # All positions in order: SigLIP's position_ids buffer is not saved and undefined after loading on "meta".
        # The layer is called instead of indexing its weight, which ZeRO-3 gathers only while the layer runs.
        places = torch.arange(patches.shape[1], device=patches.device)
        patches = patches + self.embeddings.position_embedding(places)
        return self.encoder(inputs_embeds=patches)[0]


class _Tower(nn.Module):
    """One level of LLaVA-NeXT's parameter names."""

    def __init__(self, config: SiglipVisionConfig):
        super().__init__()
        self.vision_model = VisionModel(config)


class VisionTower(nn.Module):
    """The SigLIP tower, with the attributes that LLaVA-NeXT's training script reads.

    Args:
        sizes: Arguments of SiglipVisionConfig.
        name: Name or folder of the tower in the configuration.
        attention: The language model's attention implementation; "flex_attention" and others made for its masks are
            replaced by "sdpa".

    Raises:
        DataError: The tower has fewer than two layers.
    """

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
        """Do nothing. The host calls this to load the tower, whose weights are part of the checkpoint here."""

    def to(self, *args: Any, **kwargs: Any) -> VisionTower:
        """Move the tower as torch does; with `keeps_dtype`, change the device only.

        LLaVA-NeXT's training script requests float16 in all runs without bf16. Ignoring that keeps float32 runs in
        float32, and float32 weights to train in float16 runs.
        """
        if self.keeps_dtype:
            kwargs.pop("dtype", None)
            args = tuple(arg for arg in args if not isinstance(arg, torch.dtype))
        return super().to(*args, **kwargs) if args or kwargs else self

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Encode frames.

        All frames run together; for inference on a CPU four at a time, which is as fast and takes less memory
        (benchmarks/vision_tower.py).

        Args:
            pixels: (V, U, U, 3) uint8 RGB, or floats in [-1, 1]; U = n * p pixels of n patches of size p. Further
                pixels would change nothing, because the convolution has no padding.

        Returns:
            (V, n * n, C) patch features, row by row.
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
        return int(self.config.image_size)  # type: ignore[arg-type]  # SigLIP's images are square

    @property
    def num_patches_per_side(self) -> int:
        return self.image_size // int(self.config.patch_size)  # type: ignore[arg-type]

    @property
    def num_patches(self) -> int:
        return self.num_patches_per_side**2

    @property
    def image_processor(self) -> Any:
        """SigLIP's own image processor, for hosts that ask the tower for one; this package does not use it."""
        from transformers import SiglipImageProcessor

        return SiglipImageProcessor(size={"height": self.image_size, "width": self.image_size})


def normalise_pixels(pixels: torch.Tensor, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Normalise pixels to [-1, 1].

    Args:
        pixels: (V, U, U, 3) uint8 RGB; floats count as normalised already.
        dtype: Number format of the result.
        device: Its device.

    Returns:
        (V, 3, U, U).
    """
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
    """Build LLaVA-NeXT's `mm_projector`, with its parameter names.

    Args:
        kind: The option `mm_projector_type`; see `config.parse_projector`.
        vision_size: Hidden size of the tower.
        hidden_size: Hidden size of the language model.
    """
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
    """Pool the patch grid by `layout.pool_stride`.

    Bilinear interpolation to g = ceil(n / stride), or average or max pooling to g = floor(n / stride). Source:
    LLaVA-NeXT at df17966, llava_arch.py, get_2dPool.

    Args:
        patches: (V, n * n, H) patch features, row by row.
        layout: Pooling and stride.

    Returns:
        (V, g, g, H).
    """
    side, stride = round(patches.shape[1] ** 0.5), layout.pool_stride
    grid = patches.unflatten(1, (side, side)).permute(0, 3, 1, 2)
    if layout.pooling == "bilinear":
        target = -(-side // stride)
        # as it lies in memory ("channels last"), for which torch 2.2 has no kernel in float16 on a CPU
        grid = grid.contiguous() if grid.dtype == torch.float16 else grid
        grid = F.interpolate(grid, size=(target, target), mode="bilinear")
    else:
        pool = F.avg_pool2d if layout.pooling == "average" else F.max_pool2d
        grid = pool(grid, stride)
    return grid.permute(0, 2, 3, 1)


def flatten_with_newlines(grid: torch.Tensor, newline: torch.Tensor | None, layout: LayoutSpec) -> torch.Tensor:
    """Flatten the grids of all frames to one sequence, and insert the newline token.

    Args:
        grid: (V, g, g, H).
        newline: (H,) the learned newline token, or None if the model has none.
        layout: Where it goes: "grid" after every row, "frame" after every frame, "one_token" at the end, "no_token"
            nowhere.

    Returns:
        (T, H), frames in order, row by row. T is V g (g + 1), V (g g + 1), V g g + 1 or V g g.
    """
    frames, side, _, width = grid.shape
    if layout.newline == "no_token":
        return grid.flatten(0, 2)
    assert newline is not None, f"newline {layout.newline!r} needs the newline token"
    if layout.newline == "grid":
        return torch.cat([grid, newline.to(grid).expand(frames, side, 1, width)], dim=2).flatten(0, 2)
    if layout.newline == "frame":
        return torch.cat([grid.flatten(1, 2), newline.to(grid).expand(frames, 1, width)], dim=1).flatten(0, 1)
    return torch.cat([grid.flatten(0, 2), newline.to(grid)[None]], dim=0)
