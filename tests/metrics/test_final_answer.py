from __future__ import annotations

import pytest

from video3d_plugin.metrics.final_answer import LONGEST_STATEMENT, final_answer, says_no_object


@pytest.mark.parametrize(
    "text",
    [
        "<think>Two of them. [0, 0, 0, 1, 1, 1]</think>chair",
        "<think>\na\n</think>\n\nchair\n",
        "Two of them.</think> chair",
        "<THINKING>a</THINKING>chair",
        "<think>a</think><think>b</think>chair",
        "<think>a</think><answer>chair</answer>",
        "<reasoning>a</reasoning> The answer: <answer> chair </answer> Done.",
        "<think>a</think><answer>chair",
        "◁think▷a◁/think▷chair",
        "<think>a</think><|begin_of_box|>chair<|end_of_box|>",
    ],
)
def test_reasoning_before_the_answer_is_left_out(text):
    assert final_answer(text) == "chair"


def test_reasoning_that_does_not_end_leaves_no_answer():
    assert final_answer("<think>maybe a chair, or") == ""
    assert final_answer("<think>a</think>") == ""


@pytest.mark.parametrize("text", ["", " chair \n", "I think a <b>chair</b>", "<thinker>", "a < b"])
def test_a_text_without_reasoning_is_not_changed(text):
    assert final_answer(text) == text


def test_a_statement_that_there_is_no_object_is_short_and_goes_on_with_no_other_one():
    assert says_no_object("There is no chair in the room.")
    assert not says_no_object("There is no chair in the room, but a stool.")
    assert not says_no_object("There is no chair in the room. " + "x" * LONGEST_STATEMENT)
    assert not says_no_object("") and not says_no_object("`")
