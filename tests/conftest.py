"""Fixtures that every part shares: where the shared material lies, and one thread per process so runs repeat."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def shared_folder() -> Path | None:
    """The folder of shared goldens and scans: VIDEO3D_SHARED, or `shared` beside the repository."""
    folder = Path(os.environ.get("VIDEO3D_SHARED", ROOT.parent / "shared"))
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def shared() -> Path:
    folder = shared_folder()
    if folder is None:
        pytest.skip("shared material not found: set VIDEO3D_SHARED, or put `shared` beside the repository")
    return folder


@pytest.fixture(scope="session")
def goldens() -> Path:
    """Goldens that the repository carries (tests/goldens/README.md names their origin)."""
    return ROOT / "tests" / "goldens"
