"""What a small model from scratch needs: moved scenes, short questions about objects, a tower that learns to see."""

from __future__ import annotations

import copy
import random
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from video3d_plugin.errors import DataError
from video3d_plugin.geometry.patch_grid import token_points
from video3d_plugin.scene import Instance, Question, Scene
from video3d_plugin.training import optimizer as optimizers
from video3d_plugin.training.dataset import GroupCollator, SceneGroups, all_object_questions, named_of
from video3d_plugin.training.items import lesson_items
from video3d_plugin.training.moving import moved
from video3d_plugin.training.naming import NONE, Naming
from video3d_plugin.training.objects import attributes, named_objects, object_questions
from video3d_plugin.training.phrases import phrases
from video3d_plugin.training.presets import Preset, from_scratch, preset
from video3d_plugin.training.run import TrainSettings, train
from video3d_plugin.training.tower import TowerLesson, balance, patch_numbers, sample_of, teach_tower

SIZES = {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "initializer_range": 0.1}
TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "image_size": 112}


@pytest.fixture(scope="module")
def build(questions):
    return lambda **options: from_scratch(Preset(TrainSettings(), {**SIZES, **options}, TOWER, 400), questions)


# -- moved scenes --------------------------------------------------------------------------------------------------


def test_a_quarter_turn_worked_by_hand(rooms, build):
    spec = build()[0].config.inputs_spec
    inputs = rooms.inputs(rooms.scene_ids[0], spec, max_frames=2, proposals="gt")
    question = Question("scan2cap", "q", inputs.scene_id, "<image> <coord>", "x", coords=((1.0, 2.0, 3.0),))
    seen = set()
    for seed in range(12):
        there, (asked,) = moved(inputs, [question], random.Random(seed), "elsewhere", shift_m=0.0)
        seen.add(asked.coords[0])
        assert there.scene_id == asked.scene_id == "elsewhere"
        assert torch.equal(there.pixels, inputs.pixels) and torch.equal(there.proposal_bits, inputs.proposal_bits)
    assert seen == {(1.0, 2.0, 3.0), (-2.0, 1.0, 3.0), (-1.0, -2.0, 3.0), (2.0, -1.0, 3.0)}


def test_points_boxes_and_coords_move_together_and_keep_their_distances(rooms, build):
    spec = build()[0].config.inputs_spec
    inputs = rooms.inputs(rooms.scene_ids[0], spec, max_frames=2, proposals="gt")
    centre = tuple(inputs.proposals[0, :3].double().tolist())
    question = Question("scan2cap", "q", inputs.scene_id, "<image> <coord>", "x", coords=(centre,))
    there, (asked,) = moved(inputs, [question], random.Random(3), "b")
    assert torch.allclose(there.proposals[0, :3].double(), torch.tensor(asked.coords[0]).double(), atol=1e-5)

    def spread(part):
        return torch.cdist(part.token_points.flatten(0, 3)[None], part.proposals[:, :3][None])

    assert torch.allclose(spread(there), spread(inputs), atol=1e-3)
    assert not torch.allclose(there.token_points, inputs.token_points)
    # a token inside a box (by each axis) is inside the moved box
    inside = [
        ((p.token_points.reshape(-1, 1, 3) - p.proposals[:, :3]).abs() <= p.proposals[:, 3:] / 2 + 1e-4).all(-1)
        for p in (inputs, there)
    ]
    assert torch.equal(*inside) and inside[0].any()


@pytest.mark.parametrize("seed", [0, 1, 2, 5])
def test_least_and_greatest_points_are_those_of_the_turned_room(rooms, build, seed):
    spec = replace(build()[0].config.inputs_spec, points="minmax")
    inputs = rooms.inputs(rooms.scene_ids[0], spec, max_frames=2, proposals="gt")
    pixels = torch.rand(2, spec.image_size, spec.image_size, 3, generator=torch.Generator().manual_seed(0))
    made = replace(inputs, token_points=token_points(pixels, spec)[0])
    turned = replace(inputs, spec=replace(spec, points="average"), token_points=pixels)  # each pixel by itself
    there, alone = (moved(scene, [], random.Random(seed), "b")[0] for scene in (made, turned))
    torch.testing.assert_close(there.token_points, token_points(alone.token_points, spec)[0])


def test_where_an_asker_stands_moves_with_the_room(rooms, build):
    inputs = rooms.inputs(rooms.scene_ids[0], build()[0].config.inputs_spec, max_frames=2, proposals="gt")
    stands = [[1.0, 2.0, 0.0], [1.0, 3.0, 0.0]]
    asked = Question("sqa3d", "q", inputs.scene_id, "<image> x", "y", metadata={"situation": "x", "stands": stands})
    as_coords = Question("scan2cap", "q", inputs.scene_id, "<image>", "y", coords=tuple(map(tuple, stands)))
    _, (asked, as_coords) = moved(inputs, [asked, as_coords], random.Random(5), "b")
    assert asked.metadata == {"situation": "x", "stands": as_coords.coords} and as_coords.coords[0] != (1.0, 2.0, 0.0)
    _, (nowhere,) = moved(
        inputs, [Question("a", "q", "s", "<image>", "y", metadata={"stands": []})], random.Random(5), "b"
    )
    assert nowhere.metadata == {"stands": []}


def test_a_batch_may_hold_one_room_in_two_places(rooms, build, questions):
    model, processor = build()
    dataset = SceneGroups(rooms, questions, model.config.inputs_spec, questions_per_scene=4, max_frames=2, move=True)
    same = [i for i in range(len(dataset)) if dataset[i][0].scene_id.startswith(rooms.scene_ids[0])][:2]
    pair = [dataset[i] for i in same]
    batch = GroupCollator(processor)(pair)
    assert len(batch["scenes"]) == 2 and not torch.equal(*(s["token_points"] for s in batch["scenes"]))
    assert torch.equal(dataset[same[0]][0].token_points, pair[0][0].token_points), "repeats within an epoch"
    dataset.set_epoch(1)
    assert not torch.equal(dataset[same[0]][0].token_points, pair[0][0].token_points)


# -- short questions -----------------------------------------------------------------------------------------------


def scene_of(*things: tuple[int, str]) -> Scene:
    box = (0.0, 0.0, 0.5, 1.0, 1.0, 1.0)
    return Scene("s", (), np.eye(4), tuple(Instance(i, label, (i, *box[1:])) for i, label in things))


def refer(target: int, text: str) -> Question:
    return Question("scanrefer", f"{target}", "s", f"<image>Identify\n{text}", "<ground>", targets=(target,))


def test_attributes_worked_by_hand():
    labels = {("s", 1): "chair", ("s", 2): "trash can"}
    said = [refer(1, "The red chair. It is next to the blue trash can."), refer(2, "This is a blue trash can.")] * 20
    assert attributes(said, labels) == {("s", 1): "red", ("s", 2): "blue"}
    rare = refer(1, "the wobbly chair")
    assert attributes([rare], labels) == {("s", 1): "wobbly"}
    assert attributes([rare] + [refer(2, "a blue trash can")] * 200, labels) == {("s", 2): "blue"}
    assert attributes([refer(1, "The chair.")] * 50, labels) == {}
    assert attributes([replace(refer(1, "red chair"), targets=(1, 2))] * 50, labels) == {}


def test_object_questions_name_all_of_a_kind_and_leave_the_shell_out():
    scene = scene_of((1, "chair"), (2, "chair"), (3, "chair"), (4, "lamp"), (5, "wall"))
    said = [refer(1, "a red chair"), refer(2, "the red chair"), refer(3, "the blue chair")] * 20
    made = object_questions(scene, named_objects([scene], said)["s"])
    found = {q.item_id.split("|")[2]: q for q in made if q.item_id.startswith("find")}
    assert {key: q.targets for key, q in found.items()} == {"1": (1, 2), "2": (1, 2), "3": (3,), "4": (4,)}
    assert "red chair" in found["1"].prompt and "lamp" in found["4"].prompt
    names = {q.item_id.split("|")[2]: (q.answer, q.coords[0][0]) for q in made if q.coords}
    assert names == {"1": ("red chair", 1), "2": ("red chair", 2), "3": ("blue chair", 3), "4": ("lamp", 4)}


def test_an_attribute_that_one_sister_lacks_is_not_said():
    scene = scene_of((1, "chair"), (2, "chair"))
    made = object_questions(scene, named_objects([scene], [refer(1, "a red chair")] * 20)["s"])
    assert all("red" not in (q.prompt + q.answer).lower() for q in made)
    assert all(q.targets == (1, 2) for q in made if q.is_grounding)


def test_rounds_and_seeds(rooms, questions):
    named = named_of(rooms, questions)
    once, twice = (all_object_questions(rooms, named, rounds, 0) for rounds in (1, 2))
    assert all_object_questions(rooms, named, 0, 0) == [] and len(twice) > len(once) > 20
    assert len({q.item_id for q in twice}) == len(twice)
    assert twice == all_object_questions(rooms, named, 2, 0)
    assert any(q.coords and q.answer.split()[0] in ("red", "blue", "white", "green", "brown") for q in once)


def test_what_is_nearest_and_farthest_worked_by_hand():
    scene = scene_of((0, "lamp"), (1, "chair"), (4, "chair"), (9, "chair"), (5, "table"))
    made = object_questions(scene, named_objects([scene], [])["s"], rounds=30)
    asked = {q.item_id.split("|")[2]: set() for q in made}
    for question in made:
        if question.item_id.startswith("near"):
            asked[question.item_id.split("|")[2]].add(("nearest" in question.prompt, question.targets))
    told = {key: {(near, targets) for near, targets in found} for key, found in asked.items() if found}
    # The lamp at 0: chair 1 is nearest, of chairs and of all, chair 9 farthest. The table at 5: chair 4 is nearest, of
    # chairs and of all; 9 and 1 are as far, so that is not asked.
    assert {targets for _, targets in told["0"]} == {(1,), (9,)}
    assert {targets for _, targets in told["5"]} == {(4,)}
    assert set(told) == {"0", "5"}, "chairs cannot be named alone"
    assert any("The object" in q.prompt for q in made) and any("The chair" in q.prompt for q in made)
    answers = {(q.prompt.split("to the ")[1].split("?")[0], q.answer) for q in made if q.item_id.startswith("ask")}
    assert answers == {("lamp", "chair"), ("table", "chair")}


def test_whether_there_is_something_with_an_attribute_worked_by_hand():
    scene = scene_of((1, "chair"), (2, "chair"), (3, "lamp"))
    said = [refer(1, "a red chair"), refer(2, "a blue chair"), refer(3, "a white lamp")] * 20
    made = object_questions(scene, named_objects([scene], said)["s"], rounds=40)
    answers = {(q.prompt.split("there a ")[1].split("?")[0], q.answer) for q in made if "there a " in q.prompt}
    assert answers == {
        *((name, "yes") for name in ("red chair", "blue chair", "white lamp")),
        *((name, "no") for name in ("white chair", "red lamp", "blue lamp")),
    }


def test_phrases_end_their_names_where_they_say_and_mean_what_is_nearest_or_farthest():
    objects = {1: ("red", "chair"), 2: ("blue", "chair"), 3: (None, "trash can")}
    boxes = {1: (0, 0, 0), 2: (5, 0, 0), 3: (1, 0, 0)}
    called = {"red chair": (1,), "blue chair": (2,), "chair": (1, 2), "trash can": (3,)}
    made = phrases(objects, boxes, [1, 2, 3], 3000, random.Random(0))
    assert len(made) == 3000
    for phrase in made:
        for end, ids in phrase.names:
            name = max((n for n in called if phrase.text[:end].endswith(n)), key=len)
            assert called[name] == ids
        assert len(phrase.points) == phrase.text.count("<coord>") <= 1
        assert phrase.mentions == [*(ids for _, ids in phrase.names), *((i,) for i in phrase.points)]
        if phrase.stands:
            continue
        assert (phrase.asks is not None) == phrase.text.endswith("?")
        assert phrase.meant, "there is a chair of either color, and trash cans may be of any"
        if phrase.beside == phrase.meant:
            assert not phrase.points and phrase.meant == phrase.names[0][1]
        else:
            assert phrase.beside in {phrase.points, *(ids for _, ids in phrase.names)}
            assert not set(phrase.meant) & set(phrase.beside)
            assert phrase.away == ("far" in phrase.text)
    told = {phrase.text: phrase.meant for phrase in made}
    by_point = {phrase.points: phrase.meant for phrase in made if "the chair nearest to <coord>" in phrase.text}
    assert by_point == {(3,): (1,)}
    assert 0.08 < sum(phrase.framed for phrase in made) / 3000 < 0.2
    assert told["the chair nearest to the trash can."] == (1,)
    assert told["this is a chair. it is far away from the trash can."] == (2,)
    assert told["closest to the trash can there is a chair."] == (1,)
    assert told["the object nearest to the red chair."] == (3,)
    assert phrases(objects, boxes, [], 5, random.Random(0)) == []


def test_what_is_not_there_is_named_too_by_an_attribute_that_is():
    objects = {1: ("red", "chair"), 2: ("blue", "lamp"), 3: ("red", "lamp"), 4: (None, "desk"), 5: ("blue", "bed")}
    boxes = {i: (i * i, 0, 0) for i in objects}
    made = phrases(objects, boxes, [1, 2, 4], 3000, random.Random(0))
    absent = [p for p in made if not p.meant]
    assert 0.02 < len(absent) / 3000 < 0.09
    named = {found[0] for p in absent if (found := re.search(r"\b(red|blue) (chair|lamp|desk|bed)", p.text))}
    assert all(p.names == p.points == p.beside == () and p.asks is None and not p.away for p in absent)
    assert named == {"blue chair"}, "a red lamp is there, if not seen; no bed is seen; of a desk no color is known"


def test_an_object_of_any_kind_may_be_called_by_an_attribute_that_several_have():
    objects = {1: ("red", "chair"), 2: ("red", "lamp"), 3: ("blue", "table"), 4: ("blue", "bed"), 5: (None, "desk")}
    boxes = {1: (0, 0, 0), 2: (3, 0, 0), 3: (1, 0, 0), 4: (9, 0, 0), 5: (4, 0, 0)}
    made = phrases(objects, boxes, [1, 2, 3, 4, 5], 3000, random.Random(0))
    told = {p.text: (p.meant, p.names[0][1]) for p in made if p.text.startswith("the red object")}
    assert told["the red object nearest to the desk."] == ((2,), (1, 2))
    assert told["the red object farthest from the desk."] == ((1,), (1, 2))
    assert not [text for text in told if "chair" in text or "lamp" in text], "one of them would be nearest to itself"
    assert not [p for p in made if p.asks and re.search("(red|blue) object", p.text)]


def test_questions_among_the_phrases_ask_for_what_is_known_and_one_answer_is_right():
    objects = {1: ("red", "chair"), 2: ("blue", "chair"), 3: ("wooden", "table"), 4: ("white", "lamp")}
    boxes = {1: (0, 0, 0), 2: (5, 0, 0), 3: (1, 0, 0), 4: (9, 0, 0)}
    made = phrases(objects, boxes, [1, 2, 3, 4], 3000, random.Random(0))
    asked = {(p.text, p.asks): p.meant for p in made if p.asks}
    assert 0.2 < sum(p.asks is not None for p in made) / 3000 < 0.45
    assert asked["what color is the lamp?", "attribute"] == (4,)
    assert asked["what color is the chair nearest to the wooden table?", "attribute"] == (1,)
    assert asked["what color is the chair farthest from the lamp?", "attribute"] == (1,)
    assert asked["which object is nearest to the red chair?", "label"] == (3,)
    texts = {text for text, _ in asked}
    assert "what color is the chair?" not in texts, "there are a red one and a blue one"
    assert not any("what color is the table" in text for text in texts), "wooden is no color"
    only = phrases({1: (None, "chair")}, {1: (0, 0, 0)}, [1], 200, random.Random(0))
    assert len(only) == 200 and not any(phrase.asks for phrase in only)


def test_of_where_a_thing_is_the_answer_is_begun_and_what_is_nearest_ends_it(build):
    """A phrase's last token is that of the answer so far, framed or not, and no name is one of its tokens."""
    objects = {1: ("red", "chair"), 2: ("blue", "chair"), 3: ("wooden", "table"), 4: ("white", "lamp")}
    boxes = {1: (0, 0, 0), 2: (5, 0, 0), 3: (1, 0, 0), 4: (9, 0, 0)}
    made = [p for p in phrases(objects, boxes, [1, 2, 3, 4], 6000, random.Random(0)) if p.begun]
    assert {(p.names[0][1], p.meant) for p in made} == {((1,), (3,)), ((3,), (1,)), ((4,), (2,))}
    assert all(p.text.startswith("where ") and p.asks == "label" and not p.points and not p.away for p in made)
    assert all(p.beside == p.names[0][1] for p in made) and {p.framed for p in made} == {True, False}
    _, processor = build()
    items = lesson_items(0, made, processor)
    rows, segments = (items[name][len(processor.prefix_ids()) :] for name in ("ids", "segments"))
    for number, (phrase, name, end) in enumerate(
        zip(made, items["name_columns"].tolist(), items["end_columns"].tolist(), strict=True), 1
    ):
        own = rows[segments == number]
        assert end == int((segments == number).nonzero()[-1]) > name
        said = processor.tokenizer.decode(own)
        assert said.endswith(phrase.begun) and phrase.text.lower() in said.lower()
    assert not len(items["answers"])


PLACES = (
    r"i am standing by the (?P<by>.+) and facing the (?P<faced>.+)\.",
    r"next to the (?P<by>.+), looking at the (?P<faced>.+)\.",
    r"facing the (?P<faced>.+), beside the (?P<by>.+)\.",
)


def test_where_somebody_is_and_what_they_face_is_said_of_things_named_alone_that_lie_apart():
    objects = {1: ("red", "chair"), 2: ("blue", "chair"), 3: (None, "lamp"), 4: ("white", "table"), 5: (None, "lamp")}
    boxes = {1: (0, 0, 0.5), 2: (5, 0, 0.4), 3: (1, 3, 1), 4: (4.5, 3, 0.3), 5: (4, 4, 1)}
    alone = {"red chair": 1, "blue chair": 2, "white table": 4, "table": 4}
    placed = [p for p in phrases(objects, boxes, [1, 2, 3, 4, 5], 2000, random.Random(0)) if p.stands]
    assert 100 < len(placed) < 600 and {p.by for p in placed} == {p.faced for p in placed} == {(1,), (2,), (4,)}
    for p in placed:
        end, here, ahead = p.stands
        (read,) = (match for pattern in PLACES if (match := re.fullmatch(pattern, p.text[:end])))
        assert (p.by, p.faced) == ((alone[read["by"]],), (alone[read["faced"]],)) and here == boxes[p.by[0]]
        assert len(p.names) == 3 and not p.framed and p.asks is None and p.beside == ()
        assert {*p.by, *p.faced, *p.meant} == {1, 2, 4} and p.names[2] == (p.names[2][0], p.meant)
        way = np.subtract(boxes[p.faced[0]], here)[:2]
        assert np.allclose(np.subtract(ahead, here), [*(way / np.linalg.norm(way)), 0])
    near = {**boxes, 4: (4.5, 0.5, 0.3)}
    assert not [p for p in phrases(objects, near, [1, 2, 3, 4, 5], 2000, random.Random(0)) if p.stands], "too near"


def test_what_is_about_as_near_is_not_called_the_nearest():
    objects = {1: ("red", "chair"), 2: ("blue", "chair"), 3: (None, "lamp")}
    boxes = {1: (0, 0, 0), 2: (2.1, 0, 0), 3: (1, 0, 0)}
    made = phrases(objects, boxes, [1, 2, 3], 300, random.Random(0))
    assert not [phrase for phrase in made if "chair nearest to the lamp" in phrase.text and len(phrase.names[0][1]) > 1]


# -- names ---------------------------------------------------------------------------------------------------------


def test_naming_numbers_words_and_prefers_what_is_like_them(build):
    _, processor = build()
    naming = Naming.of([{1: ("red", "chair"), 2: (None, "trash can")}], processor.tokenizer)
    assert naming.numbers({7: ("red", "trash can")}, 7) == (naming.labels["trash can"], naming.attributes["red"])
    assert naming.numbers({}, 7) == (NONE, NONE)
    words = torch.randn(len(processor.tokenizer), 16, generator=torch.Generator().manual_seed(0))
    vectors = torch.stack([words[list(ids)].mean(0) for ids in naming.tokens])
    right = torch.tensor([[naming.labels["chair"], NONE], [naming.labels["trash can"], NONE]])
    states = vectors[[naming.labels["chair"], naming.labels["trash can"]]] * 5
    assert naming.loss(states, right, words) < 0.1 < 1 < naming.loss(states.flip(0), right, words)
    assert float(naming.loss(states, torch.full((2, 2), NONE), words)) == 0


# -- the tower -----------------------------------------------------------------------------------------------------


def test_the_tower_learns_labels_and_attributes(rooms, build, questions, tmp_path):
    model, processor = build()
    before = {name: p.clone() for name, p in model.named_parameters()}
    named = named_of(rooms, questions)
    settings = TrainSettings(max_frames=4)
    first = teach_tower(model, processor, rooms, named, tmp_path, replace(settings, tower_steps=2))
    last = teach_tower(model, processor, rooms, named, tmp_path, replace(settings, tower_steps=60))
    assert last < 0.7 * first
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    words = {"model.embed_tokens.weight"}
    assert changed - words and all("vision_tower" in name or "mm_projector" in name for name in changed - words)
    other = torch.arange(len(before[min(words)])) != processor.config.coord_token_id
    assert torch.equal(dict(model.named_parameters())[min(words)][other], before[min(words)][other]), "but <coord>"


def test_a_tower_that_is_to_stay_is_taught_all_the_same_and_stays_from_then_on(rooms, build, questions, tmp_path):
    model, processor = build()
    tower = model.get_model().get_vision_tower()
    tower.requires_grad_(False)
    before = [p.clone() for p in tower.parameters()]
    named = named_of(rooms, questions)
    teach_tower(model, processor, rooms, named, tmp_path, TrainSettings(max_frames=2, tower_steps=2))
    assert any(not torch.equal(p, old) for p, old in zip(tower.parameters(), before, strict=True))
    assert not any(p.requires_grad for p in tower.parameters())


@pytest.mark.parametrize("move", [False, True])
def test_after_it_features_vary_as_much_as_the_position_encoding_about_a_mean_of_nothing(
    rooms, build, questions, tmp_path, move
):
    model, processor = build()
    settings = TrainSettings(max_frames=4, tower_steps=2, move_scenes=move)
    inner, at = model.get_model(), model.config.coord_token_id
    word = inner.embed_tokens.weight[at].detach().clone()
    teach_tower(model, processor, rooms, named_of(rooms, questions), tmp_path, settings)
    scenes = sample_of(rooms, rooms.scene_ids, model.config.inputs_spec, settings)
    with torch.no_grad():
        features = torch.cat([inner.mm_projector(inner.vision_tower(own.pixels)).flatten(0, 1) for own in scenes])
        places = torch.cat([inner.world_position_embedding(own.token_points).flatten(0, 2) for own in scenes])
    rms = places.std(0).square().mean().sqrt()
    torch.testing.assert_close(features.std(0).square().mean().sqrt(), rms, rtol=0.01, atol=0.0)
    torch.testing.assert_close(features.mean(0) + places.mean(0), torch.zeros_like(rms).expand(SIZES["hidden_size"]))
    torch.testing.assert_close(inner.embed_tokens.weight[at].detach(), word - places.mean(0))


def test_without_positions_features_vary_as_words_do(rooms, build):
    model, _ = build(world_position_embedding_type=None)
    scenes = sample_of(rooms, rooms.scene_ids, model.config.inputs_spec, TrainSettings(max_frames=2))
    balance(model, scenes)
    inner = model.get_model()
    with torch.no_grad():
        features = torch.cat([inner.mm_projector(inner.vision_tower(own.pixels)).flatten(0, 1) for own in scenes])
    assert abs(float(features.std(0).square().mean().sqrt()) - 0.4) < 0.01 and features.mean(0).abs().max() < 1e-4


def test_a_patch_is_of_the_smallest_box_it_lies_in():
    inside = torch.tensor([[True, True, False], [False, True, False]])
    boxes = torch.tensor([[0.0, 0, 0, 2, 2, 2], [0, 0, 0, 1, 1, 1]])
    numbers = patch_numbers(inside, boxes, torch.tensor([[4, 0], [5, 1]]))
    assert numbers.tolist() == [[4, 0], [5, 1], [NONE, NONE]]
    assert patch_numbers(inside[:0], boxes[:0], torch.zeros(0, 2).long()).tolist() == [[NONE, NONE]] * 3


def test_objects_that_no_frame_shows_are_not_asked(build):
    model, processor = build()
    lesson = TowerLesson(model, Naming.of([{1: ("red", "chair")}], processor.tokenizer))
    side = model.config.inputs_spec.object_grid_side
    scene = {
        "pixels": torch.zeros(1, 112, 112, 3, dtype=torch.uint8),
        "proposals": torch.ones(1, 6),
        "proposal_bits": torch.zeros(1, 1, -(-(side**2) // 8)).byte(),
    }
    loss = lesson([scene], torch.full((1, 2), NONE))["loss"]
    loss.backward()
    assert float(loss.detach()) == 0


def test_without_annotated_objects_there_is_nothing_to_learn_from(rooms, build, tmp_path):
    with pytest.raises(DataError, match="no annotated objects"):
        teach_tower(*build(), rooms, {"scene": {}}, tmp_path, TrainSettings(tower_steps=1))


# -- the optimiser -------------------------------------------------------------------------------------------------


def test_muon_takes_the_layers_matrices_and_adamw_the_rest_each_parameter_once(build):
    model, _ = build()
    settings = TrainSettings(optimizer="muon", vision_tower_lr=1e-4, learning_rate=1e-3)
    together = optimizers.build_optimizer(model, settings)
    held = [id(p) for group in together.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    names = {id(p): name for name, p in model.named_parameters()}
    muon = {names[id(p)] for group in together.parts[0].param_groups for p in group["params"]}
    assert muon and all(name.startswith("model.layers.") and name.endswith("proj.weight") for name in muon)
    rates = {names[id(p)]: group["lr"] for group in together.param_groups for p in group["params"]}
    writing = {name for name in muon if name.endswith(("o_proj.weight", "down_proj.weight"))}
    assert {rates[name] for name in writing} == {0.005} and {rates[name] for name in muon - writing} == {0.02}
    assert all((rate == 1e-4) == ("vision_tower" in name) for name, rate in rates.items() if name not in muon)


def test_a_scheduler_reaches_both_and_a_stored_state_goes_on_alike(build):
    def run(model, together, steps):
        for step in range(steps):
            together.zero_grad()
            sum((p * (step + 1)).square().sum() for p in model.parameters()).backward()
            together.step()

    settings = TrainSettings(optimizer="muon", learning_rate=1e-3, vision_tower_lr=None)
    model, _ = build()
    together = optimizers.build_optimizer(model, settings)
    scheduler = torch.optim.lr_scheduler.LambdaLR(together, lambda step: 0.5)
    assert [g["lr"] for g in together.parts[0].param_groups] == [0.01, 0.0025]
    assert all(g["lr"] == 5e-4 for g in together.parts[1].param_groups)
    del scheduler
    run(model, together, 2)
    twin, _ = build()
    twin.load_state_dict(model.state_dict())
    other = optimizers.build_optimizer(twin, settings)
    other.load_state_dict(copy.deepcopy(together.state_dict()))
    run(model, together, 1)
    run(twin, other, 1)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


def test_an_unknown_optimiser_lists_the_known():
    with pytest.raises(DataError, match="adamw, muon"):
        TrainSettings(optimizer="sgd")


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    ("lesson", "asks", "left"), [("TowerLesson", False, 12), ("LookupLesson", False, 8), ("LookupLesson", True, 2)]
)
def test_the_mini_preset_killed_and_resumed_ends_with_the_same_weights(
    rooms, questions, tmp_path, monkeypatch, lesson, asks, left
):
    """Killed after two of a stage's four steps; the rest of it and the stages after it are `left`."""
    import transformers

    chosen = preset("mini")
    few = {"steps": 4, "save_every": 2, "tower_steps": 4, "lookup_steps": 4, "object_steps": 2, "max_frames": 2}
    settings = replace(chosen.settings, **few, tasks=("scanrefer",))
    small = Preset(settings, {**chosen.language, **SIZES, "num_attention_heads": 4}, TOWER, 400)
    step = transformers.Trainer.training_step

    def killed(self, *args, **kwargs):
        asked = getattr(self.train_dataset, "_groups", None) is not None
        if self.state.global_step == 2 and (type(self.model).__name__, asked) == (lesson, asks):
            raise Killed
        return step(self, *args, **kwargs)

    steps = []

    def counted(self, *args, **kwargs):
        steps.append(self.state.global_step)
        return step(self, *args, **kwargs)

    def run(output, resume=False):
        model, processor = from_scratch(small, questions)
        train(model.train(), processor, rooms, tmp_path / output, settings, resume=resume)
        return model

    whole = run("whole")
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(transformers.Trainer, "training_step", killed)
        run("half")
    with monkeypatch.context() as patched:
        patched.setattr(transformers.Trainer, "training_step", counted)
        resumed = run("half", resume=True)
    assert len(steps) == left
    assert not (tmp_path / "half" / "stages").exists()
    for (name, one), other in zip(whole.named_parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(one, other, msg=lambda m, name=name: f"{name}: {m}")
