"""Fixtures: a made-up scan in ScanNet's layout."""

from __future__ import annotations

import pytest
from made_up_scan import ScanRoot


@pytest.fixture
def scan_root(tmp_path) -> ScanRoot:
    """An empty root to write a scan into."""
    path = tmp_path / "source"
    path.mkdir()
    return ScanRoot(path)


@pytest.fixture
def full_root(scan_root) -> ScanRoot:
    """A root with every kind of file."""
    return scan_root.write_posed_images().write_mesh().write_mask().write_infos().write_annotations()
