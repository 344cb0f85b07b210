"""Numbers printed in papers, in per cent (CIDEr x 100), with the name of the metric here that counts the same way.

Collected 2026-11. A paper rarely says which program scored it: `convention` names the one that its code runs. Numbers
under another convention than the one named are not comparable to the last digit.
"""

from __future__ import annotations

from dataclasses import dataclass

AS_OF = "2026-11"


@dataclass(frozen=True)
class System:
    """A published system; `numbers` is {task: {metric name here: value}}."""

    name: str
    short: str
    source: str
    convention: str
    numbers: dict[str, dict[str, float]]


VIDEO3D_UNIFORM = System(
    "Video-3D LLM, uniform 32 frames",
    "Video-3D LLM 32 frames",
    "arXiv 2412.00493, CVPR 2025",
    "v3d_ (LaVi-Lab/Video-3D-LLM 3ff70e8); Multi3DRefer selected by mass 0.25, as the paper says",
    {
        "scanrefer": {
            "v3d_acc@0.25": 58.12, "v3d_acc@0.5": 51.72,
            "v3d_unique_acc@0.25": 87.97, "v3d_unique_acc@0.5": 78.32,
            "v3d_multiple_acc@0.25": 50.93, "v3d_multiple_acc@0.5": 45.32,
        },
        "multi3drefer": {
            "mass0.25_v3d_f1@0.25": 58.0, "mass0.25_v3d_f1@0.5": 52.7,
            "mass0.25_v3d_zt_wo_d_f1@0.25": 94.7, "mass0.25_v3d_zt_w_d_f1@0.25": 78.5,
            "mass0.25_v3d_st_wo_d_f1@0.25": 82.6, "mass0.25_v3d_st_wo_d_f1@0.5": 73.4,
            "mass0.25_v3d_st_w_d_f1@0.25": 52.1, "mass0.25_v3d_st_w_d_f1@0.5": 47.2,
            "mass0.25_v3d_mt_f1@0.25": 40.8, "mass0.25_v3d_mt_f1@0.5": 35.7,
        },
        "scan2cap": {
            "v3d_cider@0.5": 83.77, "v3d_bleu4@0.5": 42.43, "v3d_meteor@0.5": 28.87, "v3d_rouge@0.5": 62.34,
        },
        "scanqa": {"v3d_em": 30.10, "v3d_bleu4": 16.17, "v3d_meteor": 19.84, "v3d_rouge": 49.02, "v3d_cider": 102.06},
        "sqa3d": {
            "v3d_em": 58.6, "v3d_em_what": 51.1, "v3d_em_is": 72.4, "v3d_em_how": 55.5, "v3d_em_can": 69.8,
            "v3d_em_which": 51.3, "v3d_em_others": 56.0,
        },
    },
)  # fmt: skip
VIDEO3D_MC = System(
    "Video-3D LLM, max-coverage 95 %",
    "Video-3D LLM MC 95 %",
    "arXiv 2412.00493, CVPR 2025",
    VIDEO3D_UNIFORM.convention,
    {
        "scanrefer": {"v3d_acc@0.25": 57.87, "v3d_acc@0.5": 51.18},
        "multi3drefer": {"mass0.25_v3d_f1@0.25": 57.9, "mass0.25_v3d_f1@0.5": 52.4},
        "scan2cap": {
            "v3d_cider@0.5": 80.00, "v3d_bleu4@0.5": 40.18, "v3d_meteor@0.5": 28.49, "v3d_rouge@0.5": 61.68,
        },
        "scanqa": {"v3d_em": 29.50, "v3d_bleu4": 16.28, "v3d_meteor": 19.36, "v3d_rouge": 48.19, "v3d_cider": 100.54},
        "sqa3d": {"v3d_em": 57.7},
    },
)  # fmt: skip


def _peer(
    name: str,
    acc: tuple[float, float] | None,
    scan2cap: float | None,
    cider: float | None,
    em: float | None,
    sqa3d: float | None,
) -> System:
    """A row of a paper's comparison: ScanRefer acc, Scan2Cap C@0.5, ScanQA C and EM, SQA3D EM."""
    numbers = {
        "scanrefer": dict(zip(("v3d_acc@0.25", "v3d_acc@0.5"), acc or (None, None), strict=True)),
        "scan2cap": {"v3d_cider@0.5": scan2cap},
        "scanqa": {"v3d_cider": cider, "v3d_em": em},
        "sqa3d": {"v3d_em": sqa3d},
    }
    kept = {task: {n: v for n, v in found.items() if v is not None} for task, found in numbers.items()}
    return System(
        name, name, "their papers", "not stated; shown beside v3d_", {t: found for t, found in kept.items() if found}
    )


PEERS = (
    _peer("GPT4Scene-HDM", (62.6, 57.0), 86.3, 96.3, None, 59.4),
    _peer("3DRS", (62.9, 56.1), 86.1, 104.8, 30.3, 60.6),
    _peer("Ross3D", (61.1, 54.4), 81.3, 107.0, 30.8, 63.0),
    _peer("VEGA-3D", (63.2, 56.2), 83.2, 106.3, 30.4, 61.3),
    _peer("VeBrain", (66.4, 60.2), None, 101.5, None, 61.6),
    _peer("LLaVA-3D", (50.1, 42.7), 84.1, None, 30.6, 60.1),
    _peer("VG-LLM-8B (RGB only)", (54.4, 47.9), 76.4, 98.6, 27.3, None),
    _peer("Chat-Scene", (55.5, 50.2), 77.1, 87.7, 21.6, 54.6),
    _peer("LEO", None, 72.4, 101.4, 21.5, 50.0),
)
SYSTEMS = (VIDEO3D_UNIFORM, VIDEO3D_MC, *PEERS)
QUESTIONS = {"scanrefer": 9508, "multi3drefer": 11120, "scan2cap": 2068, "scanqa": 4675, "sqa3d": 3519}
