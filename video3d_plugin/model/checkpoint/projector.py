"""mm_projector.bin: the projector alone, as LLaVA-NeXT saves a stage that trains nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from video3d_plugin.errors import DataError, MissingError, joined_names
from video3d_plugin.model.checkpoint.checks import check_finite, read_bin, shapes_of
from video3d_plugin.model.distributed import zero3

_PART = "mm_projector."
_REMEDY = "name the mm_projector.bin of a stage with this --mm_projector_type, tower and language model"


@torch.no_grad()
def load_projector(model: Any, path: Path) -> None:
    """Copy the weights of an mm_projector.bin into a model's projector.

    Args:
        model: A Video3DForCausalLM, changed in place.
        path: The file. Its names hold "mm_projector."; others are an error.

    Raises:
        MissingError: There is no such file.
        DataError: It is damaged, or does not hold this projector.
    """
    if not path.is_file():
        raise MissingError("no projector here", where=path, remedy=_REMEDY)
    shapes_of(path)
    tensors = read_bin(path)
    check_finite(tensors, path)
    stored = {name.rpartition(_PART)[2] if _PART in name else name: value for name, value in tensors.items()}
    places = dict(model.get_model().mm_projector.named_parameters())
    odd = [name for name in {**stored, **places} if (name in stored) != (name in places)]
    odd += [n for n in stored if n in places and stored[n].shape != zero3.whole_shape(places[n])]
    if odd:
        what = f"does not hold this projector: missing, unexpected or of another shape: {joined_names(sorted(odd))}"
        raise DataError(what, where=path, remedy=_REMEDY)
    with zero3.gathered(places.values()):
        for name, value in stored.items():
            if places[name].numel():  # gathered, or not sharded
                places[name].copy_(value)
    prefix = f"model.{_PART}"
    model.initialised_parts = [part for part in model.initialised_parts if not part.startswith(prefix)]
