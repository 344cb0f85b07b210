"""How far poses that `--poses estimate` finds are from the recorded ones, which are hidden from it.

    python benchmarks/odometry.py RECORDING [--windows 0:300 100:400 0:600:2]

RECORDING is one that `load_scene` reads, with poses. docs/results.md has the red kitchen of 7-Scenes with the options
that describe its cameras (`KINECT_COLOR` and `KINECT_DEPTH` in data/readers/seven_scenes.py). A window is
first:last:step in frames. Errors are in the camera frame of the window's first frame: of its last frame, the largest,
and the largest after a rigid fit of the camera positions. A window that is refused is listed with the reason. Takes
about 0.1 s a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from measure import Transcript, options
from scipy.spatial.transform import Rotation

from video3d_plugin import load_scene
from video3d_plugin.cli.common import add_camera_arguments, camera_options
from video3d_plugin.data.odometry.track import estimate_poses
from video3d_plugin.errors import DataError
from video3d_plugin.scene import Frame


def errors(estimated: np.ndarray, recorded: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Compare (N, 4, 4) poses, both in any frame.

    Returns:
        (N,) errors of position in metres and (N,) of rotation in degrees, from the first frame; the largest distance
        of two positions in metres after a rigid fit.
    """
    ours, theirs = (np.linalg.inv(poses[0]) @ poses for poses in (estimated, recorded))
    moved = np.linalg.inv(theirs) @ ours
    angles = np.degrees(Rotation.from_matrix(moved[:, :3, :3]).magnitude())
    a, b = ours[:, :3, 3], theirs[:, :3, 3]
    rotation, _ = Rotation.align_vectors(b - b.mean(0), a - a.mean(0))
    fitted = rotation.apply(a - a.mean(0)) - (b - b.mean(0))
    return np.linalg.norm(a - b, axis=1), angles, float(np.linalg.norm(fitted, axis=1).max())


def measured(frames: Sequence[Frame], folder: Path) -> str:
    """One window: the errors and the drift that is stated, or why it is refused."""
    try:
        poses, note = estimate_poses(frames, folder)
    except DataError as error:
        return f"refused: {error.what}"
    metres, degrees, fitted = errors(poses, np.stack([frame.scan_from_camera for frame in frames]))
    last = f"last {metres[-1] * 100:.1f} cm, {degrees[-1]:.1f} deg"
    largest = f"largest {metres.max() * 100:.1f} cm, {degrees.max():.1f} deg"
    return f"{last}; {largest}; after a fit {fitted * 100:.1f} cm; {note}"


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("recording", type=Path)
    add_camera_arguments(parser)
    parser.add_argument("--windows", nargs="+", default=["0:"], metavar="FIRST:LAST[:STEP]")
    args = parser.parse_args()
    say = Transcript()
    frames = load_scene(args.recording, frame_step=1, align="none", **asdict(camera_options(args))).frames
    for window in args.windows:
        chosen = frames[slice(*(int(part) if part else None for part in window.split(":")))]
        say(f"{window:10} {len(chosen)} frames: {measured(chosen, args.recording)}")
    say.publish(args.page, "odometry", "Estimated poses")


if __name__ == "__main__":
    main()
