"""What an evaluation is about, as short digests: the checkpoint's files and the data folder's. For cache keys."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from video3d_plugin.hosts.lmms_eval.state import STATE
from video3d_plugin.model import registry

WHOLE = 8 << 20  # files up to this size are read whole; of larger ones, size, time and both ends are taken
END = 64 << 10


def of_run(model: Any, task_dict: dict) -> str:
    """What joins the cache keys of a run: empty where the run has nothing of this package.

    model   what lmms-eval was given: a model, or the name of one that it has just made
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
    if _has_scene_tasks(task_dict):
        parts.append(f"data {of_data(STATE.data_folder().path)}")
    return _digest([__version__, *parts]) if parts else ""


def of_add_ons(model_class: type, sampler: str) -> list[str]:
    """Return what identifies the code of add-ons that answers depend on: empty where there is none."""
    from video3d_plugin.sampling.registry import SAMPLERS

    parts = {"model": registry.identity(model_class), "sampler": SAMPLERS.source(sampler)}
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
    """Digest of what the questions are and what the scenes show: not of the store, which is made from them."""
    return _digest([*(of_folder(folder / name) for name in ("docs", "scenes")), *_released_selections(folder)])


def _released_selections(folder: Path) -> list[str]:
    """A digest of each released choice of frames: a computed one follows from the scene, a released one does not."""
    from video3d_plugin.data.records import try_read_record
    from video3d_plugin.files.atomic import digest

    lines = []
    for path in sorted((folder / "selections").glob("*.json")):
        record = try_read_record(path) or {}
        if record.get("released"):
            lines.append(f"{path.name} {digest({name: record[name] for name in record if name != 'format'})}")
    return lines


def of_folder(folder: str | os.PathLike[str]) -> str:
    """Digest of the files below a folder, hidden ones left out: names and contents, large ones by sample."""
    root = Path(folder)
    lines = []
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if path.is_file() and not any(part.startswith(".") for part in relative.parts):
            lines.append(f"{relative.as_posix()} {_of_file(path)}")
    return _digest(lines)


def of_checkpoint(path: str | os.PathLike[str], lora: str | os.PathLike[str] | None = None) -> str:
    """Digest of a checkpoint's files and its adapter's, in whichever way they are named."""
    from video3d_plugin.model.checkpoint.weights import local_folders

    return "+".join(of_folder(folder) for folder in local_folders(path, lora) if folder is not None)


def _of_file(path: Path) -> str:
    status = path.stat()
    digest = hashlib.sha256(str(status.st_size).encode())
    with open(path, "rb") as file:
        if status.st_size <= WHOLE:
            digest.update(file.read())
        else:
            digest.update(str(status.st_mtime_ns).encode() + file.read(END))
            file.seek(-END, os.SEEK_END)
            digest.update(file.read(END))
    return digest.hexdigest()


def _digest(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
