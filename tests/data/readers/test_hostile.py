"""Files from strangers: links out of the tree, and thousands of damaged files that end in clean errors only."""

from __future__ import annotations

import json
import os
import random
import resource
import struct
from pathlib import Path

import pytest
from made_up_captures import FORMATS
from made_up_scan import INTRINSICS, LABELS, ScanRoot, annotation_files, jpeg, matrix_text, png, sens_bytes, two_cubes
from made_up_scan import color as color_of
from made_up_scan import depth_mm as depth_of
from made_up_scan import pose as pose_of

from video3d_plugin.data.annotation_files import find_files
from video3d_plugin.data.folder import DataFolder
from video3d_plugin.data.frames import check_frame
from video3d_plugin.data.prepare import prepare
from video3d_plugin.data.prepare_scene import SceneOptions
from video3d_plugin.data.proposals import read_proposals_json
from video3d_plugin.data.readers import load_scene, mask3d, mesh, ply
from video3d_plugin.data.readers.embodiedscan import read_infos
from video3d_plugin.data.readers.sens import read_header
from video3d_plugin.data.readers.video3dllm_release import read_aligned_scan, read_box_files, read_voxel_file
from video3d_plugin.errors import DataError, Video3DError
from video3d_plugin.files.text import read_key_values, read_matrix
from video3d_plugin.tasks import get
from video3d_plugin.tasks.annotations import Context, SceneBoxes
from video3d_plugin.tasks.object_classes import Labels

INTERESTING = [0, 1, 2, 3, 0x7F, 0x80, 0xFF, ord("["), ord("{"), ord('"'), ord("-"), ord("9"), ord("e"), ord("\n")]


def damage(data: bytes, rng: random.Random) -> bytes:
    """A few random edits: flipped, inserted, removed and repeated bytes, huge numbers, an early end."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(7)
        if kind == 0:
            out[at : at + 1] = bytes([rng.choice(INTERESTING)])
        elif kind == 1:
            out[at:at] = bytes(rng.choices(INTERESTING, k=rng.randint(1, 9)))
        elif kind == 2:
            del out[at : at + rng.randint(1, 40)]
        elif kind == 3:
            del out[at:]
        elif kind == 4:
            out[at : at + 8] = rng.choice([b"\xff" * 8, b"\xff\xff\xff\x7f" * 2, bytes(8), b"\x00\x00\x00\x40" * 2])
        elif kind == 5:
            out[at:at] = out[at : at + rng.randint(1, 200)]
        else:
            out[at : at + 1] = rng.choice(
                [b"1e999", b"-inf", b"nan", b"null", b"99999999999999999999", b"[[[[", b"\\ud800"]
            )
    return bytes(out)


def read_sens(path):
    scene = load_scene(path)
    for frame in scene.frames[:2]:
        check_frame(frame)


def read_posed(path):
    """`path` is one of a posed folder's files; a good copy of the others lies beside it."""
    scene = load_scene(path.parent)
    for frame in scene.frames:
        check_frame(frame)


def read_segments(path):
    mesh.read_instances(path, path.parent / "good.aggregation.json", two_cubes())


def read_aggregation(path):
    mesh.read_instances(path.parent / "good.segs.json", path, two_cubes())


def read_annotations(path):
    files, _ = find_files([path.parent])
    for (task, split), paths in files.items():
        context = Context({"scene0000_00": SceneBoxes({1: (0.0,) * 6, 4: (1.0,) * 6}, two_cubes().reshape(-1, 6))})
        items = get(task).read(paths)
        get(task).docs(items, split, context)
        get(task).questions(items, split, context)


def read_data_folder(path):
    folder = DataFolder.open(path.parents[1] if path.parent.name in ("scenes", "docs") else path.parent)
    for scene_id in folder.scene_ids:
        folder.scene(scene_id)
    for task in folder.tasks():
        folder.docs(*task)


CAPTURE_FILES = (
    ("7-Scenes", "frame-000001.pose.txt"),
    ("TUM RGB-D", "groundtruth.txt"),
    ("TUM RGB-D", "rgb.txt"),
    ("ARKitScenes", "42_frames/lowres_wide.traj"),
    ("nerfstudio", "transforms.json"),
)


def _capture_of(path):
    return next(parent for parent in path.parents if parent.name == "42")


def write_posed(folder: Path) -> None:
    folder.mkdir()
    (folder / "depth_intrinsic.txt").write_text(matrix_text(INTRINSICS))
    for index in range(2):
        (folder / f"{index}.jpg").write_bytes(jpeg(color_of(index)))
        (folder / f"{index}.png").write_bytes(png(depth_of(index)))
        (folder / f"{index}.txt").write_text(matrix_text(pose_of(1)))


@pytest.fixture
def targets(tmp_path):
    """{name: (the file that is damaged, its good bytes, the reader)}."""
    root = ScanRoot(tmp_path / "root").write_posed_images().write_mesh().write_mask().write_infos().write_annotations()
    prepare(root.path, tmp_path / "data", reference=True, scene=SceneOptions(check="headers"))
    prefix = str(root.scan / root.scene_id)
    reference = tmp_path / "data" / "reference"
    made: dict[str, tuple[Path, bytes, object]] = {}

    def add(name, reader, data, file=None):
        path = tmp_path / "fuzz" / name / (file or name)
        path.parent.mkdir(parents=True, exist_ok=True)
        made[name] = path, data, reader

    add("a.sens", read_sens, sens_bytes(2))
    add("a.ply", ply.read_vertices, Path(prefix + "_vh_clean_2.ply").read_bytes())
    add("faces.ply", ply.read_mesh, Path(prefix + "_vh_clean_2.ply").read_bytes())
    add("a.mask.npz", mask3d.read_mask_rows, (root.path / "mask" / f"{root.scene_id}.mask.npz").read_bytes())
    add("infos.pkl", read_infos, next((root.path / "embodiedscan").iterdir()).read_bytes())
    add("voxels.pkl", read_voxel_file, (reference / "metadata" / "pcd_discrete_0.1.pkl").read_bytes())
    boxes = (reference / "metadata" / "scannet_val_gt_box.json").read_bytes()
    add("boxes", lambda path: read_box_files([path.parent], "gt"), boxes, "scannet_val_gt_box.json")
    add("proposals.json", lambda path: read_proposals_json(path, "scene0000_00"), boxes)
    pose = matrix_text(pose_of(1)).encode()
    add("pose.txt", read_matrix, pose)
    add("meta.txt", read_key_values, Path(prefix + ".txt").read_bytes())
    add("labels.tsv", Labels.read, LABELS.encode())
    segments, aggregation = Path(prefix + "_vh_clean_2.0.010000.segs.json"), Path(prefix + ".aggregation.json")
    add("a.segs.json", read_segments, segments.read_bytes())
    add("a.aggregation.json", read_aggregation, aggregation.read_bytes())
    for name, source in (("a.segs.json", aggregation), ("a.aggregation.json", segments)):
        good = "good.aggregation.json" if source is aggregation else "good.segs.json"
        (tmp_path / "fuzz" / name / good).write_bytes(source.read_bytes())
    for name, content in annotation_files("scene0000_00").items():
        add(name, read_annotations, json.dumps(content).encode())
        other = name.replace("questions", "sqa_annotations") if "questions" in name else name
        other = name.replace("sqa_annotations", "questions") if "sqa_annotations" in name else other
        if other != name:
            beside = tmp_path / "fuzz" / name / other
            beside.write_text(json.dumps(annotation_files("scene0000_00")[other]))
    for suffix in ("jpg", "png", "txt"):
        write_posed(tmp_path / "fuzz" / f"posed-{suffix}")
        file = tmp_path / "fuzz" / f"posed-{suffix}" / f"0.{suffix}"
        add(f"posed-{suffix}", read_posed, file.read_bytes(), file.name)
    scan = reference / "scannet" / "pcd_with_object_aabbs" / "val" / "scene0000_00.pth"
    if scan.is_file():
        add("a.pth", read_aligned_scan, scan.read_bytes())
    for kind, file in CAPTURE_FILES:
        folder = tmp_path / "fuzz" / f"capture-{kind}" / "42"
        FORMATS[kind](folder)
        made[f"{kind} {file}"] = folder / file, (folder / file).read_bytes(), lambda path: load_scene(_capture_of(path))
    for file in ("video3d.json", "scenes/scene0000_00.json", "docs/scanrefer_val.json"):
        made[file] = tmp_path / "data" / file, (tmp_path / "data" / file).read_bytes(), read_data_folder
    return made


def run(targets, rounds, seed):
    survived = refused = 0
    for number, (name, (path, good, reader)) in enumerate(targets.items()):
        rng = random.Random(seed * 1000 + number)
        path.write_bytes(good)
        reader(path)  # the good file is read, or the rest would prove nothing
        for _ in range(rounds):
            data = damage(good, rng)
            path.write_bytes(data)
            try:
                reader(path)
                survived += 1
            except Video3DError as error:
                refused += 1
                assert "\n" not in str(error), name
            except Exception as error:
                kept = path.with_name("found-" + path.name)
                kept.write_bytes(data)
                raise AssertionError(f"{name}: {error!r} from {kept}") from error
        path.write_bytes(good)
    return survived, refused


def test_damaged_files_end_in_clean_errors(targets):
    survived, refused = run(targets, 25, seed=1)
    assert refused > 100 and survived > 20


@pytest.mark.slow
def test_tens_of_thousands_of_damaged_files_end_in_clean_errors_within_bounded_memory(targets):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    survived, refused = run(targets, 1000, seed=2)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert survived + refused > 20_000 and grown < 500, f"{grown:.0f} MB"


def test_a_scan_behind_a_link_out_of_the_source_is_refused_unless_allowed(full_root, tmp_path):
    outside = tmp_path / "outside"
    full_root.posed.rename(outside)
    full_root.posed.symlink_to(outside)
    with pytest.raises(Video3DError, match="is a link out of the source folder .*--follow-links"):
        prepare(full_root.path, tmp_path / "data")
    prepare(full_root.path, tmp_path / "data2", scene=SceneOptions(follow_links=True))
    assert len(DataFolder.open(tmp_path / "data2").scene("scene0000_00").frames) == 6


@pytest.mark.parametrize("name", ["a.sens", "a.zip", "folder"])
@pytest.mark.parametrize("kind", ["pipe", "device", "loop", "long name"])
def test_what_is_no_file_is_refused_at_once(tmp_path, name, kind):
    path = tmp_path / name
    if kind == "pipe":
        os.mkfifo(path)
    elif kind != "long name":
        path.symlink_to("/dev/zero" if kind == "device" else path)
    else:
        path = tmp_path / (name * 100)
    with pytest.raises(Video3DError) as caught:
        load_scene(path)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("part", ["_vh_clean_2.ply", ".aggregation.json", "_vh_clean_2.0.010000.segs.json", ".txt"])
def test_a_pipe_in_a_scan_does_not_block(full_root, part):
    path = full_root.scan / f"{full_root.scene_id}{part}"
    path.unlink()
    os.mkfifo(path)
    scene = load_scene(full_root.path)
    assert len(scene.frames) == full_root.frames


def test_a_pipe_that_a_record_names_does_not_block(full_root, tmp_path):
    prepare(full_root.path, tmp_path / "data")
    frame = DataFolder.open(tmp_path / "data").scene(full_root.scene_id).frames[0]
    for path in (frame.color.path, frame.depth.path):
        path.unlink()
        os.mkfifo(path)
        assert "is not a regular file" in check_frame(frame)


def test_a_frame_behind_a_link_out_of_the_source_is_left_out_and_counted(full_root, tmp_path):
    (full_root.posed / "00020.jpg").rename(tmp_path / "secret.jpg")
    (full_root.posed / "00020.jpg").symlink_to(tmp_path / "secret.jpg")
    report = prepare(full_root.path, tmp_path / "data", scene=SceneOptions(copy_frames=True))
    assert len(DataFolder.open(tmp_path / "data").scene("scene0000_00").frames) == 5
    assert "is a link out of the source folder" in report.table()
    assert not (tmp_path / "data" / "frames" / "scene0000_00" / "00020.jpg").exists()


def test_a_link_inside_the_source_is_followed(full_root, tmp_path):
    (full_root.posed / "00020.jpg").rename(full_root.path / "kept.jpg")
    (full_root.posed / "00020.jpg").symlink_to(full_root.path / "kept.jpg")
    assert not prepare(full_root.path, tmp_path / "data").omissions


def test_annotations_behind_a_link_out_of_the_source_are_noted(full_root, tmp_path):
    path = full_root.path / "annotations" / "multi3drefer_val.json"
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    report = prepare(full_root.path, tmp_path / "data")
    assert ("multi3drefer", "val") not in DataFolder.open(tmp_path / "data").tasks()
    assert "multi3drefer_val.json is a link out of" in report.table()


@pytest.mark.parametrize("name", ["embodiedscan", "embodiedscan/embodiedscan_infos_val.pkl", "metadata"])
def test_files_of_all_scans_behind_a_link_out_of_the_source_are_refused_unless_allowed(full_root, tmp_path, name):
    (full_root.path / "metadata").mkdir()
    (full_root.path / "metadata" / "scannet_val_pred_box.json").write_text("{}")
    (full_root.path / name).rename(tmp_path / "elsewhere")
    (full_root.path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="is a link out of the source folder .*--follow-links"):
        prepare(full_root.path, tmp_path / "data")
    assert prepare(full_root.path, tmp_path / "data2", scene=SceneOptions(follow_links=True)).scenes


def test_a_label_table_behind_a_link_out_of_the_source_is_noted(full_root, tmp_path):
    path = full_root.path / "scannetv2-labels.combined.tsv"
    path.rename(tmp_path / "labels.tsv")
    path.symlink_to(tmp_path / "labels.tsv")
    assert f"{path} is a link out of" in prepare(full_root.path, tmp_path / "data").table()
    followed = prepare(full_root.path, tmp_path / "data", scene=SceneOptions(follow_links=True))
    assert "scannetv2-labels" not in followed.table()


def test_half_a_surrogate_pair_in_a_description_survives(full_root, tmp_path):
    path = full_root.path / "annotations" / "multi3drefer_val.json"
    items = json.loads(path.read_text())
    items[0]["description"] = "caf\u00e9 \ud800"
    path.write_text(json.dumps(items))
    prepare(full_root.path, tmp_path / "data")
    assert DataFolder.open(tmp_path / "data").docs("multi3drefer", "val")[0]["description"] == "caf\u00e9 \ud800"


def test_names_that_leave_the_folder_are_no_scans(full_root, tmp_path):
    (full_root.path / "posed_images" / "..evil").mkdir()
    (full_root.path / "posed_images" / "a b").mkdir()
    prepare(full_root.path, tmp_path / "data")
    assert DataFolder.open(tmp_path / "data").scene_ids == ("scene0000_00",)


def test_a_sparse_sens_of_five_gigabytes_is_read_without_its_size_in_memory(tmp_path):
    """Images of a gigabyte each, never read: the frame table alone is."""
    data = sens_bytes(1)
    path = tmp_path / "big.sens"
    path.write_bytes(data)
    first = read_header(path).first_frame_offset
    pose, gigabyte = data[first : first + 64], 1 << 30
    with open(path, "r+b") as file:
        file.seek(first - 8)
        file.write(struct.pack("<Q", 5))
        for _ in range(5):
            file.write(pose + struct.pack("<4Q", 0, 0, gigabyte, 10))
            file.seek(gigabyte + 10, 1)
        file.truncate(file.tell())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    scene = load_scene(path)
    assert len(scene.frames) == 5 and path.stat().st_size > 5 * gigabyte
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 100
