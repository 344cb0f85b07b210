"""The order of work: by scene and repeatable, batches that halve once memory runs out."""

from __future__ import annotations

import logging

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from video3d_plugin.hosts.lmms_eval.batching import AdaptiveBatches, group_sorted, is_out_of_memory


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5)), max_size=20), st.randoms())
def test_any_order_of_the_same_items_gives_the_same_plan(items, random):
    shuffled = list(items)
    random.shuffle(shuffled)
    plans = [group_sorted(listed, key=lambda i: i[0], order=lambda i: i) for listed in (items, shuffled)]
    assert list(plans[0].items()) == list(plans[1].items())
    assert sorted(sum(plans[0].values(), [])) == sorted(items)


def needs_room_for(limit: int, calls: list, error: Exception | None = None):
    def work(batch):
        calls.append(len(batch))
        if len(batch) > limit:
            raise error or torch.cuda.OutOfMemoryError("CUDA out of memory")
        return [item * 10 for item in batch]

    return work


def test_out_of_memory_halves_the_batch_says_so_once_and_goes_on(caplog):
    calls: list[int] = []
    batches = AdaptiveBatches(8)
    with caplog.at_level(logging.WARNING):
        answers = list(batches.run(list(range(11)), needs_room_for(4, calls)))
        answers += list(batches.run(list(range(3)), needs_room_for(4, calls)))
    assert answers == [i * 10 for i in [*range(11), *range(3)]]
    assert calls == [8, 4, 4, 3, 3] and batches.size == 4
    assert [record.message for record in caplog.records] == [
        "out of memory with 8 questions at a time: continuing with 4"
    ]


def test_a_single_question_that_does_not_fit_is_an_error_after_the_others_were_answered():
    calls: list[int] = []
    answers = AdaptiveBatches(2).run([1, 2], needs_room_for(0, calls))
    with pytest.raises(torch.cuda.OutOfMemoryError):
        list(answers)
    assert calls == [2, 1]


def test_another_error_is_passed_on_and_never_taken_for_memory():
    with pytest.raises(ValueError, match="broken"):
        list(AdaptiveBatches(4).run([1, 2], needs_room_for(0, [], ValueError("broken"))))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(error, expected):
    assert is_out_of_memory(error) is expected


def test_an_answer_too_few_is_a_bug_not_a_shift():
    with pytest.raises(RuntimeError, match="1 answers to 2 questions"):
        list(AdaptiveBatches(2).run([1, 2], lambda batch: [0]))


def test_a_batch_size_of_zero_is_refused():
    with pytest.raises(ValueError, match="below 1"):
        AdaptiveBatches(0)
