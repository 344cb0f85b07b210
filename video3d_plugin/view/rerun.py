"""Writes a scene as a recording for the Rerun viewer (optional package `rerun-sdk`)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from video3d_plugin.errors import MissingError
from video3d_plugin.files.atomic import replacing
from video3d_plugin.files.images import open_image
from video3d_plugin.view.items import Item
from video3d_plugin.view.scene_view import SceneView

COLORS = {"proposals": (127, 147, 173), "truth": (53, 214, 160), "predicted": (255, 176, 32)}


def require_rerun() -> Any:
    """Import rerun.

    Raises:
        MissingError: rerun-sdk is not installed.
    """
    try:
        import rerun
    except ImportError as error:
        raise MissingError("rerun-sdk is not installed", remedy="pip install 'video3d-plugin[rerun]'") from error
    return rerun


def write_rerun(path: Path, view: SceneView, items: Sequence[Item] = ()) -> None:
    """Write a recording with the point cloud, the cameras and their images, the boxes, and the questions.

    Frames lie along the timeline `frame`, items along the timeline `question`.

    Args:
        path: The .rrd file.
        view: The scene (`gather`).
        items: Questions with answers and boxes (`view.items`).

    Raises:
        MissingError: rerun-sdk is not installed.
    """
    rr = require_rerun()
    with replacing(path) as temporary:
        recording = rr.RecordingStream("video3d", recording_id=view.scene.scene_id)
        recording.save(str(temporary))
        axis = int(np.argmax(np.abs(view.up)))
        names = ("RIGHT_HAND_X", "RIGHT_HAND_Y", "RIGHT_HAND_Z")
        turned = "_DOWN" if view.up[axis] < 0 else "_UP"
        recording.log("world", getattr(rr.ViewCoordinates, names[axis] + turned), static=True)
        cloud = rr.Points3D(view.cloud.points, colors=view.cloud.colors, radii=view.cloud.voxel_m)
        recording.log("world/cloud", cloud, static=True)
        _log_boxes(rr, recording, "proposals", view.scene.proposals, static=True)
        truth = [instance.box for instance in view.scene.instances]
        _log_boxes(rr, recording, "truth", truth, [i.label for i in view.scene.instances], static=True)
        _log_frames(rr, recording, view)
        for number, item in enumerate(items):
            recording.set_time("question", sequence=number)
            text = "\n\n".join(filter(None, [item["question"], item["answer"], item["verdict"]]))
            recording.log("question", rr.TextDocument(text))
            predicted = item["predicted"]
            labels = [f"IoU {p['iou']:.2f}" if p.get("iou") is not None else "predicted" for p in predicted]
            _log_boxes(rr, recording, "predicted", [p["box"] for p in predicted], labels)
            _log_boxes(rr, recording, "item_truth", item["truth"])
        recording.flush()
        recording.disconnect()


def _log_frames(rr: Any, recording: Any, view: SceneView) -> None:
    path = np.array([frame.world_from_camera[:3, 3] for frame in view.frames])
    recording.log("world/path", rr.LineStrips3D([path], colors=[(90, 169, 255)]), static=True)
    for number, frame in enumerate(view.frames):
        recording.set_time("frame", sequence=number)
        pose = frame.world_from_camera
        recording.log("world/camera", rr.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3]))
        fx, fy, cx, cy = frame.camera
        height, width = frame.size
        recording.log(
            "world/camera/image",
            rr.Pinhole(focal_length=[fx, fy], principal_point=[cx, cy], width=width, height=height),
        )
        recording.log("world/camera/image/rgb", rr.EncodedImage(contents=_jpeg(frame.image), media_type="image/jpeg"))


def _jpeg(image: bytes) -> bytes:
    """Return the image as JPEG: Rerun's viewer does not read WebP."""
    file = io.BytesIO()
    with open_image(image, "a frame of the view") as opened:
        opened.save(file, "JPEG", quality=85)
    return file.getvalue()


def _log_boxes(rr: Any, recording: Any, name: str, boxes: Any, labels: Any = None, static: bool = False) -> None:
    rows = np.asarray(boxes, np.float32).reshape(-1, 6)
    color = COLORS.get(name, COLORS["truth"])
    shape = rr.Boxes3D(centers=rows[:, :3], sizes=rows[:, 3:], colors=[color] * len(rows), labels=labels)
    recording.log(f"world/{name}", shape, static=static)
