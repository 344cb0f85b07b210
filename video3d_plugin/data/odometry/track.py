"""Estimates the poses of a recording's frames, or refuses where the estimate would drift.

Each frame is located from a keyframe (`motion`). Keyframes that see the same place again are joined, and the poses are
fitted to all motions (`graph`). A recording is refused where a frame cannot be located, or if poses are too uncertain.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from video3d_plugin.data.odometry.graph import Edge, fit_poses
from video3d_plugin.data.odometry.motion import Motion, find_motion, logarithm
from video3d_plugin.data.odometry.views import View, read_view
from video3d_plugin.errors import DataError
from video3d_plugin.notes import Note
from video3d_plugin.scene import Frame

MOST_DRIFT_M, MOST_DRIFT_DEG = 0.1, 5.0
MOST_FRAMES = 3000
_KEYFRAME_EVERY = 0.15, np.radians(8)  # metres, radians
_WELL_SEEN = 60  # features that agree: with fewer, a new keyframe is begun
_MOST_CONTRADICTED = 0.3
_REMEDY = "move slowly and keep furniture in view, or record with an app that stores poses"


def estimate_poses(frames: Sequence[Frame], where: object) -> tuple[np.ndarray, Note]:
    """Estimate the pose of each frame. Takes about 70 ms a frame of 640x480 on one CPU core, plus 20 % for revisits.

    Args:
        frames: All frames in the order of recording, at most MOST_FRAMES. Their poses are not used.
        where: What errors name.

    Returns:
        (N, 4, 4) float64 first camera from camera, metres; and a sentence that states the estimated drift.

    Raises:
        DataError: A frame cannot be decoded or located, or the estimated drift is above 10 cm or 5 degrees.
    """
    if not 2 <= len(frames) <= MOST_FRAMES:
        what = f"poses can be estimated of 2 to {MOST_FRAMES} frames, not of {len(frames)}"
        raise DataError(what, where=str(where), remedy="give a recording of that length")
    track = _Track(read_view(frames[0]))
    for number, frame in enumerate(tqdm(frames[1:], "estimating poses", disable=None, delay=1), 1):
        if not track.add(read_view(frame)):
            what = f"poses cannot be estimated: tracking is lost at frame {frame.name} ({number + 1} of {len(frames)})"
            raise DataError(what, where=str(where), remedy=f"{_REMEDY}; or use the frames before it alone")
    return track.finish(str(where))


class _Track:
    """Frames located so far: each from a keyframe, and each keyframe from the one before."""

    def __init__(self, first: View) -> None:
        self.keyframes = [first]
        self.poses = [np.eye(4)]  # of keyframes
        self.edges: list[Edge] = []
        self.places: list[tuple[int, np.ndarray]] = [(0, np.eye(4))]  # of frames: keyframe, and pose from it
        self._last = first, Motion(np.eye(4), _WELL_SEEN)

    def add(self, view: View) -> bool:
        """Locate a frame; return whether that was possible."""
        motion = find_motion(self.keyframes[-1], view)
        if (motion is None or _is_far(motion)) and self._last[0] is not self.keyframes[-1]:
            nearer = find_motion(self._last[0], view)
            if nearer is not None:
                self._begin_keyframe()
                motion = nearer
        if motion is None:
            return False
        self.places.append((len(self.keyframes) - 1, motion.to_first))
        self._last = view, motion
        return True

    def _begin_keyframe(self) -> None:
        """Make the last frame a keyframe."""
        view, motion = self._last
        self.edges.append(Edge(len(self.keyframes) - 1, len(self.keyframes), motion))
        self.poses.append(self.poses[-1] @ motion.to_first)
        self.keyframes.append(view)

    def finish(self, where: str) -> tuple[np.ndarray, Note]:
        """Return the poses of all frames and the note; DataError if they are too uncertain."""
        if self._last[0] is not self.keyframes[-1]:
            self._begin_keyframe()
        chained = len(self.edges)
        for first in range(len(self.keyframes)):
            for second in range(first + 2, len(self.keyframes)):
                motion = find_motion(self.keyframes[first], self.keyframes[second])
                if motion is not None:
                    self.edges.append(Edge(first, second, motion))
        fitted = fit_poses(np.array(self.poses), self.edges)
        drift = f"{100 * fitted.deviation_m:.0f} cm and {fitted.deviation_deg:.1f} degrees"
        if fitted.deviation_m > MOST_DRIFT_M or fitted.deviation_deg > MOST_DRIFT_DEG:
            what = f"poses cannot be estimated: the drift is about {drift}, more than 10 cm or 5 degrees"
            raise DataError(what, where=where, remedy=f"{_REMEDY}; or use a shorter part")
        if fitted.contradicted > _MOST_CONTRADICTED:
            what = f"poses cannot be estimated: {fitted.contradicted:.0%} of the keyframes' motions contradict others"
            raise DataError(what, where=where, remedy=f"{_REMEDY}; are intrinsics and depth unit right?")
        note = Note(
            f"poses are estimated from the images, with a drift of about {drift} (standard deviation): "
            f"{len(self.keyframes)} keyframes, {len(self.edges) - chained} pairs of them that see a place again",
            "assumption",
        )
        return np.array([fitted.poses[key] @ pose for key, pose in self.places]), note


def _is_far(motion: Motion) -> bool:
    values = logarithm(motion.to_first)
    is_far = np.linalg.norm(values[3:]) > _KEYFRAME_EVERY[0] or np.linalg.norm(values[:3]) > _KEYFRAME_EVERY[1]
    return bool(is_far or motion.agreeing < _WELL_SEEN)
