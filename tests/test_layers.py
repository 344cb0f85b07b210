"""Imports go one way: every module of the package has a layer, and imports from lower layers and its own folder.

Imports inside functions and under TYPE_CHECKING count as well.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "video3d_plugin"
# From the ground up. A part is a folder or a module of the package. Parts of one layer do not import each other.
LAYERS = (
    ("errors",),
    ("_startup", "arguments", "compat", "dependencies", "extensions", "files", "notes", "tokens"),
    ("inputs_spec",),
    ("geometry",),
    ("scene",),
    ("metrics", "prompts", "sampling"),
    ("config", "grounding_result"),
    ("tasks",),
    ("data", "model"),
    ("engine", "loading", "questions"),
    ("scene_encoder",),
    ("pipeline",),
    ("training",),
    ("hosts",),
    ("evaluate",),
    ("report", "score", "verify", "view"),
    ("serve",),
    ("mini",),
    ("cli",),
)
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}
# Folders of the repository that are installed inside the package. They belong to what a host needs.
INSTALLED = {"patches": "hosts", "lmms_tasks": "hosts"}
# Imports that no layer allows, each with its reason.
EXCEPTIONS = {
    ("video3d_plugin._startup", "video3d_plugin.patches.registry"): "imported when a host is, not at start-up",
}

# Run detectors of other projects, for proposals.
DETECTORS = "video3d_plugin.data.proposals.detector.models."


def module_files() -> dict[str, Path]:
    """{module's name as installed: its file}."""
    found = {}
    for folder in (PACKAGE, *(ROOT / name for name in INSTALLED)):
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder.parent).with_suffix("").parts
            inside = parts if folder == PACKAGE else ("video3d_plugin", *parts)
            found[".".join(inside).removesuffix(".__init__")] = path
    return found


FILES = module_files()


def imported_modules(path: Path, modules: Mapping[str, Path] = FILES) -> set[str]:
    """The package's modules that a file names in an import, at any depth of nesting."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import; this project writes absolute ones"
            names |= {imported_from(node.module or "", alias.name, modules) for alias in node.names}
    return {name for name in names if name.split(".")[0] == "video3d_plugin"}


def imported_from(module: str, name: str, modules: Mapping[str, Path]) -> str:
    """`from module import name`: the module that is meant, also of a public name of the whole package."""
    if module == "video3d_plugin" and name in public_names():
        return public_names()[name]
    return f"{module}.{name}" if f"{module}.{name}" in modules else module


def public_names() -> dict[str, str]:
    """{public name: its module}, as the package's __init__ tells type checkers."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return {alias.name: node.module for node in nodes for alias in node.names if node.module.startswith("video3d_")}


# The package's __init__ only names what is public, and imports it on first use.
GRAPH = {name: imported_modules(path) - {name} for name, path in FILES.items() if name != "video3d_plugin"}


def part_of(module: str) -> str:
    """The folder or loose module of the package that a module belongs to; "" for the package itself."""
    name = (module.split(".") + [""])[1]
    return INSTALLED.get(name, name)


def upward_imports(graph: Mapping[str, set[str]]) -> set[tuple[str, str]]:
    """(module, what it imports from its own layer's other parts or from a higher layer)."""
    found = set()
    for module, imported in graph.items():
        for other in imported:
            ours, theirs = part_of(module), part_of(other)
            if theirs and ours != theirs and RANK[theirs] >= RANK[ours]:
                found.add((module, other))
    return found


def circles(graph: Mapping[str, set[str]]) -> set[tuple[str, ...]]:
    """Groups of modules each of which imports, by way of others, every one of its group."""
    reached: dict[str, set[str]] = {}
    for start in graph:
        seen, waiting = set(), [start]
        while waiting:
            new = graph.get(waiting.pop(), set()) - seen
            seen |= new
            waiting += new
        reached[start] = seen
    groups = {tuple(sorted(other for other in reached[name] if name in reached.get(other, ()))) for name in graph}
    return groups - {()}


def test_every_module_has_a_layer():
    parts = {part_of(name) for name in FILES} - {""}
    unplaced, empty = parts - RANK.keys(), RANK.keys() - parts
    assert not unplaced, f"give them a place in LAYERS: {sorted(unplaced)}"
    assert not empty, f"no such modules, take them out of LAYERS: {sorted(empty)}"


def test_a_module_imports_only_from_lower_layers_and_its_own_folder():
    assert upward_imports(GRAPH) - EXCEPTIONS.keys() == set()


def test_every_exception_is_needed():
    assert EXCEPTIONS.keys() <= upward_imports(GRAPH)


def test_there_is_no_circle_of_modules():
    without_exceptions = {name: {o for o in others if (name, o) not in EXCEPTIONS} for name, others in GRAPH.items()}
    assert circles(without_exceptions) == set()


def test_every_imported_module_exists():
    """A name that is imported from a module would otherwise be taken for one, and a circle be missed."""
    assert {other for others in GRAPH.values() for other in others} - FILES.keys() - {
        "video3d_plugin.lmms_tasks"
    } == set()


def test_only_the_command_line_imports_the_small_model():
    users = {module for module, imported in GRAPH.items() if any(part_of(other) == "mini" for other in imported)}
    assert {part_of(module) for module in users} == {"mini", "cli"}


@pytest.mark.parametrize("part", ["files", "geometry", "metrics", "sampling", "tasks", "data"])
def test_what_lies_below_the_model_imports_no_model_library(part):
    names = r"^\s*(?:from|import) (transformers|accelerate|peft|lmms_eval|llava)\b"
    files = [path for module, path in FILES.items() if part_of(module) == part and not module.startswith(DETECTORS)]
    assert files and [path for path in files if re.search(names, path.read_text(encoding="utf-8"), re.MULTILINE)] == []


def test_detectors_import_transformers_only_when_one_is_loaded():
    files = [path for module, path in FILES.items() if module.startswith(DETECTORS)]
    at_the_top = r"^(?:from|import) (transformers|accelerate|peft|lmms_eval|llava)\b"
    assert files and [p for p in files if re.search(at_the_top, p.read_text(encoding="utf-8"), re.MULTILINE)] == []


CURRICULUM = re.compile(
    r"lesson|curriculum|lookup|look_up|tower_steps|teach|\brooms?\b|phrase|synthetic|\bmini\b", re.IGNORECASE
)


def files_of(*parts: str) -> list[Path]:
    return sorted(path for module, path in FILES.items() if part_of(module) in parts)


@pytest.mark.parametrize("path", files_of("training"), ids=lambda path: path.name)
def test_fine_tuning_has_no_word_of_the_small_models_curriculum(path):
    assert CURRICULUM.findall(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", files_of("tasks"), ids=lambda path: path.name)
def test_no_reader_of_official_annotations_knows_the_curriculum(path):
    """What the curriculum needs beside the questions, it reads from the folder's docs."""
    assert re.findall(r"curriculum|lesson|[\"']stands[\"']", path.read_text(encoding="utf-8")) == []


def test_a_word_of_the_curriculum_is_seen():
    assert CURRICULUM.findall("run_lesson(LookupPhrase, rooms)") == ["lesson", "Lookup", "Phrase", "rooms"]
    assert CURRICULUM.findall("minimum, looks up a broom") == []


@pytest.mark.parametrize(
    ("text", "imported"),
    [
        (
            "def f():\n    from video3d_plugin.model.modeling import Video3DForCausalLM\n",
            "video3d_plugin.model.modeling",
        ),
        ("if TYPE_CHECKING:\n    from video3d_plugin.model import modeling\n", "video3d_plugin.model.modeling"),
        ("import video3d_plugin.pipeline as p\n", "video3d_plugin.pipeline"),
        ("from video3d_plugin import load_model\n", "video3d_plugin.pipeline"),
        ("from video3d_plugin import __version__\n", "video3d_plugin"),
        ("from video3d_plugin.patches import registry\n", "video3d_plugin.patches.registry"),
    ],
)
def test_an_import_is_seen_wherever_it_stands(tmp_path, text, imported):
    path = tmp_path / "x.py"
    path.write_text(text)
    assert imported_modules(path) == {imported}


def test_an_upward_import_and_one_sideways_are_seen():
    graph = {
        "video3d_plugin.metrics.iou": {"video3d_plugin.errors", "video3d_plugin.metrics.grounding", "video3d_plugin"},
        "video3d_plugin.files.text": {"video3d_plugin.scene"},
        "video3d_plugin.data.inputs": {"video3d_plugin.model.vision"},
        "video3d_plugin.patches.base": {"video3d_plugin.hosts.source_check"},
    }
    assert upward_imports(graph) == {
        ("video3d_plugin.files.text", "video3d_plugin.scene"),
        ("video3d_plugin.data.inputs", "video3d_plugin.model.vision"),
    }


def test_a_circle_is_seen_and_what_leads_to_it_is_not_of_it():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"f"}, "f": {"g"}, "g": {"e"}}
    assert circles(graph) == {("b", "c"), ("e", "f", "g")}
