"""Lifts instance masks of single frames to the surface that all frames share.

The surface is a set of cells, fused from the depth of the frames. A mask becomes the set of cells that its frame sees
inside it, so masks of different frames can be compared cell by cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_DEPTH_M = 6.0  # depth cameras of phones and structured light are not reliable beyond
_STEP = 0.04  # a depth step within 3x3 pixels above this share of the depth, plus 1 cm: flying pixels
_CELL_PITCHES = 1.7  # side of a cell in pixel pitches at the median depth
_CELL_RANGE_M = (0.02, 0.05)
_FUSED_COLUMNS = 320  # wider depth images are thinned before they are fused
_FOREGROUND = 0.1  # a box with less than this share of foreground holds a part of the shell
_TOLERANCE_M, _TOLERANCE = 0.02, 0.015  # between a cell and the depth that a frame measured, also per metre of depth


@dataclass(frozen=True)
class View:
    """The depth and the camera of a frame.

    Attributes:
        depth_m: (H, W) float32 metres; 0 where nothing was measured.
        intrinsics: (4, 4) of the depth image, pixels; pixel centres at integer coordinates.
        world_from_camera: (4, 4) rigid transform, metres.
    """

    depth_m: np.ndarray
    intrinsics: np.ndarray
    world_from_camera: np.ndarray


@dataclass(frozen=True)
class Visibility:
    """The cells that a frame sees, with the pixel that shows each.

    Attributes:
        cells: (K,) int64 indices of cells, ascending.
        rows: (K,) int64 rows of the depth image.
        columns: (K,) int64 columns.
    """

    cells: np.ndarray
    rows: np.ndarray
    columns: np.ndarray


def cell_size(views: Sequence[View]) -> float:
    """Return the side of a surface cell in metres: about 1.7 pixels at the median depth, 2 to 5 cm."""
    pitches = []
    for view in views:
        measured = view.depth_m[_is_reliable(view.depth_m)]
        if measured.size:
            pitches.append(float(np.median(measured)) / float(view.intrinsics[0, 0]))
    low, high = _CELL_RANGE_M
    return float(np.clip(_CELL_PITCHES * np.median(pitches), low, high)) if pitches else low


def fuse_surface(views: Sequence[View], cell_m: float) -> np.ndarray:
    """Fuse the depth of all views into surface cells. The order of the views does not matter.

    Args:
        views: The views.
        cell_m: Side of a cell, metres.

    Returns:
        (N, 3) float64 mean point of each occupied cell, world frame, metres, in lexicographic order of the cells.
    """
    points = np.concatenate([_reliable_points(view) for view in views] or [np.zeros((0, 3))])
    if not len(points):
        return points
    codes = _codes(np.floor(points / cell_m).astype(np.int64))
    _, cell_of_point, counts = np.unique(codes, return_inverse=True, return_counts=True)
    # sums of whole numbers are exact, so that they do not depend on the order of the views
    tenths_mm = np.rint(points * 1e4)
    sums = np.stack([np.bincount(cell_of_point, tenths_mm[:, axis]) for axis in range(3)], 1)
    return sums / counts[:, None] * 1e-4


def visible_cells(points: np.ndarray, view: View) -> Visibility:
    """Find the cells that a view sees: those that project into it and lie where it measured a surface.

    Args:
        points: (N, 3) the surface, world frame, metres.
        view: The view.
    """
    height, width = view.depth_m.shape
    rotation, origin = view.world_from_camera[:3, :3], view.world_from_camera[:3, 3]
    camera = (points - origin) @ rotation
    ahead = np.flatnonzero((camera[:, 2] > 1e-3) & (camera[:, 2] <= MAX_DEPTH_M + 0.1))
    x, y, z = camera[ahead].T
    k = view.intrinsics
    column = np.rint(x * k[0, 0] / z + k[0, 2])
    row = np.rint(y * k[1, 1] / z + k[1, 2])
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    cells, z = ahead[inside], z[inside]
    rows, columns = row[inside].astype(np.int64), column[inside].astype(np.int64)
    measured = view.depth_m[rows, columns]
    seen = (measured > 0) & (np.abs(measured - z) < _TOLERANCE_M + _TOLERANCE * z)
    return Visibility(cells[seen], rows[seen], columns[seen])


def lift_mask(mask: np.ndarray, visibility: Visibility, depth_size: tuple[int, int]) -> np.ndarray:
    """Return the cells that a view sees inside an instance mask.

    Args:
        mask: (h, w) bool of any size, over the same field of view as the depth image.
        visibility: The cells that the view sees.
        depth_size: (height, width) of the depth image, pixels.

    Returns:
        (K,) int64 indices of cells, ascending.
    """
    rows, columns = _mask_pixels(mask.shape, visibility, depth_size)
    return visibility.cells[mask[rows, columns]]


def lift_box(
    box: np.ndarray,
    visibility: Visibility,
    depth_size: tuple[int, int],
    points: np.ndarray,
    cell_m: float,
    shell: np.ndarray,
) -> np.ndarray:
    """Return the cells of the object that an image box encloses: its largest connected piece of foreground.

    Foreground is what is not the shell of the room (floor, walls, ceiling). A piece counts by its visible cells, those
    near the middle of the box most. Where there is no foreground (a door, a picture), the shell itself is clustered.

    Args:
        box: (4,) left, top, right, bottom as shares of width and height.
        visibility: The cells that the view sees.
        depth_size: (height, width) of the depth image, pixels.
        points: (N, 3) the surface, world frame, metres.
        cell_m: Side of a cell, metres.
        shell: (N,) bool: cells of floor, walls and ceiling.

    Returns:
        (K,) int64 indices of cells, ascending; empty if the view sees no cell in the box.
    """
    u, v = (visibility.columns + 0.5) / depth_size[1], (visibility.rows + 0.5) / depth_size[0]
    across = (u - (box[0] + box[2]) / 2) / max(box[2] - box[0], 1e-6)  # -0.5 to 0.5 inside
    down = (v - (box[1] + box[3]) / 2) / max(box[3] - box[1], 1e-6)
    inside = (np.abs(across) <= 0.5) & (np.abs(down) <= 0.5)
    cells = visibility.cells[inside]
    if not len(cells):
        return cells
    centrality = 1 - np.maximum(np.abs(across), np.abs(down))[inside]
    free = ~shell[cells]
    if free.sum() >= _FOREGROUND * len(cells):
        cells, centrality = cells[free], centrality[free]
    pieces = connected_pieces(points[cells], 3 * cell_m)
    weight = np.bincount(pieces, centrality**4)
    return cells[pieces == weight.argmax()]


def connected_pieces(points: np.ndarray, reach_m: float) -> np.ndarray:
    """Return (K,) int the piece of each of (K, 3) points; points nearer than `reach_m` metres share one."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    pairs = cKDTree(points).query_pairs(reach_m, output_type="ndarray")
    touching = coo_matrix((np.ones(len(pairs), bool), tuple(pairs.T)), shape=(len(points), len(points)))
    return connected_components(touching, directed=False)[1]


def _codes(cells: np.ndarray) -> np.ndarray:
    """Return (N,) int64: a number for each of (N, 3) cells, equal for equal ones, in lexicographic order."""
    low = cells.min(0)
    span = cells.max(0) - low + 1
    if float(span[0]) * float(span[1]) * float(span[2]) > 1 << 62:  # more than a number below holds
        return np.unique(cells, axis=0, return_inverse=True)[1].reshape(-1)
    x, y, z = (cells - low).T
    return (x * span[1] + y) * span[2] + z


def _reliable_points(view: View) -> np.ndarray:
    """Return (M, 3) float64 points of the pixels that are no flying pixels, world frame, metres."""
    height, width = view.depth_m.shape
    stride = max(1, width // _FUSED_COLUMNS)
    keep = np.zeros(view.depth_m.shape, bool)
    keep[::stride, ::stride] = True
    rows, columns = np.nonzero(keep & _is_reliable(view.depth_m))
    z = view.depth_m[rows, columns].astype(np.float64)
    k = view.intrinsics
    camera = np.stack([(columns - k[0, 2]) * z / k[0, 0], (rows - k[1, 2]) * z / k[1, 1], z], 1)
    return camera @ view.world_from_camera[:3, :3].T + view.world_from_camera[:3, 3]


def _is_reliable(depth_m: np.ndarray) -> np.ndarray:
    """Return (H, W) bool: measured, near enough, and not at a depth step."""
    import cv2

    measured = (depth_m > 0) & (depth_m <= MAX_DEPTH_M)
    around = np.ones((3, 3), np.uint8)
    high = cv2.dilate(depth_m, around)
    low = cv2.erode(np.where(measured, depth_m, np.float32(MAX_DEPTH_M * 2)), around)
    return measured & (high - low <= _STEP * depth_m + 0.01)


def _mask_pixels(
    mask_size: tuple[int, ...], visibility: Visibility, depth_size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of the mask's pixel at the centre of each visible depth pixel."""
    rows = (visibility.rows * 2 + 1) * mask_size[0] // (2 * depth_size[0])
    columns = (visibility.columns * 2 + 1) * mask_size[1] // (2 * depth_size[1])
    return rows, columns
