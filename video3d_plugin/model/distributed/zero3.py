"""DeepSpeed ZeRO-3: parameters are sharded over the ranks and must be gathered before they are read or written."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


def enabled() -> bool:
    """Return whether this process trains under ZeRO-3, according to transformers."""
    from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

    return bool(is_deepspeed_zero3_enabled())


def join_process_group() -> None:
    """Let DeepSpeed use the process group that torch has initialised.

    transformers initialises it for CPU runs without DeepSpeed's knowledge, which would then run as a single process.
    """
    if enabled() and torch.distributed.is_initialized():
        from deepspeed import comm

        if not comm.is_initialized():
            comm.init_distributed(dist_backend=torch.distributed.get_backend(), verbose=False)


def scattered(model: torch.nn.Module) -> bool:
    """Return whether the model's parameters are sharded, so that calling one of its modules is a collective."""
    return hasattr(next(model.parameters()), "ds_id")


def whole_shape(parameter: torch.nn.Parameter) -> torch.Size:
    """Return a parameter's full shape. Under ZeRO-3 its own `shape` is (0,)."""
    return getattr(parameter, "ds_shape", parameter.shape)


def gathered(parameters: Iterable[torch.nn.Parameter]) -> AbstractContextManager:
    """Gather parameters inside a context, to be written: all ranks receive what rank 0 writes to them.

    For models that no engine of DeepSpeed has yet, in which all parameters are sharded.

    Args:
        parameters: Parameters of one model. Those that are not sharded are left alone.
    """
    return _gathered([parameter for parameter in parameters if hasattr(parameter, "ds_id")], modifier_rank=0)


def gathered_to_read(parameters: Iterable[torch.nn.Parameter]) -> AbstractContextManager:
    """Gather parameters inside a context, to be read, in a model that is being trained.

    A parameter that is whole at the moment is left alone: DeepSpeed keeps small ones so, and after a checkpoint is
    loaded the others too. To shard it at the end of the context, behind the engine's back, would stop the next step.

    Args:
        parameters: Parameters of one model. Those that are not sharded are left alone.
    """
    away = [parameter for parameter in parameters if hasattr(parameter, "ds_id") and not _is_whole(parameter)]
    return _gathered(away, modifier_rank=None)


def _is_whole(parameter: torch.nn.Parameter) -> bool:
    status: Any = parameter.ds_status  # type: ignore[attr-defined]
    return status.name != "NOT_AVAILABLE"


def _gathered(parameters: list[torch.nn.Parameter], modifier_rank: int | None) -> AbstractContextManager:
    if not parameters:
        return nullcontext()
    import deepspeed

    return deepspeed.zero.GatheredParameters(parameters, modifier_rank=modifier_rank)
