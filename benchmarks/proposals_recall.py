"""How many annotated objects `--proposals auto` finds on made-up rooms, beside the made-up rooms' own proposals.

    python benchmarks/proposals_recall.py [--scenes 10] [--noise realistic]

Recall: the share of annotated boxes that some proposal overlaps with an IoU of 0.25 or 0.5. The annotated objects are
all that the rooms hold but their walls and floors, also those on others and at walls. Objects that no frame shows
count as missed. "mask" are the degraded boxes that the generator writes in place of a detector's masks; they say what
the figures mean. "largest": the largest footprint of a box of auto, as a share of the floor.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
from measure import Transcript, options

from video3d_plugin import load_scene
from video3d_plugin.data.proposals import replace_proposals
from video3d_plugin.data.readers.mask3d import REFERENCE_LIMIT
from video3d_plugin.metrics.iou import iou_matrix
from video3d_plugin.mini.rooms import make_benchmark
from video3d_plugin.scene import Scene

IOUS = (0.25, 0.5)
SHELL = ("wall", "floor", "ceiling")


def best_overlaps(scene: Scene, boxes: np.ndarray) -> np.ndarray:
    """(K,) the largest IoU that a proposal has with each of the K annotated boxes; 0 without proposals."""
    annotated = np.array([i.box for i in scene.instances if i.label not in SHELL]).reshape(-1, 6)
    return iou_matrix(boxes, annotated).max(0) if len(boxes) else np.zeros(len(annotated))


def line(name: str, overlaps: list[np.ndarray], proposals: list[int]) -> str:
    every = np.concatenate(overlaps)
    recalls = [f"recall@{iou} {(every >= iou).mean():.3f}" for iou in IOUS]
    rooms = np.array([(of_room >= IOUS[0]).mean() for of_room in overlaps])
    spread = f"rooms at {IOUS[0]}: {rooms.min():.2f} to {rooms.max():.2f}, median {np.median(rooms):.2f}"
    return f"{name:5} {'  '.join(recalls)}  ({spread}; {np.mean(proposals):.1f} proposals a room)"


def floor_share(scene: Scene, boxes: np.ndarray) -> float:
    """The largest footprint of a box, as a share of the floor."""
    floors = [instance.box[3] * instance.box[4] for instance in scene.instances if instance.label == "floor"]
    return float((boxes[:, 3] * boxes[:, 4]).max() / max(floors)) if len(boxes) else 0.0


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--scenes", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--noise", choices=("none", "realistic"), default="realistic")
    parser.add_argument("--limit", type=int, default=REFERENCE_LIMIT, help="proposals a room, best first")
    args = parser.parse_args()
    say = Transcript()
    overlaps: dict[str, list[np.ndarray]] = {"auto": [], "mask": []}
    proposals: dict[str, list[int]] = {"auto": [], "mask": []}
    seconds, largest = [], []
    with tempfile.TemporaryDirectory() as folder:
        parts = ("posed_images", "mesh", "mask")
        root = make_benchmark(
            Path(folder), scenes=args.scenes, seed=args.seed, frames=args.frames, noise=args.noise, write=parts
        )
        for path in sorted((root / "posed_images").iterdir()):
            scene = load_scene(root, path.name)
            start = time.process_time()
            boxes = replace_proposals(scene, "auto", args.limit).proposals
            seconds.append(time.process_time() - start)
            largest.append(floor_share(scene, boxes))
            for name, some in (("auto", boxes), ("mask", scene.proposals)):
                overlaps[name].append(best_overlaps(scene, some))
                proposals[name].append(len(some))
    objects = sum(len(of_room) for of_room in overlaps["auto"])
    say(f"{args.scenes} rooms, {objects} annotated objects, {args.frames} frames of 320x240, noise: {args.noise}")
    for name in overlaps:
        say(line(name, overlaps[name], proposals[name]))
    say(f"auto: {np.mean(seconds):.1f} s of processor time a room; largest {max(largest):.2f} of the floor")
    say.publish(args.page, "proposals-recall", "Recall of automatic proposals")


if __name__ == "__main__":
    main()
