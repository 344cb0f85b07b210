"""Reads pickles of unknown origin as plain data: a file can call nothing but the stand-ins below.

Used for EmbodiedScan's infos, Video-3D LLM's voxel file and its .pth scans (a zip with a pickle inside). NumPy arrays
become `Array` stand-ins, which check sizes before they allocate. Every other class is refused by name.
"""

from __future__ import annotations

import codecs
import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files.archive import open_zip
from video3d_plugin.files.regular import read_regular

MAX_BYTES = 1 << 32
_MAX_PTH_BYTES = 1 << 29  # unpacked; a scan has some 20 MB
_REMEDY = "only plain lists, dictionaries, numbers, strings and numpy arrays are read; nothing in a pickle is executed"


class Dtype:
    """Stand-in for numpy.dtype: a name and a byte order; no objects, no fields."""

    def __init__(self, *arguments: Any):
        self.name = arguments[0] if arguments else ""
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]

    def build(self) -> np.dtype:
        """Return the NumPy type; ValueError for one that is not a plain number or bool."""
        if not isinstance(self.name, str) or self.name[:1] not in "biuf?" or self.order not in ("<", ">", "|", "="):
            raise ValueError(f"dtype {self.name!r}")
        order: Any = "=" if self.order == "|" else self.order
        return np.dtype(self.name).newbyteorder(order)


class Array:
    """Stand-in for numpy.ndarray; `value()` returns the array."""

    def __init__(self, *_: Any):
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def value(self) -> np.ndarray:
        """Return the array; raises various errors where the pickled state is inconsistent."""
        _, shape, dtype, fortran, raw = self.state
        kind = dtype.build()
        if isinstance(raw, str):
            raw = raw.encode("latin-1")
        flat = np.frombuffer(raw, kind)
        return flat.reshape(shape, order="F" if fortran else "C")


def _reconstruct(*_: Any) -> Array:
    return Array()


def _scalar(dtype: Dtype, raw: bytes) -> Any:
    return np.frombuffer(raw, dtype.build(), count=1)[0].item()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    return codecs.encode(str(text), "latin1") if encoding in ("latin1", "latin-1") else b""


def _frombuffer(raw: Any, dtype: Dtype, shape: Any, order: str) -> Array:
    if not isinstance(raw, bytes | bytearray):  # bytes(n) would be n zeros
        raise ValueError("an array without its bytes")
    array = Array()
    array.state = (1, shape, dtype, order == "F", bytes(raw))
    return array


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): Dtype,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): OrderedDict,
}
for _core in ("numpy.core", "numpy._core"):  # before and since numpy 2
    _ALLOWED[f"{_core}.multiarray", "_reconstruct"] = _reconstruct
    _ALLOWED[f"{_core}.multiarray", "scalar"] = _scalar
    _ALLOWED[f"{_core}.numeric", "_frombuffer"] = _frombuffer  # protocol 5


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"refused: it asks for {module}.{name}") from None

    def persistent_load(self, _: Any) -> Any:
        raise pickle.UnpicklingError("refused: it refers to storage outside the pickle")


def load_bytes(data: bytes, where: Path | str) -> Any:
    """Unpickle plain data.

    Args:
        data: The pickle.
        where: The file, for errors.

    Returns:
        The value, with `Array` stand-ins for NumPy arrays.

    Raises:
        DataError: The pickle is damaged, or asks for anything that is not plain data.
    """
    try:
        return _Unpickler(io.BytesIO(data)).load()
    except Exception as error:  # a hostile stream can make the unpickler raise anything
        raise DataError(f"cannot be read as a plain pickle: {error!r}", where=where, remedy=_REMEDY) from error


def load_pickle(path: Path) -> Any:
    """Read a .pkl file of at most MAX_BYTES as plain data; raises MissingError, or DataError as `load_bytes`."""
    return load_bytes(read_regular(path, MAX_BYTES), path)


def load_pth(path: Path) -> Any:
    """Read a torch.save file of NumPy arrays and plain data, without torch and without executing anything in it.

    Raises:
        MissingError: There is no such file.
        DataError: The file is not a torch.save file, is too large, or holds anything else.
    """
    try:
        with open_zip(path, _MAX_PTH_BYTES, 100_000) as archive:
            names = [name for name in archive.namelist() if name == "data.pkl" or name.endswith("/data.pkl")]
            if len(names) != 1:
                raise DataError(
                    f"holds {len(names)} files data.pkl, not one", where=path, remedy="expected a torch.save file"
                )
            data = archive.read(names[0])
    except (DataError, MissingError):
        raise
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise DataError(f"not a torch.save file: {error}", where=path) from error
    return load_bytes(data, path)


def as_array(value: Any, where: Path | str, what: str) -> np.ndarray:
    """Convert an `Array` stand-in or nested lists to an array of numbers.

    Args:
        value: The stand-in or the lists.
        where: The file, for errors.
        what: What errors call the array.

    Raises:
        DataError: It is not an array of numbers.
    """
    try:
        if isinstance(value, Array):
            return value.value()
        array = np.array(value)
        if array.dtype.kind not in "biuf":
            raise ValueError(f"it holds {array.dtype}")
        return array
    except Exception as error:  # inconsistent shapes, types and buffers raise many types
        raise DataError(f"{what} is not an array of numbers: {error}", where=where) from error
