"""How well scans are levelled under random rotations and moves of their world; and how much of what is found is right.

    python benchmarks/levelling.py [--rotations 200]                                        made-up rooms
    python benchmarks/levelling.py --real kitchen=FOLDER --real realscan=FOLDER:0,1,0      real scans

Each has a section of its own on the results page. Up, the walls' direction modulo 90 degrees and the floor's height are
compared with the truth of made-up rooms, which is exact. For a real scan, up can be given after a colon; otherwise the
truth of up is the normal of the plane that is fitted to the depth pixels of its floor, and the other figures say how
much the result scatters. A real scan with a mesh has a truth of its walls: the direction in which the mesh's
projections have the least entropy.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from levelling_scans import Case, few_frames, hard_cases, junk_cases, moved, room, shown, walk
from measure import Transcript, options
from page import table
from scipy.spatial.transform import Rotation

from video3d_plugin import load_scene
from video3d_plugin.data.inputs import frame_points
from video3d_plugin.data.levelling.level import MAX_FRAMES, Levelling, level_surfels
from video3d_plugin.data.levelling.rotation import angle_deg, shortest_rotation
from video3d_plugin.data.levelling.surfels import merge_windows, read_windows
from video3d_plugin.data.readers import ply
from video3d_plugin.scene import Scene

UP_DEG, YAW_DEG, FLOOR_M = 2.0, 3.0, 0.05


class Errors:
    """Errors of many runs: of up and the walls in degrees, of the floor in metres; NaN where something is not found."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, float, float]] = []

    def add(self, case: Case, result: Levelling) -> None:
        assert case.up is not None
        up = angle_deg(result.estimate.direction, case.up)
        found = result.up is not None
        yaw = _yaw_error(case, result) if found and result.yaw is not None and result.yaw.found else np.nan
        floor = np.nan
        if found and result.floor is not None and result.floor.seen and case.floor_m is not None:
            # z of the true floor at the cameras: 0 is right
            cameras = np.mean([w.scan_from_camera[:3, 3] for w in case.windows], axis=0)
            foot = cameras - (cameras @ case.up - case.floor_m) * case.up
            floor = float(abs((result.world_from_scan @ [*foot, 1])[2]))
        self.rows.append((up if found else np.nan, yaw, floor))

    def cells(self) -> list[str]:
        values = np.array(self.rows, float)
        cells = []
        for column, (limit, factor, unit) in enumerate(((UP_DEG, 1, "°"), (YAW_DEG, 1, "°"), (FLOOR_M, 100, " cm"))):
            known = values[:, column][np.isfinite(values[:, column])]
            if not len(known):
                cells.append("—")
                continue
            right = (known <= limit).mean()
            middle, worst = np.median(known) * factor, known.max() * factor
            cells.append(f"{middle:.2f} / {worst:.2f}{unit}; {right:.1%} of {len(known) / len(values):.0%}")
        return cells


def _yaw_error(case: Case, result: Levelling) -> float:
    if case.wall is None:
        return np.nan
    wall = result.world_from_scan[:3, :3] @ case.wall
    return float(abs((np.degrees(np.arctan2(wall[1], wall[0])) + 45) % 90 - 45))


def turn_at_random(cases: list[Case], rotations: int, rng: np.random.Generator, errors: Errors) -> None:
    """Level the cases in turn, each time in another world."""
    for number in range(rotations):
        case, rotation = cases[number % len(cases)], Rotation.random(random_state=rng).as_matrix()
        turned = moved(case, rotation, rng.uniform(-50, 50, 3))
        errors.add(turned, level_surfels(merge_windows(turned.windows)))


def real_case(scene: Scene, up: np.ndarray | None, mesh: Path | None) -> Case:
    """The scan with its truth as far as it is known, else with the result that it has unturned."""
    picked = np.unique(np.linspace(0, len(scene.frames) - 1, min(MAX_FRAMES, len(scene.frames))).round().astype(int))
    windows = read_windows([scene.frames[i] for i in picked])
    result = level_surfels(merge_windows(windows))
    assert result.up is not None and result.floor is not None, f"{scene.scene_id}: {result.note}"
    height = result.floor.height_m + float(windows[0].scan_from_camera[:3, 3] @ result.up)
    if up is None:
        up = floor_normal(scene, picked, result.up, height)
    if mesh is None:
        wall = np.linalg.inv(result.world_from_scan[:3, :3]) @ [1, 0, 0]
    else:
        flat = shortest_rotation(up)
        yaw = np.radians(least_entropy_deg(ply.read_vertices(mesh) @ flat.T))
        wall = flat.T @ [np.cos(yaw), np.sin(yaw), 0]
    return Case(windows, up, wall, height)


def floor_normal(scene: Scene, picked: np.ndarray, up: np.ndarray, height: float) -> np.ndarray:
    """Unit normal of the plane fitted to all depth pixels within 5 cm of the floor, three times over."""
    points = np.concatenate([frame_points(scene, int(i), stride=4) for i in picked]).astype(np.float64)
    for _ in range(3):
        near = points[np.abs(points @ up - height) < 0.05]
        centre = near.mean(0)
        normal = np.linalg.svd(near - centre, full_matrices=False)[2][2]
        up, height = normal * np.sign(normal @ up), float(centre @ normal * np.sign(normal @ up))
    return up


def least_entropy_deg(points: np.ndarray) -> float:
    """Angle about z, 0 to 90 degrees, at which the histograms of both horizontal coordinates have the least entropy."""
    angles = np.arange(0, 90, 0.1)
    entropies = []
    for angle in np.radians(angles):
        x, y = points[:, 0], points[:, 1]
        total = 0.0
        for values in (x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)):
            share = np.bincount(((values - values.min()) / 0.02).astype(int)) / len(values)
            total -= float((share[share > 0] * np.log(share[share > 0])).sum())
        entropies.append(total)
    return float(angles[int(np.argmin(entropies))])


def made_up_scans(rooms: int, rng: np.random.Generator) -> dict[str, list[Case]]:
    noisy = range(rooms, rooms + rooms // 2)
    return {
        f"{rooms} made-up rooms": [shown(room(i), walk(room(i), 40), rng) for i in range(rooms)],
        f"{rooms // 2} with noise and drift": [shown(room(i), walk(room(i), 40), rng, True) for i in noisy],
    }


def real_scans(places: list[str]) -> dict[str, list[Case]]:
    """NAME=FOLDER[:X,Y,Z] -> the scan's case by name."""
    scans = {}
    for text in places:
        name, _, place = text.partition("=")
        folder, _, up = place.partition(":")
        root = Path(folder)
        mesh = next(iter(sorted(root.glob("scans/*/*_vh_clean_2.ply"))), None)
        direction = np.array([float(value) for value in up.split(",")]) if up else None
        scans[name] = [real_case(load_scene(root, align="none"), direction, mesh)]
    return scans


def real_hard_cases(scans: dict[str, list[Case]], draws: int, rng: np.random.Generator) -> dict[str, Errors]:
    everything = {f"4 to 12 frames of {name}": Errors() for name in scans}
    for (case,), errors in zip(scans.values(), everything.values(), strict=True):
        for _ in range(draws):
            turn_at_random([few_frames(case, rng)], 1, rng, errors)
    return everything


def made_up_hard_cases(draws: int, rng: np.random.Generator) -> tuple[dict[str, Errors], dict[str, int]]:
    """Return the errors by kind, and of scans in which nothing can be found how many were called found."""
    everything: dict[str, Errors] = {}
    found_junk: dict[str, int] = {}
    for number in range(draws):
        for kind, case in hard_cases(100 + number, rng).items():
            turn_at_random([case], 1, rng, everything.setdefault(kind, Errors()))
        for kind, case in junk_cases(100 + number, rng).items():
            result = level_surfels(merge_windows(case.windows))
            found_junk[kind] = found_junk.get(kind, 0) + (result.up is not None)
    return everything, found_junk


def main() -> None:
    parser = options(__doc__, rotations=200, rooms=12, hard=30)
    parser.add_argument("--real", action="append", default=[], metavar="NAME=FOLDER[:X,Y,Z]")
    args = parser.parse_args()
    say, rng, junk = Transcript(), np.random.default_rng(0), {}
    scans = real_scans(args.real) if args.real else made_up_scans(args.rooms, rng)
    start = time.process_time()
    turned = {name: Errors() for name in scans}
    for name, cases in scans.items():
        turn_at_random(cases, args.rotations, rng, turned[name])
    seconds = (time.process_time() - start) / sum(len(errors.rows) for errors in turned.values())
    if args.real:
        hard = real_hard_cases(scans, args.hard, rng)
    else:
        hard, junk = made_up_hard_cases(args.hard, rng)
    rows = [[name, *errors.cells()] for name, errors in {**turned, **hard}.items()]
    print("\n".join(" | ".join(row) for row in rows))  # the page has it as a table
    found = np.array([row for errors in hard.values() for row in errors.rows])
    up = found[:, 0][np.isfinite(found[:, 0])]
    right = (up <= UP_DEG).mean()
    say(f"hard cases: up called found in {len(up)} of {len(found)}, {right:.1%} of these within 2 degrees")
    if junk:
        counts = "; ".join(f"{kind}: {count}" for kind, count in junk.items())
        say(f"called found where nothing can be, of {args.hard} each: {counts}")
    say(f"{args.rotations} rotations and moves of each of the first kinds, {args.hard} draws of each hard case")
    say(f"{seconds:.2f} s of CPU a scan, without reading its depth images")
    header = ["", "up: median / worst; right, of found", "walls: the same", "floor: the same"]
    extra = table(header, rows) + "\n\nRight: up within 2°, walls within 3°, floor within 5 cm."
    if args.real:
        say.publish(args.page, "levelling-scans", "Levelling of real scans", extra, "--real NAME=FOLDER ...")
    else:
        say.publish(args.page, "levelling", "Levelling", extra)


if __name__ == "__main__":
    main()
