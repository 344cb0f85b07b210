"""The web page over a Desk: gradio for the controls, one route for the viewer, which a sandboxed frame shows.

The viewer's pages hold content of uploads, so the frame has an origin of its own: nothing in it can reach the rest.
Only requests that name a host this server was started for are answered, so a page of another site cannot ask through a
name of its own that points here; nor can it send a form or a file across, as its origin is not ours.
"""

from __future__ import annotations

import html
import os
from pathlib import Path
from typing import Any

from video3d_plugin.errors import DataError, MissingError, Video3DError
from video3d_plugin.found import FoundBox
from video3d_plugin.serve.desk import BOTH, KINDS, Desk

TITLE = "video3d"
_FRAME = '<iframe src="viewer/{page}" sandbox="allow-scripts" style="width:100%;height:90vh;border:0"></iframe>'
_COLUMNS = ["x", "y", "z", "width x", "width y", "height z", "score", "confidence"]
_CACHE_S = 3600  # uploads that gradio itself keeps are deleted after this long


def build(desk: Desk, hosts: list[str]) -> Any:
    """The application (FastAPI). `hosts` are the names and addresses under which it may be asked for; ["*"]: any."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
    try:
        import gradio
    except ModuleNotFoundError as error:
        if error.name != "gradio":  # it is there, and does not fit what else is installed
            raise
        raise MissingError("video3d serve needs gradio", remedy="pip install 'video3d-plugin[serve]'") from error
    from fastapi import FastAPI
    from fastapi.responses import HTMLResponse, PlainTextResponse
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Gate, uploads=desk.uploads_allowed)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)

    @app.get("/viewer/{token}")
    def viewer(token: str) -> Any:
        page = desk.page(token)
        if page is None:
            return PlainTextResponse("This view is gone: ask again.", status_code=404)
        headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}
        return HTMLResponse(page, headers=headers)

    return gradio.mount_gradio_app(
        app,
        _blocks(desk),
        path="/",
        max_file_size=desk.limits.bytes,
        show_error=False,
        footer_links=["api"],
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        run_history=False,
    )


class Gate:
    """ASGI middleware that answers 403 to pages of other sites, and to files where uploads are turned off: gradio takes
    files on a route of its own, before the desk is asked.

    A browser says with `Origin` whose page asks, with anything but a plain GET; programs leave it out. The viewer's
    frame is fetched with a plain GET and asks for nothing. A proxy that changes `Host` says what it was in
    `X-Forwarded-Host`, which a page of another site cannot set.
    """

    def __init__(self, app: Any, uploads: bool):
        self.app, self.uploads = app, uploads

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from starlette.responses import PlainTextResponse

        reason = self._refusal(scope) if scope["type"] in ("http", "websocket") else None
        answer = self.app if reason is None else PlainTextResponse(reason, status_code=403)
        await answer(scope, receive, send)

    def _refusal(self, scope: Any) -> str | None:
        headers = dict(scope["headers"])
        if b"origin" in headers:
            host = headers[b"origin"].partition(b"://")[2]
            if not host or host not in (headers.get(b"host"), headers.get(b"x-forwarded-host")):
                return "A page of another site may not ask here."
        if not self.uploads and scope["path"].rstrip("/").endswith("/upload"):
            return "Uploads are turned off here."
        return None


def _blocks(desk: Desk) -> Any:
    import gradio

    def choose(name: str) -> tuple[str, list]:
        return _frame(said(lambda: desk.show(name))), []

    def upload(path: str | None) -> tuple[Any, str, list]:
        name = said(lambda: desk.upload(Path(path or "")))
        return gradio.Dropdown(choices=[*desk.names, name], value=name), _frame(desk.show(name)), []

    def ask(name: str, text: str, kind: str, items: list) -> tuple[str, list, str, list]:
        reply = said(lambda: desk.ask(name, text, kind, items))
        return reply.text, _rows(reply.boxes), _frame(reply.page), items

    names = desk.names
    with gradio.Blocks(
        title=TITLE, fill_width=True, analytics_enabled=False, delete_cache=(_CACHE_S, _CACHE_S)
    ) as blocks:
        items = gradio.State([], time_to_live=_CACHE_S)
        with gradio.Row():
            with gradio.Column(scale=1, min_width=320):
                # an upload's name is in its owner's list only, so values outside of the list are taken
                scene = gradio.Dropdown(
                    names, value=names[0] if names else None, label="Scene", allow_custom_value=True
                )
                question = gradio.Textbox(label="Question, or what to find", placeholder="the chair next to the table")
                kind = gradio.Radio(list(KINDS), value=BOTH, label="Show")
                button = gradio.Button("Ask", variant="primary")
                answer = gradio.Textbox(label="Answer", interactive=False)
                boxes = gradio.Dataframe(headers=_COLUMNS, label="Boxes, best first (metres)", interactive=False)
                if desk.uploads_allowed:
                    limit = f"up to {desk.limits.bytes >> 20} MB"
                    archive = gradio.File(label=f"Your own scan: a zipped RGB-D folder, {limit}", file_types=[".zip"])
            with gradio.Column(scale=3):
                viewer = gradio.HTML(label="Scene")
        one_at_a_time: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "model"}
        asked = {"inputs": [scene, question, kind, items], "outputs": [answer, boxes, viewer, items]}
        button.click(ask, **asked, **one_at_a_time, api_name="ask")
        question.submit(ask, **asked, **one_at_a_time, api_visibility="private")
        scene.input(choose, [scene], [viewer, items], **one_at_a_time, api_name="choose")
        if desk.uploads_allowed:
            archive.upload(upload, [archive], [scene, viewer, items], **one_at_a_time, api_name="upload")
        if names:
            blocks.load(choose, [scene], [viewer, items], **one_at_a_time, api_visibility="private")
    return blocks


def said(work: Any) -> Any:
    """What `work` returns; an error that its user can mend is shown, without this machine's paths and as plain text."""
    import gradio

    try:
        return work()
    except Video3DError as error:
        raise gradio.Error(html.escape(_without_paths(error)), print_exception=False) from None


def _without_paths(error: Video3DError) -> str:
    if not isinstance(error, DataError | MissingError):
        return str(error)
    where = f"{Path(error.where).name}: " if error.where is not None else ""
    return f"{where}{error.what}" + (f" ({error.remedy})" if error.remedy else "")


def _frame(page: str) -> str:
    return _FRAME.format(page=page)


def _rows(boxes: tuple[FoundBox, ...]) -> list[list[float]]:
    return [[*(round(v, 3) for v in box.box), round(box.score, 4), round(box.confidence, 4)] for box in boxes]
