"""Files that the tests of the hosts start from: this repository's, the host's, and a stand-in for an installation."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TRAIN_MEM = ("llava/train/train_mem.py",)  # from the checkout's root


def overlay_of_the_package(folder: Path) -> Path:
    """A folder that stands for site-packages with this package installed."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    info = folder / "video3d_plugin-0.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: video3d-plugin\nVersion: 0.0\n")
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    (folder / "sitecustomize.py").write_text((ROOT / "video3d_plugin_hooks.pth").read_text())
    return folder
