"""Engines for tests: transformers' Qwen2 on an exported folder, in this process or behind a tiny HTTP server.

They know nothing of this package's model. The server answers as vLLM's does, of which it has the two routes in use.
"""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from video3d_plugin.engine.base import Generated


class PlainEngine:
    """Greedy decoding of one prompt after the other; remembers what it was asked."""

    name = "the plain engine"

    def __init__(self, folder: Path, longest: int = 8192):
        self.model, self.longest, self.asked = AutoModelForCausalLM.from_pretrained(folder).eval(), longest, []

    @torch.inference_mode()
    def generate(self, prompts, decoding) -> list[Generated]:
        self.asked.append((prompts, decoding))
        return [self.one(prompt, decoding.max_new_tokens, decoding.stop_ids) for prompt in prompts]

    def one(self, prompt, count, stops) -> Generated:
        row, ids, logprobs = prompt[None].to(self.model.dtype), [], []
        while len(ids) < count and not set(ids) & set(stops):
            steps = self.model(inputs_embeds=row, use_cache=False).logits[0, -1].float().log_softmax(-1)
            ids.append(int(steps.argmax()))
            logprobs.append(float(steps.max()))
            row = torch.cat([row, self.model.get_input_embeddings()(torch.tensor([[ids[-1]]]))], 1)
        return Generated(ids, logprobs)

    @torch.inference_mode()
    def last_states(self, prompts) -> torch.Tensor:
        return torch.stack([self.model.model(inputs_embeds=prompt[None])[0][0, -1] for prompt in prompts])

    def close(self) -> None:
        pass


@contextmanager
def served(engine: PlainEngine, change=lambda path, status, answer: (status, answer)) -> Iterator[tuple[str, list]]:
    """(URL of a server that answers with the engine, the requests that it got); `change` alters what it answers."""
    requests: list[tuple[str, Any, dict]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append((self.path, None, dict(self.headers)))
            self.send({"data": [{"id": "qwen2", "max_model_len": engine.longest}]})

        @torch.inference_mode()
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append((self.path, body, dict(self.headers)))
            prompt = torch.load(io.BytesIO(base64.b64decode(body["prompt_embeds"])), weights_only=True)
            made = engine.one(prompt, body["max_tokens"], body["stop_token_ids"])
            self.send({"choices": [{"token_ids": made.ids, "logprobs": {"token_logprobs": made.logprobs}}]})

        def send(self, answer):
            status, answer = change(self.path, 200, answer)
            text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
