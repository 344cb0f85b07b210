"""Video3DConfig: LLaVA-NeXT's config.json, with its option strings parsed into frozen records.

LLaVA-NeXT searches options such as `avg-discrete-sin3d` for substrings wherever it uses them. Here one function parses
each option, and all other code reads the record that it returns.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from transformers import AutoConfig, Qwen2Config

from video3d_plugin.compat import rope_arguments
from video3d_plugin.errors import DataError, MissingError, Video3DError
from video3d_plugin.files.checkpoint_json import (
    VISION_RULES,
    VISION_SIZES,
    check_config,
    check_fields,
    read_checkpoint_json,
)
from video3d_plugin.inputs_spec import POINTS_PER_TOKEN, InputsSpec, ObjectPatch, Points, Pooling

Newline = Literal["grid", "frame", "one_token", "no_token"]
HeadKind = Literal["infonce", "score", "mlp"]

# The tower of the published checkpoints, so that its sizes are known without a network.
# Source: google/siglip-so400m-patch14-384, config.json.
KNOWN_TOWERS: dict[str, dict[str, int]] = {
    "google/siglip-so400m-patch14-384": {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "image_size": 384,
        "patch_size": 14,
    },
}
HOST_MODEL_TYPES = ("llava", "llava_qwen")  # what the config.json of a LLaVA-NeXT checkpoint says
SAVED_WITH = "the config.json must be the one saved with these weights"
_POINT_WORDS: dict[str, Points] = {
    "avg": "average",
    "sample1": "centre",
    "sample5": "five",
    "sample9": "nine",
    "minmax": "minmax",
}
_ENCODINGS: dict[str, Literal["sine", "mlp"]] = {"sin3d": "sine", "mlp": "mlp"}


@dataclass(frozen=True)
class PositionSpec:
    """How a token's 3D points are embedded.

    Attributes:
        points: Which points represent a token.
        encoding: "sine" or "mlp".
        discretised: Clamp points to [low, high] and round them to voxels before encoding.
        voxel_size: Side of a voxel, metres.
        low: Lowest x, y, z, world frame, metres.
        high: Highest x, y, z, world frame, metres.
    """

    points: Points
    encoding: Literal["sine", "mlp"]
    discretised: bool
    voxel_size: float = 0.1
    low: tuple[float, float, float] = (-15.0, -15.0, -5.0)
    high: tuple[float, float, float] = (15.0, 15.0, 5.0)

    @property
    def points_per_token(self) -> int:
        """3D points that represent one token."""
        return POINTS_PER_TOKEN[self.points]


@dataclass(frozen=True)
class LayoutSpec:
    """How the patch grid becomes a sequence of visual tokens.

    Attributes:
        pooling: "bilinear", "average" or "max".
        pool_stride: Patches along a side that are pooled to one token.
        newline: Where the learned newline token is inserted; see `model.vision.flatten_with_newlines`.
        has_newline: Whether the checkpoint has the newline parameter.
    """

    pooling: Pooling
    pool_stride: int
    newline: Newline
    has_newline: bool


@dataclass(frozen=True)
class HeadSpec:
    """The grounding head.

    Attributes:
        kind: "infonce", "score" or "mlp".
        temperature: Temperature of InfoNCE.
    """

    kind: HeadKind
    temperature: float = 0.07

    @property
    def has_zero_target(self) -> bool:
        """Whether scores end with a slot that means "no such object"."""
        return self.kind == "infonce"


@lru_cache(maxsize=64)
def parse_position(text: str) -> tuple[Points, Literal["sine", "mlp"], bool]:
    """Parse `world_position_embedding_type`.

    Args:
        text: Words in any order, separated by hyphens, such as "avg-discrete-sin3d".

    Returns:
        Points, encoding, and whether points are rounded to voxels: ("average", "sine", True).

    Raises:
        DataError: A word is unknown, or there is not exactly one for the points and one for the encoding.
    """
    words = text.split("-")
    points = [_POINT_WORDS[word] for word in words if word in _POINT_WORDS]
    encodings = [_ENCODINGS[word] for word in words if word in _ENCODINGS]
    unknown = [word for word in words if word not in {*_POINT_WORDS, *_ENCODINGS, "discrete"}]
    if unknown or len(points) != 1 or len(encodings) != 1:
        raise DataError(
            f"world_position_embedding_type {text!r} is not understood",
            remedy=f"one of {', '.join(_POINT_WORDS)}, then optionally `discrete`, then one of {', '.join(_ENCODINGS)}",
        )
    return points[0], encodings[0], "discrete" in words


@lru_cache(maxsize=64)
def parse_object_feature(text: str | None) -> ObjectPatch:
    """Parse `object_feature_type`, such as "patch14-pe".

    The position embedding of the box's centre is added whenever the model has one, with or without "-pe", as in the
    reference (LaVi-Lab/Video-3D-LLM at 3ff70e8, llava/model/llava_arch.py).

    Args:
        text: The option; None means "patch14".

    Raises:
        DataError: The option is unknown.
    """
    words = (text or "patch14").split("-")
    known: dict[str, ObjectPatch] = {"patch14": "patch14", "patch27": "patch27"}
    patches = [known[word] for word in words if word in known]
    if len(patches) != 1 or set(words) - {*known, "pe"}:
        raise DataError(
            f"object_feature_type {text!r} is not understood",
            remedy="known: patch14, patch14-pe, patch27, patch27-pe",
        )
    return patches[0]


@lru_cache(maxsize=64)
def parse_projector(text: str) -> tuple[int, int]:
    """Parse `mm_projector_type`.

    Args:
        text: "identity", "linear", "mlpNx_gelu" or "mlpNx_resMx_gelu".

    Returns:
        Linear layers and residual blocks: (2, 0) for "mlp2x_gelu".

    Raises:
        DataError: The option is unknown.
    """
    simple = {"linear": (1, 0), "identity": (0, 0)}
    if text in simple:
        return simple[text]
    match = re.fullmatch(r"mlp([1-9][0-9]{0,2})x(?:_res([0-9]{1,3})x)?_gelu", str(text))
    if not match:
        raise DataError(
            f"mm_projector_type {text!r} is not understood",
            remedy="known: identity, linear, mlpNx_gelu, mlpNx_resMx_gelu",
        )
    return int(match[1]), int(match[2] or 0)


class Video3DConfig(Qwen2Config):
    """Configuration of Qwen2 with the keys of LLaVA-NeXT (`mm_*`) and Video-3D LLM.

    Two keys are added by this package. `vision_config`: a dict of SigLIP sizes; without it they are read from
    `mm_vision_tower`, a known hub name, a local folder with a SigLIP config.json, or a hub name in the local cache.
    `mask_invalid_depth`: leave depth holes out of averages, box tests and position embeddings.

    Args:
        **kwargs: Fields of a config.json.
    """

    model_type = "video3d"
    keys_to_ignore_at_inference = [
        "past_key_values",
        "cache",
        "item_losses",
        "ground_scores",
        "hidden_states",
        "attentions",
    ]

    def __init__(self, **kwargs: Any):
        own = {
            name: kwargs.pop(name, default)
            for name, default in {
                "vision_config": None,
                "mask_invalid_depth": False,
                "mm_vision_tower": None,
                "mm_hidden_size": None,
                "mm_projector_type": "linear",  # these three as the host reads a config.json without them
                "mm_patch_merge_type": "flat",
                "mm_newline_position": "one_token",
                "mm_spatial_pool_mode": "bilinear",
                "mm_spatial_pool_stride": 2,
                "world_position_embedding_type": None,
                "voxel_size": 0.1,
                "min_xyz_range": [-15, -15, -5],
                "max_xyz_range": [15, 15, 5],
                "object_feature_type": None,
                "ground_head_type": None,
                "ground_head_temperature": 0.07,
                "ground_token_ids": None,
                "coord_token_ids": None,
            }.items()
        }
        kwargs.pop("model_type", None)
        own["vision_config"] = _sizes_of(own["vision_config"])
        super().__init__(**rope_arguments(kwargs))
        for name, value in own.items():
            setattr(self, name, value)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, *args: Any, **kwargs: Any) -> Any:
        """Load a configuration as transformers does.

        Raises:
            DataError: config.json cannot be used.
        """
        try:
            return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        except (Video3DError, OSError):
            raise
        except Exception as error:  # each version of transformers checks in its own way, with types of its own
            where = Path(pretrained_model_name_or_path) / "config.json"
            raise DataError(f"cannot be used: {error!s:.200}", where=where, remedy=SAVED_WITH) from error

    @classmethod
    def get_config_dict(
        cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Read config.json as transformers does, after checking it.

        LLaVA-NeXT's model types are replaced by ours, so that transformers does not warn about another type.
        """
        path = Path(pretrained_model_name_or_path) / "config.json"
        if os.path.lexists(path):
            check_config(read_checkpoint_json(path), cls, path, SAVED_WITH)
        content, rest = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        if content.get("model_type") in HOST_MODEL_TYPES:
            content["model_type"] = cls.model_type
        return content, rest

    def to_dict(self) -> dict[str, Any]:
        """Return the fields of config.json, with the rotary base under `rope_theta` too, as transformers 4 reads it."""
        result = super().to_dict()
        rope = result.get("rope_parameters") or {}
        if "rope_theta" in rope:
            result["rope_theta"] = rope["rope_theta"]
        return result

    # -- the parsed options ------------------------------------------------------------------------------------

    @property
    def position(self) -> PositionSpec | None:
        """The 3D position embedding; None for a checkpoint without one (LLaVA-NeXT's, or the paper's ablation).

        Raises:
            DataError: An option of it cannot be used.
        """
        if not self.world_position_embedding_type:
            return None
        words = _word(self.world_position_embedding_type, "world_position_embedding_type")
        points, encoding, discretised = parse_position(words)
        voxel_size = _number(self.voxel_size, "voxel_size", "give metres, e.g. 0.1")
        if discretised and not 0 < voxel_size < math.inf:
            raise DataError(f"voxel_size is {voxel_size}", remedy="give metres, e.g. 0.1")
        low, high = _triple(self.min_xyz_range, "min_xyz_range"), _triple(self.max_xyz_range, "max_xyz_range")
        if not all(a < b for a, b in zip(low, high, strict=True)):
            raise DataError(f"min_xyz_range {low} is not below max_xyz_range {high}", remedy="give metres, low to high")
        return PositionSpec(points, encoding, discretised, voxel_size, low, high)

    @property
    def layout(self) -> LayoutSpec:
        """Pooling and newline tokens.

        Raises:
            DataError: An option of it cannot be used.
        """
        merge = _word(self.mm_patch_merge_type or "flat", "mm_patch_merge_type")
        stride = int(_number(self.mm_spatial_pool_stride or 2, "mm_spatial_pool_stride", "give a whole number, e.g. 2"))
        if stride < 1:
            raise DataError(f"mm_spatial_pool_stride is {stride}", remedy="give 1 or more, e.g. 2")
        pooling = _one_of(self.mm_spatial_pool_mode, ("bilinear", "average", "max"), "mm_spatial_pool_mode")
        newline = _one_of(self.mm_newline_position, ("grid", "frame", "one_token", "no_token"), "mm_newline_position")
        has_newline = "unpad" in merge
        if merge == "flat" or (newline == "one_token" and not has_newline):
            newline = "no_token"
        elif not merge.startswith("spatial"):
            raise DataError(f"mm_patch_merge_type {merge!r} is not understood", remedy="known: flat, spatial_unpad")
        if newline in ("grid", "frame") and not has_newline:
            raise DataError(
                f"mm_newline_position {newline!r} needs the newline parameter",
                remedy="set mm_patch_merge_type to spatial_unpad, or mm_newline_position to no_token",
            )
        if getattr(self, "add_faster_video", False):
            raise DataError("add_faster_video is not supported", remedy="set add_faster_video to false")
        return LayoutSpec(pooling, stride, newline, has_newline)

    @property
    def head(self) -> HeadSpec | None:
        """The grounding head, or None.

        Raises:
            DataError: An option of it cannot be used.
        """
        if not self.ground_head_type:
            return None
        kind = _one_of(self.ground_head_type, ("infonce", "score", "mlp"), "ground_head_type")
        temperature = _number(self.ground_head_temperature or 0.07, "ground_head_temperature", "give 0.07")
        if not 0 < temperature < math.inf:
            raise DataError(f"ground_head_temperature is {temperature}", remedy="give 0.07")
        return HeadSpec(kind, temperature)

    @property
    def object_patch(self) -> ObjectPatch:
        """The grid whose patches are averaged to a proposal's features."""
        return parse_object_feature(_word(self.object_feature_type or "patch14", "object_feature_type"))

    @property
    def vision(self) -> dict[str, Any]:
        """SigLIP's sizes, as arguments of SiglipVisionConfig; see `tower_sizes`."""
        return self.vision_config or tower_sizes(self.mm_vision_tower, self.name_or_path)

    @property
    def inputs_spec(self) -> InputsSpec:
        """The specification of the model's inputs. Without a 3D position, average points are computed and not read."""
        vision, layout, position = self.vision, self.layout, self.position
        return InputsSpec(
            image_size=int(vision["image_size"]),
            patch_size=int(vision["patch_size"]),
            pool_stride=layout.pool_stride,
            pooling=layout.pooling,
            points=position.points if position else "average",
            object_patch=self.object_patch,
            mask_invalid_depth=bool(self.mask_invalid_depth),
        )

    @property
    def ground_token_id(self) -> int | None:
        """Id of <ground>; None if the tokenizer lacks it."""
        return _only(self.ground_token_ids, "ground_token_ids")

    @property
    def coord_token_id(self) -> int | None:
        """Id of <coord>; None if the tokenizer lacks it."""
        return _only(self.coord_token_ids, "coord_token_ids")

    @property
    def longest_sequence(self) -> int:
        """Positions that the model supports, visual tokens included."""
        limits = (self.max_position_embeddings, getattr(self, "tokenizer_model_max_length", None))
        return min(int(limit) for limit in limits if limit)


def tower_sizes(name: str | None, beside: str | Path | None = None) -> dict[str, Any]:
    """Read the sizes of a vision tower.

    Args:
        name: A known hub name, a local folder (absolute, or relative to the working folder or to `beside`), or a hub
            name in the local cache.
        beside: The checkpoint's folder.

    Returns:
        Arguments of SiglipVisionConfig.

    Raises:
        MissingError: The tower is not found.
        DataError: There is no name, or the tower is not SigLIP.
    """
    if not name:
        raise DataError("the configuration names no vision tower", remedy="set mm_vision_tower or vision_config")
    folder = tower_folder(name, beside)
    if folder is not None:
        return _siglip_sizes(folder / "config.json")
    if name in KNOWN_TOWERS:
        return dict(KNOWN_TOWERS[name])
    from transformers.utils.hub import cached_file

    try:
        path = cached_file(name, "config.json")
        assert path is not None  # it raises rather than return None, unless told otherwise
        return _siglip_sizes(Path(path))
    except (OSError, ValueError) as error:  # the second for what can be no hub name
        raise MissingError(
            f"vision tower {name!r:.80} is no local folder, and the hub or its cache did not give its config.json",
            remedy="set mm_vision_tower to a folder with a SigLIP model, or vision_config to its sizes",
        ) from error


def tower_folder(name: str, beside: str | Path | None = None) -> Path | None:
    """Return the local folder that `name` refers to, or None for a hub name.

    Args:
        name: A folder or a hub name.
        beside: A folder that a relative name may lie in, besides the working folder.
    """
    candidates = [Path(name).expanduser()] + ([Path(beside) / name] if beside else [])
    return next((path for path in candidates if (path / "config.json").is_file()), None)


def _siglip_sizes(path: Path) -> dict[str, Any]:
    content = read_checkpoint_json(path, remedy="give a SigLIP vision tower")
    kind = content.get("model_type")
    sizes = content.get("vision_config", {}) if kind == "siglip" else content
    if kind not in ("siglip", "siglip_vision_model"):
        raise DataError(f"model_type is {kind!r}, not SigLIP", where=path, remedy="give a SigLIP vision tower")
    if not isinstance(sizes, dict):
        raise DataError("vision_config is no object", where=path, remedy="give a SigLIP vision tower")
    check_fields(sizes, VISION_RULES, path, "give a SigLIP vision tower")
    extra = ("num_channels", "hidden_act", "layer_norm_eps", "attention_dropout")
    from transformers import SiglipVisionConfig

    defaults = SiglipVisionConfig().to_dict()  # what SigLIP's files leave out because it is the default
    found = {key: sizes.get(key, defaults[key]) for key in VISION_SIZES}
    return {**found, **{key: sizes[key] for key in extra if key in sizes}}


def _one_of(value: str | None, known: tuple[str, ...], name: str) -> Any:
    if value not in known:
        raise DataError(f"{name} {value!r} is not understood", remedy=f"known: {', '.join(known)}")
    return value


def _word(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{name} {value!r} is not understood", remedy="give text, as in a published config.json")
    return value


def _number(value: Any, name: str, remedy: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise DataError(f"{name} is {value!r}", remedy=remedy) from None


def _sizes_of(vision: Any) -> dict[str, Any] | None:
    """Return `vision_config` as a dict; it may be a dict, a configuration of transformers, or None."""
    if vision is None or isinstance(vision, dict):
        return vision
    if not hasattr(vision, "to_dict"):
        raise DataError(f"vision_config is {vision!r:.60}", remedy="give SigLIP's sizes by name")
    return vision.to_dict()


def _triple(value: Any, name: str) -> tuple[float, float, float]:
    try:
        x, y, z = (float(v) for v in value)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} is {value!r}", remedy="give three numbers, metres") from error
    return x, y, z


def _only(ids: list[int] | None, name: str) -> int | None:
    if not ids:
        return None
    if len(ids) != 1:
        raise DataError(f"{name} has {len(ids)} entries", remedy="the token must be one entry of the tokenizer")
    return int(ids[0])


AutoConfig.register(Video3DConfig.model_type, Video3DConfig, exist_ok=True)
