"""ROS bags of both versions: topics, cameras, poses, depth of another camera, and what is missing or damaged."""

from __future__ import annotations

import numpy as np
import pytest
from made_up_captures import (
    COUNT,
    ROS_START_NS,
    pose,
    ros_bag,
    ros_camera,
    ros_header,
    ros_image,
    ros_transform,
)
from made_up_scan import FOCAL, HEIGHT, WIDTH, color, depth_mm, jpeg, png

from video3d_plugin.data.folder import DataFolder
from video3d_plugin.data.frames import open_color, read_depth, read_depth_m
from video3d_plugin.data.prepare import prepare
from video3d_plugin.data.prepare_scene import SceneOptions
from video3d_plugin.data.readers import load_scene
from video3d_plugin.data.readers.extracted import folder_beside
from video3d_plugin.data.readers.ros_transforms import TransformTree
from video3d_plugin.errors import DataError

pytest.importorskip("rosbags")

COLOR, DEPTH = "/camera/color/image_raw", "/camera/aligned_depth_to_color/image_raw"
IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"


@pytest.fixture(params=[1, 2])
def bag(request, tmp_path):
    path = tmp_path / "bags" / ("walk.bag" if request.param == 1 else "walk")
    ros_bag(path, request.param)
    return path


def test_colour_depth_poses_and_camera_are_those_that_were_written(bag):
    scene = load_scene(bag)
    assert scene.scene_id == "walk" and len(scene.frames) == COUNT and not scene.omissions
    for index, frame in enumerate(scene.frames):
        np.testing.assert_allclose(frame.scan_from_camera, pose(index), atol=1e-6)
        np.testing.assert_array_equal(read_depth(frame), depth_mm(index))
        assert np.abs(np.asarray(open_color(frame), np.float64) - color(index)).mean() < 12
    camera = scene.frames[0].depth_intrinsics
    np.testing.assert_allclose(camera[[0, 1, 0, 1], [0, 1, 2, 2]], [FOCAL, FOCAL, 31.5, 23.5])
    assert any(COLOR in note and DEPTH in note and "map" in note for note in scene.notes)


def test_a_folder_of_bags_is_prepared(bag, tmp_path):
    options = SceneOptions(proposals="auto", copy_frames=True)
    report = prepare(bag.parent, tmp_path / "data", scene=options)
    assert not report.omissions and DataFolder.open(tmp_path / "data").scene_ids == ("walk",)
    assert prepare(bag.parent, tmp_path / "data", scene=options).scenes[0].reused


def images_of(encoding, convert):
    """Change of the colour images: their encoding and their pixels."""

    def change(types, topics):
        kind, messages = topics[COLOR]
        return {
            COLOR: (
                kind,
                [
                    (time, ros_image(types.types, time, "camera_color", encoding, convert(color(index))))
                    for index, (time, _) in enumerate(messages)
                ],
            )
        }

    return change


@pytest.mark.parametrize(
    "encoding, convert",
    [
        ("bgr8", lambda rgb: rgb[..., ::-1]),
        ("rgba8", lambda rgb: np.dstack([rgb, np.full(rgb.shape[:2], 9, np.uint8)])),
    ],
)
def test_colour_encodings_give_the_same_image(tmp_path, encoding, convert):
    ros_bag(tmp_path / "a.bag")
    ros_bag(tmp_path / "b.bag", topics=images_of(encoding, convert))
    first, second = (open_color(load_scene(tmp_path / f"{name}.bag").frames[2]) for name in "ab")
    np.testing.assert_array_equal(np.asarray(first), np.asarray(second))


def test_compressed_images_are_read(tmp_path):
    def change(types, topics):
        t = types.types
        new = {COLOR: (IMAGE, []), DEPTH: (IMAGE, [])}
        colors, depths = [], []
        for index in range(COUNT):
            time = ROS_START_NS + index * 10**8
            header = ros_header(t, time, "camera_color")
            colors.append((time, t[COMPRESSED](header, "rgb8; jpeg compressed bgr8", as_bytes(jpeg(color(index))))))
            data = as_bytes(b"\0" * 12 + png(depth_mm(index)))
            depths.append((time, t[COMPRESSED](header, "16UC1; compressedDepth", data)))
        return {**new, COLOR + "/compressed": (COMPRESSED, colors), DEPTH + "/compressedDepth": (COMPRESSED, depths)}

    ros_bag(tmp_path / "x.bag", topics=change)
    scene = load_scene(tmp_path / "x.bag")
    assert len(scene.frames) == COUNT and (read_depth(scene.frames[3]) == depth_mm(3)).all()
    assert (folder_beside(tmp_path / "x.bag") / f"{scene.frames[3].name}.jpg").read_bytes() == jpeg(color(3))


def as_bytes(data):
    return np.frombuffer(data, np.uint8)


def test_float_depth_is_in_metres(tmp_path):
    def change(types, topics):
        messages = []
        for index, (time, _) in enumerate(topics[DEPTH][1]):
            metres = np.where(depth_mm(index) == 0, np.nan, depth_mm(index) / 1000).astype("<f4")
            messages.append((time, ros_image(types.types, time, "camera_color", "32FC1", metres)))
        return {DEPTH: (IMAGE, messages)}

    ros_bag(tmp_path / "x.bag", topics=change)
    np.testing.assert_array_equal(read_depth(load_scene(tmp_path / "x.bag").frames[1]), depth_mm(1))


def test_depth_of_another_camera_is_brought_into_the_colour_camera(tmp_path):
    """A wall at 2 m, seen by a depth camera beside the colour camera, moves by focal length x baseline / 2 m."""
    wall = np.zeros((HEIGHT, WIDTH), np.uint16)
    wall[:, 20:30] = 2000

    def change(types, topics):
        t, shift = types.types, np.eye(4)
        shift[0, 3] = -6 / FOCAL
        times = [time for time, _ in topics[DEPTH][1]]
        depth = "/camera/depth/image_rect_raw"
        static = t["tf2_msgs/msg/TFMessage"](
            [
                *topics["/tf_static"][1][0][1].transforms,
                ros_transform(t, ROS_START_NS, "camera_color", "camera_depth", shift),
            ]
        )
        return {
            DEPTH: (IMAGE, []),
            depth: (IMAGE, [(time, ros_image(t, time, "camera_depth", "16UC1", wall)) for time in times]),
            "/camera/depth/camera_info": (
                "sensor_msgs/msg/CameraInfo",
                [(time, ros_camera(t, time, "camera_depth", 1)) for time in times],
            ),
            "/tf_static": ("tf2_msgs/msg/TFMessage", [(ROS_START_NS, static)]),
        }

    ros_bag(tmp_path / "x.bag", topics=change)
    frame = load_scene(tmp_path / "x.bag").frames[0]
    assert frame.depth_camera is not None
    seen = np.flatnonzero(read_depth_m(frame)[HEIGHT // 2])
    assert seen.min() == 20 - 3 and seen.max() == 29 - 3
    prepare(tmp_path, tmp_path / "data", scene=SceneOptions(proposals="auto", copy_frames=True))
    copied = DataFolder.open(tmp_path / "data").scene("x").frames[0]
    np.testing.assert_array_equal(read_depth(copied), read_depth(frame))


def without(*names):
    return lambda types, topics: {name: (topics[name][0], []) for name in names}


@pytest.mark.parametrize(
    "topics, message",
    [
        (without(COLOR), r"no topic of colour images; image topics: .*aligned_depth_to_color/image_raw \(16UC1\)"),
        (without(DEPTH), "no topic of depth images"),
        (without("/camera/color/camera_info"), "no camera_info"),
        (without("/tf", "/tf_static"), "no poses: neither does /tf move"),
    ],
)
def test_what_is_missing_is_named(tmp_path, topics, message):
    ros_bag(tmp_path / "x.bag", topics=topics)
    with pytest.raises(DataError, match=message):
        load_scene(tmp_path / "x.bag")


def odometry(child):
    def change(types, topics):
        t, messages = types.types, []
        for time, moving in topics["/tf"][1]:
            transform = moving.transforms[0].transform
            point = t["geometry_msgs/msg/Point"](
                transform.translation.x, transform.translation.y, transform.translation.z
            )
            covariance, zero = np.zeros(36), t["geometry_msgs/msg/Vector3"](0, 0, 0)
            posed = t["geometry_msgs/msg/Pose"](point, transform.rotation)
            with_covariance = t["geometry_msgs/msg/PoseWithCovariance"](posed, covariance)
            twist = t["geometry_msgs/msg/TwistWithCovariance"](t["geometry_msgs/msg/Twist"](zero, zero), covariance)
            header = ros_header(t, time, "odom")
            messages.append((time, t["nav_msgs/msg/Odometry"](header, child, with_covariance, twist)))
        return {"/tf": (topics["/tf"][0], []), "/odom": ("nav_msgs/msg/Odometry", messages)}

    return change


@pytest.mark.parametrize("child", ["base", ""])
def test_odometry_moves_the_camera_where_tf_does_not(tmp_path, child):
    ros_bag(tmp_path / "x.bag", topics=odometry(child))
    scene = load_scene(tmp_path / "x.bag")
    np.testing.assert_allclose(scene.frames[2].scan_from_camera, pose(2), atol=1e-6)


def test_odometry_of_an_unrelated_frame_is_refused(tmp_path):
    ros_bag(tmp_path / "x.bag", topics=odometry("robot"))
    with pytest.raises(DataError, match="moves robot, but no transform leads from there to camera_color"):
        load_scene(tmp_path / "x.bag")


def test_images_without_a_partner_or_a_pose_are_left_out(tmp_path):
    def change(types, topics):
        tf, depth = topics["/tf"], topics[DEPTH]
        return {"/tf": (tf[0], tf[1][:3]), DEPTH: (depth[0], depth[1][1:])}

    ros_bag(tmp_path / "x.bag", topics=change)
    scene = load_scene(tmp_path / "x.bag")
    assert len(scene.frames) == 2
    assert sorted(o.reason for o in scene.omissions) == [
        "no depth image",
        "no pose at that time",
        "no pose at that time",
    ]


@pytest.mark.parametrize("name, damage", [("x.bag", slice(0, 3000)), ("x.bag", slice(0, 0)), ("x.mcap", slice(0, 900))])
def test_a_damaged_bag_is_one_line(tmp_path, name, damage):
    ros_bag(tmp_path / "good.bag")
    (tmp_path / name).write_bytes((tmp_path / "good.bag").read_bytes()[damage])
    with pytest.raises(DataError, match=f"{name}: cannot be read: .*reindex"):
        load_scene(tmp_path / name)


def tree_of(*edges):
    tree = TransformTree()
    for parent, child, time, x in edges:
        tree.add(parent, child, time, (x, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    return tree


def test_transforms_are_interpolated_and_not_extrapolated():
    tree = tree_of(("map", "camera", 0, 0.0), ("map", "camera", 10**8, 1.0), ("map", "camera", 2 * 10**9, 5.0))
    assert tree.between("map", "camera", 25_000_000)[0, 3] == pytest.approx(0.25)
    assert tree.between("map", "camera", -40_000_000)[0, 3] == 0
    for time in (-60_000_000, 10**9, 3 * 10**9):  # before, in a gap of 1.9 s, behind
        assert tree.between("map", "camera", time) == "no pose at that time"


def test_a_circle_of_transforms_ends():
    tree = tree_of(("a", "b", 0, 1.0), ("b", "a", 0, 1.0), ("c", "c", 0, 1.0))
    assert abs(tree.between("a", "b", 0)[0, 3]) == 1 and "no transform" in tree.between("c", "b", 0)


def test_a_quaternion_and_its_negative_are_one_rotation():
    tree = TransformTree()
    tree.add("map", "camera", 0, (0, 0, 0), (0, 0, 0.1, 0.995))
    tree.add("map", "camera", 10**8, (0, 0, 0), (0, 0, -0.1, -0.995))
    np.testing.assert_allclose(tree.between("map", "camera", 5 * 10**7), tree.between("map", "camera", 0), atol=1e-9)
