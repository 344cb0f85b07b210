"""A made-up scan in ScanNet's layout, written here byte by byte and not with the package's own writers."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import sparse

WIDTH, HEIGHT, FOCAL = 64, 48, 50.0
INTRINSICS = np.array([[FOCAL, 0, 31.5, 0], [0, FOCAL, 23.5, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
LABELS = (
    "id\traw_category\tcategory\tcount\tnyu40id\tnyu40class\n1\tchair\tchair\t9\t5\tchair\n2\tdesk\tdesk\t9\t14\tdesk\n"
)


def pose(index: int) -> np.ndarray:
    """The camera moves along x and looks along z."""
    matrix = np.eye(4)
    matrix[0, 3] = 0.2 * index
    return matrix


def depth_mm(index: int) -> np.ndarray:
    """A slanted wall two metres away with a hole in the corner."""
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    depth = (2000 + 5 * u + 3 * v + 10 * index).astype(np.uint16)
    depth[:6, :6] = 0
    return depth


def color(index: int) -> np.ndarray:
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([u * 4, v * 5, np.full_like(u, 20 * index % 256)], -1).astype(np.uint8)


def png(depth: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(depth).save(buffer, "PNG")
    return buffer.getvalue()


def jpeg(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def matrix_text(matrix: np.ndarray) -> str:
    return "\n".join(" ".join(f"{value:f}" for value in row) for row in matrix) + "\n"


def sens_bytes(count: int = 6, poses=None, version: int = 4, name: bytes = b"test") -> bytes:
    head = struct.pack("<IQ", version, len(name)) + name
    for matrix in (INTRINSICS, np.eye(4), INTRINSICS, np.eye(4)):
        head += struct.pack("<16f", *matrix.ravel())
    head += struct.pack("<ii4IfQ", 2, 1, WIDTH, HEIGHT, WIDTH, HEIGHT, 1000.0, count)
    for index in range(count):
        rgb, depth = jpeg(color(index)), zlib.compress(depth_mm(index).tobytes())
        matrix = pose(index) if poses is None else poses[index]
        head += struct.pack("<16f4Q", *matrix.ravel(), index, index, len(rgb), len(depth)) + rgb + depth
    return head + struct.pack("<Q", 0)


def ply_bytes(vertices: np.ndarray, faces: int = 1) -> bytes:
    header = (
        f"ply\nformat binary_little_endian 1.0\nelement vertex {len(vertices)}\nproperty float x\nproperty float y\n"
        "property float z\nproperty uchar red\nproperty uchar green\nproperty uchar blue\nproperty uchar alpha\n"
        f"element face {faces}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    rows = b"".join(struct.pack("<3f4B", *vertex, 1, 2, 3, 255) for vertex in vertices)
    return header.encode() + rows + struct.pack("<B3i", 3, 0, 1, 2) * faces


@dataclass
class ScanRoot:
    """A root with one scan; `path` is the root, the rest says what was written."""

    path: Path
    scene_id: str = "scene0000_00"
    frames: int = 6
    # eight corners of two unit cubes; vertices 0..7 belong to object 1, 8..15 to object 4 (ids with gaps)
    vertices: np.ndarray = field(default_factory=lambda: two_cubes())

    @property
    def posed(self) -> Path:
        return self.path / "posed_images" / self.scene_id

    @property
    def scan(self) -> Path:
        return self.path / "scans" / self.scene_id

    def write_posed_images(self) -> ScanRoot:
        self.posed.mkdir(parents=True)
        for name in ("intrinsic", "depth_intrinsic"):
            (self.posed / f"{name}.txt").write_text(matrix_text(INTRINSICS))
        for index in range(self.frames):
            stem = self.posed / f"{index * 10:05d}"
            stem.with_suffix(".jpg").write_bytes(jpeg(color(index)))
            stem.with_suffix(".png").write_bytes(png(depth_mm(index)))
            stem.with_suffix(".txt").write_text(matrix_text(pose(index)))
        return self

    def write_sens(self, **arguments) -> ScanRoot:
        self.scan.mkdir(parents=True, exist_ok=True)
        (self.scan / f"{self.scene_id}.sens").write_bytes(sens_bytes(self.frames, **arguments))
        return self

    def write_mesh(self) -> ScanRoot:
        self.scan.mkdir(parents=True, exist_ok=True)
        prefix = str(self.scan / self.scene_id)
        Path(prefix + "_vh_clean_2.ply").write_bytes(ply_bytes(self.vertices))
        segments = [7] * 4 + [70] * 4 + [3] * 8
        Path(prefix + "_vh_clean_2.0.010000.segs.json").write_text(json.dumps({"segIndices": segments}))
        groups = [
            {"id": 0, "objectId": 4, "segments": [3], "label": "desk"},
            {"id": 1, "objectId": 1, "segments": [7, 70], "label": "chair"},
        ]
        Path(prefix + ".aggregation.json").write_text(json.dumps({"segGroups": groups}))
        alignment = " ".join(f"{value:f}" for value in shift(10, 0, 0).ravel())
        Path(prefix + ".txt").write_text(f"axisAlignment = {alignment} \ncolorHeight = {HEIGHT}\n")
        return self

    def write_mask(self) -> ScanRoot:
        masks = np.zeros((3, len(self.vertices)), np.int8)
        masks[0, :8], masks[1, 8:], masks[2, 8:12] = 1, 1, 1
        (self.path / "mask").mkdir(parents=True, exist_ok=True)
        sparse.save_npz(self.path / "mask" / f"{self.scene_id}.mask.npz", sparse.csr_matrix(masks))
        return self

    def write_infos(self, names=None, alignment=None, **entry) -> ScanRoot:
        names = [f"{index * 10:05d}" for index in range(self.frames)] if names is None else names
        item = {
            "sample_idx": f"scannet/{self.scene_id}",
            "images": [{"img_path": f"scannet/posed_images/{self.scene_id}/{name}.jpg"} for name in names],
            "axis_align_matrix": shift(10, 0, 0) if alignment is None else alignment,
            "depth_cam2img": INTRINSICS,
            **entry,
        }
        folder = self.path / "embodiedscan"
        folder.mkdir(parents=True, exist_ok=True)
        content = {"metainfo": {}, "data_list": [item, {"sample_idx": "3rscan/x", "images": []}]}
        (folder / "embodiedscan_infos_val.pkl").write_bytes(pickle.dumps(content))
        return self

    def write_annotations(self) -> ScanRoot:
        folder = self.path / "annotations"
        folder.mkdir(parents=True)
        (self.path / "scannetv2-labels.combined.tsv").write_text(LABELS)
        for name, content in annotation_files(self.scene_id).items():
            (folder / name).write_text(json.dumps(content))
        return self


def shift(x: float, y: float, z: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = x, y, z
    return matrix


def two_cubes() -> np.ndarray:
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float32)
    return np.concatenate([corners, corners * [1, 2, 3] + [4, 0, 0]]).astype(np.float32)


def annotation_files(scene_id: str) -> dict[str, object]:
    """The five benchmarks' files, a few items each."""
    said = [
        ("1", "chair", "0", "this is a chair."),
        ("4", "desk", "0", "a DESK, brown."),
        ("1", "chair", "1", "it again"),
    ]
    refer = [
        {"scene_id": scene_id, "object_id": o, "object_name": n, "ann_id": a, "description": d, "token": d.split()}
        for o, n, a, d in said
    ]
    multi = [
        {"scene_id": scene_id, "object_ids": ids, "object_name": "chair", "ann_id": i, "eval_type": kind,
         "description": "the chairs", "spatial": True, "color": False, "texture": False, "shape": False}
        for i, (ids, kind) in enumerate([([1], "st_wo_d"), ([4, 1], "mt"), ([], "zt_wo_d")])
    ]  # fmt: skip
    qa = {"scene_id": scene_id, "question_id": "val-scene0000-0", "question": "What is it?"}
    situated = {
        "questions": [
            {"scene_id": scene_id, "situation": "I stand.", "alternative_situation": ["I sit.", "I lie."],
             "question": "Is it red?", "question_id": 7}
        ]
    }  # fmt: skip
    answers = {
        "annotations": [
            {"scene_id": scene_id, "question_id": 7, "answers": [{"answer": "yes"}],
             "position": {"x": 1.5, "y": 2, "z": 0}, "rotation": {"_x": 0, "_y": 0, "_z": 1, "_w": 0}}
        ]
    }  # fmt: skip
    return {
        "ScanRefer_filtered_val.json": refer,
        "multi3drefer_val.json": multi,
        "ScanQA_v1.0_val.json": [{**qa, "answers": ["a chair", "chair"], "object_ids": [1], "object_names": ["chair"]}],
        "ScanQA_v1.0_test_wo_obj.json": [qa],
        "v1_balanced_questions_test_scannetv2.json": situated,
        "v1_balanced_sqa_annotations_test_scannetv2.json": answers,
    }
