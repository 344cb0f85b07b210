"""EmbodiedScan's embodiedscan_infos_{train,val,test}.pkl: which frames of a ScanNet scan to use, and its alignment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from video3d_plugin.data.readers.pickles import as_array, load_pickle
from video3d_plugin.errors import DataError
from video3d_plugin.geometry.camera_checks import check_intrinsics, is_rigid

_PREFIX = "scannet/"


@dataclass(frozen=True)
class SceneInfo:
    """The entry of one scan.

    Attributes:
        scene_id: Id of the scan.
        frame_names: Names of the frames that are used, in order.
        world_from_scan: (4, 4) float64 axis alignment, metres; None if the entry has none.
        depth_intrinsics: (4, 4) float64 intrinsics in pixels of the depth image; None if the entry has none.
    """

    scene_id: str
    frame_names: tuple[str, ...]
    world_from_scan: np.ndarray | None
    depth_intrinsics: np.ndarray | None


def read_infos(path: Path) -> tuple[dict[str, SceneInfo], int]:
    """Read an infos file, without executing anything in it.

    Returns:
        Scene id to entry, and the number of entries of other data sets, which are skipped.

    Raises:
        MissingError: There is no such file.
        DataError: The file is not a plain pickle of EmbodiedScan infos.
    """
    content = load_pickle(path)
    entries = content.get("data_list") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise DataError("no data_list", where=path, remedy="expected an EmbodiedScan infos file")
    infos: dict[str, SceneInfo] = {}
    skipped = 0
    for index, entry in enumerate(entries):
        sample = entry.get("sample_idx") if isinstance(entry, dict) else None
        if not isinstance(sample, str):
            raise DataError(
                f"entry {index} has no sample_idx", where=path, remedy="expected an EmbodiedScan infos file"
            )
        if not sample.startswith(_PREFIX):
            skipped += 1
            continue
        info = _parse_entry(sample[len(_PREFIX) :], entry, path)
        infos[info.scene_id] = info
    return infos, skipped


def _parse_entry(scene_id: str, entry: dict[str, Any], path: Path) -> SceneInfo:
    where = f"{path} ({scene_id})"
    images = entry.get("images")
    if not isinstance(images, list):
        raise DataError("no list of images", where=where)
    names = []
    for image in images:
        file = image.get("img_path") if isinstance(image, dict) else None
        if not isinstance(file, str):
            raise DataError("an image has no img_path", where=where)
        names.append(PurePosixPath(file).stem)  # only the name: paths in the list are not followed
    alignment = _matrix(entry.get("axis_align_matrix"), where, "axis_align_matrix")
    if alignment is not None and not is_rigid(alignment):
        raise DataError("axis_align_matrix is not a rotation and a translation", where=where)
    intrinsics = _matrix(entry.get("depth_cam2img"), where, "depth_cam2img")
    if intrinsics is not None:
        check_intrinsics(intrinsics, where)
    return SceneInfo(scene_id, tuple(names), alignment, intrinsics)


def _matrix(value: Any, where: str, what: str) -> np.ndarray | None:
    if value is None:
        return None
    matrix = as_array(value, where, what)
    if matrix.shape != (4, 4):
        raise DataError(f"{what} has shape {matrix.shape}", where=where)
    return matrix.astype(np.float64)
