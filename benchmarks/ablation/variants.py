"""What is compared: options of the model, each changed alone, and the paper's figures for the same change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# What a run is scored by: (column, task, metric). The paper's ablations use the same, ScanRefer at 0.25 and 0.5; the
# last is ours, the short question behind Scan2Cap: what is at this point?
COLUMNS = (
    ("ScanRefer Acc@0.5", "scanrefer", "acc@0.5"),
    ("of these multiple", "scanrefer", "multiple_acc@0.5"),
    ("Scan2Cap CIDEr@0.5", "scan2cap", "cider@0.5"),
    ("ScanQA EM@1", "scanqa", "em@1"),
    ("name at a point EM", "objects", "em"),
)


@dataclass(frozen=True)
class Variant:
    """`options` of the configuration that differ from the base. `paper`: its figures in the paper (arXiv 2412.00493):
    ScanRefer Acc@0.5, Scan2Cap CIDEr@0.5, ScanQA EM; None where the paper gives none."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    paper: tuple[float | None, float | None, float | None] = (None, None, None)


BASE = Variant("sine, average, InfoNCE", paper=(51.72, 83.76, 30.09))
VARIANTS = (
    BASE,
    Variant("no 3D position", {"world_position_embedding_type": None}, (50.84, 31.03, 30.03)),
    Variant("MLP position", {"world_position_embedding_type": "avg-mlp"}, (52.98, 76.23, 29.62)),
    Variant("centre point", {"world_position_embedding_type": "sample1-discrete-sin3d"}, (None, 80.88, None)),
    Variant("min and max point", {"world_position_embedding_type": "minmax-discrete-sin3d"}, (None, 82.75, None)),
    Variant("BCE head", {"ground_head_type": "mlp"}, (45.82, None, None)),
)
HOME = ("mc", 8)  # how all are trained, and compared
# The base, asked with other frames than it was trained with.
VIEWS = tuple((sampler, frames) for sampler in ("uniform", "mc") for frames in (4, 8, 16))
# The paper's ScanRefer Acc@0.25 of those; it also gives 58.11 and 58.27 for 32 frames.
PAPER_VIEWS = {("uniform", 8): 48.93, ("uniform", 16): 55.42, ("mc", 8): 53.47, ("mc", 16): 56.46}
