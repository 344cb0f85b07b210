"""Does this installation give the right numbers? Recomputes goldens that the reference programs produced.

A folder laid out like the project's goldens holds kinds (`model/<case>/`, `training/`, `video_processor/`,
`metrics/`). Each kind is a module of this package with one generator,

    verify(folder: Path, *, device: str, dtype: str) -> Iterator[CaseResult]

that rebuilds inputs and weights by itself, computes, and compares. Nothing is looked up by case name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

from video3d_plugin.errors import DataError, MissingError

KINDS = {
    "model": "video3d_plugin.verify.model",
    "training": "video3d_plugin.verify.training",
    "video_processor": "video3d_plugin.verify.video_processor",
    "metrics": "video3d_plugin.verify.metrics",
}


@dataclass(frozen=True)
class CaseResult:
    """One case: `worst` is the largest difference found, in the unit that `measure` names.

    ok is None where a case is listed but not computed; `note` then says why.
    """

    kind: str
    case: str
    worst: float
    limit: float
    ok: bool | None
    measure: str = "max|Δ|"
    note: str = ""

    def line(self) -> str:
        verdict = {True: "ok", False: "OUT", None: "not computed"}[self.ok]
        number = "" if self.ok is None else f"{self.measure} {self.worst:.1e}  "
        return f"{self.kind}/{self.case}  {number}{verdict}" + (f"  ({self.note})" if self.note else "")

    def as_dict(self) -> dict:
        return asdict(self)


def verify(
    folder: Path, kinds: list[str] | None = None, *, device: str = "cpu", dtype: str = "float32"
) -> Iterator[CaseResult]:
    """Yield a result for each case under `folder`, kind by kind; every kind asked for must be there."""
    folder = Path(folder)
    if not folder.is_dir():
        raise MissingError("no such folder of goldens", where=folder, remedy="give one that holds model/ or others")
    unknown = sorted(set(kinds or ()) - set(KINDS))
    if unknown:
        raise DataError(f"unknown kind {', '.join(unknown)}", remedy=f"known kinds: {', '.join(KINDS)}")
    present = [kind for kind in KINDS if (folder / kind).is_dir()]
    chosen = kinds or present
    missing = [kind for kind in chosen if kind not in present]
    if missing or not chosen:
        raise MissingError(
            f"no {', '.join(missing) or 'known kind'} here", where=folder, remedy=f"known kinds: {', '.join(KINDS)}"
        )
    for kind in chosen:
        yield from import_module(KINDS[kind]).verify(folder / kind, device=device, dtype=dtype)
