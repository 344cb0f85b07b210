"""Guards of the HTTP API: origin checks, security headers, bounded request bodies, and errors as JSON."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from video3d_plugin.errors import DataError, MissingError, Video3DError
from video3d_plugin.serve.limits import BusyError
from video3d_plugin.serve.reading import without_paths

MAX_BODY = 16 << 10  # bytes of a JSON request; a question has up to 1000 letters
BODY_S = 10  # seconds for receiving a JSON request
CHUNK_S = 30  # seconds between two parts of an upload
UPLOAD_S = 1800  # seconds for receiving an upload
_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)
_PAGE_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-src 'self'; "
    b"img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_log = logging.getLogger("video3d.serve")

Handler = Callable[[Request], Awaitable[Response]]


class RequestError(Video3DError):
    """A request that the API does not accept.

    Args:
        status: The HTTP status.
        what: The reason, in one line.
    """

    def __init__(self, status: int, what: str):
        self.status = status
        super().__init__(what)


class SameOriginMiddleware:
    """ASGI middleware that refuses requests of other sites' pages and adds security headers.

    Browsers name the requesting page in `Origin` and `Sec-Fetch-Site`; programs send neither. Another site's host name
    that resolves to this address (DNS rebinding) is refused by `Host`. A proxy that changes `Host` passes the original
    in `X-Forwarded-Host`, which a page of another site cannot set.

    Args:
        app: The application.
        hosts: Host names and addresses that requests may use; ["*"] allows any.
    """

    def __init__(self, app: Any, hosts: Collection[str]):
        self.app, self.hosts = app, {host.lower().strip("[]") for host in hosts}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})

        async def send_guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                present = {name.lower() for name, _ in headers}
                defaults = (*_HEADERS, (b"content-security-policy", _PAGE_POLICY))
                message = {**message, "headers": headers + [pair for pair in defaults if pair[0] not in present]}
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self.app)(scope, receive, send_guarded)

    def _refusal(self, scope: Any) -> Response | None:
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value)
        host = headers.get(b"host", [b""])
        if "*" not in self.hosts and (len(host) != 1 or _host_name(host[0]) not in self.hosts):
            return PlainTextResponse("This host name is not allowed.", status_code=400)
        own_hosts = {*host, *headers.get(b"x-forwarded-host", [])}
        for origin in headers.get(b"origin", []):
            origin_host = origin.partition(b"://")[2]
            if not origin_host or origin_host not in own_hosts:
                return PlainTextResponse("Requests from pages of other sites are not allowed.", status_code=403)
        site = headers.get(b"sec-fetch-site", [b"same-origin"])
        if scope["path"] != "/" and any(value not in (b"same-origin", b"none") for value in site):
            return PlainTextResponse("Requests from pages of other sites are not allowed.", status_code=403)
        return None


def show_errors(handler: Handler) -> Handler:
    """Wrap a handler so that its errors become JSON: {"error": one line without paths of this machine}.

    Args:
        handler: Handles a request.
    """

    @functools.wraps(handler)
    async def shown(request: Request) -> Response:
        try:
            return await handler(request)
        except ClientDisconnect:
            return Response(status_code=400)
        except asyncio.CancelledError:  # the server is shutting down: this is the task's end
            return error_response(503, "the server is stopping")
        except RequestError as error:
            return error_response(error.status, str(error))
        except BusyError as error:
            return error_response(503, str(error), {"Retry-After": "60"})
        except MissingError as error:
            return error_response(404, _one_line(error))
        except DataError as error:
            return error_response(422, _one_line(error))
        except Video3DError as error:
            return error_response(422, without_paths(str(error)))
        except Exception:
            _log.exception("unexpected error")
            return error_response(500, "unexpected error; the server's log says more")

    return shown


def error_response(status: int, what: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return {"error": what} with an HTTP status and further headers."""
    return JSONResponse({"error": what}, status_code=status, headers=dict(headers or {}))


def _one_line(error: DataError | MissingError) -> str:
    where = f"{Path(error.where).name}: " if error.where is not None else ""
    return without_paths(f"{where}{error.what}" + (f" ({error.remedy})" if error.remedy else ""))


async def read_fields(request: Request, required: Collection[str], optional: Collection[str] = ()) -> dict[str, str]:
    """Read a request's JSON object, whose values are strings.

    Args:
        request: The request. Its content type must be application/json, which forms of other sites cannot send.
        required: Names of the required fields.
        optional: Names of the optional fields. Other fields are refused.

    Raises:
        RequestError: The body is late (408), too large (413), of another type (415) or not such an object (422).
    """
    _need_type(request, "application/json")
    body = bytearray()
    async for chunk in _chunks(request, MAX_BODY, BODY_S, BODY_S):
        body += chunk
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        raise RequestError(422, "the request is not JSON") from None
    if not isinstance(values, dict):
        raise RequestError(422, "the request is not a JSON object")
    for name in values:
        if name not in required and name not in optional:
            raise RequestError(422, f"unknown field {name!r:.40}; known: {', '.join([*required, *optional])}")
    for name in (*required, *optional):
        if name in required and name not in values:
            raise RequestError(422, f"the field {name!r} is missing")
        if name in values and not isinstance(values[name], str):
            raise RequestError(422, f"the field {name!r} is not text: send a string")
    return values


async def read_file(request: Request, path: Path, max_bytes: int) -> None:
    """Write a request's body to a new file. After an error there is no file.

    Args:
        request: The request. Its content type must be application/zip.
        path: The file.
        max_bytes: Maximum size of the body.

    Raises:
        RequestError: The body is late (408), too large (413) or of another type (415), or the disk is full (507).
    """
    _need_type(request, "application/zip")
    try:
        with open(path, "xb") as file:
            async for chunk in _chunks(request, max_bytes, CHUNK_S, UPLOAD_S):
                file.write(chunk)
    except OSError:
        path.unlink(missing_ok=True)
        raise RequestError(507, "the server has no space for this file") from None
    except BaseException:
        path.unlink(missing_ok=True)
        raise


async def _chunks(request: Request, max_bytes: int, pause_s: float, total_s: float) -> AsyncIterator[bytes]:
    """Yield the request's body in parts, with bounds on its size and on the time it takes."""
    too_large = RequestError(413, f"the request is too large: at most {max_bytes} bytes")
    length = request.headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()) or int(length[:20]) > max_bytes:
        raise too_large
    size, end, stream = 0, asyncio.get_running_loop().time() + total_s, request.stream().__aiter__()
    while True:
        left = min(pause_s, end - asyncio.get_running_loop().time())
        try:
            chunk = await asyncio.wait_for(stream.__anext__(), left)
        except StopAsyncIteration:
            return
        except asyncio.TimeoutError:
            raise RequestError(408, "the request took too long to arrive") from None
        size += len(chunk)
        if size > max_bytes:
            raise too_large
        yield chunk


def _need_type(request: Request, expected: str) -> None:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != expected:
        raise RequestError(415, f"send it as {expected}")


def _host_name(header: bytes) -> str:
    """The host of a Host header without port and without IPv6 brackets; "" if the header is not valid."""
    match = re.fullmatch(
        r"(?:\[([0-9a-f:.]+)\]|([^\s/@:\[\]]+))(?::[0-9]{1,5})?", header.decode("latin-1").strip().lower()
    )
    return "" if match is None else match[1] or match[2]
