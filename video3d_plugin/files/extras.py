"""Imports the libraries of the extra `apps`, which read what few recordings need."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from video3d_plugin.errors import MissingError

PURPOSES = {"av": "video", "lzfse": "LZFSE-compressed depth", "rosbags": "ROS bags"}


def import_extra(module: str, where: Path | str) -> ModuleType:
    """Import a library of the extra `apps`.

    Args:
        module: Name of the module: "av", "lzfse" or "rosbags".
        where: The file that needs it, for errors.

    Raises:
        MissingError: It is not installed, or cannot be loaded.
    """
    top = module.split(".")[0]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        what = f"{PURPOSES[top]} needs the library {top}, which cannot be imported: {error}"
        raise MissingError(what, where=where, remedy="pip install 'video3d-plugin[apps]'") from error
