"""examples/own_scan.ipynb runs from top to bottom, on a room and on one's own scan, and is kept without outputs."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="needs nbformat and nbclient: pip install 'video3d-plugin[dev]'")
NOTEBOOK = Path(__file__).resolve().parent.parent.parent / "examples" / "own_scan.ipynb"


@pytest.fixture
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def code(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_it_is_whole_and_carries_no_outputs(notebook):
    nbformat.validate(notebook)
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code(notebook))


def test_it_runs_on_a_scan_of_ones_own(notebook, my_scan, tiny_checkpoint, tmp_path, monkeypatch):
    """In a kernel of its own, as in Jupyter."""
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    first = code(notebook)[0]
    first.source = first.source.replace("my_scan = None", f"my_scan = Path({str(my_scan)!r})")
    first.source = first.source.replace("checkpoint = None", f"checkpoint = {str(tiny_checkpoint)!r}")
    paths = os.pathsep.join([str(NOTEBOOK.parent.parent), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", paths)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    page = (tmp_path / "own_scan.html").read_text()
    assert page.startswith("<!doctype html>") and '"question":"the chair next to the table"' in page
    printed = "".join(output.get("text", "") for cell in code(notebook) for output in cell.outputs)
    assert "8 frames; 0 left out" in printed and "confidence" in printed
    assert warnings_in(notebook) == []


def warnings_in(notebook) -> list[str]:
    """What cells wrote to stderr, without progress bars."""
    texts = [o.text for cell in code(notebook) for o in cell.outputs if o.get("name") == "stderr"]
    lines = [line.split("\r")[-1] for text in texts for line in text.splitlines()]
    return [line for line in lines if line.strip() and not re.search(r"\d+%\|", line)]


def test_it_makes_a_room_where_no_scan_is_named(notebook, monkeypatch, tmp_path):
    """The first cells, here: the rest is the same."""
    monkeypatch.setattr("tempfile.mkdtemp", lambda **_: str(tmp_path))
    names: dict = {}
    for cell in code(notebook)[:3]:
        exec(compile(cell.source, str(NOTEBOOK), "exec"), names)
    assert len(names["scene"].frames) == 12 and not names["scene"].omissions
