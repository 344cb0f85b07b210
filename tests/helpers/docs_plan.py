"""How each command of the documentation is run, or why it is not; and what the blocks are that hold no command.

A block that is in neither list fails tests/docs/test_docs.py. HOW is for commands: the first entry whose pattern fits
counts. SHOWN is for all other blocks: printed output, data and settings.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from blocks import ROOT, Block, Command, all_blocks, commands_in

from video3d_plugin import cli
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
    """The entry of HOW for a command."""
    return next((entry for entry in HOW if re.match(entry.pattern, str(command))), None)


@dataclass(frozen=True)
class Printed:
    """Output of the command of the same page that `command` matches: every line must be printed again, in this order.

    `alike` compares the lines' forms, where a number stands for any other: for output of another scan or machine.
    `only_there` are the beginnings of lines that a stand-in for the scan cannot give.
    """

    page: str
    start: str
    command: str
    alike: bool = True
    only_there: tuple[str, ...] = ()
    slow: bool = False


@dataclass(frozen=True)
class Kept:
    """Not printed by a command that runs here, for a reason; `check` looks at it all the same."""

    page: str
    start: str
    reason: str
    check: Callable[[Block], None]


# The one place where numbers and names that depend on time, machine or scan are made equal.
_DECIMAL = re.compile(r"[-+]?\d+\.\d+(e[-+]?\d+)?")
_WHOLE = re.compile(r"\d+")
_TIME = re.compile(r"\d+(\.\d+)? s\b")


def form(line: str, alike: bool = True) -> str:
    """A line with `#` for each number (only for decimals and seconds, unless `alike`), and single spaces."""
    line = _DECIMAL.sub("#", _TIME.sub("# s", line))
    line = _WHOLE.sub("#", line) if alike else line
    return " ".join(re.sub(r"^\w+: ", "SCENE: ", line).split())


def lines_not_printed(shown: str, printed: str, entry: Printed) -> list[str]:
    """The lines of a block that a command did not print, after those before them. `...` stands for any lines."""
    rest = iter([form(line, entry.alike) for line in printed.splitlines()])
    wanted = [line for line in shown.splitlines() if not line.startswith(("$ ", "...", *entry.only_there))]
    return [line for line in wanted if form(line, entry.alike) not in rest]


def is_json_lines(block: Block) -> None:
    for line in block.text.splitlines():
        json.loads(line)


def is_the_demos_table(block: Block) -> None:
    """The layout and names are those that the demo prints; its numbers are of the date in the text before it."""
    from video3d_plugin.mini.demo import ROWS, TASKS, table

    first, *lines = block.text.splitlines()
    assert first == "boxes to choose from: annotated"
    values = [re.findall(r"\d+\.\d", line.replace("@0.5", "")) for line in lines[2:]]
    numbers, guesses = {}, {}
    rows = [(task, *row) for task in TASKS for row in ROWS[task]]
    for (task, metric, _, guess), found in zip(rows, values, strict=True):
        numbers.setdefault(task, {})[metric] = float(found[0])
        if guess:
            guesses.setdefault(task, {})[guess] = float(found[1])
    assert [line.rstrip() for line in table(numbers, guesses).splitlines()] == lines


def is_the_servers_proxy(block: Block) -> None:
    from video3d_plugin.cli import serve

    options = parser.commands_of(parser.build_parser(("serve",)))["serve"].parse_args([])
    assert serve.allowed_hosts(options.host, options.host)
    assert f"proxy_pass           http://{options.host}:{options.port};" in block.text
    assert f"client_max_body_size {options.max_upload_mb}m;" in block.text
    assert int(re.search(r"proxy_read_timeout +(\d+)s", block.text)[1]) > options.read_timeout


def asks_known_routes(block: Block) -> None:
    text = (ROOT / "video3d_plugin" / "serve" / "app.py").read_text()
    for path in re.findall(r"localhost:7860(/[\w/]+)", block.text):
        assert f'Route("{path}"' in text


def is_what_a_benchmark_prints(block: Block) -> None:
    """The section names the program, and it exists."""
    before = "\n".join(block.page.read_text().splitlines()[: block.line]).rsplit("\n## ", 1)[-1]
    names = re.findall(r"`(?:python )?(?:-m )?benchmarks[/.](\w+)(?:\.py)?[` ]", before)
    names += [name.replace("-", "_") for name in re.findall(r"`make bench-(reference|gpu)\b", before)]
    assert names, f"{block.place}: which benchmark?"
    assert all((ROOT / "benchmarks" / f"{n}.py").is_file() or (ROOT / "benchmarks" / n).is_dir() for n in names)


def names_what_prepare_writes(block: Block) -> None:
    """The paths are those of a data folder; the run of the page compares them with what lies there."""
    assert [line for line in block.text.splitlines() if not line.startswith("DATA/")] == []


def is_a_citation(block: Block) -> None:
    assert "2412.00493" in block.text


def nothing(block: Block) -> None:
    """Another test reads it."""


EXTENDING = "tests/tasks/test_extending.py, tests/test_extending_models.py and others run each add-on of the page"
SHOWN: list[Printed | Kept] = [
    Printed("README.md", r"\$ video3d verify", r"video3d verify$", alike=False, slow=True),
    Kept("README.md", "boxes to choose from", "make demo takes minutes: tests/mini/test_demo.py", is_the_demos_table),
    Kept("README.md", "@article", "a citation", is_a_citation),
    Printed(
        "own_scans.md",
        "kitchen: note: one frame",
        r"video3d ask my_scan/ the table --ground",
        only_there=("kitchen: note: one frame", "kitchen: note: edges of colour"),  # of 1000 frames; of two cameras
    ),
    Printed("own_scans.md", "kitchen: note: levelled", r"video3d ask my_scan/ the table --ground"),
    Kept("own_scans.md", r'\{"labels"', "tests/data/proposals/detector read such a file", is_json_lines),
    Kept("data.md", "DATA/scenes", "test_docs.py compares it with the folder", names_what_prepare_writes),
    Kept("evaluation.md", r'\{"scene_id"', "tests/tasks/test_referit3d.py scores such a file", is_json_lines),
    Kept("extending.md", "", EXTENDING, nothing),
    Kept("results.md", "", "measured by benchmarks/, with machine and date", is_what_a_benchmark_prints),
    Kept("security.md", "limit_req_zone", "needs nginx", is_the_servers_proxy),
    Kept("security.md", "curl", "needs a server: tests/serve sends such requests", asks_known_routes),
]


def shown(block: Block) -> Printed | Kept | None:
    """The entry of SHOWN for a block without commands."""
    return next((e for e in SHOWN if block.page.name == e.page and re.match(e.start, block.text)), None)


def is_of_commands(block: Block) -> bool:
    return block.language in ("bash", "text", "") and bool(commands_in(block))
