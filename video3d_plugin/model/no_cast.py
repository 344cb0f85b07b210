"""Values that hosts must hand to the model as they are."""

from __future__ import annotations

from typing import Any


class NoCast:
    """Wraps one entry of a batch, so that nothing converts it on its way to the model.

    Under DeepSpeed, transformers' Trainer casts every float tensor of a batch to the training's number format: in
    bfloat16 a coordinate of 5.06 m becomes 5.0625 m, and the voxel it is rounded to another. The model moves what it
    needs to its device by itself.
    """

    def __init__(self, value: Any):
        self.value = value

    def pin_memory(self) -> NoCast:
        return self  # called by torch's DataLoader; the large part (pixels) may lie in memory-mapped files


def unwrap(value: Any) -> Any:
    return value.value if isinstance(value, NoCast) else value
