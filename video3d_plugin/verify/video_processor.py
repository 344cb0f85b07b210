"""Goldens of the data pipeline, `video_processor/`: sampled frames, pixels, coordinates and boxes.

golden.npz      output of Video-3D LLM's video processor (3ff70e8) for uniformly sampled frames: frame_files (V,),
                pixels_strideK = pixels[:, ::K, ::K], coords_strideK = coords[:, K/2::K, K/2::K],
                pixel_mean (V, 3), objects (N, 6)
uniform.json    {number of frames: file names that it samples}
data/           the scan, in the layout of that program
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from video3d_plugin.data.inputs import boxes_of, crops, sample
from video3d_plugin.data.readers import load_scene
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files.json import read_json
from video3d_plugin.inputs_spec import InputsSpec
from video3d_plugin.scene import Scene
from video3d_plugin.verify import CaseResult

KIND = "video_processor"
GREY_LEVELS, METRES = 2.0, 1e-4


def verify(folder: Path, *, device: str, dtype: str) -> Iterator[CaseResult]:
    """Recompute the goldens of the data pipeline.

    Args:
        folder: Folder with golden.npz, uniform.json and data/.
        device: Ignored; inputs are prepared on the CPU.
        dtype: Ignored; inputs are prepared in float32.

    Yields:
        A result each for uniform sampling, frames, pixels, coordinates, mean pixels and boxes.

    Raises:
        MissingError: If golden.npz is missing.
        DataError: If it cannot be read.
    """
    golden = _read(folder / "golden.npz")
    scene = load_scene(folder / "data")
    counts = folder / "uniform.json"
    if counts.is_file():
        yield _count("uniform", _wrong_samples(scene, read_json(counts, dict)))
    names = [Path(str(name)).stem for name in golden["frame_files"]]
    sampled = sample(scene, "uniform", len(names))
    yield _count("frames", sum(scene.frames[i].name != name for i, name in zip(sampled, names, strict=True)))
    pixels, points = (part.numpy() for part in crops(scene, names, InputsSpec()))
    for name, expected in golden.items():
        if match := re.fullmatch(r"(pixels|coords)_stride(\d+)", name):
            step = int(match[2])
            if match[1] == "pixels":
                computed = pixels[:, ::step, ::step]
                yield _compare("pixels", computed, expected, GREY_LEVELS, "max|Δ| grey levels")
            else:
                computed = points[:, step // 2 :: step, step // 2 :: step]
                yield _compare("coordinates", computed, expected, METRES, "max|Δ| m")
    if "pixel_mean" in golden:
        yield _compare("pixel_mean", pixels.mean(axis=(1, 2)), golden["pixel_mean"], GREY_LEVELS, "max|Δ| grey levels")
    if "objects" in golden:
        yield _compare("objects", boxes_of(scene, "pred")[0].numpy(), golden["objects"], METRES, "max|Δ| m")


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise MissingError("the golden is missing", where=path, remedy="copy the whole folder video_processor")
    try:
        with np.load(path, allow_pickle=False) as archive:
            golden = {name: archive[name] for name in archive.files}
    except Exception as error:  # a damaged zip or array header raises many types
        raise DataError(f"cannot be read: {error}", where=path) from error
    if not golden.keys() & {"frame_files"}:
        raise DataError("has no array frame_files", where=path)
    return golden


def _wrong_samples(scene: Scene, expected: dict[str, list[str]]) -> int:
    wrong = 0
    for count, files in expected.items():
        names = [scene.frames[i].name for i in sample(scene, "uniform", int(count))]
        wrong += names != [Path(file).stem for file in files]
    return wrong


def _count(case: str, wrong: int) -> CaseResult:
    return CaseResult(KIND, case, float(wrong), 0.0, wrong == 0, measure="differ:")


def _compare(case: str, computed: np.ndarray, expected: np.ndarray, limit: float, measure: str) -> CaseResult:
    if computed.shape != expected.shape:
        return CaseResult(KIND, case, float("inf"), limit, False, measure, f"{computed.shape} for {expected.shape}")
    worst = float(np.abs(computed.astype(np.float64) - expected.astype(np.float64)).max(initial=0.0))
    return CaseResult(KIND, case, worst, limit, bool(worst <= limit), measure)
