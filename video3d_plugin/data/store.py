"""The scene store: SceneInputs on disk as safetensors, memory-mapped on reading.

A file holds each distinct frame once (uniform sampling of a short scan repeats frames), the tensors as the model gets
them, and a checksum of all of it, the header included. Its name is a digest of everything that it depends on, so that
an old file is not used for a changed scene, sampler or specification.
"""

from __future__ import annotations

import json
import stat
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from video3d_plugin.data.schemas import STORE_HEADER
from video3d_plugin.errors import DataError
from video3d_plugin.files.atomic import digest, write_bytes
from video3d_plugin.files.schema import check
from video3d_plugin.inputs_spec import COORDINATE_DTYPES, FITS, POINTS_PER_TOKEN, InputsSpec
from video3d_plugin.scene import SceneInputs

FORMAT = 3  # 1: pixels of the whole crop, patches in boxes packed over all frames; 2: checksum of the tensors alone
_DELETE = "delete it; it is made again"
verified_files: set[tuple[str, int, int]] = set()  # files whose checksum this process has verified


def key_of(scene_digest: str, spec: InputsSpec, frames: Sequence[str], boxes: np.ndarray, ids: np.ndarray) -> str:
    """Return the name of a stored SceneInputs without its suffix.

    Args:
        scene_digest: Identifies the frames' files, poses and cameras (see `folder.frames_digest`).
        spec: What the model expects.
        frames: Names of the frames, in order.
        boxes: (N, 6) proposals, world frame, metres.
        ids: (N,) object ids of the proposals.
    """
    return digest(
        {
            "format": FORMAT,
            "scene": scene_digest,
            "spec": spec.as_dict(),
            "frames": list(frames),
            "boxes": np.ascontiguousarray(boxes, np.float32).tobytes().hex(),
            "ids": np.asarray(ids).tolist(),
        }
    )


def write(path: Path, inputs: SceneInputs) -> None:
    """Store inputs at `path`, atomically.

    Raises:
        DataError: The disk is full, or the file cannot be written.
    """
    from safetensors.torch import save

    first: dict[str, int] = {}
    for position, name in enumerate(inputs.frames):
        first.setdefault(name, position)
    keep = torch.tensor(list(first.values()), dtype=torch.int64)
    order = {name: index for index, name in enumerate(first)}
    tensors = {
        "pixels": inputs.pixels[keep],
        "token_points": inputs.token_points[keep],
        "token_valid": inputs.token_valid[keep].to(torch.uint8),
        "proposals": inputs.proposals,
        "proposal_ids": inputs.proposal_ids,
        "proposal_bits": inputs.proposal_bits[:, keep],
        "frame_index": torch.tensor([order[name] for name in inputs.frames], dtype=torch.int64),
    }
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    header = {
        "format": FORMAT,
        "scene_id": inputs.scene_id,
        "frames": list(inputs.frames),
        "spec": inputs.spec.as_dict(),
    }
    header["checksum"] = _checksum(header, tensors)
    write_bytes(path, save(tensors, metadata={"video3d": json.dumps(header, sort_keys=True)}))


def read(path: Path) -> SceneInputs | None:
    """Read stored inputs. Their tensors are memory-mapped.

    Returns:
        The inputs; None if there is no such file.

    Raises:
        DataError: The file is damaged.
    """
    from safetensors import safe_open

    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:  # a link to itself, a folder that may not be searched
        raise DataError(f"cannot be read: {error.strerror or error}", where=path, remedy=_DELETE) from None
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would block for ever
        raise DataError("damaged store file: not a regular file", where=path, remedy=_DELETE)
    try:
        with safe_open(str(path), framework="pt") as file:
            header = json.loads((file.metadata() or {})["video3d"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
    except FileNotFoundError:
        return None
    except Exception as error:  # a damaged header raises many types
        raise DataError(f"damaged store file: {error!s:.200}", where=path, remedy=_DELETE) from error
    check(header, STORE_HEADER, path, _DELETE, at="damaged store file: ")
    version = (str(path), status.st_mtime_ns, status.st_size)
    if version not in verified_files:
        if header["format"] != FORMAT or header["checksum"] != _checksum(header, tensors):
            raise DataError("damaged store file: wrong checksum", where=path, remedy=_DELETE)
        if fault := _inconsistency(header, tensors):
            raise DataError(f"damaged store file: {fault}", where=path, remedy=_DELETE)
        verified_files.add(version)
    return _assemble(header, tensors)


def _inconsistency(header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> str | None:
    """Return what is inconsistent in a file whose checksum is right; None if nothing is."""
    spec, repeats = InputsSpec(**header["spec"]), len(header["frames"])
    known = spec.points in POINTS_PER_TOKEN and spec.coordinate_dtype in COORDINATE_DTYPES and spec.fit in FITS
    if not known or not spec.patches_per_side or not spec.grid_side:
        return "its specification is not valid"
    frames, boxes = (len(tensors[n]) if n in tensors and tensors[n].ndim else 0 for n in ("pixels", "proposals"))
    used, grid = spec.used_side, spec.grid_side
    expected = {
        "pixels": (torch.uint8, (frames, used, used, 3)),
        "token_points": (torch.float32, (frames, grid, grid, spec.points_per_token, 3)),
        "token_valid": (torch.uint8, (frames, grid, grid)),
        "proposals": (torch.float32, (boxes, 6)),
        "proposal_ids": (torch.int64, (boxes,)),
        "proposal_bits": (torch.uint8, (boxes, frames, spec.proposal_bytes)),
        "frame_index": (torch.int64, (repeats,)),
    }
    if tensors.keys() != expected.keys():
        return f"{len(tensors)} tensors, not {', '.join(expected)}"
    for name, (dtype, shape) in expected.items():
        tensor = tensors[name]
        if tensor.dtype != dtype or tuple(tensor.shape) != shape:
            actual = f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
            return f"{name} is {actual}, expected {str(dtype).removeprefix('torch.')} {shape}"
    index = tensors["frame_index"]
    if not repeats or int(index.min()) < 0 or int(index.max()) >= frames:
        return f"frame indices outside its {frames} frames"
    is_finite = torch.isfinite(tensors["proposals"]).all() and torch.isfinite(tensors["token_points"]).all()
    return None if is_finite else "points or boxes that are not finite"


def _assemble(header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> SceneInputs:
    index = tensors["frame_index"]
    per_frame = {name: tensors[name] for name in ("pixels", "token_points")}
    valid, bits = tensors["token_valid"].bool(), tensors["proposal_bits"]
    if not torch.equal(index, torch.arange(len(valid))):  # repeated frames: only then are the maps copied
        per_frame = {name: tensor[index] for name, tensor in per_frame.items()}
        valid, bits = valid[index], bits[:, index]
    return SceneInputs(
        spec=InputsSpec(**header["spec"]),
        scene_id=header["scene_id"],
        frames=tuple(header["frames"]),
        token_valid=valid,
        proposals=tensors["proposals"],
        proposal_bits=bits,
        proposal_ids=tensors["proposal_ids"],
        **per_frame,
    )


def _checksum(header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> int:
    """Return the CRC-32 of the tensors and of the header without its checksum."""
    fields = {name: value for name, value in header.items() if name != "checksum"}
    value = zlib.crc32(json.dumps(fields, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        value = zlib.crc32(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode(), value)
        value = zlib.crc32(np.ascontiguousarray(tensor.numpy()).reshape(-1).view(np.uint8).data, value)
    return value
