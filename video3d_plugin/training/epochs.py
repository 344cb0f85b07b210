"""Each epoch draws anew: tells the data set which epoch begins.

The Trainer's data loader does that itself, but accelerate's passes it on to the sampler only where several processes
share a run (seen in 1.x): every epoch would be the first one over again.
"""

from __future__ import annotations

from typing import Protocol

from transformers import TrainerCallback


class DrawnByEpoch(Protocol):
    def set_epoch(self, epoch: int) -> None: ...


class TellEpoch(TrainerCallback):
    """Calls `set_epoch` of `items` at the start of every epoch, before an item of it is read."""

    def __init__(self, items: DrawnByEpoch):
        self._items = items

    def on_epoch_begin(self, args, state, control, **kwargs):
        self._items.set_epoch(int((state.epoch or 0) + 1e-6))
