"""One camera path in the layout of each recording format: FORMATS[name](folder) writes it."""

from __future__ import annotations

import io
import json

import numpy as np
from made_up_scan import FOCAL, HEIGHT, INTRINSICS, WIDTH, color, depth_mm, jpeg, matrix_text, png
from PIL import Image
from scipy.spatial.transform import Rotation

COUNT = 5


def pose(index):
    """A camera that turns about a slanted axis and moves."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec([-0.3 * index, 0.1, -0.2]).as_matrix()
    matrix[:3, 3] = [0.2 * index, -0.1 * index, 1.5]
    return matrix


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def color_png(index):
    buffer = io.BytesIO()
    Image.fromarray(color(index)).save(buffer, "PNG")
    return buffer.getvalue()


def seven_scenes(folder):
    for index in range(COUNT):
        depth = np.where(depth_mm(index) == 0, np.uint16(65535), depth_mm(index))
        write(folder / f"frame-{index:06d}.color.png", color_png(index))
        write(folder / f"frame-{index:06d}.depth.png", png(depth))
        write(folder / f"frame-{index:06d}.pose.txt", matrix_text(pose(index)))


def tum(folder):
    rgb, depth, truth = ["# timestamp file"], ["# depth maps"], ["# ground truth"]
    for index in range(COUNT):
        time = 1305031452.5 + index / 30
        write(folder / "rgb" / f"{index}.png", color_png(index))
        write(folder / "depth" / f"{index}.png", png(depth_mm(index) * 5))  # 1/5000 m
        rgb.append(f"{time:.6f} rgb/{index}.png")
        depth.append(f"{time + 0.004:.6f} depth/{index}.png")
        x, y, z, w = Rotation.from_matrix(pose(index)[:3, :3]).as_quat()
        tx, ty, tz = pose(index)[:3, 3]
        truth.append(f"{time - 0.003:.4f} {tx:.8f} {ty:.8f} {tz:.8f} {x:.8f} {y:.8f} {z:.8f} {w:.8f}")
    for name, rows in (("rgb", rgb), ("depth", depth), ("groundtruth", truth)):
        write(folder / f"{name}.txt", "\n".join(rows) + "\n")


def arkit(folder):
    base, rows = folder / f"{folder.name}_frames", []
    for index in range(COUNT):
        name = f"{folder.name}_{100 + index / 10:.3f}"
        write(base / "lowres_wide" / f"{name}.png", color_png(index))
        write(base / "lowres_depth" / f"{name}.png", png(depth_mm(index)))
        write(base / "lowres_wide_intrinsics" / f"{name}.pincam", f"{WIDTH} {HEIGHT} {FOCAL} {FOCAL} 31.5 23.5\n")
        inverse = np.linalg.inv(pose(index))
        values = [*Rotation.from_matrix(inverse[:3, :3]).as_rotvec(), *inverse[:3, 3]]
        rows.append(f"{100 + index / 10 + 0.01:.6f} " + " ".join(f"{value:.8f}" for value in values))
    write(base / "lowres_wide.traj", "\n".join(rows))


def nerfstudio(folder):
    frames = []
    for index in range(COUNT):
        write(folder / "images" / f"frame_{index}.jpg", jpeg(color(index)))
        write(folder / "depths" / f"frame_{index}.png", png(depth_mm(index)))
        frames.append(
            {
                "file_path": f"images/frame_{index}.jpg",
                "depth_file_path": f"depths/frame_{index}.png",
                "transform_matrix": (pose(index) @ np.diag([1, -1, -1, 1])).tolist(),
            }
        )
    # the colour camera has twice the resolution of the depth image; pixel centres lie at halves
    camera = {"fl_x": 2 * FOCAL, "fl_y": 2 * FOCAL, "cx": 64.0, "cy": 48.0, "w": 2 * WIDTH, "h": 2 * HEIGHT}
    write(folder / "transforms.json", json.dumps({**camera, "frames": frames[::-1]}))


def sensreader_export(folder):
    """As ScanNet's SensReader/python writes it: colour is larger than depth, and each camera has its intrinsics."""
    for index in range(COUNT):
        large = np.asarray(Image.fromarray(color(index)).resize((2 * WIDTH, 2 * HEIGHT)))
        write(folder / "color" / f"{index * 9}.jpg", jpeg(large))
        write(folder / "depth" / f"{index * 9}.png", png(depth_mm(index)))
        write(folder / "pose" / f"{index * 9}.txt", matrix_text(pose(index)))
    write(folder / "intrinsic" / "intrinsic_depth.txt", matrix_text(INTRINSICS))
    write(folder / "intrinsic" / "intrinsic_color.txt", matrix_text(INTRINSICS * np.diag([2, 2, 1, 1]).sum(1)[:, None]))
    for name in ("extrinsic_color", "extrinsic_depth"):
        write(folder / "intrinsic" / f"{name}.txt", matrix_text(np.eye(4)))


OPENGL = np.diag([1.0, -1, -1, 1])
Y_UP = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])  # the world of phones, from one with z up


def confidence(high):
    """Low in the left quarter, high elsewhere, as an 8-bit grey PNG."""
    levels = np.full((HEIGHT, WIDTH), high, np.uint8)
    levels[:, : WIDTH // 4] = 0
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "PNG")
    return buffer.getvalue()


def polycam(folder, confident=False):
    for index in range(COUNT):
        name, matrix = str(1000000 + index), Y_UP @ pose(index) @ OPENGL
        camera = {f"t_{row}{column}": matrix[row, column] for row in range(3) for column in range(4)}
        camera |= {"fx": 2 * FOCAL, "fy": 2 * FOCAL, "cx": 63.5, "cy": 47.5, "width": 2 * WIDTH, "height": 2 * HEIGHT}
        write(folder / "keyframes" / "corrected_images" / f"{name}.jpg", jpeg(color(index)))
        write(folder / "keyframes" / "corrected_cameras" / f"{name}.json", json.dumps(camera))
        write(folder / "keyframes" / "depth" / f"{name}.png", png(depth_mm(index)))
        if confident:
            write(folder / "keyframes" / "confidence" / f"{name}.png", confidence(255))
    write(folder / "mesh_info.json", "{}")


def video(count=COUNT, codec="libx264"):
    """An MP4 of the colour images."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(color(index), format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def stray_scanner(folder, confident=False, codec="libx264"):
    rows = ["timestamp, frame, x, y, z, qx, qy, qz, qw"]
    for index in range(COUNT):
        matrix = Y_UP @ pose(index)
        quaternion = Rotation.from_matrix(matrix[:3, :3]).as_quat()
        rows.append(", ".join(map(str, [index / 60, f"{index:06d}", *matrix[:3, 3], *quaternion])))
        write(folder / "depth" / f"{index:06d}.png", png(depth_mm(index)))
        if confident:
            write(folder / "confidence" / f"{index:06d}.png", confidence(2))
    write(folder / "odometry.csv", "\n".join(rows) + "\n")
    write(folder / "camera_matrix.csv", f"{FOCAL}, 0, 31.5\n0, {FOCAL}, 23.5\n0, 0, 1\n")
    write(folder / "rgb.mp4", video(codec=codec))


def record3d(folder, confident=False):
    import lzfse

    poses = []
    for index in range(COUNT):
        matrix = Y_UP @ pose(index) @ OPENGL
        poses.append([*Rotation.from_matrix(matrix[:3, :3]).as_quat(), *matrix[:3, 3]])
        write(folder / "rgbd" / f"{index}.jpg", jpeg(color(index)))
        depth = np.where(depth_mm(index) == 0, np.nan, depth_mm(index) / 1000).astype("<f4")
        write(folder / "rgbd" / f"{index}.depth", lzfse.compress(depth.tobytes()))
        if confident:
            levels = np.asarray(Image.open(io.BytesIO(confidence(2))))
            write(folder / "rgbd" / f"{index}.conf", lzfse.compress(levels.tobytes()))
    camera = [2 * FOCAL, 0, 0, 0, 2 * FOCAL, 0, 63.5, 47.5, 1]  # column by column
    size = {"w": 2 * WIDTH, "h": 2 * HEIGHT, "dw": WIDTH, "dh": HEIGHT}
    write(folder / "metadata", json.dumps({"K": camera, **size, "fps": 60, "poses": poses}))


def scanner_app(folder, confident=False):
    for index in range(COUNT):
        large = Image.fromarray(color(index)).resize((2 * WIDTH, 2 * HEIGHT))
        write(folder / f"frame_{index:05d}.jpg", jpeg(np.asarray(large)))
        write(folder / f"depth_{index:05d}.png", png(depth_mm(index)))
        matrix = (Y_UP @ pose(index) @ OPENGL).ravel().tolist()
        camera = [2 * FOCAL, 0, 63.5, 0, 2 * FOCAL, 47.5, 0, 0, 1]
        write(folder / f"frame_{index:05d}.json", json.dumps({"cameraPoseARFrame": matrix, "intrinsics": camera}))
        if confident:
            write(folder / f"conf_{index:05d}.png", confidence(2))
    write(folder / "frame_99999.json", "{}")  # a pose without an image, as most have
    write(folder / "info.json", "{}")


def open3d(folder):
    rows = []
    for index in range(COUNT):
        write(folder / "color" / f"{index:05d}.jpg", jpeg(color(index)))
        write(folder / "depth" / f"{index:05d}.png", png(depth_mm(index)))
        rows += [f"{index} {index} {index + 1}", matrix_text(pose(index)).strip()]
    matrix = [2 * FOCAL, 0, 0, 0, 2 * FOCAL, 0, 63.5, 47.5, 1]  # column by column
    write(folder / "trajectory.log", "\n".join(rows) + "\n")
    write(folder / "camera.json", json.dumps({"width": 2 * WIDTH, "height": 2 * HEIGHT, "intrinsic_matrix": matrix}))


def replica(folder):
    for index in range(COUNT):
        write(folder / "results" / f"frame{index:06d}.jpg", jpeg(color(index)))
        write(folder / "results" / f"depth{index:06d}.png", png(depth_mm(index) * 5))
    write(folder / "traj.txt", "\n".join(" ".join(f"{v:.8f}" for v in pose(i).ravel()) for i in range(COUNT)))
    camera = {"w": WIDTH, "h": HEIGHT, "fx": FOCAL, "fy": FOCAL, "cx": 31.5, "cy": 23.5, "scale": 5000.0}
    write(folder / "cam_params.json", json.dumps({"camera": camera}))


FORMATS = {
    "7-Scenes": seven_scenes,
    "TUM RGB-D": tum,
    "ARKitScenes": arkit,
    "nerfstudio": nerfstudio,
    "ScanNet's SensReader export": sensreader_export,
    "Polycam": polycam,
    "Stray Scanner": stray_scanner,
    "Record3D": record3d,
    "3D Scanner App": scanner_app,
    "Open3D/Redwood": open3d,
    "Replica (NICE-SLAM)": replica,
}
LIBRARIES = {"Stray Scanner": "av", "Record3D": "lzfse", "ROS bag": "rosbags"}  # of the extra `apps`


def ros_bag(path, version=1, topics=None):
    """A ROS bag: .bag for version 1, a folder for version 2. `topics` changes {name: (message type, messages)}."""
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    types = get_typestore(Stores.ROS1_NOETIC if version == 1 else Stores.ROS2_HUMBLE)
    if version == 1:
        types.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms", "tf2_msgs/msg/TFMessage"))
    made = ros_topics(types, version)
    for name, value in (topics(types, made) if topics else {}).items():
        made[name] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    if version == 1:
        from rosbags.rosbag1 import Writer

        writer, serialize = Writer(path), types.serialize_ros1
    else:
        from rosbags.rosbag2 import Writer

        writer, serialize = Writer(path, version=9), types.serialize_cdr
    with writer:
        for name, (kind, messages) in made.items():
            connection = writer.add_connection(name, kind, typestore=types)
            for time, message in messages:
                writer.write(connection, time, serialize(message, kind))


ROS_START_NS = 1_700_000_000_000_000_000


def ros_topics(types, version):
    """{topic: (type, [(time, message)])} of the made-up camera path."""
    t = types.types
    camera, images, depths, transforms = [], [], [], []
    for index in range(COUNT):
        time = ROS_START_NS + index * 10**8
        images.append((time, ros_image(t, time, "camera_color", "rgb8", color(index))))
        depths.append((time, ros_image(t, time + 4_000_000, "camera_color", "16UC1", depth_mm(index))))
        camera.append((time, ros_camera(t, time, "camera_color", version)))
        transforms.append((time, ros_transform(t, time, "map", "base", pose(index) @ MOUNT_INVERSE)))
    fixed = ros_transform(t, ROS_START_NS, "base", "camera_color", np.linalg.inv(MOUNT_INVERSE))
    static = t["tf2_msgs/msg/TFMessage"]([fixed])
    moving = [(time, t["tf2_msgs/msg/TFMessage"]([transform])) for time, transform in transforms]
    return {
        "/camera/color/image_raw": ("sensor_msgs/msg/Image", images),
        "/camera/color/camera_info": ("sensor_msgs/msg/CameraInfo", camera),
        "/camera/aligned_depth_to_color/image_raw": ("sensor_msgs/msg/Image", depths),
        "/tf": ("tf2_msgs/msg/TFMessage", moving),
        "/tf_static": ("tf2_msgs/msg/TFMessage", [(ROS_START_NS, static)]),
    }


MOUNT_INVERSE = np.array([[0.0, 0, 1, -0.1], [-1, 0, 0, 0.2], [0, -1, 0, 0.3], [0, 0, 0, 1]])


def ros_header(t, time, frame):
    kind = t["std_msgs/msg/Header"]
    stamp = t["builtin_interfaces/msg/Time"](time // 10**9, time % 10**9)
    return kind(0, stamp, frame) if "seq" in kind.__dataclass_fields__ else kind(stamp, frame)


def ros_image(t, time, frame, encoding, pixels):
    data = np.frombuffer(np.ascontiguousarray(pixels).tobytes(), np.uint8)
    height, width = pixels.shape[:2]
    header = ros_header(t, time, frame)
    return t["sensor_msgs/msg/Image"](header, height, width, encoding, 0, len(data) // height, data)


def ros_camera(t, time, frame, version, focal=FOCAL, distortion=0.0):
    matrix = np.array([focal, 0, 31.5, 0, focal, 23.5, 0, 0, 1])
    projection = np.insert(matrix, [3, 6, 9], 0.0)
    region = t["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
    header = ros_header(t, time, frame)
    values = [np.array([distortion, 0, 0, 0, 0]), matrix, np.eye(3).ravel(), projection]
    return t["sensor_msgs/msg/CameraInfo"](header, HEIGHT, WIDTH, "plumb_bob", *values, 0, 0, region)


def ros_transform(t, time, parent, child, matrix):
    position = t["geometry_msgs/msg/Vector3"](*matrix[:3, 3])
    rotation = t["geometry_msgs/msg/Quaternion"](*Rotation.from_matrix(matrix[:3, :3]).as_quat())
    transform = t["geometry_msgs/msg/Transform"](position, rotation)
    return t["geometry_msgs/msg/TransformStamped"](ros_header(t, time, parent), child, transform)
