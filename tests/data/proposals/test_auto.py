"""The maker `auto`: objects of a made-up room from its depth images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from video3d_plugin.data.proposals import replace_proposals
from video3d_plugin.data.proposals.auto import boxes, find_candidates, graph, merge_tree, ranking
from video3d_plugin.data.proposals.auto.shell import Plane, Shell, find_shell
from video3d_plugin.data.proposals.auto.surfels import MAX_FRAMES, Surfels, fuse, pack
from video3d_plugin.data.readers import load_scene
from video3d_plugin.geometry.voxels import unique_voxels
from video3d_plugin.metrics.iou import iou_matrix
from video3d_plugin.mini.rooms import make_benchmark


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A made-up room of 24 frames of 160x120."""
    root = make_benchmark(
        tmp_path_factory.mktemp("rooms"),
        scenes=1,
        seed=3,
        frames=24,
        image_size=(120, 160),
        write=("posed_images", "mesh"),
    )
    return load_scene(root)


@pytest.fixture(scope="module")
def made(scene):
    return replace_proposals(scene, "auto")


@pytest.fixture(scope="module")
def surfels(scene):
    return fuse(scene)


def same_boxes(one, other, share=0.95):
    """Whether nearly all boxes of each scene overlap one of the other almost wholly."""
    iou = iou_matrix(one.proposals, other.proposals)
    return min((iou.max(0) > 0.9).mean(), (iou.max(1) > 0.9).mean()) >= share


def turned(scene, world_from_world):
    return replace(scene, world_from_scan=world_from_world @ scene.world_from_scan)


def test_most_objects_that_are_seen_are_found_and_no_box_covers_half_of_the_floor(scene, made, surfels):
    objects = np.array([i.box for i in scene.instances if i.label not in ("wall", "floor", "ceiling")])
    points = surfels.points + surfels.origin
    seen = [(np.abs(points - box[:3]) < box[3:] / 2 + 0.02).all(1).sum() >= 100 for box in objects]
    best = iou_matrix(made.proposals, objects).max(0)[seen]
    assert len(best) >= 8 and (best >= 0.25).mean() >= 0.6 and (best >= 0.5).mean() >= 0.4
    floor = next(instance.box for instance in scene.instances if instance.label == "floor")
    assert (made.proposals[:, 3] * made.proposals[:, 4]).max() < 0.5 * floor[3] * floor[4]


def test_scores_fall_and_each_box_names_frames_that_show_it(scene, made):
    scores = made.proposal_scores
    assert (np.diff(scores) <= 0).all() and 0 < scores[-1] and scores[0] < 1
    assert len(made.proposal_views) == len(made.proposals) <= 50 and all(made.proposal_views[:10])
    assert np.array_equal(replace_proposals(scene, "auto", limit=5).proposals, made.proposals[:5])


def test_the_order_of_the_frames_changes_nothing(scene, made):
    shuffled = replace(scene, frames=tuple(scene.frames[i] for i in np.random.RandomState(0).permutation(24)))
    again = replace_proposals(shuffled, "auto")
    assert np.array_equal(again.proposals, made.proposals) and again.proposal_views == made.proposal_views


@pytest.mark.parametrize("shift", [(0.013, -0.007, 0.009), (412.3, -95.1, 23.4)])
def test_a_shift_of_the_scan_shifts_the_boxes(scene, made, shift):
    moved = np.eye(4)
    moved[:3, 3] = shift
    shifted = replace_proposals(turned(scene, moved), "auto")
    shifted = replace(shifted, proposals=shifted.proposals - np.float32([*shift, 0, 0, 0]))
    assert len(shifted.proposals) == len(made.proposals) and same_boxes(made, shifted)


def test_a_quarter_turn_of_the_scan_turns_the_boxes(scene, made):
    quarter = np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], float)
    found = replace_proposals(turned(scene, quarter), "auto")
    x, y, z, dx, dy, dz = found.proposals.T
    assert same_boxes(made, replace(found, proposals=np.stack([y, -x, z, dy, dx, dz], 1)), share=0.85)


def test_the_shell_is_the_rooms_floor_ceiling_and_walls(scene, surfels):
    shell = find_shell(surfels)
    truth = {label: [i.box for i in scene.instances if i.label == label] for label in ("floor", "wall")}
    assert abs(shell.floor.offset + surfels.origin[2] - truth["floor"][0][2]) < 0.08
    assert len(shell.walls) == len(truth["wall"]) == 4
    for wall in shell.walls:
        place = wall.normal * wall.offset + surfels.origin
        axis = np.abs(wall.normal).argmax()
        assert min(abs(box[axis] - place[axis]) for box in truth["wall"]) < 0.1


def test_of_many_frames_the_most_different_are_used(scene):
    many = replace(scene, frames=scene.frames * 5)
    fused = fuse(many)
    assert len(fused.frames) == MAX_FRAMES and set(fused.frames) == {frame.name for frame in scene.frames}


def test_surfels_lie_on_the_surface_with_normals_towards_the_cameras(scene, surfels):
    assert np.allclose(np.linalg.norm(surfels.normals, axis=1), 1)
    assert (np.diff(pack(surfels.cells)) > 0).all()
    floor = np.abs(surfels.points[:, 2] - find_shell(surfels).floor.offset) < 0.02
    assert floor.sum() > 500 and np.median(surfels.normals[floor, 2]) > 0.99


def cloud(points, normals=None):
    """Surfels of 2 cm at the cells of points."""
    cells = unique_voxels(np.asarray(points, float), 0.02).astype(np.int64)
    normals = np.tile([0.0, 0.0, 1.0], (len(cells), 1)) if normals is None else normals
    return Surfels(cells, cells * 0.02, normals, 0.02, np.zeros(3), (), ())


def test_neighbours_are_all_pairs_within_reach():
    from scipy.spatial import cKDTree

    some = cloud(np.random.RandomState(0).uniform(0, 0.6, (3000, 3)))
    edges = graph.build(some, np.ones(len(some.points), bool))
    expected = cKDTree(some.cells).query_pairs(3.5, output_type="ndarray")
    pairs = np.sort(np.stack([edges.first, edges.second], 1), axis=1)
    assert np.array_equal(pairs[np.lexsort(pairs.T)], expected[np.lexsort(expected.T)])


def test_a_bend_inwards_costs_more_than_one_outwards_and_a_step_more_than_a_plane():
    grid = np.array([[0, 0, 0], [0.02, 0, 0]])
    slanted = np.array([[-0.5, 0, 0.866], [0.5, 0, 0.866]])
    outwards, inwards, flat = (graph.build(cloud(grid, n), np.ones(2, bool)) for n in (slanted, slanted[::-1], None))
    step = graph.build(cloud([[0, 0, 0], [0, 0, 0.02]]), np.ones(2, bool))
    assert flat.weights[0] == 0 < outwards.weights[0] < inwards.weights[0] and step.weights[0] > 0.2


def test_surfels_are_parted_by_gaps():
    line = cloud([[0.02 * x, 0, 0] for x in (0, 1, 3, 6, 10)])
    parts = graph.gap_partitions(graph.build(line, np.ones(5, bool)))
    assert [labels.tolist() for labels in parts] == [[0, 0, 1, 2, 3], [0, 0, 0, 1, 2], [0, 0, 0, 0, 1]]


def test_every_union_of_a_merge_tree_is_a_range_and_the_last_holds_all():
    """Four squares of a plane in a row: three unions."""
    plane = cloud([[x, y, 0] for x in np.arange(0, 0.8, 0.02) for y in np.arange(0, 0.2, 0.02)])
    edges, use = graph.build(plane, np.ones(len(plane.points), bool)), np.ones(len(plane.points), bool)
    labels = (plane.cells[:, 0] // 10).astype(int)
    labels = labels - labels.min()
    unions = merge_tree.unions(labels, edges, use)
    assert len(unions) == 3 and np.isnan(unions.borders[-1])
    sizes = (unions.stops - unions.starts).tolist()
    assert sizes[-1] == len(plane.points)
    for start, stop in zip(unions.starts, unions.stops, strict=True):
        inside = np.bincount(labels[unions.order[start:stop]], minlength=4)
        assert set(inside / np.bincount(labels)) <= {0, 1}


def test_votes_are_counted_as_for_all_pairs():
    draw = np.random.RandomState(1)
    low = draw.uniform(0, 0.3, (300, 3))
    made = boxes.Candidates(low, low + draw.uniform(0.7, 1, (300, 3)), *np.ones((3, 300)), [np.arange(1)] * 300)
    rows = np.concatenate([(made.low + made.high) / 2, made.high - made.low], axis=1)
    assert np.array_equal(ranking.votes_of(made), (iou_matrix(rows, rows) > 0.7).sum(1))


def test_a_set_reaches_a_plane_where_its_nearest_surfels_are_near():
    draw = np.random.RandomState(0)
    distances, limit = draw.uniform(0, 2, (3, 400)), 0.05
    distances[1, draw.rand(400) < 0.5] = np.inf  # beyond a wall's ends
    starts = draw.randint(0, 300, 60)
    stops = starts + draw.randint(1, 100, 60)
    order = draw.permutation(400)
    reaching = boxes.reaching_segments(distances < limit, merge_tree.Segments(order, starts, stops, np.zeros(60)))
    for row, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        ordered = np.sort(distances[:, order[start:stop]], axis=1)
        assert (reaching[row] == (ordered[:, round(0.02 * (stop - start - 1))] < limit)).all()
    assert 0 < reaching.mean() < 1


@pytest.mark.parametrize("towards", [1, -1])
def test_a_flat_thing_on_a_wall_reaches_from_the_wall_to_the_middle_of_its_surfels(towards):
    draw = np.random.RandomState(0)
    points = np.stack([draw.uniform(0, 1, 2000), towards * draw.normal(0.06, 0.02, 2000), draw.uniform(0, 1, 2000)], 1)
    points = np.concatenate([points, draw.uniform(-2, 2, (2000, 3))])  # the room
    wall = Plane(np.array([0.0, towards, 0.0]), 0.0, np.array([1.0, 0.0, 0.0]), (-1, 2))
    one = merge_tree.Segments(np.arange(2000), np.array([0]), np.array([2000]), np.zeros(1))

    def depth(normal):
        thing = Surfels(np.zeros((0, 3)), points, np.tile(normal, (4000, 1)), 0.02, np.zeros(3), (), ())
        found = boxes.candidates_of(thing, Shell(None, None, (wall,)), [one])
        near, far = sorted([abs(found.low[0, 1]), abs(found.high[0, 1])])
        assert near < 0.03  # at the wall, or behind it
        return far

    assert depth([0.0, towards, 0.0]) == pytest.approx(0.075, abs=0.01)
    assert depth([1.0, 0.0, 0.0]) == pytest.approx(0.106, abs=0.01)  # not flat


@pytest.mark.parametrize("points", [np.zeros((0, 3)), np.zeros((1, 3)), np.eye(3), np.eye(3) * 1e4])
def test_points_that_are_no_room_give_no_boxes(points):
    found = find_candidates(cloud(points))
    assert len(found) == 0 and len(ranking.ranked(found, 0.0004, 50)[0]) == 0


def test_a_line_is_no_object_and_a_lone_box_needs_no_walls():
    line = cloud([[x, 0, 0] for x in np.arange(0, 3, 0.02)])
    assert len(find_candidates(line)) == 0
    corner = np.stack(np.meshgrid(*[np.arange(0, 0.41, 0.02)] * 3), -1).reshape(-1, 3)
    surface = corner[((corner < 0.01) | (corner > 0.39)).any(1)]
    ground = [[x, y, -0.3] for x in np.arange(-1, 1, 0.02) for y in np.arange(-1, 1, 0.02)]
    cells = unique_voxels(np.concatenate([ground, surface]), 0.02)
    normals = np.where(cells[:, 2:] < -5, [0, 0, 1], cells * 0.02 - 0.2)
    found_cloud = cloud(cells * 0.02, normals / np.linalg.norm(normals, axis=1, keepdims=True))
    found = find_candidates(found_cloud)
    chosen, _ = ranking.ranked(found, found_cloud.area_m2, 1)
    best = found.take(chosen)
    assert np.allclose(best.high - best.low, 0.4, atol=0.03)


def test_a_scan_without_a_usable_depth_gives_no_boxes(scene):
    frames = tuple(replace(frame, depth_unit_m=1e-6) for frame in scene.frames)  # everything nearer than 0.3 m
    assert len(replace_proposals(replace(scene, frames=frames), "auto").proposals) == 0


def test_one_frame_gives_boxes_of_what_it_shows(scene):
    found = replace_proposals(replace(scene, frames=scene.frames[:1]), "auto")
    assert len(found.proposals) and all(views in ((), (scene.frames[0].name,)) for views in found.proposal_views)
