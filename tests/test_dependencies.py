"""A dependency that is missing, or older or newer than known, is one line with a remedy; our bugs keep a traceback."""

from __future__ import annotations

import importlib
import json
import sys
from importlib import metadata
from types import ModuleType

import pytest
from stubs import python, stub, without

from video3d_plugin import cli, dependencies
from video3d_plugin.cli import parser
from video3d_plugin.dependencies import explain, known_versions, remedy_for


@pytest.fixture
def made_up(tmp_path, monkeypatch):
    """body -> the made-up dependency `madeup` 9.0, importable in this process."""

    def make(body: str = "", name: str = "madeup") -> None:
        stub(tmp_path / name, name, "9.0", body)
        monkeypatch.syspath_prepend(tmp_path / name)
        importlib.invalidate_caches()

    monkeypatch.delenv(dependencies.SHOW_TRACEBACK, raising=False)
    yield make
    for name in [name for name in sys.modules if name.split(".")[0] in ("madeup", "madeuser")]:
        del sys.modules[name]


def ours(code: str, **names) -> BaseException:
    """The exception that this code raises as part of this package."""
    scope = {"__name__": "video3d_plugin.made_up", **names}
    with pytest.raises(BaseException) as raised:
        exec(code, scope)
    # What pytest's own frame adds is not part of the program.
    return raised.value.with_traceback(raised.value.__traceback__.tb_next)


def test_a_missing_package_is_named_with_the_command_that_installs_it():
    assert explain(ours("import no_such_package")) == "no_such_package is not installed (pip install no_such_package)"


def test_a_missing_package_is_called_as_on_the_registry(monkeypatch):
    monkeypatch.setattr(dependencies, "_is_there", lambda module: False)
    error = ModuleNotFoundError("No module named 'cv2'", name="cv2")
    assert explain(error).startswith("opencv-python-headless is not installed (pip install ")


def test_a_name_that_a_package_no_longer_has(made_up):
    made_up()
    said = explain(ours("from madeup import Old"))
    assert said.startswith("madeup 9.0 does not work here: cannot import name 'Old' from 'madeup'")
    assert "install another version of madeup" in said and "video3d doctor" in said and "\n" not in said


def test_a_module_that_a_package_no_longer_has_blames_it_and_names_who_wants_it(made_up):
    made_up()
    made_up("import madeup._api", name="madeuser")
    said = explain(ours("import madeuser"))
    assert said.startswith("madeup 9.0 does not fit madeuser 9.0: No module named 'madeup._api'")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise RuntimeError('operator madeup::nms does not exist')", "RuntimeError: operator madeup::nms does not"),
        ("raise OSError('libmadeup.so.9: cannot open shared object')", "OSError: libmadeup.so.9: cannot open"),
        ("None.attribute", "AttributeError: 'NoneType' object has no attribute 'attribute'"),
        ("raise ImportError('needs more\\nand so on')", "needs more ("),
        ("raise KeyError()", "KeyError: KeyError"),
    ],
)
def test_whatever_an_import_raises_is_the_fault_of_what_is_imported(made_up, body, said):
    made_up(body)
    found = explain(ours("import madeup"))
    assert found.startswith(f"madeup 9.0 does not work here: {said}") and "\n" not in found


def test_an_attribute_that_a_package_no_longer_has(made_up):
    made_up("class Thing: pass")
    for code in (
        "import madeup; madeup.gone",
        "import madeup; madeup.Thing.gone",
        "import madeup; madeup.Thing().gone",
    ):
        assert explain(ours(code)).startswith("madeup 9.0 does not work here: AttributeError: "), code


def test_an_argument_that_a_function_no_longer_takes(made_up):
    made_up("def f(a): pass\nclass Thing:\n    def __init__(self): pass")
    for code in (
        "from madeup import f; f(1, old=2)",
        "from madeup import f; f()",
        "from madeup import Thing; Thing(1)",
    ):
        assert explain(ours(code)).startswith("madeup 9.0 does not work here: TypeError: "), code


def test_a_lazy_package_that_hides_the_reason_is_looked_through(made_up):
    made_up("raise RuntimeError('no operator')")
    lazy = "def load():\n    try:\n        import madeup\n    except RuntimeError as error:\n"
    made_up(lazy + "        raise ModuleNotFoundError('Could not import module X') from error", name="madeuser")
    assert explain(ours("import madeuser; madeuser.load()")).startswith("madeup 9.0 does not fit madeuser 9.0: Runtime")


@pytest.mark.parametrize(
    "code",
    [
        "import video3d_plugin.no_such_module",
        "from video3d_plugin.errors import NoSuchError",
        "import video3d_plugin.errors; video3d_plugin.errors.gone",
        "None.gone",
        "def f(a): pass\nf()",
        "from os import no_such_name",
        "raise ImportError('ours')",
        "raise ValueError('ours')",
        "raise KeyboardInterrupt",
        "len(3)",
    ],
)
def test_a_bug_of_this_package_is_not_explained_away(code):
    assert explain(ours(code)) is None


def test_a_bug_of_ours_that_another_package_calls_is_ours(made_up):
    made_up("def call(function): return function()")
    assert explain(ours("import madeup\nmadeup.call(lambda: None.gone)")) is None


def test_an_ordinary_error_inside_another_package_keeps_its_traceback(made_up):
    made_up("def f(): raise ValueError('bad value')")
    assert explain(ours("import madeup; madeup.f()")) is None


def test_tracebacks_can_be_asked_for(made_up, monkeypatch):
    monkeypatch.setenv(dependencies.SHOW_TRACEBACK, "1")
    assert explain(ours("import no_such_package")) is None


def test_a_standard_module_that_this_python_was_built_without():
    error = ModuleNotFoundError("No module named '_lzma'", name="_lzma")
    assert explain(error).startswith("this Python lacks its module _lzma")


def test_the_remedy_is_the_tested_version(monkeypatch):
    monkeypatch.setattr(
        dependencies, "known_versions", lambda: {"some-thing": "1.2", "numpy": metadata.version("numpy")}
    )
    assert remedy_for("Some_Thing") == "pip install 'Some_Thing==1.2'"
    assert remedy_for("numpy").startswith("pip install --force-reinstall 'numpy==")


def test_versions_are_read_from_the_constraints_that_hold_here():
    text = "# header\na-b==1.0  # why\nB_c==2 ; python_version < '3'\nB_c==3; python_version >= '3'\nd>=1\n\nE==1+cpu\n"
    assert dependencies.pinned_versions(text) == {"a-b": "1.0", "b-c": "3", "e": "1+cpu"}
    assert "transformers" in known_versions()


def test_the_command_line_ends_in_one_line_for_a_dependency_and_in_a_traceback_for_a_bug(monkeypatch, capsys, made_up):
    made_up()
    command = ModuleType("made_up_command")
    command.add_arguments = lambda parser: None
    monkeypatch.setitem(sys.modules, "made_up_command", command)
    monkeypatch.setitem(parser.COMMANDS, "made", parser.Command("made_up_command", "made up", "video3d made"))
    command.run = lambda args: exec("from madeup import Old", {"__name__": "video3d_plugin.made_up"})
    assert cli.main(["made"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("video3d: error: madeup 9.0 does not work here: ") and said.count("\n") == 1
    command.run = lambda args: exec("from video3d_plugin import gone", {"__name__": "video3d_plugin.made_up"})
    with pytest.raises(ImportError):
        cli.main(["made"])


# Every command beside a dependency that is missing or too new.

COMMANDS = {
    "ask": ["SCAN", "How many?"],
    "view": ["SCAN", "--save", "scan.html"],
    "objects": ["SCAN"],
    "sample": ["SCAN"],
    "demo": ["--output", "demo", "--rooms", "1", "--limit", "1"],
    "prepare": ["ROOMS", "--output", "data"],
    "train": ["--data", "DATA", "--output", "run", "--steps", "1"],
    "serve": ["SCAN", "--port", "0"],
    "score": ["sqa3d", "ROOMS/none.jsonl", "--annotations", "ROOMS/none.json"],
    "report": ["results"],
    "verify": ["GOLDENS", "--kind", "model"],
    "export": ["CHECKPOINT", "--output", "exported"],
}
ALL = """
import contextlib, io, json, sys, traceback
from video3d_plugin import cli
seen = {}
for name, words in json.loads(sys.argv[1]).items():
    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        try:
            status = cli.main([name, *words])
        except SystemExit as stop:
            status = stop.code
        except Exception:
            status = traceback.format_exc()
    seen[name] = [status, err.getvalue()]
print("SEEN " + json.dumps(seen))
"""
WITH_A_MODEL = {"ask", "demo", "serve", "verify", "export"}  # train looks at its data folder first
NEW = "class Qwen2Config: pass"
CASES = {
    "transformers too new": (lambda path: stub(path, "transformers", "99.0", NEW), "transformers 99.0 ", WITH_A_MODEL),
    "filelock too new": (lambda path: stub(path, "filelock", "99.0"), "filelock 99.0 ", WITH_A_MODEL),
    "no safetensors": (lambda path: without(path, "safetensors"), "safetensors is not installed", WITH_A_MODEL),
    "no Pillow": (lambda path: without(path, "PIL"), "pillow is not installed", {"ask", "view", "objects", "sample"}),
    "no numpy": (lambda path: without(path, "numpy"), "numpy is not installed", {*COMMANDS} - {"report", "train"}),
}


@pytest.mark.parametrize("case", CASES)
def test_no_command_ends_in_a_traceback_beside_it(case, tmp_path, my_scan, room_root, tiny_checkpoint, goldens):
    prepare, said, need_it = CASES[case]
    places = {"SCAN": my_scan, "ROOMS": room_root, "CHECKPOINT": tiny_checkpoint, "GOLDENS": goldens, "DATA": tmp_path}
    (tmp_path / "stubs").mkdir()
    commands = {
        name: [str(places.get(word, word)).replace("ROOMS", str(room_root)) for word in words]
        for name, words in COMMANDS.items()
    }
    done = python(prepare(tmp_path / "stubs"), "-c", ALL, json.dumps(commands))
    assert done.returncode == 0, done.stderr[-2000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("SEEN ")]
    seen = json.loads(line.removeprefix("SEEN "))
    assert set(seen) == {*parser.COMMANDS} - {"doctor"}
    for name, (status, error) in seen.items():
        assert isinstance(status, int), f"{name} ended in a traceback:\n{status}"
        if status:
            assert error.splitlines()[-1].startswith("video3d: error: "), (name, error)
    blamed = {name for name, (status, error) in seen.items() if status == 2 and f"error: {said}" in error}
    assert blamed >= need_it, {name: seen[name] for name in need_it - blamed}
