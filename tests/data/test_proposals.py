"""Proposals from annotated boxes, from a file, and from clusters of the scan."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import ndimage

from video3d_plugin.data.folder import DataFolder
from video3d_plugin.data.prepare import prepare
from video3d_plugin.data.prepare_scene import SceneOptions
from video3d_plugin.data.proposals.auto import connected, fused_points, propose, remove_shell
from video3d_plugin.data.readers import load_scene
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.metrics.iou import iou_matrix


def surface(box, step=0.04):
    """Points on the six faces of a box (centre, size)."""
    box = np.array(box, float)
    low, high = box[:3] - box[3:] / 2, box[:3] + box[3:] / 2
    faces = []
    for axis in range(3):
        a, b = [i for i in range(3) if i != axis]
        u, v = np.meshgrid(np.arange(low[a], high[a], step), np.arange(low[b], high[b], step))
        for value in (low[axis], high[axis]):
            face = np.zeros((u.size, 3))
            face[:, axis], face[:, a], face[:, b] = value, u.ravel(), v.ravel()
            faces.append(face)
    return np.concatenate(faces)


FURNITURE = np.array([[1, 1, 0.45, 0.6, 0.6, 0.8], [3.2, 1.2, 0.5, 1.2, 0.7, 0.9], [2, 3, 0.4, 0.5, 0.5, 0.7]])


@pytest.fixture(scope="module")
def room():
    """A room of 4.6 x 4.2 x 2.6 m with three boxes that touch neither each other nor the shell."""
    shell = surface([2.3, 2.1, 1.3, 4.6, 4.2, 2.6])
    return np.concatenate([shell, *map(surface, FURNITURE)]).astype(np.float32)


def test_every_piece_of_furniture_is_proposed(room):
    boxes = propose(room)
    assert boxes.dtype == np.float32 and len(boxes) == 3
    assert iou_matrix(boxes, FURNITURE).max(0).min() > 0.6


def test_the_shell_is_removed_and_the_furniture_is_not(room):
    rest = remove_shell(np.unique(np.round(room / 0.05), axis=0) * 0.05)
    inside = ((rest > [0.15, 0.15, 0.02]) & (rest < [4.4, 4.0, 2.4])).all(1)
    assert inside.mean() > 0.95 and len(rest) > 500


def test_walls_are_removed_also_where_a_table_top_is_larger_than_each_of_them():
    u, v = np.meshgrid(np.arange(0.3, 3.7, 0.05), np.arange(0.3, 3.7, 0.05))
    table = np.stack([u, v, np.full(u.shape, 0.7)], -1).reshape(-1, 3)
    shell = surface([2, 2, 1.3, 4, 4, 2.6], step=0.05)
    walls = shell[(shell[:, 2] > 0.05) & (shell[:, 2] < 2.5)]  # neither floor nor ceiling was seen
    rest = remove_shell(np.unique(np.round(np.concatenate([table, walls]) / 0.05), axis=0) * 0.05)
    assert len(rest) >= 0.95 * len(table) and (np.abs(rest[:, 2] - 0.7) < 0.06).mean() > 0.95


def test_the_same_points_give_the_same_boxes_in_any_order(room):
    shuffled = room[np.random.RandomState(1).permutation(len(room))]
    assert (propose(room) == propose(shuffled)).all()


def test_points_on_a_line_are_one_thing_and_no_error():
    line = np.stack([np.arange(150) * 0.05, np.zeros(150), np.zeros(150)], 1).astype(np.float32)
    assert np.allclose(propose(line), [[3.725, 0, 0, 7.5, 0.05, 0.05]], atol=1e-5)


def test_a_limit_keeps_the_largest(room):
    assert (propose(room, limit=1) == propose(room)[:1]).all()


@pytest.mark.parametrize("points", [np.zeros((0, 3)), np.zeros((1, 3)), np.zeros((500, 3)), np.eye(3)])
def test_points_that_are_no_room_give_no_boxes(points):
    assert propose(points.astype(np.float32)).shape == (0, 6)


def test_clusters_touch_by_corners_and_small_ones_are_dropped():
    line = np.stack([np.arange(40)] * 3, 1) * 0.05
    far = line[:5] + [10, 0, 0]
    (cluster,) = connected(np.concatenate([line, far]), 0.05)
    assert len(cluster) == 40


def dense_components(points, scale):
    """Components of a dense grid, labelled by scipy.ndimage: what `connected` must give where a grid fits."""
    cells = np.rint(points / scale).astype(int)
    cells -= cells.min(0)
    grid = np.zeros(cells.max(0) + 1, bool)
    grid[tuple(cells.T)] = True
    of_point = ndimage.label(grid, np.ones((3, 3, 3)))[0][tuple(cells.T)]
    return [points[of_point == label] for label in range(1, of_point.max() + 1)]


@pytest.mark.parametrize("scale", [0.05, 0.1])
@pytest.mark.parametrize("share", [0.02, 0.06, 0.3])
def test_clusters_are_the_components_of_a_dense_grid_in_its_order(share, scale):
    grid = np.argwhere(np.random.RandomState(3).rand(40, 30, 20) < share) * 0.05 - [1, 0.5, 0]
    expected = [points for points in dense_components(grid, scale) if len(points) >= 24]
    found = list(connected(grid, scale))
    assert len(found) == len(expected) and all(map(np.array_equal, found, expected))


def test_points_far_away_take_memory_for_themselves_alone(room):
    """A grid over them would have 10 ** 17 cells."""
    stray = np.array([[5e4, 0, 0], [0, -5e4, 0], [0, 0, 5e4]], np.float32)
    assert sum(map(len, connected(np.concatenate([room, stray]).astype(np.float64), 0.1))) == len(room)
    assert len(propose(np.concatenate([room, stray]))) >= 3


def boxes_of(root, tmp_path, kind, **more):
    prepare(root.path, tmp_path / "data", scene=SceneOptions(proposals=str(kind), **more))
    return DataFolder.open(tmp_path / "data").scene("scene0000_00")


def test_annotated_boxes_as_proposals(full_root, tmp_path):
    scene = boxes_of(full_root, tmp_path, "gt")
    assert scene.proposals.tolist() == [list(i.box) for i in scene.instances]
    assert "proposals are the annotated boxes" in scene.notes


def test_boxes_of_a_file_as_proposals_and_a_changed_file_is_noticed(full_root, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"scene0000_00": [[0, 0, 0, 1, 1, 1], [1, 1, 1, 2, 2, 2]]}))
    assert boxes_of(full_root, tmp_path, path).proposals.tolist() == [[0, 0, 0, 1, 1, 1], [1, 1, 1, 2, 2, 2]]
    path.write_text(json.dumps({"scannet/scene0000_00": [[5, 5, 5, 1, 1, 1]]}))
    assert boxes_of(full_root, tmp_path, path).proposals.tolist() == [[5, 5, 5, 1, 1, 1]]
    path.write_text(json.dumps({"scene0001_00": []}))
    scene = boxes_of(full_root, tmp_path, path)
    assert len(scene.proposals) == 0 and "no proposals in mine.json" in scene.notes


@pytest.mark.parametrize("rows", [[[1, 2, 3]], [["a"] * 6], 5, [[0, 0, 0, 1, 1, -1]], [[0, 0, 0, 1, 1, 1e999]], None])
def test_a_file_that_holds_no_boxes_is_named(full_root, tmp_path, rows):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"scene0000_00": rows}))
    if rows is None:
        assert len(boxes_of(full_root, tmp_path, path).proposals) == 0
        return
    with pytest.raises(DataError, match=r"no usable scan.*mine\.json: `boxes of scene0000_00"):
        boxes_of(full_root, tmp_path, path)


def test_a_file_that_is_not_there_is_named(full_root, tmp_path):
    with pytest.raises(MissingError, match=r"none\.json"):
        boxes_of(full_root, tmp_path, tmp_path / "none.json")


def test_an_unknown_source_of_proposals_lists_the_known():
    with pytest.raises(DataError, match=r"proposals='mask4d' \(known: mask3d, gt, auto"):
        SceneOptions(proposals="mask4d")


def test_auto_looks_at_the_frames_only(scan_root, tmp_path):
    scan_root.write_posed_images()
    scene = boxes_of(scan_root, tmp_path, "auto")
    assert scene.proposals.shape[1] == 6 and "proposals are clusters of what the frames see" in scene.notes
    points = fused_points(load_scene(scan_root.path, align="none"))
    assert points.dtype == np.float32 and 1.9 < points[:, 2].min() and points[:, 2].max() < 2.7
