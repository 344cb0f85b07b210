"""Recompute reference results ("goldens") and compare: does this installation compute the right numbers?

A folder of goldens has one sub-folder for each kind: `model/`, `coordinates/`, `training/`, `video_processor/`,
`metrics/`. Each kind is a module of this package with one generator,

    verify(folder: Path, *, device: str, dtype: str) -> Iterator[CaseResult]

which rebuilds the inputs and weights, computes, and compares. It needs no list of the cases. The goldens in
SHIPPED_GOLDENS are installed with the package; those of `coordinates` and `video_processor` are in the repository.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

from video3d_plugin.errors import DataError, MissingError

KINDS = {
    "model": "video3d_plugin.verify.model",
    "coordinates": "video3d_plugin.verify.coordinates",
    "training": "video3d_plugin.verify.training",
    "video_processor": "video3d_plugin.verify.video_processor",
    "metrics": "video3d_plugin.verify.metrics",
}
SHIPPED_GOLDENS = Path(__file__).resolve().parent / "goldens"


@dataclass(frozen=True)
class CaseResult:
    """The comparison of one case.

    Attributes:
        kind: Kind of golden, a key of KINDS.
        case: Name of the case.
        worst: Largest difference, in the unit that `measure` names.
        limit: Largest difference that counts as agreement.
        ok: Whether the case agrees; None where it was not computed, for the reason in `note`.
        measure: What `worst` is.
        note: Remark for the report.
    """

    kind: str
    case: str
    worst: float
    limit: float
    ok: bool | None
    measure: str = "max|Δ|"
    note: str = ""

    @classmethod
    def of_differences(
        cls, kind: str, case: str, differences: Mapping[str, float], limit: float, measure: str = "max|Δ|"
    ) -> CaseResult:
        """Return the result of a case whose values differ from the golden's by `differences`, by name."""
        name, worst = max(differences.items(), key=lambda pair: pair[1])
        ok = worst <= limit and all(value == value for value in differences.values())
        return cls(kind, case, worst, limit, ok, measure, note="" if ok else f"largest in {name}")

    def line(self) -> str:
        """Return the result as one line of the report."""
        verdict = {True: "ok", False: "OUT", None: "not computed"}[self.ok]
        number = "" if self.ok is None else f"{self.measure} {self.worst:.1e}  "
        return f"{self.kind}/{self.case}  {number}{verdict}" + (f"  ({self.note})" if self.note else "")

    def as_dict(self) -> dict:
        """Return the fields as a dict."""
        return asdict(self)


def verify(
    folder: Path | None = None, kinds: list[str] | None = None, *, device: str = "cpu", dtype: str = "float32"
) -> Iterator[CaseResult]:
    """Recompute goldens and compare.

    Args:
        folder: Folder of goldens; default: those that are installed with the package.
        kinds: Kinds to check; default: all that the folder has.
        device: Device of the model, such as "cpu" or "cuda:1".
        dtype: Number format of the model: "float32", "bfloat16" or "float16". The goldens are float32; the limits of
            the others are wider.

    Yields:
        A result for each case, kind by kind.

    Raises:
        MissingError: If there is no such folder, or it lacks a kind.
        DataError: If a kind is unknown, or a file of the folder cannot be used.
    """
    folder = SHIPPED_GOLDENS if folder is None else Path(folder)
    if not folder.is_dir():
        raise MissingError("no such folder of goldens", where=folder, remedy="omit it to check the installed ones")
    unknown = sorted(set(kinds or ()) - set(KINDS))
    if unknown:
        raise DataError(f"unknown kind {', '.join(unknown)}", remedy=f"known kinds: {', '.join(KINDS)}")
    present = [kind for kind in KINDS if (folder / kind).is_dir()]
    selected = kinds or present
    missing = [kind for kind in selected if kind not in present]
    if missing or not selected:
        raise MissingError(
            f"the folder has no {', '.join(missing) or 'goldens'}",
            where=folder,
            remedy=f"its kinds: {', '.join(present)}" if present else f"a kind is a sub-folder: {', '.join(KINDS)}",
        )
    for kind in selected:
        yield from import_module(KINDS[kind]).verify(folder / kind, device=device, dtype=dtype)
