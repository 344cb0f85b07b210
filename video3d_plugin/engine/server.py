"""A vLLM server behind a URL: `vllm serve FOLDER --enable-prompt-embeds`.

Each question is one request to /v1/completions, with its prompt embeddings as base64 of a tensor that `torch.save`
wrote, as vLLM reads them. Several requests are under way at a time, and the engine batches them.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch

from video3d_plugin.engine.base import Decoding, Generated
from video3d_plugin.errors import DataError, MissingError, quoted
from video3d_plugin.files.json import parse_json

API_KEY = "VIDEO3D_ENGINE_KEY"  # environment variable: the key of `vllm serve --api-key`
REQUESTS = 16  # under way at a time
_ANSWER_BYTES = 1 << 24
_START = "start it with `vllm serve FOLDER --enable-prompt-embeds`, and check the URL"


class VllmServer:
    """A server of vLLM. Redirects and proxies are not followed.

    Args:
        url: Address of the server, such as http://127.0.0.1:8000.
        model: Name under which it serves the folder; None for the only one.
        timeout_s: Seconds to wait for an answer.

    Raises:
        MissingError: The server cannot be reached or does not serve the model.
        DataError: The URL or an answer cannot be used.
    """

    def __init__(self, url: str, model: str | None = None, timeout_s: float = 600.0):
        self._url, self._timeout_s = check_url(url), timeout_s
        self.name = f"the engine at {self._url.hostname}:{self._url.port or self._default_port}"
        self._model, self.longest = self._served(model)

    @property
    def _default_port(self) -> int:
        return 443 if self._url.scheme == "https" else 80

    def generate(self, prompts: Sequence[torch.Tensor], decoding: Decoding) -> list[Generated]:
        """Continue prompts; see `Engine.generate`."""
        with ThreadPoolExecutor(REQUESTS) as threads:
            return list(threads.map(partial(self._complete, decoding=decoding), prompts, range(len(prompts))))

    def close(self) -> None:
        """Do nothing: the server belongs to others."""

    def _complete(self, prompt: torch.Tensor, index: int, decoding: Decoding) -> Generated:
        body: dict[str, Any] = {
            "model": self._model,
            "prompt_embeds": encoded(prompt),
            "max_tokens": decoding.max_new_tokens,
            "stop_token_ids": list(decoding.stop_ids),
            "ignore_eos": not decoding.stop_ids,
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
            "top_k": decoding.top_k,
            "repetition_penalty": 1.0,  # a server takes other defaults from generation_config.json
            "logprobs": 0,
            "return_token_ids": True,
        }
        if decoding.temperature:
            body["seed"] = decoding.seed + index
        content = self._ask("POST", "/v1/completions", body)
        try:
            choice = content["choices"][0]
            ids, logprobs = choice["token_ids"], choice["logprobs"]["token_logprobs"]
        except (KeyError, IndexError, TypeError):
            raise self._unusable("has no token_ids or logprobs") from None
        return self._checked(ids, logprobs)

    def _checked(self, ids: Any, logprobs: Any) -> Generated:
        if not isinstance(ids, list) or not all(type(token) is int and 0 <= token < 1 << 31 for token in ids):
            raise self._unusable(f"has the token_ids {quoted(ids, 40)}")
        numbers = isinstance(logprobs, list) and all(type(value) in (int, float) for value in logprobs)
        if not numbers or len(logprobs) != len(ids) or not all(map(math.isfinite, logprobs)):
            raise self._unusable("has other logprobs than tokens")
        return Generated(ids, [float(value) for value in logprobs])

    def _served(self, model: str | None) -> tuple[str, int]:
        """Return the name of the model to ask, and the positions that it has."""
        content = self._ask("GET", "/v1/models")
        entries = content.get("data")
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise self._unusable("lists no models")
        names = {str(entry.get("id")): entry.get("max_model_len") for entry in entries}
        if model is None and len(names) != 1:
            raise DataError(f"{self.name} serves {len(names)} models", remedy="name one with engine_model")
        name = next(iter(names)) if model is None else model
        if name not in names:
            raise MissingError(f"{self.name} does not serve {name:.60}", remedy=f"it serves {', '.join(names):.200}")
        length = names[name]
        if type(length) is not int or length < 2:
            raise self._unusable(f"gives the model {quoted(length, 20)} positions")
        return name, length

    def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(API_KEY):
            headers["Authorization"] = f"Bearer {key}"
        connection = kind(str(self._url.hostname), self._url.port or self._default_port, timeout=self._timeout_s)
        try:
            connection.request(
                method, self._url.path.rstrip("/") + path, None if body is None else json.dumps(body), headers
            )
            answer = connection.getresponse()
            text = answer.read(_ANSWER_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            raise MissingError(f"{self.name} cannot be reached: {error!s:.120}", remedy=_START) from error
        finally:
            connection.close()
        if len(text) > _ANSWER_BYTES:
            raise self._unusable(f"has more than {_ANSWER_BYTES} bytes")
        if answer.status != 200:
            reason = " ".join(text[:300].decode("utf-8", "replace").split())
            raise DataError(f"{self.name} answered with status {answer.status}: {reason:.200}", remedy=_START)
        return parse_json(text.decode("utf-8", "replace"), dict, Path(path), "is this a server of vLLM?")

    def _unusable(self, what: str) -> DataError:
        return DataError(f"an answer of {self.name} {what}", remedy="use vLLM 0.32, or another version that has them")


def encoded(prompt: torch.Tensor) -> str:
    """Return a tensor (L, H) as vLLM's server reads it."""
    buffer = io.BytesIO()
    torch.save(prompt.contiguous().clone(), buffer)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def check_url(url: str) -> Any:
    """Return the parts of a URL; raise DataError unless it is http:// or https:// with a host and nothing else."""
    remedy = "give http://HOST:PORT"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise DataError(f"engine_url {url!r:.80}: {error!s:.60}", remedy=remedy) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise DataError(f"engine_url {url!r:.80} is not the address of a server", remedy=remedy)
    if port == 0 or parts.path.rstrip("/").endswith("/v1"):
        raise DataError(f"engine_url {url!r:.80} has a port 0 or a path that ends with /v1", remedy=remedy)
    return parts
