"""Every command and every piece of code in README, CONTRIBUTING and docs is run, or listed here with the reason.

A new block that is neither fails. What cannot run here (8 GPUs, 7B weights, a cluster) is at least parsed.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from blocks import PAGES, ROOT, Block, Command, all_blocks, commands_in

from video3d_plugin import cli, loading, pipeline
from video3d_plugin.cli import parser

BLOCKS = all_blocks()
COMMANDS = [command for block in BLOCKS if block.language in ("bash", "text", "") for command in commands_in(block)]
SCENE_IN_DOCS = "scene0011_00"
STEP = ("--tower-steps", "1", "--lookup-steps", "1", "--steps", "1", "--save-every", "1")
FEW = ("--limit", "2", "--gen_kwargs", "max_new_tokens=2")


@dataclass(frozen=True)
class Run:
    """Run it, with `more` arguments that make it short and `swap`ped words; slow: as a process of its own."""

    pattern: str
    more: tuple[str, ...] = ()
    swap: tuple[tuple[str, str], ...] = ()
    slow: bool = False


@dataclass(frozen=True)
class Listed:
    """Not run, for a reason; `check` looks at it all the same."""

    pattern: str
    reason: str
    check: Callable[[Command], None]


def parses(command: Command) -> None:
    words = command.words
    assert words[0] == "video3d"
    args, unknown = parser.build_parser((words[1],)).parse_known_args(words[1:])
    assert not unknown and callable(args.run)


def names_tasks(command: Command) -> None:
    tasks = pytest.importorskip("lmms_eval.tasks")
    folders = [ROOT / "lmms_tasks", Path(tasks.__file__).parent]
    for name in command.words[command.words.index("--tasks") + 1].split(","):
        assert any((folder / name / f"{name}.yaml").is_file() for folder in folders), f"no task {name}"


def is_a_target(command: Command) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {word for word in command.words[1:] if "=" not in word} <= targets


def names_real_extras(command: Command) -> None:
    declared = (ROOT / "pyproject.toml").read_text()
    for names in re.findall(r"(?:\.|video3d-plugin)\[([a-z,]+)\]", str(command)):
        for name in names.split(","):
            assert re.search(rf"^{name} = \[", declared, re.MULTILINE), f"no extra {name}"
    if "--constraint" in command.words:
        assert (ROOT / command.words[command.words.index("--constraint") + 1]).is_file()


def has_known_host_arguments(command: Command) -> None:
    from video3d_plugin.hosts.llava_next.fields import DATA_FIELDS, MODEL_FIELDS

    assert command.words[:4] == ("python", "llava/train/train_mem.py", "--model", "video3d")
    hosts_own = {"--model", "--model_name_or_path", "--version", "--data_path", "--mm_tunable_parts", "--output_dir"}
    given = {word for word in command.words if word.startswith("--")}
    assert given - hosts_own <= {f"--{name}" for name in (*MODEL_FIELDS, *DATA_FIELDS)}


def is_the_known_checkout(command: Command) -> None:
    assert command.words == ("git", "clone", "https://github.com/LLaVA-VL/LLaVA-NeXT")


def completes(command: Command) -> None:
    assert command.words == ("eval", "$(video3d --print-completion bash)")
    with pytest.raises(SystemExit) as stop:
        cli.main(["--print-completion", "bash"])
    assert not stop.value.code


def serves_embeddings(command: Command) -> None:
    assert "--enable-prompt-embeds" in command.words


def has_known_engine(command: Command) -> None:
    from video3d_plugin.hosts.lmms_eval.options import ModelOptions

    given = command.words[command.words.index("--model_args") + 1]
    options = ModelOptions.from_model_args(dict(pair.split("=", 1) for pair in given.split(",")))
    assert options.engine == "vllm"


LAUNCH = (("torchrun", f"{sys.executable} -m torch.distributed.run"), ("lmms-eval", f"{sys.executable} -m lmms_eval"))
HOW: list[Run | Listed] = [
    Listed(r"make [a-z-]+", "sets up an environment, and runs these tests", is_a_target),
    Listed(r"pip (install|uninstall) ", "installs; CI's make targets do", names_real_extras),
    Listed(r"git clone https://github.com/LLaVA-VL/LLaVA-NeXT", "needs the network", is_the_known_checkout),
    Listed(r"video3d prepare SOURCE .* --backend (dask|ray) ", "needs a cluster; tests/data has one process", parses),
    Listed(
        r"video3d \w+ .*--proposals detector:", "needs a model; tests/data/proposals/detector has small ones", parses
    ),
    Listed(r"video3d train .* --model-class roomgain", "needs the add-on; tests/test_extending_models.py", parses),
    Listed(r"video3d score nr3d ", "needs ReferIt3D's file; tests/tasks/test_referit3d.py makes one", parses),
    Listed(
        r"lmms-eval .* --tasks (nr3d|vsibench),", "needs data sets; tests/tasks, tests/hosts/lmms_eval", names_tasks
    ),
    Listed(r"video3d export .* --format vllm ", "tests/model/checkpoint/test_export_language.py", parses),
    Listed(r"vllm serve ENGINE ", "needs vLLM; tests/engine/test_vllm.py", serves_embeddings),
    Listed(r"lmms-eval .*engine=vllm", "needs vLLM; tests/hosts/lmms_eval/test_engines.py", has_known_engine),
    Listed(r"video3d serve ", "runs until it is stopped; tests/serve asks it over HTTP", parses),
    Listed(r"python llava/train/", "needs a LLaVA-NeXT checkout and 7B weights; tests/hosts", has_known_host_arguments),
    Listed(r"eval \$\(video3d --print-completion bash\)", "for a shell; tests/cli/test_completion.py", completes),
    Run(r"video3d prepare (SCANNET|SOURCE|captures/) "),
    Run(r"video3d doctor", more=("--quick",)),  # tests/cli/doctor run it whole
    Run(r"video3d (ask|view|sample|objects|doctor|score) ?(?!.*--boxes results)", swap=((SCENE_IN_DOCS, "SCENE"),)),
    Run(r"video3d verify", slow=True),
    Run(r"video3d (report results|view DATA/\w+ --boxes results.*)", swap=((SCENE_IN_DOCS, "SCENE"),), slow=True),
    Run(r"video3d train --preset mini ", more=STEP, slow=True),
    Run(r"video3d train --preset paper ", more=("--steps", "1", "--precision", "float32"), slow=True),
    Run(r"lmms-eval --model video3d ", more=FEW, swap=LAUNCH, slow=True),
    Run(r"torchrun --nproc_per_node 8 -m lmms_eval ", more=FEW, swap=(*LAUNCH, ("8", "2")), slow=True),  # 8 GPUs
]


def how(command: Command) -> Run | Listed | None:
    return next((entry for entry in HOW if re.match(entry.pattern, str(command))), None)


def of_kind(kind: type, slow: bool = False) -> list:
    chosen = [c for c in COMMANDS if isinstance(how(c), kind) and getattr(how(c), "slow", False) == slow]
    return [pytest.param(command, id=f"{command.place} {command}"[:90]) for command in chosen]


def test_every_command_is_run_or_listed():
    assert [f"{c.place}: {c}" for c in COMMANDS if how(c) is None] == []
    assert len(COMMANDS) > 25


def test_every_entry_of_the_list_is_used():
    used = [how(command) for command in COMMANDS]
    assert [entry.pattern for entry in HOW if entry not in used] == []


def test_no_command_hides_in_a_block_of_another_kind():
    known = {"bash", "python", "text", "json", "yaml", "toml", "nginx", "bibtex", ""}
    assert {block.language for block in BLOCKS} <= known
    command = re.compile(r"(video3d|make|pip|python3?|lmms-eval|torchrun|accelerate|export) [\w./'-]", re.MULTILINE)
    hidden = [b.place for b in BLOCKS if b.language in ("text", "") and command.match(b.text)]
    assert hidden == [], "give these blocks the language bash"


def words_of(command: Command, entry: Run, desk: Path) -> list[str]:
    (scene,) = (p.stem for p in (desk / "DATA" / "scenes").glob("*.json") if p.stem in val_scenes(desk))
    swap = {**dict(entry.swap), "SCENE": scene}
    words = []
    for word in [*command.words, *entry.more]:
        word = word.replace(SCENE_IN_DOCS, scene) if "SCENE" in dict(entry.swap).values() else word
        words += swap[word].split() if word in swap else [word]
    return [w + ",max_frames=2" if w.startswith("pretrained=") else w for w in words]


def val_scenes(desk: Path) -> set[str]:
    return {line.strip() for line in (desk / "SCANNET" / "scannetv2_val.txt").read_text().splitlines()}


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


@pytest.mark.parametrize("command", of_kind(Run))
def test_the_command_runs(command, at_desk, monkeypatch, capsys):
    for name, value in command.variables:
        monkeypatch.setenv(name, value)
    if command.stdin:
        monkeypatch.setattr(sys, "stdin", io.StringIO((at_desk / command.stdin).read_text()))
    if "--boxes" in command.words and (needed := command.words[command.words.index("--boxes") + 1]) == "answers.json":
        if not (at_desk / needed).exists():  # this test alone: the line before makes it
            (earlier,) = (c for c in COMMANDS if c.stdout == needed)
            test_the_command_runs(earlier, at_desk, monkeypatch, capsys)
    words = words_of(command, how(command), at_desk)
    assert cli.main(words[1:]) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    if command.stdout:
        (at_desk / command.stdout).write_text(printed)
    if "--save" in command.words:
        page = at_desk / command.words[command.words.index("--save") + 1]
        assert page.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("command", of_kind(Listed))
def test_the_listed_command_holds_up_to_its_check(command):
    how(command).check(command)


@pytest.mark.slow
@pytest.mark.parametrize("command", of_kind(Run, slow=True))
def test_the_long_command_runs(command, desk, request):
    words = command.words
    if words[0] == "video3d" and "results" in words:
        request.getfixturevalue("results")
    if words[1] == "train":
        output = desk / words[words.index("--output") + 1]
        if "--resume" not in words:
            shutil.rmtree(output, ignore_errors=True)  # another page's line wrote there
        elif not output.exists():  # this test alone: an earlier line makes it
            run_long(next(c for c in COMMANDS if c.words == tuple(w for w in words if w != "--resume")), desk)
    run_long(command, desk)


def run_long(command: Command, desk: Path) -> None:
    words = words_of(command, how(command), desk)
    if words[0] == "video3d":
        words = [sys.executable, "-m", "video3d_plugin.cli", *words[1:]]
    variables = {
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "VIDEO3D_DATA": str(desk / "DATA"),
        "BROWSER": "true",
    }
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, **variables, "PYTHONPATH": paths, **dict(command.variables)}
    done = subprocess.run(words, cwd=desk, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def results(desk) -> Path:
    """What the README's lmms-eval line leaves, for the lines after it."""
    (command,) = (c for c in COMMANDS if c.place.startswith("README") and c.words[0] == "lmms-eval")
    run_long(command, desk)
    return desk / "results"


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


RUN_ELSEWHERE = {
    "extending.md": "tests/tasks/test_extending.py and tests/test_extending_models.py run each of its add-ons as one"
}
PYTHON = [
    pytest.param(block, id=block.place)
    for block in BLOCKS
    if block.language == "python" and block.page.name not in RUN_ELSEWHERE
]


@pytest.fixture
def patches_stay():
    """What the code undoes is applied again: the start-up hook would not, and other tests share the process."""
    from video3d_plugin.patches import registry

    before = {state.name for state in registry.states() if state.status == "undone"}
    yield
    for state in registry.states():
        if state.status == "undone" and state.name not in before:
            registry.apply(state.name)


@pytest.mark.parametrize("block", PYTHON)
def test_the_code_runs(block: Block, at_desk, monkeypatch, request):
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


INLINE = sorted(
    {
        (page.name, " ".join(text.split()))
        for page in PAGES
        for text in re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M))
        if re.match(r"(video3d|make) [a-z]", text)
    }
)


@pytest.mark.parametrize(("page", "text"), INLINE)
def test_a_command_in_a_sentence_exists_and_so_do_its_options(page, text):
    words = text.split()
    if words[0] == "make":
        return is_a_target(Command(page, tuple(words[:2])))
    assert words[1] in parser.COMMANDS
    options = parser.commands_of(parser.build_parser((words[1],)))[words[1]]._option_string_actions
    assert [word for word in words if word.startswith("--") and word.split("=")[0] not in options] == []


def test_links_lead_somewhere():
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.name}: {target}")
    assert broken == []


@pytest.mark.parametrize("name", ["LICENSE", "CITATION.cff", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_what_a_repository_should_have_is_there(name):
    assert (ROOT / name).stat().st_size > 300


def test_the_citation_names_the_paper():
    import yaml

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    paper = citation["preferred-citation"]
    assert citation["license"] == "Apache-2.0" and "2412.00493" in paper["notes"]
    assert [a["family-names"] for a in paper["authors"]] == ["Zheng", "Huang", "Wang"]
