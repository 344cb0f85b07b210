"""The options of `lmms-eval --model video3d --model_args ...`, checked once, as one frozen record."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from video3d_plugin.errors import Video3DError

AUTO_BATCH_SIZE = 16
DTYPES = ("auto", "float32", "bfloat16", "float16")
PROPOSALS = ("pred", "gt")
PREFIX_ATTENTION = ("cascade", "expanded")


def _no_effect_on_answers(default: Any) -> Any:
    """A field that changes how fast answers come, or where files lie, but not the answers."""
    return field(default=default, metadata={"affects_answers": False})


@dataclass(frozen=True)
class ModelOptions:
    """Arguments of `--model video3d`: those of --model_args, and those that lmms-eval adds itself.

    Attributes:
        pretrained: Checkpoint folder, or a name on the hub.
        data: Data folder; overrides VIDEO3D_DATA.
        batch_size: Questions answered at a time. With 1, an answer does not depend on what else is asked.
        max_frames: At most this many frames of a scene. None: as in the checkpoint's training (training.json), else
            32, as the published weights were trained.
        sampler: Name of the frame sampler. None: as in the checkpoint's training, else uniform.
        proposals: "pred" (the scene's predicted boxes) or "gt" (its annotated boxes).
        dtype: auto, float32, bfloat16 or float16.
        attn_implementation: sdpa, eager or flash_attention_2; None for the best that is installed.
        lora: Folder of a LoRA adapter.
        prefix_attention: "cascade", or "expanded" (slower: copies the scene's cache for each question).
        device: cpu, cuda or cuda:N; None for this rank's GPU if there is one.
    """

    pretrained: str
    data: str | None = _no_effect_on_answers(None)  # what it holds is fingerprinted by itself
    batch_size: int = _no_effect_on_answers(1)
    max_frames: int | None = None
    sampler: str | None = None
    proposals: str = "pred"
    dtype: str = "auto"
    attn_implementation: str | None = None
    lora: str | None = None
    prefix_attention: str = "cascade"
    device: str | None = _no_effect_on_answers(None)

    @classmethod
    def from_model_args(cls, model_args: Mapping[str, Any]) -> ModelOptions:
        """Check the arguments, before anything is loaded.

        Raises:
            Video3DError: An argument is missing, unknown or has a value that is not allowed.
        """
        given = dict(model_args)
        max_batch_size = given.pop("max_batch_size", None)
        known = [option.name for option in fields(cls)]
        for name in given:
            if name not in known:
                guess = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {guess[0]}?" if guess else f"known: {', '.join(known)}"
                raise Video3DError(f"--model_args {name} is not known ({hint})")
        if given.get("pretrained") is None:
            raise Video3DError("--model video3d needs a checkpoint (--model_args pretrained=FOLDER)")
        for name, allowed in (("proposals", PROPOSALS), ("prefix_attention", PREFIX_ATTENTION), ("dtype", DTYPES)):
            if given.get(name, allowed[0]) not in allowed:
                raise Video3DError(f"{name}={given[name]} is not known (known: {', '.join(allowed)})")
        if given.get("max_frames") is not None:
            given["max_frames"] = _positive("max_frames", given["max_frames"])
        if given.get("sampler") is not None:
            given["sampler"] = known_sampler(str(given["sampler"]))
        given["batch_size"] = _batch_size(given.get("batch_size", 1), max_batch_size)
        return cls(**given)

    def resolved(self, sampler: str, max_frames: int) -> ModelOptions:
        """The options with what the checkpoint's training decided filled in."""
        return replace(self, sampler=known_sampler(sampler), max_frames=max_frames)

    def fingerprint(self, checkpoint: str, dtype: str, add_ons: Sequence[str] = ()) -> str:
        """Identify everything that an answer depends on, beside the data: a part of the response cache's keys.

        Args:
            checkpoint: Fingerprint of the files of the checkpoint and of its adapter.
            dtype: Number format of the loaded weights.
            add_ons: Identity and version of the model class and the sampler, where add-ons provide them.
        """
        seen = {option.name for option in fields(self) if option.metadata.get("affects_answers", True)}
        options = {name: value for name, value in asdict(self).items() if name in seen - {"pretrained", "lora"}}
        content = {
            "checkpoint": checkpoint,
            **options,
            "dtype": dtype,
            **({"add_ons": list(add_ons)} if add_ons else {}),
        }
        text = json.dumps(content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def known_sampler(name: str) -> str:
    """The sampler's name.

    Raises:
        Video3DError: No sampler has this name; the message lists those there are.
    """
    from video3d_plugin.sampling import registry

    registry.get(name)
    return name


def _batch_size(batch_size: int | str, max_batch_size: Any) -> int:
    """A number; `auto` starts with max_batch_size (or 16) and is halved when memory runs out."""
    if isinstance(batch_size, str) and batch_size.startswith("auto"):
        return _positive("max_batch_size", max_batch_size or AUTO_BATCH_SIZE)
    return _positive("batch_size", batch_size)


def _positive(name: str, value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = 0
    if number < 1 or isinstance(value, bool) or (isinstance(value, float) and value != number):
        raise Video3DError(f"{name}={value} is not a whole number above 0")
    return number
