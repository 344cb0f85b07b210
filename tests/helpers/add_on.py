"""Distributions with entry points, made up or taken from docs/extending.md, for tests of the extension points."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = (Path(__file__).resolve().parent.parent.parent / "docs" / "extending.md").read_text()


def section(heading: str) -> str:
    """The text of a section of docs/extending.md."""
    return PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def block(heading: str, language: str) -> str:
    """The first block of a language in a section."""
    return re.search(rf"^```{language}\n(.*?)^```", section(heading), flags=re.S | re.M)[1]


def install_from_page(folder: Path, heading: str) -> Path:
    """Write the add-on of a section as an installed distribution in `folder`."""
    languages = {".py": "python", ".yaml": "yaml"}
    files = re.findall(r"^`(\w+/\S+)`", section(heading), flags=re.M)
    toml = block(heading, "toml")
    group, points = re.fullmatch(r'\[project\.entry-points\."(.*)"\]\n(.*)', toml, flags=re.S).groups()
    named = dict(re.findall(r'^(\w+) = "(.*)"$', points, flags=re.M))
    content = {file: block(heading, languages[Path(file).suffix]) for file in files}
    return write_add_on(folder, group, named, content, files[0].split("/")[0])


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
