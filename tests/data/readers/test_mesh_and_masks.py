"""Mesh, segments, aggregation and masks become boxes; hostile and mismatched files become errors that name them."""

from __future__ import annotations

import io
import json
import struct

import numpy as np
import pytest
from made_up_scan import ply_bytes, two_cubes
from scipy import sparse

from video3d_plugin.data.readers import load_scene, mask3d, ply
from video3d_plugin.errors import DataError, MissingError


@pytest.fixture
def root(scan_root):
    return scan_root.write_posed_images().write_mesh().write_mask()


def rewrite(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def aggregation(root):
    return root.scan / f"{root.scene_id}.aggregation.json"


def test_boxes_by_hand_with_the_alignment_applied_and_gaps_in_the_ids_kept(root):
    scene = load_scene(root.path)
    assert [(i.object_id, i.label, i.box) for i in scene.instances] == [
        (1, "chair", (10.5, 0.5, 0.5, 1, 1, 1)),
        (4, "desk", (14.5, 1, 1.5, 1, 2, 3)),
    ]


def test_proposals_are_the_boxes_of_the_masks(root):
    scene = load_scene(root.path)
    expected = [[10.5, 0.5, 0.5, 1, 1, 1], [14.5, 1, 1.5, 1, 2, 3], [14, 1, 1.5, 0, 2, 3]]
    assert scene.proposals.dtype == np.float32 and scene.proposals.tolist() == expected


def test_an_object_without_a_vertex_is_left_out_and_counted(root):
    rewrite(aggregation(root), lambda c: c["segGroups"].append({"objectId": 9, "segments": [555], "label": "lamp"}))
    scene = load_scene(root.path)
    assert [i.object_id for i in scene.instances] == [1, 4]
    assert [(o.what, o.reason) for o in scene.omissions] == [("object 9 (lamp)", "none of its segments has a vertex")]


def test_a_vertex_that_two_objects_claim_goes_to_the_later_one(root):
    rewrite(aggregation(root), lambda c: c["segGroups"].append({"objectId": 2, "segments": [70], "label": "lamp"}))
    boxes = {i.object_id: i.box for i in load_scene(root.path).instances}
    assert boxes[1] == (10, 0.5, 0.5, 0, 1, 1) and boxes[2] == (11, 0.5, 0.5, 0, 1, 1)


def test_objects_of_the_same_segments_all_keep_their_box(root):
    def repeat(content):
        content["segGroups"] += [{**group, "objectId": group["objectId"] + 20} for group in content["segGroups"]]
        content["segGroups"][-1]["segments"].reverse()

    before = {i.object_id: (i.label, i.box) for i in load_scene(root.path).instances}
    rewrite(aggregation(root), repeat)
    scene = load_scene(root.path)
    after = {i.object_id: (i.label, i.box) for i in scene.instances}
    assert after == before | {object_id + 20: item for object_id, item in before.items()} and not scene.omissions


def test_an_id_listed_twice_is_said(root):
    rewrite(aggregation(root), lambda c: c["segGroups"].append({"objectId": 1, "segments": [7], "label": "stool"}))
    scene = load_scene(root.path)
    assert scene.instances[0].box == (10, 0.5, 0.5, 0, 1, 1) and "lists its id twice" in scene.omissions[0].reason


def test_an_empty_mask_is_left_out_and_counted(root):
    dense = np.zeros((3, 16), np.int8)
    dense[0, :8] = dense[2, 8:] = 1
    sparse.save_npz(root.path / "mask" / f"{root.scene_id}.mask.npz", sparse.csr_matrix(dense))
    scene = load_scene(root.path)
    assert scene.proposals[:, 0].tolist() == [10.5, 14.5]
    assert [(o.what, o.reason) for o in scene.omissions] == [("proposal 1", "its mask is empty")]


@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
def test_every_sparse_format_gives_the_same_masks(tmp_path, form):
    dense = (np.random.RandomState(0).rand(7, 40) < 0.3).astype(np.int8)
    dense[3] = 0
    path = tmp_path / "m.npz"
    sparse.save_npz(path, getattr(sparse, f"{form}_matrix")(dense))
    members, columns = mask3d.read_mask_rows(path)
    assert columns == 40
    assert [m.tolist() for m in members] == [np.nonzero(row)[0].tolist() for row in dense]


def test_only_the_first_masks_are_used(tmp_path):
    path = tmp_path / "m.npz"
    sparse.save_npz(path, sparse.csr_matrix(np.ones((60, 4), np.int8)))
    assert len(mask3d.read_mask_rows(path)[0]) == 50 and len(mask3d.read_mask_rows(path, 3)[0]) == 3


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    "change, message",
    [
        ({"indices": np.array([0, 99])}, "outside its shape"),
        ({"indices": np.array([0, -1])}, "outside its shape"),
        ({"indptr": np.array([0, 5, 2])}, "row pointers"),
        ({"indptr": np.array([0, 2])}, "row pointers"),
        ({"shape": np.array([2])}, "has shape"),
        ({"shape": np.array([-2, 4])}, "has shape"),
        ({"shape": np.array([2, 2**40])}, "has shape"),
        ({"format": np.array(b"dia")}, "stored as 'dia'"),
        ({"data": np.array([1, 1, 1])}, "indices"),
        ({"data": np.array([object(), None])}, "cannot be read"),  # a pickled array: never loaded
    ],
)
def test_a_broken_mask_file_is_named(tmp_path, change, message):
    arrays = {
        "format": np.array(b"csr"),
        "shape": np.array([2, 4]),
        "data": np.array([1, 1]),
        "indices": np.array([0, 3]),
        "indptr": np.array([0, 1, 2]),
    }
    good = npz(tmp_path / "good.npz", **arrays)
    assert [m.tolist() for m in mask3d.read_mask_rows(good)[0]] == [[0], [3]]
    with pytest.raises(DataError, match=message) as caught:
        mask3d.read_mask_rows(npz(tmp_path / "bad.npz", **{**arrays, **change}))
    assert "bad.npz" in str(caught.value)


def test_masks_of_another_mesh_are_an_error(root):
    sparse.save_npz(root.path / "mask" / f"{root.scene_id}.mask.npz", sparse.csr_matrix(np.ones((2, 5))))
    with pytest.raises(DataError, match="masks of 5 vertices for a mesh of 16"):
        load_scene(root.path)


def test_segments_of_another_mesh_are_an_error(root):
    path = next(root.scan.glob("*.segs.json"))
    path.write_text(json.dumps({"segIndices": [1, 2, 3]}))
    with pytest.raises(DataError, match="3 segment indices for a mesh of 16 vertices"):
        load_scene(root.path)


@pytest.mark.parametrize(
    "content, message",
    [
        ("{", "not valid JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "expected a JSON dict"),
        ("{}", "no list of segGroups"),
        ('{"segGroups": [3]}', "lacks objectId"),
        ('{"segGroups": [{"objectId": -1, "label": "a", "segments": []}]}', "objectId -1"),
        ('{"segGroups": [{"objectId": true, "label": "a", "segments": []}]}', "objectId True"),
        ('{"segGroups": [{"objectId": 1, "label": "a", "segments": ["x"]}]}', "segments of object 1"),
        ('{"segGroups": [{"objectId": 1, "label": "a", "segments": [1.5]}]}', "segments of object 1"),
        ('{"segGroups": [{"objectId": 1, "label": "a", "segments": [[1], [2, 3]]}]}', "segments of object 1"),
    ],
)
def test_a_broken_aggregation_is_named(root, content, message):
    aggregation(root).write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        load_scene(root.path)
    assert "aggregation.json" in str(caught.value)


def write(tmp_path, data):
    path = tmp_path / "mesh.ply"
    path.write_bytes(data)
    return path


def test_vertices_of_every_ply_format_agree(tmp_path):
    points = two_cubes()
    header = (
        "ply\nformat {}\ncomment made up\nelement vertex 16\nproperty {} x\nproperty {} y\nproperty {} z\nend_header\n"
    )
    for form, kind, code in (("binary_little_endian 1.0", "float", "<3f"), ("binary_big_endian 1.0", "double", ">3d")):
        data = header.format(form, kind, kind, kind).encode() + b"".join(struct.pack(code, *p) for p in points)
        assert (ply.read_vertices(write(tmp_path, data)) == points).all()
    text = header.format("ascii 1.0", "float", "float", "float") + "\n".join(" ".join(map(str, p)) for p in points)
    assert (ply.read_vertices(write(tmp_path, text.encode())) == points).all()
    assert (ply.read_vertices(write(tmp_path, ply_bytes(points))) == points).all()


GOOD = ply_bytes(two_cubes())


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "not a PLY"),
        (b"ply\n" + b"x" * 1000, "not a PLY"),
        (GOOD[:400], "ends before its 16 vertices do"),
        (GOOD.replace(b"vertex 16", b"vertex 99999999999999999999"), "ends before"),
        (GOOD.replace(b"vertex 16", b"vertex -5"), "no vertex element"),
        (GOOD.replace(b"vertex 16", b"vertex one"), "invalid literal"),
        (GOOD.replace(b"property float x\n", b""), "no vertex element with x, y and z"),
        (GOOD.replace(b"property float x", b"property list uchar int x"), "list properties"),
        (GOOD.replace(b"property float x", b"property quad x"), "quad"),
        (GOOD.replace(b"binary_little_endian", b"middle_endian"), "format 'middle_endian'"),
        (GOOD.replace(b"element vertex", b"element camera"), "first element is 'camera'"),
        (ply_bytes(np.full((2, 3), np.inf)), "not finite"),
    ],
)
def test_a_broken_ply_is_named(tmp_path, data, message):
    with pytest.raises(DataError, match=message) as caught:
        ply.read_vertices(write(tmp_path, data))
    assert "mesh.ply" in str(caught.value)


def test_a_mesh_without_vertices_has_no_objects(tmp_path):
    assert ply.read_vertices(write(tmp_path, ply_bytes(np.zeros((0, 3)), faces=0))).shape == (0, 3)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MissingError, match=r"none\.ply"):
        ply.read_vertices(tmp_path / "none.ply")
    with pytest.raises(MissingError, match=r"none\.npz"):
        mask3d.read_mask_rows(tmp_path / "none.npz")


def test_a_zip_that_claims_gigabytes_is_refused_before_it_is_read(tmp_path):
    import zipfile

    path = tmp_path / "bomb.npz"
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.npy", buffer.getvalue())
    raw = bytearray(path.read_bytes())
    at = raw.rindex(b"PK\x01\x02")
    raw[at + 24 : at + 28] = struct.pack("<I", 0xFFFFFFF0)  # the size the directory states
    path.write_bytes(raw)
    with pytest.raises(DataError, match="holds 4295 MB unpacked"):
        mask3d.read_mask_rows(path)
