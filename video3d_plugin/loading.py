"""Opens a checkpoint for `load_model`: device, number format, adapter, and the frames that it was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video3d_plugin.arguments import check_kind, check_one_of, check_path, check_text
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.inputs_spec import COORDINATE_DTYPES

if TYPE_CHECKING:
    import torch

    from video3d_plugin.model.modeling import Video3DForCausalLM
    from video3d_plugin.model.processing import Video3DProcessor

MAX_FRAMES = 32
SAMPLER = "uniform"
VIEW = ("sampler", "max_frames", "coordinate_dtype")  # how a training saw scenes, in its training.json
PUBLISHED_COORDINATES = "float16"
NUMBER_FORMATS = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A model, its processor, and how scenes were sampled in its training.

    Attributes:
        model: The model, on its device.
        processor: The processor that belongs to it.
        sampler: Name of the frame sampler; "uniform" where the checkpoint names none.
        max_frames: Frames of a scene at most; 32 where the checkpoint gives no number.
    """

    model: Video3DForCausalLM
    processor: Video3DProcessor
    sampler: str = SAMPLER
    max_frames: int = MAX_FRAMES


def default_checkpoint() -> Path:
    """Return the folder of the small checkpoint that the package ships, which was trained on synthetic rooms.

    Raises:
        MissingError: The installation lacks it.
    """
    folder = Path(__file__).resolve().parent / "mini" / "checkpoint"
    if not (folder / "config.json").is_file():
        raise MissingError(
            "this installation has no small checkpoint",
            where=folder,
            remedy="name one (--model CHECKPOINT, or load_model(CHECKPOINT)): a folder that `video3d train` wrote, "
            "or published weights",
        )
    return folder


def load_checkpoint(
    path: str | Path | None = None,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    attn_implementation: str = "sdpa",
    lora: str | Path | None = None,
    model_class: str | None = None,
    coordinate_dtype: str | None = None,
    clamp_points: bool | None = None,
    **options: Any,
) -> LoadedCheckpoint:
    """Load model and processor; the arguments are those of `pipeline.load_model`.

    Returns:
        The model on its device, its processor, and its training's sampler and number of frames.

    Raises:
        ArgumentError: An argument has a wrong type.
        MissingError: The checkpoint or a file of it is missing.
        DataError: The checkpoint, the device or the number format cannot be used.
    """
    check_path("path", path, optional=True)
    check_path("lora", lora, optional=True)
    check_text("attn_implementation", attn_implementation)
    check_text("model_class", model_class, optional=True)
    if coordinate_dtype is not None:
        check_one_of("coordinate_dtype", coordinate_dtype, COORDINATE_DTYPES)
    check_kind("clamp_points", clamp_points, (bool, type(None)), "True or False")
    path = default_checkpoint() if path is None else path
    import torch

    check_kind("dtype", dtype, (str, torch.dtype, type(None)), f"one of {', '.join(NUMBER_FORMATS)}, or a torch.dtype")
    check_kind("device", device, (str, torch.device, type(None)), "text as cpu or cuda:0, or a torch.device")

    from video3d_plugin.model.checkpoint.folders import local_folders
    from video3d_plugin.model.checkpoint.loading import load_pair
    from video3d_plugin.model.checkpoint.lora import config_folder

    folder, adapter = local_folders(path, lora, options)
    if device is None and "device_map" not in options:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device is not None:
        _check_device(device)
    dtype = _number_format(dtype, device)
    view = trained_view(folder, adapter)
    trained_with = view.pop("coordinate_dtype", None)
    settings = folder if adapter is None else config_folder(adapter, folder)
    coordinates = coordinate_dtype or coordinates_without_a_key(settings, trained_with)
    given = {"dtype": dtype, "attn_implementation": attn_implementation, **options}
    given |= {} if coordinates is None else {"coordinate_dtype": coordinates}
    given |= {} if clamp_points is None else {"clamp_points": clamp_points}
    if device is not None and (options.get("load_in_4bit") or options.get("load_in_8bit")):
        given["device_map"] = {"": device}  # quantised weights are made where they stay
    model, processor = load_pair(folder, lora=adapter, model_class=model_class, **given)
    if device is not None and not getattr(model, "is_quantized", False):
        model = model.to(device)
    return LoadedCheckpoint(model, processor, **view)


def coordinates_without_a_key(folder: Path, trained_with: str | None = None) -> str | None:
    """Return the number format of coordinates for a config.json that names none.

    Args:
        folder: Folder with the configuration.
        trained_with: The format that training.json names.

    Returns:
        The one of the training. Without it "float16" for a config.json of LLaVA-NeXT, since the evaluation of
        LaVi-Lab/Video-3D-LLM, which made the printed numbers, casts coordinates to it. None for other files, and where
        config.json names a format.
    """
    from video3d_plugin.config import HOST_MODEL_TYPES
    from video3d_plugin.files.checkpoint_json import read_checkpoint_json

    path = folder / "config.json"
    if not path.is_file():
        return None  # loading it is an error that says so
    content = read_checkpoint_json(path)
    if content.get("coordinate_dtype") is not None:
        return None
    return trained_with or (PUBLISHED_COORDINATES if content.get("model_type") in HOST_MODEL_TYPES else None)


def trained_view(folder: Path, adapter: Path | None = None) -> dict[str, Any]:
    """Read from training.json how scenes were sampled in the training.

    Args:
        folder: The checkpoint's folder.
        adapter: Folder of an adapter, whose training.json comes first.

    Returns:
        "sampler", "max_frames" and "coordinate_dtype", as far as one of the two files has them.

    Raises:
        DataError: A training.json cannot be read, or has other values there.
    """
    if adapter is not None and (view := trained_view(adapter)):
        return view
    path = folder / "training.json"
    if not path.is_file():
        return {}
    from video3d_plugin.files.json import read_json
    from video3d_plugin.files.schema import OneOf, Text, Whole, check, optional

    remedy = "delete it: it only records how the checkpoint was trained"
    content = read_json(path, dict, remedy)  # of any size, and with NaN where a loss was
    kinds = dict(zip(VIEW, (Text(256), Whole(1, 1 << 20), OneOf(COORDINATE_DTYPES)), strict=True))
    check(content, optional({"settings": optional(kinds)}), path, remedy)
    settings = content.get("settings") or {}
    return {name: settings[name] for name in VIEW if settings.get(name) is not None}


def _number_format(dtype: str | torch.dtype | None, device: str | torch.device | None) -> torch.dtype:
    """Return the torch.dtype of a name; by default bfloat16 where a GPU is used, else float32."""
    import torch

    if dtype is None:
        return torch.bfloat16 if torch.cuda.is_available() and device != "cpu" else torch.float32
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in NUMBER_FORMATS:
        raise DataError(f"dtype {dtype!r} is unknown", remedy=f"known: {', '.join(NUMBER_FORMATS)}")
    return getattr(torch, dtype)


def _check_device(device: str | torch.device) -> None:
    """Raise DataError if torch cannot put a tensor on the device; called before the weights are read."""
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ImportError) as error:  # which of them differs by device
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"device {str(device)!r} cannot be used: {reason:.100}",
            remedy="use cpu, or install a torch built for this GPU and its driver",
        ) from error
