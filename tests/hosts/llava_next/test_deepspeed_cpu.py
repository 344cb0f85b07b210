"""DeepSpeed on a CPU: what is compiled is said, a lock that was left is an error, not a wait without an end."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from video3d_plugin.cli.doctor import training
from video3d_plugin.errors import DataError
from video3d_plugin.hosts.llava_next import deepspeed_cpu
from video3d_plugin.hosts.llava_next.deepspeed_cpu import OPERATOR, check_start, stale_locks

WORDS = ["--model", "video3d", "--deepspeed", "zero2.json"]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder of the operator in an empty cache of torch; DeepSpeed is installed, on a CPU."""
    folder = tmp_path / "py311_cpu" / OPERATOR
    folder.mkdir(parents=True)
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    info = SimpleNamespace(installed_ops={OPERATOR: False})
    fake = SimpleNamespace(ops=SimpleNamespace(__compatible_ops__={OPERATOR: True}), git_version_info=info)
    monkeypatch.setitem(sys.modules, "deepspeed", fake)
    monkeypatch.setitem(sys.modules, "deepspeed.git_version_info", info)
    monkeypatch.setattr(deepspeed_cpu, "find_spec", lambda name: True)
    monkeypatch.setattr(deepspeed_cpu, "installed_version", lambda name: "1.15.0")
    return folder


def test_what_takes_minutes_is_said_once_and_not_when_it_is_there(cache, capsys, monkeypatch):
    check_start(WORDS)
    assert "compiles its operator deepspeed_shm_comm for the CPU, which takes minutes" in capsys.readouterr().err
    monkeypatch.setenv("LOCAL_RANK", "1")
    check_start(WORDS)
    monkeypatch.setenv("LOCAL_RANK", "0")
    sys.modules["deepspeed"].ops.__compatible_ops__[OPERATOR] = False
    check_start(WORDS)
    sys.modules["deepspeed"].ops.__compatible_ops__[OPERATOR] = True
    (cache / f"{OPERATOR}.so").write_bytes(b"")
    check_start(["--deepspeed=zero2.json"])
    assert capsys.readouterr().err == ""


def test_a_lock_that_a_process_holds_is_waited_for_and_one_that_was_left_is_an_error(cache, tmp_path):
    lock = cache / "lock"
    with open(lock, "w"):
        assert stale_locks() == []
        check_start(WORDS)
    assert stale_locks() == [lock]
    with pytest.raises(DataError, match=r"lock: the lock of a start that was killed.*delete it"):
        check_start(WORDS)
    lock.rename(tmp_path / OPERATOR)  # as with TORCH_EXTENSIONS_DIR
    assert stale_locks() == []
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "lock").touch()
    assert stale_locks() == [tmp_path / "other" / "lock"]


def test_where_open_files_cannot_be_seen_the_age_decides(cache, monkeypatch):
    import os

    lock = cache / "lock"
    lock.touch()
    monkeypatch.setattr(
        deepspeed_cpu, "Path", lambda name: cache / "no proc" if name == "/proc" else cache.parent.parent
    )
    assert stale_locks() == []
    os.utime(lock, (0, 0))
    assert stale_locks() == [lock]


def test_accelerate_before_1_is_refused_with_deepspeed_on_a_cpu_alone(cache, monkeypatch):
    monkeypatch.setattr(deepspeed_cpu, "installed_version", lambda name: "0.34.2")
    with pytest.raises(DataError, match="accelerate 0.34.2 does not run DeepSpeed on a CPU"):
        check_start(WORDS)
    check_start(["--model", "video3d"])
    monkeypatch.delenv("DS_ACCELERATOR")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    check_start(WORDS)


def test_doctor_names_the_lock(cache, monkeypatch):
    (cache / "lock").touch()
    monkeypatch.setattr(training, "find_spec", lambda name: True)
    (check,) = training.lock_checks()
    assert check.status == "problem" and str(cache / "lock") in check.found and check.remedy == "delete it"
    (cache / "lock").unlink()
    assert list(training.lock_checks()) == []
