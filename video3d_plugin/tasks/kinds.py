"""Kinds of values (`files.schema`) in annotation files, evaluation documents and records.

Limits are far above the values of official files (the longest description has 700 characters), and low enough that
computing a metric of a record, such as the longest common subsequence of two texts, takes seconds at most.
"""

from __future__ import annotations

from typing import Any

from video3d_plugin.files.schema import Anything, Number, Table, Text, Whole
from video3d_plugin.metrics.iou import LARGEST_M

LONGEST_ANSWER = 20_000  # characters of an answer or caption that are scored; longer ones count as unreadable
LONGEST_REFERENCE = 5_000  # ROUGE's time is proportional to the product of both lengths

NAME = Text(128, shortest=1, one_line=True)
SCENE_ID = NAME
ID = (Text(512, shortest=1, one_line=True), Whole())  # of a question, an object or an annotation
SENTENCE = Text(LONGEST_REFERENCE)
COORDINATE = Number(-LARGEST_M, LARGEST_M)
SIZE = Number(0, LARGEST_M)
POINT = [COORDINATE] * 3
BOX: list[Any] = [COORDINATE] * 3 + [SIZE] * 3

# In records. Predicted boxes may have negative sizes, which the evaluators take as positive.
SAID = Text(LONGEST_ANSWER)
REFERENCE = Text(LONGEST_REFERENCE)
ANY_BOX: list[Any] = [COORDINATE] * 6
OVERLAP = Number(0, 1.001)  # with room for rounding
YES_NO = (bool, None)

# Fields of an evaluation document of any task. Others are bounded in depth, since the time of `datasets` doubles with
# each level of nesting.
DOC: dict[str, Any] = {"task": NAME, "scene_id": SCENE_ID, "item_id": Text(1000, shortest=1), "prompt": Text()}
DOC_VALUES = Table(Anything(depth=4), name=NAME)

# Fields of an item of an official annotation file, or of Video-3D LLM's processed files, where they are present. Each
# benchmark's reader decides which are required.
_TRAIT = (bool, Whole(0, 1), None)
ANNOTATION: dict[str, Any] = {
    "scene_id?": SCENE_ID,
    **dict.fromkeys(("id?", "question_id?", "object_id?", "ann_id?"), ID),
    "object_ids?": [ID],
    "object_name?": Text(512),
    "object_names?": [Text(512)],
    **dict.fromkeys(("description?", "question?", "situation?"), SENTENCE),
    "alternative_situation?": [SENTENCE],
    "token?": [Text(512)],
    **dict.fromkeys(("eval_type?", "question_type?"), NAME),
    **dict.fromkeys(("spatial?", "color?", "texture?", "shape?"), _TRAIT),
    "video?": Text(300, shortest=1, one_line=True),
    "conversations?": [{"value": Text(), "from?": NAME}],
    "metadata?": {
        "dataset?": NAME,
        "question_type?": NAME,
        "ann_id?": ID,
        "object_id?": (ID, [ID], None),
        "answers?": [SENTENCE],
    },
    "annotations?": [SENTENCE],
    "box_input?": (ANY_BOX, POINT, [ANY_BOX], None),
}
