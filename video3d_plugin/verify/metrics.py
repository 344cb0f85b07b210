"""Goldens of the metrics: inputs, and the output of the official evaluators for them.

Every number under `expected` (of the file and of each item) is recomputed from the inputs. A number that cannot be
recomputed, or that this version does not know, is reported as not computed, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from video3d_plugin.errors import MissingError
from video3d_plugin.metrics.ngrams import Scorer, scorer
from video3d_plugin.verify import CaseResult
from video3d_plugin.verify.metrics_answers import verify_scanqa, verify_sqa3d
from video3d_plugin.verify.metrics_captions import verify_scan2cap
from video3d_plugin.verify.metrics_grounding import verify_multi3drefer, verify_scanrefer
from video3d_plugin.verify.metrics_sheet import Sheet

FILES = {
    "scanrefer.json": verify_scanrefer,
    "multi3drefer.json": verify_multi3drefer,
    "scan2cap.json": verify_scan2cap,
    "scanqa.json": verify_scanqa,
    "sqa3d.json": verify_sqa3d,
}


def verify(folder: Path, *, device: str = "cpu", dtype: str = "float32") -> Iterator[CaseResult]:
    """Recompute the goldens of the metrics.

    Args:
        folder: Folder with any of FILES.
        device: Ignored; metrics run on the CPU.
        dtype: Ignored; each metric has the precision of its original.

    Yields:
        A result for each convention and variant.
    """
    with scorer() as score:
        yield from verify_with(folder, score)


def verify_with(folder: Path, score: Scorer) -> Iterator[CaseResult]:
    """Recompute the goldens of the metrics with a running scorer, as METEOR takes ten seconds to start.

    Args:
        folder: Folder with any of FILES.
        score: Scorer of the n-gram metrics.

    Yields:
        A result for each convention and variant.

    Raises:
        MissingError: If the folder has none of FILES.
    """
    present = [name for name in FILES if (folder / name).is_file()]
    if not present:
        raise MissingError("no goldens of the metrics", where=folder, remedy=f"known files: {', '.join(FILES)}")
    for name, check in FILES.items():
        if name not in present:
            yield CaseResult("metrics", name, 0.0, 0.0, None, note="the file is not in this folder")
            continue
        if check in (verify_scan2cap, verify_scanqa, verify_sqa3d) and find_spec("pycocoevalcap") is None:
            yield CaseResult("metrics", name, 0.0, 0.0, None, note="pycocoevalcap is not installed")
            continue
        sheet = Sheet(folder / name)
        check(sheet, score)
        yield from sheet.results()
