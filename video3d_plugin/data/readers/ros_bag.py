"""ROS bags: .bag (ROS 1), and .mcap, .db3 or their folder (ROS 2), read by the library rosbags.

Of the topics of type sensor_msgs/Image and CompressedImage, one of colour and one of depth are used; depth in the
colour camera's frame is preferred. Depth is 16UC1 in millimetres or 32FC1 in metres (REP 118); 16UC1 also as
compressedDepth. Cameras are those of the topics camera_info. Poses come from /tf and /tf_static; where nothing moves
there, from a topic of type Odometry, PoseStamped or TransformStamped. Images are written beside the bag (see
`extracted`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from video3d_plugin.data.readers.capture_format import CaptureFormat, FrameEntry, image_size
from video3d_plugin.data.readers.extracted import extract_images, folder_beside
from video3d_plugin.data.readers.ros_files import COLOR_ENCODINGS, DEPTH_ENCODINGS, Bag, Image, color_jpeg, depth_png
from video3d_plugin.data.readers.ros_transforms import TransformTree
from video3d_plugin.errors import DataError, joined_names
from video3d_plugin.notes import Note
from video3d_plugin.scene import DepthCamera

_SUFFIXES = (".bag", ".mcap", ".db3")
_PAIRING_NS = 20_000_000
_MAX_IMAGES = 1_000_000


@dataclass(frozen=True)
class _Camera:
    """fx, fy, cx, cy in pixels of images of (height, width), and whether the lens distorts."""

    values: tuple[float, float, float, float]
    size: tuple[int, int]
    is_distorted: bool


def _matches(path: Path) -> bool:
    if path.is_dir():
        return (path / "metadata.yaml").is_file() and any(next(path.glob(f"*{s}"), None) for s in _SUFFIXES)
    return path.suffix.lower() in _SUFFIXES


def _list_frames(path: Path, notes: list[str]) -> Iterator[FrameEntry]:
    with Bag(path) as bag:
        first = {topic: image for topic in bag.topics("Image", "CompressedImage") if (image := bag.first(topic))}
        color, depth = _choose_topics(path, first)
        cameras = {topic: _camera(bag, topic, image) for topic, image in ((color, first[color]), (depth, first[depth]))}
        camera = cameras[color] or cameras[depth]
        if camera is None:
            raise DataError(f"no camera_info for {color}", where=path, remedy="record the camera_info topics too")
        tree, root = _transforms(bag, first[color].frame_id, notes)
        stamps = {topic: _stamps(bag, topic) for topic in (color, depth)}
    registered = _depth_camera(tree, first[color], first[depth], cameras[depth], notes)
    if camera.is_distorted:
        notes.append("lens distortion is not corrected")
    notes.append(f"colour of {color}, depth of {depth}, poses in {root}")
    times = np.array(stamps[depth], np.int64)
    folder = folder_beside(path)
    for stamp in stamps[color]:
        name = _name(stamp)
        nearest = int(np.abs(times - stamp).argmin())
        is_paired = abs(int(times[nearest]) - stamp) <= _PAIRING_NS
        yield FrameEntry(
            name,
            folder / f"{name}.jpg",
            folder / f"{_name(int(times[nearest]))}.png" if is_paired else None,
            tree.between(root, first[color].frame_id, stamp),
            camera.values,
            camera.size,
            unit_m=0.001,
            depth_camera=registered,
        )


def _extract(path: Path, entries: list[FrameEntry]) -> list[FrameEntry]:
    """Write the colour and depth images of the entries, as far as they have a pose and both images."""
    usable = [entry for entry in entries if entry.depth is not None and not isinstance(entry.pose, str)]
    names = [file.name for entry in usable for file in (entry.color, entry.depth) if file is not None]

    def decode(missing: set[str]) -> Iterator[tuple[str, bytes]]:
        with Bag(path) as bag:
            first = {topic: image for topic in bag.topics("Image", "CompressedImage") if (image := bag.first(topic))}
            color, depth = _choose_topics(path, first)
            for topic, image in bag.images(color, depth):
                name = _name(image.stamp_ns) + (".jpg" if topic == color else ".png")
                if name in missing:
                    missing.discard(name)
                    data = color_jpeg(image) if topic == color else depth_png(image)
                    if data is not None:
                        yield name, data

    extract_images(path, names, decode)
    return entries


def _name(stamp_ns: int) -> str:
    return f"{stamp_ns // 10**9}.{stamp_ns % 10**9:09d}"


def _choose_topics(where: Path, first: dict[str, Image]) -> tuple[str, str]:
    """Return the topics of colour and depth; DataError that names what there is if one is missing."""
    colors = [topic for topic, image in first.items() if image.encoding in COLOR_ENCODINGS]
    depths = [topic for topic, image in first.items() if image.encoding in DEPTH_ENCODINGS]
    if not colors or not depths:
        what = f"no topic of {'depth' if colors else 'colour'} images"
        there = joined_names(f"{topic} ({image.encoding})" for topic, image in first.items())
        raise DataError(f"{what}; image topics: {there or 'none'}", where=where, remedy="record colour and depth")
    color = min(colors, key=lambda topic: (not _has_word(topic, "color", "rgb"), first[topic].is_compressed, topic))
    frame = first[color].frame_id
    depth = min(
        depths,
        key=lambda topic: (
            first[topic].frame_id != frame,
            not _has_word(topic, "aligned", "registered"),
            first[topic].is_compressed,
            topic,
        ),
    )
    return color, depth


def _has_word(topic: str, *words: str) -> bool:
    return any(word in topic.lower() for word in words)


def _camera(bag: Bag, topic: str, image: Image) -> _Camera | None:
    """Return the camera of an image topic: of the camera_info beside it, else of one with its frame."""
    infos = bag.topics("CameraInfo")
    parents = [topic.rpartition("/")[0], topic.rpartition("/")[0].rpartition("/")[0]]
    beside = [f"{parent}/camera_info" for parent in parents if f"{parent}/camera_info" in infos]
    for info in (*beside, *infos):
        message = bag.first_message(info)
        if message is None or info not in beside and message.header.frame_id.lstrip("/") != image.frame_id:
            continue
        matrix, distortion = (getattr(message, n, getattr(message, n.upper(), np.zeros(0))) for n in ("k", "d"))
        if len(matrix) != 9 or not np.isfinite(matrix).all() or not matrix[0] > 0:
            continue
        values = tuple(float(matrix[index]) for index in (0, 4, 2, 5))
        size = image_size(int(message.height), int(message.width), bag.path)
        return _Camera(values, size, bool(np.any(np.abs(distortion) > 1e-9)))  # type: ignore[arg-type]
    return None


def _transforms(bag: Bag, color_frame: str, notes: list[str]) -> tuple[TransformTree, str]:
    """Return the bag's transforms, and the frame in which the colour camera moves."""
    tree = TransformTree()
    for topic, message in bag.messages("TFMessage", "tfMessage"):
        for transform in message.transforms:
            tree.add(*_edge(transform), is_static="static" in topic)
    if tree.moves(color_frame):
        return tree, tree.root_of(color_frame)
    for kind in ("Odometry", "PoseStamped", "TransformStamped"):
        topics = bag.topics(kind)
        if not topics:
            continue
        topic, mount, child = max(topics, key=bag.count), tree.root_of(color_frame), ""
        for _, message in bag.messages(kind, topic=topic):
            child = getattr(message, "child_frame_id", "").lstrip("/")
            parent, time_ns, position, quaternion = _pose(message)
            tree.add(parent, child or mount, time_ns, position, quaternion)
        if not tree.moves(color_frame):
            what = f"{topic} moves {child}, but no transform leads from there to {color_frame}"
            raise DataError(what, where=bag.path, remedy="record /tf_static too")
        if not child:
            notes.append(Note(f"{topic} does not say what it moves: taken as the frame {mount}", "assumption"))
        return tree, tree.root_of(color_frame)
    what = "no poses: neither does /tf move the camera, nor is there an Odometry, PoseStamped or TransformStamped topic"
    raise DataError(what, where=bag.path, remedy="record /tf and /tf_static, or run a SLAM node and record its poses")


def _edge(transform: Any) -> tuple[str, str, int, tuple[float, float, float], tuple[float, float, float, float]]:
    parent, time_ns, position, quaternion = _pose(transform)
    return parent, transform.child_frame_id.lstrip("/"), time_ns, position, quaternion


def _pose(message: Any) -> tuple[str, int, tuple[float, float, float], tuple[float, float, float, float]]:
    """Return parent frame, time, position and quaternion of a TransformStamped, PoseStamped or Odometry message."""
    if hasattr(message, "transform"):
        position, rotation = message.transform.translation, message.transform.rotation
    else:
        pose = message.pose.pose if hasattr(message.pose, "pose") else message.pose
        position, rotation = pose.position, pose.orientation
    stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
    quaternion = (rotation.x, rotation.y, rotation.z, rotation.w)
    return message.header.frame_id.lstrip("/"), stamp, (position.x, position.y, position.z), quaternion


def _stamps(bag: Bag, topic: str) -> list[int]:
    """Return when the images of a topic were taken, in nanoseconds, sorted."""
    if bag.count(topic) > _MAX_IMAGES:
        raise DataError(f"{bag.count(topic)} images of {topic}", where=bag.path, remedy=f"at most {_MAX_IMAGES}")
    return sorted(image.stamp_ns for _, image in bag.images(topic))


def _depth_camera(
    tree: TransformTree, color: Image, depth: Image, camera: _Camera | None, notes: list[str]
) -> DepthCamera | None:
    """Return the depth camera if it is not the colour camera; None, with a note if that is a guess, if it is."""
    if depth.frame_id == color.frame_id:
        return None
    transform = tree.between(color.frame_id, depth.frame_id, depth.stamp_ns)
    if isinstance(transform, str) or camera is None:
        reason = transform if isinstance(transform, str) else "no camera_info of the depth camera"
        notes.append(Note(f"depth is taken as registered to colour: {reason}", "assumption"))
        return None
    intrinsics = np.eye(4)
    intrinsics[[0, 1, 0, 1], [0, 1, 2, 2]] = camera.values
    return DepthCamera(intrinsics, camera.size, transform)


FORMAT = CaptureFormat("ROS bag", _matches, _list_frames, extract=_extract, suffixes=_SUFFIXES)
