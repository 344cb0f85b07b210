"""What a host's code looks like: digests of its functions, its version and commit. Reads; changes nothing."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import subprocess
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path


def source_digest(function: Callable) -> str:
    """16 hex digits of what a function's source means: comments, docstrings and layout do not count.

    Wrappers that name what they wrap (functools.wraps) are looked through. Raises OSError where there is no source.
    """
    return _digest(ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function)))))


def digest_in_file(path: Path, name: str) -> str | None:
    """`source_digest` of a module-level function without importing its file; None where it has no such function."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return _digest(ast.Module(body=[node], type_ignores=[]))
    return None


def _digest(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(_dump(tree).encode()).hexdigest()[:16]


def _dump(node: ast.AST | list | object) -> str:
    """`ast.dump`, but the same text on every Python: fields that are empty or unset are left out (3.12 adds some)."""
    if isinstance(node, ast.AST):
        fields = [(n, _dump(v)) for n, v in ast.iter_fields(node) if v not in (None, []) and n != "kind"]
        return f"{type(node).__name__}({','.join(f'{n}={v}' for n, v in fields)})"
    if isinstance(node, list):
        return f"[{','.join(_dump(item) for item in node)}]"
    return repr(node)


@dataclass(frozen=True)
class HostVersion:
    """An installed host: where it lies, its version, and its commit where it is a git checkout or came from one."""

    name: str
    path: str
    version: str | None
    commit: str | None

    def __str__(self) -> str:
        at = f" at {self.commit[:8]}" if self.commit else ""
        return f"{self.name} {self.version or '(no version)'}{at}"


def find_host(module: str, distribution: str | None = None) -> HostVersion | None:
    """Look for a host without importing it; None where it is not installed."""
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    path = Path(spec.origin).parent if spec.origin else Path(next(iter(spec.submodule_search_locations or ["."])))
    version, commit = None, None
    try:
        found = metadata.distribution(distribution or module)
        version = found.version
        commit = json.loads(found.read_text("direct_url.json") or "{}").get("vcs_info", {}).get("commit_id")
    except metadata.PackageNotFoundError:
        version = None
    return HostVersion(distribution or module, str(path), version, commit or git_commit(path))


def git_commit(path: Path) -> str | None:
    """The commit checked out at `path`, where the checkout is of this very package (not a venv inside another one)."""
    if not (path.parent / ".git").exists():
        return None
    done = subprocess.run(
        ["git", "-C", str(path.parent), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or None if done.returncode == 0 else None
