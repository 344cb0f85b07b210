"""Entries of scans: recordings, meshes, masks, released files, archives, images, annotation files."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
from harness import Entry
from PIL import Image

sys.path.append(str(Path(__file__).resolve().parent.parent / "helpers"))

from made_up_captures import FORMATS  # noqa: E402
from made_up_scan import (  # noqa: E402
    INTRINSICS,
    LABELS,
    ScanRoot,
    annotation_files,
    color,
    depth_mm,
    jpeg,
    matrix_text,
    png,
    pose,
    sens_bytes,
    two_cubes,
)

from video3d_plugin.data.annotation_files import find_files, load_items  # noqa: E402
from video3d_plugin.data.folder import DataFolder  # noqa: E402
from video3d_plugin.data.frames import check_frame  # noqa: E402
from video3d_plugin.data.inputs import frame_points  # noqa: E402
from video3d_plugin.data.prepare import prepare  # noqa: E402
from video3d_plugin.data.prepare_scene import SceneOptions  # noqa: E402
from video3d_plugin.data.proposals import read_proposals_json  # noqa: E402
from video3d_plugin.data.readers import load_scene, mask3d, mesh, ply
from video3d_plugin.data.readers.embodiedscan import read_infos  # noqa: E402
from video3d_plugin.data.readers.scannet import read_scan  # noqa: E402
from video3d_plugin.data.readers.scannet_files import ScanNetRoot  # noqa: E402
from video3d_plugin.data.readers.video3dllm_release import (  # noqa: E402
    read_aligned_scan,
    read_box_files,
    read_selected_frames,
    read_voxel_file,
)
from video3d_plugin.data.readers.zipped import unpack  # noqa: E402
from video3d_plugin.errors import DataError  # noqa: E402
from video3d_plugin.files.images import depth_from_png, open_image  # noqa: E402
from video3d_plugin.files.text import read_key_values, read_matrix  # noqa: E402
from video3d_plugin.tasks import get  # noqa: E402
from video3d_plugin.tasks.annotations import Context, SceneBoxes  # noqa: E402
from video3d_plugin.tasks.object_classes import Labels  # noqa: E402

SCENE = "scene0000_00"
FARTHEST_M = 1e7


def use(scene):
    """What every use of a scene rests on: frames that decode have points of a scan, boxes are finite.

    A frame that was left out or does not decode counts as a refusal.
    """
    reasons = [omission.reason for omission in scene.omissions]
    for index, frame in enumerate(scene.frames[:3]):
        if (reason := check_frame(frame)) is not None:
            reasons.append(reason)
        else:
            sound(frame_points(scene, index, stride=7), "points")
    sound(scene.proposals, "proposals")
    sound(np.array([instance.box for instance in scene.instances]), "boxes")
    if reasons:
        raise DataError(reasons[0])


def sound(array, what):
    assert array.size == 0 or np.abs(array).max() < FARTHEST_M, f"{what} of {np.abs(array).max()} m"


def load(folder):
    use(load_scene(folder))


def posed(folder, suffix="jpg", kind="JPEG"):
    (folder / "depth_intrinsic.txt").write_text(matrix_text(INTRINSICS))
    for index in range(2):
        (folder / f"{index}.{suffix}").write_bytes(image(kind) if kind != "JPEG" else jpeg(color(index)))
        (folder / f"{index}.png").write_bytes(png(depth_mm(index)))
        (folder / f"{index}.txt").write_text(matrix_text(pose(index)))
    (folder / "gravity.txt").write_text("0 0 -9.81\n")


def image(kind):
    buffer = io.BytesIO()
    Image.fromarray(color(1)).save(buffer, kind)
    return buffer.getvalue()


def capture(kind):
    return lambda folder: FORMATS[kind](folder / "42")


def other_writers(folder):
    """TUM with associations and calib.txt, 3RScan with PGM and _info.txt, posed frames with NumPy depth."""
    FORMATS["TUM RGB-D"](folder / "tum")
    (folder / "tum" / "rgb.txt").unlink()
    times = [line.split()[0] for line in (folder / "tum" / "groundtruth.txt").read_text().splitlines()[1:]]
    pairs = [f"{time} rgb/{i}.png {time} depth/{i}.png" for i, time in enumerate(times)]
    (folder / "tum" / "associations.txt").write_text("\n".join(pairs))
    (folder / "tum" / "calib.txt").write_text("50 50 31.5 23.5 0.01 0 0 0\n")
    info = "m_depthWidth = 64\nm_depthHeight = 48\nm_depthShift = 1000\n"
    matrix = " ".join(f"{value:g}" for value in INTRINSICS.ravel())
    for name in ("3rscan", "posed"):
        (folder / name).mkdir()
    (folder / "3rscan" / "_info.txt").write_text(f"{info}m_calibrationDepthIntrinsic = {matrix}\n")
    (folder / "posed" / "camera-intrinsics.txt").write_text(matrix_text(INTRINSICS[:3, :3]))
    for index in range(2):
        stem = folder / "3rscan" / f"frame-{index:06d}"
        stem.with_suffix(".color.jpg").write_bytes(jpeg(color(index)))
        stem.with_suffix(".depth.pgm").write_bytes(b"P5\n64 48\n65535\n" + depth_mm(index).astype(">u2").tobytes())
        stem.with_suffix(".pose.txt").write_text(matrix_text(pose(index)))
        (folder / "posed" / f"{index}.JPG").write_bytes(jpeg(color(index)))
        (folder / "posed" / f"{index}.txt").write_text(matrix_text(pose(index)))
        np.save(folder / "posed" / f"{index}.npy", depth_mm(index) / np.float32(1000))


def load_all(folder):
    for name in ("tum", "3rscan"):
        load(folder / name)
    use(load_scene(folder / "posed", depth_unit_m=1))


def whole_root(folder):
    root = ScanRoot(folder, frames=3).write_posed_images().write_mesh().write_mask().write_infos()
    (folder / "metadata").mkdir()
    box = [[0, 0, 0, 1, 1, 1]]
    (folder / "metadata" / "scannet_val_pred_box.json").write_text(json.dumps({f"scannet/{SCENE}": box}))
    return root


def read_root(folder):
    root = ScanNetRoot(folder)
    for scene_id in root.scene_ids:
        scan = read_scan(root.files(scene_id))
        use(scan.scene)
        if scan.surface is not None:
            sound(scan.surface, "the surface")


def annotated_root(folder):
    root = ScanRoot(folder / "source", frames=3)
    root.path.mkdir()
    root.write_posed_images().write_mesh().write_mask().write_infos().write_annotations()


def prepare_root(folder):
    """`prepare` leaves out what cannot be used, and its report says so; what it writes can be read."""
    shutil.rmtree(folder / "data", ignore_errors=True)
    prepare(folder / "source", folder / "data", scene=SceneOptions(check="headers"))
    read_data(folder)


def data_folder(folder):
    annotated_root(folder)
    prepare(folder / "source", folder / "data", reference=True, scene=SceneOptions(copy_frames=True))
    shutil.rmtree(folder / "source")


def read_data(folder):
    data = DataFolder.open(folder / "data")
    for scene_id in data.scene_ids:
        scene = data.scene(scene_id)
        use(scene)
        cells = data.surface_cells(scene_id)
        assert cells is None or cells.dtype.kind == "i" and cells.ndim == 2
        data.frames(scene_id, "mc", 2)


def zipped(*write, compression=zipfile.ZIP_DEFLATED):
    def seeds(folder):
        inner = folder / "inner"
        inner.mkdir()
        for function in write:
            function(inner)
        with zipfile.ZipFile(folder / "a.zip", "w", compression) as archive:
            for path in sorted(p for p in inner.rglob("*") if p.is_file()):
                archive.writestr(path.relative_to(inner).as_posix(), path.read_bytes())
        shutil.rmtree(inner)

    return seeds


def read_zip(folder):
    """As an upload: bounded, and everything stays in the folder that it is unpacked into."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    recording = unpack(folder / "a.zip", out, max_bytes=1 << 24, max_files=100)
    for path in out.rglob("*"):
        assert not path.is_symlink() and path.resolve().is_relative_to(out.resolve()), path
    use(load_scene(recording))


def write_annotations(folder):
    (folder / "annotations").mkdir()
    for name, content in annotation_files(SCENE).items():
        (folder / "annotations" / name).write_text(json.dumps(content))


def read_annotations(folder):
    boxes = SceneBoxes({1: (0, 0, 0, 1, 1, 1), 4: (3, 0, 0, 1, 1, 1)}, np.array([[0, 0, 0, 1, 1, 1.0]]))
    for (task, split), paths in find_files([folder / "annotations"])[0].items():
        items = load_items(get(task), paths)
        context = Context({SCENE: boxes}, None)
        docs = get(task).docs(items, split, context)
        json.dumps([docs, [vars(q) for q in get(task).questions(items, split, context)]])


def released(folder):
    data_folder(folder)
    reference = folder / "data" / "reference"
    (folder / "a.pth").write_bytes(next(reference.rglob("*.pth")).read_bytes())
    (folder / "voxels.pkl").write_bytes((reference / "metadata" / "pcd_discrete_0.1.pkl").read_bytes())
    (folder / "select.json").write_bytes((reference / "metadata" / "scannet_select_frames.json").read_bytes())
    (folder / "scannet_val_gt_box.json").write_bytes((reference / "metadata" / "scannet_val_gt_box.json").read_bytes())
    shutil.rmtree(folder / "data")


def read_released_scan(folder):
    scan = read_aligned_scan(folder / "a.pth")
    sound(scan.points, "points")
    sound(np.array([instance.box for instance in scan.instances or ()]), "boxes")


def read_boxes(folder):
    for boxes in read_box_files([folder], "gt").values():
        sound(boxes, "boxes")
    boxes = read_proposals_json(folder / "scannet_val_gt_box.json", SCENE)
    if boxes is not None:
        sound(boxes, "proposals")


def read_cells(folder):
    for cells in read_voxel_file(folder / "voxels.pkl").values():
        sound(cells * 0.1, "cells")


def only(*names):
    """Seeds that are `released`, of which only these files stay."""

    def seeds(folder):
        released(folder)
        for path in folder.iterdir():
            if path.name not in names:
                path.unlink()

    return seeds


def mesh_files(folder):
    root = ScanRoot(folder).write_mesh()
    for path in root.scan.iterdir():
        path.rename(folder / path.name.removeprefix(SCENE))
    shutil.rmtree(folder / "scans")


def read_mesh(folder):
    sound(ply.read_mesh(folder / "_vh_clean_2.ply").vertices * 1e-300, "vertices")


def read_objects(folder):
    segments, groups = folder / "_vh_clean_2.0.010000.segs.json", folder / ".aggregation.json"
    instances, _ = mesh.read_instances(segments, groups, two_cubes().astype(np.float32))
    sound(np.array([instance.box for instance in instances]), "boxes")
    assert all(isinstance(instance.label, str) for instance in instances)


def mask_file(folder):
    path = next((ScanRoot(folder).write_mask().path / "mask").iterdir())
    path.rename(folder / "a.npz")
    path.parent.rmdir()


def texts(folder):
    (folder / "pose.txt").write_text(matrix_text(pose(1)))
    (folder / "meta.txt").write_text("axisAlignment = " + matrix_text(pose(1)).replace("\n", " ") + "\nx = 1\n")
    (folder / "labels.tsv").write_text(LABELS)


def read_texts(folder):
    read_matrix(folder / "pose.txt")
    read_key_values(folder / "meta.txt")
    Labels.read(folder / "labels.tsv")


def infos(folder):
    path = next((ScanRoot(folder).write_infos().path / "embodiedscan").iterdir())
    path.rename(folder / "infos.pkl")
    path.parent.rmdir()
    (folder / "other.pkl").write_bytes(pickle.dumps({"data_list": []}, protocol=2))


def decode(kind):
    def run(folder):
        with open_image((folder / "a").read_bytes(), "a") as opened:
            assert opened.format in ("JPEG", "MPO") if kind == "JPEG" else True
            opened.convert("RGB")

    return run


ENTRIES = [
    Entry("ply", mesh_files, read_mesh, ["*.ply"], count=1500),
    Entry("segments and groups", mesh_files, read_objects, ["*.json"], count=2000),
    Entry("mask", mask_file, lambda folder: mask3d.read_mask_rows(folder / "a.npz"), count=1500),
    Entry("infos", infos, lambda folder: read_infos(folder / "infos.pkl"), ["infos.pkl"], count=1000),
    Entry("voxels", only("voxels.pkl"), read_cells, count=600),
    Entry("boxes", only("scannet_val_gt_box.json"), read_boxes, count=1000),
    Entry("selection", only("select.json"), lambda folder: read_selected_frames(folder / "select.json"), count=800),
    Entry("pth", only("a.pth"), read_released_scan, count=1000),
    Entry("texts", texts, read_texts, count=800),
    Entry(
        "sens", lambda folder: (folder / "a.sens").write_bytes(sens_bytes(3)), lambda f: load(f / "a.sens"), count=1500
    ),
    Entry("posed images", posed, load, count=1000),
    Entry("7-Scenes", capture("7-Scenes"), lambda folder: load(folder / "42"), count=500),
    Entry("TUM", capture("TUM RGB-D"), lambda folder: load(folder / "42"), ["**/*.txt"], count=800),
    Entry("ARKitScenes", capture("ARKitScenes"), lambda folder: load(folder / "42"), ["**/*.pincam", "**/*.traj"]),
    Entry(
        "SensReader's export", capture("ScanNet's SensReader export"), lambda f: load(f / "42"), ["**/*.txt"], count=500
    ),
    Entry(
        "cameras and depth of other writers", other_writers, load_all, ["**/*.txt", "**/*.npy", "**/*.pgm"], count=800
    ),
    Entry("nerfstudio", capture("nerfstudio"), lambda folder: load(folder / "42"), ["**/*.json"], count=1000),
    Entry("scan with all parts", whole_root, read_root, count=800),
    Entry("zip of posed images", zipped(posed), read_zip, count=800),
    Entry("zip of a nerfstudio capture", zipped(capture("nerfstudio")), read_zip, count=400),
    Entry("annotations", write_annotations, read_annotations, count=1000),
    Entry("prepare", annotated_root, prepare_root, ["**/*.json", "**/*.txt", "**/*.tsv"], count=150),
    Entry("data folder", data_folder, read_data, ["data/scenes/*.json", "data/s*/*", "data/frames/**/*"], count=600),
    Entry(
        "depth",
        lambda folder: (folder / "a.png").write_bytes(png(depth_mm(1))),
        lambda folder: depth_from_png((folder / "a.png").read_bytes(), "a"),
        no_files=False,
        count=1000,
    ),
    *(
        Entry(kind, lambda f, kind=kind: (f / "a").write_bytes(image(kind)), decode(kind), no_files=False, count=600)
        for kind in ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
    ),
]
