"""Questions against an encoded scene give what the full computation gives."""

from __future__ import annotations

import pytest
import torch
from model_cases import TASKS, alone, question, random_scene

from video3d_plugin.errors import DataError
from video3d_plugin.model import prefix as prefixes
from video3d_plugin.pipeline import Video3D


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def encoded(request, build, scenes):
    model, processor = build(attn_implementation=request.param)
    return model, processor, [prefixes.encode_scene(model, processor, scene) for scene in scenes]


def full_tokens(model, processor, item, scenes, count):
    tokens = model.generate(
        **alone(processor, item, scenes), max_new_tokens=count, do_sample=False, eos_token_id=processor.stop_ids
    )[0].tolist()
    return prefixes._until(tokens, processor.stop_ids)


def test_answers_in_a_batch_are_the_full_computations(encoded, scenes):
    model, processor, (_, prefix) = encoded
    items = [question(task, "b") for task in TASKS if not question(task, "b").is_grounding]
    found = prefixes.answer_tokens(model, processor, prefix, items, 8)
    assert found == [full_tokens(model, processor, item, scenes, 8) for item in items]


def test_scores_in_a_batch_are_the_full_computations(encoded, scenes):
    model, processor, (prefix, _) = encoded
    items = [question(task, "a") for task in ("scanrefer", "multi3drefer")]
    found = prefixes.ground(model, processor, prefix, items)
    for item, scores in zip(items, found, strict=True):
        with torch.no_grad():
            full = model(**alone(processor, item, scenes)).ground_scores[0]
        assert scores.shape == full.shape and float((scores - full).abs().max()) < 1e-4


def test_use_does_not_change_a_prefix(encoded, scenes):
    model, processor, (prefix, _) = encoded
    tensors = [prefix.embeds, *prefix.keys, *prefix.values, prefix.proposals, prefix.boxes]
    before = [t.clone() for t in tensors]
    first = prefixes.answer(model, processor, prefix, [question("scanqa", "a"), question("scan2cap", "a")], 6)
    prefixes.ground(model, processor, prefix, [question("scanrefer", "a")])
    again = prefixes.answer(model, processor, prefix, [question("scanqa", "a"), question("scan2cap", "a")], 6)
    assert first == again
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))


def test_a_prefix_moves_between_formats(encoded):
    model, processor, (prefix, _) = encoded
    half = prefix.to(dtype=torch.bfloat16)
    assert half.keys[0].dtype == torch.bfloat16 and prefix.keys[0].dtype == torch.float32
    assert half.boxes.dtype == torch.float32 and half.nbytes < 0.6 * prefix.nbytes
    a, b = (prefixes.ground(model, processor, p, [question("scanrefer", "a")])[0] for p in (prefix, half.to("cpu")))
    assert float((a - b).abs().max()) < 0.05


def test_memory_of_a_prefix_is_as_documented(encoded, scenes):
    model, _, (prefix, _) = encoded
    config = model.config
    numbers = (
        2 * config.num_hidden_layers * config.num_key_value_heads * (config.hidden_size // config.num_attention_heads)
    )
    rest = prefix.proposals.nbytes + prefix.boxes.nbytes
    assert prefix.nbytes == len(prefix) * 4 * (numbers + config.hidden_size) + rest


def test_answers_stop_at_the_end_mark_and_wait_for_the_others(encoded, monkeypatch):
    model, processor, (prefix, _) = encoded
    items = [question("scanqa", "a"), question("scan2cap", "a")]
    monkeypatch.setattr(type(processor), "stop_ids", [-1])  # nothing ends
    free = prefixes.answer_tokens(model, processor, prefix, items, 6)
    assert [len(tokens) for tokens in free] == [6, 6]
    monkeypatch.setattr(type(processor), "stop_ids", [free[0][2]])
    stopped = prefixes.answer_tokens(model, processor, prefix, items, 6)
    assert stopped[0] == free[0][: free[0].index(free[0][2]) + 1]
    assert stopped[1] == prefixes._until(free[1], [free[0][2]])
    steps = []
    monkeypatch.setattr(
        prefixes._Steps, "advance", lambda self, ids, own=prefixes._Steps.advance: steps.append(own(self, ids))
    )
    prefixes.answer_tokens(model, processor, prefix, items[:1], 40)
    assert len(steps) == len(stopped[0]) - 1  # nothing is computed after the last end


def test_a_sampled_answer_repeats_with_its_generator(encoded):
    model, processor, (prefix, _) = encoded
    draws = [
        prefixes.answer(
            model, processor, prefix, [question("scanqa", "a")] * 2, 6,
            do_sample=True, temperature=1.5, top_p=0.9, top_k=50, generator=torch.Generator().manual_seed(seed),
        )
        for seed in (0, 0, 1)
    ]  # fmt: skip
    assert draws[0] == draws[1] != draws[2]


def test_grounding_without_proposals_names_the_scene(encoded):
    model, processor, _ = encoded
    scene = random_scene(model.config.inputs_spec, "empty", 1, 0)
    prefix = prefixes.encode_scene(model, processor, scene)
    with pytest.raises(DataError, match="empty.*proposal"):
        prefixes.ground(model, processor, prefix, [question("scanrefer", "empty")])
    assert len(prefixes.answer(model, processor, prefix, [question("scanqa", "empty")], 3)) == 1


def test_kinds_are_not_mixed_up(encoded):
    model, processor, (prefix, _) = encoded
    with pytest.raises(DataError, match="`answer`"):
        prefixes.ground(model, processor, prefix, [question("scanqa", "a")])
    with pytest.raises(DataError, match="`ground`"):
        prefixes.answer(model, processor, prefix, [question("scanrefer", "a")])
    assert prefixes.answer(model, processor, prefix, []) == [] == prefixes.ground(model, processor, prefix, [])


def test_a_question_beyond_the_models_length_is_refused(encoded, monkeypatch):
    model, processor, (prefix, _) = encoded
    monkeypatch.setattr(model.config, "tokenizer_model_max_length", len(prefix) + 5, raising=False)
    with pytest.raises(DataError, match="positions"):
        prefixes.answer(model, processor, prefix, [question("scanqa", "a")])


def test_solve_reads_every_scene_once_and_keeps_the_order(encoded, scenes, mixed):
    model, processor, _ = encoded
    reads, seen = [], []

    def inputs_of(scene_id):
        reads.append(scene_id)
        return next(scene for scene in scenes if scene.scene_id == scene_id)

    video = Video3D(model, processor)
    results = video.solve(mixed, inputs_of, batch_size=2, max_new_tokens=5, on_result=lambda i, r: seen.append(i))
    assert sorted(reads) == ["a", "b"] and sorted(seen) == list(range(len(mixed)))
    for item, result in zip(mixed, results, strict=True):
        if item.is_grounding:
            with torch.no_grad():
                full = model(**alone(processor, item, scenes)).ground_scores[0]
            assert float((result - full).abs().max()) < 1e-4
        else:
            assert result == processor.decode(full_tokens(model, processor, item, scenes, 5))


def test_the_pipeline_takes_plain_strings(encoded, scenes):
    model, processor, _ = encoded
    video = Video3D(model, processor)
    assert isinstance(video.answer(scenes[0], "What is near?", max_new_tokens=3), str)
    assert video.ground_scores(scenes[0], ["the lamp", "the chair"])[1].shape == (5,)
    assert len(video.caption(scenes[0], scenes[0].proposals[:2].tolist(), max_new_tokens=3)) == 2
    with pytest.raises(DataError, match="answer_many or solve"):
        video.ground_many([question("scanqa", "a")], {"a": scenes[0]})
    with pytest.raises(DataError, match="batch_size is 0"):
        video.answer(scenes[0], "What?", batch_size=0)
