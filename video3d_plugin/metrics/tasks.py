"""The five benchmarks as pairs of functions: sample -> record, records -> numbers.

    from video3d_plugin.metrics.tasks import TASKS
    record = TASKS["scanrefer"].record(doc, prediction)  # a plain dict: ids, boxes, status, per-item scores
    numbers = TASKS["scanrefer"].aggregate(records)      # {"acc@0.25": 58.1, ..., "count_missing": 0}
    acc = TASKS["scanrefer"].metric("acc@0.25")          # records -> one number; all share one computation
    TASKS["scanrefer"].names()                           # every name; .main: the ones to show first
    scores = TASKS["scanrefer"].scores(records)          # values, counts, and why a value is missing

For lmms-eval: `process_results(doc, results)` returns `process(task, doc, results, names)`, which puts the whole
record under the first name and one without the raw prediction under the others; `aggregation` is `.metric(name)`.

Numbers are percentages, CIDEr x 100 as papers print it. A plain name is the official evaluator's number; other
programs' numbers have a prefix (`v3d_`, `m3dref_`, `leo_`, ...). None: it could not be computed.

What a document holds (data/annotations writes them; more is ignored):

    scanrefer      scene_id object_id ann_id description gt_box(6), eval_type "unique"|"multiple" (NYU40 ids, as
                   Video-3D-LLM), multiple bool or unique_multiple "unique"|"multiple"|0|1 (official 18 classes; None
                   or absent: eval_type), others bool; a group that is not known counts in the overall number alone
    multi3drefer   scene_id ann_id description eval_type gt_boxes (G, 6) object_ids (to tell a repeated id)
    scan2cap       scene_id object_id object_name gt_box(6) references [str], token or reference_tokens [[str]] (absent:
                   split as ScanRefer does), box or input_box (6)|None
    scanqa         question_id question answers [str] scene_id
    sqa3d          question_id question situation answer scene_id, question_type (where the file states one)

What a prediction may be: None or {"unanswered": reason} (missing); text; a dict; a list of one. Scores and words may
also come as a dict in JSON text; any other JSON text is read by `parse_boxes`.

    grounding      {"scores": [N or N+1], "boxes": [[6] x N], "has_zero_target": bool}; a box or a list of boxes, also
                   as {"boxes": ...} or {"box": ...}, each six numbers or eight corners; or text with boxes
    scan2cap       {"caption": str, "box": [6] or None}, or text for the document's input_box
    scanqa, sqa3d  text, {"answer": str}, for ScanQA also {"answers": [best, second, ...]}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from video3d_plugin.errors import DataError
from video3d_plugin.metrics.task_base import Scores, Task, slim
from video3d_plugin.metrics.task_grounding import multi3drefer, scanrefer
from video3d_plugin.metrics.task_text import scan2cap, scanqa, sqa3d

__all__ = ["TASKS", "Scores", "Task", "get", "multi3drefer", "process", "scan2cap", "scanqa", "scanrefer", "sqa3d"]

# What the names of numbers that are not the official evaluators' begin with.
OF_OTHERS = tuple("v3d_ m3dref_ leo_ llava3d_ chatscene_ torchmetrics_ mass half_ llm_ benchmark_".split())

TASKS: dict[str, Task] = {task.name: task for task in (scanrefer, multi3drefer, scan2cap, scanqa, sqa3d)}


def get(name: str) -> Task:
    """The task of that name, or DataError listing the known ones."""
    if name not in TASKS:
        raise DataError(f"unknown task {name!r}", remedy=f"known tasks: {', '.join(TASKS)}")
    return TASKS[name]


def process(task: str, doc: Mapping, prediction: Any, names: Sequence[str] | None = None) -> dict[str, dict]:
    """{metric name: record} for a host that keeps one item a metric; `names` defaults to the task's main metrics."""
    chosen = list(names or get(task).main)
    record = get(task).record(doc, prediction)
    return {name: record if i == 0 else slim(record) for i, name in enumerate(chosen)}
