"""Finds a checkpoint's folder and the weight files in it, and reads names and shapes of the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from video3d_plugin.errors import DataError, MissingError, joined_names, quoted
from video3d_plugin.files.checkpoint_json import DOWNLOAD, LARGE_BYTES, read_checkpoint_json
from video3d_plugin.files.schema import Text, check, fits
from video3d_plugin.model.checkpoint.adapter import read_adapter
from video3d_plugin.model.checkpoint.checks import shapes_of
from video3d_plugin.model.checkpoint.hub import snapshot, split_revision

_INDEX = {"model.safetensors": "model.safetensors.index.json", "pytorch_model.bin": "pytorch_model.bin.index.json"}


def local_folders(
    path: str | Path, lora: str | Path | None = None, options: dict[str, Any] | None = None
) -> tuple[Path, Path | None]:
    """Find the folders of a checkpoint and an adapter.

    Args:
        path: A checkpoint's folder, an adapter's folder, which is used with its base checkpoint, or a hub name.
        lora: An adapter's folder.
        options: `revision`, `cache_dir` and `token` for the hub.

    Returns:
        The checkpoint's folder; the adapter's folder or None.
    """
    folder = local_folder(path, options)
    if lora is not None:
        return folder, Path(lora).expanduser()
    if not (folder / "adapter_config.json").is_file() or _has_weights(folder):
        return folder, None
    return local_folder(read_adapter(folder).base, options), folder


def local_folder(path: str | Path, options: dict[str, Any] | None = None) -> Path:
    """Return a folder itself, or the local snapshot of a hub name.

    Args:
        path: A folder or a hub name, `owner/name` or `owner/name@revision`.
        options: `revision`, `cache_dir` and `token` for the hub.

    Raises:
        MissingError: There is no such folder, and neither the hub nor its cache has the name.
    """
    folder = Path(path).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_absolute() or str(path).startswith((".", "~")) or str(path).count("/") != 1:
        raise MissingError("no such checkpoint folder", where=path, remedy="give a folder, or a hub name `owner/name`")
    hub: dict[str, Any] = {name: (options or {}).get(name) for name in ("revision", "cache_dir", "token")}
    name, revision = split_revision(str(path))
    return snapshot(name, **{**hub, "revision": revision or hub["revision"]})


def weight_files(folder: Path) -> list[Path]:
    """Return the weight files of a checkpoint, safetensors rather than .bin.

    Raises:
        MissingError: There are none, or a shard is missing.
        DataError: The index of the shards cannot be used.
    """
    for single, index in _INDEX.items():
        if (folder / index).is_file():
            names = _shards(folder / index)
            missing = [name for name in names if not (folder / name).is_file()]
            if missing:
                raise MissingError(
                    f"{len(missing)} of {len(names)} shards are missing: {joined_names(missing)}",
                    where=folder,
                    remedy="download them again",
                )
            return [folder / name for name in names]
        if (folder / single).is_file():
            return [folder / single]
    raise MissingError(
        "no weights here", where=folder, remedy="a checkpoint has model.safetensors or pytorch_model.bin, or shards"
    )


def _shards(index: Path) -> list[str]:
    """Return the files that an index lists; they must lie in its folder."""
    content = read_checkpoint_json(index, LARGE_BYTES)
    names = content.get("weight_map")
    if not isinstance(names, dict) or not names:
        raise DataError("no weight_map here", where=index, remedy="download it again")
    for name in names.values():
        if not fits(name, Text(255, is_path=True)) or name == ".." or Path(name).name != name:
            raise DataError(
                f"names {quoted(name)}, which is no file beside it", where=index, remedy="do not use this folder"
            )
    # transformers reads this, too
    check(content, {"metadata": {}}, index, DOWNLOAD)
    return sorted(set(names.values()))


def _has_weights(folder: Path) -> bool:
    return any((folder / name).is_file() for pair in _INDEX.items() for name in pair)


def weight_shapes(folder: Path, floats: bool = True) -> dict[str, tuple[int, ...]]:
    """Read names and shapes of all stored tensors.

    Args:
        folder: The checkpoint.
        floats: Require floating-point tensors; False for quantised weights.

    Raises:
        DataError: A file cannot be used, or two shards hold the same tensor.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for path in weight_files(folder):
        in_file = shapes_of(path, floats)
        if twice := shapes.keys() & in_file.keys():
            raise DataError(
                f"holds again what another shard holds: {joined_names(twice)}", where=path, remedy="download it again"
            )
        shapes |= in_file
    return shapes
