"""Questions through an engine: scene and question as prompt embeddings, answers as the model's own, grounding here."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from engines import PlainEngine
from model_cases import question

from video3d_plugin.arguments import ArgumentError
from video3d_plugin.engine.answers import answer_tokens, check_same_weights, ground
from video3d_plugin.engine.base import Decoding, Generated
from video3d_plugin.errors import DataError
from video3d_plugin.model.prefix import inference
from video3d_plugin.pipeline import Video3D

TEXT = ("scanqa", "sqa3d", "scan2cap", "two_coords")


@pytest.fixture
def through(mini, engine):
    """The same model, whose text questions the engine answers."""
    return Video3D(mini.model, mini.processor, engine=engine)


def test_tokens_are_the_models_own(mini, engine, rooms):
    model, processor = mini.model, mini.processor
    for scene in rooms:
        items = [question(kind, scene.scene_id) for kind in TEXT]
        own = inference.answer_tokens(model, processor, mini.encode_scene(scene), items, 10)
        prefix = inference.embed_scene(model, processor, scene)
        decoding = Decoding(10, tuple(processor.stop_ids))
        assert answer_tokens(model, processor, engine, prefix, items, decoding) == own


def test_every_prompt_begins_with_the_same_embeddings_of_the_scene(through, engine, rooms):
    through.answer(rooms[0], [question(kind, "a") for kind in TEXT], max_new_tokens=2)
    prefix = through.encoded(rooms[0])
    ((prompts, _),) = engine.asked
    assert len(prompts) == 4 and all(torch.equal(prompt[: len(prefix)], prefix.embeds) for prompt in prompts)
    assert not torch.equal(prompts[2][len(prefix) :][:9], prompts[3][len(prefix) :][:9])


def test_answers_and_captions_are_those_without_an_engine(mini, through, engine, rooms):
    asked = ["What colour is the chair?", "How many tables are there?"]
    assert through.answer(rooms[0], asked, max_new_tokens=8) == mini.answer(rooms[0], asked, max_new_tokens=8)
    box = [0.1, 0.2, 0.3, 1, 1, 1]
    assert through.caption(rooms[0], box, max_new_tokens=8) == mini.caption(rooms[0], box, max_new_tokens=8)
    assert len(engine.asked) == 2


def test_the_language_model_runs_here_for_grounding_alone_and_once_a_scene(mini, through, engine, rooms, monkeypatch):
    runs, own = [], inference.encode_by_layer
    monkeypatch.setattr(inference, "encode_by_layer", lambda *a: runs.append(1) or own(*a))
    prefix = through.encode_scene(rooms[0])
    assert not prefix.has_cache and prefix.keys == ()
    through.answer(prefix, ["How many?"], max_new_tokens=2)
    assert runs == []
    described = [question(kind, "a") for kind in ("scanrefer", "multi3drefer")]
    scores = through.ground_scores(prefix, described, batch_size=1)
    assert runs == [1] and len(engine.asked) == 1
    scores += through.ground_scores(prefix, described[:1])
    assert runs == [1]
    for one, other in zip(scores, mini.ground_scores(rooms[0], described), strict=False):
        assert torch.allclose(one, other, atol=1e-5)


def test_scores_from_the_states_of_an_engine_are_the_models_own(mini, engine, rooms, monkeypatch):
    through = Video3D(mini.model, mini.processor, engine=engine, grounding_engine=engine)
    for scene in rooms:
        items = [question(kind, scene.scene_id) for kind in ("scanrefer", "multi3drefer")]
        own = mini.ground_scores(scene, items)
        with monkeypatch.context() as patch:
            patch.setattr(inference, "encode_by_layer", None)  # the layers here are not run
            made = through.ground_scores(scene, items)
        assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(made, own, strict=True))
    with pytest.raises(DataError, match="q is no grounding question"):
        ground(mini.model, mini.processor, engine, through.encode_scene(rooms[0]), [question("scanqa", "a")])


def test_features_that_need_the_states_of_the_scene_are_grounded_here(mini, engine, rooms):
    prefix = inference.embed_scene(mini.model, mini.processor, rooms[0])
    pending = replace(prefix, unfinished=(None, torch.ones(len(prefix), dtype=torch.bool)))
    with pytest.raises(DataError, match="a: this checkpoint grounds with the language model's states"):
        ground(mini.model, mini.processor, engine, pending, [question("scanrefer", "a")])


def test_a_prefix_of_embeddings_serves_a_model_without_an_engine(mini, through, rooms):
    prefix = through.encode_scene(rooms[0])
    asked = [question("scanqa", "a")]
    assert mini.answer(prefix, asked, max_new_tokens=6) == mini.answer(rooms[0], asked, max_new_tokens=6)
    with pytest.raises(DataError, match="a: holds embeddings alone"):
        inference.answer_tokens(mini.model, mini.processor, prefix, asked, 2)


def test_sampling_reaches_the_engine(through, engine, rooms):
    generator = torch.Generator().manual_seed(77)
    options = {"do_sample": True, "temperature": 0.5, "top_p": 0.9, "top_k": 7, "generator": generator}
    through.answer(rooms[0], ["How many?"], max_new_tokens=3, **options)
    through.answer(rooms[0], ["How many?"], max_new_tokens=3)
    (_, sampled), (_, greedy) = engine.asked
    stops = tuple(through.processor.stop_ids)
    assert sampled == Decoding(3, stops, temperature=0.5, top_p=0.9, top_k=7, seed=77)
    assert greedy == Decoding(3, stops)
    with pytest.raises(ArgumentError, match="nothing where an engine answers"):
        through.answer(rooms[0], ["How many?"], prefix_attention="expanded")


def test_what_cannot_be_asked_is_refused(mini, through, engine, rooms):
    assert through.answer(rooms[0], []) == [] and through.answer(rooms[0], "How many?", max_new_tokens=0) == ""
    with pytest.raises(DataError, match="is a grounding question"):
        through.answer(rooms[0], question("scanrefer", "a"))
    assert engine.asked == []
    length = len(through.encode_scene(rooms[0]))
    engine.longest = length + 5
    with pytest.raises(
        DataError, match=rf"a: prefix and question take \d+ positions, the plain engine has {length + 5}"
    ):
        through.answer(rooms[0], "How many?")


def test_an_answer_takes_no_more_positions_than_the_engine_has(through, engine, rooms):
    through.answer(rooms[0], "How many?", max_new_tokens=1)
    engine.longest = len(engine.asked[0][0][0]) + 3
    through.answer(rooms[0], "How many?", max_new_tokens=500)
    assert engine.asked[1][1].max_new_tokens == 3


def test_an_engine_with_other_weights_is_refused(mini, engine):
    check_same_weights(mini.model, mini.processor, engine)
    with torch.no_grad():
        engine.model.model.layers[2].mlp.down_proj.weight.mul_(2)
    with pytest.raises(DataError, match="does not run the weights of this checkpoint: .* differ by"):
        check_same_weights(mini.model, mini.processor, engine)


def test_an_engine_in_bfloat16_passes_for_the_same_weights(mini, engine):
    assert check_same_weights(mini.model, mini.processor, engine) < 1e-5
    engine.model.to(torch.bfloat16)
    assert 1e-4 < check_same_weights(mini.model, mini.processor, engine) < 0.05


@pytest.mark.parametrize("made", [Generated([], []), Generated([5], []), Generated([10**6], [0.0])], ids=repr)
def test_an_unusable_continuation_is_refused(mini, exported, made):
    engine = PlainEngine(exported)
    engine.generate = lambda prompts, decoding: [made]
    with pytest.raises(DataError, match="continued the probe with"):
        check_same_weights(mini.model, mini.processor, engine)
