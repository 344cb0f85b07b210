"""Goldens of ScanRefer and Multi3DRefer: official, M3DRef-CLIP, Video-3D-LLM and torchmetrics_ext."""

from __future__ import annotations

from collections.abc import Callable

from video3d_plugin.metrics import grounding
from video3d_plugin.metrics.iou import iou, iou_float32
from video3d_plugin.metrics.ngrams import Scorer
from video3d_plugin.metrics.selection import objects_by_mass
from video3d_plugin.tasks.object_classes import OFFICIAL_CLASSES, OTHERS, Labels, multiple_by_object
from video3d_plugin.verify.metrics_sheet import Sheet

LABELS = "scannetv2-labels.combined.tsv"
V3D_CLASSES = ("wall", "floor")  # "others" among the official 18 classes, classes of their own for Video-3D-LLM


def verify_scanrefer(sheet: Sheet, _score: Scorer) -> None:
    """Recompute ScanRefer's golden.

    Classes come from ScanNet's label table where one lies beside the file; otherwise those of the file are inputs.

    Args:
        sheet: The golden.
    """
    items = sheet.at("items")
    class_of, v3d_class_of, compared = _classes(sheet, items)
    official, v3d = multiple_by_object(items, class_of), multiple_by_object(items, v3d_class_of)
    located = []
    for i, item in enumerate(items):
        key = (item["scene_id"], str(item["object_id"]))
        one = grounding.ScanReferItem(
            iou=iou(item["pred_box"], item["gt_box"]),
            iou_float32=iou_float32(item["pred_box"], item["gt_box"]),
            multiple=official[key],
            others=class_of(item["object_name"]) == OTHERS,
            v3d_multiple=v3d[key],
        )
        located.append(one)
        eval_type = "multiple" if one.v3d_multiple else "unique"
        computed = {
            "official_unique_multiple": int(one.multiple),
            "official_others": int(one.others),
            "iou_float64_eps1e-8": one.iou,
            "m3dref_eval_type": eval_type,
            "m3dref_iou_float32_eps1.19e-7": one.iou_float32,
            "v3d_eval_type": eval_type,
            "v3d_iou": one.iou,
        }
        sheet.check("per item", computed, "items", i, "expected")
        if compared:
            sheet.check("per item", class_of(item["object_name"]), "items", i, "expected", "official_class18")
        else:
            reason = f"needs {LABELS}, which was not found beside the file"
            sheet.skip(reason, "items", i, "expected", "official_class18")
    _scanrefer_totals(sheet, located)


def _classes(sheet: Sheet, items: list[dict]) -> tuple[Callable[[str], int], Callable[[str], int], bool]:
    """Return functions from name to class, official and Video-3D-LLM's, and whether the official one is computed."""
    around = [folder / name for folder in (sheet.folder, *sheet.folder.parents[:2]) for name in ("", "realscan")]
    table = next((place / LABELS for place in around if (place / LABELS).is_file()), None)
    if table is not None:
        labels = Labels.read(table)
        return labels.official_class, labels.v3d_class, True
    given = {item["object_name"]: item["expected"]["official_class18"] for item in items}
    extra = {name: len(OFFICIAL_CLASSES) + i for i, name in enumerate(V3D_CLASSES)}
    return given.__getitem__, lambda name: extra.get(name, given[name]), False


def _scanrefer_totals(sheet: Sheet, located: list[grounding.ScanReferItem]) -> None:
    dropped = set(sheet.at("missing_variant_drop"))
    missing = [one if i not in dropped else _unsubmitted(one) for i, one in enumerate(located)]
    unknown = grounding.ScanReferItem(0.0, 0.0, multiple=True, others=True, v3d_multiple=True, known=False)
    variants = {"all": located, "missing": missing}
    variants["unknown_added"] = [*located, *[unknown] * len(sheet.at("unknown_variant_add"))]
    for variant in sheet.at("expected", "official_ScanRefer_benchmark_eval"):
        if variant in variants:
            numbers = _official_names(grounding.scanrefer_official(variants[variant]))
            path = ("expected", "official_ScanRefer_benchmark_eval", variant)
            sheet.check(f"official, {variant}", numbers, *path)
    for variant in ("all", "missing"):
        numbers = grounding.scanrefer_m3dref(variants[variant])
        by_threshold = {
            f"accuracy@{t}": {
                "unique": _fraction(numbers[f"m3dref_unique_acc@{t}"]),
                "multiple": _fraction(numbers[f"m3dref_multiple_acc@{t}"]),
                "overall": _fraction(numbers[f"m3dref_acc@{t}"]),
            }
            for t in grounding.THRESHOLDS
        }
        path = ("expected", "official_M3DRef_CLIP", variant)
        sheet.check(f"m3dref, {variant}", _only(by_threshold, sheet.at(*path)), *path)
        numbers = grounding.scanrefer_v3d(variants[variant])
        printed = {
            f"{group} iou@{t}": numbers[f"v3d_{'' if group == 'all' else group + '_'}acc@{t}"]
            for group in ("all", "unique", "multiple")
            for t in grounding.THRESHOLDS
        }
        sheet.check(f"v3d, {variant}", printed, "expected", "video3dllm_percent", variant)


def _unsubmitted(one: grounding.ScanReferItem) -> grounding.ScanReferItem:
    return grounding.ScanReferItem(0.0, 0.0, one.multiple, one.others, one.v3d_multiple, submitted=False)


def _fraction(percent: float | None) -> float | None:
    return None if percent is None else percent / 100


def _only(computed: dict, golden: dict) -> dict:
    """Return `computed` without the groups that the original leaves undefined."""
    return {key: {k: v for k, v in computed[key].items() if k in golden[key]} for key in golden}


def _official_names(numbers: dict[str, float]) -> dict[str, float]:
    """Rename to ScanRefer's script: `unique|in_others|acc@0.25iou`, `count|overall|overall`."""
    names = {}
    for group in ("unique", "multiple", "overall"):
        for other in ("not_in_others", "in_others", "overall"):
            ours = "".join(f"{part}_" for part in (group, other) if part != "overall")
            names[f"count|{group}|{other}"] = numbers[f"count_{ours}".rstrip("_")]
            for t in grounding.THRESHOLDS:
                names[f"{group}|{other}|acc@{t}iou"] = numbers[f"{ours}acc@{t}"] / 100
    return names


def verify_multi3drefer(sheet: Sheet, _score: Scorer) -> None:
    """Recompute Multi3DRefer's golden.

    Items of `A_items` have scores, from which boxes are selected at several masses; those of `B_items` have boxes.

    Args:
        sheet: The golden.
    """
    masses = list(sheet.at("A_items", 0, "expected")) if sheet.at("A_items") else []
    answered: dict[str, list[grounding.Multi3DReferItem]] = {}
    for mass in masses:
        answered[mass] = []
        for i, item in enumerate(sheet.at("A_items")):
            selected = objects_by_mass(item["scores"], len(item["objects"]), True, float(mass))
            boxes = [item["objects"][k] for k in selected]
            computed = {"selected_boxes": boxes, **_f1(item, boxes)}
            sheet.check(f"per item, selected by mass {mass}", computed, "A_items", i, "expected", mass)
            answered[mass].append(_answered(item, boxes))
    given = []
    for i, item in enumerate(sheet.at("B_items")):
        sheet.check("per item, boxes given", _f1(item, item["pred_boxes"]), "B_items", i, "expected")
        given.append(_answered(item, item["pred_boxes"]))
    dropped = set(sheet.at("missing_variant_drop_B"))
    missing = [
        grounding.Multi3DReferItem(one.eval_type, one.m3dref, one.v3d, submitted=i not in dropped)
        for i, one in enumerate(given)
    ]
    for mass in masses:
        _totals(sheet, answered[mass], f"A_threshold_{mass}", f"A_boxes_selected_by_v3d_threshold_{mass}")
    _totals(sheet, given, "B", "B")
    _totals(sheet, missing, "B_missing", "B_missing")


def _f1(item: dict, boxes: list) -> dict:
    return {
        "v3d_f1_25_50": grounding.f1_v3d(boxes, item["gt_boxes"]),
        "m3dref_f1_25_50": grounding.f1_m3dref(boxes, item["gt_boxes"], item["eval_type"]),
    }


def _answered(item: dict, boxes: list) -> grounding.Multi3DReferItem:
    f1 = _f1(item, boxes)
    return grounding.Multi3DReferItem(item["eval_type"], f1["m3dref_f1_25_50"], f1["v3d_f1_25_50"])


def _totals(sheet: Sheet, items: list[grounding.Multi3DReferItem], v3d_name: str, name: str) -> None:
    thresholds = dict(zip((25, 50), grounding.THRESHOLDS, strict=True))
    types = ("", *grounding.TARGET_TYPES)
    numbers = grounding.multi3drefer_v3d(items, "")
    printed = {f"{g or 'all'} IoU{p}": _of(numbers, g, t) for g in types for p, t in thresholds.items()}
    path = ("expected", "video3dllm", v3d_name)
    sheet.check(f"v3d, {v3d_name}", printed, *path, *(["printed"] if "printed" in sheet.at(*path) else []))
    numbers = grounding.multi3drefer_official(items)
    golden = sheet.at("expected", "official_M3DRef_CLIP", name)
    official = {
        f"f1@{t}": {g or "overall": _of(numbers, g, t) for g in types}
        if isinstance(golden.get(f"f1@{t}"), dict)
        else _of(numbers, "", t)
        for t in grounding.THRESHOLDS
    }
    sheet.check(f"official (M3DRef-CLIP), {name}", official, "expected", "official_M3DRef_CLIP", name)
    numbers = grounding.multi3drefer_torchmetrics(items, "")
    named = {
        f"{g or 'all'}_{t}": _of(numbers, g, t) for g in ("st_wo_d", "st_w_d", "mt", "") for t in thresholds.values()
    }
    named |= {g: _of(numbers, g, 0.25) for g in ("zt_wo_d", "zt_w_d")}
    sheet.check(f"torchmetrics_ext, {name}", named, "expected", "torchmetrics_ext", name)


def _of(numbers: dict[str, float | None], group: str, threshold: float) -> float | None:
    return _fraction(numbers[f"{group}_f1@{threshold}" if group else f"f1@{threshold}"])
