"""JSON that strangers wrote: what was expected, or a one-line error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from video3d_plugin.errors import DataError


def read_object(path: Path, remedy: str = "download it again") -> dict[str, Any]:
    """The object in a small JSON file, of a checkpoint's folder; DataError where there is something else."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"not valid JSON: {error}", where=path, remedy=remedy) from None
    return parse_json(text, dict, path, remedy)


def parse_json(text: str, kind: type | tuple[type, ...], where: Path, remedy: str | None = None) -> Any:
    """The value of a JSON text, whose top level is a `kind`."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        detail = "nested too deeply" if isinstance(error, RecursionError) else error
        raise DataError(f"not valid JSON: {detail}", where=where, remedy=remedy or "download it again") from None
    if not isinstance(value, kind):
        names = "/".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
        raise DataError(f"expected a JSON {names}, found a {type(value).__name__}", where=where, remedy=remedy)
    return value
