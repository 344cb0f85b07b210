"""`--model video3d` between lmms-eval's requests and the model: who is asked what, when, and what comes back."""

from __future__ import annotations

import json
import random
from types import SimpleNamespace

import pytest
import torch

from video3d_plugin.errors import DataError, MissingError, Video3DError
from video3d_plugin.hosts.lmms_eval import cache_fingerprint
from video3d_plugin.hosts.lmms_eval.state import STATE

pytestmark = pytest.mark.usefixtures("lmms_eval_importable")


class FakeInputs(SimpleNamespace):
    """As SceneInputs, as far as the adapter looks."""


class FakeModel:
    """Stands for pipeline.Video3D: remembers what it was asked, and answers with the question's own id."""

    spec = "spec"

    max_frames, sampler = 32, "uniform"  # what `load_model` gives a checkpoint without training.json

    def __init__(self, fits: int = 100):
        self.fits, self.encoded, self.batches = fits, [], []
        self.model = SimpleNamespace(dtype=torch.float32)

    def encode_scene(self, inputs):
        self.encoded.append(inputs.scene_id)
        return inputs.scene_id

    def answer(self, prefix, questions, max_new_tokens, batch_size):
        self._ask(prefix, questions)
        return [f"{q.task} {q.item_id} {max_new_tokens}" for q in questions]

    def ground_scores(self, prefix, questions, batch_size):
        self._ask(prefix, questions)
        return [torch.tensor([0.1, 0.25, -3.0]) for _ in questions]

    def _ask(self, prefix, questions):
        if len(questions) > self.fits:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        if any(q.item_id == "refused" for q in questions):
            raise DataError("question takes 9000 positions", where=prefix)
        assert {q.scene_id for q in questions} == {prefix}
        self.batches.append([q.item_id for q in questions])


class FakeFolder:
    def __init__(self):
        self.loaded, self.sampled, self.frames_loaded = [], [], []

    def frames(self, scene_id, sampler, max_frames, question):
        """What a sampler selects for each question: other frames for `s1`."""
        self.sampled.append(question.item_id)
        return [4, 5] if question.item_id == "s1" else [0, 1]

    def inputs(self, scene_id, spec, sampler, max_frames, proposals, frames=None):
        self.loaded.append((scene_id, spec, sampler, max_frames, proposals))
        self.frames_loaded.append(frames)
        if scene_id.startswith("broken"):
            raise MissingError("no frames", where=scene_id)
        return FakeInputs(scene_id=scene_id, proposals=torch.tensor([[0.0, 0, 0, 1, 1, 1], [1.1, 0, 0, 1, 1, 1]]))


DOCS = [
    {"task": "scanqa", "item_id": "q1", "scene_id": "b", "prompt": "<image> what?"},
    {"task": "scanrefer", "item_id": "r1", "scene_id": "a", "prompt": "<image>find"},
    {"task": "sqa3d", "item_id": "s1", "scene_id": "a", "prompt": "<image> where?"},
    {"task": "multi3drefer", "item_id": "m1", "scene_id": "a", "prompt": "<image>find all"},
    {"task": "scanqa", "item_id": "q2", "scene_id": "a", "prompt": "<image> who?"},
    {"task": "scan2cap", "item_id": "c1", "scene_id": "b", "prompt": "<image> at <coord> .", "coords": [[0, 1, 2]]},
]


@pytest.fixture
def adapter(monkeypatch):
    """(fake model, fake folder, function that makes the adapter with given arguments)."""
    from video3d_plugin.hosts.lmms_eval import model as lmms_eval

    model, folder = FakeModel(), FakeFolder()

    def load(options, device):
        model.sampler, model.max_frames = options.sampler or "uniform", options.max_frames or 32
        model.prefix_attention = options.prefix_attention
        return model

    monkeypatch.setattr(lmms_eval, "load", load)
    monkeypatch.setattr(STATE, "open_data", lambda path: folder)
    monkeypatch.setattr(cache_fingerprint, "of_checkpoint", lambda path, lora: f"{path}, {lora}")

    def make(**arguments):
        return lmms_eval.Video3DLmms(**{"pretrained": "nowhere", **arguments})

    return SimpleNamespace(model=model, folder=folder, make=make)


def requests(lm, docs, options=None, **metadata):
    """Requests as lmms-eval builds them, each document in a task of its own name."""
    from lmms_eval.api.instance import Instance

    lm.task_dict = {"task": {"test": docs}}
    options = {"max_new_tokens": 5, "until": ["\n\n"]} if options is None else options
    return [
        Instance(
            request_type="generate_until",
            arguments=("ctx", options, None, index, "task", "test"),
            idx=0,
            metadata={"task": "task", "doc_id": index, "repeats": 1, **metadata},
        )
        for index in range(len(docs))
    ]


def test_each_scene_is_encoded_once_for_the_questions_of_all_tasks(adapter):
    lm = adapter.make(batch_size="4", max_frames=8, sampler="mc", proposals="gt", prefix_attention="expanded")
    assert adapter.model.prefix_attention == "expanded"
    answers = lm.generate_until(requests(lm, DOCS))
    assert adapter.model.encoded == ["a", "b"]
    assert adapter.folder.loaded == [("a", "spec", "mc", 8, "gt"), ("b", "spec", "mc", 8, "gt")]
    assert answers[0] == "scanqa q1 5" and answers[2] == "sqa3d s1 5" and answers[5] == "scan2cap c1 5"
    assert adapter.model.batches == [["q2", "s1"], ["m1", "r1"], ["c1", "q1"]]


def test_a_sampler_that_reads_the_question_is_asked_once_for_each(adapter, monkeypatch):
    from video3d_plugin.hosts.lmms_eval import model as lmms_eval

    monkeypatch.setattr(lmms_eval, "reads_question", lambda sampler: True)
    lm = adapter.make()
    answers = lm.generate_until(requests(lm, DOCS))
    assert sorted(adapter.folder.sampled) == ["c1", "m1", "q1", "q2", "r1", "s1"]
    assert sorted(adapter.folder.frames_loaded) == [(0, 1), (0, 1), (4, 5)]
    assert adapter.model.encoded.count("a") == 2 and all(answers)


def test_grounding_comes_back_as_scores_and_boxes_in_shortest_decimals(adapter):
    lm = adapter.make()
    answer = json.loads(lm.generate_until(requests(lm, DOCS))[1])
    assert answer == {"scores": [0.1, 0.25, -3.0], "boxes": [[0, 0, 0, 1, 1, 1], [1.1, 0, 0, 1, 1, 1]]}


def test_the_order_of_requests_changes_neither_answers_nor_batches(adapter):
    shuffled = list(DOCS)
    random.Random(1).shuffle(shuffled)
    seen = []
    for docs in (DOCS, shuffled):
        adapter.model.batches = []
        lm = adapter.make(batch_size=2)
        answers = lm.generate_until(requests(lm, docs))
        seen.append((sorted(zip([d["item_id"] for d in docs], answers, strict=True)), adapter.model.batches))
    assert seen[0] == seen[1]


def test_a_scene_that_cannot_be_read_leaves_its_questions_open_and_the_run_goes_on(adapter):
    docs = [{**DOCS[0], "scene_id": "broken1"}, {**DOCS[0], "item_id": "q9", "scene_id": "broken1"}, *DOCS[1:]]
    lm = adapter.make()
    answers = lm.generate_until(requests(lm, docs))
    assert answers[:2] == ["", ""] and all(answers[2:])
    assert STATE.why_unanswered("scanqa", "broken1", "q9") == "broken1: no frames"
    assert STATE.summary() == "2 questions were left unanswered: 2 x broken1: no frames"
    assert STATE.exit_status == 3


def test_a_question_that_cannot_be_asked_does_not_take_its_batch_along(adapter):
    docs = [*DOCS, {**DOCS[4], "item_id": "refused"}]
    lm = adapter.make(batch_size=8)
    answers = lm.generate_until(requests(lm, docs))
    assert answers[-1] == "" and all(answers[:-1])
    assert "9000 positions" in STATE.why_unanswered("scanqa", "a", "refused")


def test_memory_that_runs_out_with_one_question_leaves_those_questions_open(adapter):
    adapter.model.fits = 0
    lm = adapter.make(batch_size=2)
    assert lm.generate_until(requests(lm, DOCS)) == [""] * len(DOCS)
    assert "lower max_frames" in STATE.why_unanswered("sqa3d", "a", "s1")


def test_memory_that_runs_out_once_halves_the_batch_and_answers_everything(adapter):
    adapter.model.fits = 1
    lm = adapter.make(batch_size=4)
    assert all(lm.generate_until(requests(lm, DOCS)))
    assert STATE.exit_status == 0 and lm.batches.size == 1


def test_an_object_that_no_proposal_points_at_is_not_asked_about_and_not_left_open(adapter):
    lm = adapter.make()
    assert lm.generate_until(requests(lm, [{**DOCS[5], "coords": []}])) == [""]
    assert adapter.model.encoded == [] and STATE.summary() is None


def test_padding_requests_cost_nothing(adapter):
    lm = adapter.make()
    assert lm.generate_until(requests(lm, DOCS[:1], __padding_only__=True)) == [""]
    assert adapter.model.encoded == [] and STATE.summary() is None


def test_answers_are_handed_on_as_they_come(adapter):
    lm, stored = adapter.make(), []
    lm.when_answered = lambda request, answer: stored.append((request.doc_id, answer))
    answers = lm.generate_until(requests(lm, DOCS))
    assert sorted(stored) == sorted(enumerate(answers))


def test_answers_of_different_lengths_do_not_share_a_batch(adapter):
    lm = adapter.make(batch_size=8)
    first, second = requests(lm, [DOCS[2], DOCS[4]])
    second.arguments = ("ctx", {"max_new_tokens": 9}, *second.arguments[2:])
    assert lm.generate_until([first, second]) == ["sqa3d s1 5", "scanqa q2 9"]
    assert sorted(adapter.model.batches) == [["q2"], ["s1"]]


def test_a_question_of_another_benchmark_is_refused_with_a_hint(adapter):
    lm = adapter.make()
    with pytest.raises(DataError, match="questions of task name no scene .*video3d_all.*vsibench"):
        lm.generate_until(requests(lm, [{"question": "2 + 2?"}]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_frame": 8}, "max_frame is not known .did you mean max_frames"),
        ({"temperature": 1}, "temperature is not known .known: pretrained"),
        ({"pretrained": None}, "needs a checkpoint"),
        ({"proposals": "all"}, "proposals=all is not known .known: pred, gt"),
        ({"prefix_attention": "tree"}, "prefix_attention=tree is not known .known: cascade, expanded"),
        ({"sampler": "ratio95"}, "did you mean 'mc-ratio95'"),
        ({"max_frames": 0}, "max_frames=0 is not a whole number above 0"),
        ({"max_frames": 2.5}, "max_frames=2.5 is not a whole number above 0"),
        ({"batch_size": "many"}, "batch_size=many is not a whole number above 0"),
        ({"device": "cuda:0"}, "torch finds no GPU"),
    ],
)
def test_wrong_arguments_are_one_clear_line(adapter, arguments, message):
    if "device" in arguments and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(Video3DError, match=message) as caught:
        adapter.make(**arguments)
    assert "\n" not in str(caught.value)


def test_batch_size_auto_starts_high_and_may_be_capped(adapter):
    assert adapter.make(batch_size="auto").batch_size == 16
    assert adapter.make(batch_size="auto", max_batch_size=4).batch_size == 4


def test_of_two_models_in_one_process_each_has_its_own_cache_keys(adapter):
    first, second = adapter.make(pretrained="first"), adapter.make(pretrained="second")
    keys = [cache_fingerprint.of_run(model, {}) for model in (first, second, "video3d")]
    assert keys[0] != keys[1] == keys[2]  # by name, lmms-eval asks for the one that it has just made


def test_a_checkpoint_is_known_by_its_files_in_whichever_way_it_is_named(tmp_path, monkeypatch):
    for name in ("base", "other", "adapter"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(name.encode())
    monkeypatch.setenv("HOME", str(tmp_path))
    plain = cache_fingerprint.of_checkpoint(tmp_path / "base")
    assert cache_fingerprint.of_checkpoint("~/base") == plain != cache_fingerprint.of_checkpoint("~/other")
    assert (
        cache_fingerprint.of_checkpoint("~/base", "~/adapter")
        == cache_fingerprint.of_checkpoint("~/base", tmp_path / "adapter")
        != plain
    )
    (tmp_path / "base" / "model.safetensors").write_bytes(b"trained on")
    assert cache_fingerprint.of_checkpoint("~/base") != plain


def test_the_number_format_that_auto_chose_joins_the_cache_keys(adapter):
    plain = cache_fingerprint.of_run(adapter.make(), {})
    assert cache_fingerprint.of_run(adapter.make(dtype="float32"), {}) == plain
    adapter.model.model.dtype = torch.bfloat16
    assert cache_fingerprint.of_run(adapter.make(), {}) != plain


def test_likelihood_tasks_are_refused_in_words(adapter):
    lm = adapter.make()
    for method in (lm.loglikelihood, lm.generate_until_multi_round):
        with pytest.raises(Video3DError, match="choose"):
            method([])


def test_only_a_caption_without_a_point_goes_unasked():
    """A question that says <coord> is a question like any other."""
    from video3d_plugin.hosts.lmms_eval.questions import is_undetected, question_from_doc

    doc = {"task": "scanqa", "item_id": "q", "scene_id": "a", "prompt": "<image> what is <coord> and <ground> ?"}
    assert not is_undetected(question_from_doc(doc)) and not question_from_doc(doc).is_grounding
    assert is_undetected(question_from_doc({**doc, "task": "scan2cap", "coords": []}))
    assert not is_undetected(question_from_doc({**doc, "task": "scan2cap", "coords": [[0, 1, 2]]}))


GREEDY = {"max_new_tokens": 512, "temperature": 0.0, "do_sample": False, "num_beams": 1, "until": ["\n\n"]}


def test_the_model_is_asked_with_the_settings_of_the_request(adapter, monkeypatch):
    lm = adapter.make()
    seen = []

    def answer(prefix, questions, **options):
        seen.append((len(questions), options))
        return ["red. And so on"] * len(questions)

    monkeypatch.setattr(adapter.model, "answer", answer)
    texts = [doc for doc in DOCS if doc["item_id"] in ("s1", "q2")]
    assert lm.generate_until(requests(lm, texts, {**GREEDY, "until": "."})) == ["red", "red"]
    assert all(options == {"max_new_tokens": 512, "batch_size": 1} for _, options in seen)
    seen.clear()
    (one,) = requests(lm, texts[:1], {**GREEDY, "temperature": 0.5})
    lm.generate_until([one, one])
    drawn = [options["generator"].initial_seed() for _, options in seen]
    assert all(options["temperature"] == 0.5 for _, options in seen) and len(set(drawn)) == 2
    with pytest.raises(Video3DError, match="num_beams"):
        lm.generate_until(requests(lm, texts, {**GREEDY, "num_beams": 2}))


def test_a_sampled_answer_differs_from_the_greedy_one(checkpoint, benchmark_folder, tmp_path):
    from video3d_plugin.hosts.lmms_eval.model import Video3DLmms

    lm = Video3DLmms(pretrained=str(checkpoint), data=str(benchmark_folder), max_frames=2, device="cpu")
    doc = lm.data.docs("scanqa", "val")[0]
    hot = {**GREEDY, "max_new_tokens": 6, "temperature": 50.0}
    greedy, first, second = (
        lm.generate_until(requests(lm, [doc], options)) for options in ({**GREEDY, "max_new_tokens": 6}, hot, dict(hot))
    )
    assert first == second != greedy
