"""Checks the data folder that VIDEO3D_DATA names, and whether the frames of its scenes exist."""

from __future__ import annotations

import os
from collections.abc import Iterator

from video3d_plugin.cli.doctor.check import Check

SCENES_READ = 8  # spread over the folder, so that a large one takes no longer


def data_folder() -> Iterator[Check]:
    """Check the data folder."""
    from video3d_plugin.data.folder import VARIABLE, DataFolder
    from video3d_plugin.errors import Video3DError

    if not os.environ.get(VARIABLE):
        yield Check("data", "absent", f"{VARIABLE} is not set", "video3d prepare SOURCE --output DATA", needs="data")
        return
    try:
        folder = DataFolder.from_env()
        tasks = ", ".join(f"{task} {split} {count}" for (task, split), count in sorted(folder.tasks().items()))
        scene_ids = spread(folder.scene_ids, SCENES_READ)
        frames = [frame.color.path for scene_id in scene_ids for frame in folder.scene(scene_id).frames[:1]]
    except Video3DError as error:
        yield Check("data", "problem", str(error), needs="data")
        return
    total = len(folder.scene_ids)
    if gone := [path for path in frames if not path.is_file()]:
        of = f"{len(gone)} of {len(scene_ids)} scenes" + (f" (of {total} in all)" if len(scene_ids) < total else "")
        finding = f"{folder.path}: frames of {of} are gone, such as {gone[0]}"
        yield Check("data", "problem", finding, "put them back, or prepare again with --copy-frames", needs="data")
        return
    looked = f" ({len(scene_ids)} of them looked at)" if len(scene_ids) < total else ""
    yield Check("data", "ok", f"{folder.path}: {total} scenes{looked}; {tasks or 'no questions'}", needs="data")


def spread(items: tuple[str, ...], most: int) -> tuple[str, ...]:
    """Return at most `most` evenly spread items, including the first and the last."""
    if len(items) <= most:
        return items
    return tuple(items[round(i * (len(items) - 1) / (most - 1))] for i in range(most))
