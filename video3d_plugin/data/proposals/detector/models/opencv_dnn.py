"""Detector files that OpenCV's module `dnn` runs: ONNX, and TensorFlow's frozen graphs.

The shape of the output tells how to read it (see `decode`). A JSON file beside the model, of the same name, states what
the model file does not: {"labels": ["person", ...] or {"62": "chair", ...}, "size": [width, height], "scale": 0.00784,
"mean": 127.5}. Pixels p become (p - mean) * scale, in the order red, green, blue. Each field may be left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from video3d_plugin.data.proposals.detector.models.detection import DEFAULT_SCORE, Detection, Detector, check_classes
from video3d_plugin.errors import DataError
from video3d_plugin.files.json import read_object
from video3d_plugin.files.regular import read_regular
from video3d_plugin.files.schema import Number, Table, Text, Whole, check

if TYPE_CHECKING:
    from PIL import Image

ENDINGS = (".onnx", ".pb")
_MAX_BYTES = 1 << 31
_MAX_CONFIG_BYTES = 1 << 26
_SAME_IOU = 0.5  # of two boxes of one class: the better one stays
_LABEL = Text(200, one_line=True)
_SIDECAR: dict[str, Any] = {
    "labels?": ([_LABEL], Table(_LABEL, Text(6))),
    "size?": [Whole(16, 8192)] * 2,
    "scale?": Number(1e-6, 1e6),
    "mean?": Number(-1e6, 1e6),
}
_FORMS = "(1, 1, N, 7), (1, N, 6), (1, N, 5 + classes), (1, 4 + classes, N), or boxes (N, 4), labels (N,), scores (N,)"


@dataclass(frozen=True)
class _Preparation:
    """What the JSON file beside a model states."""

    size: tuple[int, int]  # width and height of the input, pixels
    scale: float
    mean: float
    labels: dict[int, str] = field(default_factory=dict)


def load_opencv(path: Path, classes: Sequence[str]) -> Detector:
    """Load a detector that OpenCV reads.

    Args:
        path: An .onnx file, or a .pb file; a .pbtxt file of the same name, or the only one in its folder, is its graph.
        classes: Labels to keep; () for all.

    Returns:
        The detector, on the CPU.

    Raises:
        MissingError: There is no such file.
        DataError: OpenCV cannot read it, or the JSON file beside it is not as described above.
    """
    import cv2

    content = np.frombuffer(read_regular(path, _MAX_BYTES), np.uint8)
    preparation = _read_preparation(path)
    if classes:
        check_classes(classes, list(preparation.labels.values()), str(path))
    try:
        if path.suffix == ".onnx":
            network = cv2.dnn.readNetFromONNX(content)
        else:
            network = cv2.dnn.readNetFromTensorflow(content, _graph(path))
    except cv2.error as error:
        raise DataError(f"OpenCV {cv2.__version__} cannot read it: {error.err}", where=path) from error

    def detect(image: Image.Image) -> list[Detection]:
        outputs = _run(network, np.asarray(image), preparation, path)
        boxes, scores, numbers = decode(outputs, preparation.size, path)
        keep = _distinct(boxes, scores, numbers)
        found = [
            Detection(preparation.labels.get(int(number), f"class {number}"), float(score), box=box)
            for box, score, number in zip(boxes[keep], scores[keep], numbers[keep], strict=True)
        ]
        return [each for each in found if not classes or each.label in classes]

    return detect


def decode(outputs: Sequence[np.ndarray], size: tuple[int, int], where: Path) -> tuple[np.ndarray, ...]:
    """Read the outputs of a detector.

    The forms are, with corners as left, top, right, bottom, in pixels of the input except for SSD:

    - (1, 1, N, 7): image, class, score, corners as shares of the image (SSD's DetectionOutput);
    - (1, N, 6): corners, score, class (end-to-end YOLO);
    - (1, N, 5 + C): centre, size, objectness, scores of C classes (YOLOv5);
    - (1, 4 + C, N): centre, size, scores of C classes (YOLOv8);
    - three arrays in any order: corners (N, 4), labels (N,), scores (N,) (torchvision).

    Args:
        outputs: The arrays that the network returns.
        size: Width and height of the network's input, pixels.
        where: The model file, for errors.

    Returns:
        Boxes (N, 4) float as left, top, right, bottom in shares of the image, within 0 to 1; scores (N,); class numbers
        (N,) int64. Those of a low score are left out, and so are values that are not finite.

    Raises:
        DataError: The outputs have none of these forms.
    """
    rows = _rows(outputs)
    if rows is None:
        shapes = ", ".join(str(output.shape) for output in outputs)
        raise DataError(f"has outputs of shape {shapes}", where=where, remedy=f"expected {_FORMS}")
    boxes, scores, numbers, are_shares = rows
    scale = np.ones(4) if are_shares else np.array([*size, *size], float)
    good = np.isfinite(boxes).all(1) & np.isfinite(numbers) & (scores >= DEFAULT_SCORE) & (scores <= 1)
    boxes = np.clip(boxes[good] / scale, 0, 1)
    return boxes, scores[good], numbers[good].astype(np.int64)


def _rows(outputs: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool] | None:
    """Return boxes by corners, scores, class numbers, and whether boxes are shares of the image; None: unknown form."""
    if len(outputs) == 3:
        return _rows_of_three([output.squeeze() for output in outputs])
    if len(outputs) != 1:
        return None
    output = np.asarray(outputs[0], np.float64)
    if output.ndim == 4 and output.shape[:2] == (1, 1) and output.shape[3] == 7:
        return output[0, 0, :, 3:], output[0, 0, :, 2], output[0, 0, :, 1], True
    if output.ndim != 3 or output.shape[0] != 1:
        return None
    table = output[0]
    if table.shape[1] == 6:
        return table[:, :4], table[:, 4], table[:, 5], False
    if min(table.shape) < 5:
        return None
    if table.shape[0] < table.shape[1]:
        centre, extent, by_class = table[:2].T, table[2:4].T, table[4:].T
    else:
        centre, extent, by_class = table[:, :2], table[:, 2:4], table[:, 5:] * table[:, 4:5]
    if not by_class.shape[1]:
        return None
    boxes = np.concatenate([centre - extent / 2, centre + extent / 2], 1)
    return boxes, by_class.max(1), by_class.argmax(1), False


def _rows_of_three(arrays: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool] | None:
    corners = max(arrays, key=lambda array: array.size)
    if corners.size % 4 or corners.shape[-1:] != (4,):
        return None
    boxes = corners.astype(np.float64).reshape(-1, 4)
    flat = [array.astype(np.float64).reshape(-1) for array in arrays if array is not corners]
    if any(len(array) != len(boxes) for array in flat):
        return None
    whole = [bool((array == np.rint(array)).all()) for array in flat]
    labels, scores = flat if whole[0] and not whole[1] else flat[::-1]
    return boxes, scores, labels, False


def _run(network: Any, image: np.ndarray, preparation: _Preparation, path: Path) -> list[np.ndarray]:
    import cv2

    blob = cv2.dnn.blobFromImage(image, preparation.scale, preparation.size, [preparation.mean] * 3)  # red first
    try:
        network.setInput(blob)
        return [np.asarray(output) for output in network.forward(network.getUnconnectedOutLayersNames())]
    except cv2.error as error:
        width, height = preparation.size
        remedy = f'state its size in {path.with_suffix(".json").name}: {{"size": [width, height]}}'
        raise DataError(f"OpenCV cannot run it at {width}x{height}: {error.err}", where=path, remedy=remedy) from error


def _graph(path: Path) -> np.ndarray:
    """Return the bytes of the .pbtxt file that goes with a frozen graph; none if there is no such file."""
    same = path.with_suffix(".pbtxt")
    others = sorted(path.parent.glob("*.pbtxt"))
    graph = same if same.exists() else others[0] if len(others) == 1 else None
    return np.frombuffer(read_regular(graph, _MAX_CONFIG_BYTES) if graph else b"", np.uint8)


def _read_preparation(path: Path) -> _Preparation:
    sidecar = path.with_suffix(".json")
    stated = read_object(sidecar, "see docs/own_scans.md") if sidecar.exists() else {}
    check(stated, _SIDECAR, sidecar, 'like {"labels": ["person", "chair"], "size": [640, 640], "scale": 0.0039}')
    is_onnx = path.suffix == ".onnx"
    labels = stated.get("labels", [])
    numbered = list(labels.items() if isinstance(labels, dict) else enumerate(labels))
    if not all(str(number).isdecimal() for number, _ in numbered):
        raise DataError("`labels` has a name that is not a number", where=sidecar, remedy='like {"62": "chair"}')
    width, height = stated.get("size", [640, 640] if is_onnx else [300, 300])
    scale = stated.get("scale", 1 / 255 if is_onnx else 1.0)
    return _Preparation((width, height), scale, stated.get("mean", 0.0), {int(n): name for n, name in numbered})


def _distinct(boxes: np.ndarray, scores: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return indices of the boxes that overlap no better one of their class."""
    import cv2

    if not len(boxes):
        return np.zeros(0, np.int64)
    apart = boxes + 2 * numbers[:, None]  # boxes of different classes never overlap
    sides = np.concatenate([apart[:, :2], apart[:, 2:] - apart[:, :2]], 1)
    return np.asarray(cv2.dnn.NMSBoxes(sides.tolist(), scores.tolist(), DEFAULT_SCORE, _SAME_IOU)).reshape(-1)
