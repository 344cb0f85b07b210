"""The maker "auto": proposals without a detector, as clusters of a room's surface without its floor, ceiling and walls.

For recordings without Mask3D masks. Floor, ceiling and walls are planes with (almost) everything on one side. What
remains is clustered at two scales, because a single one either joins a chair to its table or loses thin legs. Boxes
have no class and no score.

Recall on 20 made-up rooms with 554 objects (benchmarks/proposals_recall.py): 0.55 at IoU 0.25 and 0.46 at IoU 0.5
without noise, 0.52 and 0.31 with realistic noise.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from video3d_plugin.data.inputs import frame_points
from video3d_plugin.data.proposals.maker import Proposals
from video3d_plugin.errors import DataError
from video3d_plugin.geometry.voxels import unique_voxels
from video3d_plugin.metrics.iou import iou_matrix
from video3d_plugin.scene import Scene

CELL_M = 0.05
SCALES_M = (0.05, 0.1)  # points closer than about this belong to one cluster
_PLANE_TOLERANCE_M = 0.06
_MIN_PLANE_M2 = 1.5  # smaller planes are furniture
_SHELL_SHARE = 0.97  # of all points on one side: a plane of the room's shell
_WALL_M2 = 5.0  # a vertical plane this large is a wall also inside the room
_MIN_CLUSTER_CELLS = 24
_SAME_IOU = 0.8
_FUSED_FRAMES = 60
_FUSED_STRIDE = 3


def make_proposals(scene: Scene, limit: int, argument: str = "") -> Proposals:
    """Make proposals of the objects that the scene's frames show; see `propose` and `fused_points`.

    Raises:
        DataError: There is an argument, or a frame cannot be decoded.
    """
    if argument:
        raise DataError(f"auto:{argument}", remedy="the proposal maker auto takes no argument")
    boxes = propose(fused_points(scene), limit)
    scores = np.linspace(1, 0, len(boxes), endpoint=False, dtype=np.float32)
    return Proposals(boxes, scores, note="proposals are clusters of what the frames see")


def propose(points: np.ndarray, limit: int = 50) -> np.ndarray:
    """Cluster a room's surface into boxes. Deterministic.

    Args:
        points: (M, 3) points of the surface, world frame (z up), metres.
        limit: Largest number of boxes.

    Returns:
        (N, 6) float32 boxes, N <= limit, as centre and size in the world frame, metres; those of the largest clusters
        first. N is 0 if there are too few points for a cluster.
    """
    cells = unique_voxels(points, CELL_M).astype(np.float64) * CELL_M
    if len(cells) < _MIN_CLUSTER_CELLS:
        return np.zeros((0, 6), np.float32)
    rest = remove_shell(cells)
    clusters = [cluster for scale in SCALES_M for cluster in connected(rest, scale)]
    clusters.sort(key=len, reverse=True)
    boxes: list[np.ndarray] = []
    for cluster in clusters:
        low, high = cluster.min(0) - CELL_M / 2, cluster.max(0) + CELL_M / 2
        box = np.concatenate([(low + high) / 2, high - low])
        if not boxes or iou_matrix(np.array(boxes), [box]).max() < _SAME_IOU:
            boxes.append(box)
        if len(boxes) == limit:
            break
    return np.array(boxes, np.float32).reshape(-1, 6)


def remove_shell(points: np.ndarray, max_planes: int = 12) -> np.ndarray:
    """Remove floor, ceiling and walls.

    Args:
        points: (K, 3) points, world frame (z up), metres, at most one a cell of CELL_M.
        max_planes: Largest number of planes to look at, largest first.

    Returns:
        (L, 3) points, L <= K, those on no plane of the shell. Points on other planes (table tops) come last.
    """
    rng = np.random.RandomState(0)
    rest, furniture = points, points[:0]
    for _ in range(max_planes):
        plane = _largest_plane(rest, rng)
        if plane is None:
            break
        normal, offset = plane
        on_plane = np.abs(rest @ normal - offset) < _PLANE_TOLERANCE_M
        area = on_plane.sum() * CELL_M**2
        if area < _MIN_PLANE_M2:
            break
        side = points @ normal - offset
        shell = max((side > -_PLANE_TOLERANCE_M).mean(), (side < _PLANE_TOLERANCE_M).mean()) >= _SHELL_SHARE
        wall = abs(normal[2]) < 0.2 and area >= _WALL_M2
        if not (shell or wall):
            furniture = np.concatenate([furniture, rest[on_plane]])  # stays; a smaller plane may still be a wall
        rest = rest[~on_plane]
    return np.concatenate([rest, furniture])


def _largest_plane(points: np.ndarray, rng: np.random.RandomState, tries: int = 300) -> tuple[np.ndarray, float] | None:
    """Return unit normal and offset in metres of the plane with the most points near it, fitted to those points.

    None if there are fewer than 100 points, or all lie on a line.
    """
    if len(points) < 100:
        return None
    sample = points[rng.choice(len(points), min(len(points), 4000), replace=False)]
    triples = sample[rng.randint(len(sample), size=(tries, 3))]
    normals = np.cross(triples[:, 1] - triples[:, 0], triples[:, 2] - triples[:, 0])
    length = np.linalg.norm(normals, axis=1)
    normals = normals[length > 1e-6] / length[length > 1e-6, None]
    if not len(normals):
        return None
    offsets = (normals * triples[length > 1e-6, 0]).sum(1)
    near = np.abs(sample @ normals.T - offsets) < _PLANE_TOLERANCE_M
    best = int(near.sum(0).argmax())
    members = sample[near[:, best]]
    centre = members.mean(0)
    normal = np.linalg.svd(members - centre, full_matrices=False)[2][2]
    return normal, float(normal @ centre)


def connected(points: np.ndarray, scale_m: float) -> Iterator[np.ndarray]:
    """Yield clusters of points whose cells touch by faces, edges or corners.

    Memory grows with the occupied cells, not with the distance between them.

    Args:
        points: (K, 3) points, metres.
        scale_m: Side of a cell in metres.

    Yields:
        (L, 3) points of one cluster, in the order of their first cells. Clusters of fewer than 24 points are dropped.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    if not len(points):
        return
    cells, cell_of_point = np.unique(np.rint(points / scale_m).astype(np.int64), axis=0, return_inverse=True)
    pairs = cKDTree(cells).query_pairs(1.5, p=np.inf, output_type="ndarray")
    touching = coo_matrix((np.ones(len(pairs), bool), tuple(pairs.T)), shape=(len(cells), len(cells)))
    labels = connected_components(touching, directed=False)[1]
    of_point = labels[cell_of_point.reshape(-1)]  # numpy 2.0 keeps a dimension
    order = np.argsort(of_point, kind="stable")
    for members in np.split(order, np.nonzero(np.diff(of_point[order]))[0] + 1):
        if len(members) >= _MIN_CLUSTER_CELLS:
            yield points[members]


def fused_points(scene: Scene) -> np.ndarray:
    """Fuse every third pixel of up to 60 frames into a surface, for scans without a mesh.

    Cells that only one frame sees are dropped where there are more than four frames: they are likely flying pixels at
    depth edges.

    Args:
        scene: The scene; up to 60 of its frames are decoded.

    Returns:
        (M, 3) float32 cell centres, world frame, metres, one for each cell of CELL_M.

    Raises:
        DataError: The depth of a frame cannot be decoded.
    """
    indices = np.unique(np.linspace(0, len(scene.frames) - 1, _FUSED_FRAMES).astype(int))
    cells_by_frame = [unique_voxels(frame_points(scene, int(i), stride=_FUSED_STRIDE), CELL_M) for i in indices]
    cells, count = np.unique(np.concatenate(cells_by_frame), axis=0, return_counts=True)
    needed = 2 if len(indices) > 4 else 1
    return (cells[count >= needed] * CELL_M).astype(np.float32)
