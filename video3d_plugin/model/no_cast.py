"""Batch entries that a host must pass to the model without casting them."""

from __future__ import annotations

from typing import Any


class NoCast:
    """Wraps a batch entry so that the Trainer neither casts nor moves it.

    Under DeepSpeed, transformers' Trainer casts every float tensor of a batch to the training's number format. In
    bfloat16 a coordinate of 5.06 m becomes 5.0625 m, which may round to another voxel. The model moves the tensors that
    it needs to its device itself.

    Args:
        value: The entry.
    """

    def __init__(self, value: Any):
        self.value = value

    def pin_memory(self) -> NoCast:
        """Return itself; torch's DataLoader calls this, but the pixels may be memory-mapped files."""
        return self


def unwrap(value: Any) -> Any:
    """Return the entry that a NoCast holds, or the value itself."""
    return value.value if isinstance(value, NoCast) else value
