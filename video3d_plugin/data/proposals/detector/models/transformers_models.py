"""Detectors of transformers: object detection, zero-shot detection, instance segmentation, mask generation.

Which of them a model is, its configuration says. Weights are read from safetensors files only, and no code of a model
repository runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from video3d_plugin.data.proposals.detector.models.detection import (
    DEFAULT_SCORE,
    Detection,
    Detector,
    box_shares,
    check_classes,
)
from video3d_plugin.data.proposals.detector.models.mask_generation import generate_masks
from video3d_plugin.data.proposals.detector.models.zero_shot import load_zero_shot
from video3d_plugin.errors import DataError, MissingError

if TYPE_CHECKING:
    from PIL import Image

SUPPORTED = "an object detector, a zero-shot detector, an instance segmentation or a mask generation model"
_SAFE: dict[str, Any] = {"trust_remote_code": False}


def load_transformers(model: str, classes: Sequence[str]) -> Detector:
    """Load a detector of transformers.

    Args:
        model: A local folder, or the name of a repository of the Hugging Face hub.
        classes: Names for a zero-shot detector, which needs them; for a model with classes, those to keep; () for all.

    Returns:
        The detector, on the first GPU if there is one.

    Raises:
        MissingError: The model cannot be read: it does not exist, the hub cannot be reached, it has no safetensors, or
            a library that it needs is missing.
        DataError: It is a model of another kind, or does not fit the classes.
    """
    from transformers import AutoConfig

    config = _read(model, lambda: AutoConfig.from_pretrained(model, **_SAFE))
    kind = _kind(config)
    if kind is None:
        names = ", ".join(config.architectures or ()) or config.model_type
        raise DataError(f"is a {names}, which is no detector", where=model, remedy=f"expected {SUPPORTED}")
    if kind == "mask-generation" and classes:
        raise DataError("generates masks without names", where=model, remedy="leave out --classes")
    if kind == "zero-shot-object-detection" and not classes:
        raise DataError("needs the names of the objects", where=model, remedy='add --classes "chair, table"')
    part: Any
    for part in (config, getattr(config, "backbone_config", None)):
        if getattr(part, "use_pretrained_backbone", False):
            part.use_pretrained_backbone = False  # the checkpoint holds the backbone: no second download
    if kind == "zero-shot-object-detection":
        return _read(model, lambda: load_zero_shot(model, config, classes, _device()))
    if classes:
        check_classes(classes, [str(name) for name in (config.id2label or {}).values()], model)
    run = _read(model, lambda: _pipeline(kind, model, config))
    detect = {"object-detection": _boxes, "image-segmentation": _instances, "mask-generation": generate_masks}[kind]
    return lambda image: [each for each in detect(run, image) if not classes or each.label in classes]


def _kind(config: Any) -> str | None:
    """Return the transformers task of a model's configuration; None for a model that is no detector."""
    from transformers.models.auto import modeling_auto as auto

    architectures = set(config.architectures or ())
    by_kind = {
        "zero-shot-object-detection": (auto.MODEL_FOR_ZERO_SHOT_OBJECT_DETECTION_MAPPING_NAMES,),
        "object-detection": (auto.MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES,),
        "image-segmentation": (
            auto.MODEL_FOR_INSTANCE_SEGMENTATION_MAPPING_NAMES,
            auto.MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES,
        ),
    }
    for kind, mappings in by_kind.items():
        if any(architectures & {mapping.get(config.model_type)} for mapping in mappings):
            return kind
    # SAM 2 names its video model, of which the image model is a part
    return "mask-generation" if config.model_type in auto.MODEL_FOR_MASK_GENERATION_MAPPING_NAMES else None


def _read(model: str, load: Callable[[], Any]) -> Any:
    """Call `load`; raise MissingError where transformers cannot read the model."""
    try:
        return load()
    except (DataError, MissingError):
        raise
    except ImportError as error:
        raise MissingError(f"needs a library: {_first_line(error)}", where=model) from error
    except Exception as error:  # transformers raises many types for a damaged or unreachable repository
        remedy = "give a folder with config.json, preprocessor_config.json and *.safetensors"
        if not Path(model).is_dir():
            remedy = f"check the name and the network, or {remedy}"
        raise MissingError(f"cannot be loaded: {_first_line(error)}", where=model, remedy=remedy) from error


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _pipeline(kind: str, model: str, config: Any) -> Any:
    import transformers

    pipeline: Any = transformers.pipeline  # its overloads name each task
    return pipeline(kind, model=model, config=config, device=_device(), model_kwargs={"use_safetensors": True}, **_SAFE)


def _device() -> str:
    import torch

    return "cuda:0" if torch.cuda.is_available() else "cpu"


def _boxes(run: Any, image: Image.Image) -> list[Detection]:
    sides = ("xmin", "ymin", "xmax", "ymax")
    return [
        Detection(each["label"], each["score"], box=box_shares([each["box"][side] for side in sides], image))
        for each in run(image, threshold=DEFAULT_SCORE)
    ]


def _instances(run: Any, image: Image.Image) -> list[Detection]:
    found = run(image, subtask="instance", threshold=DEFAULT_SCORE)
    return [Detection(each["label"], each["score"], mask=np.asarray(each["mask"]) > 0) for each in found]
