"""Attention in parts is attention over the whole: values and gradients, against softmax in float64."""

from __future__ import annotations

import pytest
import torch

from video3d_plugin.model.attention import kernels, shared_prefix
from video3d_plugin.model.attention import packed as shared_rows
from video3d_plugin.model.attention.shared_prefix import Layout


def numbers(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape))).to(dtype)


def softmax_attention(query, key, value, visible=None):
    """(out, lse) by definition: query (..., T, d), key and value (..., P, d), visible (T, P)."""
    scores = query.double() @ key.double().transpose(-1, -2) / query.shape[-1] ** 0.5
    if visible is not None:
        scores = scores.masked_fill(~visible, -torch.inf)
    return scores.softmax(-1) @ value.double(), scores.logsumexp(-1)


def close(found, expected, tolerance=1e-5):
    return (
        found.shape == expected.shape and float((found.double() - expected.double()).detach().abs().max()) < tolerance
    )


@pytest.fixture(params=[kernels.attend, shared_prefix.attend_plain], ids=["kernel", "plain"])
def attend(request):
    return request.param


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("queries", [1, 7, 70])
def test_one_part_is_softmax_attention(attend, causal, queries, monkeypatch):
    monkeypatch.setattr(shared_prefix, "_SCORES_AT_ONCE", 2 * 70 * 20)  # 20 queries at a time
    keys = queries if causal else 70
    query, key, value = numbers(2, queries, 8), numbers(2, keys, 8, seed=1), numbers(2, keys, 8, seed=2)
    visible = torch.ones(queries, keys).tril().bool() if causal else None
    for found, expected in zip(
        attend(query, key, value, causal), softmax_attention(query, key, value, visible), strict=True
    ):
        assert close(found, expected)


def test_a_case_by_hand():
    # scores 0 and ln 3: weights 1/4 and 3/4, sum of exponentials 4
    query, key = torch.tensor([[[1.0]]]), torch.tensor([[[0.0], [3.0**0.5]]]) * 0
    key[0, 1] = torch.log(torch.tensor(3.0))
    out, lse = kernels.attend(query, key, torch.tensor([[[4.0], [8.0]]]))
    assert close(out, torch.tensor([[[7.0]]])) and close(lse, torch.tensor([[4.0]]).log())


def test_joined_parts_are_attention_over_all_keys(attend):
    query, key, value = numbers(3, 5, 8), numbers(3, 40, 8, seed=1) * 3, numbers(3, 40, 8, seed=2)
    parts = [attend(query, key[:, part], value[:, part]) for part in (slice(0, 1), slice(1, 30), slice(30, 40))]
    for found, expected in zip(shared_prefix.join(parts), softmax_attention(query, key, value), strict=True):
        assert close(found, expected)


def test_a_part_that_outweighs_the_other_by_far_stays_finite():
    value = torch.ones(1, 1, 4)
    parts = [(value, torch.tensor([[500.0]])), (-value, torch.tensor([[-500.0]]))]
    out, lse = shared_prefix.join(parts)
    assert torch.equal(out, value) and float(lse) == 500.0


@pytest.mark.parametrize(
    "backward",
    [kernels.kernel_for(torch.zeros(1)).backward, shared_prefix.attend_backward_plain],  # torch 2.2 has no CPU kernel
    ids=["kernel", "plain"],
)
def test_gradients_of_parts_add_up(backward, monkeypatch):
    monkeypatch.setattr(shared_prefix, "_SCORES_AT_ONCE", 2 * 30 * 4)
    query, key, value = (t.requires_grad_() for t in (numbers(2, 9, 8), numbers(2, 40, 8, seed=1), numbers(2, 40, 8)))
    grad = numbers(2, 9, 8, seed=3)
    out, lse = (t.float() for t in softmax_attention(query, key, value))
    expected = torch.autograd.grad(out, (query, key, value), grad)
    with torch.no_grad():
        first, second = (backward(grad, query, key[:, s], value[:, s], out, lse) for s in (slice(0, 30), slice(30, 40)))
    assert close(first[0] + second[0], expected[0])
    for index in (1, 2):
        assert close(torch.cat([first[index], second[index]], 1), expected[index])


def own_twin(layout, query, key, value):
    """Question by question, one softmax each; query (T, K, G, d) packed, key and value (T, K, d)."""
    outs = []
    for row in range(len(layout.first)):
        of = layout.rows == row
        visible = torch.ones(int(of.sum()), int(of.sum())).tril().bool()
        heads = [
            softmax_attention(query[of][:, k, g], key[of][:, k], value[of][:, k], visible)[0]
            for k in range(query.shape[1]) for g in range(query.shape[2])
        ]  # fmt: skip
        outs.append(torch.stack(heads, 1).unflatten(1, query.shape[1:3]))
    return torch.cat(outs)


@pytest.mark.parametrize("lengths", [[4], [1], [3, 1, 6, 2]])
@pytest.mark.parametrize("together", [1, 1 << 20])
def test_questions_attend_to_themselves_only(lengths, together, monkeypatch):
    monkeypatch.setattr(shared_prefix, "_SCORES_AT_ONCE", together)
    layout, count = Layout.of(lengths, torch.device("cpu")), sum(lengths)
    query, key, value = numbers(count, 2, 3, 8), numbers(count, 2, 8, seed=1), numbers(count, 2, 8, seed=2)
    spread = [layout.spread(t) for t in (query, key, value)]
    out, _ = shared_prefix.attend_own(*spread, layout.visible(layout.longest))
    assert close(layout.pack(out), own_twin(layout, query, key, value))


@pytest.mark.parametrize("lengths", [[4], [1], [3, 1, 6, 2]])
@pytest.mark.parametrize("together", [None, 1, 1 << 20])
def test_gradients_of_questions_that_attend_to_a_prefix_and_to_themselves(lengths, together, monkeypatch):
    """By the kernel, and without it, scores so many at once."""
    if together:
        monkeypatch.setattr(shared_prefix, "_SCORES_AT_ONCE", together)
        monkeypatch.setattr(shared_rows, "kernel_for", lambda query: kernels.PLAIN)
    layout, count = Layout.of(lengths, torch.device("cpu")), sum(lengths)
    query, key, value, before_key, before_value = (
        numbers(*shape, seed=seed).requires_grad_()
        for seed, shape in enumerate([(count, 2, 3, 8), (count, 2, 8), (count, 2, 8), (5, 2, 8), (5, 2, 8)])
    )
    parts = (query, before_key, before_value, key, value)
    found = shared_rows.ItemAttention.apply(*parts, layout)
    # the twin: every question by itself, after the prefix
    outs = []
    for row, length in enumerate(lengths):
        of = layout.rows == row
        keys, values = torch.cat([before_key, key[of]]), torch.cat([before_value, value[of]])
        visible = torch.arange(5 + length) <= 5 + torch.arange(length)[:, None]
        heads = [
            softmax_attention(query[of][:, k, g], keys[:, k], values[:, k], visible)[0]
            for k in range(2) for g in range(3)
        ]  # fmt: skip
        outs.append(torch.stack(heads, 1).unflatten(1, (2, 3)))
    expected, grad = torch.cat(outs), numbers(count, 2, 3, 8, seed=9)
    assert close(found, expected)
    wanted = torch.autograd.grad(expected, parts, grad.double())
    for one, other in zip(torch.autograd.grad(found, parts, grad), wanted, strict=True):
        assert close(one, other)


def test_a_layout_by_hand():
    layout = Layout.of([2, 1, 3], torch.device("cpu"))
    assert layout.rows.tolist() == [0, 0, 1, 2, 2, 2] and layout.columns.tolist() == [0, 1, 0, 0, 1, 2]
    packed = torch.arange(1, 7)
    assert layout.spread(packed).tolist() == [[1, 2, 0], [3, 0, 0], [4, 5, 6]]
    assert torch.equal(layout.pack(layout.spread(packed)), packed)
    assert layout.visible(3)[0].tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    after = Layout.next_token(torch.tensor([2, 1, 3]))
    assert after.columns.tolist() == [2, 1, 3] and after.spread(torch.tensor([7, 8, 9])).tolist() == [[7], [8], [9]]
    assert after.visible(4).tolist() == [[[1, 1, 1, 0]], [[1, 1, 0, 0]], [[1, 1, 1, 1]]]


def test_a_layout_moves():
    layout = Layout.of([2, 1], torch.device("cpu"))
    assert layout.to(torch.device("cpu")) is layout
    moved = layout.to(torch.device("meta"))
    assert {t.device.type for t in (moved.rows, moved.columns, moved.first)} == {"meta"} and moved.longest == 2


def test_rotation_turns_pairs_of_halves():
    cos, sin = torch.tensor([[0.6, 0.6]]), torch.tensor([[0.8, 0.8]])
    assert close(
        shared_prefix.rotated(torch.tensor([[[1.0, 2.0]]]), cos, sin), torch.tensor([[[0.6 - 1.6, 1.2 + 0.8]]])
    )


def test_bfloat16_stays_within_its_own_rounding(attend):
    exact = [numbers(2, 33, 16), numbers(2, 200, 16, seed=1), numbers(2, 200, 16, seed=2)]
    rounded = [t.bfloat16() for t in exact]
    out, lse = attend(*rounded)
    expected, total = softmax_attention(*rounded)
    assert out.dtype == torch.bfloat16 and lse.dtype == torch.float32
    assert close(out, expected, 0.01) and close(lse, total, 0.01)
