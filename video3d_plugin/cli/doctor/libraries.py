"""Checks the versions of libraries, and whether the modules that each use of the package needs can be imported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from video3d_plugin.cli.doctor.check import Check, Status, install_extra
from video3d_plugin.cli.doctor.probe import Probe
from video3d_plugin.dependencies import remedy_for, version_of

# Distribution -> the extra that brings it, where it is optional.
LIBRARIES = {
    "torch": "", "transformers": "", "numpy": "", "opencv-python-headless": "", "safetensors": "", "accelerate": "",
    "pillow": "", "scipy": "", "tqdm": "", "joblib": "", "pyyaml": "", "datasets": "eval", "peft": "train",
    "shtab": "completion",
}  # fmt: skip


@dataclass(frozen=True)
class Use:
    """The imports of one use of the package.

    Attributes:
        modules: Modules to import, in this order.
        optional: Distributions without which the use is "absent" instead of a problem.
        before: Code to run first.
        after: Code to run with the modules imported.
        needs: See `Check`.
        extra: Extra of this package that installs `optional`.
    """

    modules: tuple[str, ...]
    optional: tuple[str, ...] = ()
    before: str = ""
    after: str = ""
    needs: str = ""
    extra: str = ""


USES = {
    "asking": Use(
        (
            "video3d_plugin.data.readers", "video3d_plugin.data.proposals", "video3d_plugin.pipeline",
            "video3d_plugin.model.checkpoint.weights", "video3d_plugin.model.modeling",
            "video3d_plugin.model.processing", "video3d_plugin.model.prefix.decoding", "video3d_plugin.view.items",
            "video3d_plugin.view.page", "cv2", "PIL.Image", "scipy.sparse.csgraph", "safetensors.torch",
            "huggingface_hub",
        ),
    ),
    "evaluation": Use(
        (
            "lmms_eval.loggers.evaluation_tracker", "lmms_eval.tasks", "lmms_eval.__main__",
            "video3d_plugin.hosts.lmms_eval.model", "video3d_plugin.hosts.lmms_eval.tasks", "datasets",
            "pycocoevalcap.cider.cider", "pycocoevalcap.tokenizer.ptbtokenizer",
        ),
        optional=("lmms-eval", "pycocoevalcap"),
        before="from video3d_plugin.evaluate import _import_lmms_eval as evaluator; evaluator = evaluator()",
        # Runs first in every evaluation of lmms-eval 0.7.3; it imports modules inside the function.
        after="getattr(evaluator, '_enable_reentrant_filelocks', lambda: None)()",
        needs="lmms-eval",
        extra="eval",
    ),
    "training": Use(
        ("video3d_plugin.training.trainer", "video3d_plugin.training.presets", "video3d_plugin.training.callbacks"),
        after="from transformers import Trainer, TrainerCallback, TrainerState, TrainingArguments, set_seed\n"
        "import accelerate",
    ),
    "training an adapter": Use(
        ("video3d_plugin.model.checkpoint.lora",),
        optional=("peft",),
        after="from peft import LoraConfig, PeftModel, PeftModelForCausalLM",
        needs="lora",
        extra="train",
    ),
    "serving": Use(
        (
            "starlette.applications", "uvicorn", "video3d_plugin.serve.app", "video3d_plugin.serve.server",
        ),
        optional=("starlette",),
        needs="serve",
        extra="serve",
    ),
}  # fmt: skip
_CODE = """
from importlib import import_module
try:
{before}
    for name in {modules!r}:
        import_module(name)
{after}
    report("")
except Exception as error:
    report(reason(error))
"""


def libraries() -> Iterator[Check]:
    """Check which versions are installed."""
    for name, extra in LIBRARIES.items():
        version = version_of(name)
        missing: Status = "absent" if extra else "problem"
        remedy = install_extra(extra) if extra and version is None else remedy_for(name)
        yield Check(name, "ok" if version else missing, version or "not installed", remedy)
    if version_of("opencv-python") and version_of("opencv-python-headless"):
        yield Check(
            "opencv", "problem", "opencv-python and opencv-python-headless are both installed and overwrite each other",
            "pip uninstall opencv-python opencv-python-headless, then pip install opencv-python-headless",
        )  # fmt: skip


def imports() -> Iterator[Check]:
    """Import the modules of each use of the package, in parallel processes."""
    probes = {}
    for name, use in USES.items():
        missing = [distribution for distribution in use.optional if version_of(distribution) is None]
        probes[name] = (missing, None if missing else Probe(_code(use)))
    for name, (missing, probe) in probes.items():
        use, part = USES[name], f"imports for {name}"
        if probe is None:
            finding = f"not installed: {', '.join(missing)}"
            remedy = install_extra(use.extra) if use.extra else "; ".join(map(remedy_for, missing))
            yield Check(part, "absent", finding, remedy, use.needs)
            continue
        message, crash = probe.result()
        if message == "":
            yield Check(part, "ok", "all can be imported", needs=use.needs)
        else:
            yield Check(
                part, "problem", message or crash, "install the versions that this package was tested with", use.needs
            )


def _code(use: Use) -> str:
    lines = {"before": use.before or "pass", "after": use.after or "pass"}
    indented = {name: "\n".join(f"    {line}" for line in text.splitlines()) for name, text in lines.items()}
    return _CODE.format(modules=use.modules, **indented)
