"""ScanRefer's groups: whether an object is the only one of its class in the scene, and whether its class is "others".

Only objects that the split's annotations mention count, not all objects of the scan. Two definitions of the class are
in use. Both look up `object_name` (with `_` as space) in column raw_category of scannetv2-labels.combined.tsv, and
differ for walls and floors only:

    official   ScanRefer 9d74830 lib/dataset.py: nyu40class if it is one of 17 names, else "others"
    v3d        Video-3D-LLM 3ff70e8, M3DRef-CLIP babfcc4: nyu40id if it is one of 17 + wall + floor, else 39
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files.schema import Text, check, shown
from video3d_plugin.files.text import read_text

LABEL_FILE = "scannetv2-labels.combined.tsv"
SHIPPED_LABELS = f"no {LABEL_FILE}: object names are grouped by the copy that ships with the package"
OFFICIAL_CLASSES = (
    "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture", "counter", "desk",
    "curtain", "refrigerator", "shower curtain", "toilet", "sink", "bathtub", "others",
)  # fmt: skip
OTHERS = OFFICIAL_CLASSES.index("others")
V3D_IDS = frozenset([*range(1, 13), 14, 16, 24, 28, 33, 34, 36, 39])
V3D_OTHERS = 39
_REMEDY = "expected scannetv2-labels.combined.tsv of ScanNet; download it again"
_WORD = Text(200, shortest=1, one_line=True)
_ROW = {"raw_category": _WORD, "nyu40class": _WORD, "nyu40id": Text(6, shortest=1)}


@dataclass(frozen=True)
class Labels:
    """ScanNet's label table. Names that it does not list count as "others".

    Attributes:
        nyu40class: NYU40 class name by raw category.
        nyu40id: NYU40 id by raw category.
    """

    nyu40class: Mapping[str, str]
    nyu40id: Mapping[str, int]

    @classmethod
    def read(cls, path: str | Path) -> Labels:
        """Read ScanNet's scannetv2-labels.combined.tsv.

        Args:
            path: The file.

        Raises:
            MissingError: There is no such file.
            DataError: It is not the label table.
        """
        path = Path(path)
        if not path.is_file():
            raise MissingError("no label table", where=path, remedy="it is scannetv2-labels.combined.tsv of ScanNet")
        text = read_text(path, remedy=_REMEDY)
        try:
            rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE))
        except csv.Error as error:  # a NUL (before Python 3.11), or a field of more than 128 KB
            raise DataError(f"not ScanNet's label table: {error}", where=path, remedy=_REMEDY) from None
        if not rows or not {"raw_category", "nyu40class", "nyu40id"} <= set(rows[0]):
            raise DataError("not ScanNet's label table: a column is missing", where=path, remedy=_REMEDY)
        for number, row in enumerate(rows, 2):
            check(row, _ROW, path, _REMEDY, at=f"row {number}: ")
            if not (row["nyu40id"].isascii() and row["nyu40id"].isdigit()):
                what = f"row {number}: `nyu40id` is {shown(row['nyu40id'])}, expected a whole number"
                raise DataError(what, where=path, remedy=_REMEDY)
        names = {row["raw_category"]: row["nyu40class"] for row in rows}
        return cls(names, {row["raw_category"]: int(row["nyu40id"]) for row in rows})

    def official_class(self, object_name: str) -> int:
        """Return the index of an object's class in OFFICIAL_CLASSES: 0 to 16, or 17 for "others"."""
        name = self.nyu40class.get(object_name.replace("_", " "), "others")
        return OFFICIAL_CLASSES.index(name) if name in OFFICIAL_CLASSES else OTHERS

    def v3d_class(self, object_name: str) -> int:
        """Return the NYU40 id of an object's class if it is in V3D_IDS, else 39."""
        nyu40id = self.nyu40id.get(object_name.replace("_", " "), V3D_OTHERS)
        return nyu40id if nyu40id in V3D_IDS else V3D_OTHERS


def multiple_by_object(items: Iterable[Mapping], class_of: Callable[[str], int]) -> dict[tuple[str, str], bool]:
    """Group the objects of a split into "unique" and "multiple".

    As in the official code, an object whose annotations differ in its name is counted under the first name, and grouped
    by the last.

    Args:
        items: All ScanRefer annotations of one split, with scene_id, object_id and object_name.
        class_of: Gives the class of an object name.

    Returns:
        (scene_id, object_id) to whether the annotations mention another object of its class in the scene.
    """
    items = list(items)
    first: dict[tuple[str, str], int] = {}
    last: dict[tuple[str, str], int] = {}
    for item in items:
        key = (item["scene_id"], str(item["object_id"]))
        last[key] = class_of(item["object_name"])
        first.setdefault(key, last[key])
    count = Counter((scene, label) for (scene, _), label in first.items())
    return {key: count[key[0], label] != 1 for key, label in last.items()}
