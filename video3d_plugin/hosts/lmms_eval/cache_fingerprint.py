"""Digests of a checkpoint's files and of a data folder's contents, for the keys of lmms-eval's response cache."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from video3d_plugin.hosts.lmms_eval.state import STATE
from video3d_plugin.model import registry

WHOLE_FILE_BYTES = 8 << 20  # larger files are identified by size, modification time, and their first and last bytes
END_BYTES = 64 << 10


def of_run(model: Any, task_dict: dict) -> str:
    """Fingerprint the model and the data of an evaluation.

    Args:
        model: The model of lmms-eval's `evaluate`, or the name of a model that it has just made.
        task_dict: Tasks of the evaluation, as lmms-eval holds them: groups are nested dicts.

    Returns:
        16 hex digits; "" where neither the model nor a task belongs to this package.
    """
    from video3d_plugin import __version__

    parts = []
    identity = (
        STATE.model_fingerprint
        if isinstance(model, str) and model in registry.names()
        else getattr(model, "fingerprint", None)
    )
    if identity is not None:
        parts.append(f"model {identity}")
    if task_dict and (identity is not None or _has_scene_tasks(task_dict)):  # the model reads scenes in any task
        parts.append(f"data {of_data(STATE.data_folder().path)}")
    return _digest([__version__, *parts]) if parts else ""


def of_add_ons(model_class: type, sampler: str, proposals: str) -> list[str]:
    """Return what identifies the code of add-ons and of a proposal maker: empty where there is none."""
    from video3d_plugin.data.proposals.registry import identity
    from video3d_plugin.sampling.registry import SAMPLERS

    parts = {
        "model": registry.identity(model_class),
        "sampler": SAMPLERS.source(sampler),
        "proposals": identity(proposals),
    }
    return [f"{kind} {part}" for kind, part in parts.items() if part is not None]


def _has_scene_tasks(task_dict: dict) -> bool:
    for task in task_dict.values():
        if isinstance(task, dict):
            if _has_scene_tasks(task):
                return True
        elif hasattr(task, "dump_config"):
            metadata = task.dump_config().get("metadata")
            if isinstance(metadata, dict) and "video3d_task" in metadata:
                return True
    return False


def of_data(folder: Path) -> str:
    """Digest the questions and the scenes of a data folder. The store, which is derived from them, does not count.

    Args:
        folder: A folder made by `video3d prepare`.
    """
    return _digest([*(of_folder(folder / name) for name in ("docs", "scenes")), *_released_selections(folder)])


def _released_selections(folder: Path) -> list[str]:
    """Digest the released frame selections. Computed ones follow from the scene and do not count."""
    from video3d_plugin.data.records import try_read_record
    from video3d_plugin.files.atomic import digest

    lines = []
    for path in sorted((folder / "selections").glob("*.json")):
        record = try_read_record(path) or {}
        if record.get("released"):
            lines.append(f"{path.name} {digest({name: record[name] for name in record if name != 'format'})}")
    return lines


def of_folder(folder: str | os.PathLike[str]) -> str:
    """Digest names and contents of all files below a folder, hidden ones excepted.

    Args:
        folder: Any folder. Of files above WHOLE_FILE_BYTES, only both ends are read.
    """
    root = Path(folder)
    lines = []
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if path.is_file() and not any(part.startswith(".") for part in relative.parts):
            lines.append(f"{relative.as_posix()} {_of_file(path)}")
    return _digest(lines)


def of_checkpoint(path: str | Path, lora: str | Path | None = None) -> str:
    """Digest the files of a checkpoint and of its adapter. Different names of one folder give the same digest.

    Args:
        path: Checkpoint folder, or a name on the hub.
        lora: Folder of the LoRA adapter, or a name on the hub; None without one.
    """
    from video3d_plugin.model.checkpoint.folders import local_folders

    return "+".join(of_folder(folder) for folder in local_folders(path, lora) if folder is not None)


def _of_file(path: Path) -> str:
    status = path.stat()
    digest = hashlib.sha256(str(status.st_size).encode())
    with open(path, "rb") as file:
        if status.st_size <= WHOLE_FILE_BYTES:
            digest.update(file.read())
        else:
            digest.update(str(status.st_mtime_ns).encode() + file.read(END_BYTES))
            file.seek(-END_BYTES, os.SEEK_END)
            digest.update(file.read(END_BYTES))
    return digest.hexdigest()


def _digest(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
