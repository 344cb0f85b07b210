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
    matrix[:3, :3] = Rotation.from_rotvec([0.3 * index, 0.1, -0.2]).as_matrix()
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


FORMATS = {
    "7-Scenes": seven_scenes,
    "TUM RGB-D": tum,
    "ARKitScenes": arkit,
    "nerfstudio": nerfstudio,
    "ScanNet's SensReader export": sensreader_export,
}
