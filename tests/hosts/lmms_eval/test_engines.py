"""`--model_args engine=vllm`: what is accepted, what is connected, and an evaluation through a server."""

from __future__ import annotations

import json
import logging
import sys

import pytest
import torch
from engines import PlainEngine, served

from video3d_plugin.engine import in_process
from video3d_plugin.errors import DataError, MissingError, Video3DError
from video3d_plugin.hosts.lmms_eval.engines import connect
from video3d_plugin.hosts.lmms_eval.options import ModelOptions
from video3d_plugin.hosts.lmms_eval.state import STATE
from video3d_plugin.model.checkpoint.export_language import export_language
from video3d_plugin.pipeline import load_model


@pytest.fixture(scope="module")
def exported(checkpoint, tmp_path_factory):
    video3d = load_model(checkpoint, device="cpu")
    return export_language(video3d.model, video3d.processor, tmp_path_factory.mktemp("engine") / "qwen2")


def options(**arguments):
    return ModelOptions.from_model_args({"pretrained": "nowhere", **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"engine": "tgi"}, "engine=tgi is not known .known: vllm"),
        ({"engine": "vllm"}, "has no weights .*--format vllm.* or engine_url"),
        ({"engine_model": "x"}, "engine_model=x has no effect without an engine"),
        ({"engine_url": "http://h"}, "engine_url=http://h has no effect without"),
        ({"engine_grounding": True}, "engine_grounding=True has no effect"),
        ({"engine": "vllm", "engine_url": "h:1"}, "not the address of a server"),
        (
            {"engine": "vllm", "engine_url": "http://h", "engine_grounding": True},
            "engine_grounding is for an engine in",
        ),
        ({"engine": "vllm", "engine_url": "http://h", "engine_options": "o"}, "engine_options is for an engine in"),
        ({"engine": "vllm", "engine_model": "x", "engine_grounding": "maybe"}, "neither True nor False"),
        ({"engine": "vllm", "engine_model": "x", "prefix_attention": "expanded"}, "no effect on an engine"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_anything_is_loaded(arguments, message):
    with pytest.raises(Video3DError, match=message):
        options(**arguments)


def test_the_engine_is_in_the_cache_key_and_its_address_is_not():
    keys = [
        options(**more).fingerprint("c", "float32")
        for more in (
            {},
            {"engine": "vllm", "engine_url": "http://a"},
            {"engine": "vllm", "engine_url": "http://b"},
            {"engine": "vllm", "engine_model": "F"},
        )
    ]
    assert keys[1] == keys[2] and len(set(keys)) == 3


def test_an_evaluation_through_a_server_gives_the_models_own_answers(
    lmms_eval_importable, checkpoint, exported, benchmark_folder, caplog
):
    from lmms_eval.api.instance import Instance

    from video3d_plugin.hosts.lmms_eval.model import Video3DLmms

    arguments = {"pretrained": str(checkpoint), "data": str(benchmark_folder), "device": "cpu", "max_frames": 2}
    answers, asked = [], 0
    with served(PlainEngine(exported)) as (url, requests):
        for more in ({}, {"engine": "vllm", "engine_url": url}):
            with caplog.at_level(logging.WARNING):
                lm = Video3DLmms(**arguments, **more, batch_size=8)
            docs = [doc for task, split in lm.data.tasks() for doc in lm.data.docs(task, split)[:2]]
            lm.task_dict = {"t": {"s": docs}}
            given = {"max_new_tokens": 4}
            made = [
                Instance("generate_until", ("", given, None, i, "t", "s"), 0, {"task": "t", "doc_id": i, "repeats": 1})
                for i in range(len(docs))
            ]
            answers.append(lm.generate_until(made))
            STATE.reset()
        asked = len(requests)
    assert "text questions are answered by the engine at 127.0.0.1" in caplog.text
    assert "grounding questions by the model in this process" in caplog.text
    scored = [answer.startswith('{"scores"') for answer in answers[0]]
    assert any(scored) and not all(scored) and [a.startswith('{"scores"') for a in answers[1]] == scored
    for one, other, is_score in zip(*answers, scored, strict=True):
        if is_score:
            one, other = (torch.tensor(json.loads(answer)["scores"]) for answer in (one, other))
            assert torch.allclose(one, other, atol=1e-5)
        else:
            assert one == other
    assert asked == 2 + scored.count(False)  # the list of models, the probe, and each text question once


def test_an_engine_in_this_process_gets_the_options_of_the_file(checkpoint, exported, tmp_path, monkeypatch):
    started = []

    class Engine(PlainEngine):
        def __init__(self, folder, **arguments):
            super().__init__(folder)
            started.append((str(folder), arguments))

    monkeypatch.setattr(in_process, "VllmInProcess", Engine)
    monkeypatch.setattr(in_process, "VllmStates", Engine)
    (tmp_path / "vllm.json").write_text('{"tensor_parallel_size": 2}')
    video3d = load_model(checkpoint, device="cpu")
    named = {"engine_model": str(exported), "engine_options": str(tmp_path / "vllm.json"), "engine_grounding": True}
    connect(video3d, options(engine="vllm", **named))
    assert started == [(str(exported), {"dtype": torch.float32, "tensor_parallel_size": 2})] * 2
    assert isinstance(video3d.engine, Engine) and isinstance(video3d.grounding_engine, Engine)


def test_an_engine_of_another_checkpoint_is_refused(make_checkpoint, exported):
    with served(PlainEngine(exported)) as (url, _):
        with pytest.raises(DataError, match="does not run the weights of this checkpoint"):
            connect(load_model(make_checkpoint(1), device="cpu"), options(engine="vllm", engine_url=url))


def test_a_folder_that_is_no_export_is_refused(checkpoint, tmp_path):
    for folder, message in ((checkpoint, "not a plain Qwen2 folder but video3d"), (tmp_path, "no config.json there")):
        with pytest.raises((DataError, MissingError), match=message):
            in_process.VllmInProcess(folder)
    with pytest.raises(DataError, match="option trust_remote_code is not yours to set"):
        in_process.VllmInProcess(checkpoint, trust_remote_code=True)


def test_without_vllm_one_line_says_so(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    for kind in (in_process.VllmInProcess, in_process.VllmStates):
        with pytest.raises(MissingError, match="vllm is not installed .*engine_url"):
            kind(exported)
