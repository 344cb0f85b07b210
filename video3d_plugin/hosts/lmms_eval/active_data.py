"""The data folder of the evaluation that runs in this process: the one `model_args` named, else VIDEO3D_DATA."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from video3d_plugin.data.folder import DataFolder

_chosen: DataFolder | None = None
_opened: dict[str, DataFolder] = {}


def choose(path: str | None) -> DataFolder:
    """Open the folder that the model's `data=` names (None: VIDEO3D_DATA) and let the tasks read from it too."""
    from video3d_plugin.data.folder import DataFolder

    use(None if path is None else DataFolder.open(path))
    return data_folder()


def use(folder: DataFolder | None) -> None:
    """Let the tasks read from this folder; None: from the one that VIDEO3D_DATA names."""
    global _chosen
    _chosen = folder


def forget() -> None:
    """The model that chose a folder is done: whoever evaluates next in this process reads VIDEO3D_DATA again."""
    use(None)


def data_folder() -> DataFolder:
    """The folder in use, opened once. Raises MissingError, saying what to run, where there is none."""
    if _chosen is not None:
        return _chosen
    import os

    from video3d_plugin.data.folder import DataFolder

    key = os.environ.get("VIDEO3D_DATA", "")
    if key not in _opened:
        _opened[key] = DataFolder.from_env()
    return _opened[key]
