"""What the data folder's own files hold, and the fields that official annotation files need: see `files.schema`.

Limits are far above what any official file has (the longest description has 700 characters) and keep what is computed
from a record, such as the longest common subsequence of two texts, within seconds.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from video3d_plugin.files.schema import Anything, Number, OneOf, Table, Text, Whole
from video3d_plugin.metrics.boxes import LARGEST_M
from video3d_plugin.scene import InputsSpec

LONGEST_IMAGE_SIDE = 16_384  # pixels

NAME = Text(128, shortest=1, one_line=True)
SCENE_ID = NAME
FRAME_NAME = Text(255, shortest=1, one_line=True)
ID = (Text(512, shortest=1, one_line=True), Whole())  # of a question, an object or an annotation
SENTENCE = Text(5_000)
PATH = Text(4096, shortest=1, is_path=True)
COORDINATE = Number(-LARGEST_M, LARGEST_M)
SIZE = Number(0, LARGEST_M)
POINT = [COORDINATE] * 3
BOX: list[Any] = [COORDINATE] * 3 + [SIZE] * 3
CORNERS = [POINT] * 8
MATRIX = [Number()] * 16

HEAD: dict[str, Any] = {
    "tasks?": [{"task": NAME, "split": NAME, "docs": Whole(0), "items?": Whole(0), "questions?": Whole(0)}],
    "source?": PATH,
    "source_relative?": (PATH, None),
    "frames_copied?": (bool, None),
}

FILE_SLICE = [PATH, Whole(0, 1 << 62), (Whole(0, 1 << 40), None)]
SCENE: dict[str, Any] = {
    "scene_id": SCENE_ID,
    "root": ([PATH, PATH], None),
    "world_from_scan": MATRIX,
    "depth_intrinsics": [MATRIX],
    "frames": [
        {
            "name": FRAME_NAME,
            "color": FILE_SLICE,
            "depth": FILE_SLICE,
            "pose": MATRIX,
            "camera": Whole(0),
            "size": [Whole(1, LONGEST_IMAGE_SIDE)] * 2,
            "codec": OneOf(("png", "zlib_ushort")),
            "unit": Number(1e-6, 0.1),
            "void": (Whole(0, 65_535), None),
        }
    ],
    "instances": [[Whole(0), Text(), BOX]],
    "proposals": [BOX],
    "omissions": [[Text(), Text()]],
    "notes": [Text()],
    "surface?": (NAME, None),
    "fingerprint?": NAME,
    "frames_fingerprint?": NAME,
    "copies?": [[PATH, Whole(0)]],
}

SELECTION: dict[str, Any] = {
    "frames": NAME,
    "released?": bool,
    "order": [Whole(0)],
    "gains": [Whole(0)],
    "visible": Whole(0),
}

QUESTION: dict[str, Any] = {
    "task": NAME,
    "item_id": Text(1000),
    "scene_id": SCENE_ID,
    "prompt": Text(),
    "answer": (Text(), None),
    "coords": [POINT],
    "targets": ([Whole(0)], None),
    "metadata": Table(Anything()),
}
QUESTIONS_FILE: dict[str, Any] = {"fingerprint": NAME, "items": [QUESTION]}

DOCS_FILE: dict[str, Any] = {
    "fingerprint": NAME,
    "counts": {"items": Whole(0), "docs": Whole(0), "questions": Whole(0)},
    "skipped": [[Whole(0), Text(), Text()]],
    "items": [dict],
}

REPORT: dict[str, Any] = {"failed?": Table(Text())}

# Of an evaluation doc of any task; what else it holds crosses to `datasets`, whose time doubles with each level.
DOC: dict[str, Any] = {"task": NAME, "scene_id": SCENE_ID, "item_id": Text(1000, shortest=1), "prompt": Text()}
DOC_VALUES = Table(Anything(depth=4), name=NAME)
_GROUP = (bool, None)
DOCS: dict[str, dict[str, Any]] = {
    "scanrefer": {
        "object_id": Text(64),
        "object_name": Text(512),
        "ann_id": Text(512),
        "description": SENTENCE,
        "eval_type": NAME,
        "multiple": _GROUP,
        "others": _GROUP,
        "gt_box": (BOX, None),
    },
    "multi3drefer": {
        "object_ids": [Whole(0)],
        "ann_id": ID,
        "eval_type": NAME,
        "description": SENTENCE,
        "gt_boxes": [BOX],
    },
    "scan2cap": {
        "object_id": Text(64),
        "object_name": Text(512),
        "references": [SENTENCE],
        "token": [[Text(512)]],
        "gt_box": BOX,
        "box": (BOX, None),
        "coords": [POINT],
    },
    "scanqa": {"question_id": ID, "question": SENTENCE, "answers": [SENTENCE]},
    "sqa3d": {
        "question_id": ID,
        "question": SENTENCE,
        "situation": SENTENCE,
        "answer": SENTENCE,
        "question_type?": NAME,
    },
}

# What an item of an official annotation file, or of Video-3D LLM's processed ones, holds where it holds it; which
# fields there must be is said by each benchmark's reader.
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
    "box_input?": ([COORDINATE] * 6, POINT, [[COORDINATE] * 6], None),
}

# Of a file of the store; the rest of its header is compared with its tensors.
STORE_HEADER: dict[str, Any] = {
    "format": Whole(),
    "scene_id": SCENE_ID,
    "frames": [FRAME_NAME],
    "spec": {
        field.name: bool if field.type == "bool" else Whole(1, LONGEST_IMAGE_SIDE) if field.type == "int" else NAME
        for field in dataclasses.fields(InputsSpec)
    },
    "checksum": Whole(0),
}
