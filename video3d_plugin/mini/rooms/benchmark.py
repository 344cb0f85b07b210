"""Generates scenes, and writes them with their annotations in ScanNet's layout."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from video3d_plugin.errors import DataError
from video3d_plugin.mini.rooms import scannet_layout as layout
from video3d_plugin.mini.rooms.frames import Noise, encode_frames
from video3d_plugin.mini.rooms.mesh import ProposalFaults, proposals, room_mesh
from video3d_plugin.mini.rooms.render import intrinsics
from video3d_plugin.mini.rooms.scenes import TASKS, Counts, scene_number, synthetic_scene
from video3d_plugin.mini.rooms.styles import Style

WRITES = ("posed_images", "sens", "mesh", "mask", "annotations")
PROVENANCE = "synthetic_rooms.json"


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
        _record(root, name, job.settings() | {"scenes": number, "unseen": sum(u for _, _, u in done)}, files)
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

    def settings(self) -> dict[str, Any]:
        """Return what PROVENANCE says of the job: all that the scenes depend on."""
        plain = {"seed": self.seed, "image_size": list(self.image_size), "frames": self.frames, "noise": self.noise}
        records = {"counts": asdict(self.counts), "style": asdict(self.style), "faults": asdict(self.faults)}
        return {**plain, "id_gaps": self.id_gaps, "plan": self.plan, **records}


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


def _record(root: Path, split: str, settings: dict, files: list[Path]) -> None:
    """Add a split to PROVENANCE: its settings, and a hash of each annotation file."""
    path = root / PROVENANCE
    known = json.loads(path.read_text()) if path.is_file() else {}
    hashes = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    known[split] = settings | {"annotations": hashes}
    layout.write_json(path, dict(sorted(known.items())))
