"""A made-up distribution with entry points, for tests of the extension points."""

from __future__ import annotations

from pathlib import Path


def write_add_on(
    folder: Path, group: str, points: dict[str, str], modules: dict[str, str], name: str = "addon"
) -> Path:
    """Write `folder` as a site folder: the modules' files and a dist-info that registers the entry points."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in modules.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"{point} = {value}\n" for point, value in points.items()]
    (info / "entry_points.txt").write_text(f"[{group}]\n" + "".join(lines))
    return folder
