"""A room as a scan's mesh: tessellated, over-segmented, with the segments of each object; and proposals as Mask3D makes
them, with its faults.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from video3d_plugin.mini.rooms.rooms import Room, stream
from video3d_plugin.mini.rooms.shapes import Part


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh.

    Attributes:
        points: (V, 3) float32, scan frame, metres.
        rgb: (V, 3) uint8.
        faces: (F, 3) int32.
        segment: (V,) int64, number of the patch of surface.
        owner: (V,) int64, object id.
    """

    points: np.ndarray
    rgb: np.ndarray
    faces: np.ndarray
    segment: np.ndarray
    owner: np.ndarray

    def segments_of(self, object_id: int) -> list[int]:
        return [int(s) for s in np.unique(self.segment[self.owner == object_id])]


def room_mesh(room: Room, cell_m: float = 0.22) -> Mesh:
    """Tessellate all objects and the shell without its ceiling, as scans have none.

    Args:
        room: The room.
        cell_m: Distance between vertices, metres.
    """
    rng = stream(*room.seed, room.scene_id, "mesh")
    points, rgb, faces, segment, owner = [], [], [], [], []
    count, patches = 0, 0
    for thing in (*room.things, *room.shell):
        for part in thing.parts:
            for corners, shape in _sides(part, cell_m if thing.mount != "shell" else 2 * cell_m):
                vertices, triangles, half = _grid(corners, shape)
                points.append(vertices)
                faces.append(triangles + count)
                segment.append(patches + half)
                rgb.append(np.tile(np.array(part.rgb, np.uint8), (len(vertices), 1)))
                owner.append(np.full(len(vertices), thing.object_id))
                count, patches = count + len(vertices), patches + 2
    scan_from_world = np.linalg.inv(room.world_from_scan)
    world = np.concatenate(points)
    names = 3 * rng.permutation(patches) + 7  # segment numbers mean nothing in a scan, and have holes
    return Mesh(
        (world @ scan_from_world[:3, :3].T + scan_from_world[:3, 3]).astype(np.float32),
        np.concatenate(rgb),
        np.concatenate(faces).astype(np.int32),
        names[np.concatenate(segment)],
        np.concatenate(owner),
    )


def _sides(part: Part, cell_m: float):
    """(origin, edge u, edge v) and the number of cells along both edges, for the six faces of a box."""
    lo, hi = np.array(part.lo), np.array(part.hi)
    for axis in range(3):
        u, v = np.zeros(3), np.zeros(3)
        u[(axis + 1) % 3], v[(axis + 2) % 3] = (hi - lo)[(axis + 1) % 3], (hi - lo)[(axis + 2) % 3]
        shape = tuple(int(max(1, np.ceil(e.sum() / cell_m))) for e in (u, v))
        for end in (lo, hi):
            origin = lo.copy()
            origin[axis] = end[axis]
            yield (origin, u, v), shape


def _grid(corners, shape):
    """Vertices (N, 3), triangles (T, 3) and for each vertex which half of the face it lies in (0 or 1)."""
    (origin, u, v), (n, m) = corners, shape
    i, j = np.mgrid[0 : n + 1, 0 : m + 1]
    vertices = origin + i.reshape(-1, 1) / n * u + j.reshape(-1, 1) / m * v
    a = (np.arange(n)[:, None] * (m + 1) + np.arange(m)).ravel()
    triangles = np.concatenate([np.stack([a, a + 1, a + m + 2], 1), np.stack([a, a + m + 2, a + m + 1], 1)])
    half = (i > n // 2) if n >= m else (j > m // 2)
    return vertices, triangles, half.ravel().astype(np.int64) * (max(n, m) > 2)


@dataclass(frozen=True)
class ProposalFaults:
    """How a segmenter fails. The first four are shares, between 0 and 1.

    Attributes:
        missed: Objects without a mask.
        split: Objects cut in two.
        merged: Objects fused with a neighbour.
        ragged: Segments of an object that its mask lacks.
        spurious: Fewest and most masks of no object.
    """

    missed: float = 0.06
    split: float = 0.12
    merged: float = 0.08
    ragged: float = 0.06
    spurious: tuple[int, int] = (2, 5)


EXACT = ProposalFaults(0.0, 0.0, 0.0, 0.0, (0, 0))


def proposals(room: Room, mesh: Mesh, faults: ProposalFaults) -> np.ndarray:
    """Return masks of instances as a segmenter would propose them.

    Args:
        room: The room.
        mesh: Its mesh.
        faults: How the segmenter fails.

    Returns:
        (N, V) bool, at most 50; correct masks tend to come first, as with confidences.
    """
    rng = stream(*room.seed, room.scene_id, "proposals")
    masks: list[tuple[float, np.ndarray]] = []
    for thing in room.things:
        of_thing, fate = mesh.owner == thing.object_id, rng.random()
        if fate < faults.missed:
            continue
        if fate < faults.missed + faults.split:
            masks += [(rng.uniform(0.3, 0.8), half) for half in _halves(mesh, of_thing)]
        elif fate < faults.missed + faults.split + faults.merged:
            other = _neighbour(room, thing)
            masks.append((rng.uniform(0.4, 0.9), of_thing | (mesh.owner == other)))
        else:
            masks.append((rng.uniform(0.6, 1.0), _ragged(rng, mesh, of_thing, faults.ragged)))
    for _ in range(int(rng.integers(faults.spurious[0], faults.spurious[1] + 1))):
        masks.append((rng.uniform(0.0, 0.6), _blob(rng, mesh)))
    masks.sort(key=lambda scored: -scored[0])
    nonempty = [mask for _, mask in masks if mask.any()][:50]
    return np.stack(nonempty) if nonempty else np.zeros((0, len(mesh.points)), bool)


def _halves(mesh: Mesh, mask: np.ndarray) -> list[np.ndarray]:
    """The object cut across its longest extent."""
    points = mesh.points[mask]
    axis = int(np.argmax(np.ptp(points, axis=0)))
    first = mask & (mesh.points[:, axis] <= np.median(points[:, axis]))
    return [first, mask & ~first]


def _neighbour(room: Room, thing) -> int:
    return min(
        (t for t in room.things if t.object_id != thing.object_id),
        key=lambda t: float(np.linalg.norm(t.center - thing.center)),
    ).object_id


def _ragged(rng, mesh: Mesh, mask: np.ndarray, share: float) -> np.ndarray:
    lost = [s for s in np.unique(mesh.segment[mask]) if rng.random() < share]
    rest = mask & ~np.isin(mesh.segment, lost)
    return rest if rest.any() else mask


def _blob(rng, mesh: Mesh) -> np.ndarray:
    """The vertices within a small ball somewhere on the surface: a mask of no object."""
    centre = mesh.points[int(rng.integers(len(mesh.points)))]
    return np.linalg.norm(mesh.points - centre, axis=1) < rng.uniform(0.3, 0.7)
