"""Brings a checkpoint from the Hugging Face Hub into its cache; what goes wrong there is one line."""

from __future__ import annotations

import errno
import logging
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from video3d_plugin.errors import MissingError

log = logging.getLogger(__name__)

REVISION_SIGN = "@"
_NEEDED = ("*.json", "*.txt", "*.jinja", "*.safetensors", "non_lora_trainables.bin")
_OTHER_WEIGHTS = ("pytorch_model*.bin", "adapter_model.bin")  # where there is no safetensors file
_LOG_IN = "log in (`hf auth login`, or HF_TOKEN)"
_KEPT = "whole files are kept"
_OWN_FOLDER = "download the checkpoint elsewhere and give its folder"


def split_revision(name: str) -> tuple[str, str | None]:
    """Split `owner/name@revision` into the name and the revision, or None."""
    name, _, revision = name.partition(REVISION_SIGN)
    return name, revision or None


def snapshot(
    name: str, revision: str | None = None, cache_dir: str | Path | None = None, token: str | bool | None = None
) -> Path:
    """Return the folder of a repository in the hub's cache, after downloading what it lacks.

    Files in folders of the repository are left out, and so are pickles where there are safetensors. What is to be
    downloaded is printed on stderr; on a terminal the hub's bars follow. Without a connection the cached files are
    used, if they are complete.

    Args:
        name: `owner/name`.
        revision: Branch, tag or commit; the main branch by default.
        cache_dir: The cache; that of the hub's library by default (HF_HOME).
        token: As for `huggingface_hub.snapshot_download`.

    Raises:
        MissingError: The hub does not give the repository, and the cache does not hold all of it.
    """
    from huggingface_hub import constants, snapshot_download

    shown = name if revision is None else f"{name}{REVISION_SIGN}{revision}"
    cache = Path(cache_dir or constants.HF_HUB_CACHE).expanduser()
    place: dict[str, Any] = {"revision": revision, "cache_dir": str(cache)}
    try:
        sizes, missing = _sizes(name, revision, cache, token)
    except Exception as error:  # of the hub's library, of httpx or requests, or of the disk
        return _from_cache(name, place, error, _explained(error, shown, cache))
    if not {"config.json", "adapter_config.json"} & sizes.keys():
        raise MissingError("holds no checkpoint: no config.json", where=shown, remedy="check the name")
    if missing:
        _announce(shown, [sizes[file] for file in missing], cache)
    try:
        with _without_warnings():
            return Path(snapshot_download(name, allow_patterns=list(sizes), token=token, **place))
    except Exception as error:
        raise _explained(error, shown, cache) from error


def _sizes(name: str, revision: str | None, cache: Path, token: str | bool | None) -> tuple[dict[str, int], list[str]]:
    """Ask the hub for the needed files and their sizes in bytes, and find those that the cache lacks."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    info = HfApi(token=token).model_info(name, revision=revision, files_metadata=True)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    sizes = {file: sizes[file] for file in needed_files(sizes)}
    cached = {file: try_to_load_from_cache(name, file, cache_dir=cache, revision=info.sha) for file in sizes}
    return sizes, [file for file, path in cached.items() if not isinstance(path, str)]


def _from_cache(name: str, place: dict[str, Any], error: Exception, explained: MissingError) -> Path:
    """Return the cached folder of a repository that the hub did not list; raise `explained` where there is none."""
    from huggingface_hub import snapshot_download

    try:
        patterns: dict[str, Any] = {"allow_patterns": [*_NEEDED], "ignore_patterns": ["*/*"]}
        folder = snapshot_download(name, local_files_only=True, **patterns, **place)
    except (OSError, ValueError):
        raise explained from error
    if not _is_offline(error):
        log.warning("%s; the copy in the cache is used", explained.args[0])
    return Path(folder)


def needed_files(names: Iterable[str]) -> list[str]:
    """Return the files of a repository that a checkpoint is read from."""
    top = [name for name in names if "/" not in name]
    weights = any(name.endswith(".safetensors") for name in top)
    patterns = _NEEDED if weights else (*_NEEDED, *_OTHER_WEIGHTS)
    return [name for name in top if any(fnmatch(name, pattern) for pattern in patterns)]


def _announce(shown: str, sizes: list[int], cache: Path) -> None:
    """Print what is to be downloaded; raise MissingError where the disk has no room for it."""
    size = sum(sizes)
    existing = next(folder for folder in (cache, *cache.resolve().parents) if folder.is_dir())
    free = shutil.disk_usage(existing).free
    if free < size:
        what = f"{_bytes(size)} are to be downloaded, and the disk of {cache} has {_bytes(free)} free"
        raise MissingError(what, where=shown, remedy="make room, or set HF_HOME to a folder on another disk")
    files = f"{len(sizes)} file{'s' * (len(sizes) > 1)}"
    print(f"{shown}: downloading {files}, {_bytes(size)}, to {cache}", file=sys.stderr, flush=True)


def _bytes(size: int) -> str:
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if size >= unit / 10:
            return f"{size / unit:.1f} {name}"
    return f"{size / 1e3:.1f} kB"


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Silence the hub's library about attempts to go on after a connection broke; the last one is raised."""
    logger = logging.getLogger("huggingface_hub.file_download")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_offline(error: BaseException) -> bool:
    from huggingface_hub.errors import OfflineModeIsEnabled

    return any(isinstance(each, OfflineModeIsEnabled) for each in _causes(error))


def _explained(error: BaseException, shown: str, cache: Path) -> MissingError:
    """Return the error of one line for what the hub's library raised."""
    what, remedy = _what_and_remedy(error, cache)
    return MissingError(what, where=shown, remedy=remedy)


def _what_and_remedy(error: BaseException, cache: Path) -> tuple[str, str]:
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if isinstance(error, HFValidationError):
        return "no such folder, and no name on the hub", "a name is `owner/name`"
    if isinstance(error, RevisionNotFoundError):
        return "the hub has no such revision of it", "give a branch, a tag or a commit"
    if isinstance(error, GatedRepoError) or status == 403:
        return "the hub gives it to users with access only", f"ask its owner for access, and {_LOG_IN}"
    if isinstance(error, RepositoryNotFoundError) or status in (401, 404):
        return "no such folder, and no such public name on the hub", f"check the name; if it is private, {_LOG_IN}"
    if status is not None:
        return f"the hub answered with status {status}", f"try again later, or {_OWN_FOLDER}"
    if _is_offline(error):
        what = f"not, or not whole, in the hub's cache {cache}, and HF_HUB_OFFLINE is set"
        return what, f"unset it to download, or {_OWN_FOLDER}"
    if any(isinstance(each, OSError) and each.errno in (errno.ENOSPC, errno.EDQUOT) for each in _causes(error)):
        return f"the disk of {cache} is full", f"make room, or set HF_HOME to another disk; {_KEPT}"
    if isinstance(error, PermissionError):
        return f"the hub's cache {cache} cannot be written", "set HF_HOME to a folder of yours"
    what = f"the connection to the hub failed ({type(error).__name__})"
    return what, f"check it and run it again, {_KEPT}; or {_OWN_FOLDER}"
