"""Checks the hosts, the start-up hook and the patches."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from video3d_plugin.cli.doctor.check import Check, Status, install_extra
from video3d_plugin.cli.doctor.probe import Probe
from video3d_plugin.hosts.source_check import find_host

_PATCHES = """
from importlib.util import find_spec
from video3d_plugin.patches import registry
states = []
for name in registry.NAMES:
    host = registry.get(name).before
    try:
        if host and find_spec(host) is None:
            raise ModuleNotFoundError(name=host)
        state = registry.apply(name)
        states.append([name, state.status, state.reason])
    except ModuleNotFoundError as error:
        top = (error.name or "").split(".")[0]
        hosts = {"lmms_eval", "llava", "torchvision"}
        absent = top in hosts and find_spec(top) is None
        states.append([name, "absent", f"{top} is not installed"] if absent else [name, "problem", reason(error)])
    except Exception as error:
        states.append([name, "problem", reason(error)])
report(states)
"""


def hosts() -> Iterator[Check]:
    """Check versions and locations of the hosts, without importing them."""
    for part, module, distribution, remedy in (
        ("lmms-eval", "lmms_eval", "lmms_eval", install_extra("eval")),
        ("llava", "llava", "llava", "pip install git+https://github.com/LLaVA-VL/LLaVA-NeXT"),
        ("torchvision", "torchvision", "torchvision", "comes with lmms-eval"),
    ):
        host = find_host(module, distribution)
        if host is None:
            yield Check(part, "absent", "not installed", remedy, needs=part)
        else:
            yield Check(part, "ok", f"{host} in {host.path}", needs=part)


def hooks() -> Iterator[Check]:
    """Check whether the start-up hook is active in this interpreter."""
    from video3d_plugin._startup import HostFinder

    if os.environ.get("VIDEO3D_HOOKS", "1") == "0":
        yield Check("hooks", "absent", "off: VIDEO3D_HOOKS=0", "unset VIDEO3D_HOOKS", needs="hooks")
    elif any(isinstance(finder, HostFinder) for finder in sys.meta_path):
        yield Check("hooks", "ok", "active, through video3d_plugin_hooks.pth", needs="hooks")
    else:
        remedy = "install the package with pip; a folder on PYTHONPATH has no hooks"
        finding = "not installed: lmms-eval will not find the tasks by name"
        yield Check("hooks", "absent", finding, remedy, needs="hooks")


def patches(llava: str | None = None) -> Iterator[Check]:
    """Apply all patches in another process.

    Args:
        llava: LLaVA-NeXT checkout to apply them to.
    """
    states, crash = Probe(_PATCHES, first_paths=(llava,) if llava else ()).result()
    if states is None:
        yield Check("patches", "problem", f"the hosts cannot be imported: {crash}", "see the hosts' installation notes")
        return
    for name, status, why in states:
        kind: Status = {"applied": "ok", "not needed": "ok", "absent": "absent"}.get(status, "problem")
        yield Check(f"patch {name}", kind, f"{status}: {why}", "see patches/README.md")
