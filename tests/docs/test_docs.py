"""Every command and every piece of code in README, CONTRIBUTING and docs is run, or listed with the reason.

The commands of a page run in their order in one folder, and shown output is compared; helpers/docs_plan.py has the
lists. What cannot run here (8 GPUs, 7B weights, a cluster) is at least parsed.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from blocks import PAGES, ROOT, Block, Command, all_blocks, blocks_of, commands_in
from docs_plan import (
    COMMANDS,
    HOW,
    SCENE_IN_DOCS,
    SHOWN,
    Kept,
    Listed,
    Printed,
    Run,
    form,
    how,
    is_of_commands,
    lines_not_printed,
    shown,
)

from video3d_plugin import cli, loading, pipeline

BLOCKS = all_blocks()
RUN_ELSEWHERE = {
    "extending.md": "tests/tasks/test_extending.py and tests/test_extending_models.py run each of its add-ons as one"
}


def steps_of(page: Path) -> list[Command | Block]:
    """Commands and pieces of Python code of a page, in their order."""
    steps: list[Command | Block] = []
    for block in blocks_of(page):
        if block.language == "python" and page.name not in RUN_ELSEWHERE:
            steps.append(block)
        elif is_of_commands(block):
            steps += commands_in(block)
    return steps


def takes_long(step: Command | Block) -> bool:
    return isinstance(step, Command) and getattr(how(step), "slow", False)


def is_run(step: Command | Block) -> bool:
    return isinstance(step, Block) or isinstance(how(step), Run)


def named(pages: list[Path]) -> list:
    return [pytest.param(page, id=str(page.relative_to(ROOT))) for page in pages]


def quick_pages() -> list:
    """Pages with steps that take no process of their own; slow where earlier pages have run all of these steps."""
    pages, before = [], set()
    for page in PAGES:
        steps = {str(step) for step in steps_of(page) if is_run(step) and not takes_long(step)}
        marks = [pytest.mark.slow] if steps <= before else []
        pages += [pytest.param(page, id=str(page.relative_to(ROOT)), marks=marks)] if steps else []
        before |= steps
    return pages


QUICK = quick_pages()
LONG = named([page for page in PAGES if any(map(takes_long, steps_of(page)))])
LISTED = [pytest.param(c, id=f"{c.place} {c}"[:90]) for c in COMMANDS if isinstance(how(c), Listed)]
OTHERS = [block for block in BLOCKS if block.language != "python" and not (block.language == "bash")]


def test_every_command_is_run_or_listed():
    assert [f"{c.place}: {c}" for c in COMMANDS if how(c) is None] == []
    assert len(COMMANDS) > 35


def test_every_other_block_is_compared_or_kept_for_a_reason():
    assert [b.place for b in OTHERS if shown(b) is None] == []


def test_every_entry_of_the_lists_is_used():
    used = [how(command) for command in COMMANDS] + [shown(block) for block in OTHERS]
    assert [entry for entry in [*HOW, *SHOWN] if entry not in used] == []


def test_no_command_hides_in_a_block_of_another_kind():
    known = {"bash", "python", "text", "json", "yaml", "toml", "nginx", "bibtex", ""}
    assert {block.language for block in BLOCKS} <= known
    command = re.compile(r"(video3d|make|pip|python3?|lmms-eval|torchrun|accelerate|export) [\w./'-]", re.MULTILINE)
    hidden = [b.place for b in BLOCKS if b.language in ("text", "") and command.match(b.text)]
    assert hidden == [], "give these blocks the language bash"


@pytest.mark.parametrize("command", LISTED)
def test_the_listed_command_holds_up_to_its_check(command):
    how(command).check(command)


@pytest.mark.parametrize("block", [pytest.param(b, id=b.place) for b in OTHERS if isinstance(shown(b), Kept)])
def test_the_kept_block_holds_up_to_its_check(block):
    shown(block).check(block)


def test_output_is_compared_up_to_numbers_of_time_and_machine():
    entry = Printed("page", "", "")
    assert form("kitchen: note:  turned by 117 degrees") == form("my_scan: note: turned by -3.5 degrees")
    assert lines_not_printed("a 1\nb 2", "x\na 7\ny\nb 8", entry) == []
    assert lines_not_printed("b 1\na 2", "a 7\nb 8", entry) == ["a 2"]
    exact = Printed("page", "", "", alike=False)
    assert lines_not_printed("$ x\n...\n60 of 60, 1.2 s", "60 of 60, 7 s", exact) == []
    assert lines_not_printed("60 of 60", "59 of 60", exact) == ["60 of 60"]


@pytest.fixture
def at_desk(desk, tiny_checkpoint, monkeypatch):
    """The folder as working folder; the small checkpoint is a tiny one where none is shipped; nothing is opened."""
    monkeypatch.chdir(desk)
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url, *a, **k: opened.append(url) or True)
    shipped = Path(pipeline.__file__).parent / "mini" / "checkpoint"
    if not (shipped / "config.json").is_file():
        monkeypatch.setattr(loading, "default_checkpoint", lambda: tiny_checkpoint)
    return desk


@pytest.fixture
def walk(at_desk, monkeypatch, capsys, request):
    """Run steps in their order; return what each command printed."""

    def walk(steps: list[Command | Block]) -> dict[Command, str]:
        if any(isinstance(s, Command) and re.match(r"video3d prepare \S+ --output DATA\b", str(s)) for s in steps):
            shutil.rmtree(at_desk / "DATA")  # the page makes it
        printed = {}
        for step in steps:
            if isinstance(step, Block):
                run_code(step, monkeypatch, request)
            elif takes_long(step):
                printed[step] = run_long(step, at_desk)
            else:
                printed[step] = run_here(step, at_desk, monkeypatch, capsys)
        return printed

    return walk


@pytest.mark.parametrize("page", QUICK)
def test_a_page_runs_from_top_to_bottom(page, walk):
    steps = [step for step in steps_of(page) if is_run(step) and not takes_long(step)]
    assert_printed(page, walk(steps), slow=False)


@pytest.mark.slow
@pytest.mark.parametrize("page", LONG)
def test_a_page_runs_with_what_takes_long(page, walk):
    steps = [step for step in steps_of(page) if is_run(step) and isinstance(step, Command)]
    assert_printed(page, walk(steps), slow=True)


def assert_printed(page: Path, printed: dict[Command, str], slow: bool) -> None:
    for block in blocks_of(page):
        entry = shown(block) if block in OTHERS else None
        if isinstance(entry, Printed) and entry.slow == slow:
            texts = [text for command, text in printed.items() if re.match(entry.command, str(command))]
            assert texts, f"{block.place}: no command prints it"
            assert lines_not_printed(block.text, texts[0], entry) == [], texts[0]


def words_of(command: Command, desk: Path) -> list[str]:
    entry = how(command)
    (scene,) = (desk / "SCANNET" / "scannetv2_val.txt").read_text().split()
    swap = {**dict(entry.swap), "SCENE": scene}
    words = []
    for word in [*command.words, *entry.more]:
        word = word.replace(SCENE_IN_DOCS, scene) if "SCENE" in dict(entry.swap).values() else word
        words += swap[word].split() if word in swap else [word]
    return [w + ",max_frames=2" if w.startswith("pretrained=") else w for w in words]


def run_here(command: Command, desk: Path, monkeypatch, capsys) -> str:
    """Run it in this process; return what it prints, what goes to stderr first."""
    with monkeypatch.context() as patch:
        for name, value in command.variables:
            patch.setenv(name, value)
        if command.stdin:
            patch.setattr(sys, "stdin", io.StringIO((desk / command.stdin).read_text()))
        capsys.readouterr()
        status = cli.main(words_of(command, desk)[1:])
    printed = capsys.readouterr()
    assert status == 0, f"{command.place}: {command}\n{printed.err}"
    if command.stdout:
        (desk / command.stdout).write_text(printed.out)
    if "--save" in command.words:
        page = desk / command.words[command.words.index("--save") + 1]
        assert page.read_text().startswith("<!doctype html>")
    return in_order(printed.err, printed.out)


def in_order(err: str, out: str) -> str:
    """What a terminal shows: notes, then results, then files that were written."""
    notes = [line for line in err.splitlines() if not re.search(r"\.html \(", line)]
    return "\n".join([*notes, out.rstrip(), *(line for line in err.splitlines() if line not in notes)])


def run_long(command: Command, desk: Path) -> str:
    """Run it as a process; return its stdout."""
    words = words_of(command, desk)
    if words[0] == "video3d":
        words = [sys.executable, "-m", "video3d_plugin.cli", *words[1:]]
    if words[:2] == [sys.executable, "-m"] and "train" in words and "--resume" not in words:
        shutil.rmtree(desk / words[words.index("--output") + 1], ignore_errors=True)
    done = subprocess.run(words, cwd=desk, env=environment(desk, command), capture_output=True, text=True)
    assert done.returncode == 0, f"{command.place}: {command}\n{done.stderr[-3000:]}"
    return done.stdout


def environment(desk: Path, command: Command | None = None) -> dict[str, str]:
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    variables = {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "VIDEO3D_DATA": str(desk / "DATA")}
    own = dict(command.variables) if command else {}
    return {**os.environ, **variables, "BROWSER": "true", "PYTHONPATH": paths, **own}


class Recording:
    """Two frames, for code that writes a recording."""

    def __iter__(self):
        import numpy as np

        for i in range(2):
            pose = np.eye(4)
            pose[0, 3] = i
            yield np.full((480, 640, 3), 90, np.uint8), np.full((480, 640), 2.0), pose


def shorten_answers(monkeypatch) -> None:
    """A model of random weights does not stop by itself."""
    answer = pipeline.Video3D.answer
    monkeypatch.setattr(pipeline.Video3D, "answer", lambda *a, **k: answer(*a, **{**k, "max_new_tokens": 3}))


@pytest.fixture
def patches_stay():
    """What the code undoes is applied again: the start-up hook would not, and other tests share the process."""
    from video3d_plugin.patches import registry

    before = {state.name for state in registry.states() if state.status == "undone"}
    yield
    for state in registry.states():
        if state.status == "undone" and state.name not in before:
            registry.apply(state.name)


def run_code(block: Block, monkeypatch, request) -> None:
    if "registry.apply(" in block.text:
        pytest.importorskip("lmms_eval", reason="the code applies a patch of lmms-eval")
        request.getfixturevalue("patches_stay")
    names = {"recording": Recording()}
    shorten_answers(monkeypatch)
    exec(compile(block.text, block.place, "exec"), names)
    if "result" in names:
        assert len(names["result"]) > 0
    if "recording" in block.text:
        assert len(names["scene"].frames) == 2


def test_the_data_folder_holds_what_its_page_says(desk):
    from video3d_plugin.data.folder import DataFolder
    from video3d_plugin.inputs_spec import InputsSpec

    folder = DataFolder.open(desk / "DATA")
    folder.store_inputs(folder.scene_ids[0], InputsSpec(image_size=112))
    (block,) = (b for b in BLOCKS if b.page.name == "data.md" and b.text.startswith("DATA/scenes"))
    paths = [path for line in block.text.splitlines() for path in line.split("  ")[0].split(", ")]
    assert len(paths) == 7
    assert [path for path in paths if not list(desk.glob(path.replace("<id>", "*")))] == []


@pytest.mark.slow
def test_the_requests_of_a_program_are_answered(desk):
    """The curl lines of security.md, against the server that own_scans.md starts."""
    if shutil.which("curl") is None:
        pytest.skip("no curl here")
    (block,) = (b for b in BLOCKS if b.page.name == "security.md" and b.text.startswith("curl"))
    shutil.make_archive(str(desk / "kitchen"), "zip", desk / "my_scan")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    words = [sys.executable, "-m", "video3d_plugin.cli", "serve", "my_scan/", "--model", "CHECKPOINT", "--port", port]
    server = subprocess.Popen(words, cwd=desk, env=environment(desk), stdout=subprocess.PIPE, text=True)
    try:
        assert port in server.stdout.readline()
        time.sleep(1)
        answers = []
        for line in block.text.replace("7860", port).splitlines():
            done = subprocess.run(["bash", "-c", line], cwd=desk, capture_output=True, text=True, timeout=300)
            answers.append(done.stdout)
        assert '"my_scan"' in answers[0] and '"boxes"' in answers[1] and '"scene"' in answers[2], answers
    finally:
        server.terminate()
        server.wait(timeout=60)
