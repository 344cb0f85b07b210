"""Sizes of vision towers: of known ones, or from a SigLIP config.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from video3d_plugin.config.schema import VISION, VISION_SIZES
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files.checkpoint_json import read_checkpoint_json
from video3d_plugin.files.schema import check, optional

# The tower of the published checkpoints, so that its sizes are known without a network.
# Source: google/siglip-so400m-patch14-384, config.json.
KNOWN_TOWERS: dict[str, dict[str, int]] = {
    "google/siglip-so400m-patch14-384": {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "image_size": 384,
        "patch_size": 14,
    },
}


def tower_sizes(name: str | None, beside: str | Path | None = None) -> dict[str, Any]:
    """Read the sizes of a vision tower.

    Args:
        name: A known hub name, a local folder (absolute, or relative to the working folder or to `beside`), or a hub
            name in the local cache.
        beside: The checkpoint's folder.

    Returns:
        Arguments of SiglipVisionConfig.

    Raises:
        MissingError: The tower is not found.
        DataError: There is no name, or the tower is not SigLIP.
    """
    if not name:
        raise DataError("the configuration names no vision tower", remedy="set mm_vision_tower or vision_config")
    folder = tower_folder(name, beside)
    if folder is not None:
        return _siglip_sizes(folder / "config.json")
    if name in KNOWN_TOWERS:
        return dict(KNOWN_TOWERS[name])
    from transformers.utils.hub import cached_file

    try:
        path = cached_file(name, "config.json")
        assert path is not None  # it raises rather than return None, unless told otherwise
        return _siglip_sizes(Path(path))
    except (OSError, ValueError) as error:  # the second for what can be no hub name
        raise MissingError(
            f"vision tower {name!r:.80} is no local folder, and the hub or its cache did not give its config.json",
            remedy="set mm_vision_tower to a folder with a SigLIP model, or vision_config to its sizes",
        ) from error


def tower_folder(name: str, beside: str | Path | None = None) -> Path | None:
    """Return the local folder that `name` refers to, or None for a hub name.

    Args:
        name: A folder or a hub name.
        beside: A folder that a relative name may lie in, besides the working folder.
    """
    candidates = [Path(name).expanduser()] + ([Path(beside) / name] if beside else [])
    return next((path for path in candidates if (path / "config.json").is_file()), None)


def _siglip_sizes(path: Path) -> dict[str, Any]:
    content = read_checkpoint_json(path, remedy="give a SigLIP vision tower")
    kind = content.get("model_type")
    sizes = content.get("vision_config", {}) if kind == "siglip" else content
    if kind not in ("siglip", "siglip_vision_model"):
        raise DataError(f"model_type is {kind!r}, not SigLIP", where=path, remedy="give a SigLIP vision tower")
    if not isinstance(sizes, dict):
        raise DataError("vision_config is no object", where=path, remedy="give a SigLIP vision tower")
    check(sizes, optional(VISION), path, "give a SigLIP vision tower")
    extra = ("num_channels", "hidden_act", "layer_norm_eps", "attention_dropout")
    from transformers import SiglipVisionConfig

    defaults = SiglipVisionConfig().to_dict()  # what SigLIP's files leave out because it is the default
    required = {key: sizes.get(key, defaults[key]) for key in VISION_SIZES}
    return {**required, **{key: sizes[key] for key in extra if key in sizes}}
