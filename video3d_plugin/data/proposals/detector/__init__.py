"""The maker "detector": a detector of images runs on frames, its masks are lifted by depth and pose and merged.

The argument is MODEL[;classes=NAME, NAME]. MODEL is a folder or a Hugging Face name of a model of transformers, or an
.onnx or .pb file that OpenCV reads. Names may be separated by | as well, for places where a comma ends the argument
(lmms-eval's --model_args).
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from tqdm import tqdm

from video3d_plugin.data.frames import open_color, read_depth_m
from video3d_plugin.data.proposals.detector.lifting import View
from video3d_plugin.data.proposals.detector.models.detection import Detector
from video3d_plugin.data.proposals.detector.models.opencv_dnn import ENDINGS, load_opencv
from video3d_plugin.data.proposals.detector.models.transformers_models import load_transformers
from video3d_plugin.data.proposals.detector.shared_surface import LiftedDetection, SharedSurface
from video3d_plugin.data.proposals.maker import Proposals
from video3d_plugin.errors import DataError, MissingError, quoted
from video3d_plugin.scene import Scene

MAX_FRAMES = 40  # spread evenly over the scan
MAX_DETECTIONS = 64  # of a frame, best first: all pairs of masks are compared
_CLASSES = ";classes="
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")


class DetectorMaker:
    """Makes proposals with a detector of images; a `ProposalMaker` that can read its model before the first call."""

    def __init__(self) -> None:
        self._loaded: dict[str, Detector] = {}

    def preload(self, argument: str) -> None:
        """Load the detector of an argument, MODEL[;classes=NAME, NAME], and keep it for all calls.

        Raises:
            DataError: The argument or the model cannot be used.
            MissingError: The model does not exist or cannot be read.
        """
        self._loaded[argument] = load_detector(*parse_argument(argument))

    def __call__(self, scene: Scene, limit: int, argument: str) -> Proposals:
        """Make proposals.

        Args:
            scene: The scene; up to 40 of its frames are decoded.
            limit: Largest number of boxes.
            argument: MODEL[;classes=NAME, NAME].

        Raises:
            DataError: The argument or the model cannot be used, or a frame cannot be decoded.
            MissingError: The model does not exist or cannot be read.
        """
        model, classes = parse_argument(argument)
        detect = self._loaded.get(argument) or load_detector(model, classes)
        chosen = np.unique(np.linspace(0, len(scene.frames) - 1, MAX_FRAMES).astype(int))
        frames = [scene.frames[index] for index in chosen]
        views = [
            View(read_depth_m(frame), frame.depth_intrinsics, scene.world_from_scan @ frame.scan_from_camera)
            for frame in frames
        ]
        surface = SharedSurface(views)
        detections: list[LiftedDetection] = []
        for number, frame in enumerate(tqdm(frames, "detecting objects", disable=None)):
            best = sorted(detect(open_color(frame)), key=lambda found: -found.score)[:MAX_DETECTIONS]
            detections += [surface.lift(number, detection) for detection in best]
        objects = surface.merge(detections)[:limit]
        note = f"proposals are of the detector {Path(model).name}: {len(detections)} detections in {len(frames)} frames"
        return Proposals(
            np.array([found.box for found in objects], np.float32).reshape(-1, 6),
            np.array([found.score for found in objects], np.float32),
            tuple(found.label for found in objects) if any(found.label for found in objects) else (),
            tuple(tuple(frames[view].name for view in found.views) for found in objects),
            note,
        )


make_proposals = DetectorMaker()


def parse_argument(argument: str) -> tuple[str, tuple[str, ...]]:
    """Split MODEL[;classes=NAME, NAME] into the model and the names.

    Raises:
        DataError: There is no model, or an empty list of names.
    """
    model, given, names = argument.partition(_CLASSES)
    classes = tuple(dict.fromkeys(name.strip() for name in re.split(r"[,|]", names) if name.strip()))
    if not model.strip():
        remedy = "detector:MODEL with a folder or Hugging Face name of a transformers model, or an .onnx or .pb file"
        raise DataError("proposals=detector names no model", remedy=remedy)
    if given and not classes:
        raise DataError("no names of objects", where=model, remedy='for example --classes "chair, table"')
    return model.strip(), classes


def load_detector(model: str, classes: tuple[str, ...]) -> Detector:
    """Load a detector of images.

    Args:
        model: A file that OpenCV reads, a local folder, or the name of a repository of the Hugging Face hub.
        classes: Names of objects; () for all that the model knows.

    Raises:
        DataError: The model cannot be used.
        MissingError: It does not exist or cannot be read.
    """
    if model.endswith(ENDINGS):
        return load_opencv(Path(model), classes)
    if not Path(model).is_dir() and not _HUB_NAME.fullmatch(model):
        remedy = "give a folder or Hugging Face name of a transformers model, or an .onnx or .pb file"
        raise MissingError(f"there is no such detector: {quoted(model)}", remedy=remedy)
    return load_transformers(model, classes)
