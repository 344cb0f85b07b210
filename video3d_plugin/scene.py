"""The records of the package: Scene (a scan, read lazily), SceneInputs (the model's input), Question.

Coordinate frames, all in metres: the *camera* frame has x right, y down, z forward. The *scan* frame is the
reconstruction's own. The *world* frame is the scan frame after axis alignment (z up); all boxes, points and coordinates
outside the readers are in it. See docs/conventions.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from video3d_plugin.errors import DataError
from video3d_plugin.files.depth import DepthCodec
from video3d_plugin.files.regular import open_regular, read_bounded
from video3d_plugin.inputs_spec import InputsSpec
from video3d_plugin.tokens import GROUND_TOKEN

if TYPE_CHECKING:
    import torch

MAX_SLICE_BYTES = 1 << 28  # an uncompressed image of 8192 x 8192 pixels has 200 MB


@dataclass(frozen=True)
class FileSlice:
    """A range of bytes in a file, such as a frame inside a .sens.

    Attributes:
        path: The file.
        offset: First byte.
        size: Number of bytes; None: to the end of the file.
        root: Folder in which the file must lie once links are resolved; None: anywhere.
    """

    path: Path
    offset: int = 0
    size: int | None = None
    root: Path | None = field(default=None, compare=False)

    def read(self, limit: int = MAX_SLICE_BYTES) -> bytes:
        """Read the bytes.

        Args:
            limit: Bytes at most.

        Returns:
            The bytes; fewer than `size` where the file ends early.

        Raises:
            MissingError: The file does not exist.
            DataError: It is not a regular file, lies outside `root`, cannot be read, or has more than `limit` bytes.
        """
        if self.size is not None and self.size > limit:
            what = f"{self.size} bytes from {self.offset}, more than the {limit} that an image may have"
            raise DataError(what, where=self.path)
        with open_regular(self.path, root=self.root) as file:
            file.seek(self.offset)
            return file.read(self.size) if self.size is not None else read_bounded(file, limit, self.path)


@dataclass(frozen=True)
class DepthCamera:
    """A depth camera that is not the colour camera of its frame.

    Attributes:
        intrinsics: (4, 4) float64 intrinsics of the stored depth image, pixels.
        size: (height, width) of the stored depth image, pixels.
        color_from_depth: (4, 4) float64 rigid transform from the depth camera to the colour camera, metres.
    """

    intrinsics: np.ndarray
    size: tuple[int, int]
    color_from_depth: np.ndarray


@dataclass(frozen=True)
class Confidence:
    """How sure a sensor is of each depth pixel.

    Attributes:
        image: One byte per pixel of the stored depth image.
        codec: "png" (8-bit grey) or "lzfse" (LZFSE-compressed bytes).
        least: Pixels of a lower confidence count as not measured.
    """

    image: FileSlice
    codec: Literal["png", "lzfse"]
    least: int


@dataclass(frozen=True)
class Frame:
    """One posed RGB-D frame; `data.frames` decodes its images.

    Attributes:
        name: Unique within the scene, such as "00010".
        color: The colour image.
        depth: The depth image, in the format `depth_codec`.
        scan_from_camera: (4, 4) float64 rigid transform from the colour camera to the scan frame, metres.
        depth_intrinsics: (4, 4) float64 intrinsics of the decoded depth image, pixels; pixel centres at integer
            coordinates.
        depth_size: (height, width) of the decoded depth image, pixels.
        depth_codec: "png" (16 bit), "zlib_ushort" (zlib-compressed little-endian uint16), "pgm" (16 bit), "npy", or
            "lzfse_float" (LZFSE-compressed float32).
        depth_unit_m: Metres per depth unit (ScanNet: 0.001).
        depth_void: A raw value besides 0 that means "not measured" (7-Scenes: 65535).
        depth_camera: The camera of the stored depth image where that is not the colour camera; `data.frames` brings
            the depth into the colour camera. None: both images share one camera.
        confidence: Confidence of the stored depth image; None: all pixels are used.
        quarter_turns: Counter-clockwise quarter turns, 0 to 3, that decoding gives both images. Pose, intrinsics and
            size are those of the turned images.
        decoded_depth: The decoded depth image, read-only, where an earlier pass over the frames kept it; None: it is
            decoded from its file.
    """

    name: str
    color: FileSlice
    depth: FileSlice
    scan_from_camera: np.ndarray
    depth_intrinsics: np.ndarray
    depth_size: tuple[int, int]
    depth_codec: DepthCodec = "png"
    depth_unit_m: float = 0.001
    depth_void: int | None = None
    quarter_turns: int = 0
    depth_camera: DepthCamera | None = None
    confidence: Confidence | None = None
    decoded_depth: np.ndarray | None = field(default=None, repr=False, compare=False)

    @property
    def stored_depth_size(self) -> tuple[int, int]:
        """(height, width) of the depth image in its file, before it is brought into the colour camera."""
        return self.depth_size if self.depth_camera is None else self.depth_camera.size

    @property
    def files(self) -> tuple[FileSlice, ...]:
        """All files that the frame is decoded from."""
        return (self.color, self.depth) if self.confidence is None else (self.color, self.depth, self.confidence.image)

    def with_files(self, change: Callable[[FileSlice], FileSlice]) -> Frame:
        """Return the frame with each of its files replaced by `change` of it."""
        confidence = self.confidence and replace(self.confidence, image=change(self.confidence.image))
        color, depth = change(self.color), change(self.depth)
        return replace(self, color=color, depth=depth, confidence=confidence, decoded_depth=None)


@dataclass(frozen=True)
class Instance:
    """An annotated object.

    Attributes:
        object_id: ScanNet's objectId.
        label: Its raw label.
        box: Centre x, y, z and size x, y, z; axis-aligned, world frame, metres.
    """

    object_id: int
    label: str
    box: tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Omission:
    """Something that a reader left out; reports count them.

    Attributes:
        what: The file, frame or object.
        reason: Why it was left out.
    """

    what: str
    reason: str


@dataclass(frozen=True, repr=False)
class Scene:
    """A scan.

    Attributes:
        scene_id: Its name.
        frames: Its frames, in the order of capture.
        world_from_scan: (4, 4) float64 alignment of the scan frame, metres: given with the scan, or found by levelling.
        instances: Annotated objects, if there are annotations.
        proposals: (N, 6) float32 predicted boxes, centre and size, world frame, metres; N may be 0.
        omissions: What the reader left out.
        notes: Remarks of the reader for the user; `notes.kind_of` tells assumptions, checks and information apart.
        proposal_scores: (N,) float32 scores of the proposals in 0..1; of length 0 where they have none.
        proposal_labels: N names of the proposals, "" where unknown; empty where they have none.
        proposal_views: For each proposal the names of the frames that show it; empty where unknown.
    """

    scene_id: str
    frames: tuple[Frame, ...]
    world_from_scan: np.ndarray
    instances: tuple[Instance, ...] = ()
    proposals: np.ndarray = field(default_factory=lambda: np.zeros((0, 6), np.float32))
    omissions: tuple[Omission, ...] = ()
    notes: tuple[str, ...] = ()
    proposal_scores: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    proposal_labels: tuple[str, ...] = ()
    proposal_views: tuple[tuple[str, ...], ...] = ()

    def __repr__(self) -> str:
        return (
            f"Scene({self.scene_id!r}: {len(self.frames)} frames, {len(self.instances)} annotated objects, "
            f"{len(self.proposals)} proposals)"
        )


@dataclass(frozen=True, repr=False)
class SceneInputs:
    """The model's input for a scene, as CPU tensors.

    V frames, N proposals, U = spec.used_side pixels, g = spec.grid_side tokens and n = spec.object_grid_side patches
    along a side, P = spec.points_per_token.

    Attributes:
        spec: The specification that the inputs were made for.
        scene_id: The scene's name.
        frames: Names of the V frames, in order.
        pixels: (V, U, U, 3) uint8 RGB; the model normalises them on its device.
        token_points: (V, g, g, P, 3) float32, world frame, metres; finite.
        token_valid: (V, g, g) bool, False where a token has no valid depth; all True unless spec.mask_invalid_depth.
        proposals: (N, 6) float32 centre and size, world frame, metres.
        proposal_bits: (N, V, spec.proposal_bytes) uint8: which patches (and tokens, with spec.token_boxes) lie in which
            box, packed by `geometry.boxes.proposal_bits`.
        proposal_ids: (N,) int64 object ids of annotated boxes, -1 for predicted ones.
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

    def __repr__(self) -> str:
        frames = f"{len(self.frames)} frames of {self.spec.used_side}x{self.spec.used_side}"
        return f"SceneInputs({self.scene_id!r}: {frames}, {len(self.proposals)} proposals)"

    TENSORS = ("pixels", "token_points", "token_valid", "proposals", "proposal_bits", "proposal_ids")

    @property
    def proposal_patches(self) -> torch.Tensor:
        """(N, V, n, n) bool: which patches lie in which box, unpacked from `proposal_bits`."""
        from video3d_plugin.geometry.boxes import unpack_patches

        return unpack_patches(self.proposal_bits, self.spec.object_grid_side)

    @property
    def extent(self) -> torch.Tensor:
        """(2, 3) float32 lowest and highest corner of what the frames show, world frame, metres; NaN without depth."""
        points = self.token_points[self.token_valid].reshape(-1, 3)
        if not len(points):
            return points.new_full((2, 3), float("nan"))
        return points.new_tensor([points.amin(0).tolist(), points.amax(0).tolist()])

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the tensors by field name, as the model's argument `scenes=[...]` takes them."""
        return {name: getattr(self, name) for name in self.TENSORS}


@dataclass(frozen=True)
class Question:
    """A question about a scene, for training or evaluation, with the task's prompt applied.

    Attributes:
        task: The task or benchmark.
        item_id: Unique within the task.
        scene_id: The scene.
        prompt: The user turn. Its first <image> is the scene; with `coords`, each <coord> is a point. Everything else
            is plain text, special tokens included.
        answer: The assistant turn; "<ground>" for grounding, None if unknown.
        coords: Points (x, y, z), one for each <coord>; world frame, metres.
        targets: Object ids that a grounding question refers to, empty if there is no such object; None for text.
        metadata: Further fields of the task.
        further: Further turns for training, (user, assistant) each, after `answer`. They are plain text, and evaluation
            does not read them.
        grounding: Whether it is a grounding question; None: if it has targets, or "<ground>" as its answer.
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
    further: tuple[tuple[str, str], ...] = ()

    @property
    def is_grounding(self) -> bool:
        """Whether proposals are scored instead of generating text."""
        if self.grounding is not None:
            return self.grounding
        return self.targets is not None or self.answer == GROUND_TOKEN
