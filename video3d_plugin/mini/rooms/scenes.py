"""Generates scenes in memory: a room, its camera path and its annotations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from video3d_plugin.errors import DataError
from video3d_plugin.mini.rooms.furnishing import make_room
from video3d_plugin.mini.rooms.paths import camera_path
from video3d_plugin.mini.rooms.questions_multi import multi3drefer
from video3d_plugin.mini.rooms.questions_refer import scanrefer
from video3d_plugin.mini.rooms.questions_scanqa import scanqa
from video3d_plugin.mini.rooms.questions_sqa import sqa3d
from video3d_plugin.mini.rooms.referring import Referrer
from video3d_plugin.mini.rooms.relations import Facts
from video3d_plugin.mini.rooms.render import RoomBoxes, cast, intrinsics, shade
from video3d_plugin.mini.rooms.rooms import Room
from video3d_plugin.mini.rooms.styles import Style
from video3d_plugin.mini.rooms.themes import plan_called

TASKS = ("scanrefer", "multi3drefer", "scanqa", "sqa3d_questions", "sqa3d_annotations")
# Scene numbers by split: they never meet, so a test room is never a training room, whatever the seeds.
NUMBERS = {"train": range(1000, 9000), "val": range(9500, 10000)}


@dataclass(frozen=True)
class Counts:
    """How many annotations a scene has.

    Attributes:
        objects: Objects described for ScanRefer and Scan2Cap.
        references: Fewest and most descriptions of each of them.
        multi3drefer: Queries of Multi3DRefer.
        scanqa: Questions of ScanQA.
        sqa3d: Questions of SQA3D.

    Raises:
        DataError: If a number is negative, or `references` is not a range from at least 1.
    """

    objects: int = 14
    references: tuple[int, int] = (3, 5)
    multi3drefer: int = 24
    scanqa: int = 24
    sqa3d: int = 20

    def __post_init__(self):
        fewest, most = self.references
        if not 1 <= fewest <= most or min(self.objects, self.multi3drefer, self.scanqa, self.sqa3d) < 0:
            raise DataError(f"bad counts {self}", remedy="none below 0; references=(fewest, most), at least 1")


@dataclass(frozen=True)
class SyntheticScene:
    """A room with its camera path and annotations, in memory.

    Attributes:
        room: The room.
        split: "train" or "val".
        poses: (4, 4) world_from_camera of each frame, metres.
        unseen: Ids of the objects that no frame shows well.
        annotations: Items of each of TASKS.
    """

    room: Room
    split: str
    poses: tuple[np.ndarray, ...]
    unseen: tuple[int, ...]
    annotations: dict[str, list] = field(repr=False)

    def frame(self, index: int, image_size: tuple[int, int] = (240, 320)) -> tuple[np.ndarray, np.ndarray]:
        """Render a frame without noise.

        Args:
            index: Which of the poses.
            image_size: Height and width, pixels.

        Returns:
            Colour (H, W, 3) uint8 and depth (H, W) float32, metres.
        """
        boxes, camera = RoomBoxes.of(self.room), intrinsics(*image_size)
        depth_m, part, _ = cast(boxes, self.poses[index], camera, *image_size)
        return shade(boxes, self.poses[index], camera, depth_m, part), depth_m


def scene_number(split: str, seed: int, index: int) -> int:
    """Return the number of a scene, which its id is made of. Different seeds start at different places of the split's
    range.

    Args:
        split: "train" or "val".
        seed: The seed of the benchmark.
        index: Index of the scene in the split.

    Raises:
        DataError: If there is no such split, or it has fewer numbers.
    """
    if split not in NUMBERS:
        raise DataError(f"unknown split {split!r}", remedy=f"choose from {', '.join(NUMBERS)}")
    numbers = NUMBERS[split]
    start = (seed % (len(numbers) // 100)) * 100
    if index >= len(numbers):
        raise DataError(f"split {split!r} has {len(numbers)} scene numbers, scene {index + 1} was asked for")
    return numbers[(start + index) % len(numbers)]


def iter_rooms(
    seed: int,
    scenes: int | None = None,
    *,
    split: str = "train",
    frames: int = 20,
    counts: Counts | None = None,
    style: Style | None = None,
    id_gaps: bool = False,
    plan: str = "full",
) -> Iterator[SyntheticScene]:
    """Generate scenes in memory, one after the other.

    Args:
        seed: Seeds the scenes.
        scenes: Number of scenes; None for as many as the split has numbers.
        split, frames, counts, style, id_gaps, plan: As for `synthetic_scene`.
    """
    for index in range(len(NUMBERS[split]) if scenes is None else scenes):
        yield synthetic_scene(seed, split, index, frames=frames, counts=counts, style=style, id_gaps=id_gaps, plan=plan)


def synthetic_scene(
    seed: int,
    split: str,
    index: int,
    *,
    frames: int = 20,
    counts: Counts | None = None,
    style: Style | None = None,
    id_gaps: bool = False,
    plan: str = "full",
) -> SyntheticScene:
    """Generate one scene of a split. It depends on the arguments only, not on other scenes.

    Args:
        seed: Seeds the split.
        split: "train" or "val".
        index: Index of the scene in the split.
        frames: Frames of the camera path.
        counts: Numbers of annotations; None for the defaults.
        style: Relations that descriptions use; None for the default.
        id_gaps: Leave numbers out of the object ids, as some real scans do.
        plan: "full" rooms, or "small" ones with fewer objects and classes (`themes.PLANS`).
    """
    number, counts = scene_number(split, seed, index), counts or Counts()
    room = make_room(f"scene{number:04d}_00", (seed, split, index), id_gaps=id_gaps, plan=plan)
    poses, unseen = camera_path(room, frames)
    facts = Facts(room)
    referrer = Referrer(facts, style)
    questions, answers = sqa3d(facts, counts.sqa3d, 1000 * number)
    annotations = {
        "scanrefer": scanrefer(facts, referrer, counts.objects, counts.references),
        "multi3drefer": multi3drefer(facts, referrer, counts.multi3drefer, plan_called(plan).labels),
        "scanqa": scanqa(facts, referrer, counts.scanqa, split),
        "sqa3d_questions": questions,
        "sqa3d_annotations": answers,
    }
    return SyntheticScene(room, split, tuple(poses), tuple(sorted(unseen)), annotations)
