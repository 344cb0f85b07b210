"""Dependencies point one way: files, geometry and metrics know nothing above them; data and model not each other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "video3d_plugin"
MAY_IMPORT = {
    "files": set(),
    "geometry": set(),
    "metrics": {"files"},
    "sampling": {"geometry"},
    "tasks": {"files", "metrics"},
    "data": {"files", "geometry", "metrics", "sampling", "tasks"},
    "model": {"files", "geometry"},
    "score": {"files", "metrics", "tasks", "data"},
    "report": {"files", "metrics", "tasks"},
    "view": {"files", "geometry", "metrics", "sampling", "tasks", "data"},
}


def imported_parts(path: Path) -> set[str]:
    """The parts of video3d_plugin that a file imports, at any depth of nesting; type-checking imports included."""
    parts = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "video3d_plugin":
            names = [f"video3d_plugin.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; this project writes absolute ones"
            names = [node.module or ""]
        else:
            continue
        parts |= {name.split(".")[1] for name in names if name.startswith("video3d_plugin.")}
    return parts


@pytest.mark.parametrize("layer", MAY_IMPORT)
def test_a_layer_imports_only_what_lies_below_it(layer):
    folders = {p.name for p in PACKAGE.iterdir() if p.is_dir()}
    files = sorted((PACKAGE / layer).rglob("*.py"))
    assert files, f"{layer} is empty"
    for path in files:
        forbidden = (imported_parts(path) & folders) - MAY_IMPORT[layer] - {layer}
        assert not forbidden, f"{path.relative_to(PACKAGE)} imports {sorted(forbidden)}"


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (PACKAGE / folder).rglob("*.py"))


def test_only_the_command_line_imports_the_small_model():
    own = set(modules("mini"))
    users = {path for path in PACKAGE.rglob("*.py") if path not in own and "mini" in imported_parts(path)}
    assert {path.relative_to(PACKAGE).parts[0] for path in users} == {"commands"}, users


CURRICULUM = re.compile(
    r"lesson|curriculum|lookup|look_up|tower_steps|teach|\brooms?\b|phrase|synthetic|\bmini\b", re.IGNORECASE
)


@pytest.mark.parametrize("path", modules("training"), ids=lambda p: p.name)
def test_fine_tuning_has_no_word_of_the_small_models_curriculum(path):
    assert CURRICULUM.findall(path.read_text()) == []


def test_no_reader_of_official_annotations_knows_the_curriculum():
    """What the curriculum needs beside the questions, it reads from the folder's docs."""
    paths = modules("data/annotations", "tasks")
    assert paths and [p.name for p in paths if re.search(r"curriculum|metadata=|stands\b", p.read_text())] == []


def test_such_a_word_is_seen():
    assert CURRICULUM.findall("run_lesson(LookupPhrase, rooms)") == ["lesson", "Lookup", "Phrase", "rooms"]
    assert CURRICULUM.findall("minimum, looks up a broom") == []


@pytest.mark.parametrize("folder", ["geometry", "model", "training", "mini"])
def test_there_is_no_circle(folder):
    """Imports inside functions and for type checking included."""
    graph = {}
    for path in modules(folder):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(("video3d_plugin", *parts)).removesuffix(".__init__")
        graph[name] = imported_modules(path) - {name}
    graph = {name: imported & graph.keys() for name, imported in graph.items()}
    done: set[str] = set()
    while rest := graph.keys() - done:
        free = {name for name in rest if graph[name] <= done}
        assert free, f"a circle among {sorted(rest)}"
        done |= free


def imported_modules(path: Path) -> set[str]:
    """All that a file imports: modules, and names in them, which may be modules too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_an_upward_import_is_seen(tmp_path):
    path = tmp_path / "x.py"
    path.write_text("def f():\n    from video3d_plugin.model.modeling import Video3DForCausalLM\n")
    assert imported_parts(path) == {"model"}


def test_no_test_imports_a_conftest():
    """There are several modules of that name: which one is found depends on what pytest is asked to run."""
    ours = sorted(Path(__file__).resolve().parent.rglob("*.py"))
    assert [path.name for path in ours if re.search(r"^\s*(from|import) conftest\b", path.read_text(), re.M)] == []
