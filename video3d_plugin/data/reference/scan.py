"""Builds the content of pcd_with_object_aabbs/<split>/<id>.pth: a scan's aligned mesh with labels and boxes.

Source: LaVi-Lab/Video-3D-LLM at 3ff70e8, scripts/3d/preprocessing/extract_scannet_pcd.py (after M3DRef-CLIP).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from video3d_plugin.data.readers import mesh, ply
from video3d_plugin.data.readers.scannet_files import ScanFiles
from video3d_plugin.errors import DataError

# NYU40 ids of the reference's 20 classes, in order; every other labelled vertex belongs to the last class.
VALID_IDS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39)
_OTHER = len(VALID_IDS) - 1
_CORNERS = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float32)


def reference_scan(files: ScanFiles, world_from_scan: np.ndarray, nyu40: dict[str, int]) -> dict[str, Any]:
    """Build the dictionary of a .pth file.

    Args:
        files: The scan's files.
        world_from_scan: (4, 4) alignment.
        nyu40: Raw category to NYU40 id.

    Returns:
        `xyz` (M, 3) float32, world frame, metres; `rgb` (M, 3) uint8; `normal` (M, 3) float32; `sem_labels` (M,) int8;
        `instance_ids` (M,) int16; `aabb_obj_ids` (N,) int16; `aabb_corner_xyz` (N, 8, 3) float32. The last four are
        None for a scan without annotations.

    Raises:
        DataError: The scan has no mesh, or a file is broken.
    """
    if files.mesh is None:
        raise DataError(f"scan {files.scene_id} has no mesh", remedy="download <id>_vh_clean_2.ply")
    content = ply.read_mesh(files.mesh)
    xyz = mesh.align(content.vertices, world_from_scan)
    scan: dict[str, Any] = {
        "xyz": xyz,
        "rgb": content.colors,
        "normal": vertex_normals(content.vertices @ world_from_scan[:3, :3].T, content.faces),
        "sem_labels": None,
        "instance_ids": None,
        "aabb_obj_ids": None,
        "aabb_corner_xyz": None,
    }
    if files.segments and files.aggregation:
        groups = mesh.read_groups(files.segments, files.aggregation, len(xyz))
        owner, _, _ = mesh.owners(groups, len(xyz))
        ids = np.unique(owner[owner >= 0])
        scan["sem_labels"] = semantic_labels(groups, len(xyz), nyu40)
        scan["instance_ids"] = owner.astype(np.int16)
        scan["aabb_obj_ids"] = ids.astype(np.int16)
        scan["aabb_corner_xyz"] = np.stack([_corners(xyz[owner == i]) for i in ids]) if len(ids) else _no_corners()
    return scan


def semantic_labels(groups: list[mesh.Group], count: int, nyu40: dict[str, int]) -> np.ndarray:
    """Label vertices with their class. Labels are applied in the order of their first object, as in the reference.

    Args:
        groups: The annotated objects.
        count: Number of vertices, M.
        nyu40: Raw category to NYU40 id.

    Returns:
        (M,) int8 places in VALID_IDS, -1 for vertices of no object.
    """
    labels = np.full(count, -1, np.int8)
    for name in dict.fromkeys(group.label for group in groups):
        number = nyu40.get(name)
        value = VALID_IDS.index(number) if number in VALID_IDS else _OTHER
        for group in groups:
            if group.label == name:
                labels[group.vertices] = value
    return labels


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Compute vertex normals as the normalised sum of the adjoining faces' cross products.

    Args:
        vertices: (M, 3) float64.
        faces: (F, 3) indices of vertices.

    Returns:
        (M, 3) float32 unit vectors; (0, 0, 1) for vertices of no face.
    """
    corner = vertices[faces]
    cross = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    normals = np.zeros_like(vertices)
    for place in range(3):
        np.add.at(normals, faces[:, place], cross)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(length > 0, normals / np.maximum(length, 1e-300), [0.0, 0.0, 1.0]).astype(np.float32)


def _corners(points: np.ndarray) -> np.ndarray:
    low = points.min(axis=0)
    return low + (points.max(axis=0) - low) * _CORNERS


def _no_corners() -> np.ndarray:
    return np.zeros((0, 8, 3), np.float32)
