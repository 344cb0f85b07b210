"""vLLM itself on the small checkpoint: in this process, its pooling interface, and its server. Minutes on a CPU."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from model_cases import question, random_scene

from video3d_plugin.engine.answers import answer_tokens, check_same_weights, ground
from video3d_plugin.engine.base import Decoding
from video3d_plugin.errors import MissingError, Video3DError
from video3d_plugin.model.prefix import inference
from video3d_plugin.model.prefix.embeddings import prompt_embeddings

pytestmark = pytest.mark.vllm
TEXT = ("scanqa", "sqa3d", "scan2cap", "two_coords")
SMALL = {"enforce_eager": True, "max_model_len": 2048}


@pytest.fixture(autouse=True)
def small_cache(monkeypatch):
    pytest.importorskip("vllm", reason="vLLM is not installed")
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB


def assert_same_tokens(mini, engine, rooms):
    """On scenes of different length, with and without points."""
    for scene in rooms:
        items = [question(kind, scene.scene_id) for kind in TEXT]
        own = inference.answer_tokens(mini.model, mini.processor, mini.encode_scene(scene), items, 24)
        prefix = inference.embed_scene(mini.model, mini.processor, scene)
        decoding = Decoding(24, tuple(mini.processor.stop_ids))
        assert answer_tokens(mini.model, mini.processor, engine, prefix, items, decoding) == own


def cached_tokens(engine, prompt: torch.Tensor) -> int:
    """How many of a prompt's tokens vLLM took from its prefix cache, in blocks of up to 128."""
    from vllm import SamplingParams

    parameters = SamplingParams(max_tokens=2, temperature=0.0, detokenize=False)
    (made,) = engine.llm.generate([{"prompt_embeds": prompt.cpu()}], parameters, use_tqdm=False)
    return made.num_cached_tokens


def test_tokens_are_the_models_own_and_the_engine_keeps_the_scene(mini, exported, rooms):
    from video3d_plugin.engine.in_process import VllmInProcess

    engine = VllmInProcess(exported, **SMALL)
    try:
        assert engine.longest == 2048
        check_same_weights(mini.model, mini.processor, engine)
        assert_same_tokens(mini, engine, rooms)
        room = random_scene(mini.spec, "c", 12, 3, seed=3)  # not asked before
        prefix = inference.embed_scene(mini.model, mini.processor, room)
        prompts = prompt_embeddings(mini.model, mini.processor, prefix, [question(kind, "c") for kind in TEXT])
        counts = [cached_tokens(engine, prompt) for prompt in prompts]
        print(f"prefix {len(prefix)} tokens, from the cache {counts}")
        assert counts[0] == 0 and all(len(prefix) - 128 < count <= len(prefix) for count in counts[1:])
    finally:
        engine.close()


def test_scores_through_the_pooling_interface_are_the_models_own(mini, exported, rooms):
    from video3d_plugin.engine.in_process import VllmStates

    engine = VllmStates(exported, **SMALL)
    try:
        for scene in rooms:
            items = [question(kind, scene.scene_id) for kind in ("scanrefer", "multi3drefer")]
            prefix = inference.embed_scene(mini.model, mini.processor, scene)
            made = ground(mini.model, mini.processor, engine, prefix, items)
            for one, other in zip(made, mini.ground_scores(scene, items), strict=True):
                assert one.shape == other.shape and torch.allclose(one, other, atol=1e-4)
    finally:
        engine.close()


@contextmanager
def vllm_serve(folder: Path):
    """URL of vLLM's server on a free port, and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Not the command `vllm`: with vllm-cpu 0.32.0 it asks for the version of a distribution `vllm`, and ends.
    words = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    words += ["--enable-prompt-embeds", "--dtype", "float32", "--enforce-eager"]
    words += ["--max-model-len", "2048", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    try:
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.terminate()
        process.wait(60)


def test_tokens_through_vllms_server_are_the_models_own(mini, exported, rooms):
    from video3d_plugin.engine.server import VllmServer

    with vllm_serve(exported) as (url, process):
        engine, end = None, time.monotonic() + 600
        while engine is None:
            assert process.poll() is None and time.monotonic() < end, "the server did not start"
            try:
                engine = VllmServer(url)
            except MissingError:
                time.sleep(2)
        check_same_weights(mini.model, mini.processor, engine)
        assert_same_tokens(mini, engine, rooms)
        with pytest.raises(Video3DError, match="hidden_size 3 does not match"):
            engine.generate([torch.zeros(4, 3)], Decoding(1, (2,)))
