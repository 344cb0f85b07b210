"""Stand-ins for dependencies that are too new or missing, in a folder that comes first on a process's search path."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
_FINDER = """
import sys


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
        return None


sys.meta_path.insert(0, Missing())
"""
# Run as a part of importlib, so that its frame is not taken for that of a package which imports the missing one.
_SITE = "exec({code!r}, {{'__name__': 'importlib.missing'}})\n"


def stub(folder: Path, name: str, version: str, body: str = "", distribution: str | None = None) -> Path:
    """A package `name` with its metadata, as a distribution of that version; returns the folder."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(f'__version__ = "{version}"\n{body}\n')
    metadata = folder / f"{(distribution or name).replace('-', '_')}-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution or name}\nVersion: {version}\n")
    (metadata / "top_level.txt").write_text(f"{name}\n")
    return folder


def without(folder: Path, *names: str) -> Path:
    """The folder, in whose processes the named packages are not there."""
    (folder / "sitecustomize.py").write_text(_SITE.format(code=_FINDER.format(names=set(names))))
    return folder


def python(folder: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
    """Runs Python with the folder first on the search path; the start-up hook is off unless it is asked for."""
    paths = [str(folder), *filter(None, environment.pop("PYTHONPATH", str(ROOT)).split(os.pathsep))]
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("VIDEO3D_", "LLAVA_"))}
    clean |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths), **environment}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False, env=clean)
