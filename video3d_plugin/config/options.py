"""LLaVA-NeXT's option strings, parsed into frozen records.

LLaVA-NeXT searches options such as `avg-discrete-sin3d` for substrings wherever it uses them. Here one function parses
each option, and all other code reads the record that it returns.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from video3d_plugin.errors import DataError
from video3d_plugin.inputs_spec import POINTS_PER_TOKEN, CoordinateDtype, ObjectPatch, Points, Pooling

Newline = Literal["grid", "frame", "one_token", "no_token"]
HeadKind = Literal["infonce", "score", "mlp"]

_POINT_WORDS: dict[str, Points] = {
    "avg": "average",
    "sample1": "centre",
    "sample5": "five",
    "sample9": "nine",
    "minmax": "minmax",
}
Encoding = Literal["sine", "mlp", "none"]
_ENCODINGS: dict[str, Encoding] = {"sin3d": "sine", "mlp": "mlp"}
_ROTARY = "mrope"


@dataclass(frozen=True)
class PositionSpec:
    """How a token's 3D points are embedded.

    Attributes:
        points: Which points represent a token.
        encoding: "sine" or "mlp"; "none" where only the rotary embedding has the points.
        discretised: Clamp points to [low, high] and round them to voxels before encoding.
        voxel_size: Side of a voxel, metres.
        low: Lowest x, y, z, world frame, metres.
        high: Highest x, y, z, world frame, metres.
        coordinate_dtype: Number format of points, voxels and sine embeddings. As in the reference, voxels are float32
            if `whole_range` is False.
        whole_range: Whether all bounds of the range are written as whole numbers.
        rotary: Whether visual tokens are rotated by their voxels; see `model.attention.axes`.
    """

    points: Points
    encoding: Encoding
    discretised: bool
    voxel_size: float = 0.1
    low: tuple[float, float, float] = (-15.0, -15.0, -5.0)
    high: tuple[float, float, float] = (15.0, 15.0, 5.0)
    coordinate_dtype: CoordinateDtype = "float32"
    whole_range: bool = True
    rotary: bool = False

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
def parse_position(text: str) -> tuple[Points, Encoding, bool, bool]:
    """Parse `world_position_embedding_type`.

    Args:
        text: Words in any order, separated by hyphens, such as "avg-discrete-sin3d".

    Returns:
        Points, encoding, whether points are rounded to voxels, and whether tokens are rotated by them:
        ("average", "sine", True, False).

    Raises:
        DataError: A word is unknown, there is not exactly one for the points and one for the encoding, or mrope comes
            without voxels or with several points of a token, with which the reference fails.
    """
    words = text.split("-")
    points = [_POINT_WORDS[word] for word in words if word in _POINT_WORDS]
    encodings = [_ENCODINGS[word] for word in words if word in _ENCODINGS]
    rotary, discrete = _ROTARY in words, "discrete" in words
    unknown = [word for word in words if word not in {*_POINT_WORDS, *_ENCODINGS, _ROTARY, "discrete"}]
    if rotary and not unknown and (not discrete or len(points) != 1 or POINTS_PER_TOKEN[points[0]] > 1):
        what = f"world_position_embedding_type {text!r}: mrope needs one voxel of a token"
        raise DataError(
            what, remedy="such as avg-discrete-mrope or sample1-discrete-mrope; sample5 and others have more"
        )
    if unknown or len(points) != 1 or not (len(encodings) == 1 or (rotary and not encodings)):
        raise DataError(
            f"world_position_embedding_type {text!r} is not understood",
            remedy=f"one of {', '.join(_POINT_WORDS)}, then optionally `discrete`, then one of "
            f"{', '.join(_ENCODINGS)}, {_ROTARY}",
        )
    return points[0], encodings[0] if encodings else "none", discrete, rotary


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
