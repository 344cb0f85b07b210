"""Proposals without a detector: what is left of a room's surface when its shell is removed, cut into clusters.

For own captures, which have no Mask3D masks. Floor, ceiling and walls are planes with (almost) everything on one
side; what remains is clustered at two scales, since one scale either joins a chair to its table or loses thin legs.
Class-agnostic and without a score. `benchmarks/proposals_recall.py` prints the recall on made-up rooms (20 of them, 554
objects: 0.55 at IoU 0.25 and 0.46 at 0.5 without noise, 0.52 and 0.31 with realistic noise).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from video3d_plugin.data.inputs import frame_points
from video3d_plugin.data.schemas import BOX
from video3d_plugin.files.json import read_json
from video3d_plugin.files.schema import check
from video3d_plugin.geometry.camera_checks import check_boxes
from video3d_plugin.geometry.voxels import unique_voxels
from video3d_plugin.metrics.boxes import iou_matrix
from video3d_plugin.scene import Scene

CELL_M = 0.05
SCALES_M = (0.05, 0.1)
_PLANE_TOLERANCE_M = 0.06
_MIN_PLANE_M2 = 1.5  # smaller planes are furniture
_SHELL_SHARE = 0.97  # of all points on one side: a plane of the room's shell
_WALL_M2 = 5.0  # a vertical plane this large is a wall also inside the room
_MIN_CLUSTER_CELLS = 24
_SAME_IOU = 0.8
_FUSED_FRAMES = 60
_FUSED_STRIDE = 3


def propose(points: np.ndarray, limit: int = 50) -> np.ndarray:
    """(N, 6) float32 boxes, N <= limit, largest first, of (M, 3) points of a scan's surface; world frame, z up, metres.

    Deterministic. Points that are no room (fewer than a cluster's) give no boxes.
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
    """The points (K, 3) that lie on no plane of the room's shell; z up, metres, one point a cell of CELL_M."""
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
            furniture = np.concatenate([furniture, rest[on_plane]])  # kept; a wall may still be smaller than it
        rest = rest[~on_plane]
    return np.concatenate([rest, furniture])


def _largest_plane(points: np.ndarray, rng: np.random.RandomState, tries: int = 300) -> tuple[np.ndarray, float] | None:
    """(unit normal, offset) of the plane with most points near it, refined once; None for too few or a line of them."""
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
    """Clusters of points whose cells of `scale_m` touch (faces, edges or corners); small ones are dropped.

    Clusters are in the order of their first cells. Only occupied cells are held, however far apart they are.
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
    """(M, 3) float32 world points of a scan without a mesh: every third pixel of up to 60 frames, cells seen twice.

    A cell that only one frame sees is likely a flying pixel at a depth edge.
    """
    chosen = np.unique(np.linspace(0, len(scene.frames) - 1, _FUSED_FRAMES).astype(int))
    seen = [unique_voxels(frame_points(scene, int(i), stride=_FUSED_STRIDE), CELL_M) for i in chosen]
    cells, count = np.unique(np.concatenate(seen), axis=0, return_counts=True)
    needed = 2 if len(chosen) > 4 else 1
    return (cells[count >= needed] * CELL_M).astype(np.float32)


def with_proposals(scene: Scene, limit: int = 50) -> Scene:
    """The scene itself where it has proposals; else with the clusters of what its frames see, and a note that says so.

    Takes seconds: up to 60 frames are decoded. A scene in which nothing stands out still has none afterwards.
    """
    if len(scene.proposals):
        return scene
    notes = tuple(note for note in scene.notes if "proposals" not in note)
    boxes = propose(fused_points(scene), limit)
    return replace(scene, proposals=boxes, notes=(*notes, "proposals are clusters of what the frames see"))


def read_proposals_json(path: Path, scene_id: str) -> np.ndarray | None:
    """(N, 6) float64 boxes of a scan in {"<scene id>" or "scannet/<scene id>": [[cx, cy, cz, dx, dy, dz], ...]}."""
    content = read_json(path, dict, 'expected {"<scene id>": [[cx, cy, cz, dx, dy, dz], ...]}, world frame, metres')
    rows = content.get(scene_id, content.get(f"scannet/{scene_id}"))
    if rows is None:
        return None
    check(rows, [BOX], path, f"like {json.dumps([0, 0, 0.5, 1, 1, 1])}", name=f"boxes of {scene_id}")
    return check_boxes(np.array(rows, np.float64).reshape(-1, 6), path, f"boxes of {scene_id}")
