"""The scenes of the server: scans of the command line and uploads, read in worker processes and held in memory."""

from __future__ import annotations

import itertools
import logging
import secrets
import sys
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from video3d_plugin.data.remarks import remarks
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.scene import SceneInputs
from video3d_plugin.serve import reading
from video3d_plugin.serve.limits import BoundedExecutor, Limits
from video3d_plugin.serve.progress import Progress, ProgressBoard
from video3d_plugin.serve.reading import ModelView, SceneSource
from video3d_plugin.serve.worker import WorkerPool
from video3d_plugin.view import SceneView

MAX_SCANS = 8  # scans of the command line held in memory; others are read again when they are chosen
RETRY_S = 60  # seconds after which a scan that could not be read is tried again
_READERS = 2  # scans, and as many uploads, that are read at a time
_log = logging.getLogger("video3d.serve")


@dataclass(frozen=True)
class LoadedScene:
    """A scene in memory: the model's inputs, and what the viewer shows."""

    inputs: SceneInputs
    view: SceneView


@dataclass
class _Upload:
    scene: LoadedScene
    last_used: float


class SceneStore:
    """Reads scenes in worker processes and holds them in memory.

    Scans of the command line and uploads have readers of their own, so that neither waits for the other. The methods
    that return a Future never block.

    Args:
        sources: Scans of the command line by name; each is read when it is first chosen.
        model_view: Returns how the model sees scenes; called when a scene is read.
        limits: Bounds on uploads and on work.
        on_drop: Called with the name of an upload that is dropped.
    """

    def __init__(
        self,
        sources: Mapping[str, SceneSource],
        model_view: Callable[[], ModelView],
        limits: Limits,
        on_drop: Callable[[str], None],
    ):
        self.limits = limits
        self.workers = WorkerPool(limits.read_s, limits.read_bytes)
        self._sources, self._model_view, self._on_drop = dict(sources), model_view, on_drop
        self._scans: OrderedDict[str, Future[LoadedScene]] = OrderedDict()
        self._retry_at: dict[str, float] = {}
        self._remarked: set[str] = set()
        self._board = ProgressBoard()
        self._uploads: OrderedDict[str, _Upload] = OrderedDict()
        self._count = itertools.count(1)
        self._lock = threading.Lock()
        self._folder = tempfile.TemporaryDirectory(prefix="video3d-serve-")
        self._scan_readers = BoundedExecutor(_READERS, limits.waiting, "scans that wait to be read")
        self._upload_readers = BoundedExecutor(_READERS, limits.waiting, "uploads that wait to be read")

    def close(self) -> None:
        """End the workers and delete the uploaded files."""
        self.workers.close()
        self._scan_readers.close()
        self._upload_readers.close()
        self._folder.cleanup()

    @property
    def names(self) -> list[str]:
        """Names of the scans of the command line."""
        return list(self._sources)

    @property
    def folder(self) -> Path:
        """The temporary folder for archives that arrive."""
        return Path(self._folder.name)

    def check_model_view(self) -> None:
        """Load in a worker what reading a scene needs besides its files, such as a detector.

        Raises:
            DataError: It cannot be used, or needs too much memory or time.
            MissingError: A file of it does not exist.
        """
        self.workers.run(reading.prepare, self._model_view())

    def load(self, name: str) -> Future[LoadedScene]:
        """Return a scene, reading it if it is not in memory. Requests for the same scene share one reading.

        Args:
            name: Name of a scan of the command line, or of an upload.

        Raises:
            MissingError: There is no such scan, or the upload was dropped.
            DataError: The scan cannot be read (from the Future).
            BusyError: Too many scans are waiting to be read.
        """
        with self._lock:
            if name in self._uploads:
                self._uploads[name].last_used = time.monotonic()
                self._uploads.move_to_end(name)
                return _completed(self._uploads[name].scene)
            if name not in self._sources:
                raise MissingError(f"no scene {name!r:.80}", remedy="choose one of the list, or upload it again")
            scan = self._scans.get(name)
            if scan is None or self._retry_at.get(name, float("inf")) < time.monotonic():
                self._retry_at.pop(name, None)
                scan = self._scan_readers.submit(self._read_scan, name)
                self._scans[name] = scan
            self._scans.move_to_end(name)
            completed = [other for other, future in self._scans.items() if future.done()]
            for other in completed[: max(len(self._scans) - MAX_SCANS, 0)]:
                del self._scans[other]
            return scan

    def progress(self, name: str) -> Progress | None:
        """Return how far a reading has come; None if it has not begun, or has ended.

        Args:
            name: Name of a scan of the command line, or `progress_name` of an upload.
        """
        return self._board.get(name, upload=name not in self._sources)

    def upload(self, archive: Path, filename: str, progress_name: str = "") -> Future[str]:
        """Unpack, check and read a zipped recording.

        The archive and the unpacked files are deleted once the scene is in memory, or cannot be used.

        Args:
            archive: The zip file. It is deleted in any case.
            filename: The file's name on its owner's machine.
            progress_name: The owner's name of the reading, for `progress`; "" for none.

        Returns:
            A Future of the scene's name, which cannot be guessed.

        Raises:
            DataError: The archive is too large, or cannot be used (from the Future).
            BusyError: Too many uploads are waiting to be read.
        """
        try:
            size = archive.stat().st_size
            if size > self.limits.bytes:
                what = f"{size / 1e6:.0f} MB, more than {self.limits.bytes / 1e6:.0f}"
                raise DataError(what, where=_file_name(filename), remedy="zip fewer frames")
            return self._upload_readers.submit(self._read_upload, archive, filename, progress_name)
        except BaseException:
            reading.remove(archive)
            raise

    def drop_idle(self) -> None:
        """Drop uploads without a request in the last `limits.idle_s` seconds."""
        now = time.monotonic()
        with self._lock:
            for name in [n for n, upload in self._uploads.items() if now - upload.last_used > self.limits.idle_s]:
                self._drop(name)

    def _drop(self, name: str) -> None:
        del self._uploads[name]
        self._on_drop(name)

    def _read_scan(self, name: str) -> LoadedScene:
        source = self._sources[name]
        try:
            note = self._board.writer(name, upload=False)
            loaded = self._in_worker(reading.read_scan, source, roots=(source.path,), on_report=note)
        except BaseException:
            self._retry_at[name] = time.monotonic() + RETRY_S
            raise
        finally:
            self._board.remove(name, upload=False)
        if name not in self._remarked:  # a scan may be dropped from memory and read again
            self._remarked.add(name)
            for line in remarks(loaded.view.scene):  # of uploads, only their owners' pages tell
                print(line, file=sys.stderr, flush=True)
        return loaded

    def _read_upload(self, archive: Path, filename: str, progress_name: str) -> str:
        stem = "".join(c for c in Path(_file_name(filename)).stem if c.isalnum() or c in "-_")[:40] or "scan"
        folder = self.folder / f"upload-{next(self._count)}"
        renamed = folder / f"{stem}.zip"  # so that error messages use the owner's name of the file
        try:
            folder.mkdir()
            archive.rename(renamed)
            unpacked = folder / "unpacked"
            unpacked.mkdir()
            args, note = (renamed, unpacked, stem, self.limits), self._board.writer(progress_name, upload=True)
            scene = self._in_worker(reading.read_upload, *args, roots=(unpacked, folder), on_report=note)
        finally:
            self._board.remove(progress_name, upload=True)
            reading.remove(archive)
            reading.remove(folder)
        name = f"{stem}-{secrets.token_urlsafe(16)}"
        with self._lock:
            self._uploads[name] = _Upload(scene, time.monotonic())
            while len(self._uploads) > self.limits.uploads:
                self._drop(next(iter(self._uploads)))
        return name

    def _in_worker(
        self, function: Callable[..., Any], *args: Any, roots: tuple[Path, ...], on_report: Callable[[Any], None]
    ) -> LoadedScene:
        """Run a reader in a worker; its errors come back without the paths of `roots`."""
        try:
            scene = self.workers.run(function, *args, self._model_view(), on_report=on_report)
        except (DataError, MissingError) as error:
            what = reading.without_paths(error.what, roots)
            remedy = None if error.remedy is None else reading.without_paths(error.remedy, roots)
            raise type(error)(what, where=error.where, remedy=remedy) from None
        except RuntimeError as error:
            _log.error("%s", error)
            raise DataError("the recording cannot be read", remedy="the server's log says why") from None
        return LoadedScene(reading.inputs_of(scene), scene.view)


def _completed(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future


def _file_name(value: str) -> str:
    return Path(value.replace("\\", "/")).name[:100] or "scan.zip"
