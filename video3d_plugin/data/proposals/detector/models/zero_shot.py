"""Zero-shot detectors of transformers: OWL-ViT, OWLv2, Grounding DINO, OmDet-Turbo.

transformers' own pipeline runs the model once for each name; here all names of an image go through it at once.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from video3d_plugin.data.proposals.detector.models.detection import Detection, Detector, box_shares

if TYPE_CHECKING:
    from PIL import Image

_SCORE = 0.2  # scores of zero-shot models are lower than those of detectors with fixed classes
_PHRASE_MODELS = ("grounding-dino", "mm-grounding-dino")  # read the names as one text, and give back phrases of it


def load_zero_shot(model: str, config: Any, classes: Sequence[str], device: str) -> Detector:
    """Load a zero-shot detector.

    Args:
        model: A local folder, or the name of a repository of the Hugging Face hub.
        config: Its configuration.
        classes: Names of the objects, at least one.
        device: The torch device.

    Returns:
        The detector.

    Raises:
        Exception: Anything that transformers raises for a model that it cannot read.
    """
    import torch
    from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

    processor = AutoProcessor.from_pretrained(model, trust_remote_code=False)
    network = AutoModelForZeroShotObjectDetection.from_pretrained(
        model, config=config, trust_remote_code=False, use_safetensors=True
    )
    network.to(device).eval()
    text: Any = ". ".join(classes) + "." if config.model_type in _PHRASE_MODELS else [list(classes)]

    @torch.inference_mode()
    def detect(image: Image.Image) -> list[Detection]:
        inputs = processor(images=image, text=text, return_tensors="pt").to(device)
        found = _decode(processor, network(**inputs), inputs, image, classes)
        names = next(found[key] for key in ("text_labels", "classes", "labels") if found.get(key) is not None)
        return [
            Detection(name, float(score), box=box_shares(box.cpu(), image))
            for box, score, label in zip(found["boxes"], found["scores"], names, strict=True)
            if (name := _name(label, classes))
        ]

    return detect


def _decode(processor: Any, outputs: Any, inputs: Any, image: Image.Image, classes: Sequence[str]) -> dict[str, Any]:
    """Return transformers' boxes, scores and labels of the image; the arguments differ between models and versions."""
    decode = (
        getattr(processor, "post_process_grounded_object_detection", None) or processor.post_process_object_detection
    )
    offered: dict[str, Any] = {
        "input_ids": inputs.get("input_ids"),
        "threshold": _SCORE,
        "box_threshold": _SCORE,
        "text_threshold": _SCORE,
        "target_sizes": [(image.height, image.width)],
        "text_labels": [list(classes)],
        "classes": [list(classes)],
    }
    accepted = inspect.signature(decode).parameters
    if "text_labels" in accepted:
        offered.pop("classes")
    if "threshold" in accepted:
        offered.pop("box_threshold")
    return decode(outputs, **{name: value for name, value in offered.items() if name in accepted})[0]


def _name(label: Any, classes: Sequence[str]) -> str:
    """Return the class that a label stands for; "" if none: it is a number, a name, or a phrase that shares words."""
    if not isinstance(label, str):
        return classes[int(label)]
    if label in classes:
        return label
    words = set(label.split())
    shared = [len(words & set(name.lower().split())) / len(name.split()) for name in classes]
    return classes[int(np.argmax(shared))] if max(shared) > 0 else ""
