"""--gen_kwargs reach the model or are refused, and so are lmms-eval's options that this model does not have."""

from __future__ import annotations

import pytest

from video3d_plugin.errors import Video3DError
from video3d_plugin.hosts.lmms_eval.generation import Generation, check_run
from video3d_plugin.hosts.lmms_eval.options import ModelOptions
from video3d_plugin.loading import default_checkpoint
from video3d_plugin.scene import Question

TASK = {"max_new_tokens": 512, "temperature": 0.0, "do_sample": False, "num_beams": 1, "until": ["\n\n"]}


def test_the_settings_of_the_tasks_are_greedy_decoding():
    assert Generation.of(TASK) == Generation.of(None) == Generation()
    assert Generation().sampling([], 0, "cpu") == {} and Generation().ended(" a\n\nb ") == " a\n\nb "


@pytest.mark.parametrize(
    "given, message",
    [
        ({"num_beams": 4}, "num_beams=4: video3d has no beam search"),
        ({"repetition_penalty": 1.2}, "repetition_penalty is not known"),
        ({"do_sample": True}, "do_sample=true needs a temperature"),
        ({"do_sample": "maybe", "temperature": 1}, "do_sample=maybe"),
        ({"top_p": 0.5}, "top_p=0.5 has no effect"),
        ({"top_k": 5}, "top_k=5 has no effect"),
        ({"temperature": -1}, "temperature=-1"),
        ({"temperature": "hot"}, "temperature=hot"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"top_p": 2, "temperature": 1}, "top_p=2"),
        ({"max_new_tokens": 0}, "max_new_tokens=0 is not a whole number"),
        ({"max_new_tokens": 2.5}, "max_new_tokens=2.5"),
        ({"max_new_tokens": True}, "max_new_tokens=True"),
        ({"until": [1]}, "until"),
    ],
)
def test_what_would_have_no_effect_is_refused_in_one_line(given, message):
    with pytest.raises(Video3DError, match=message) as error:
        Generation.of({**TASK, **given})
    assert "\n" not in str(error.value) and "--gen_kwargs" in str(error.value)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"apply_chat_template": True}, "--apply_chat_template: "),
        ({"num_fewshot": 2}, "--num_fewshot 2: "),
        ({"system_instruction": "Be kind."}, "--system_instruction: "),
        ({"gen_kwargs": "temperature"}, "--gen_kwargs 'temperature' is not of the form"),
        ({"gen_kwargs": "num_beams=4"}, "num_beams=4"),
        ({"gen_kwargs": {"num_beams": 4}}, "num_beams=4"),
    ],
)
def test_an_option_that_the_model_does_not_have_is_refused_before_anything_is_loaded(
    lmms_eval_importable, monkeypatch, arguments, message
):
    from lmms_eval import evaluator
    from video3d_plugin.patches import registry

    from video3d_plugin.hosts.lmms_eval import model

    registry.require("lmms_eval_errors")
    monkeypatch.setattr(model, "load", lambda *given: pytest.fail("loaded"))
    with pytest.raises(Video3DError, match=message):
        check_run(arguments)
    with pytest.raises(Video3DError, match=message):
        evaluator.simple_evaluate("video3d", model_args="pretrained=mini", tasks=["scanqa"], **arguments)


def test_nothing_is_refused_by_default(lmms_eval_importable):
    unset = {"num_fewshot": 0, "apply_chat_template": False, "gen_kwargs": None, "system_instruction": None}
    sampled = {"gen_kwargs": "temperature=0.7,top_p=0.9,max_new_tokens=8,until=."}
    assert check_run(unset) is None and check_run(sampled) is None


QUESTIONS = [Question("scanqa", "q", "s", "<image> what?")]


def test_sampling_depends_on_question_seed_and_repetition_only():
    import torch

    hot = Generation.of({**TASK, "temperature": 50, "top_p": 0.9, "top_k": 7})

    def drawn(questions=QUESTIONS, repetition=0):
        options = hot.sampling(questions, repetition, "cpu")
        assert (options["do_sample"], options["temperature"], options["top_p"], options["top_k"]) == (True, 50, 0.9, 7)
        return torch.rand(3, generator=options["generator"]).tolist()

    torch.manual_seed(1)
    first = drawn()
    torch.rand(5)
    assert drawn() == first != drawn(repetition=1)
    assert drawn([Question("scanqa", "r", "s", "<image> what?")]) != first
    torch.manual_seed(2)
    assert drawn() != first


def test_an_answer_ends_before_the_first_text_of_until():
    assert Generation.of({"until": [".", " and"]}).ended("a chair and a table.") == "a chair"
    assert Generation.of({"until": "."}).ended("chair") == "chair"


def test_mini_names_the_checkpoint_that_ships():
    assert ModelOptions.from_model_args({"pretrained": "mini"}).pretrained == str(default_checkpoint())
    assert ModelOptions.from_model_args({"pretrained": "./mini"}).pretrained == "./mini"


@pytest.mark.parametrize(
    "argument, message",
    [
        ({"attn_implementation": "flash"}, "attn_implementation=flash is not known .*sdpa"),
        ({"device": "gpu"}, "device=gpu is not known"),
        ({"device": "cuda:x"}, "device=cuda:x is not known"),
        ({"lora": "nowhere"}, "lora=nowhere: no adapter_config.json"),
    ],
)
def test_arguments_are_checked_before_anything_is_loaded(argument, message):
    with pytest.raises(Video3DError, match=message):
        ModelOptions.from_model_args({"pretrained": "x", **argument})
