"""The server's operations, independent of HTTP: reading scenes, answering questions, rendering viewer pages."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video3d_plugin import view
from video3d_plugin.errors import DataError
from video3d_plugin.grounding_result import FoundBox
from video3d_plugin.questions import DESCRIBE_HERE, about_point
from video3d_plugin.serve import reading
from video3d_plugin.serve.limits import BoundedExecutor, Limits
from video3d_plugin.serve.progress import Progress
from video3d_plugin.serve.reading import ModelView, SceneSource
from video3d_plugin.serve.scenes import LoadedScene, SceneStore

if TYPE_CHECKING:
    from video3d_plugin.pipeline import Video3D

ANSWER, BOXES, BOTH = "answer", "boxes", "answer and boxes"
KINDS = (BOTH, ANSWER, BOXES)
MAX_QUESTION = 1000  # letters
MAX_NEW_TOKENS = 64
MAX_ITEMS = 100  # questions that a viewer page lists
MAX_PAGES = 256  # viewer pages held in memory
MAX_READING_NAME = 64  # letters
MAX_BOXES = 10  # boxes of a reply


@dataclass(frozen=True)
class Reply:
    """The reply to a question.

    Attributes:
        text: The answer; "" where only boxes were requested.
        boxes: The highest-scoring boxes, best first; empty where only an answer was requested.
        item: The question with its answer, for the script of a viewer page of the scene that is open already.
        page: Token of the viewer page of this and earlier questions (`SceneService.page`).
    """

    text: str
    boxes: tuple[FoundBox, ...]
    item: dict[str, Any]
    page: str


@dataclass(frozen=True)
class _Asked:
    scene_name: str
    text: str
    kind: str
    point: tuple[float, float, float] | None


@dataclass(frozen=True)
class _Page:
    scene_name: str
    scene: LoadedScene
    items: tuple[dict[str, Any], ...]


class SceneService:
    """Answers questions about scenes for several users at once.

    Scenes are read in worker processes with bounds on time and memory (`SceneStore`), questions are answered one at a
    time, and pages are rendered in threads of their own, so that none of these waits for another. The methods that
    return a Future never block.

    Args:
        model: Answers the questions.
        scenes: Scans by name; each is read when it is first chosen.
        uploads: Whether uploads are accepted.
        limits: Bounds on uploads and on work.
    """

    def __init__(
        self,
        model: Video3D,
        scenes: Mapping[str, SceneSource],
        *,
        uploads: bool = True,
        limits: Limits | None = None,
    ):
        self.model, self.limits, self.uploads_allowed = model, limits or Limits(), uploads
        self.scenes = SceneStore(scenes, self._model_view, self.limits, self._drop_pages)
        self._pages: OrderedDict[str, _Page] = OrderedDict()
        self._lock = threading.Lock()  # SceneStore holds its own lock when it calls _drop_pages: never the reverse
        self._answering = BoundedExecutor(1, self.limits.waiting, "questions that wait")
        self._rendering = BoundedExecutor(2, self.limits.waiting, "views that wait")

    def close(self) -> None:
        """End the workers and delete the uploaded files. Running threads are not waited for."""
        self._answering.close()
        self._rendering.close()
        self.scenes.close()

    @property
    def names(self) -> list[str]:
        """Names of the scenes that every user may choose: scans of the command line, no uploads."""
        return self.scenes.names

    @property
    def folder(self) -> Path:
        """The temporary folder for archives that arrive."""
        return self.scenes.folder

    def read(self, name: str) -> Future[LoadedScene]:
        """Return a scene, reading it if it is not in memory.

        Args:
            name: One of `names`, or the name that `upload` returned.

        Raises:
            MissingError: There is no such scene, or the upload was dropped.
            DataError: The name is not text, or the scene cannot be read (the latter from the Future).
            BusyError: Too many scans are waiting to be read.
        """
        return self.scenes.load(_checked_text(name, "the scene's name"))

    def progress(self, name: str) -> Progress | None:
        """Return how far a reading has come, as `SceneStore.progress` does.

        Raises:
            DataError: The name is not text.
        """
        return self.scenes.progress(_checked_text(name, "the reading's name"))

    def upload(self, archive: Path, filename: str, progress_name: str = "") -> Future[str]:
        """Read a zipped recording as `SceneStore.upload` does, if uploads are allowed.

        Raises:
            DataError: Uploads are turned off, the reading's name is too long, or the archive cannot be used (the last
                from the Future).
            BusyError: Too many uploads are waiting to be read.
        """
        if not self.uploads_allowed:
            reading.remove(archive)
            raise DataError("uploads are turned off here", remedy="start video3d serve without --no-upload")
        if len(progress_name) > MAX_READING_NAME:
            reading.remove(archive)
            raise DataError("the reading's name is too long", remedy=f"send at most {MAX_READING_NAME} letters")
        return self.scenes.upload(archive, filename, progress_name)

    def ask(
        self,
        name: str,
        text: str,
        kind: str | None,
        scene: LoadedScene,
        after: str | None = None,
        point: str | None = None,
    ) -> Future[Reply]:
        """Answer a question about a scene.

        Args:
            name: The scene's name.
            text: The question, or a description of the object to locate. With a point it may be empty: the object there
                is described.
            kind: What to return, one of KINDS; None for an answer about a point, and for both without one.
            scene: The result of `read`.
            after: Token of the page of an earlier question about the same scene; the new page lists its questions too.
            point: "x y z" of the place that the question is about, world frame, metres.

        Raises:
            DataError: An argument is not valid; or, from the Future, the model has no grounding head, or the point lies
                outside of the scan.
            BusyError: Too many questions are waiting.
        """
        place = None if point is None else _checked_point(point)
        kind = _checked_kind(kind, about_point=place is not None)
        text = _checked_question(text, may_be_empty=place is not None)
        earlier = self._pages.get(_checked_text(after, "the earlier page")) if after is not None else None
        items = earlier.items if earlier is not None and earlier.scene_name == name else ()
        return self._answering.submit(self._answer, _Asked(name, text, kind, place), scene, items)

    def show(self, name: str, scene: LoadedScene) -> str:
        """Make a viewer page of a scene without a question, and return its token."""
        return self._add_page(_Page(name, scene, ()))

    def page(self, token: str) -> Future[str] | None:
        """Render a viewer page as HTML. None for a token that is unknown or too old."""
        page = self._pages.get(token)
        return None if page is None else self._rendering.submit(_render, page)

    def drop_idle(self) -> None:
        """Drop uploads without a request in the last `limits.idle_s` seconds, and their pages."""
        self.scenes.drop_idle()

    def _answer(self, asked: _Asked, scene: LoadedScene, items: tuple[dict[str, Any], ...]) -> Reply:
        answer, item = "", {}
        boxes: tuple[FoundBox, ...] = ()
        if asked.kind != BOXES:
            answer = self._text(asked, scene)
            item = view.item_of_answer(asked.text or DESCRIBE_HERE, answer, asked.point, len(items))
        if asked.kind != ANSWER:
            if self.model.model.config.head is None:
                raise DataError("this model has no grounding head", remedy="ask for an answer, or serve another model")
            grounding = self.model.ground(scene.inputs, asked.text)
            boxes, item = grounding[:MAX_BOXES], view.item_of_grounding(grounding, len(items))
        if asked.kind == BOTH:
            item["answer"] = answer
        token = self._add_page(_Page(asked.scene_name, scene, (item, *items)[:MAX_ITEMS]))
        return Reply(answer, boxes, view.item_for_page(item, scene.view.scene), token)

    def _text(self, asked: _Asked, scene: LoadedScene) -> str:
        if asked.point is None:
            return self.model.answer(scene.inputs, asked.text, max_new_tokens=MAX_NEW_TOKENS)
        if not asked.text:
            return self.model.caption(scene.inputs, asked.point, max_new_tokens=MAX_NEW_TOKENS)
        question = about_point(asked.text)
        return self.model.answer(scene.inputs, question, points=[asked.point], max_new_tokens=MAX_NEW_TOKENS)

    def _add_page(self, page: _Page) -> str:
        token = secrets.token_urlsafe(16)
        with self._lock:
            self._pages[token] = page
            while len(self._pages) > MAX_PAGES:
                self._pages.popitem(last=False)
        return token

    def _drop_pages(self, scene_name: str) -> None:
        with self._lock:
            for token in [token for token, page in self._pages.items() if page.scene_name == scene_name]:
                del self._pages[token]

    def _model_view(self) -> ModelView:
        model = self.model
        return ModelView(
            model.spec, model.sampler, model.max_frames, model.model.config.head is not None, model.proposals
        )


def _render(page: _Page) -> str:
    return view.page(page.scene.view, page.items, asks=True)


def _checked_point(value: Any) -> tuple[float, float, float]:
    """Return the numbers of "x y z"; whether they lie inside of the scan is checked when the question is answered."""
    words = _checked_text(value, "the point").split()
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or not all(map(isfinite, numbers)):
        raise DataError(f"the point is {value!r:.60}", remedy="three finite numbers in metres, such as 1.2 -0.4 0.5")
    return numbers[0], numbers[1], numbers[2]


def _checked_kind(value: Any, about_point: bool) -> str:
    if value is None:
        return ANSWER if about_point else BOTH
    if _checked_text(value, "what to show") not in KINDS:
        raise DataError(f"{value!r:.40} is not a kind of reply", remedy=f"one of {', '.join(KINDS)}")
    if about_point and value != ANSWER:
        raise DataError("a question about a point has no boxes", remedy="ask for an answer, or remove the point")
    return value


def _checked_question(value: Any, may_be_empty: bool) -> str:
    text = _checked_text(value, "the question").strip()
    if not text and not may_be_empty:
        raise DataError("the question is empty", remedy="write what to ask or to find")
    if len(text) > MAX_QUESTION:
        raise DataError(f"the question has {len(text)} letters", remedy=f"write at most {MAX_QUESTION}")
    if "<" in text:  # `<image>`, `<coord>`: special tokens of the prompt
        raise DataError("the question contains <", remedy="write it without")
    return text


def _checked_text(value: Any, what: str) -> str:
    """Return the value if it is a string that can be encoded as UTF-8: a request may hold anything."""
    if not isinstance(value, str):
        raise DataError(f"{what} is not text", remedy="send a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DataError(f"{what} holds half a character", remedy="write it again") from None
    return value
