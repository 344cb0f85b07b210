"""The start-up hook: light, lazy, harmless without its package, and polite to other finders."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.machinery import ModuleSpec

import pytest
from host_files import ROOT

from video3d_plugin import _startup

PTH = ROOT / "video3d_plugin_hooks.pth"


def python(code: str, **environment: str) -> subprocess.CompletedProcess:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("VIDEO3D_", "PYTHONPATH"))}
    return subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, env=clean | environment)


def run_pth_line() -> str:
    return PTH.read_text()


def test_the_hook_imports_nothing_but_itself():
    code = f"import os, sys; before = set(sys.modules)\n{run_pth_line()}\nprint(sorted(set(sys.modules) - before))"
    done = python(code, PYTHONPATH=str(ROOT))
    assert done.stdout.strip() == "['video3d_plugin', 'video3d_plugin._startup']", done.stderr


def test_the_hook_is_registered_once_however_often_it_runs():
    line = run_pth_line()
    count = "print(sum(type(f).__name__ == 'HostFinder' for f in sys.meta_path))"
    assert python(f"{line}\n{line}\nimport sys; {count}", PYTHONPATH=str(ROOT)).stdout.strip() == "1"


def test_the_hook_is_off_with_VIDEO3D_HOOKS_0():
    count = "import sys; print(sum(type(f).__name__ == 'HostFinder' for f in sys.meta_path))"
    assert python(f"{run_pth_line()}\n{count}", PYTHONPATH=str(ROOT), VIDEO3D_HOOKS="0").stdout.strip() == "0"


def test_a_left_over_pth_file_is_silent_when_the_package_is_gone(tmp_path):
    (tmp_path / PTH.name).write_text(PTH.read_text())
    done = python(f"import site; site.addsitedir({str(tmp_path)!r}); print('started')")
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("started", "", 0)


def test_the_pth_file_is_one_line_and_sorts_after_the_ones_that_make_the_package_importable():
    assert PTH.read_text().count("\n") == 1 and PTH.read_text().startswith("import ")
    assert PTH.name > "_editable_impl_video3d_plugin.pth" and PTH.name > "_video3d_plugin.pth"


def test_modules_that_are_no_host_are_left_to_the_others():
    finder = _startup.HostFinder()
    assert finder.find_spec("json") is None and finder.find_spec("lmms_eval.utils") is None


class Loader:
    """A host's loader, as importlib calls it."""

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        module.executed = True


@pytest.fixture
def made_up_host(monkeypatch):
    class Finds:
        def find_spec(self, name, path=None, target=None):
            return ModuleSpec(name, Loader()) if name == "made_up_host" else None

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finds()])
    yield "made_up_host"
    sys.modules.pop("made_up_host", None)


def test_patches_follow_the_execution_of_their_host(made_up_host):
    seen = []

    def apply(names):
        seen.append((names, sys.modules[made_up_host].executed))

    with _startup.applying({made_up_host: ("a", "b")}, apply):
        __import__(made_up_host)
    assert seen == [(("a", "b"), True)]
    assert not any(isinstance(f, _startup.HostFinder) and f.apply is apply for f in sys.meta_path)


def test_two_finders_that_ask_each_other_come_to_an_end(made_up_host, monkeypatch):
    seen = []
    first = _startup.HostFinder({made_up_host: ("a",)}, seen.append)
    second = _startup.HostFinder({made_up_host: ("b",)}, seen.append)
    monkeypatch.setattr(sys, "meta_path", [first, second, *sys.meta_path])
    __import__(made_up_host)
    assert sorted(seen) == [("a",), ("b",)]


def test_a_missing_host_stays_missing():
    with _startup.applying({"no_such_host": ("a",)}, lambda names: None), pytest.raises(ModuleNotFoundError):
        __import__("no_such_host")
