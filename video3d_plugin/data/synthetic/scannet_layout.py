"""Writes ScanNet's own files. Every file appears whole: written beside its place, then renamed."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from video3d_plugin.data.synthetic.mesh import Mesh
from video3d_plugin.data.synthetic.objects import KINDS
from video3d_plugin.data.synthetic.rooms import Room
from video3d_plugin.files import atomic

LABEL_COLUMNS = (
    "id raw_category category count nyu40id eigen13id nyuClass nyu40class eigen13class ModelNet40 ModelNet10 "
    "ShapeNetCore55 synsetoffset wnsynsetid wnsynsetkey mpcat40 mpcat40index"
).split()
DEPTH_SHIFT = 1000.0  # units of the depth files in a metre


@dataclass(frozen=True)
class RenderedFrame:
    """One encoded frame: jpeg bytes, depth (H, W) uint16 mm, scan_from_camera (4, 4), metres (-inf: pose lost)."""

    jpeg: bytes
    depth_mm: np.ndarray
    scan_from_camera: np.ndarray


def write_bytes(path: Path, content: bytes) -> None:
    """Atomic, but not synced: rooms have thousands of files, and are made again as they were."""
    atomic.write_bytes(path, content, sync=False)


def write_json(path: Path, content) -> None:
    write_bytes(path, (json.dumps(content, indent=1) + "\n").encode())


def matrix_text(matrix: np.ndarray) -> bytes:
    """Four rows of four numbers, "%f" as the exporter writes them."""
    return "".join(" ".join(f"{v:f}" for v in row) + "\n" for row in matrix).encode()


def write_posed_images(root: Path, scene_id: str, frames: list[RenderedFrame], camera: np.ndarray) -> None:
    """posed_images/<id>/: 00000.jpg, .png (16 bit, mm), .txt for every frame, numbered by tens as the exporter does."""
    import cv2

    folder = root / "posed_images" / scene_id
    for index, frame in enumerate(frames):
        stem = f"{10 * index:05d}"
        done, png = cv2.imencode(".png", frame.depth_mm, [cv2.IMWRITE_PNG_COMPRESSION, 4])
        assert done, "opencv could not encode a 16 bit png"
        write_bytes(folder / f"{stem}.jpg", frame.jpeg)
        write_bytes(folder / f"{stem}.png", png.tobytes())
        write_bytes(folder / f"{stem}.txt", matrix_text(frame.scan_from_camera))
    for name in ("intrinsic.txt", "depth_intrinsic.txt"):
        write_bytes(folder / name, matrix_text(camera))


def write_sens(root: Path, scene_id: str, frames: list[RenderedFrame], camera: np.ndarray) -> None:
    """scans/<id>/<id>.sens, version 4: jpeg colour, zlib_ushort depth, no IMU."""
    height, width = frames[0].depth_mm.shape
    name = b"video3d synthetic rooms"
    out = BytesIO()
    out.write(struct.pack("<IQ", 4, len(name)) + name)
    for matrix in (camera, np.eye(4), camera, np.eye(4)):
        out.write(matrix.astype("<f4").tobytes())
    out.write(struct.pack("<iiIIIIfQ", 2, 1, width, height, width, height, DEPTH_SHIFT, len(frames)))
    for index, frame in enumerate(frames):
        depth = zlib.compress(frame.depth_mm.astype("<u2").tobytes(), 6)
        stamp = 333_333 * index
        out.write(frame.scan_from_camera.astype("<f4").tobytes())
        out.write(struct.pack("<QQQQ", stamp, stamp, len(frame.jpeg), len(depth)))
        out.write(frame.jpeg + depth)
    out.write(struct.pack("<Q", 0))
    write_bytes(_scan_file(root, scene_id, ".sens"), out.getvalue())


def write_meta(root: Path, room: Room, camera: np.ndarray, size: tuple[int, int], frames: int) -> None:
    """scans/<id>/<id>.txt with the axis alignment."""
    height, width = size
    numbers = lambda matrix: " ".join(f"{v:f}" for v in np.asarray(matrix).ravel()) + " "  # noqa: E731
    values = {
        "axisAlignment": numbers(room.world_from_scan),
        "colorHeight": height,
        "colorToDepthExtrinsics": numbers(np.eye(4)),
        "colorWidth": width,
        "depthHeight": height,
        "depthWidth": width,
    }
    for sensor in ("color", "depth"):
        values |= {
            f"fx_{sensor}": f"{camera[0, 0]:f}",
            f"fy_{sensor}": f"{camera[1, 1]:f}",
            f"mx_{sensor}": f"{camera[0, 2]:f}",
            f"my_{sensor}": f"{camera[1, 2]:f}",
        }
    values |= {
        "numColorFrames": frames,
        "numDepthFrames": frames,
        "numIMUmeasurements": 0,
        "sceneType": room.theme.title(),
    }
    write_bytes(_scan_file(root, room.scene_id, ".txt"), "".join(f"{k} = {v}\n" for k, v in values.items()).encode())


def write_mesh(root: Path, room: Room, mesh: Mesh) -> None:
    """The mesh, its over-segmentation, and which segments make up which object."""
    scene_id, segments_name = room.scene_id, f"{room.scene_id}_vh_clean_2.0.010000.segs.json"
    write_bytes(_scan_file(root, scene_id, "_vh_clean_2.ply"), _ply(mesh))
    segments = {
        "params": {"kThresh": "0.0001", "segMinVerts": "20"},
        "sceneId": scene_id,
        "segIndices": [int(s) for s in mesh.segment],
    }
    write_bytes(root / "scans" / scene_id / segments_name, json.dumps(segments).encode())
    groups = [
        {"id": number, "objectId": thing.object_id, "segments": mesh.segments_of(thing.object_id), "label": thing.label}
        for number, thing in enumerate(sorted((*room.things, *room.shell), key=lambda t: t.object_id))
    ]
    aggregation = {
        "sceneId": f"scannet.{scene_id}",
        "appId": "Aggregator.v2",
        "segGroups": groups,
        "segmentsFile": f"scannet.{segments_name}",
    }
    write_bytes(_scan_file(root, scene_id, ".aggregation.json"), json.dumps(aggregation).encode())


def _ply(mesh: Mesh) -> bytes:
    kinds = {
        "x": "float",
        "y": "float",
        "z": "float",
        "red": "uchar",
        "green": "uchar",
        "blue": "uchar",
        "alpha": "uchar",
    }
    vertex = "".join(f"property {kind} {name}\n" for name, kind in kinds.items())
    header = (
        f"ply\nformat binary_little_endian 1.0\ncomment video3d synthetic rooms\nelement vertex {len(mesh.points)}\n"
        f"{vertex}element face {len(mesh.faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    vertices = np.zeros(len(mesh.points), [("xyz", "<f4", 3), ("rgba", "u1", 4)])
    vertices["xyz"], vertices["rgba"][:, :3], vertices["rgba"][:, 3] = mesh.points, mesh.rgb, 255
    faces = np.zeros(len(mesh.faces), [("n", "u1"), ("index", "<i4", 3)])
    faces["n"], faces["index"] = 3, mesh.faces
    return header.encode() + vertices.tobytes() + faces.tobytes()


def write_masks(root: Path, scene_id: str, masks: np.ndarray) -> None:
    """mask/<id>.mask.npz: scipy's sparse matrix (proposals, vertices) of int8, as LEO published Mask3D's output."""
    from scipy import sparse

    out = BytesIO()
    sparse.save_npz(out, sparse.csr_matrix(masks.astype(np.int8)))
    write_bytes(root / "mask" / f"{scene_id}.mask.npz", out.getvalue())


def write_labels(root: Path) -> None:
    """scannetv2-labels.combined.tsv: the real columns, with a row for each class used here."""
    rows = ["\t".join(LABEL_COLUMNS)]
    used = {"wall": (1, "wall"), "floor": (2, "floor")} | {label: kind.nyu40 for label, kind in KINDS.items()}
    for number, (label, (nyu40_id, nyu40_class)) in enumerate(used.items(), 1):
        row = dict.fromkeys(LABEL_COLUMNS, "")
        row |= {
            "id": str(number),
            "raw_category": label,
            "category": label,
            "count": "1",
            "nyu40id": str(nyu40_id),
            "nyuClass": label,
            "nyu40class": nyu40_class,
        }
        rows.append("\t".join(row.values()))
    write_bytes(root / "scannetv2-labels.combined.tsv", ("\n".join(rows) + "\n").encode())


def write_annotations(root: Path, split: str, items: dict[str, list]) -> list[Path]:
    """The official annotation files. `items` has scanrefer, multi3drefer, scanqa, sqa3d_questions, sqa3d_annotations.

    The official SQA3D scores its test split where the others score val, so a val split here is SQA3D's "test".
    """
    sqa_split = {"val": "test"}.get(split, split)
    common = {
        "info": {"description": "SQA3D-like questions on synthetic rooms", "version": "1.0"},
        "license": {"name": "as the software that made them"},
        "data_type": "scannet",
        "data_subtype": "v2",
    }
    task = {"task_type": "Situated question answering"}
    files = {
        f"ScanRefer_filtered_{split}.json": items["scanrefer"],
        f"multi3drefer_{split}.json": items["multi3drefer"],
        f"ScanQA_v1.0_{split}.json": items["scanqa"],
        f"v1_balanced_questions_{sqa_split}_scannetv2.json": common | task | {"questions": items["sqa3d_questions"]},
        f"v1_balanced_sqa_annotations_{sqa_split}_scannetv2.json": common | {"annotations": items["sqa3d_annotations"]},
    }
    for name, content in files.items():
        write_json(root / "annotations" / name, content)
    return [root / "annotations" / name for name in files]


def _scan_file(root: Path, scene_id: str, ending: str) -> Path:
    return root / "scans" / scene_id / f"{scene_id}{ending}"
