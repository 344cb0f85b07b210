"""Goldens of the model with coordinates in another number format, `coordinates/<format>_<position>/`.

They are as those of `model/`; the configuration names the format as `coordinate_dtype`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from video3d_plugin.verify import CaseResult, model


def verify(folder: Path, *, device: str = "cpu", dtype: str = "float32") -> Iterator[CaseResult]:
    """Recompute the goldens; the arguments are those of `verify.model.verify`.

    Yields:
        A result for each case folder.
    """
    for result in model.verify(folder, device=device, dtype=dtype):
        yield replace(result, kind="coordinates")
