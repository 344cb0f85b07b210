"""Lets torchvision be imported where its binary does not load, such as a CUDA build beside a CPU torch.

`torchvision/_meta_registrations.py` registers shapes for `nms` and `qnms` whether or not the binary that defines
them could be loaded: "operator torchvision::nms does not exist". Defining the two schemas is enough to import it;
calling the operators still fails, as it must. lmms-eval and transformers' image processors import torchvision.
"""

from __future__ import annotations

from types import ModuleType

from video3d_plugin.patches.base import Patch

# The operators that torchvision 0.15 to 0.28 register unconditionally, with its own schemas (ops/boxes.py, csrc).
SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


class DefineOperators:
    """Define the operators of SCHEMAS that are not defined yet. The library object owns them and removes them."""

    def __init__(self) -> None:
        self._library = None

    def do(self) -> None:
        import torch

        self._library = torch.library.Library("torchvision", "FRAGMENT")
        for name in missing_operators():
            self._library.define(SCHEMAS[name])

    def can_undo(self) -> str | None:
        return None

    def undo(self) -> None:
        self._library._destroy()
        self._library = None


def missing_operators() -> list[str]:
    """Return the operators of SCHEMAS that are not defined in this process."""
    import torch

    return [name for name in SCHEMAS if not torch._C._jit_get_schemas_for_operator(f"torchvision::{name}")]


def not_needed(module: ModuleType) -> str | None:
    """Return why the patch is not needed where torchvision's binary is loaded, else None."""
    return "torchvision's operators load beside this torch" if module._has_ops() else None


PATCH = Patch(
    name="torchvision_operators",
    target="torchvision.extension",
    why="torchvision's binary does not load beside this torch; two operator schemas let it be imported",
    known={},
    changes=lambda module: [DefineOperators()],
    not_needed=not_needed,
)
