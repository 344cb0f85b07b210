"""Short questions about objects, worked by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from video3d_plugin.mini.curriculum.object_questions import (
    attributes,
    names_in_folder,
    object_names,
    object_questions,
    object_questions_in_folder,
)
from video3d_plugin.scene import Instance, Question, Scene


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


def test_targets_are_all_objects_of_a_name_and_walls_are_left_out():
    scene = scene_of((1, "chair"), (2, "chair"), (3, "chair"), (4, "lamp"), (5, "wall"))
    said = [refer(1, "a red chair"), refer(2, "the red chair"), refer(3, "the blue chair")] * 20
    made = object_questions(scene, object_names([scene], said)["s"])
    found = {q.item_id.split("|")[2]: q for q in made if q.item_id.startswith("find")}
    assert {key: q.targets for key, q in found.items()} == {"1": (1, 2), "2": (1, 2), "3": (3,), "4": (4,)}
    assert "red chair" in found["1"].prompt and "lamp" in found["4"].prompt
    names = {q.item_id.split("|")[2]: (q.answer, q.coords[0][0]) for q in made if q.coords}
    assert names == {"1": ("red chair", 1), "2": ("red chair", 2), "3": ("blue chair", 3), "4": ("lamp", 4)}


def test_an_attribute_that_one_object_of_the_label_lacks_is_not_stated():
    scene = scene_of((1, "chair"), (2, "chair"))
    made = object_questions(scene, object_names([scene], [refer(1, "a red chair")] * 20)["s"])
    assert all("red" not in (q.prompt + q.answer).lower() for q in made)
    assert all(q.targets == (1, 2) for q in made if q.is_grounding)


def test_rounds_and_seeds(rooms, questions):
    named = names_in_folder(rooms, questions)
    once, twice = (object_questions_in_folder(rooms, named, rounds, 0) for rounds in (1, 2))
    assert object_questions_in_folder(rooms, named, 0, 0) == [] and len(twice) > len(once) > 20
    assert len({q.item_id for q in twice}) == len(twice)
    assert twice == object_questions_in_folder(rooms, named, 2, 0)
    assert any(q.coords and q.answer.split()[0] in ("red", "blue", "white", "green", "brown") for q in once)


def test_nearest_and_farthest_worked_by_hand():
    scene = scene_of((0, "lamp"), (1, "chair"), (4, "chair"), (9, "chair"), (5, "table"))
    made = object_questions(scene, object_names([scene], [])["s"], rounds=30)
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


def test_existence_questions_worked_by_hand():
    scene = scene_of((1, "chair"), (2, "chair"), (3, "lamp"))
    said = [refer(1, "a red chair"), refer(2, "a blue chair"), refer(3, "a white lamp")] * 20
    made = object_questions(scene, object_names([scene], said)["s"], rounds=40)
    answers = {(q.prompt.split("there a ")[1].split("?")[0], q.answer) for q in made if "there a " in q.prompt}
    assert answers == {
        *((name, "yes") for name in ("red chair", "blue chair", "white lamp")),
        *((name, "no") for name in ("white chair", "red lamp", "blue lamp")),
    }
