"""The site of `make docs`: its pages and its reference are complete; what is missing or broken fails the build."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import video3d_plugin

ROOT = Path(__file__).resolve().parents[2]


def test_every_public_name_has_an_entry_that_leads_to_it():
    entries = re.findall(r"^::: (\S+)\.(\w+)$", (ROOT / "docs/api.md").read_text(), re.MULTILINE)
    found = {name: getattr(importlib.import_module(module), name) for module, name in entries}
    for name in set(video3d_plugin.__all__) - {"__version__"}:
        assert found[name] is getattr(video3d_plugin, name), name
    assert all(value.__doc__ for value in found.values())


def test_every_page_is_in_the_navigation():
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    nav = (ROOT / "mkdocs.yml").read_text().split("\nnav:")[1]
    assert pages <= set(re.findall(r"(\w+\.md)", nav))


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A copy of what the site is built from."""
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    pytest.importorskip("mkdocstrings")
    folder = tmp_path_factory.mktemp("site")
    for name in ("docs", "patches", "video3d_plugin"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    for path in [*ROOT.glob("*.md"), ROOT / "mkdocs.yml"]:
        shutil.copy(path, folder / path.name)
    return folder


def build(site: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    return subprocess.run(command, cwd=site, capture_output=True, text=True)


@pytest.mark.slow
def test_the_site_builds_strictly(site):
    done = build(site)
    assert done.returncode == 0, done.stderr
    assert "load_scene" in (site / "build/site/api.html").read_text()


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.slow
def test_broken_links_and_missing_pages_fail(site):
    kept = {name: (site / name).read_text() for name in ("docs/faq.md", "mkdocs.yml")}
    change(site / "docs/faq.md", "\n\n", "\n\n[gone](no_such_page.md) [gone](data.md#no-such-place)\n\n")
    change(site / "mkdocs.yml", "      - install.md\n", "      - gone_page.md\n")
    done = build(site)
    for name, text in kept.items():
        (site / name).write_text(text)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert [
        word for word in ("no_such_page.md", "no-such-place", "gone_page.md", "install.md") if word not in said
    ] == []


NAMES = {
    "no entry": ("docs/api.md", "::: video3d_plugin.scene.SceneInputs", "", "no entry for the public name SceneInputs"),
    "no such name": ("docs/api.md", "scene.SceneInputs", "scene.Nothing", "SceneInputs"),
    "no docstring": (
        "video3d_plugin/scene.py",
        "class SceneInputs:",
        "class SceneInputs:\n    x = 0",
        "SceneInputs has no",
    ),
    "a method": (
        "video3d_plugin/pipeline.py",
        "    def __repr__",
        "    def more(self): ...\n\n    def __repr__",
        "Video3D has no docstring of more",
    ),
}


@pytest.mark.parametrize("case", NAMES)
def test_a_public_name_without_entry_or_docstring_fails(case, tmp_path):
    """What `mkdocs build` calls first, alone."""
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    for name in ("docs", "video3d_plugin"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    code = "import sys; sys.path.insert(0, 'docs/site'); import hooks; hooks.check_reference()"
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).returncode == 0
    name, old, new, said = NAMES[case]
    change(tmp_path / name, old, new)
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and said in done.stderr
