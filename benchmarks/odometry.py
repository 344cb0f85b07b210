"""How far poses that `--poses estimate` finds are from the true ones, which are hidden from it; and what it refuses.

    python benchmarks/odometry.py [--rooms 3] [--tracks FOLDER]
    python benchmarks/odometry.py RECORDING [--name NAME] [--windows 0:300 0:1000:10] [--faults blur noise] ...

Without a recording, made-up rooms are walked through. RECORDING is one that `load_scene` reads, with poses.
docs/results.md has the red kitchen of 7-Scenes with the options that describe its cameras (`KINECT_COLOR` and
`KINECT_DEPTH` in data/readers/seven_scenes.py). A window is first:last:step in frames, a fault one of `FAULTS` in
odometry_scans.py. Where tracking is lost, the frames before it are the case, since the error recommends them. Each case
is fitted again without its loops: only keyframes that are at most eight apart are joined. Errors are the largest of all
frames, in the camera frame of the first. `--tracks` keeps what was tracked, and the results are those of everything in
its folder; they have a section of their own on the results page. Takes about 0.1 s a frame.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from measure import Transcript, options
from odometry_scans import FAULTS, made_up_room, with_fault
from page import table
from scipy.spatial.transform import Rotation

from video3d_plugin import load_scene
from video3d_plugin.cli.common import add_camera_arguments, camera_options
from video3d_plugin.data.odometry.graph import Edge, fit_poses
from video3d_plugin.data.odometry.motion import Motion
from video3d_plugin.data.odometry.track import (
    MOST_DEVIATION_DEG,
    MOST_DEVIATION_M,
    EstimatedPoses,
    Track,
    uncertainty,
)
from video3d_plugin.data.odometry.views import read_view
from video3d_plugin.scene import Frame

TRUE_M, TRUE_DEG = 0.1, 5.0  # what accepted poses are to keep to
_LOOPS = {"all": None, "cut": 8}  # keyframes apart that are joined at most
_ROOM_FRAMES = 60


@dataclass(frozen=True)
class Tracked:
    """A recording that was tracked until its end, or until tracking was lost; as `--tracks` keeps it.

    Attributes:
        keyframes: (K, 4, 4) first estimate of the keyframes' poses.
        pairs: (E, 3) int: two keyframes, and the features that agree on the motion between them.
        motions: (E, 4, 4) these motions.
        places: (N,) keyframe of each frame.
        offsets: (N, 4, 4) keyframe from camera.
        truth: (N, 4, 4) true poses, in any frame.
        frames: Frames that were to be tracked, N or more.
    """

    keyframes: np.ndarray
    pairs: np.ndarray
    motions: np.ndarray
    places: np.ndarray
    offsets: np.ndarray
    truth: np.ndarray
    frames: int

    @classmethod
    def of(cls, frames: Sequence[Frame]) -> Tracked:
        """Track frames; their poses are the truth."""
        track = Track(read_view(frames[0]))
        located = next((n for n, frame in enumerate(frames) if n and not track.add(read_view(frame))), len(frames))
        track.join_revisits()
        return cls(
            np.array(track.poses),
            np.array([[e.first, e.second, e.motion.agreeing] for e in track.edges], int).reshape(-1, 3),
            np.array([e.motion.to_first for e in track.edges]).reshape(-1, 4, 4),
            np.array([key for key, _ in track.places]),
            np.array([offset for _, offset in track.places]),
            np.array([frame.scan_from_camera for frame in frames[:located]]),
            len(frames),
        )

    @property
    def is_lost(self) -> bool:
        return len(self.truth) < self.frames

    def fitted(self, farthest: int | None) -> EstimatedPoses | None:
        """The estimate from motions between keyframes that are at most `farthest` apart; None for a single frame."""
        near = self.pairs[:, 1] - self.pairs[:, 0] <= (farthest or len(self.keyframes))
        if not near.any():
            return None
        pairs, motions = self.pairs[near], self.motions[near]
        edges = [Edge(int(a), int(b), Motion(m, int(n))) for (a, b, n), m in zip(pairs, motions, strict=True)]
        fit = fit_poses(self.keyframes, edges)
        return EstimatedPoses.of(fit, fit.poses[self.places] @ self.offsets, len(edges))

    def save(self, path: Path) -> None:
        np.savez_compressed(path, **asdict(self))

    @classmethod
    def load(cls, path: Path) -> Tracked:
        with np.load(path, allow_pickle=False) as stored:
            tracked = cls(**stored)
        return replace(tracked, frames=int(tracked.frames))


def errors(estimated: np.ndarray, recorded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the errors of (N, 4, 4) poses, both in any frame: (N,) metres and (N,) degrees, from the first frame."""
    ours, theirs = (np.linalg.inv(poses[0]) @ poses for poses in (estimated, recorded))
    angles = np.degrees(Rotation.from_matrix((np.linalg.inv(theirs) @ ours)[:, :3, :3]).magnitude())
    return np.linalg.norm(ours[:, :3, 3] - theirs[:, :3, 3], axis=1), angles


@dataclass(frozen=True)
class Result:
    """A case: its name, what is stated of its poses, and their largest errors."""

    name: str
    loops: str
    stated_m: float
    stated_deg: float
    largest_m: float
    largest_deg: float
    is_refused: bool

    @property
    def is_right(self) -> bool:
        return self.largest_m < TRUE_M and self.largest_deg < TRUE_DEG

    def __str__(self) -> str:
        stated = f"stated {self.stated_m * 100:.1f} cm, {self.stated_deg:.1f} deg"
        largest = f"largest error {self.largest_m * 100:.1f} cm, {self.largest_deg:.1f} deg"
        verdict = "refused" if self.is_refused else "accepted" + ("" if self.is_right else ", WRONG")
        return f"{self.name}, loops {self.loops}: {stated}; {largest}; {verdict}"


def results(name: str, tracked: Tracked) -> list[Result]:
    """The results of a track, with all of its loops and without."""
    if tracked.is_lost:
        name += f", the {len(tracked.truth)} frames before it is lost"
    found = []
    for loops, farthest in _LOOPS.items():
        estimated = tracked.fitted(farthest)
        if estimated is None:
            continue
        metres, degrees = errors(estimated.poses, tracked.truth)
        stated = estimated.deviation_m, estimated.deviation_deg
        found.append(Result(name, loops, *stated, metres.max(), degrees.max(), uncertainty(estimated) is not None))
    return found


def track_all(args, folder: Path) -> None:
    """Track what the arguments ask for, unless `folder` has it."""
    if args.recording is None:
        for index in range(args.rooms):
            with tempfile.TemporaryDirectory() as images:
                frames = made_up_room(index, _ROOM_FRAMES, Path(images))
                _track(folder / f"made-up room {index}, none.npz", frames)
        return
    scene = load_scene(args.recording, frame_step=1, align="none", **asdict(camera_options(args)))
    for window in args.windows:
        chosen = scene.frames[slice(*(int(part) if part else None for part in window.split(":")))]
        for fault in args.faults:
            with tempfile.TemporaryDirectory() as images:
                name = f"{args.name or args.recording.name} {window.replace(':', '-')}, {fault}.npz"
                _track(folder / name, with_fault(chosen, fault, Path(images)))


def _track(path: Path, frames: Sequence[Frame]) -> None:
    if not path.exists():
        Tracked.of(frames).save(path)


def summary(found: list[Result], lost: int) -> str:
    """A table of how many cases are accepted, and right."""
    rows = []
    for fault, what in FAULTS.items():
        for loops in _LOOPS:
            cases = [r for r in found if f", {fault}" in r.name and r.loops == loops]
            accepted = [r for r in cases if not r.is_refused]
            right, refused_right = sum(r.is_right for r in accepted), sum(r.is_right for r in cases if r.is_refused)
            if cases:
                cells = [len(cases), len(accepted), right, len(cases) - len(accepted), refused_right]
                rows.append([f"{what}{'' if loops == 'all' else ', loops cut'}", *map(str, cells)])
    header = [
        "",
        "cases",
        "accepted",
        f"of them within {TRUE_M * 100:g} cm, {TRUE_DEG:g}°",
        "refused",
        "of them within",
    ]
    return table(header, rows) + f"\n\nTracking was lost in {lost} of the recordings; a case is what came before."


def main() -> None:
    parser = options(__doc__, rooms=3)
    parser.add_argument("recording", type=Path, nargs="?")
    parser.add_argument("--name", help="of the recording, for the results")
    parser.add_argument("--tracks", type=Path, metavar="FOLDER", help="where what was tracked is kept")
    add_camera_arguments(parser)
    parser.add_argument("--windows", nargs="+", default=["0:"], metavar="FIRST:LAST[:STEP]")
    parser.add_argument("--faults", nargs="+", default=["none"], choices=FAULTS)
    args = parser.parse_args()
    say = Transcript()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.tracks or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        track_all(args, folder)
        tracks = {path.stem: Tracked.load(path) for path in sorted(folder.glob("*.npz"))}
    found = [result for name, tracked in tracks.items() for result in results(name, tracked)]
    for result in found:
        say(str(result))
    accepted = [r for r in found if not r.is_refused]
    limits = f"{MOST_DEVIATION_M * 100:g} cm, {MOST_DEVIATION_DEG:g} deg"
    say(f"refused above a stated {limits}; of {len(accepted)} accepted, {sum(r.is_right for r in accepted)} are right")
    cases = summary(found, sum(t.is_lost for t in tracks.values()))
    if args.tracks:
        say.publish(args.page, "odometry", "Estimated poses", cases, "--tracks FOLDER ...")
    else:
        say.publish(args.page, "odometry-rooms", "Estimated poses of made-up rooms", cases)


if __name__ == "__main__":
    main()
