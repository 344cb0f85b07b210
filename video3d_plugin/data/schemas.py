"""Schemas of the data folder's own files (see `files.schema`). Those of docs and annotations are in `tasks.kinds`."""

from __future__ import annotations

import dataclasses
from typing import Any

from video3d_plugin.files.depth import SUFFIXES
from video3d_plugin.files.schema import Anything, Number, OneOf, Table, Text, Whole
from video3d_plugin.inputs_spec import LATER_FIELDS, InputsSpec
from video3d_plugin.notes import KINDS
from video3d_plugin.tasks.kinds import BOX, NAME, POINT, SCENE_ID

LONGEST_IMAGE_SIDE = 16_384  # pixels

FRAME_NAME = Text(255, shortest=1, one_line=True)
PATH = Text(4096, shortest=1, is_path=True)
CORNERS = [POINT] * 8
MATRIX = [Number()] * 16
IMAGE_SIZE = [Whole(1, LONGEST_IMAGE_SIDE)] * 2  # height, width

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
            "size": IMAGE_SIZE,
            "codec": OneOf(tuple(SUFFIXES)),
            "unit": Number(1e-6, 1.0),
            "void": (Whole(0, 65_535), None),
            "depth_camera?": {"intrinsics": MATRIX, "size": IMAGE_SIZE, "color_from_depth": MATRIX},
            "confidence?": {"image": FILE_SLICE, "codec": OneOf(("png", "lzfse")), "least": Whole(0, 255)},
            "turns?": Whole(1, 3),
        }
    ],
    "instances": [[Whole(0), Text(), BOX]],
    "proposals": [BOX],
    "proposal_scores?": [Number(0, 1)],
    "proposal_labels?": [Text()],
    "proposal_views?": [[FRAME_NAME]],
    "omissions": [[Text(), Text()]],
    "notes": [Text()],
    "note_kinds?": [OneOf(KINDS)],
    "surface?": (NAME, None),
    "voxel_size_m?": Number(0.01, 1.0),
    "fingerprint?": NAME,
    "frames_fingerprint?": NAME,
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

_SPEC_KINDS: dict[Any, Any] = {"bool": bool, "int": Whole(1, LONGEST_IMAGE_SIDE)}
# Header of a file of the store; what is not checked here is compared with its tensors.
STORE_HEADER: dict[str, Any] = {
    "format": Whole(),
    "scene_id": SCENE_ID,
    "frames": [FRAME_NAME],
    "spec": {
        field.name + "?" * (field.name in LATER_FIELDS): _SPEC_KINDS.get(field.type, NAME)
        for field in dataclasses.fields(InputsSpec)
    },
    "checksum": Whole(0),
}
