"""Does this installation turn frames into the same pixels and coordinates? Kind `video_processor/`.

    golden.npz      frame_files (V,), pixels_strideK = pixels[:, ::K, ::K], coords_strideK = coords[:, K/2::K, K/2::K],
                    pixel_mean (V, 3), objects (N, 6): what Video-3D LLM's video processor made of uniform frames
    uniform.json    {number of frames: the file names it samples}
    data/           the scan itself, in that program's own tree

Data are prepared on the CPU in float32, whatever the model runs on, so `device` and `dtype` change nothing here.
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
    """A case each for uniform sampling, frames, pixels, coordinates and boxes."""
    golden = _read(folder / "golden.npz")
    scene = load_scene(folder / "data")
    counts = folder / "uniform.json"
    if counts.is_file():
        yield _count("uniform", _wrong_samples(scene, read_json(counts, dict)))
    wanted = [Path(str(name)).stem for name in golden["frame_files"]]
    chosen = sample(scene, "uniform", len(wanted))
    yield _count("frames", sum(scene.frames[i].name != name for i, name in zip(chosen, wanted, strict=True)))
    pixels, points = (part.numpy() for part in crops(scene, wanted, InputsSpec()))
    for name, expected in golden.items():
        if match := re.fullmatch(r"(pixels|coords)_stride(\d+)", name):
            step = int(match[2])
            if match[1] == "pixels":
                got = pixels[:, ::step, ::step]
                yield _compare("pixels", got, expected, GREY_LEVELS, "max|Δ| grey levels")
            else:
                got = points[:, step // 2 :: step, step // 2 :: step]
                yield _compare("coordinates", got, expected, METRES, "max|Δ| m")
    if "pixel_mean" in golden:
        yield _compare("pixel_mean", pixels.mean(axis=(1, 2)), golden["pixel_mean"], GREY_LEVELS, "max|Δ| grey levels")
    if "objects" in golden:
        yield _compare("objects", boxes_of(scene, "pred")[0].numpy(), golden["objects"], METRES, "max|Δ| m")


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise MissingError("file not found", where=path, remedy="expected the goldens of video_processor")
    try:
        with np.load(path, allow_pickle=False) as archive:
            golden = {name: archive[name] for name in archive.files}
    except Exception as error:  # a damaged zip or array header raises many types
        raise DataError(f"cannot be read: {error}", where=path) from error
    if not golden.keys() & {"frame_files"}:
        raise DataError("no frame_files in it", where=path)
    return golden


def _wrong_samples(scene: Scene, expected: dict[str, list[str]]) -> int:
    wrong = 0
    for count, files in expected.items():
        names = [scene.frames[i].name for i in sample(scene, "uniform", int(count))]
        wrong += names != [Path(file).stem for file in files]
    return wrong


def _count(case: str, wrong: int) -> CaseResult:
    return CaseResult(KIND, case, float(wrong), 0.0, wrong == 0, measure="differ:")


def _compare(case: str, got: np.ndarray, expected: np.ndarray, limit: float, measure: str) -> CaseResult:
    if got.shape != expected.shape:
        return CaseResult(KIND, case, float("inf"), limit, False, measure, f"{got.shape} for {expected.shape}")
    worst = float(np.abs(got.astype(np.float64) - expected.astype(np.float64)).max(initial=0.0))
    return CaseResult(KIND, case, worst, limit, bool(worst <= limit), measure)
