"""File locks as lmms-eval wants them, beside whichever filelock is installed and beside one that nobody knows yet."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from video3d_plugin.patches import lmms_eval_file_locks

from video3d_plugin.errors import MissingError

ROOT = Path(__file__).parent.parent.parent
NESTED = """
import sys
import filelock
from datasets.utils._filelock import FileLock
from lmms_eval import evaluator

evaluator._enable_reentrant_filelocks()
evaluator._enable_reentrant_filelocks()
for outer, inner in ((FileLock, FileLock), (FileLock, filelock.FileLock), (filelock.FileLock, FileLock)):
    path = sys.argv[1] + f"/{outer.__module__}-{inner.__module__}.lock"
    with outer(path), inner(path, timeout=1) as lock:
        assert lock.is_locked
    assert not lock.is_locked
assert filelock.FileLock(sys.argv[1] + "/one") is not filelock.FileLock(sys.argv[1] + "/two")
assert getattr(sys.modules.get("filelock._api"), "__spec__", True) is not None, "a stand-in was left behind"
print("nested")
"""


def test_locks_of_filelock_and_of_datasets_nest_after_the_host_s_own_function(tmp_path):
    pytest.importorskip("lmms_eval", reason="the patch's host, lmms-eval, is not installed")
    hook = "from video3d_plugin._startup import install; install()\n"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "VIDEO3D_HOOKS": "1"}
    command = [sys.executable, "-c", hook + NESTED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.stdout.strip().endswith("nested"), done.stderr[-3000:]


def host() -> SimpleNamespace:
    def _enable_reentrant_filelocks():
        import filelock._api as api

        return api

    return SimpleNamespace(_enable_reentrant_filelocks=_enable_reentrant_filelocks)


@pytest.fixture
def filelock(monkeypatch):
    """A filelock without `_api`, in place of the installed one."""
    module = ModuleType("filelock")
    module.__path__ = []
    module.__version__ = "9.0"
    for name in [name for name in sys.modules if name.split(".")[0] == "filelock"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "filelock", module)
    return module


def test_the_metaclass_is_shown_where_the_host_looks_for_it_and_nowhere_afterwards(filelock):
    class Meta(type):
        def __call__(cls, path, mode=-1):
            return super().__call__()

    Meta.__module__ = "filelock._somewhere"
    filelock.FileLock = Meta("FileLock", (), {})
    (change,) = lmms_eval_file_locks.changes(host())
    api = change.value()
    assert api.FileLockMeta is Meta and api._UNSET_FILE_MODE == -1
    assert "filelock._api" not in sys.modules


@pytest.mark.parametrize("locks", [{}, {"FileLock": type("FileLock", (), {})}], ids=["no FileLock", "no metaclass"])
def test_a_filelock_that_is_too_new_is_answered_with_the_version_to_install(filelock, locks):
    vars(filelock).update(locks)
    (change,) = lmms_eval_file_locks.changes(host())
    with pytest.raises(MissingError, match=r"filelock 9\.0 .*pip install 'filelock<5'"):
        change.value()
    assert "filelock._api" not in sys.modules


def test_a_filelock_that_still_has_the_module_is_left_alone(filelock, monkeypatch):
    assert lmms_eval_file_locks.not_needed(ModuleType("lmms_eval.evaluator")) is None
    found = SimpleNamespace(find_spec=lambda name, path=None, target=None: SimpleNamespace(name=name))
    monkeypatch.setattr(sys, "meta_path", [found])
    assert "this filelock" in lmms_eval_file_locks.not_needed(ModuleType("lmms_eval.evaluator"))
