"""The small JSON files of a checkpoint folder, which strangers wrote: an object, or a one-line error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from video3d_plugin.errors import DataError


def read_object(path: Path, remedy: str = "download it again") -> dict[str, Any]:
    """The object in a JSON file; DataError where there is something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # a text that is not UTF-8 is a ValueError, too
        raise DataError(f"not valid JSON: {error}", where=path, remedy=remedy) from None
    if not isinstance(content, dict):
        raise DataError(f"expected a JSON object, found a {type(content).__name__}", where=path, remedy=remedy)
    return content
