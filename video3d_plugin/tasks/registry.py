"""Finds benchmarks by name: the built-in ones and add-ons of the entry-point group `video3d.tasks`."""

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
        raise DataError("its name must have 1 to 100 letters, digits and _")
    folder = loaded.yaml_folder
    if folder is not None and any(folder.glob("*.dist-info")):  # lmms-eval would read every YAML file below
        raise DataError(f"its yaml_folder {folder} holds installed distributions: use a folder of its own")


# The benchmarks of Video-3D LLM, which a model is trained on unless told otherwise.
VIDEO3D_LLM = ("scanrefer", "multi3drefer", "scan2cap", "scanqa", "sqa3d")
TASKS = ExtensionGroup(
    "video3d.tasks",
    "task",
    {name: f"video3d_plugin.tasks.{name}:TASK" for name in (*VIDEO3D_LLM, "nr3d", "sr3d")},
    _check,
)
BUILT_IN = tuple(TASKS.built_in)


def names() -> tuple[str, ...]:
    """Return the names of all benchmarks, the built-in ones first, without loading them."""
    return TASKS.names()


def get(name: str) -> TaskSpec:
    """Return a benchmark.

    Args:
        name: Its name.

    Raises:
        DataError: There is no benchmark of this name (the message lists the known ones), or it cannot be loaded.
    """
    spec: TaskSpec = TASKS.get(name)
    return spec


def usable() -> dict[str, TaskSpec]:
    """Return all benchmarks that can be loaded, by name. A broken add-on is omitted with a warning."""
    return TASKS.usable()


def is_grounding(name: str) -> bool:
    """Return whether questions of a benchmark are answered with boxes; False for an unknown benchmark."""
    return name in names() and get(name).is_grounding


def needs_point(name: str) -> bool:
    """Return whether questions of a benchmark are about a point; False for an unknown benchmark."""
    return name in names() and get(name).needs_point


def of_host_name(host_name: str) -> str | None:
    """Return the benchmark of one of lmms-eval's tasks.

    Args:
        host_name: Name of the task, such as scanrefer, scanrefer_mini or scanrefer_test.

    Returns:
        The benchmark's name; None if the task belongs to none.
    """
    matching = (name for name in names() if host_name == name or host_name.startswith(f"{name}_"))
    return max(matching, key=len, default=None)
