"""The viewer's page: one HTML file with everything in it, which asks the network for nothing.

Nothing that a scan, a model or a user wrote is ever HTML here: it travels as JSON in which `<` is escaped, and the
script puts it on the page as text. A content security policy allows the page's own scripts by their hashes and
nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from video3d_plugin import __version__
from video3d_plugin.errors import MissingError
from video3d_plugin.files.atomic import write_bytes
from video3d_plugin.view.items import Item, finite
from video3d_plugin.view.scene_view import SceneView

ASSETS = Path(__file__).resolve().parent / "assets"
LIBRARY = "vendor/three.min.js"
SCRIPTS = ("base.js", "cloud.js", "boxes.js", "camera.js", "look.js", "items.js", "main.js")


def write_page(path: Path, view: SceneView, items: Sequence[Item] = (), **about: Any) -> int:
    """Write the page; what was there is replaced only when the new one is complete. Returns its size in bytes."""
    content = page(view, items, **about).encode("utf-8", "replace")
    write_bytes(path, content)
    return len(content)


def page(view: SceneView, items: Sequence[Item] = (), **about: Any) -> str:
    """The page as text.

    items    questions with answers and boxes (`view.items`), to step through
    about    plain words shown under the title: model="...", ...
    """
    style, library = _asset("viewer.css"), _asset(LIBRARY)
    own = "\n".join(_asset(name) for name in SCRIPTS)
    policy = (
        "default-src 'none'; img-src data: blob:; "
        f"style-src {_hash(style)}; script-src {_hash(library)} {_hash(own)}; base-uri 'none'; form-action 'none'"
    )
    parts = {
        "POLICY": policy,
        "STYLE": style,
        "DATA": as_json(content(view, items, about)),
        "CLOUD": cloud_text(view),
        "LIBRARY": library,
        "SCRIPT": own,
    }
    # one pass over the template: nothing inside a part is looked at again
    pieces = _asset("viewer.html").split("{{")
    return pieces[0] + "".join(parts[name] + rest for name, rest in (piece.split("}}", 1) for piece in pieces[1:]))


def content(view: SceneView, items: Sequence[Item], about: dict[str, Any]) -> dict[str, Any]:
    """What the script reads: plain values, metres, world frame; poses row by row."""
    scene = view.scene
    return {
        "version": __version__,
        "scene": scene.scene_id,
        "about": {name: str(value) for name, value in about.items() if value not in (None, "")},
        "notes": [*scene.notes, *_left_out(view)],
        "up": view.up,
        "cloud": {"count": len(view.cloud), "voxel": round(view.cloud.voxel_m, 6), **_frame_of(view)},
        "frames": [
            {
                "name": frame.name,
                "pose": np.round(frame.world_from_camera, 6).ravel().tolist(),
                "camera": np.round(frame.camera, 4).tolist(),
                "size": frame.size,
                "jpeg": base64.b64encode(frame.jpeg).decode(),
            }
            for frame in view.frames
        ],
        "chosen": view.chosen,
        "sampler": view.sampler,
        "proposals": np.round(scene.proposals.astype(float), 4).tolist(),
        "truth": [{"box": i.box, "label": i.label, "id": i.object_id} for i in scene.instances],
        "items": [_shared(item, scene) for item in items],
    }


def as_json(value: Any) -> str:
    """JSON that can stand inside a <script> element: no `<`, and no line ends that old JavaScript takes for its own."""
    text = json.dumps(finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text = text.encode("utf-8", "replace").decode()  # half of a surrogate pair cannot be written
    escapes = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
    for character, escape in escapes.items():
        text = text.replace(character, escape)
    return text


def cloud_text(view: SceneView) -> str:
    """Base64 of (K, 3) little-endian uint16 positions in steps from the origin, then (K, 3) uint8 colours, then (K, 3)
    int8 normals in 127ths."""
    frame = _frame_of(view)
    steps = (view.cloud.points - np.array(frame["origin"])) / frame["step"]
    positions = np.clip(np.rint(steps), 0, 65535).astype("<u2")
    facing = np.clip(np.rint(view.cloud.facing * 127), -127, 127).astype(np.int8)
    return base64.b64encode(positions.tobytes() + view.cloud.colors.tobytes() + facing.tobytes()).decode()


def _frame_of(view: SceneView) -> dict[str, Any]:
    """Origin and step (metres) of the quantised positions: a room of 10 m has steps of 0.15 mm."""
    points = view.cloud.points
    if not len(points):
        return {"origin": [0.0, 0.0, 0.0], "step": 1.0}
    low, high = points.min(0).astype(float), points.max(0).astype(float)
    return {"origin": low.tolist(), "step": max(float((high - low).max()) / 65535, 1e-6)}


def _shared(item: Item, scene: Any) -> Item:
    """The item, without proposals that are the scene's own: a benchmark's samples would repeat them by the hundred."""
    boxes = item.get("proposals")
    own = np.asarray(scene.proposals, np.float64)
    if boxes is None or len(boxes) != len(own) or not np.allclose(boxes, own, atol=1e-4):
        return item
    return {**item, "proposals": None}


def _left_out(view: SceneView) -> list[str]:
    notes = [f"{view.unshown} of {len(view.scene.frames)} frames are not on this page"] if view.unshown else []
    if view.scene.omissions:
        first = view.scene.omissions[0]
        notes.append(f"{len(view.scene.omissions)} left out, the first: {first.what}: {first.reason}")
    return notes


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@lru_cache
def _asset(name: str) -> str:
    path = ASSETS / name
    if not path.is_file():
        raise MissingError("a part of the viewer is missing", where=path, remedy="install video3d-plugin again")
    return path.read_text(encoding="utf-8")
