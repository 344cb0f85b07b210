"""Checks training in LLaVA-NeXT: its checkout, the libraries that its scripts import, DeepSpeed, LoRA, launchers.

The host is not imported here; the check of the patches does that in another process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from video3d_plugin.cli.doctor.check import Check, install_extra
from video3d_plugin.dependencies import version_of
from video3d_plugin.hosts.source_check import digest_in_file, find_host, git_commit

VARIABLE = "LLAVA_NEXT_SRC"
# Imports of llava/train/train.py that LLaVA-NeXT does not always install: module -> distribution.
IMPORTED = {"decord": "decord", "av": "av", "tyro": "tyro", "einops": "einops", "einops_exts": "einops-exts"}
LAUNCHERS = {
    "torchrun": "torch.distributed.run",
    "accelerate launch": "accelerate.commands.launch",
    "deepspeed": "deepspeed.launcher.runner",
}
NEED = "llava-training"


def checks(given: str | None = None) -> Iterator[Check]:
    """Check training in LLaVA-NeXT.

    Args:
        given: LLaVA-NeXT checkout; default: LLAVA_NEXT_SRC, else the installed `llava`.
    """
    folder, problem = _folder(given)
    if problem:
        yield problem
    elif folder is None:
        remedy = "git clone https://github.com/LLaVA-VL/LLaVA-NeXT, then --llava CHECKOUT (or set LLAVA_NEXT_SRC)"
        yield Check("LLaVA-NeXT checkout", "absent", "none found", remedy, needs=NEED)
    else:
        yield _checkout(folder)
    yield _transformers()
    missing = [name for module, name in IMPORTED.items() if find_spec(module) is None]
    if missing:
        finding = f"not installed: {', '.join(missing)}"
        yield Check("LLaVA-NeXT's imports", "absent", finding, install_extra("llava"), needs=NEED)
    else:
        yield Check("LLaVA-NeXT's imports", "ok", ", ".join(IMPORTED.values()), needs=NEED)
    yield _deepspeed()
    yield from lock_checks()
    lora = version_of("peft")
    yield Check("LoRA", "ok" if lora else "absent", f"peft {lora}" if lora else "peft is not installed",
                install_extra("train"), needs="lora")  # fmt: skip
    yield _launchers()


def _folder(given: str | None) -> tuple[Path | None, Check | None]:
    """Return the checkout, or the problem with the one that was given."""
    named = given or os.environ.get(VARIABLE)
    if named:
        if (Path(named) / "llava" / "train" / "train.py").is_file():
            return Path(named), None
        remedy = "name the folder that holds llava/train/train.py"
        return None, Check("LLaVA-NeXT checkout", "problem", f"{named} is not a checkout", remedy, needs=NEED)
    host = find_host("llava", "llava")
    return (Path(host.path).parent if host else None), None


def _checkout(folder: Path) -> Check:
    """Check the commit, and whether its train() is known to work with `--model`."""
    from video3d_plugin.hosts.llava_next.train import KNOWN_TRAIN

    commit = git_commit(folder / "llava")
    at = f"{folder}, commit {commit[:8]}" if commit else f"{folder}, no git checkout"
    file = folder / "llava" / "train" / "train.py"
    try:
        digest = digest_in_file(file, "train")
    except (OSError, SyntaxError) as error:
        return Check("LLaVA-NeXT checkout", "problem", f"{file}: {error}", "check it out again", needs=NEED)
    if digest in KNOWN_TRAIN:
        return Check("LLaVA-NeXT checkout", "ok", f"{at}; train() is that of {KNOWN_TRAIN[digest]}", needs=NEED)
    finding = f"{at}; its train() is not code that --model was written for ({digest})"
    known = ", ".join(sorted(KNOWN_TRAIN.values()))
    return Check("LLaVA-NeXT checkout", "problem", finding, f"check out one that works: {known}", needs=NEED)


def _transformers() -> Check:
    version, part = version_of("transformers"), "transformers under LLaVA-NeXT"
    if version is None:
        return Check(part, "absent", "not installed", "pip install 'transformers>=4.45,<5'", needs=NEED)
    if (4, 45) <= tuple(int(number) for number in version.split(".")[:2]) < (5, 0):
        return Check(part, "ok", f"{version} trains", needs=NEED)
    finding = f"{version} does not train there; `video3d train` does"
    return Check(part, "absent", finding, "pip install 'transformers>=4.45,<5'", needs=NEED)


def _deepspeed() -> Check:
    version = version_of("deepspeed")
    if version is None:
        return Check("deepspeed", "absent", "not installed; LLaVA-NeXT's train.py imports it", install_extra("llava"),
                     needs="deepspeed")  # fmt: skip
    return Check("deepspeed", "ok", f"{version}; ZeRO-2 and ZeRO-3 (examples/deepspeed)", needs="deepspeed")


def lock_checks() -> Iterator[Check]:
    """Report locks on which DeepSpeed's next start would wait forever."""
    from video3d_plugin.hosts.llava_next.deepspeed_cpu import stale_locks

    for lock in stale_locks() if find_spec("deepspeed") else ():
        found = f"{lock} was left by a start that was killed: DeepSpeed waits for it forever"
        yield Check("deepspeed", "problem", found, "delete it", needs="deepspeed")


def _launchers() -> Check:
    """List the installed launchers; `--model` works with each where the start-up hook is active."""
    present = ["python", *(name for name, module in LAUNCHERS.items() if _there(module))]
    absent = [name for name in LAUNCHERS if name not in present]
    more = f"; not installed: {', '.join(absent)}" if absent else ""
    return Check("launchers", "ok", ", ".join(present) + more)


def _there(module: str) -> bool:
    top = module.split(".")[0]
    if find_spec(top) is None:
        return False
    origin = find_spec(top).submodule_search_locations or []  # without importing the package, as find_spec would
    below = Path(*module.split(".")[1:])
    return any((Path(root) / below.with_suffix(".py")).is_file() or (Path(root) / below).is_dir() for root in origin)
