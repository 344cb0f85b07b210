"""What the web page does, without the web: scenes by name, uploads with bounds, questions, the viewer's pages."""

from __future__ import annotations

import itertools
import logging
import secrets
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video3d_plugin.errors import DataError, MissingError, Video3DError
from video3d_plugin.grounding_result import FoundBox
from video3d_plugin.serve.worker import WorkerPool

if TYPE_CHECKING:
    from video3d_plugin.pipeline import Video3D
    from video3d_plugin.scene import SceneInputs
    from video3d_plugin.serve.reading import ModelView, SceneSource
    from video3d_plugin.view import SceneView

ANSWER, BOXES, BOTH = "answer", "boxes", "answer and boxes"
KINDS = (BOTH, ANSWER, BOXES)
MAX_QUESTION = 1000  # letters
MAX_NEW_TOKENS = 64
MAX_ITEMS = 100  # questions that a page lists
KEPT_PAGES = 256
KEPT_SCENES = 8  # of the command line's; the others are read again when they are chosen
BEST = 10  # boxes listed beside the page
_RETRY_S = 60  # after a failed reading of a scan of the command line
_log = logging.getLogger("video3d.serve")


@dataclass(frozen=True)
class Limits:
    """What an upload may hold, and what the server does at a time.

    Args:
        bytes: Size of the zip file.
        unpacked_bytes: Size of its files together.
        files: Number of its files.
        frames: Number of frames.
        kept: Uploads in memory; the oldest goes.
        kept_s: Seconds after which an upload that nobody asks about is forgotten.
        read_s: Seconds that reading a scan may take.
        read_bytes: Memory that reading a scan may take.
        waiting: Requests that wait for the model, for a reader, or for a page; more are told to come back.
    """

    bytes: int = 500 << 20
    unpacked_bytes: int = 2 << 30
    files: int = 6000
    frames: int = 2000
    kept: int = 8
    kept_s: float = 3600
    read_s: float = 600
    read_bytes: int = 4 << 30
    waiting: int = 16


class BusyError(Video3DError):
    """Too many requests wait already."""


@dataclass(frozen=True)
class Reply:
    """An answered question.

    Args:
        text: The answer ("" where none was asked for).
        boxes: The best boxes, best first.
        page: The name under which `SceneService.page` has the view.
    """

    text: str
    boxes: tuple[FoundBox, ...]
    page: str


@dataclass(frozen=True)
class _Ready:
    inputs: SceneInputs
    view: SceneView


@dataclass(frozen=True)
class _Page:
    scene: str
    ready: _Ready
    items: tuple[dict[str, Any], ...]


@dataclass
class _Upload:
    ready: _Ready
    used: float


class SceneService:
    """Scenes and a model, for many users at once.

    Scans are read in worker processes with time and memory bounds, those of the command line and uploads by workers of
    their own; questions are answered one at a time; pages are rendered beside them. None of these waits for another.
    The methods that return a Future never block.

    Args:
        model: What answers.
        scenes: {name: where it lies}; read when first chosen.
        uploads: Whether uploads are taken.
        limits: Bounds of uploads and of work.
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
        self._sources = dict(scenes)
        self._readings: OrderedDict[str, Future[_Ready]] = OrderedDict()
        self._failed: dict[str, float] = {}
        self._uploads: OrderedDict[str, _Upload] = OrderedDict()
        self._pages: OrderedDict[str, _Page] = OrderedDict()
        self._count = itertools.count(1)
        self._lock = threading.Lock()
        self._folder = tempfile.TemporaryDirectory(prefix="video3d-serve-")
        self._workers = WorkerPool(self.limits.read_s, self.limits.read_bytes)
        waiting = self.limits.waiting
        self._scan_readers = BoundedExecutor(2, waiting, "scans that wait to be read")
        self._upload_readers = BoundedExecutor(2, waiting, "uploads that wait to be read")
        self._answering = BoundedExecutor(1, waiting, "questions that wait")
        self._rendering = BoundedExecutor(2, waiting, "views that wait")

    def close(self) -> None:
        """End the workers and remove what was uploaded. Threads that still compute are not waited for."""
        self._workers.close()
        for executor in (self._scan_readers, self._upload_readers, self._answering, self._rendering):
            executor.close()
        self._folder.cleanup()

    @property
    def names(self) -> list[str]:
        """The scenes that everyone may choose: those of the command line, no uploads."""
        return list(self._sources)

    @property
    def folder(self) -> Path:
        """Where archives are put while they arrive."""
        return Path(self._folder.name)

    def read(self, name: str) -> Future[_Ready]:
        """The scene, read if it is not kept; users who ask for the same scene wait for one reading.

        Raises:
            MissingError: There is no such scene, or no such upload any more.
            DataError: The name is not text, or reading failed less than a minute ago (from the Future).
            BusyError: Too many scans wait to be read.
        """
        name = _text(name, "the scene's name")
        with self._lock:
            if name in self._uploads:
                self._uploads[name].used = time.monotonic()
                self._uploads.move_to_end(name)
                return _done(self._uploads[name].ready)
            if name not in self._sources:
                raise MissingError(f"no scene {name!r:.80}", remedy="choose one of the list, or upload it again")
            reading = self._readings.get(name)
            if reading is None or self._failed.get(name, float("inf")) < time.monotonic():
                self._failed.pop(name, None)
                reading = self._scan_readers.submit(self._read_scan, name)
                self._readings[name] = reading
            self._readings.move_to_end(name)
            for old in [n for n, r in self._readings.items() if r.done()][: max(len(self._readings) - KEPT_SCENES, 0)]:
                del self._readings[old]
            return reading

    def upload(self, archive: Path, filename: str) -> Future[str]:
        """Unpack, check and read a zipped recording.

        The archive and what was unpacked are deleted as soon as the scene is read, or turns out to be unusable.

        Args:
            archive: The file; it is deleted in any case.
            filename: What its owner calls it.

        Returns:
            The name under which its owner can ask about it; it cannot be guessed.

        Raises:
            DataError: What is wrong with the archive (from the Future), or uploads are turned off.
            BusyError: Too many uploads wait.
        """
        from video3d_plugin.serve.reading import remove

        try:
            if not self.uploads_allowed:
                raise DataError("uploads are turned off here", remedy="start video3d serve without --no-upload")
            size = archive.stat().st_size
            if size > self.limits.bytes:
                what = f"{size / 1e6:.0f} MB, more than {self.limits.bytes / 1e6:.0f}"
                raise DataError(what, where=_file_name(filename), remedy="zip fewer frames")
            return self._upload_readers.submit(self._read_upload, archive, filename)
        except BaseException:
            remove(archive)
            raise

    def ask(self, name: str, text: str, kind: str, ready: _Ready, after: str | None = None) -> Future[Reply]:
        """Answer a question about a scene.

        Args:
            name: The scene's name.
            text: The question, or the description of what to find.
            kind: One of KINDS.
            ready: What `read` returned for the scene.
            after: The page of an earlier question about the same scene: the new page lists its questions too.
        """
        text = _text(text, "the question").strip()
        if _text(kind, "what to show") not in KINDS:
            raise DataError(f"{kind!r:.40} is nothing to ask for", remedy=f"one of {', '.join(KINDS)}")
        if not 0 < len(text) <= MAX_QUESTION:
            raise DataError(f"the question has {len(text)} letters", remedy=f"write 1 to {MAX_QUESTION}")
        if "<" in text:  # `<image>`, `<coord>`: special tokens of the prompt
            raise DataError("the question holds a <", remedy="write it without")
        earlier = self._pages.get(_text(after, "the earlier page")) if after is not None else None
        items = earlier.items if earlier is not None and earlier.scene == name else ()
        return self._answering.submit(self._answer, name, text, kind, ready, items)

    def show(self, name: str, ready: _Ready) -> str:
        """The page of a scene without a question; the name under which `page` has it."""
        return self._keep_page(_Page(name, ready, ()))

    def page(self, token: str) -> Future[str] | None:
        """The viewer's HTML that `ask` or `show` made, or None for a name that is unknown or too old."""
        from video3d_plugin.view import page

        kept = self._pages.get(token)
        return None if kept is None else self._rendering.submit(page, kept.ready.view, kept.items)

    def forget_unused(self) -> None:
        """Forget uploads that nobody asked about for `limits.kept_s` seconds, and their pages."""
        now = time.monotonic()
        with self._lock:
            for name in [n for n, upload in self._uploads.items() if now - upload.used > self.limits.kept_s]:
                self._forget(name)

    def _answer(self, name: str, text: str, kind: str, ready: _Ready, items: tuple[dict[str, Any], ...]) -> Reply:
        from video3d_plugin.view import item_of_answer, item_of_grounding

        answer, boxes, item = "", (), {}
        if kind != BOXES:
            answer = self.model.answer(ready.inputs, text, max_new_tokens=MAX_NEW_TOKENS)
            item = item_of_answer(text, answer, number=len(items))
        if kind != ANSWER:
            if self.model.model.config.head is None:
                raise DataError("this model draws no boxes", remedy="ask for an answer, or serve one with a head")
            grounding = self.model.ground(ready.inputs, text)
            boxes, item = grounding[:BEST], item_of_grounding(grounding, len(items))
        if kind == BOTH:
            item["answer"] = answer
        return Reply(answer, boxes, self._keep_page(_Page(name, ready, (item, *items)[:MAX_ITEMS])))

    def _keep_page(self, page: _Page) -> str:
        token = secrets.token_urlsafe(16)
        with self._lock:
            self._pages[token] = page
            while len(self._pages) > KEPT_PAGES:
                self._pages.popitem(last=False)
        return token

    def _read_scan(self, name: str) -> _Ready:
        from video3d_plugin.serve.reading import read_scan

        try:
            return self._in_worker(read_scan, self._sources[name], roots=(self._sources[name].path,))
        except BaseException:
            self._failed[name] = time.monotonic() + _RETRY_S
            raise

    def _read_upload(self, archive: Path, filename: str) -> str:
        from video3d_plugin.serve.reading import read_upload, remove

        stem = "".join(c for c in Path(_file_name(filename)).stem if c.isalnum() or c in "-_")[:40] or "scan"
        folder = self.folder / f"upload-{next(self._count)}"
        named = folder / f"{stem}.zip"  # errors name the archive as its owner does
        try:
            folder.mkdir()
            archive.rename(named)
            unpacked = folder / "unpacked"
            unpacked.mkdir()
            ready = self._in_worker(read_upload, named, unpacked, stem, self.limits, roots=(unpacked, folder))
        finally:
            remove(archive)
            remove(folder)
        name = f"{stem}-{secrets.token_urlsafe(16)}"
        with self._lock:
            self._uploads[name] = _Upload(ready, time.monotonic())
            while len(self._uploads) > self.limits.kept:
                self._forget(next(iter(self._uploads)))
        return name

    def _in_worker(self, function: Callable[..., Any], *args: Any, roots: tuple[Path, ...]) -> _Ready:
        from video3d_plugin.serve.reading import inputs_of, without_paths

        try:
            read = self._workers.run(function, *args, self._model_view())
        except (DataError, MissingError) as error:
            what, remedy = (None if t is None else without_paths(t, roots) for t in (error.what, error.remedy))
            raise type(error)(what, where=error.where, remedy=remedy) from None
        except RuntimeError as error:
            _log.error("%s", error)
            raise DataError("the recording cannot be read", remedy="the server's log says why") from None
        return _Ready(inputs_of(read), read.view)

    def _model_view(self) -> ModelView:
        from video3d_plugin.serve.reading import ModelView

        model = self.model
        return ModelView(model.spec, model.sampler, model.max_frames, model.model.config.head is not None)

    def _forget(self, name: str) -> None:
        del self._uploads[name]
        for token in [token for token, page in self._pages.items() if page.scene == name]:
            del self._pages[token]


class BoundedExecutor:
    """A thread pool that refuses work when too much of it waits.

    Args:
        threads: Calls at a time.
        waiting: Calls that may wait besides.
        what: What waits, for the error.
    """

    def __init__(self, threads: int, waiting: int, what: str):
        self._executor = ThreadPoolExecutor(threads)
        self._free = threading.Semaphore(threads + waiting)
        self._what = what

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        if not self._free.acquire(blocking=False):
            raise BusyError(f"too many {self._what}: try again in a minute")
        try:
            future = self._executor.submit(function, *args)
        except RuntimeError:  # shut down
            self._free.release()
            raise BusyError("the server is stopping") from None
        future.add_done_callback(lambda _: self._free.release())
        return future

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)


def _done(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future


def _file_name(value: str) -> str:
    return Path(value.replace("\\", "/")).name[:100] or "scan.zip"


def _text(value: Any, what: str) -> str:
    """The value, if it is text that can be written as UTF-8: over the web anything may come."""
    if not isinstance(value, str):
        raise DataError(f"{what} is not text", remedy="send a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DataError(f"{what} holds half a character", remedy="write it again") from None
    return value
