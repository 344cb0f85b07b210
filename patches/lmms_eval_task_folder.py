"""Adds the task folders of this package and of add-ons to lmms-eval's TaskManager.

lmms-eval has no entry point for tasks. The patch has the effect of `--include_path` on every command line; folders that
the user includes are kept.
"""

from __future__ import annotations

import functools
import os
from types import ModuleType

from video3d_plugin.patches.base import Patch, Replace


def task_folder() -> str:
    """The folder of the YAML files: `lmms_tasks` of the checkout, or its copy inside the installed package."""
    return os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lmms_tasks")


def task_folders() -> list[str]:
    """Return the folders of the YAML files of this package and of add-ons (`TaskSpec.yaml_folder`)."""
    from video3d_plugin.tasks import usable

    return [task_folder(), *(str(spec.yaml_folder) for spec in usable().values() if spec.yaml_folder is not None)]


def changes(module: ModuleType) -> list[Replace]:
    original = module.TaskManager.initialize_tasks

    @functools.wraps(original)
    def initialize_tasks(self, include_path=None, include_defaults=True):
        given = [include_path] if isinstance(include_path, str) else list(include_path or [])
        return original(self, include_path=[*given, *task_folders()], include_defaults=include_defaults)

    return [Replace(module.TaskManager, "initialize_tasks", initialize_tasks)]


PATCH = Patch(
    name="lmms_eval_task_folder",
    target="lmms_eval.tasks",
    why="the tasks of this package are found by name, without --include_path",
    known={"TaskManager.initialize_tasks": {"8ae0d1b7ea1d8d20": "lmms-eval 0.7.3"}},
    changes=changes,
)
