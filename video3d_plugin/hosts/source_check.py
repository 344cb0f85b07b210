"""Identifies a host's code: digests of its functions, its version and its commit."""

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
from typing import Any


def source_digest(function: Callable[..., Any]) -> str:
    """Digest a function's syntax tree without comments, docstrings and layout.

    Args:
        function: Any function. Wrappers made with `functools.wraps` are unwrapped.

    Returns:
        16 hex digits, the same on every Python version.

    Raises:
        OSError: The function's source is not available.
    """
    return _digest(ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function)))))


def digest_in_file(path: Path, name: str) -> str | None:
    """Return the `source_digest` of a module-level function without importing its file.

    Args:
        path: A Python file.
        name: Name of the function.

    Returns:
        16 hex digits; None if the file has no such function.
    """
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return _digest(ast.Module(body=[node], type_ignores=[]))
    return None


def _digest(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(_dump(tree).encode()).hexdigest()[:16]


def _dump(node: object) -> str:
    """Like `ast.dump`, without empty fields: Python 3.12 adds some, and the text must not depend on the version."""
    if isinstance(node, ast.AST):
        fields = [(n, _dump(v)) for n, v in ast.iter_fields(node) if v not in (None, []) and n != "kind"]
        return f"{type(node).__name__}({','.join(f'{n}={v}' for n, v in fields)})"
    if isinstance(node, list):
        return f"[{','.join(_dump(item) for item in node)}]"
    return repr(node)


@dataclass(frozen=True)
class HostVersion:
    """An installed host.

    Attributes:
        name: Name of its distribution.
        path: Folder of its package.
        version: Its version; None if it has no metadata.
        commit: Its commit if it is a git checkout or was installed from one, else None.
    """

    name: str
    path: str
    version: str | None
    commit: str | None

    def __str__(self) -> str:
        at = f" at {self.commit[:8]}" if self.commit else ""
        return f"{self.name} {self.version or '(no version)'}{at}"


def find_host(module: str, distribution: str | None = None) -> HostVersion | None:
    """Find a host without importing it.

    Args:
        module: Name of its package.
        distribution: Name of its distribution; None if it is the package's name.

    Returns:
        The host; None if it is not installed.
    """
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    path = Path(spec.origin).parent if spec.origin else Path(next(iter(spec.submodule_search_locations or ["."])))
    version, commit = None, None
    try:
        installed = metadata.distribution(distribution or module)
        version = installed.version
        commit = json.loads(installed.read_text("direct_url.json") or "{}").get("vcs_info", {}).get("commit_id")
    except metadata.PackageNotFoundError:
        version = None
    return HostVersion(distribution or module, str(path), version, commit or git_commit(path))


def git_commit(path: Path) -> str | None:
    """Return the commit of a checkout.

    Args:
        path: Folder of the package, directly below the checkout's root. A virtual environment inside another checkout
            does not count.
    """
    if not (path.parent / ".git").exists():
        return None
    done = subprocess.run(
        ["git", "-C", str(path.parent), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or None if done.returncode == 0 else None
