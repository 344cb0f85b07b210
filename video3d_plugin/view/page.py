"""The viewer's page: one self-contained HTML file that makes no network requests.

Texts of scans, models and users never become HTML: they are passed as JSON with `<` escaped, and the script inserts
them as text. The content security policy allows the page's own scripts by their hashes and nothing else.
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
from video3d_plugin.data.remarks import assumptions
from video3d_plugin.errors import MissingError
from video3d_plugin.files.atomic import write_bytes
from video3d_plugin.scene import Scene
from video3d_plugin.view.items import Item, finite
from video3d_plugin.view.scene_view import SceneView

ASSETS = Path(__file__).resolve().parent / "assets"
LIBRARY = "vendor/three.min.js"
SCRIPTS = (
    "base.js", "shading.js", "pace.js", "cloud.js", "guides.js", "boxes.js", "camera.js", "look.js", "timeline.js",
    "tools.js", "asker.js", "items.js", "keyboard.js", "controls.js", "main.js",
)  # fmt: skip


def write_page(path: Path, view: SceneView, items: Sequence[Item] = (), **about: Any) -> int:
    """Write the page. An existing file is replaced only once the new one is complete.

    Args:
        path: The HTML file.
        view: The scene (`gather`).
        items: Questions with answers and boxes (`view.items`).
        about: Values shown under the title, such as model="...".

    Returns:
        The file's size in bytes.
    """
    content = page(view, items, **about).encode("utf-8", "replace")
    write_bytes(path, content)
    return len(content)


def page(view: SceneView, items: Sequence[Item] = (), *, asks: bool = False, **about: Any) -> str:
    """Return the page as HTML.

    Args:
        view: The scene (`gather`).
        items: Questions with answers and boxes (`view.items`).
        asks: Whether the page is framed by one that asks questions, and hands it the points that are clicked.
        about: Values shown under the title, such as model="...".

    Raises:
        MissingError: A file of the viewer is missing from the installation.
    """
    style, library = _asset("viewer.css"), _asset(LIBRARY)
    script = "\n".join(_asset(name) for name in SCRIPTS)
    policy = (
        "default-src 'none'; img-src data: blob:; "
        f"style-src {_hash(style)}; script-src {_hash(library)} {_hash(script)}; base-uri 'none'; form-action 'none'"
    )
    parts = {
        "POLICY": policy,
        "STYLE": style,
        "DATA": as_json(content(view, items, about) | {"asks": asks}),
        "CLOUD": cloud_text(view),
        "LIBRARY": library,
        "SCRIPT": script,
    }
    # In one pass over the template, so that {{...}} in a scan's text is not replaced.
    pieces = _asset("viewer.html").split("{{")
    return pieces[0] + "".join(parts[name] + rest for name, rest in (piece.split("}}", 1) for piece in pieces[1:]))


def content(view: SceneView, items: Sequence[Item], about: dict[str, Any]) -> dict[str, Any]:
    """Return the data for the page's script.

    Args:
        view: The scene.
        items: Questions with answers and boxes.
        about: Values shown under the title.

    Returns:
        Values that `as_json` takes; metres, world frame, poses (4, 4) row by row.
    """
    scene = view.scene
    assumed = assumptions(scene)
    return {
        "version": __version__,
        "scene": scene.scene_id,
        "about": {name: str(value) for name, value in about.items() if value not in (None, "")},
        "assumptions": assumed,
        "notes": [*(note for note in scene.notes if note not in assumed), *_omission_notes(view)],
        "up": view.up,
        "cloud": {"count": len(view.cloud), "voxel": round(view.cloud.voxel_m, 6), **_frame_of(view)},
        "frames": [
            {
                "name": frame.name,
                "pose": np.round(frame.world_from_camera, 6).ravel().tolist(),
                "camera": np.round(frame.camera, 4).tolist(),
                "size": frame.size,
                "image": base64.b64encode(frame.image).decode(),
            }
            for frame in view.frames
        ],
        "chosen": view.chosen,
        "sampler": view.sampler,
        "proposals": np.round(scene.proposals.astype(float), 4).tolist(),
        "proposalLabels": list(scene.proposal_labels),
        "proposalScores": np.round(scene.proposal_scores.astype(float), 4).tolist(),
        "truth": [{"box": i.box, "label": i.label, "id": i.object_id} for i in scene.instances],
        "items": [item_for_page(item, scene) for item in items],
    }


def as_json(value: Any) -> str:
    """Encode a value as JSON that is safe inside a <script> element.

    Args:
        value: JSON-like values; numbers that are not finite become null.
    """
    text = json.dumps(finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text = text.encode("utf-8", "replace").decode()  # a lone surrogate cannot be encoded
    escapes = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
    for character, escape in escapes.items():
        text = text.replace(character, escape)
    return text


def cloud_text(view: SceneView) -> str:
    """Encode the point cloud for the page.

    Args:
        view: The scene.

    Returns:
        Base64 of (K, 3) little-endian uint16 positions (see `_frame_of`), (K, 3) uint8 colours, and (K, 3) int8
        normals in units of 1/127.
    """
    frame = _frame_of(view)
    steps = (view.cloud.points - np.array(frame["origin"])) / frame["step"]
    positions = np.clip(np.rint(steps), 0, 65535).astype("<u2")
    facing = np.clip(np.rint(view.cloud.facing * 127), -127, 127).astype(np.int8)
    return base64.b64encode(positions.tobytes() + view.cloud.colors.tobytes() + facing.tobytes()).decode()


def _frame_of(view: SceneView) -> dict[str, Any]:
    """Origin and step of the quantised positions, in metres: 0.15 mm for a room of 10 m."""
    points = view.cloud.points
    if not len(points):
        return {"origin": [0.0, 0.0, 0.0], "step": 1.0}
    low, high = points.min(0).astype(float), points.max(0).astype(float)
    return {"origin": low.tolist(), "step": max(float((high - low).max()) / 65535, 1e-6)}


def item_for_page(item: Item, scene: Scene) -> Item:
    """Return an item as the page's script takes it.

    Proposals are dropped if they are the scene's: the samples of a benchmark would repeat them often.

    Args:
        item: The item (`view.items`).
        scene: The scene of the page.
    """
    boxes = item.get("proposals")
    of_scene = np.asarray(scene.proposals, np.float64)
    if boxes is None or len(boxes) != len(of_scene) or not np.allclose(boxes, of_scene, atol=1e-4):
        return item
    return {**item, "proposals": None}


def _omission_notes(view: SceneView) -> list[str]:
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
        raise MissingError("a file of the viewer is missing", where=path, remedy="install video3d-plugin again")
    return path.read_text(encoding="utf-8")
