"""Reads the scenes of a report's examples, and writes the viewer's page of each."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from video3d_plugin.errors import DataError, Video3DError
from video3d_plugin.report.results import Run
from video3d_plugin.report.scenes import Scenes
from video3d_plugin.scene import Instance, Scene

PAGE_FRAMES = 100


def with_scenes(scenes: Scenes, data: Path, ids: Sequence[str], runs: Sequence[Run]) -> Scenes:
    """Return `scenes` with the objects of those that `data` holds, and write pages.

    A scene that cannot be read is no error: the report says why its examples have no page.

    Args:
        scenes: The report's file.
        data: Folder of `video3d prepare`; for pages also a folder of recordings that are called as the scenes, or a
            root in ScanNet's layout.
        ids: Ids of the scenes.
        runs: Runs whose questions the pages show; without any, no page is written.
    """
    from video3d_plugin.data.records import HEAD

    objects: dict[str, Sequence[Instance]] = {}
    reasons: dict[str, str] = {}
    if not runs and not (data / HEAD).is_file():
        return scenes  # to open recordings takes seconds each
    for scene_id in tqdm(ids, "scenes", disable=None, delay=1):
        try:
            if (path := scenes.page(scene_id)) is None:
                raise DataError("the id of the scene cannot be a file's name", where=scene_id)
            scene = _opened(data, scene_id)
            objects[scene_id] = scene.instances
            if runs:
                _write_page(path, scene, scene_id, runs)
        except Video3DError as error:
            if runs:
                reasons[scene_id] = str(error)
    for scene_id, reason in reasons.items():
        print(f"no page of scene {scene_id}: {reason}", file=sys.stderr)
    return replace(scenes, objects=objects, reasons=reasons)


def _opened(data: Path, scene_id: str) -> Scene:
    from video3d_plugin.data.readers import load_scene

    recording = data / scene_id
    return load_scene(recording) if recording.is_dir() else load_scene(data, scene_id)


def _write_page(path: Path, scene: Scene, scene_id: str, runs: Sequence[Run]) -> None:
    """Write the page of a scene with all questions about it."""
    from video3d_plugin.view import gather, item_of_record, write_page

    items = [
        {**item_of_record(record), "by": run.model if len(runs) > 1 else ""}
        for run in runs
        for task in run.tasks.values()
        for record in task.records
        if record["scene_id"] == scene_id
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_page(path, gather(scene, max_frames=PAGE_FRAMES), items, model=", ".join(run.model for run in runs))
