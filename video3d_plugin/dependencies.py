"""Distinguishes failures of a dependency from bugs of this package and explains the former in one line.

A dependency that is missing, too old or too new fails in many places and with many types of exception. `explain` looks
at where an exception comes from: an import of another distribution, a name that another distribution lacks, or code of
another distribution. Any other exception is a bug of this package and keeps its traceback. Only the standard library is
imported here, so that it works when nothing else does.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from functools import lru_cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from types import FrameType, ModuleType

PACKAGE = "video3d_plugin"
SHOW_TRACEBACK = "VIDEO3D_TRACEBACK"
# Module -> distribution, where the names differ and the distribution may be missing.
_DISTRIBUTIONS = {
    "PIL": "pillow", "cv2": "opencv-python-headless", "distributed": "distributed", "flash_attn": "flash-attn",
    "lmms_eval": "lmms-eval", "rerun": "rerun-sdk", "skimage": "scikit-image", "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}  # fmt: skip
_SIGNATURE = re.compile(
    r"([\w.<>]{1,200})\(\) (?:got an unexpected keyword|missing \d+ required|takes \d|got multiple values)"
)


def explain(error: BaseException) -> str | None:
    """Explain an exception that a dependency caused.

    Args:
        error: An exception with its traceback.

    Returns:
        One line with the distribution, its version and a remedy; None where no other distribution is at fault, or the
        environment variable VIDEO3D_TRACEBACK asks for tracebacks.
    """
    if traceback_wanted() or not isinstance(error, Exception):
        return None
    for each in reversed(list(_causes(error))):
        module = _culprit(each)
        if module is not None:
            return _line(each, module)
    return None


def traceback_wanted() -> bool:
    """Return whether the environment variable VIDEO3D_TRACEBACK asks for tracebacks."""
    return os.environ.get(SHOW_TRACEBACK, "0") not in ("", "0")


def known_versions() -> dict[str, str]:
    """Return the versions that this version of the package was tested with.

    They are those of constraints.txt, which a wheel carries as video3d_plugin/tested_versions.txt.

    Returns:
        {distribution: version}; empty where neither file exists.
    """
    package = Path(__file__).resolve().parent
    for path in (package / "tested_versions.txt", package.parent / "constraints.txt"):
        if path.is_file():
            return pinned_versions(path.read_text(encoding="utf-8"))
    return {}


def remedy_for(distribution: str, missing: bool = False) -> str:
    """Return a command that installs a version of a distribution that works.

    Args:
        distribution: Its name.
        missing: Whether its modules are gone, even if it has metadata.
    """
    tested = known_versions().get(_normal(distribution))
    installed = None if missing else version_of(distribution)
    if tested is None:
        return f"pip install {distribution}" if installed is None else f"install another version of {distribution}"
    again = "--force-reinstall " if installed and installed.split("+")[0] == tested.split("+")[0] else ""
    return f"pip install {again}'{distribution}=={tested}'"


def version_of(distribution: str) -> str | None:
    """Return the installed version of a distribution, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def distribution_of(module: str) -> str:
    """Return the distribution of a top-level module, or the module's name where none is known."""
    if module in _DISTRIBUTIONS:
        return _DISTRIBUTIONS[module]
    if version_of(module) is not None:
        return module
    return next(iter(_owners().get(module, ())), module)


@lru_cache
def _owners() -> dict[str, list[str]]:
    return dict(metadata.packages_distributions())


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the exception and those that it was raised from."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__


def _culprit(error: BaseException) -> str | None:
    """Return the top-level module of the distribution at fault, or None where no other distribution is."""
    frames = [frame for frame in _frames(error) if not _is_standard(_module_of(frame))]
    innermost = _module_of(frames[-1]) if frames else None
    theirs = innermost if innermost is not None and _is_foreign(innermost) else None
    if isinstance(error, ImportError) and error.name:
        name = error.name.split(".")[0]
        if _is_foreign(name) or (isinstance(error, ModuleNotFoundError) and _is_standard(name)):
            return name
        return theirs
    if isinstance(error, ImportError):
        return theirs
    if isinstance(error, AttributeError) and isinstance(getattr(error, "obj", None), ModuleType):
        return _foreign_or_none(_owner_of(error.obj))
    if theirs is not None:
        importing = [_module_of(frame) for frame in frames if frame.f_code.co_name == "<module>"]
        if foreign := [name for name in importing if _is_foreign(name)]:
            return foreign[-1]
    if isinstance(error, AttributeError):
        return theirs or _foreign_or_none(_owner_of(getattr(error, "obj", None)))
    if isinstance(error, TypeError) and frames and (match := _SIGNATURE.match(str(error))):
        return _foreign_or_none(_where_defined(match[1].split(".")[0], frames[-1]))
    return None


def _frames(error: BaseException) -> list[FrameType]:
    frames, entry = [], error.__traceback__
    while entry is not None:
        frames.append(entry.tb_frame)
        entry = entry.tb_next
    return frames


def _module_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).split(".")[0]


def _owner_of(value: object) -> str:
    """Return the top-level module of a value or of its class."""
    if isinstance(value, ModuleType):
        return value.__name__.split(".")[0]
    kind = value if isinstance(value, type) else type(value)
    return str(kind.__module__).split(".")[0]


def _where_defined(name: str, frame: FrameType) -> str:
    """Return the top-level module of the function or class called `name` among a frame's variables."""
    for value in [*frame.f_locals.values(), *frame.f_globals.values()]:
        for candidate in (value, type(value)):
            if getattr(candidate, "__qualname__", "").split(".")[0] == name:
                return str(getattr(candidate, "__module__", "")).split(".")[0]
    return ""


def _is_standard(name: str) -> bool:
    return name in sys.stdlib_module_names or name in ("", "builtins")


def _is_foreign(name: str) -> bool:
    return not _is_standard(name) and name not in (PACKAGE, "__main__")


def _foreign_or_none(name: str) -> str | None:
    return name if _is_foreign(name) else None


def _line(error: BaseException, module: str) -> str:
    reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    if _is_standard(module):
        return f"this Python lacks its module {module}: {reason} (use a Python that was built with it)"
    distribution = distribution_of(module)
    user = _user_of(error, module)
    if isinstance(error, ModuleNotFoundError) and error.name == module and not _is_there(module):
        needed = f", which {user} needs" if user else ""
        return f"{distribution} is not installed{needed} ({remedy_for(distribution, missing=True)})"
    version = version_of(distribution) or "(unknown version)"
    fits = f"does not fit {user}" if user else "does not work here"
    kind = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
    more = f"`video3d doctor` checks the rest, {SHOW_TRACEBACK}=1 shows the traceback"
    return f"{distribution} {version} {fits}: {kind}{reason} ({remedy_for(distribution)}; {more})"


def _user_of(error: BaseException, module: str) -> str | None:
    """Return name and version of the distribution whose code used the one at fault; None for this package."""
    names = [name for name in map(_module_of, _frames(error)) if not _is_standard(name) and name != module]
    if not names or not _is_foreign(names[-1]):
        return None
    distribution = distribution_of(names[-1])
    return f"{distribution} {version_of(distribution) or ''}".rstrip()


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return module in sys.modules


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def pinned_versions(text: str) -> dict[str, str]:
    """Return the pins of a constraints file that apply to this Python and platform."""
    pins: dict[str, str] = {}
    for line in text.splitlines():
        match = re.match(r"([A-Za-z0-9][\w.-]{0,127})==([^\s;#]+)\s*(?:;\s*([^#]+))?", line)
        if match and _holds(match[3]):
            pins.setdefault(_normal(match[1]), match[2])
    return pins


def _holds(marker: str | None) -> bool:
    """Return whether an environment marker applies here; one that cannot be evaluated does not."""
    if not marker:
        return True
    try:
        from packaging.markers import Marker

        return bool(Marker(marker.strip()).evaluate())
    except Exception:  # packaging is missing, broken or rejects the marker: the pin is not used
        return False
