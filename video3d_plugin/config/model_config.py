"""Video3DConfig: LLaVA-NeXT's config.json, with its options as parsed records."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from transformers import AutoConfig, Qwen2Config

from video3d_plugin.compat import rope_arguments
from video3d_plugin.config.options import HeadSpec, LayoutSpec, PositionSpec, parse_object_feature, parse_position
from video3d_plugin.config.schema import check_config
from video3d_plugin.config.tower import tower_sizes
from video3d_plugin.errors import DataError, Video3DError
from video3d_plugin.files.checkpoint_json import read_checkpoint_json
from video3d_plugin.inputs_spec import COORDINATE_DTYPES, FITS, CoordinateDtype, InputsSpec, ObjectPatch

HOST_MODEL_TYPES = ("llava", "llava_qwen")  # what the config.json of a LLaVA-NeXT checkpoint says
TOWER, TOWER_AND_LANGUAGE = "tower", "tower_and_language_model"  # `grounding_features`
SAVED_WITH = "the config.json must be the one saved with these weights"


class Video3DConfig(Qwen2Config):
    """Configuration of Qwen2 with the keys of LLaVA-NeXT (`mm_*`) and Video-3D LLM.

    Six keys are added by this package. `vision_config`: a dict of SigLIP sizes; without it they are read from
    `mm_vision_tower`, a known hub name, a local folder with a SigLIP config.json, or a hub name in the local cache.
    `frame_fit` and `grounding_features`: as 3DRS sees frames and pools proposals, see `model.checkpoint.forks`.
    `coordinate_dtype`: float32 (as without it), float16 or bfloat16, see `InputsSpec`. `mask_invalid_depth`: leave
    depth holes out of averages, box tests and position embeddings. `clamp_points`: see `InputsSpec`.

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
        fields = {
            name: kwargs.pop(name, default)
            for name, default in {
                "vision_config": None,
                "mask_invalid_depth": False,
                "coordinate_dtype": None,
                "clamp_points": False,
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
        fields["vision_config"] = _sizes_of(fields["vision_config"])
        super().__init__(**rope_arguments(kwargs))
        for name, value in fields.items():
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
        points, encoding, discretised, rotary = parse_position(words)
        voxel_size = _number(self.voxel_size, "voxel_size", "give metres, e.g. 0.1")
        if discretised and not 0 < voxel_size < math.inf:
            raise DataError(f"voxel_size is {voxel_size}", remedy="give metres, e.g. 0.1")
        low, high = _triple(self.min_xyz_range, "min_xyz_range"), _triple(self.max_xyz_range, "max_xyz_range")
        if not all(a < b for a, b in zip(low, high, strict=True)):
            raise DataError(f"min_xyz_range {low} is not below max_xyz_range {high}", remedy="give metres, low to high")
        whole = all(isinstance(bound, int) for bound in (*self.min_xyz_range, *self.max_xyz_range))
        return PositionSpec(points, encoding, discretised, voxel_size, low, high, self.coordinates, whole, rotary)

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
            coordinate_dtype=self.coordinates,
            clamp_points=bool(self.clamp_points),
            fit=_one_of(getattr(self, "frame_fit", None) or "crop", FITS, "frame_fit"),
            token_boxes=self.averages_language_states,
        )

    @property
    def averages_language_states(self) -> bool:
        """Whether a proposal's features are the mean of the tower's and of the language model's, as in 3DRS."""
        kinds = (TOWER, TOWER_AND_LANGUAGE)
        kind = _one_of(getattr(self, "grounding_features", None) or TOWER, kinds, "grounding_features")
        return kind == TOWER_AND_LANGUAGE

    @property
    def coordinates(self) -> CoordinateDtype:
        """Number format of the coordinates.

        Raises:
            DataError: It is not known.
        """
        return _one_of(self.coordinate_dtype or "float32", COORDINATE_DTYPES, "coordinate_dtype")

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
