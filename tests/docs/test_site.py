"""The site of `make docs`: its pages and its reference are complete; a broken link fails the build."""

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


@pytest.mark.slow
def test_the_site_builds_strictly_and_a_broken_link_or_a_missing_entry_fails(tmp_path):
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    pytest.importorskip("mkdocstrings")
    for name in ("docs", "patches", "video3d_plugin"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    for path in [*ROOT.glob("*.md"), ROOT / "mkdocs.yml"]:
        shutil.copy(path, tmp_path / path.name)

    def build() -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    done = build()
    assert done.returncode == 0, done.stderr
    assert "load_scene" in (tmp_path / "build/site/api.html").read_text()
    faq = tmp_path / "docs/faq.md"
    whole = faq.read_text()
    faq.write_text(whole + "\n[gone](no_such_page.md)\n")
    assert build().returncode != 0
    faq.write_text(whole)
    api = tmp_path / "docs/api.md"
    api.write_text(api.read_text().replace("::: video3d_plugin.scene.SceneInputs", ""))
    done = build()
    assert done.returncode != 0 and "SceneInputs" in done.stderr + done.stdout
