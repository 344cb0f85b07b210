"""Generates scenes, and writes them with their annotations in ScanNet's layout."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from video3d_plugin.errors import DataError
from video3d_plugin.mini.rooms import scannet_layout as layout
from video3d_plugin.mini.rooms.furnishing import make_room
from video3d_plugin.mini.rooms.mesh import EXACT, ProposalFaults, proposals, room_mesh
from video3d_plugin.mini.rooms.noise import noisy_color, noisy_depth, noisy_pose
from video3d_plugin.mini.rooms.paths import camera_path
from video3d_plugin.mini.rooms.questions_multi import multi3drefer
from video3d_plugin.mini.rooms.questions_refer import scanrefer
from video3d_plugin.mini.rooms.questions_scanqa import scanqa
from video3d_plugin.mini.rooms.questions_sqa import sqa3d
from video3d_plugin.mini.rooms.referring import Referrer, Style
from video3d_plugin.mini.rooms.relations import Facts
from video3d_plugin.mini.rooms.render import RoomBoxes, cast, intrinsics, shade
from video3d_plugin.mini.rooms.rooms import Room, stream
from video3d_plugin.mini.rooms.themes import plan_called

Noise = Literal["none", "realistic"]
WRITES = ("posed_images", "sens", "mesh", "mask", "annotations")
TASKS = ("scanrefer", "multi3drefer", "scanqa", "sqa3d_questions", "sqa3d_annotations")
# Scene numbers by split: they never meet, so a test room is never a training room, whatever the seeds.
NUMBERS = {"train": range(1000, 9000), "val": range(9500, 10000)}
PROVENANCE = "synthetic_rooms.json"


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


def make_benchmark(
    output: str | Path,
    *,
    scenes: int | None = None,
    seed: int = 0,
    split: str | dict[str, int] = "val",
    image_size: tuple[int, int] = (240, 320),
    frames: int = 20,
    noise: Noise = "none",
    faults: ProposalFaults | None = None,
    counts: Counts | None = None,
    style: Style | None = None,
    write: Sequence[str] = WRITES,
    id_gaps: bool = False,
    plan: str = "full",
    workers: int = 1,
    progress: bool = True,
) -> Path:
    """Write rooms with annotations in ScanNet's layout. The same arguments give the same bytes, on the same versions of
    numpy and OpenCV.

    Args:
        output: Folder to write to.
        scenes: Number of scenes, if `split` names one split.
        seed: Seeds the rooms.
        split: Name of the split, or the number of scenes by split: {"train": 200, "val": 40}.
        image_size: Height and width of colour and depth, pixels.
        frames: Frames of a scene.
        noise: "realistic" for depth noise and holes, exposure, inexact poses and now and then a lost one; or "none".
        counts: Numbers of annotations of a scene.
        style: Relations that descriptions use (PLAIN_STYLE is an easier one).
        faults: How proposals fail (ProposalFaults, or mesh.EXACT for perfect ones).
        write: Which of WRITES; ("posed_images", "mesh", "mask", "annotations") leaves out the slow .sens.
        id_gaps: Leave numbers out of the object ids.
        plan: "full" rooms, or "small" ones with fewer objects and classes (`themes.PLANS`).
        workers: Processes; the result does not depend on them.
        progress: Show a progress bar.

    Returns:
        The output folder.

    Raises:
        DataError: If an argument is out of range.
    """
    sizes = _sizes(scenes, split)
    unknown = [part for part in write if part not in WRITES]
    if unknown or noise not in ("none", "realistic"):
        raise DataError(f"unknown {unknown or noise!r}", remedy=f"write: {', '.join(WRITES)}; noise: none, realistic")
    if min(image_size) < 16 or frames < 1:
        raise DataError(f"{frames} frames of {image_size} pixels", remedy="at least 1 frame of (16, 16) pixels")
    root = Path(output)
    settings = {
        "seed": seed,
        "image_size": list(image_size),
        "frames": frames,
        "noise": noise,
        "id_gaps": id_gaps,
        "plan": plan,
        "counts": asdict(counts or Counts()),
        "style": asdict(style or Style()),
        "faults": asdict(faults or ProposalFaults()),
    }
    job = _Job(
        root,
        seed,
        image_size,
        frames,
        noise,
        faults or ProposalFaults(),
        counts or Counts(),
        style or Style(),
        tuple(write),
        id_gaps,
        plan,
    )
    layout.write_labels(root)
    for name, number in sizes.items():
        done = _run(job, name, number, workers, progress)
        layout.write_bytes(root / f"scannetv2_{name}.txt", "".join(f"{scene_id}\n" for scene_id, _, _ in done).encode())
        files = []
        if "annotations" in write:
            gathered = {task: [item for _, items, _ in done for item in items[task]] for task in TASKS}
            files = layout.write_annotations(root, name, gathered)
        _record(root, name, settings | {"scenes": number, "unseen": sum(u for _, _, u in done)}, files)
    return root


def _sizes(scenes: int | None, split: str | dict[str, int]) -> dict[str, int]:
    if isinstance(split, dict):
        if scenes is not None:
            raise DataError("both scenes and a dict of splits are given", remedy="give the numbers in the dict alone")
        sizes = dict(split)
    else:
        sizes = {split: 10 if scenes is None else scenes}
    for name, number in sizes.items():
        if number < 1:
            raise DataError(f"{number} scenes asked for in split {name!r}", remedy="ask for at least one")
        scene_number(name, 0, number - 1)
    return sizes


@dataclass(frozen=True)
class _Job:
    root: Path
    seed: int
    image_size: tuple[int, int]
    frames: int
    noise: Noise
    faults: ProposalFaults
    counts: Counts
    style: Style
    write: tuple[str, ...]
    id_gaps: bool
    plan: str


def _run(job: _Job, split: str, number: int, workers: int, progress: bool) -> list[tuple[str, dict, int]]:
    from joblib import Parallel, delayed
    from tqdm import tqdm

    # disable=None: no bar where the output is not a terminal
    bar = tqdm(total=number, desc=f"rooms ({split})", unit="room", disable=None if progress else True)
    done = []
    with bar:
        for result in Parallel(n_jobs=workers, return_as="generator")(
            delayed(_make_scene)(job, split, i) for i in range(number)
        ):
            done.append(result)
            bar.update()
    return done


def _make_scene(job: _Job, split: str, index: int) -> tuple[str, dict, int]:
    """Make and write one scene: (its id, its annotations, the number of objects that no frame shows)."""
    scene = synthetic_scene(
        job.seed,
        split,
        index,
        frames=job.frames,
        counts=job.counts,
        style=job.style,
        id_gaps=job.id_gaps,
        plan=job.plan,
    )
    room, camera = scene.room, intrinsics(*job.image_size)
    if {"posed_images", "sens"} & {*job.write}:
        frames = encode_frames(scene, job.image_size, job.noise)
        if "posed_images" in job.write:
            layout.write_posed_images(job.root, room.scene_id, frames, camera)
        if "sens" in job.write:
            layout.write_sens(job.root, room.scene_id, frames, camera)
    layout.write_meta(job.root, room, camera, job.image_size, job.frames)
    if {"mesh", "mask"} & {*job.write}:
        mesh = room_mesh(room)
        if "mesh" in job.write:
            layout.write_mesh(job.root, room, mesh)
        if "mask" in job.write:
            layout.write_masks(job.root, room.scene_id, proposals(room, mesh, job.faults))
    return room.scene_id, scene.annotations, len(scene.unseen)


def encode_frames(scene: SyntheticScene, image_size: tuple[int, int], noise: Noise) -> list[layout.RenderedFrame]:
    """Render the camera path as encoded frames.

    Args:
        scene: The scene.
        image_size: Height and width, pixels.
        noise: "realistic" adds the faults of a real capture.

    Returns:
        For each frame: JPEG, depth in millimetres, pose in the scan frame.
    """
    import cv2

    room, boxes, camera = scene.room, RoomBoxes.of(scene.room), intrinsics(*image_size)
    rng = stream(*room.seed, room.scene_id, "noise")
    light, lost = (
        rng.uniform(1.05, 1.25),
        rng.integers(1, len(scene.poses)) if len(scene.poses) > 4 and rng.random() < 0.25 else -1,
    )
    scan_from_world = np.linalg.inv(room.world_from_scan)
    frames = []
    for index, pose in enumerate(scene.poses):
        depth_m, part, _ = cast(boxes, pose, camera, *image_size)
        rgb = shade(boxes, pose, camera, depth_m, part, light)
        if noise == "realistic":
            depth_m, rgb, pose = noisy_depth(depth_m, rng), noisy_color(rgb, rng), noisy_pose(pose, rng)
        written = scan_from_world @ pose
        if noise == "realistic" and index == lost:
            written = np.full((4, 4), -np.inf)
        done, jpeg = cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 92])
        assert done, "opencv could not encode a jpeg"
        depth_mm = np.clip(np.rint(depth_m * layout.DEPTH_SHIFT), 0, 65535).astype(np.uint16)
        frames.append(layout.RenderedFrame(jpeg.tobytes(), depth_mm, written))
    return frames


def _record(root: Path, split: str, settings: dict, files: list[Path]) -> None:
    """Add a split to PROVENANCE: its settings, and a hash of each annotation file."""
    path = root / PROVENANCE
    known = json.loads(path.read_text()) if path.is_file() else {}
    hashes = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    known[split] = settings | {"annotations": hashes}
    layout.write_json(path, dict(sorted(known.items())))


__all__ = ["EXACT", "Counts", "SyntheticScene", "encode_frames", "iter_rooms", "make_benchmark", "synthetic_scene"]
