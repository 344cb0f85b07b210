"""Readers: any supported recording becomes a Scene."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from video3d_plugin.errors import DataError, MissingError

if TYPE_CHECKING:
    from video3d_plugin.scene import Scene


def load_scene(path: str | Path, scene_id: str | None = None, *, frame_step: int | None = None) -> Scene:
    """The Scene at `path`, lazily: images stay on disk until a frame is decoded.

    path        a .sens file, a folder of posed frames, a recording that `captures` knows, a scan's own folder
                scans/<id>, a root in ScanNet's layout, or a data folder made by `video3d prepare`
    scene_id    which scan of a root; may be left out where there is only one
    frame_step  keep every n-th frame (default: all of a folder; a .sens as `readers.sens.read_sens` says)

    MissingError if nothing is there, DataError if what is there cannot be used; both name the file and the remedy.
    """
    path = Path(path)
    if not path.exists():
        raise MissingError("no such file or folder", where=path)
    if (path / "video3d.json").is_file():
        from video3d_plugin.data.folder import DataFolder

        folder = DataFolder.open(path)
        return folder.scene(_the_scene(folder.scene_ids, scene_id, path))
    from video3d_plugin.data.readers.scannet import ScanFiles, ScanNetRoot, read_scan

    if path.is_file():
        if path.suffix != ".sens":
            raise DataError("not a .sens file", where=path, remedy="give a .sens file or a folder")
        return read_scan(ScanFiles(scene_id or path.stem, sens=path), frame_step=frame_step).scene
    root = ScanNetRoot(path)
    if root.scene_ids:
        return read_scan(root.files(_the_scene(root.scene_ids, scene_id, path)), frame_step=frame_step).scene
    parent = ScanNetRoot(path.resolve().parent.parent)
    if (
        path.resolve().parent.name in ("scans", "scans_test", "posed_images")
        and path.resolve().name in parent.scene_ids
    ):
        return read_scan(parent.files(path.resolve().name), frame_step=frame_step).scene
    return read_scan(ScanFiles(scene_id or path.resolve().name, posed_images=path), frame_step=frame_step).scene


def _the_scene(known: tuple[str, ...], wanted: str | None, path: Path) -> str:
    if wanted is not None:
        return wanted
    if len(known) == 1:
        return known[0]
    if not known:
        raise MissingError("holds no scene", where=path)
    listed = ", ".join(known[:5]) + (", ..." if len(known) > 5 else "")
    raise DataError(f"holds {len(known)} scenes: {listed}", where=path, remedy="say which with scene_id")
