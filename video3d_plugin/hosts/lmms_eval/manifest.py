"""The `lmms_eval.models` entry point: what `lmms-eval --model video3d` loads. Imports no model code."""

from __future__ import annotations

from typing import Any


def manifests() -> list[Any]:
    """Return the models of this package. lmms-eval calls this whenever it builds its model registry."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return [
        ModelManifest(
            model_id="video3d",
            simple_class_path="video3d_plugin.hosts.lmms_eval.model.Video3DLmms",
        )
    ]
