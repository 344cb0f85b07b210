"""The records that the parts exchange: Scene (a scan, lazily read), SceneInputs (what enters the model), Question.

Frames of reference: a *camera* frame is x right, y down, z forward, in metres. The *scan* frame is the
reconstruction's own world. The *world* frame is the scan frame after axis alignment (z up); every box, point
and coordinate outside the readers is in it. See docs/conventions.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from video3d_plugin.errors import DataError
from video3d_plugin.files.regular import open_regular, read_bounded
from video3d_plugin.inputs_spec import InputsSpec
from video3d_plugin.tokens import GROUND_TOKEN

if TYPE_CHECKING:
    import torch

MAX_SLICE_BYTES = 1 << 28  # an uncompressed image of 8192 x 8192 pixels has 200 MB


@dataclass(frozen=True)
class FileSlice:
    """Bytes in a file: the whole of it, or `size` bytes from `offset` (a frame inside a .sens).

    root    folder in which the file must lie when it is opened, after links are resolved; None: anywhere
    """

    path: Path
    offset: int = 0
    size: int | None = None
    root: Path | None = field(default=None, compare=False)

    def read(self, limit: int = MAX_SLICE_BYTES) -> bytes:
        """The bytes; fewer than `size` where the file ends early.

        Raises:
            MissingError: The file is not there.
            DataError: It is no regular file, lies outside `root`, cannot be read, or has more than `limit` bytes.
        """
        if self.size is not None and self.size > limit:
            what = f"{self.size} bytes from {self.offset}, more than the {limit} that an image may have"
            raise DataError(what, where=self.path)
        with open_regular(self.path, root=self.root) as file:
            file.seek(self.offset)
            return file.read(self.size) if self.size is not None else read_bounded(file, limit, self.path)


@dataclass(frozen=True)
class Frame:
    """One posed RGB-D frame; nothing is decoded until `data.frames` is asked to.

    name                 stable within the scene, e.g. "00010"; frames are kept in capture order
    color                jpeg or png
    depth                16-bit png ("png") or zlib-compressed little-endian uint16 ("zlib_ushort")
    scan_from_camera     (4, 4) float64, finite
    depth_intrinsics     (4, 4) float64, pixels; pixel centres at integer coordinates
    depth_size           (height, width) pixels
    depth_unit_m         metres per depth unit (ScanNet: 0.001)
    depth_void           a raw value besides 0 that means "not measured" (7-Scenes: 65535)
    """

    name: str
    color: FileSlice
    depth: FileSlice
    scan_from_camera: np.ndarray
    depth_intrinsics: np.ndarray
    depth_size: tuple[int, int]
    depth_codec: Literal["png", "zlib_ushort"] = "png"
    depth_unit_m: float = 0.001
    depth_void: int | None = None


@dataclass(frozen=True)
class Instance:
    """An annotated object: ScanNet's objectId, its raw label, and its box (6,) centre and size, world frame, metres."""

    object_id: int
    label: str
    box: tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Omission:
    """Something left out, and why: counted in every report."""

    what: str
    reason: str


@dataclass(frozen=True)
class Scene:
    """A scan. `world_from_scan` (4, 4) float64 is the axis alignment (identity where the scan has none).

    `instances` are the annotated objects (empty where there are none); `proposals` (N, 6) float32 the predicted
    boxes (N may be 0). Both in the world frame, metres.
    """

    scene_id: str
    frames: tuple[Frame, ...]
    world_from_scan: np.ndarray
    instances: tuple[Instance, ...] = ()
    proposals: np.ndarray = field(default_factory=lambda: np.zeros((0, 6), np.float32))
    omissions: tuple[Omission, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SceneInputs:
    """What crosses from data to model: small CPU tensors. V frames, N proposals, U used side, g grid side.

    pixels            (V, U, U, 3) uint8 RGB, U = spec.used_side; normalised on the device
    token_points      (V, g, g, P, 3) float32, world frame, metres; finite
    token_valid       (V, g, g) bool: False where a token saw no valid depth (all True unless spec.mask_invalid_depth)
    proposals         (N, 6) float32 centre and size, world frame, metres
    proposal_bits     (N, V, ceil(n * n / 8)) uint8: which patches lie in which box, n = spec.object_grid_side, packed
                      by geometry.boxes.pack_patches; `proposal_patches` shows them one by one
    proposal_ids      (N,) int64: object ids for annotated boxes, -1 for predicted ones
    frames            names of the V frames, in order
    """

    spec: InputsSpec
    scene_id: str
    frames: tuple[str, ...]
    pixels: torch.Tensor
    token_points: torch.Tensor
    token_valid: torch.Tensor
    proposals: torch.Tensor
    proposal_bits: torch.Tensor
    proposal_ids: torch.Tensor

    TENSORS = ("pixels", "token_points", "token_valid", "proposals", "proposal_bits", "proposal_ids")

    @property
    def proposal_patches(self) -> torch.Tensor:
        """(N, V, n, n) bool: which patches lie in which box."""
        from video3d_plugin.geometry.boxes import unpack_patches

        return unpack_patches(self.proposal_bits, self.spec.object_grid_side)

    def tensors(self) -> dict[str, torch.Tensor]:
        """The tensors by field name, as the model's `scenes=[...]` argument takes them."""
        return {name: getattr(self, name) for name in self.TENSORS}


@dataclass(frozen=True)
class Question:
    """One thing asked of a scene, for training or evaluation, after the task's prompt has been applied.

    prompt     the user turn: its first `<image>` is the scene, and each `<coord>` a point where there are `coords`
               (then one for each); all else in it is text, special tokens too
    answer     the assistant turn, `"<ground>"` for grounding, None where it is to be found
    coords     points (x, y, z), world frame, metres
    targets    object ids that a grounding question refers to (empty: none is there); None for text questions
    grounding  whether it is a grounding question; None: where it has targets, or `"<ground>"` as its answer
    """

    task: str
    item_id: str
    scene_id: str
    prompt: str
    answer: str | None = None
    coords: tuple[tuple[float, float, float], ...] = ()
    targets: tuple[int, ...] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    grounding: bool | None = None

    @property
    def is_grounding(self) -> bool:
        if self.grounding is not None:
            return self.grounding
        return self.targets is not None or self.answer == GROUND_TOKEN
