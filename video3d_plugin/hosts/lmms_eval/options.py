"""The options of `lmms-eval --model video3d --model_args ...`, checked once, as one frozen record."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from video3d_plugin.errors import Video3DError
from video3d_plugin.inputs_spec import COORDINATE_DTYPES

AUTO_BATCH_SIZE = 16
DTYPES = ("auto", "float32", "bfloat16", "float16")
PROPOSALS = ("pred", "gt")
PREFIX_ATTENTION = ("cascade", "expanded")
ATTENTION = ("sdpa", "eager", "flash_attention_2")
ALLOWED = {
    "prefix_attention": PREFIX_ATTENTION,
    "dtype": DTYPES,
    "attn_implementation": (*ATTENTION, None),
    "coordinate_dtype": (*COORDINATE_DTYPES, None),
    "engine": (None, "vllm"),
}
MINI = "mini"  # `pretrained=mini`; a folder of this name is ./mini
_DEVICE = re.compile(r"(?:cpu|mps|(?:cuda|xpu|npu)(?::\d{1,3})?)")


def _no_effect_on_answers(default: Any) -> Any:
    """A field that affects speed or paths, but not the answers."""
    return field(default=default, metadata={"affects_answers": False})


@dataclass(frozen=True)
class ModelOptions:
    """Arguments of `--model video3d`: those of --model_args, and those that lmms-eval adds itself.

    Attributes:
        pretrained: Checkpoint folder, or a name on the hub; "mini" for the small checkpoint that the package ships.
        data: Data folder; overrides VIDEO3D_DATA.
        batch_size: Questions answered at a time. With 1, an answer does not depend on what else is asked.
        max_frames: At most this many frames of a scene. None: as in the checkpoint's training (training.json), else
            32, as the published weights were trained.
        sampler: Name of the frame sampler. None: as in the checkpoint's training, else uniform.
        proposals: "pred" (the scene's predicted boxes), "gt" (its annotated boxes), or NAME or NAME:ARGUMENT of a
            proposal maker, which looks at each scene's frames.
        dtype: auto, float32, bfloat16 or float16.
        attn_implementation: sdpa, eager or flash_attention_2; None for the best that is installed.
        lora: Folder of a LoRA adapter.
        prefix_attention: "cascade", or "expanded" (slower: copies the scene's cache for each question).
        coordinate_dtype: float32, float16 or bfloat16: the format to which coordinates are rounded. None: that of the
            checkpoint, and float16 for a published one.
        clamp_points: Whether points are clamped to the extent of the scan's surface voxels, as the reference does where
            its frame sampling strategy has `norm`. None: as the checkpoint's config.json says.
        engine: "vllm" to answer text questions through vLLM; None: by the model itself.
        engine_model: With an engine in this process: folder that `video3d export --format vllm` wrote. With a server:
            the name under which it serves the folder; None for the only one.
        engine_url: Address of a vLLM server; None for an engine in this process.
        engine_options: JSON file with engine arguments of vLLM, for an engine in this process.
        engine_grounding: Whether grounding questions go through the pooling interface of a second engine in this
            process; False: the model itself scores them.
        device: cpu, cuda or cuda:N; None for this rank's GPU if there is one.
    """

    pretrained: str
    data: str | None = _no_effect_on_answers(None)  # its contents have a fingerprint of their own
    batch_size: int = _no_effect_on_answers(1)
    max_frames: int | None = None
    sampler: str | None = None
    proposals: str = "pred"
    dtype: str = "auto"
    attn_implementation: str | None = None
    lora: str | None = None
    prefix_attention: str = "cascade"
    coordinate_dtype: str | None = None
    clamp_points: bool | None = None
    engine: str | None = None
    engine_model: str | None = None
    engine_url: str | None = _no_effect_on_answers(None)
    engine_options: str | None = None
    engine_grounding: bool = False
    device: str | None = _no_effect_on_answers(None)

    @classmethod
    def from_model_args(cls, model_args: Mapping[str, Any]) -> ModelOptions:
        """Check the arguments, before anything is loaded.

        Args:
            model_args: Arguments of --model_args, and those that lmms-eval adds.

        Raises:
            Video3DError: An argument is missing, unknown or has a value that is not allowed.
        """
        values = dict(model_args)
        max_batch_size = values.pop("max_batch_size", None)
        names = [option.name for option in fields(cls)]
        for name in values:
            if name not in names:
                guess = difflib.get_close_matches(name, names, n=1)
                hint = f"did you mean {guess[0]}?" if guess else f"known: {', '.join(names)}"
                raise Video3DError(f"--model_args {name} is not known ({hint})")
        if values.get("pretrained") is None:
            raise Video3DError("--model video3d needs a checkpoint (--model_args pretrained=FOLDER)")
        if values["pretrained"] == MINI:
            from video3d_plugin.loading import default_checkpoint

            values["pretrained"] = str(default_checkpoint())
        for name, allowed in ALLOWED.items():
            if values.get(name, allowed[0]) not in allowed:
                raise Video3DError(f"{name}={values[name]} is not known (known: {', '.join(filter(None, allowed))})")
        if values.get("clamp_points") not in (None, True, False):
            raise Video3DError(f"clamp_points={values['clamp_points']} is not known (known: True, False)")
        if values.get("device") is not None and not _DEVICE.fullmatch(str(values["device"])):
            raise Video3DError(f"device={values['device']} is not known (known: cpu, cuda, cuda:N)")
        if (
            values.get("lora") is not None
            and not (Path(str(values["lora"])).expanduser() / "adapter_config.json").is_file()
        ):
            raise Video3DError(f"lora={values['lora']}: no adapter_config.json there (name the adapter's folder)")
        _check_engine(values)
        values["proposals"] = known_proposals(str(values.get("proposals", "pred")))
        if values.get("max_frames") is not None:
            values["max_frames"] = _positive("max_frames", values["max_frames"])
        if values.get("sampler") is not None:
            values["sampler"] = known_sampler(str(values["sampler"]))
        values["batch_size"] = _batch_size(values.get("batch_size", 1), max_batch_size)
        return cls(**values)

    def resolved(self, sampler: str, max_frames: int) -> ModelOptions:
        """Return the options with the sampler and the number of frames that are in use.

        Args:
            sampler: Name of the frame sampler.
            max_frames: Maximum number of frames of a scene.
        """
        return replace(self, sampler=known_sampler(sampler), max_frames=max_frames)

    def fingerprint(self, checkpoint: str, dtype: str, add_ons: Sequence[str] = ()) -> str:
        """Digest everything that an answer depends on except the data, for the keys of the response cache.

        Args:
            checkpoint: Fingerprint of the files of the checkpoint and of its adapter.
            dtype: Number format of the loaded weights.
            add_ons: Identity and version of the model class and the sampler, where add-ons provide them.

        Returns:
            16 hex digits.
        """
        relevant = {option.name for option in fields(self) if option.metadata.get("affects_answers", True)}
        options = {name: value for name, value in asdict(self).items() if name in relevant - {"pretrained", "lora"}}
        content = {
            "checkpoint": checkpoint,
            **options,
            "dtype": dtype,
            **({"add_ons": list(add_ons)} if add_ons else {}),
        }
        text = json.dumps(content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check_engine(values: dict[str, Any]) -> None:
    """Check the options of the engine against each other."""
    given = [name for name in values if name.startswith("engine") and values[name] not in (None, False)]
    if values.get("engine") is None:
        if given:
            raise Video3DError(f"{given[0]}={values[given[0]]} has no effect without an engine (add engine=vllm)")
        return
    grounding = values.get("engine_grounding", False)
    if not isinstance(grounding, bool):
        raise Video3DError(f"engine_grounding={grounding} is neither True nor False")
    if values.get("engine_url") is not None:
        from video3d_plugin.engine.server import check_url

        check_url(str(values["engine_url"]))
        for name in ("engine_options", "engine_grounding"):
            if name in given:
                raise Video3DError(f"{name} is for an engine in this process (leave it out with engine_url)")
    elif values.get("engine_model") is None:
        remedy = "add engine_model=FOLDER, which `video3d export --format vllm` writes, or engine_url=http://HOST:PORT"
        raise Video3DError(f"engine=vllm has no weights ({remedy})")
    if values.get("prefix_attention", "cascade") != "cascade":
        raise Video3DError("prefix_attention has no effect on an engine (leave it out)")


def known_sampler(name: str) -> str:
    """Return the name of a sampler, if there is one of this name.

    Args:
        name: The name.

    Raises:
        Video3DError: There is no sampler of this name; the message lists the available ones.
    """
    from video3d_plugin.sampling import registry

    registry.get(name)
    return name


def known_proposals(source: str) -> str:
    """Return a source of proposals, if it is "pred", "gt", or NAME or NAME:ARGUMENT of a proposal maker.

    Args:
        source: The source.

    Raises:
        Video3DError: It is another; the message lists the known ones.
    """
    from video3d_plugin.data.proposals.registry import MAKERS

    name = source.partition(":")[0]
    if source not in PROPOSALS:
        if name not in MAKERS.names():
            raise Video3DError(f"proposals={source} is not known (known: {', '.join((*PROPOSALS, *MAKERS.names()))})")
        MAKERS.get(name)  # an add-on that cannot be loaded
    return source


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
