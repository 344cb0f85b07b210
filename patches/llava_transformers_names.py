"""Restores names that LLaVA-NeXT imports from transformers and that newer versions have moved or removed.

A name that was moved refers to the same object again; one that was removed becomes a function that raises when it is
called (LLaVA-NeXT imports these names, but does not call them for Qwen2).
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

from video3d_plugin.patches.base import Patch, Replace

# module that LLaVA-NeXT imports from -> name -> modules where newer transformers or accelerate keep it
MOVED: dict[str, dict[str, tuple[str, ...]]] = {
    "transformers.modeling_utils": {
        "apply_chunking_to_forward": ("transformers.pytorch_utils",),
        "find_pruneable_heads_and_indices": ("transformers.pytorch_utils",),
        "prune_linear_layer": ("transformers.pytorch_utils",),
    },
    "transformers.pytorch_utils": {"ALL_LAYERNORM_LAYERS": ()},
    "transformers.trainer": {
        "ALL_LAYERNORM_LAYERS": ("transformers.pytorch_utils",),
        "GradientAccumulationPlugin": ("accelerate.utils",),
        "get_parameter_names": ("transformers.trainer_pt_utils",),
        "has_length": ("transformers.trainer_utils",),
        "is_accelerate_available": ("transformers.utils",),
        "is_datasets_available": ("transformers.utils",),
        "is_sagemaker_mp_enabled": ("transformers.utils",),
    },
}


def missing() -> list[tuple[str, str]]:
    """Return (module, name) pairs that LLaVA-NeXT imports and the installed transformers lacks."""
    return [
        (module, name) for module, names in MOVED.items() for name in names if not _has(import_module(module), name)
    ]


def _has(module: ModuleType, name: str) -> bool:
    try:
        getattr(module, name)
    except (AttributeError, ImportError):  # transformers' lazy modules raise either
        return False
    return True


def changes(module: ModuleType) -> list[Replace]:
    return [Replace(import_module(where), name, _replacement(where, name)) for where, name in missing()]


def _replacement(where: str, name: str) -> Any:
    if name == "ALL_LAYERNORM_LAYERS":  # a list of layer classes whose weights LLaVA-NeXT does not decay
        from torch import nn

        return getattr(import_module("transformers.pytorch_utils"), name, [nn.LayerNorm])
    for place in MOVED[where][name]:
        module = import_module(place)
        if _has(module, name):
            return getattr(module, name)

    def gone(*args, **kwargs):
        import transformers

        raise NotImplementedError(f"transformers {transformers.__version__} has no {name} (4.45 to 4.57 do)")

    return gone


def not_needed(module: ModuleType) -> str | None:
    return None if missing() else f"transformers {module.__version__} has all names that LLaVA-NeXT imports"


PATCH = Patch(
    name="llava_transformers_names",
    target="transformers",
    before="llava",
    why="LLaVA-NeXT imports names that this transformers keeps elsewhere",
    known={},
    changes=changes,
    not_needed=not_needed,
)
