"""The `lmms_eval.models` entry point: what `lmms-eval --model NAME` loads, for each registered model.

Imports no model code: add-ons of the entry-point group `video3d.models` are loaded when they are asked for.
"""

from __future__ import annotations

import re
import sys
import warnings
from typing import Any

_NAME = re.compile(r"[\w-]+")  # the last part of a dotted path


def manifests() -> list[Any]:
    """Return one manifest for each registered model.

    lmms-eval calls this when its model registry is built, in every run. An add-on whose name lmms-eval uses for a
    model of its own, or cannot use, is left out with a warning.
    """
    from lmms_eval.models.registry_v2 import ModelManifest

    from video3d_plugin.model.registry import BASE, MODELS

    made = [ModelManifest(model_id=BASE, simple_class_path="video3d_plugin.hosts.lmms_eval.model.Video3DLmms")]
    taken = _models_of_lmms_eval()
    for name in MODELS.names():
        if name == BASE:
            continue
        if name in taken or not _NAME.fullmatch(name):
            reason = "lmms-eval has a model of this name" if name in taken else "lmms-eval cannot take this name"
            warnings.warn(
                f"model {name!r} ({MODELS.source(name)}): {reason}; use --model {BASE} with its checkpoints",
                stacklevel=2,
            )
            continue
        path = f"video3d_plugin.hosts.lmms_eval.registered_models.{name}"
        made.append(ModelManifest(model_id=name, simple_class_path=path))
    return made


def _models_of_lmms_eval() -> set[str]:
    """Names that lmms-eval lists itself; its module is being imported when this is asked."""
    module = sys.modules.get("lmms_eval.models")
    tables = ("AVAILABLE_SIMPLE_MODELS", "AVAILABLE_CHAT_TEMPLATE_MODELS")
    return {name for table in tables for name in getattr(module, table, ())}
