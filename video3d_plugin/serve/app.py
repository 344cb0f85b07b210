"""The HTTP API of a SceneService, the page that uses it, and the viewer in a sandboxed frame.

Every other path is 404. No request names a file: scenes and viewer pages have names made by the server, and an upload
is the body of its request. Viewer pages hold content of uploads: each has an opaque origin and cannot reach the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Collection
from concurrent.futures import Future
from dataclasses import asdict
from importlib import resources
from typing import Any

from video3d_plugin.errors import MissingError
from video3d_plugin.grounding_result import FoundBox
from video3d_plugin.serve.limits import BusyError
from video3d_plugin.serve.progress import Progress
from video3d_plugin.serve.service import KINDS, SceneService
from video3d_plugin.view.items import finite

try:
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
    from starlette.routing import Route

    from video3d_plugin.serve.middleware import SameOriginMiddleware, read_fields, read_file, show_errors
except ImportError as error:
    raise MissingError("video3d serve needs starlette", remedy="pip install 'video3d-plugin[serve]'") from error

MAX_ARRIVING = 4  # uploads received at a time
_DROP_EVERY_S = 60
_ASSETS = {
    "/": ("page.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}
_VIEWER_HEADERS = {"Content-Security-Policy": "sandbox allow-scripts; frame-ancestors 'self'"}


def build(service: SceneService, hosts: Collection[str], model: str = "") -> Starlette:
    """Make the ASGI application.

    Args:
        service: Answers the requests. If it accepts no uploads, there is no route for them.
        hosts: Host names and addresses that requests may use; ["*"] allows any.
        model: What the page says of the model; "" for nothing.
    """
    api = _Api(service, model)
    routes = [Route(path, _asset(*asset), methods=["GET"]) for path, asset in _ASSETS.items()]
    routes += [
        Route("/api/scenes", api.scenes, methods=["GET"]),
        Route("/api/show", show_errors(api.show), methods=["POST"]),
        Route("/api/ask", show_errors(api.ask), methods=["POST"]),
        Route("/api/progress", show_errors(api.progress), methods=["POST"]),
        Route("/viewer/{token}", show_errors(api.viewer), methods=["GET"]),
    ]
    if service.uploads_allowed:
        routes.append(Route("/api/uploads", show_errors(api.upload), methods=["POST"]))
    app = Starlette(routes=routes, middleware=[Middleware(SameOriginMiddleware, hosts=hosts)], lifespan=api.drop_idle)
    app.router.redirect_slashes = False
    return app


class _Api:
    def __init__(self, service: SceneService, model: str):
        self._service, self._model = service, model
        self._arriving = 0

    async def scenes(self, request: Request) -> Response:
        """GET /api/scenes: names of the scenes, kinds of replies, size limit of uploads in bytes, and the model."""
        service = self._service
        upload_bytes = service.limits.bytes if service.uploads_allowed else 0
        content = {"scenes": service.names, "show": list(KINDS), "max_upload_bytes": upload_bytes}
        return JSONResponse({**content, "model": self._model})

    async def show(self, request: Request) -> Response:
        """POST /api/show {"scene"}: the address of a viewer page of the scene."""
        name = (await read_fields(request, ["scene"]))["scene"]
        scene = await _finished(self._service.read(name))
        return JSONResponse({"page": f"viewer/{self._service.show(name, scene)}"})

    async def progress(self, request: Request) -> Response:
        """POST /api/progress {"reading"}: stage and numbers of frames of a reading; stage "" if none is under way.

        The name is that of a scan, or what an upload was sent with as ?reading=.
        """
        name = (await read_fields(request, ["reading"]))["reading"]
        return JSONResponse(asdict(self._service.progress(name) or Progress("")))

    async def ask(self, request: Request) -> Response:
        """POST /api/ask {"scene", "question", "show", "after", "point"}: answer, boxes, their item and viewer page."""
        fields = await read_fields(request, ["scene", "question"], ["show", "after", "point"])
        scene = await _finished(self._service.read(fields["scene"]))
        after = fields.get("after")
        reply = await _finished(
            self._service.ask(
                fields["scene"],
                fields["question"],
                fields.get("show"),
                scene,
                None if after is None else after.removeprefix("viewer/"),
                fields.get("point"),
            )
        )
        boxes = [_plain(box) for box in reply.boxes]
        content = {"answer": reply.text, "boxes": boxes, "item": finite(reply.item), "page": f"viewer/{reply.page}"}
        return JSONResponse(content)

    async def upload(self, request: Request) -> Response:
        """POST /api/uploads?name=kitchen.zip&reading=NAME with the zip file as body: the name of the new scene."""
        service = self._service
        if self._arriving >= MAX_ARRIVING:
            raise BusyError("too many uploads at a time: try again in a minute")
        self._arriving += 1
        archive = service.folder / f"arriving-{secrets.token_hex(8)}"
        try:
            await read_file(request, archive, service.limits.bytes)
        finally:
            self._arriving -= 1
        query = request.query_params
        name = await _finished(service.upload(archive, query.get("name", ""), query.get("reading", "")))
        return JSONResponse({"scene": name})

    async def viewer(self, request: Request) -> Response:
        """GET /viewer/{token}: a viewer page."""
        page = self._service.page(request.path_params["token"])
        if page is None:
            return PlainTextResponse("This view has expired: ask again.", status_code=404)
        return HTMLResponse(await _finished(page), headers=_VIEWER_HEADERS)

    @contextlib.asynccontextmanager
    async def drop_idle(self, app: Any) -> AsyncIterator[None]:
        """Drop idle uploads every minute while the application runs (ASGI lifespan)."""

        async def repeat() -> None:
            while True:
                await asyncio.sleep(_DROP_EVERY_S)
                self._service.drop_idle()

        task = asyncio.create_task(repeat())
        yield
        task.cancel()


async def _finished(future: Future[Any]) -> Any:
    """Wait for a future. A client that disconnects does not cancel it: others may wait for the same work."""
    return await asyncio.shield(asyncio.wrap_future(future))


def _asset(name: str, media_type: str) -> Any:
    content = resources.files("video3d_plugin.serve").joinpath("assets", name).read_bytes()

    async def send_asset(request: Request) -> Response:
        return Response(content, media_type=media_type)

    return send_asset


def _plain(box: FoundBox) -> dict[str, Any]:
    return {
        "box": [round(v, 3) for v in box.box],
        "score": round(box.score, 4),
        "confidence": round(box.confidence, 4),
    }
