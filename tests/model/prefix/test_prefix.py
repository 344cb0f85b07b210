"""Questions against an encoded scene give what the full computation gives."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from model_cases import TASKS, alone, question, random_scene
from torch.utils._python_dispatch import TorchDispatchMode

from video3d_plugin.errors import DataError
from video3d_plugin.model.attention import kernels
from video3d_plugin.model.prefix import decoding
from video3d_plugin.model.prefix import inference as prefixes
from video3d_plugin.model.prefix.embeddings import text_suffixes
from video3d_plugin.pipeline import Video3D


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def encoded(request, build, scenes):
    model, processor = build(attn_implementation=request.param)
    return model, processor, [prefixes.encode_scene(model, processor, scene) for scene in scenes]


def full_tokens(model, processor, item, scenes, count):
    tokens = model.generate(
        **alone(processor, item, scenes), max_new_tokens=count, do_sample=False, eos_token_id=processor.stop_ids
    )[0].tolist()
    return prefixes.until_stop(tokens, processor.stop_ids)


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


def asked_both_ways(model, processor, prefix, items, count=40):
    """(scores or tokens by the cascade, by its plain twin)."""
    ways = ("cascade", "expanded")
    if items[0].is_grounding:
        return [prefixes.ground(model, processor, prefix, items, way) for way in ways]
    return [prefixes.answer_tokens(model, processor, prefix, items, count, prefix_attention=way) for way in ways]


@pytest.mark.parametrize("tasks", [["scanqa"], ["scan2cap", "scanqa", "two_coords", "sqa3d", "scanqa"]])
def test_the_cascade_writes_what_the_expanded_cache_does(encoded, tasks, monkeypatch):
    model, processor, (prefix, _) = encoded
    items = [question(task, "a") for task in tasks]
    cascade, expanded = asked_both_ways(model, processor, prefix, items)
    assert cascade == expanded
    monkeypatch.setattr(type(processor), "stop_ids", [-1])  # to the last of 40: the questions' cache grows on the way
    cascade, expanded = asked_both_ways(model, processor, prefix, items)
    assert cascade == expanded and {len(tokens) for tokens in cascade} == {40}
    stops = sorted({tokens[2] for tokens in cascade})  # they end at different steps, and leave
    monkeypatch.setattr(type(processor), "stop_ids", stops)
    cascade, expanded = asked_both_ways(model, processor, prefix, items)
    assert cascade == expanded and min(map(len, cascade)) <= 3


@pytest.mark.parametrize("tasks", [["scanrefer"], ["scanrefer", "multi3drefer", "scanrefer"]])
def test_the_cascade_scores_as_the_expanded_cache_does(encoded, tasks):
    model, processor, (_, prefix) = encoded
    cascade, expanded = asked_both_ways(model, processor, prefix, [question(task, "b") for task in tasks])
    for one, other in zip(cascade, expanded, strict=True):
        assert one.shape == other.shape == (7,) and float((one - other).abs().max()) < 1e-5


def test_one_frame_without_proposals(encoded):
    model, processor, _ = encoded
    scene = random_scene(model.config.inputs_spec, "small", 1, 0)
    prefix = prefixes.encode_scene(model, processor, scene)
    cascade, expanded = asked_both_ways(model, processor, prefix, [question("scanqa", "small")], 6)
    assert cascade == expanded


def test_layer_by_layer_a_prefix_is_that_of_the_whole_forward_pass(encoded, scenes):
    model, processor, (prefix, _) = encoded
    plain = prefixes.encode_scene(model, processor, scenes[0], by_layer=False)
    assert torch.equal(prefix.embeds, plain.embeds) and torch.equal(prefix.proposals, plain.proposals)
    for found, expected in zip((*prefix.keys, *prefix.values), (*plain.keys, *plain.values), strict=True):
        assert found.shape == expected.shape and float((found - expected).abs().max()) < 1e-4


def test_a_prefix_of_several_blocks_is_that_of_the_whole_forward_pass(encoded):
    """A CPU runs the MLPs of long prefixes in blocks of tokens."""
    model, processor, _ = encoded
    scene = random_scene(model.config.inputs_spec, "long", 80, 2, seed=3)
    prefix = prefixes.encode_scene(model, processor, scene)
    plain = prefixes.encode_scene(model, processor, scene, by_layer=False)
    assert len(prefix) > 1500
    for one, other in zip((*prefix.keys, *prefix.values), (*plain.keys, *plain.values), strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-5)


def test_questions_that_have_ended_cost_nothing_more(encoded, monkeypatch):
    model, processor, (prefix, _) = encoded
    items = [question("scanqa", "a"), question("scan2cap", "a"), question("sqa3d", "a")]
    monkeypatch.setattr(type(processor), "stop_ids", [-1])
    free = prefixes.answer_tokens(model, processor, prefix, items, 8)
    monkeypatch.setattr(type(processor), "stop_ids", [free[0][0]])
    rows = []
    own = decoding.Cascade.advance
    monkeypatch.setattr(decoding.Cascade, "advance", lambda self, ids: rows.append(len(ids)) or own(self, ids))
    found = prefixes.answer_tokens(model, processor, prefix, items, 8)
    running = [sum(len(tokens) > step for tokens in found) for step in range(1, 8)]
    assert rows == [count for count in running if count] and rows[0] < 3


@torch.inference_mode()
def test_what_is_kept_goes_on_alone(encoded):
    model, processor, (prefix, _) = encoded
    suffixes = [processor.suffix_ids(question(task, "a"), answered=False)[0] for task in ("scanqa", "sqa3d")]
    both, one = (decoding.start(model, prefix, asked, None, "cascade") for asked in (suffixes, suffixes[1:]))
    both.keep(torch.tensor([1]))
    for _ in range(2):
        assert both.hidden.shape == one.hidden.shape and float((both.hidden - one.hidden).abs().max()) < 1e-5
        both.advance(torch.tensor([5]))
        one.advance(torch.tensor([5]))


def test_in_bfloat16_few_tokens_differ_from_the_twins(build, scenes):
    """Rounding may turn a near tie; after it an answer goes its own way. So first tokens and scores are compared."""
    model, processor = build()
    model = model.bfloat16()
    items = [question(task, "a") for task in ("scanqa", "scan2cap", "sqa3d", "two_coords")] * 16
    items = [replace(item, prompt=item.prompt + " near the door" * (i % 7)) for i, item in enumerate(items)]
    prefix = prefixes.encode_scene(model, processor, scenes[0])
    cascade, expanded = asked_both_ways(model, processor, prefix, items, 1)
    differing = sum(one != other for one, other in zip(cascade, expanded, strict=True))
    assert differing <= 4  # of 64
    cascade, expanded = asked_both_ways(model, processor, prefix, [question("scanrefer", "a")] * 3)
    assert all(float((one - other).abs().max()) < 0.05 for one, other in zip(cascade, expanded, strict=True))


def test_under_autocast_the_scores_are_near(encoded):
    model, processor, (prefix, _) = encoded
    items = [question("scanrefer", "a"), question("multi3drefer", "a")]
    exact = prefixes.ground(model, processor, prefix, items)
    with torch.autocast("cpu", torch.bfloat16):
        loose = prefixes.ground(model, processor, prefix, items)
        assert len(prefixes.answer(model, processor, prefix, [question("scanqa", "a")], 3)) == 1
    assert all(float((one - other).abs().max()) < 0.05 for one, other in zip(exact, loose, strict=True))


def test_models_that_cannot_be_taken_apart_use_the_twin(encoded, monkeypatch):
    model, processor, (prefix, _) = encoded
    used = []
    own = decoding.Expanded.__init__
    monkeypatch.setattr(decoding.Expanded, "__init__", lambda self, *parts: used.append(1) or own(self, *parts))
    prefixes.ground(model, processor, prefix, [question("scanrefer", "a")])
    assert not used
    monkeypatch.setattr(model.config, "use_sliding_window", True)
    assert not decoding.runs_by_layer(model.model)
    prefixes.ground(model, processor, prefix, [question("scanrefer", "a")])
    assert used
    with pytest.raises(DataError, match="cascade, expanded"):
        prefixes.ground(model, processor, prefix, [question("scanrefer", "a")], "tree")


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
    assert stopped[1] == prefixes.until_stop(free[1], [free[0][2]])
    steps = []
    monkeypatch.setattr(
        decoding.Cascade, "advance", lambda self, ids, own=decoding.Cascade.advance: steps.append(own(self, ids))
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


def test_the_pipeline_takes_plain_strings(encoded, scenes):
    model, processor, _ = encoded
    video = Video3D(model, processor)
    assert isinstance(video.answer(scenes[0], "What is near?", max_new_tokens=3), str)
    assert video.ground_scores(scenes[0], ["the lamp", "the chair"])[1].shape == (5,)
    assert len(video.caption(scenes[0], scenes[0].proposals[:2].tolist(), max_new_tokens=3)) == 2
    with pytest.raises(DataError, match="batch_size is 0"):
        video.answer(scenes[0], "What?", batch_size=0)


class Kernels(TorchDispatchMode):
    """Counts operations that compute or copy: on a GPU each is a kernel that is launched."""

    VIEWS = {"view", "_unsafe_view", "transpose", "t", "permute", "unsqueeze", "squeeze", "expand", "slice", "select",
             "split", "split_with_sizes", "unbind", "detach", "alias", "as_strided", "lift_fresh", "empty",
             "new_empty", "empty_like", "empty_strided", "_reshape_alias", "chunk", "unfold"}  # fmt: skip

    def __init__(self):
        super().__init__()
        self.counted = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.split("::")[1]
        self.counted[name] += name not in self.VIEWS
        return func(*args, **(kwargs or {}))


def kernels_of_a_token(build, scenes, layers, questions):
    model, processor = build(hidden_size=64, num_hidden_layers=layers)
    prefix = prefixes.encode_scene(model, processor, scenes[0])
    suffixes = text_suffixes(processor, [question("scanqa", "a")] * questions)
    with torch.no_grad():
        step = decoding.start(model, prefix, suffixes, None, "cascade")
        with Kernels() as counted:
            step.advance(torch.zeros(questions, dtype=torch.long))
    return counted.counted


@pytest.mark.skipif(kernels.kernel_for(torch.zeros(1)) is kernels.PLAIN, reason="this torch has no fused CPU kernel")
def test_a_layer_launches_few_kernels_for_a_token(build, scenes):
    for questions, most in ((1, 50), (3, 54)):
        few, more = (kernels_of_a_token(build, scenes, layers, questions) for layers in (2, 4))
        of_two = more - few
        assert of_two.total() <= 2 * most, of_two  # 21 more where each layer made masks and moved tokens by index
