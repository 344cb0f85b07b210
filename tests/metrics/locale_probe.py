"""Prints the numbers of all tasks for a small corpus, and what the tokenizer makes of it: run with various locales."""

from __future__ import annotations

import json
import sys

from video3d_plugin.metrics.java import ptb_tokenize
from video3d_plugin.metrics.ngrams import scorer
from video3d_plugin.metrics.tasks import TASKS

BOX, BESIDE = [0.0, 0, 1, 1, 1, 1], [0.3, 0, 1, 1, 1, 1]
SAID = ["I SIT in the KITCHEN, it is 1.5 m wide.", "İstanbul STRASSE Straße ISIL", "a brown chair", "1,234.5 I", ""]
TRUE = ["i sit in the kitchen which is 1.5 m wide", "istanbul strasse", "a chair that is brown", "1,234.5 i", "TITLE"]


def records(task: str) -> list[dict]:
    ids = {"scene_id": "s", "question": "What is IT?", "situation": "I SIT.", "object_name": "chair"}
    made = []
    for n, (said, true) in enumerate(zip(SAID, TRUE, strict=True)):
        doc = {**ids, "question_id": f"q{n}", "object_id": str(n), "ann_id": n, "description": true, "gt_box": BOX}
        doc |= {"gt_boxes": [BOX, BESIDE], "eval_type": "mt", "references": [true, "ILK CHAIR."], "input_box": BOX}
        doc |= {"answers": [true, said.lower()]} if task == "scanqa" else {"answer": true}
        boxes = json.dumps({"scores": [0.1 * n, 0.2], "boxes": [BOX, BESIDE]})
        made.append(TASKS[task].record(doc, boxes if task in ("scanrefer", "multi3drefer") else said))
    return made


def main(without_meteor: bool) -> None:
    if without_meteor:
        print(json.dumps(ptb_tokenize(SAID + TRUE)))
        return
    with scorer() as score:
        print(json.dumps([ptb_tokenize(SAID + TRUE), {t: TASKS[t].scores(records(t), score).flat() for t in TASKS}]))


if __name__ == "__main__":
    main("--tokens" in sys.argv)
