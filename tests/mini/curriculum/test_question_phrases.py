"""Phrases made from benchmark questions: the names that are read in them, and their targets."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

from video3d_plugin.mini.curriculum import scene_supervision as scene_targets
from video3d_plugin.mini.curriculum.annotations import annotated_questions
from video3d_plugin.mini.curriculum.attention_supervision import AttentionSupervision
from video3d_plugin.mini.curriculum.object_questions import names_in_folder
from video3d_plugin.mini.curriculum.question_phrases import question_phrase, question_phrases
from video3d_plugin.mini.curriculum.scene_supervision import scene_supervision
from video3d_plugin.mini.curriculum.vocabulary import Vocabulary
from video3d_plugin.mini.presets import MiniPreset
from video3d_plugin.mini.settings import MiniSettings
from video3d_plugin.mini.train import from_scratch
from video3d_plugin.prompts import ANSWER_PROMPT, GROUND_PROMPT
from video3d_plugin.scene import Question
from video3d_plugin.tasks import VIDEO3D_LLM

ROOM = {
    1: ("red", "chair"),
    2: ("blue", "chair"),
    3: ("brown", "table"),
    4: (None, "coffee table"),
    5: ("red", "box"),
    6: (None, "T.V. set"),
    7: (None, "bookshelf"),
}


# Someone at (1, 2) who looks along y has the red chair and the table to the left, the blue chair and the box
# to the right.
BOXES = {1: (0, 2.5, 0), 2: (3, 2, 0), 3: (0, 2, 0), 4: (1, 0, 0), 5: (2, 3, 0), 6: (1, 4, 0), 7: (9, 9, 0)}

SMALL = MiniPreset(
    MiniSettings(),
    {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2},
    {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "image_size": 112},
    400,
)


def grounding(description, targets):
    return Question(
        "scanrefer", "0", "room", GROUND_PROMPT.format(description=description), "<ground>", targets=targets
    )


def asking(question, answer, about):
    prompt = ANSWER_PROMPT.format(question=question)
    return Question("scanqa", "0", "room", prompt, answer, metadata={} if about is None else {"object_ids": about})


def situated(situation, question, stands=((1.0, 2.0, 0.0), (1.0, 3.0, 0.0))):
    prompt = f"<image> {situation} {question} Answer the question using a single word or phrase."
    return Question("sqa3d", "0", "room", prompt, "left", metadata={"situation": situation, "viewpoint": stands})


def names(phrase):
    """What each name of a phrase ends with, and whom it names."""
    return [(phrase.text[:end].rsplit(" ", 1)[-1], ids) for end, ids in phrase.names]


@pytest.mark.parametrize(
    ("question", "said", "meant", "beside"),
    [
        (grounding("The red chair next to the table.", (1,)), [("chair", (1,)), ("table", (3,))], (1,), (3,)),
        (grounding("A Chair. it is by the coffee table.", (2,)), [("Chair", (1, 2)), ("table", (4,))], (2,), (4,)),
        (grounding("It is on the t.v. set.", (5,)), [("set", (6,))], (5,), (6,)),
        (grounding("It is between the box and the brown table.", (2,)), [("box", (5,)), ("table", (3,))], (2,), (5, 3)),
        (grounding("The chairs near the armchair.", (1, 2)), [("chairs", (1, 2))], (1, 2), ()),
        (grounding("All red boxes, and bookshelves.", (5,)), [("boxes", (5,)), ("bookshelves", (7,))], (5,), (7,)),
        (grounding("The green chair by the box.", ()), [("chair", (1, 2)), ("box", (5,))], (), ()),
        (asking("What color is the chair by the box?", "blue", [2]), [("chair", (1, 2)), ("box", (5,))], (2,), (5,)),
        (asking("What is next to the box?", "blue chair", [2]), [("box", (5,))], (2,), (5,)),
        (asking("Where is the box?", "next to the chair", [5]), [("box", (5,))], (2,), (5,)),
        (asking("Where is the table?", "by the chair", [3]), [("table", (3,))], (1,), (3,)),
        (asking("Where is the box?", "in the corner", [5]), [("box", (5,))], (5,), ()),
        (asking("Where is the box?", "between the chair and the t.v. set", [5]), [("box", (5,))], (5,), ()),
        (asking("Where is the blue chair?", "by the red chair", [2]), [("chair", (2,))], (2,), ()),
    ],
)  # fmt: skip
def test_names_targets_and_anchors_worked_by_hand(question, said, meant, beside):
    phrase = question_phrase(question, ROOM, BOXES, ROOM)
    assert names(phrase) == said and phrase.target == meant and phrase.anchor == beside
    assert phrase.question is question and phrase.asks == (None if question.is_grounding else "words")


@pytest.mark.parametrize(
    ("description", "away"),
    [
        ("The chair farthest from the table.", True),
        ("the chair that is furthest away from the table", True),
        ("It is far from the table.", True),
        ("The chair most distant from the table.", True),
        ("The chair furthest to the left of the table.", False),
        ("The chair on the far side, next to the table.", False),
    ],
)
def test_whether_the_farthest_is_the_target_follows_from_the_words(description, away):
    assert question_phrase(grounding(description, (1,)), ROOM, BOXES, ROOM).is_farthest == away


@pytest.mark.parametrize(
    ("question", "among", "answered", "meant"),
    [
        ("Is the box on my right?", ROOM, True, (5,)),
        ("Is the box on my right?", [3, 5], True, (5,)),
        ("Is the t.v. set to my left or right?", ROOM, True, (6,)),
        ("What color is the chair on my right?", ROOM, True, (2,)),
        ("What color is the chair on my left?", ROOM, True, (1,)),
        ("What color is the chair in front of me?", ROOM, True, ()),
        ("What color is the chair on my right?", [1, 3], False, ()),
        ("Is the chair or the box closer?", ROOM, True, ()),
        ("What is behind me?", ROOM, False, ()),
    ],
)
def test_a_situated_question_is_answered_if_all_that_it_names_is_visible(question, among, answered, meant):
    phrase = question_phrase(situated("I sit by the table.", question), ROOM, BOXES, among)
    assert (phrase.standing_at, phrase.facing) == ((3,), ())
    assert phrase.text[: phrase.viewpoint[0]] == " I sit by the table."
    assert phrase.viewpoint[1:] == ((1.0, 2.0, 0.0), (1.0, 3.0, 0.0)) and (phrase.target, phrase.anchor) == (meant, ())
    assert (phrase.asks == "words") == answered and names(phrase)[0] == ("table", (3,))


@pytest.mark.parametrize(
    "question",
    [
        situated("I sit by the table.", "Is the box on my right?", stands=()),
        asking("What color is the chair?", "red", None),
        asking("What color is the chair?", None, [1]),
        asking("What is this?", "a lamp", [9]),
        grounding("The red chair.", (1, 9)),
        Question("sqa3d", "0", "room", "<image> What is behind me?", "door"),
    ],
)
def test_questions_with_an_unknown_or_invisible_target_are_left_out(question):
    assert question_phrase(question, ROOM, BOXES, ROOM) is None


@pytest.mark.parametrize(
    ("answer", "begun", "meant"),
    [
        ("next to the chair", "next to the", (2,)),
        ("next to the red chair", "next to the", (1,)),
        ("a coffee table is beside it", "a", (4,)),
        ("chair", "", (2,)),
        ("in the corner", "", (5,)),
    ],
)
def test_an_object_that_the_answer_names_is_the_target_after_the_answers_start(answer, begun, meant):
    """Before that, the thing asked for says how to begin; what comes after the name is of no concern."""
    phrase = question_phrase(asking("Where is the box?", answer, [5]), ROOM, BOXES, ROOM)
    assert (phrase.answer_start, phrase.target) == (begun, meant)


@pytest.mark.parametrize(
    ("situation", "by", "faced"),
    [
        ("I face the t.v. set and stand by the table.", (3,), (6,)),
        ("By the coffee table, I look at the t.v. set.", (), (6,)),
        ("The red chair is to my left, I look at the t.v. set, a chair to my right.", (1,), (6,)),
        ("I look around.", (), ()),
    ],
)
def test_what_the_asker_stands_at_and_faces_worked_by_hand(situation, by, faced):
    """By what is nearest, if it is near: the coffee table is two metres away."""
    phrase = question_phrase(situated(situation, "Is the box on my right?"), ROOM, BOXES, ROOM)
    assert (phrase.standing_at, phrase.facing) == (by, faced)
    here = question_phrase(
        situated("I face the t.v. set.", "Is the box behind me?", ((1, 3, 0), (1, 4, 0))), ROOM, BOXES, ROOM
    )
    assert here.standing_at == here.facing == (6,), "what one faces may be what one stands by"


def test_questions_about_invisible_objects_are_left_out():
    question = grounding("The red chair next to the table.", (1,))
    assert question_phrase(question, ROOM, BOXES, [2, 3]) is None, "the target is not seen"
    assert question_phrase(question, ROOM, BOXES, [1, 2]) is None, "nor is the table"
    assert question_phrase(grounding("This chair.", (1,)), ROOM, BOXES, [1, 3]).names[0][1] == (1,), (
        "a sister that is not seen is not named"
    )
    assert question_phrase(grounding("This chair.", (1,)), {}, {}, []) is None


def test_count_is_a_limit_and_tasks_take_turns():
    asked = [grounding(f"The red chair {number}.", (1,)) for number in range(5)] + [grounding("The moon.", (99,))]
    some = question_phrases(asked, ROOM, BOXES, ROOM, 3)
    mixed = question_phrases([*asked, *(asking(f"What {n}?", "a chair", [1]) for n in range(2))], ROOM, BOXES, ROOM, 5)
    assert [p.question.task for p in mixed] == ["scanrefer", "scanqa", "scanqa", "scanrefer", "scanrefer"]
    assert len(some) == 3 and len({phrase.text for phrase in some}) == 3
    assert len(question_phrases(asked, ROOM, BOXES, ROOM, 99)) == 5
    assert question_phrases([], ROOM, BOXES, ROOM, 3) == []


def test_phrases_of_questions_are_tokenized_as_the_questions(rooms, monkeypatch):
    """Of every told question: the same ids, answer and all; names end where their words do."""
    monkeypatch.setattr(scene_targets, "QUESTION_PHRASES", 60)

    questions = annotated_questions(rooms, VIDEO3D_LLM)
    _, processor = from_scratch(SMALL, questions)
    named = names_in_folder(rooms, questions)
    scene_id = sorted(named)[0]
    own = [question for question in questions if question.scene_id == scene_id]
    asked = next(question for question in own if question.task == "sqa3d")
    own.insert(0, replace(asked, prompt=f"<image> {asked.metadata['situation']} What is behind me?"))
    inputs = rooms.inputs(scene_id, processor.config.inputs_spec, max_frames=4, proposals="gt")
    vocabulary = Vocabulary.of(named.values(), processor.tokenizer)
    supervision = scene_supervision(inputs, named[scene_id], vocabulary, processor, random.Random(0), own, 60)
    items, segments = (supervision[name][len(processor.prefix_ids()) :] for name in ("ids", "segments"))
    points, ground = len(supervision["point_columns"]), processor.config.ground_token_id
    whole = {tuple(processor.suffix_ids(question, answered=True)[0]): question for question in own}
    found, situations, begun = [], [], []
    called = {" ".join(filter(None, pair)) for pair in named[scene_id].values()}
    for number, end in enumerate(supervision["end_columns"].tolist(), points + 1):
        columns = (segments == number).nonzero()[:, 0]
        ids = tuple(items[columns].tolist())
        question = next((q for known, q in whole.items() if known[: len(ids)] == ids), None)
        if question is None:
            continue
        found.append(question.task)
        if question.task == "sqa3d":
            situations += [c for c in supervision["situation_columns"].tolist() if c in columns]
            said = processor.tokenizer.decode(items[columns[0] : situations[-1] + 1])
            assert said.strip() == question.metadata["situation"]
        told_to_say = [int(c) for c in supervision["answer_columns"] if c in columns]
        if question.is_grounding:
            assert items[end] == ground and end == columns[-1] and not told_to_say
        elif told_to_say or question.task != "sqa3d":
            asked = int(columns[0]) + len(processor.suffix_ids(question, answered=False)[0]) - 1
            assert told_to_say == list(range(asked, int(columns[-1]))) and asked <= end
            begun.append(processor.tokenizer.decode(items[asked + 1 : end + 1]))
            rest = processor.tokenizer.decode(items[end + 1 : columns[-1] + 1], skip_special_tokens=True)
            assert (begun[-1] + rest).strip() == question.answer
            assert not begun[-1] or any(name.endswith(rest.strip()) for name in called), "what is meant is next"
    situated = supervision["end_columns"][supervision["situated"]]
    assert all(segments[situated] == segments[supervision["situation_columns"]])
    assert supervision["situation_columns"].tolist()[: len(situations)] == situations, "made ones come after"
    assert supervision["viewpoint"].shape == (len(supervision["situation_columns"]), 2, 3)
    assert {"scanrefer", "scan2cap", "scanqa", "sqa3d"} <= set(found) and len(found) > 10
    assert "" in begun and "next to the" in begun
    of_text = ~supervision["target"].any(1) & torch.isin(supervision["end_columns"], situated)
    assert bool(of_text.any()) and torch.equal(supervision["has_target"], ~of_text), (
        "no answer in words is that nothing is meant"
    )
    assert supervision["answers"].tolist() == items[supervision["answer_columns"] + 1].tolist()
    of_answer = segments[supervision["answer_columns"]]
    shares = [float(supervision["answer_shares"][of_answer == number].sum()) for number in set(of_answer.tolist())]
    assert shares == pytest.approx([1.0] * len(shares)), "an answer counts once, however long it is"
    described = [question for question in own if question.task == "scan2cap"]
    about = {question.coords[0]: question.metadata["object_ids"] for question in described}
    spoken_of = [tuple(point.tolist()) for point in supervision["points"][points:].double()]
    centres = {tuple(row[:3]) for row in inputs.proposals.double().tolist()}
    assert spoken_of and set(spoken_of) <= centres and all(len(ids) == 1 for ids in about.values())
    labels = {word for pair in named[scene_id].values() for word in pair[1].split()}
    for column in supervision["name_columns"].tolist():
        words = processor.tokenizer.decode(items[max(0, column - 5) : column + 1])
        assert words.lower().endswith(tuple(labels)), words


class Says(torch.nn.Module):
    """Answers with what it was made with, at full strength."""

    def __init__(self, answer):
        super().__init__()
        self._answer = 40 * (answer - answer.mean(0))

    def forward(self, states):
        return self._answer


class Gives(torch.nn.Module):
    """Answers with these numbers, for every state."""

    def __init__(self, numbers):
        super().__init__()
        self._numbers = torch.tensor(numbers)

    def forward(self, states):
        return self._numbers.expand(len(states), -1)


HERE, AHEAD = torch.tensor([[0.5, 0.2, 0.0], [-1.0, 1.0, 0.0]]), torch.tensor([[1.5, 0.2, 0.0], [-1.0, 2.0, 0.0]])


@pytest.fixture
def teacher(rooms, questions):
    model, processor = from_scratch(SMALL, questions)
    return AttentionSupervision.of(model, processor, names_in_folder(rooms, questions))


def situations(stands, meant, boxes):
    count = len(stands)
    return {
        "viewpoint": stands,
        "situated": torch.arange(count),
        "target": torch.tensor(meant).bool().reshape(count, -1),
        "scene": {"proposals": torch.tensor(boxes).reshape(-1, 6)},
    }


def test_states_that_encode_the_viewpoint_have_a_small_loss(teacher):
    places = teacher.model.get_model().world_position_embedding(HERE[:, None])
    own = situations(torch.stack([HERE, AHEAD], 1), [[0], [0]], [[2.0, 2.0, 0.5, 1, 1, 1]])

    def lost(place, facing):
        teacher.stand, teacher.facing = Says(place), Gives(facing)
        return float(teacher.viewpoint_loss(torch.zeros(2, 48), own).detach())

    right = lost(places, [[1.0, 0.0], [0.0, 1.0]])
    assert right < 1 < lost(places.flip(0), [[1.0, 0.0], [0.0, 1.0]])
    assert lost(places, [[1.0, 0.0], [1.0, 0.0]]) == pytest.approx(right + 1) and lost(
        places, [[-1.0, 0.0], [0.0, -1.0]]
    ) == pytest.approx(right + 4)
    nobody = {**own, "viewpoint": torch.zeros(0, 2, 3)}
    assert float(teacher.viewpoint_loss(torch.zeros(0, 48), nobody)) == 0


def test_states_that_tell_the_side_of_the_target_have_no_loss(teacher):
    """To the first asker, who looks along x, a box at +y is to the left; the second asks of two things, untaught."""
    own = situations(torch.stack([HERE, AHEAD], 1), [[1, 0], [1, 1]], [[0.5, 5, 1, 1, 1, 1], [3, 0.2, 1, 1, 1, 1]])

    def lost(said):
        teacher.side = Gives([said])
        return float(teacher.side_loss(torch.zeros(2, 48), own))

    assert lost([0.0, 1.0]) == pytest.approx(0, abs=1e-6) and lost([0.0, -1.0]) == pytest.approx(8, abs=1e-5)
    nothing = {**own, "target": torch.zeros(2, 2).bool()}
    assert float(teacher.side_loss(torch.zeros(2, 48), nothing)) == 0
