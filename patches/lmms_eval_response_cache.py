"""`--use_cache`, made right for scenes: its keys know neither a task's scenes nor a model's weights.

lmms-eval keys an answer by task, document number, prompt, generation options and the *text* of --model_args. The same
command on a changed data folder or a retrained checkpoint would be served old answers. Where a run has tasks of this
package, what they are asked about (and, with `--model video3d`, the checkpoint) joins the key. And since lmms-eval
stores answers only when the model has given all of them, answers of `--model video3d` are stored as they come, and
what an interrupted run had stored is found by the next.
"""

from __future__ import annotations

import functools
import logging
import os
import sqlite3
from contextlib import closing
from glob import glob
from types import ModuleType

from video3d_plugin.patches.base import Patch, Replace

from video3d_plugin.errors import DataError

log = logging.getLogger(__name__)
_DELETE = "delete it: its questions are asked again"
_COLUMNS = {
    "responses": "cache_key, request_type, task_name, doc_id, idx, gen_kwargs, response, created_at",
    "meta": "key, value",
}


def changes(module: ModuleType) -> list[Replace]:
    return [
        Replace(module.ResponseCache, "create", classmethod(_create(module, module.ResponseCache.create.__func__))),
        Replace(module.ResponseCache, "execute", _execute(module, module.ResponseCache.execute)),
    ]


def _create(module: ModuleType, original):
    @functools.wraps(original)
    def create(cls, cache_root, *, model="", model_args="", task_dict=None, **others):
        from video3d_plugin.hosts import identity

        seen = identity.of_run(model, task_dict or {})
        if seen:
            model = model if isinstance(model, str) else type(model).__name__  # an object's repr is new every time
            model_args = _extended(model_args, seen)
            _adopt_interrupted_runs(module, cache_root)
        return original(cls, cache_root, model=model, model_args=model_args, task_dict=task_dict, **others)

    return create


def _extended(model_args: str | dict | None, seen: str) -> str | dict:
    if isinstance(model_args, dict):
        return {**model_args, "video3d_inputs": seen}
    return ",".join(filter(None, [model_args, f"video3d_inputs={seen}"]))


def _adopt_interrupted_runs(module: ModuleType, cache_root: str) -> None:
    """Merge what runs that never came to their end have stored; the host merges finished runs only.

    A run that is still going on may be among them: entries are never changed once written, so reading it is harmless,
    and it is merged again when it finishes. What cannot be read or merged is a warning: its questions are asked again.
    """
    root = os.path.dirname(os.path.abspath(cache_root)) if cache_root.endswith(".db") else os.path.abspath(cache_root)
    _check_merged(os.path.join(root, "cache.db"))
    runs = os.path.join(root, module._LAYERED_RUNS_DIRNAME)
    shards = [
        shard
        for shard in sorted(glob(os.path.join(runs, "*", "rank_*.db")))
        if not os.path.exists(os.path.join(os.path.dirname(shard), module._LAYERED_MERGED_MARKER)) and _is_sound(shard)
    ]
    if not shards:
        return
    lock = os.path.join(runs, module._LAYERED_LOCK_DIRNAME)
    try:
        with module._merge_lock(lock):
            module.ResponseCache.merge_shards(shards, os.path.join(root, "cache.db"))
    except sqlite3.Error as error:  # pages that the checks above did not meet
        log.warning("%s: answers of interrupted runs are not adopted: %s", runs, error)
    except TimeoutError:
        log.warning("%s is held: answers of interrupted runs are not adopted (delete it if no run is merging)", lock)


def _check_merged(path: str) -> None:
    """Refuse a cache.db that the host would stop at in the middle of the run, or silently not use."""
    if not os.path.lexists(path):
        return
    if not os.path.isfile(path):
        raise DataError("is no regular file", where=path, remedy=_DELETE)
    try:
        with closing(sqlite3.connect(path, timeout=30)) as db:
            for table, columns in _COLUMNS.items():
                db.execute(f"SELECT {columns} FROM {table} LIMIT 1").fetchall()
            for name in ("cache_key", "key"):
                table = "responses" if name == "cache_key" else "meta"
                unique = [row[1] for row in db.execute(f"PRAGMA table_info({table})") if row[5]]
                if unique != [name]:
                    raise sqlite3.DatabaseError(f"{table} has no primary key {name}")
    except sqlite3.Error as error:
        raise DataError(f"no cache of lmms-eval: {error}", where=path, remedy=_DELETE) from None


def _is_sound(shard: str) -> bool:
    """Whether all of it can be read, with a warning where not: `merge_shards` would raise, with cache.db left open.

    A run killed at its start leaves a shard without tables, as another rank's is for a moment; some are damaged.
    """
    try:
        with closing(sqlite3.connect(shard)) as db:
            for table, columns in _COLUMNS.items():
                db.execute(f"SELECT {columns} FROM {table}").fetchall()
    except sqlite3.Error as error:
        log.warning("%s: answers of an interrupted run are not adopted: %s", shard, error)
        return False
    return True


def _execute(module: ModuleType, original):
    @functools.wraps(original)
    def execute(self, lm, reqtype, requests):
        if not hasattr(lm, "when_answered"):
            return original(self, lm, reqtype, requests)

        def store(request, response) -> None:
            options = module.extract_gen_kwargs(request)
            if not (module.is_deterministic(reqtype, options) and self._is_valid_response(response, reqtype)):
                return
            key = module.compute_cache_key(
                request_type=reqtype,
                task_name=request.task_name,
                doc_id=request.doc_id,
                gen_kwargs=options,
                idx=request.idx,
                content_hash=module._extract_content_hash(request),
                task_fingerprint=self._task_fingerprints.get(request.task_name, ""),
                model_fingerprint_hash=self._model_fingerprint_hash,
                eval_version=self._eval_version,
            )
            self._store(key, reqtype, request.task_name, request.doc_id, request.idx, options, response)

        lm.when_answered = store
        try:
            return original(self, lm, reqtype, requests)
        finally:
            lm.when_answered = None

    return execute


PATCH = Patch(
    name="lmms_eval_response_cache",
    target="lmms_eval.caching.response_cache",
    why="--use_cache knows the scenes and the checkpoint, and keeps the answers of an interrupted run",
    known={
        "ResponseCache.create": {"78a8955c49784da9": "lmms-eval 0.7.3"},
        "ResponseCache.execute": {"f8f26412d40c91e8": "lmms-eval 0.7.3"},
        "ResponseCache._store": {"b5f34da5e52f5689": "lmms-eval 0.7.3"},
        "ResponseCache.merge_shards": {"a72523805e062669": "lmms-eval 0.7.3"},
        "compute_cache_key": {"127f420f7575f3b0": "lmms-eval 0.7.3"},
    },
    changes=changes,
)
