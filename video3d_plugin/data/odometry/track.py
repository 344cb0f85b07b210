"""Estimates the poses of a recording's frames, or refuses where the estimate would drift too far.

Each frame is located from a keyframe (`motion`). Keyframes that see the same place again are joined, and the poses are
fitted to all motions (`graph`). A recording is refused where a frame cannot be located, or if poses are too uncertain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from video3d_plugin.data.odometry.graph import Edge, GraphPoses, fit_poses
from video3d_plugin.data.odometry.motion import Motion, find_motion, logarithm
from video3d_plugin.data.odometry.views import View, read_view
from video3d_plugin.errors import DataError
from video3d_plugin.notes import Note
from video3d_plugin.scene import Frame

# Calibrated with benchmarks/odometry.py: below, the largest errors are nearly always under 10 cm and 5 degrees
MOST_DEVIATION_M, MOST_DEVIATION_DEG = 0.06, 3.0
MOST_FRAMES = 3000
_KEYFRAME_EVERY = 0.15, np.radians(8)  # metres, radians
_WELL_SEEN = 60  # features that agree: with fewer, a new keyframe is begun
_MOST_CONTRADICTED = 0.3
_REMEDY = "move slowly and keep furniture in view, or record with an app that stores poses"


@dataclass(frozen=True)
class EstimatedPoses(GraphPoses):
    """The poses of a recording's frames, and how sure they are: `poses` are of all frames, not of the keyframes alone.

    Attributes:
        keyframes: Number of keyframes.
        revisits: Number of pairs of keyframes, besides neighbours, that see the same place.
    """

    keyframes: int
    revisits: int

    @classmethod
    def of(cls, fit: GraphPoses, poses: np.ndarray, edges: int) -> EstimatedPoses:
        """Return the estimate for all frames.

        Args:
            fit: The fit of the keyframes.
            poses: (N, 4, 4) poses of all frames, first camera from camera, metres.
            edges: Number of motions that were fitted.
        """
        count = len(fit.poses)
        return cls(poses, fit.deviation_m, fit.deviation_deg, fit.contradicted, count, edges - (count - 1))

    @property
    def drift(self) -> str:
        """The standard deviations in words."""
        return f"{100 * self.deviation_m:.0f} cm and {self.deviation_deg:.1f} degrees"

    @property
    def note(self) -> Note:
        """A sentence that states the drift."""
        return Note(
            f"poses are estimated from the images, with a drift of about {self.drift} (standard deviation): "
            f"{self.keyframes} keyframes, {self.revisits} pairs of them that see a place again",
            "assumption",
        )


def estimate_poses(frames: Sequence[Frame], where: object) -> EstimatedPoses:
    """Estimate the pose of each frame. Takes about 70 ms a frame of 640x480 on one CPU core, plus 20 % for revisits.

    Args:
        frames: All frames in the order of recording, at most MOST_FRAMES. Their poses are not used.
        where: What errors name.

    Raises:
        DataError: A frame cannot be decoded or located, or the poses are too uncertain.
    """
    if not 2 <= len(frames) <= MOST_FRAMES:
        what = f"poses can be estimated of 2 to {MOST_FRAMES} frames, not of {len(frames)}"
        raise DataError(what, where=str(where), remedy="give a recording of that length")
    track = Track(read_view(frames[0]))
    for number, frame in enumerate(tqdm(frames[1:], "estimating poses", disable=None, delay=1), 1):
        if not track.add(read_view(frame)):
            what = f"poses cannot be estimated: tracking is lost at frame {frame.name} ({number + 1} of {len(frames)})"
            raise DataError(what, where=str(where), remedy=f"{_REMEDY}; or use the frames before it alone")
    track.join_revisits()
    estimated = track.fitted()
    if (fault := uncertainty(estimated)) is not None:
        raise DataError(f"poses cannot be estimated: {fault[0]}", where=str(where), remedy=f"{_REMEDY}; {fault[1]}")
    return estimated


def uncertainty(estimated: EstimatedPoses) -> tuple[str, str] | None:
    """Return why poses are too uncertain to be used, and what may help; None if they are not."""
    if estimated.deviation_m > MOST_DEVIATION_M or estimated.deviation_deg > MOST_DEVIATION_DEG:
        limits = f"{100 * MOST_DEVIATION_M:g} cm or {MOST_DEVIATION_DEG:g} degrees"
        return f"the drift is about {estimated.drift} (standard deviation), more than {limits}", "or use a shorter part"
    if estimated.contradicted > _MOST_CONTRADICTED:
        what = f"{estimated.contradicted:.0%} of the keyframes' motions contradict others"
        return what, "are intrinsics and depth unit right?"
    return None


class Track:
    """Frames located so far: each from a keyframe, and each keyframe from the one before.

    Attributes:
        keyframes: The keyframes' views.
        poses: (4, 4) pose of each keyframe, first camera from camera, metres.
        edges: Motions between keyframes.
        places: Of each frame the keyframe, and (4, 4) keyframe from camera.
    """

    def __init__(self, first: View) -> None:
        """Begin with the first frame.

        Args:
            first: The first frame; it is a keyframe.
        """
        self.keyframes = [first]
        self.poses = [np.eye(4)]
        self.edges: list[Edge] = []
        self.places: list[tuple[int, np.ndarray]] = [(0, np.eye(4))]
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

    def join_revisits(self) -> None:
        """Find the motions between all keyframes that see the same place. Call it once, after the last frame."""
        if self._last[0] is not self.keyframes[-1]:
            self._begin_keyframe()
        for first in range(len(self.keyframes)):
            for second in range(first + 2, len(self.keyframes)):
                motion = find_motion(self.keyframes[first], self.keyframes[second])
                if motion is not None:
                    self.edges.append(Edge(first, second, motion))

    def fitted(self) -> EstimatedPoses:
        """Return the poses that fit all motions best."""
        fitted = fit_poses(np.array(self.poses), self.edges)
        poses = np.array([fitted.poses[key] @ pose for key, pose in self.places])
        return EstimatedPoses.of(fitted, poses, len(self.edges))


def _is_far(motion: Motion) -> bool:
    values = logarithm(motion.to_first)
    is_far = np.linalg.norm(values[3:]) > _KEYFRAME_EVERY[0] or np.linalg.norm(values[:3]) > _KEYFRAME_EVERY[1]
    return bool(is_far or motion.agreeing < _WELL_SEEN)
