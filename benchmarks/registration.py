"""How well edges of colour and depth agree on 7-Scenes: as one camera, with a usual calibration, and as read here.

    python benchmarks/registration.py redkitchen/seq-01 [--frames 40]

The folder holds frame-*.color.*, .depth.png and .pose.txt of a 640x480 Kinect; the red kitchen also lies in
andyzeng/tsdf-fusion-python, data/. The number is the mean strength of colour edges, 0 to 1, at the edges of depth (see
`data.registration_check`). "LIRIS" is the calibration of another Kinect that DSAC* and others use for this data set.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from measure import Transcript, options

from video3d_plugin import load_scene
from video3d_plugin.data.frames import read_depth
from video3d_plugin.data.readers.seven_scenes import KINECT_COLOR, KINECT_DEPTH
from video3d_plugin.data.registration_check import edge_agreement
from video3d_plugin.scene import Scene

LIRIS = np.array(
    [
        [0.99996518, 0.00267651, -0.00790410, -0.02555894],
        [-0.00274093, 0.99996303, -0.00815045, 0.00010110],
        [0.00788199, 0.00817183, 0.99993555, 0.00203183],
        [0, 0, 0, 1],
    ]
)


def cameras(folder: Path) -> dict[str, Scene]:
    """The recording with its depth in each of the cameras."""
    depth = [KINECT_DEPTH.intrinsics[place] for place in ((0, 0), (1, 1), (0, 2), (1, 2))]
    transforms = {"LIRIS": LIRIS, "as read": KINECT_DEPTH.color_from_depth}
    scenes = {"one camera": load_scene(folder, intrinsics=depth, align="none")}
    for name, transform in transforms.items():
        color = {"color_intrinsics": KINECT_COLOR, "color_from_depth": transform}
        scenes[name] = load_scene(folder, intrinsics=depth, align="none", **color)
    return scenes


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=40)
    args = parser.parse_args()
    say = Transcript()
    scenes = cameras(args.folder)
    for name, scene in scenes.items():
        say(f"{name:10}  colour edges at depth edges {edge_agreement(scene, args.frames):.3f}")
    for name in ("one camera", "as read"):
        frames = scenes[name].frames[: args.frames]
        start = time.process_time()
        for frame in frames:
            read_depth(frame)
        say(f"{name:10}  decoding depth {(time.process_time() - start) / len(frames) * 1e3:.1f} ms a frame")


if __name__ == "__main__":
    main()
