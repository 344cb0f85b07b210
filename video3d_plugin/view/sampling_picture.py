"""A picture that compares frame samplers: the room from above, what the sampled frames cover, and their cameras."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from video3d_plugin.data.frames import open_color
from video3d_plugin.files.atomic import write_bytes
from video3d_plugin.view.scene_view import up_axis

if TYPE_CHECKING:
    from video3d_plugin.sampling.coverage import Coverage
    from video3d_plugin.scene import Scene

PANEL, STRIP, GAP, HEAD, FOOT = 460, 104, 24, 64, 40
THUMBNAILS = 4  # a panel
GROUND, FLOOR, TEXT, FAINT, SEEN, UNSEEN, PATH, CHOSEN = (
    (14, 17, 22), (22, 27, 34), (232, 237, 243), (148, 161, 178),
    (53, 214, 160), (150, 60, 58), (90, 169, 255), (255, 176, 32),
)  # fmt: skip


class Sampled(Protocol):
    """The result of a frame sampler.

    Attributes:
        sampler: Its name.
        frames: Indices of the sampled frames.
        covered: Share of the scan's voxels that they see, 0 to 1.
        seen: Indices of these voxels.
    """

    sampler: str
    frames: tuple[int, ...]
    covered: float
    seen: np.ndarray


def write_picture(path: Path, scene: Scene, coverage: Coverage, results: Sequence[Any]) -> None:
    """Write a picture with one panel for each sampler.

    Args:
        path: The image file; its suffix decides the format (PNG, JPEG or WebP).
        scene: The scene.
        coverage: Voxels that each frame sees.
        results: Results of the samplers.
    """
    image = picture(scene, coverage, results)
    file = io.BytesIO()
    image.save(file, {".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}.get(path.suffix.lower(), "PNG"))
    write_bytes(path, file.getvalue())


def picture(scene: Scene, coverage: Coverage, results: Sequence[Sampled]) -> Image.Image:
    """Draw the picture that `write_picture` writes."""
    poses = [scene.world_from_scan @ frame.scan_from_camera for frame in scene.frames]
    axes = _plan_axes(up_axis(scene))
    columns = 2 if len(results) == 4 else min(len(results), 3)
    rows = -(-len(results) // columns)
    width, height = columns * (PANEL + GAP) + GAP, rows * (HEAD + PANEL + STRIP + GAP) + GAP + FOOT
    image = Image.new("RGB", (width, height), GROUND)
    for number, result in enumerate(results):
        left = GAP + (number % columns) * (PANEL + GAP)
        top = GAP // 2 + (number // columns) * (HEAD + PANEL + STRIP + GAP)
        draw = ImageDraw.Draw(image)
        draw.text((left, top + 8), result.sampler, TEXT, _font(22))
        count = len(set(result.frames))
        draw.text((left, top + 36), f"{count} frames, {result.covered:.1%} of what the scan shows", FAINT, _font(15))
        image.paste(_map(coverage, result, poses, axes), (left, top + HEAD))
        _strip(image, scene, result.frames, left, top + HEAD + PANEL + 10)
    _legend(ImageDraw.Draw(image), GAP, height - FOOT)
    return image


def _plan_axes(up: tuple[float, float, float]) -> tuple[int, int, int, float]:
    """(axis to the right in the picture, axis upwards in the picture, vertical axis, sign of the vertical axis)."""
    vertical = int(np.argmax(np.abs(up)))
    right, upwards = [axis for axis in range(3) if axis != vertical]
    return right, upwards, vertical, float(np.sign(up[vertical]))


def _map(coverage: Coverage, result: Sampled, poses: Sequence[np.ndarray], axes) -> Image.Image:
    """The scan's voxels from above: seen ones green, others red, darker with depth."""
    right, upwards, vertical, sign = axes
    cells, size = coverage.table.cells, coverage.voxel_size_m
    seen = np.zeros(len(cells), bool)
    seen[result.seen] = True
    level = cells[:, vertical] * sign
    order = np.argsort(level + 1e-3 * seen, kind="stable")
    low = cells[:, [right, upwards]].min(0)
    span = int((cells[:, [right, upwards]].max(0) - low).max()) + 1
    scale = (PANEL - 20) / span
    grid = np.full((span, span, 3), FLOOR, np.uint8)
    height = (level - level.min()) / max(float(np.ptp(level)), 1)
    shade = (0.35 + 0.65 * height)[:, None]
    colors = (np.where(seen[:, None], SEEN, UNSEEN) * shade).astype(np.uint8)
    x, y = (cells[:, [right, upwards]] - low).T
    grid[span - 1 - y[order], x[order]] = colors[order]
    side = round(span * scale)
    image = Image.fromarray(grid).resize((side, side), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(image)

    def place(point: np.ndarray) -> tuple[float, float]:
        u, v = (point[[right, upwards]] / size - low + 0.5) * scale
        return float(u), float(side - v)

    spots = [place(pose[:3, 3]) for pose in poses]
    if len(spots) > 1:
        draw.line(spots, fill=PATH, width=2)
    for index in sorted(set(result.frames)):
        ahead = place(poses[index][:3, 3] + 0.5 * poses[index][:3, 2])
        draw.line([spots[index], ahead], fill=CHOSEN, width=3)
        u, v = spots[index]
        draw.ellipse((u - 5, v - 5, u + 5, v + 5), fill=CHOSEN, outline=GROUND)
    panel = Image.new("RGB", (PANEL, PANEL), FLOOR)
    panel.paste(image, ((PANEL - image.width) // 2, (PANEL - image.height) // 2))
    return panel


def _strip(image: Image.Image, scene: Scene, frames: Sequence[int], left: int, top: int) -> None:
    """Draw a few of the sampled frames, evenly over the scan."""
    distinct = list(dict.fromkeys(frames))
    shown = [distinct[i] for i in np.unique(np.linspace(0, len(distinct) - 1, THUMBNAILS).astype(int))]
    width = (PANEL - 8 * (THUMBNAILS - 1)) // THUMBNAILS
    for number, index in enumerate(shown):
        frame = open_color(scene.frames[index])
        frame.thumbnail((width, STRIP - 24))
        x = left + number * (width + 8)
        image.paste(frame, (x, top))
        ImageDraw.Draw(image).text((x, top + STRIP - 24), scene.frames[index].name[:14], FAINT, _font(12))


def _legend(draw: ImageDraw.ImageDraw, left: int, top: int) -> None:
    entries = ((SEEN, "seen by the chosen frames"), (UNSEEN, "not seen"), (PATH, "camera path"), (CHOSEN, "chosen"))
    for color, text in entries:
        draw.rectangle((left, top + 4, left + 14, top + 18), fill=color)
        draw.text((left + 22, top), text, FAINT, _font(14))
        left += 22 + int(draw.textlength(text, _font(14))) + 28


def _font(size: int) -> Any:
    try:
        return ImageFont.load_default(size)
    except TypeError:  # Pillow before 10.1: one size only
        return ImageFont.load_default()
