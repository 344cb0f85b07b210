"""What questions are about, from the annotations in the data folder: as the official files say it, or nothing."""

from __future__ import annotations

import pytest

from video3d_plugin.mini.curriculum.annotations import annotated_questions, viewpoint
from video3d_plugin.scene import Question


class Folder:
    """A data folder with these training questions and docs."""

    def __init__(self, questions, docs=()):
        self._questions, self._docs = questions, list(docs)

    def questions(self, task, split):
        assert split == "train"
        return [question for question in self._questions if question.task == task]

    def docs(self, task, split):
        assert split == "train"
        return self._docs


def question(task, item_id, **parts):
    return Question(task, item_id, "s", "<image> x", "y", **parts)


def test_the_object_of_a_description_is_in_its_item_id():
    asked = [question("scan2cap", "scene0000_00|12|3"), question("scan2cap", "odd|name|7|0")]
    assert [q.metadata for q in annotated_questions(Folder(asked), ["scan2cap"])] == [
        {"object_ids": [12]},
        {"object_ids": [7]},
    ]


def test_the_objects_of_an_answer_are_those_of_its_question():
    asked = [question("scanqa", f"train-scene0000-{n}_{k}") for n, k in ((0, 0), (0, 1), (1, 0))]
    docs = [{"item_id": f"train-scene0000-{n}", "object_ids": ids} for n, ids in ((0, [4, 5]), (1, []))]
    found = annotated_questions(Folder(asked, docs), ["scanqa"])
    assert [q.metadata["object_ids"] for q in found] == [[4, 5], [4, 5], []]
    assert [(q.item_id, q.prompt, q.answer) for q in found] == [(q.item_id, q.prompt, q.answer) for q in asked]


def test_a_situation_and_its_viewpoint_worked_by_hand():
    """Half a turn about z: who faced +y faces -y."""
    doc = {"item_id": "7", "situation": "I stand.", "alternative_situation": ["I sit.", "I lie."]}
    doc |= {"position": [1.5, 2.0, 0.0], "rotation": [0, 0, 1, 0]}
    found = annotated_questions(Folder([question("sqa3d", f"7_{n}") for n in range(3)], [doc]), ["sqa3d"])
    assert [q.metadata["situation"] for q in found] == ["I sit.", "I lie.", "I stand."]
    for here, ahead in (q.metadata["viewpoint"] for q in found):
        assert here == (1.5, 2.0, 0.0) and ahead == pytest.approx((1.5, 1.0, 0.0))


@pytest.mark.parametrize(("position", "rotation"), [([], []), ([1.0, 2.0, 0.0], []), ([], [0, 0, 0, 1])])
def test_without_a_whole_pose_there_is_no_viewpoint(position, rotation):
    assert viewpoint(position, rotation) == ()


def test_a_rotation_of_none_faces_along_y():
    assert viewpoint([0.0, 0.0, 1.0], [0, 0, 0, 1]) == ((0.0, 0.0, 1.0), (0.0, 1.0, 1.0))


def test_what_the_folder_does_not_know_is_left_as_it_is():
    old = question("scanqa", "other_0", metadata={"object_ids": [3]})
    assert annotated_questions(Folder([old]), ["scanqa"]) == [old]
    plain = question("scanrefer", "s|1|0")
    assert annotated_questions(Folder([plain]), ["scanrefer", "scanqa"]) == [plain]
    assert annotated_questions(Folder([]), ["sqa3d"]) == []


def test_of_made_up_rooms_every_question_but_grounding_says_what_it_is_about(rooms):
    for task, known in (("scan2cap", "object_ids"), ("scanqa", "object_ids"), ("sqa3d", "viewpoint")):
        found = annotated_questions(rooms, [task])
        assert found and all(known in q.metadata for q in found)
        assert [q.item_id for q in found] == [q.item_id for q in rooms.questions(task, "train")]
        assert not any(q.metadata for q in rooms.questions(task, "train")), "readers know nothing of it"
    assert all(q.metadata["situation"] in q.prompt and len(q.metadata["viewpoint"]) == 2 for q in found)
