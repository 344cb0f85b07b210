"""Adds scenes and weights to the keys of lmms-eval's `--use_cache`, and keeps the answers of interrupted runs.

lmms-eval keys an answer by task, document, prompt, generation options and the *text* of --model_args, so the same
command on a changed data folder or a retrained checkpoint would get old answers. For tasks of this package a digest of
their data and, with `--model video3d`, of the checkpoint joins the key. lmms-eval stores answers when the model has
given all of them; those of `--model video3d` are stored as they come, and a later run uses those of an interrupted one.
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
        from video3d_plugin.hosts.lmms_eval import cache_fingerprint

        seen = cache_fingerprint.of_run(model, task_dict or {})
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
    """Merge the answers that interrupted runs have stored; lmms-eval merges finished runs only.

    One of them may still be running. Entries never change once written, so reading them is safe, and they are merged
    again when the run finishes. Answers that cannot be read or merged are a warning; their questions are asked again.
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
    except sqlite3.Error as error:  # damaged pages that the checks above did not read
        log.warning("%s: answers of interrupted runs are not adopted: %s", runs, error)
    except TimeoutError:
        log.warning("%s is held: answers of interrupted runs are not adopted (delete it if no run is merging)", lock)


def _check_merged(path: str) -> None:
    """Raise DataError for a cache.db at which lmms-eval would stop during the run, or which it would ignore."""
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
        raise DataError(f"not a cache of lmms-eval: {error}", where=path, remedy=_DELETE) from None


def _is_sound(shard: str) -> bool:
    """Return whether all of a shard can be read, and warn where not, as `merge_shards` would raise.

    A run that is killed at its start leaves a shard without tables; shards may also be damaged.
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
