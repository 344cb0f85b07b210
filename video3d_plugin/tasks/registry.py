"""The benchmarks by name: the five built-in ones and add-ons of the entry-point group `video3d.tasks`."""

from __future__ import annotations

import re
from typing import Any

from video3d_plugin.errors import DataError
from video3d_plugin.extensions import ExtensionGroup
from video3d_plugin.tasks.spec import TaskSpec


def _check(name: str, loaded: Any) -> None:
    if not isinstance(loaded, TaskSpec):
        raise DataError(f"is a {type(loaded).__name__}, expected a TaskSpec")
    if loaded.name != name:
        raise DataError(f"its TaskSpec is named {loaded.name!r}")
    if not re.fullmatch(r"[A-Za-z0-9_]{1,100}", name):
        raise DataError("its name has other characters than letters, digits and _, or too many")
    folder = loaded.yaml_folder
    if folder is not None and any(folder.glob("*.dist-info")):  # lmms-eval would read every YAML file below
        raise DataError(f"its yaml_folder {folder} holds installed distributions, not its own files alone")


TASKS = ExtensionGroup(
    "video3d.tasks",
    "task",
    {
        name: f"video3d_plugin.tasks.{name}:TASK"
        for name in ("scanrefer", "multi3drefer", "scan2cap", "scanqa", "sqa3d")
    },
    _check,
)
BUILT_IN = tuple(TASKS.built_in)


def names() -> tuple[str, ...]:
    """All known benchmarks, the built-in ones first. Nothing is loaded."""
    return TASKS.names()


def get(name: str) -> TaskSpec:
    """The benchmark of this name; DataError for an unknown one, listing those that are known."""
    spec: TaskSpec = TASKS.get(name)
    return spec


def usable() -> dict[str, TaskSpec]:
    """Every benchmark that can be loaded, by name. A broken add-on is left out with a warning."""
    return TASKS.usable()


def is_grounding(name: str) -> bool:
    """Whether a question of this task is answered with boxes; False for a task that nobody knows."""
    return name in names() and get(name).is_grounding


def needs_point(name: str) -> bool:
    """Whether a question of this task is about a point; False for a task that nobody knows."""
    return name in names() and get(name).needs_point


def of_host_name(host_name: str) -> str | None:
    """The benchmark of a task of the host: scanrefer, scanrefer_mini and scanrefer_test are one; None: none of ours."""
    matching = (name for name in names() if host_name == name or host_name.startswith(f"{name}_"))
    return max(matching, key=len, default=None)
