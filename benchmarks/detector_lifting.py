"""How many objects of made-up rooms the proposals of a perfect, and of a faulty, detector find.

    python benchmarks/detector_lifting.py [--scenes 20] [--frames 40]

The masks, or image boxes, are rendered, so that only lifting and merging are measured. "faults" leaves out, splits or
merges a fifth of them in each frame; "noise" is that of depth cameras and tracking (`mini.rooms.noise`). Recall: the
share of annotated boxes that some proposal overlaps with an IoU of 0.25 or 0.5. The annotated objects are all that the
rooms hold. Each row is also computed with the frames in another order, which must give the same boxes.
"""

from __future__ import annotations

import time

import numpy as np
from measure import Transcript, options

from video3d_plugin.data.proposals.detector.lifting import View
from video3d_plugin.data.proposals.detector.models.detection import Detection
from video3d_plugin.data.proposals.detector.shared_surface import SharedSurface
from video3d_plugin.metrics.iou import iou_matrix
from video3d_plugin.mini.rooms import SyntheticScene, iter_rooms
from video3d_plugin.mini.rooms.instance_masks import instance_masks, with_faults
from video3d_plugin.mini.rooms.noise import noisy_depth, noisy_pose
from video3d_plugin.mini.rooms.render import intrinsics

SIZE = (240, 320)
FAULTS = 0.2
LIMIT = 50
VARIANTS = {  # image boxes in place of masks, noise, faults
    "masks": (False, False, False),
    "masks, faults": (False, False, True),
    "masks, noise": (False, True, False),
    "masks, noise and faults": (False, True, True),
    "image boxes": (True, False, False),
    "image boxes, noise": (True, True, False),
}
Frame = tuple[View, list[np.ndarray]]


def rendered(scene: SyntheticScene) -> list[Frame]:
    """[(view, masks)] of all frames of a room."""
    frames = []
    for index, pose in enumerate(scene.poses):
        view = View(scene.frame(index, SIZE)[1], intrinsics(*SIZE), pose)
        frames.append((view, instance_masks(scene, index, SIZE)))
    return frames


def spoiled(frames: list[Frame], noise: bool, faults: bool, rng: np.random.Generator) -> list[Frame]:
    result = []
    for view, masks in frames:
        if noise:
            depth_m, pose = noisy_depth(view.depth_m, rng).astype(np.float32), noisy_pose(view.world_from_camera, rng)
            view = View(depth_m, view.intrinsics, pose)
        result.append((view, with_faults(masks, FAULTS * faults, rng)))
    return result


def boxes_from(frames: list[Frame], only_boxes: bool) -> np.ndarray:
    surface = SharedSurface([view for view, _ in frames])
    detect = box_of if only_boxes else lambda mask: Detection("", 1.0, mask=mask)
    lifted = [surface.lift(number, detect(mask)) for number, (_, masks) in enumerate(frames) for mask in masks]
    return np.array([found.box for found in surface.merge(lifted)[:LIMIT]], np.float32).reshape(-1, 6)


def box_of(mask: np.ndarray) -> Detection:
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    sides = columns.min() / width, rows.min() / height, (columns.max() + 1) / width, (rows.max() + 1) / height
    return Detection("", 1.0, box=np.array(sides))


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--scenes", type=int, default=20)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    say = Transcript()
    say(f"{args.scenes} rooms, {args.frames} frames of {SIZE[1]}x{SIZE[0]}, at most {LIMIT} proposals")
    overlaps: dict[str, list[np.ndarray]] = {name: [] for name in VARIANTS}
    proposals: dict[str, list[int]] = {name: [] for name in VARIANTS}
    seconds, same = dict.fromkeys(VARIANTS, 0.0), dict.fromkeys(VARIANTS, 0)
    for number, scene in enumerate(iter_rooms(args.seed, args.scenes, split="val", frames=args.frames)):
        clean, truth = rendered(scene), np.array([thing.box for thing in scene.room.things])
        for name, (only_boxes, noise, faults) in VARIANTS.items():
            rng = np.random.default_rng([args.seed, number])
            frames = spoiled(clean, noise, faults, rng)
            start = time.process_time()
            boxes = boxes_from(frames, only_boxes)
            seconds[name] += time.process_time() - start
            shuffled = [frames[index] for index in rng.permutation(len(frames))]
            same[name] += np.array_equal(boxes, boxes_from(shuffled, only_boxes))
            overlaps[name].append(iou_matrix(boxes, truth).max(0) if len(boxes) else np.zeros(len(truth)))
            proposals[name].append(len(boxes))
    for name in VARIANTS:
        every = np.concatenate(overlaps[name])
        recall = "  ".join(f"recall@{iou} {(every >= iou).mean():.3f}" for iou in (0.25, 0.5))
        say(
            f"{name:24} {recall}  ({len(every)} objects, {np.mean(proposals[name]):.1f} proposals a room, "
            f"{seconds[name] / args.scenes:.1f} s; {same[name]} of {args.scenes} the same in another order)"
        )
    say.publish(args.page, "detector-lifting", "Recall of proposals from a detector's masks")


if __name__ == "__main__":
    main()
