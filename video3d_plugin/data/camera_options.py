"""What the user says of a recording's cameras, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from video3d_plugin.errors import DataError, quoted
from video3d_plugin.files.text import read_matrix
from video3d_plugin.geometry.camera_checks import check_depth_unit, check_intrinsics, is_rigid, pinhole_matrix

_Camera = tuple[float, float, float, float]
_POSES = ("recorded", "estimate")


@dataclass(frozen=True)
class CameraOptions:
    """The arguments of `load_scene` that describe the cameras; None: as the recording says.

    Attributes:
        intrinsics: fx, fy, cx, cy in pixels of the depth image.
        depth_unit_m: Metres per depth unit.
        color_intrinsics: fx, fy, cx, cy in pixels of the colour image.
        color_from_depth: The 16 numbers, row by row, of the rigid transform from the depth camera to the colour camera,
            metres.
        poses: "recorded" or "estimate".
    """

    intrinsics: _Camera | None = None
    depth_unit_m: float | None = None
    color_intrinsics: _Camera | None = None
    color_from_depth: tuple[float, ...] | None = None
    poses: str = "recorded"

    @property
    def estimates_poses(self) -> bool:
        """Whether the recording has no poses, and they are to be estimated."""
        return self.poses == "estimate"

    @property
    def has_color_camera(self) -> bool:
        """Whether depth is to be brought into a colour camera that the user describes."""
        return self.color_intrinsics is not None or self.color_from_depth is not None

    @classmethod
    def checked(
        cls,
        intrinsics: Sequence[float] | None = None,
        depth_unit_m: float | None = None,
        color_intrinsics: Sequence[float] | None = None,
        color_from_depth: str | Path | Sequence[float] | np.ndarray | None = None,
        poses: str = "recorded",
    ) -> CameraOptions:
        """Return the options of arguments of any origin.

        Args:
            intrinsics: See the attributes.
            depth_unit_m: See the attributes.
            color_intrinsics: See the attributes.
            color_from_depth: 4x4 numbers, or a text file of them.
            poses: See the attributes.

        Raises:
            DataError: A value is not that of a camera.
            MissingError: There is no such file.
        """
        if poses not in _POSES:
            raise DataError(f"poses {quoted(poses)}", remedy=f"known: {', '.join(_POSES)}")
        return cls(
            _checked_camera(intrinsics, "intrinsics"),
            _checked_unit(depth_unit_m),
            _checked_camera(color_intrinsics, "color_intrinsics"),
            _checked_transform(color_from_depth),
            poses,
        )


def _checked_camera(values: Sequence[float] | None, name: str) -> _Camera | None:
    if values is None:
        return None
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError, OverflowError):
        numbers = []
    if len(numbers) != 4:
        raise DataError(f"{name} are not four numbers", remedy="give fx, fy, cx, cy in pixels")
    check_intrinsics(pinhole_matrix(*numbers), name)
    return numbers[0], numbers[1], numbers[2], numbers[3]


def _checked_unit(metres: float | None) -> float | None:
    if metres is None:
        return None
    try:
        number = float(metres)
    except (TypeError, ValueError, OverflowError):
        raise DataError("depth unit is not a number", remedy="give metres, such as 0.001") from None
    return check_depth_unit(number, "depth unit", coarsest_m=1.0)


def _checked_transform(value: str | Path | Sequence[float] | np.ndarray | None) -> tuple[float, ...] | None:
    if value is None:
        return None
    where = value if isinstance(value, str | Path) else None
    try:
        matrix = read_matrix(Path(where)) if where is not None else np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        matrix = np.zeros(0)
    if matrix.size != 16 or not is_rigid(matrix.reshape(4, 4)):
        what, remedy = "color_from_depth is not a rotation and a translation", "give 4x4 numbers, metres"
        raise DataError(what, where=where, remedy=remedy)
    return tuple(matrix.ravel().tolist())
