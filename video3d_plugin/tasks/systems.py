"""Published systems: their names, sources, and the programs that scored them.

The numbers are in each benchmark's module, by the system's name. Papers rarely name the program that scored them;
`convention` is the one that their code runs. Numbers of two conventions are not exactly comparable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

AS_OF = "2026-11"
UNIFORM, MAX_COVERAGE = "Video-3D LLM, uniform 32 frames", "Video-3D LLM, max-coverage 95 %"


@dataclass(frozen=True)
class System:
    """A published system.

    Attributes:
        name: Its name in `TaskSpec.published`.
        short: Title of its column.
        source: The publication.
        convention: The program that scored it.
        is_peer: Whether few of its numbers are published, which are shown in a line below the table.
    """

    name: str
    short: str
    source: str = "their papers"
    convention: str = "not stated; shown beside v3d_"
    is_peer: bool = False


_PAPER = "arXiv 2412.00493, CVPR 2025"
_CONVENTION = "v3d_ (LaVi-Lab/Video-3D-LLM 3ff70e8); Multi3DRefer selected by mass 0.25, as the paper says"
_PEERS = (
    "GPT4Scene-HDM", "3DRS", "Ross3D", "VEGA-3D", "VeBrain", "LLaVA-3D", "VG-LLM-8B (RGB only)", "Chat-Scene", "LEO",
)  # fmt: skip
KNOWN = (
    System(UNIFORM, "Video-3D LLM 32 frames", _PAPER, _CONVENTION),
    System(MAX_COVERAGE, "Video-3D LLM MC 95 %", _PAPER, _CONVENTION),
    *(System(name, name, is_peer=True) for name in _PEERS),
)


def peer_numbers(metrics: Sequence[str], rows: Mapping[str, Sequence[float | None]]) -> dict[str, dict[str, float]]:
    """Make the entries of `TaskSpec.published` from a table.

    Args:
        metrics: Names of the columns.
        rows: By system, a value for each column; None if it was not published.

    Returns:
        {system: {metric: value}}.
    """
    return {
        system: {name: v for name, v in zip(metrics, row, strict=True) if v is not None} for system, row in rows.items()
    }
