"""The client of a vLLM server, against a tiny local one: what it sends, what it makes of answers, what it refuses."""

from __future__ import annotations

import socket

import pytest
from engines import served
from model_cases import question

from video3d_plugin.engine.answers import check_same_weights
from video3d_plugin.engine.base import Decoding
from video3d_plugin.engine.server import VllmServer, check_url
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.pipeline import Video3D


def test_answers_through_a_server_are_the_models_own(mini, engine, rooms, monkeypatch):
    monkeypatch.setenv("VIDEO3D_ENGINE_KEY", "secret")
    items = [question(kind, "a") for kind in ("scanqa", "sqa3d", "scan2cap")]
    with served(engine) as (url, requests):
        server = VllmServer(url)
        check_same_weights(mini.model, mini.processor, server)
        through = Video3D(mini.model, mini.processor, engine=server)
        assert through.answer(rooms[0], items, max_new_tokens=8) == mini.answer(rooms[0], items, max_new_tokens=8)
        server.close()
    paths, bodies, headers = zip(*requests, strict=True)
    assert paths == ("/v1/models", *["/v1/completions"] * 4)
    assert all(header["Authorization"] == "Bearer secret" for header in headers)
    asked = {name: value for name, value in bodies[2].items() if name != "prompt_embeds"}
    assert asked == {
        "model": "qwen2", "max_tokens": 8, "stop_token_ids": [2], "ignore_eos": False, "temperature": 0.0,
        "top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0, "logprobs": 0, "return_token_ids": True,
    }  # fmt: skip


def test_sampled_prompts_have_seeds_of_their_own(engine, rooms):
    with served(engine) as (url, requests):
        prompts = [engine.model.get_input_embeddings().weight[:5].detach()] * 2
        VllmServer(url, "qwen2").generate(prompts, Decoding(1, (2,), temperature=1.0, seed=40))
    assert sorted(body["seed"] for _, body, _ in requests[1:]) == [40, 41]


def choice(**fields):
    return {"choices": [{"token_ids": [1], "logprobs": {"token_logprobs": [-0.5]}, **fields}]}


BAD_ANSWERS = {
    "no JSON": (b"<html>", "not valid JSON"),
    "a list": (b"[]", "expected a JSON dict"),
    "no choices": ({}, "has no token_ids or logprobs"),
    "no ids": (choice(token_ids=None), "has the token_ids None"),
    "ids that are text": (choice(token_ids=["1"]), "has the token_ids"),
    "negative ids": (choice(token_ids=[-1]), "has the token_ids"),
    "fewer logprobs": (choice(token_ids=[1, 2]), "other logprobs than tokens"),
    "logprobs that are no numbers": (choice(logprobs={"token_logprobs": [None]}), "other logprobs than tokens"),
    "endless": (b"[" * ((1 << 24) + 1), "more than 16777216 bytes"),
}


@pytest.mark.parametrize(("answer", "message"), BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_an_answer_that_cannot_be_used_is_an_error(engine, answer, message):
    def change(path, status, content):
        return status, answer if path == "/v1/completions" else content

    with served(engine, change) as (url, _):
        server = VllmServer(url)
        with pytest.raises(DataError, match=message):
            server.generate([engine.model.get_input_embeddings().weight[:3].detach()], Decoding(1, (2,)))


def test_a_refusal_of_the_server_is_shown_in_one_line(engine):
    refusal = b'{"error": "You must set\n `--enable-prompt-embeds` to input prompt_embeds"}'
    with served(engine, lambda path, status, a: (status, a) if path == "/v1/models" else (400, refusal)) as (url, _):
        with pytest.raises(DataError, match="status 400: .*enable-prompt-embeds") as error:
            VllmServer(url).generate([engine.model.get_input_embeddings().weight[:3].detach()], Decoding(1, (2,)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("models", "name", "message"),
    [
        ({"data": None}, None, "lists no models"),
        ({"data": ["x"]}, None, "lists no models"),
        ({"data": []}, None, "serves 0 models"),
        (
            {"data": [{"id": "a", "max_model_len": 9}, {"id": "b", "max_model_len": 9}]},
            None,
            "name one with engine_model",
        ),
        ({"data": [{"id": "a", "max_model_len": 9}]}, "b", "does not serve b .it serves a"),
        ({"data": [{"id": "a"}]}, None, "gives the model None positions"),
    ],
)
def test_a_server_without_the_model_is_refused(engine, models, name, message):
    with served(engine, lambda path, status, a: (status, models)) as (url, _):
        with pytest.raises((DataError, MissingError), match=message):
            VllmServer(url, name)


def test_a_server_that_is_not_there_is_an_error():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(MissingError, match=rf"127.0.0.1:{port} cannot be reached: .*vllm serve"):
        VllmServer(f"http://127.0.0.1:{port}")


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8000", "file:///etc/passwd", "ftp://host", "http://", "http://user@host", "http://h:99999",
     "http://h:0", "http://h/v1", "http://h/?a=b"],
)  # fmt: skip
def test_a_url_that_is_no_address_of_a_server_is_refused(url):
    with pytest.raises(DataError, match="give http://HOST:PORT"):
        check_url(url)
