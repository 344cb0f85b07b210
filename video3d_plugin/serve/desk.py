"""What the web demo does, without the web: scenes by name, uploads with bounds, questions, the viewer's page."""

from __future__ import annotations

import itertools
import secrets
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.found import FoundBox

if TYPE_CHECKING:
    from video3d_plugin.pipeline import Video3D
    from video3d_plugin.scene import Scene
    from video3d_plugin.view import SceneView

ANSWER, BOXES, BOTH = "answer", "boxes", "answer and boxes"
KINDS = (BOTH, ANSWER, BOXES)
MAX_QUESTION = 1000  # letters
MAX_NEW_TOKENS = 64
KEPT_PAGES = 16
KEPT_VIEWS = 4
BEST = 10  # boxes listed beside the page
_PAGE_FRAMES = 100


@dataclass(frozen=True)
class Limits:
    """What an upload may hold. `bytes` is the size of the zip file; unpacked it may have `unpacked_bytes`."""

    bytes: int = 500 << 20
    unpacked_bytes: int = 2 << 30
    files: int = 6000
    frames: int = 2000
    kept: int = 8  # uploads at a time; the oldest goes


@dataclass(frozen=True)
class Reply:
    """text: the answer ("" where none was asked for); boxes: best first; page: the name under which `pages` has it."""

    text: str
    boxes: tuple[FoundBox, ...]
    page: str


class Desk:
    """Scenes and a model. Safe to use from several threads: one question at a time, as the model is one.

    scenes    {name: function that loads it}; loaded when first chosen
    """

    def __init__(
        self,
        model: Video3D,
        scenes: Mapping[str, Callable[[], Scene]],
        *,
        uploads: bool = True,
        limits: Limits | None = None,
    ):
        self.model, self.limits, self.uploads_allowed = model, limits or Limits(), uploads
        self._loaders = dict(scenes)
        self._scenes: dict[str, Scene] = {}
        self._views: OrderedDict[str, SceneView] = OrderedDict()
        self._pages: OrderedDict[str, str] = OrderedDict()
        self._uploads: OrderedDict[str, Path] = OrderedDict()
        self._count = itertools.count(1)
        self._lock = threading.RLock()
        self._folder = tempfile.TemporaryDirectory(prefix="video3d-serve-")

    def close(self) -> None:
        """Remove what was uploaded."""
        self._folder.cleanup()

    @property
    def names(self) -> list[str]:
        """The scenes that everyone may choose: those of the command line, no uploads."""
        return list(self._loaders)

    def scene(self, name: str) -> Scene:
        with self._lock:
            if _text(name, "the scene's name") not in self._scenes:
                if name not in self._loaders:
                    raise MissingError(f"no scene {name!r:.80}", remedy="choose one of the list, or upload it again")
                self._scenes[name] = self._ready(self._loaders[name]())
            return self._scenes[name]

    def upload(self, archive: Path) -> str:
        """Unpack, check and keep a zipped recording; returns the name under which its owner can ask about it.

        The name cannot be guessed. DataError says what is wrong with the archive; nothing of it is kept then.
        """
        from video3d_plugin.data.readers import load_scene
        from video3d_plugin.data.readers.zipped import unpack

        if not self.uploads_allowed:
            raise DataError("uploads are turned off here", remedy="start video3d serve without --no-upload")
        if archive.stat().st_size > self.limits.bytes:
            what = f"{archive.stat().st_size / 1e6:.0f} MB, more than {self.limits.bytes / 1e6:.0f}"
            raise DataError(what, where=archive.name, remedy="zip fewer frames")
        stem = "".join(c for c in archive.stem if c.isalnum() or c in "-_")[:40] or "scan"
        name = f"{stem}-{secrets.token_urlsafe(9)}"
        folder = Path(self._folder.name) / f"upload-{next(self._count)}"
        try:
            recording = unpack(
                archive, folder / stem, max_bytes=self.limits.unpacked_bytes, max_files=self.limits.files
            )
            scene = load_scene(recording)
            if len(scene.frames) > self.limits.frames:
                what = f"{len(scene.frames)} frames, more than {self.limits.frames}"
                raise DataError(what, remedy="zip every second one, or fewer")
            scene = self._ready(scene)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        with self._lock:
            self._scenes[name] = scene
            self._uploads[name] = folder
            while len(self._uploads) > self.limits.kept:
                self._forget(next(iter(self._uploads)))
        return name

    def ask(self, name: str, text: str, kind: str = BOTH, items: list[dict[str, Any]] | None = None) -> Reply:
        """Answer `text` about a scene. `items` are the questions asked before: they are listed on the page, and the new
        ones are added to them."""
        from video3d_plugin.view import item_of_answer, item_of_grounding

        text, items = _text(text, "the question").strip(), [] if items is None else items
        if kind not in KINDS:
            raise DataError(f"{kind!r:.40} is nothing to ask for", remedy=f"one of {', '.join(KINDS)}")
        if not 0 < len(text) <= MAX_QUESTION:
            raise DataError(f"the question has {len(text)} letters", remedy=f"write 1 to {MAX_QUESTION}")
        if "<" in text:  # `<image>`, `<coord>`: words of the prompt's own language
            raise DataError("the question holds a <", remedy="write it without")
        with self._lock:
            scene, answer, boxes = self.scene(name), "", ()
            if kind != BOXES:
                answer = self.model.answer(scene, text, max_new_tokens=MAX_NEW_TOKENS)
                item = item_of_answer(text, answer, number=len(items))
            if kind != ANSWER:
                if self.model.model.config.head is None:
                    raise DataError("this model draws no boxes", remedy="ask for an answer, or serve one with a head")
                found = self.model.ground(scene, text)
                boxes, item = found[:BEST], item_of_grounding(found, len(items))
            if kind == BOTH:
                item["answer"] = answer
            items.insert(0, item)
            return Reply(answer, boxes, self._page(name, items))

    def show(self, name: str) -> str:
        """The page of a scene without a question; the name under which `page` has it."""
        with self._lock:
            return self._page(name, [])

    def page(self, token: str) -> str | None:
        """The viewer's HTML that `ask` or `show` made, or None for a name that is unknown or too old."""
        return self._pages.get(token)

    def _page(self, name: str, items: list[dict[str, Any]]) -> str:
        from video3d_plugin.view import page

        token = secrets.token_urlsafe(16)
        self._pages[token] = page(self._view(name), items)
        while len(self._pages) > KEPT_PAGES:
            self._pages.popitem(last=False)
        return token

    def _view(self, name: str) -> SceneView:
        from video3d_plugin.data.inputs import sample
        from video3d_plugin.view import gather

        scene, model = self.scene(name), self.model
        if name not in self._views:
            chosen = sample(scene, model.sampler, model.max_frames)
            self._views[name] = gather(scene, chosen, model.sampler, max_frames=_PAGE_FRAMES)
        self._views.move_to_end(name)
        while len(self._views) > KEPT_VIEWS:
            self._views.popitem(last=False)
        return self._views[name]

    def _ready(self, scene: Scene) -> Scene:
        """Without frames that do not decode, and with boxes to choose among: its own, or clusters of its surface."""
        from video3d_plugin.data.frames import without_broken_frames
        from video3d_plugin.data.proposals import with_proposals

        scene = without_broken_frames(scene, threads=4, progress=True)
        return with_proposals(scene) if self.model.model.config.head is not None else scene

    def _forget(self, name: str) -> None:
        shutil.rmtree(self._uploads.pop(name), ignore_errors=True)
        self._scenes.pop(name, None)
        self._views.pop(name, None)


def _text(value: Any, what: str) -> str:
    """The value, if it is text that can be written as UTF-8: over the web anything may come."""
    if not isinstance(value, str):
        raise DataError(f"{what} is not text", remedy="send a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DataError(f"{what} holds half a character", remedy="write it again") from None
    return value
