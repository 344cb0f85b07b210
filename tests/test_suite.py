"""The tests themselves: they mirror the package, import no other test, use public names, and each asserts something."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
PACKAGE = TESTS.parent / "video3d_plugin"
# Folders without a namesake in the package: of what lies beside it, of all of it, and what tests have in common.
OTHERS = {"benchmarks", "docs", "examples", "lmms_tasks", "patches", "fuzz", "versions", "goldens", "helpers"}
OURS = ("video3d_plugin", "benchmarks")
PRIVATE = re.compile(r"_[a-z]", re.IGNORECASE)
FILES = sorted(TESTS.rglob("test_*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(TESTS.rglob("*.py"))}


def named(path: Path) -> str:
    return path.relative_to(TESTS).as_posix()


def test_folders_of_tests_are_named_after_those_of_the_package():
    folders = {path.parent.relative_to(TESTS) for path in FILES}
    assert [f for f in folders if f.parts and f.parts[0] not in OTHERS and not (PACKAGE / f).is_dir()] == []


def test_every_folder_without_a_namesake_is_there():
    assert {name for name in OTHERS if (TESTS / name).is_dir()} == OTHERS


def imported(tree: ast.AST) -> set[str]:
    nodes = list(ast.walk(tree))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}


def test_no_test_imports_another_or_a_conftest():
    """What several tests need is in tests/helpers, or a fixture."""
    pairs = [(named(path), name) for path, tree in TREES.items() for name in imported(tree)]
    assert [pair for pair in pairs if re.match(r"(.*\.)?(conftest|test_\w+)$", pair[1])] == []


def private_names(tree: ast.AST) -> list[str]:
    """Names that begin with one underscore, of this repository's modules: imported, or as attributes of a module."""
    froms = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and (n.module or "").startswith(OURS)]
    names = [(node.module, alias.name, alias.asname or alias.name) for node in froms for alias in node.names]
    modules = {own for module, name, own in names if name.islower() and has_file(f"{module}.{name}")}
    attributes = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)]
    used = [f"{n.value.id}.{n.attr}" for n in attributes if n.value.id in modules and PRIVATE.match(n.attr)]
    return used + [f"{module}.{name}" for module, name, _ in names if PRIVATE.match(name) and name != "_startup"]


def has_file(module: str) -> bool:
    path = TESTS.parent / module.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").is_file()


def test_no_test_uses_a_private_name():
    assert [(named(path), name) for path, tree in TREES.items() for name in private_names(tree)] == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("from video3d_plugin.geometry.boxes import _corners", ["video3d_plugin.geometry.boxes._corners"]),
        ("from video3d_plugin.data import store as s\ns._cache", ["s._cache"]),
        ("from video3d_plugin import _startup\nfrom lmms_eval import _x", []),
        ("from video3d_plugin.scene import Scene\nScene.__init__", []),
    ],
)
def test_a_private_name_is_seen(text, names):
    assert private_names(ast.parse(text)) == names


def calls(tree: ast.AST) -> set[str]:
    functions = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "") for f in functions}


def asserts(tree: ast.AST, helpers: set[str]) -> bool:
    stated = any(isinstance(node, (ast.Assert, ast.Raise)) for node in ast.walk(tree))
    return stated or any(name.startswith("assert_") or name in helpers for name in calls(tree))


def functions(tree: ast.AST) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def asserting_helpers() -> set[str]:
    """Functions that assert, themselves or by calling one that does."""
    found = {"raises", "warns", "fail"}
    helpers = [f for tree in TREES.values() for f in functions(tree) if not f.name.startswith("test_")]
    while new := {f.name for f in helpers if f.name not in found and asserts(f, found)}:
        found |= new
    return found


def test_every_test_asserts_something():
    helpers = asserting_helpers()
    tests = [(path, f) for path in FILES for f in functions(TREES[path]) if f.name.startswith("test_")]
    assert len(tests) > 1000
    assert [f"{named(path)}::{test.name}" for path, test in tests if not asserts(test, helpers)] == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [("load()", False), ("check(load())", True), ("assert load()", True), ("raises(E, load)", True)],
)
def test_a_test_that_asserts_nothing_is_seen(body, expected):
    assert asserts(ast.parse(f"def test_x():\n    {body}\n"), {"check", "raises"}) is expected
