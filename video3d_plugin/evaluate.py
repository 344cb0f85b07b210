"""Evaluation from Python: runs lmms-eval in this process and checks its results.

    from video3d_plugin.evaluate import evaluate
    numbers = evaluate(["scanrefer", "sqa3d"], pretrained="checkpoint", data="DATA", output="results")
    numbers["scanrefer"]["acc@0.5"]

This does the same as `lmms-eval --model video3d --model_args pretrained=checkpoint,data=DATA --tasks scanrefer,sqa3d
--log_samples --output_path results` and writes the same files, but raises exceptions: lmms-eval itself only logs a file
that cannot be written, and continues.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from video3d_plugin.errors import MissingError, Video3DError

NOT_AVAILABLE = "N/A"


def evaluate(
    tasks: Sequence[str],
    *,
    pretrained: str | Path,
    data: str | Path,
    output: str | Path,
    batch_size: int = 1,
    limit: int | None = None,
    max_new_tokens: int | None = None,
    use_cache: str | Path | None = None,
    **model_args: Any,
) -> dict[str, dict[str, float | None]]:
    """Evaluate a checkpoint on benchmarks and write lmms-eval's files.

    Questions that cannot be answered are counted in the metric `count_missing`, with a warning.

    Args:
        tasks: Names of lmms-eval tasks of this package or its add-ons, such as "scanrefer" or "sqa3d_mini".
        pretrained: Checkpoint folder or Hugging Face Hub name.
        data: Data folder made by `video3d prepare`.
        output: Folder for lmms-eval's result files.
        batch_size: Number of questions in a batch.
        limit: Largest number of questions of each task.
        max_new_tokens: Largest number of tokens of an answer (512 in the benchmarks).
        use_cache: Folder in which answers are stored, and from which later and interrupted runs take them.
        **model_args: Further model arguments: max_frames, sampler, dtype, attn_implementation, lora, proposals, device.

    Returns:
        {task: {metric: value}}, in per cent; None where a metric could not be computed.

    Raises:
        MissingError: If lmms-eval, the data or the checkpoint is missing.
        Video3DError: If results are incomplete, or no question could be answered.
    """
    evaluator = _import_lmms_eval()
    from lmms_eval.loggers.evaluation_tracker import EvaluationTracker
    from lmms_eval.tasks import TaskManager
    from lmms_eval.utils import get_datetime_str

    from video3d_plugin.hosts.lmms_eval.model import Video3DLmms
    from video3d_plugin.hosts.lmms_eval.state import STATE

    named = {"pretrained": str(pretrained), "data": str(data), **model_args}
    known = _known_tasks(TaskManager, tasks)
    tracker = EvaluationTracker(output_path=str(output))
    started = f"{get_datetime_str()}_{datetime.now():%f}"  # in the command's time zone: `video3d report` compares dates
    try:
        with _bars_on_a_terminal_only(evaluator):
            results = evaluator.simple_evaluate(
                model=Video3DLmms(batch_size=batch_size, **named),
                model_args=",".join(f"{key}={value}" for key, value in named.items()),
                tasks=list(tasks),
                task_manager=known,
                batch_size=batch_size,
                use_cache=None if use_cache is None else str(use_cache),
                limit=limit,
                gen_kwargs=None if max_new_tokens is None else f"max_new_tokens={max_new_tokens}",
                evaluation_tracker=tracker,
                bootstrap_iters=0,
                datetime_str=started,
            )
    finally:
        STATE.current.data = None
    if results is None:
        raise Video3DError("evaluate() runs on one process (for several GPUs: torchrun -m lmms_eval --model video3d)")
    samples = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=samples, datetime_str=started)
    for task, of_task in samples.items():
        tracker.save_results_samples(task_name=task, samples=of_task)
    _check_files(Path(output), started, {task: len(of_task) for task, of_task in samples.items()})
    if len(STATE.current.unanswered) >= sum(map(len, samples.values())):
        raise Video3DError(f"not one question could be answered: {STATE.summary()}")
    return numbers_of(results, sorted(samples))


@contextmanager
def _bars_on_a_terminal_only(evaluator: ModuleType) -> Iterator[None]:
    """Hide lmms-eval's progress bars where stderr is no terminal."""
    bar = evaluator.tqdm
    evaluator.tqdm = lambda *args, **kwargs: bar(*args, **{**kwargs, "disable": kwargs.get("disable") or None})
    try:
        yield
    finally:
        evaluator.tqdm = bar


def numbers_of(results: dict, tasks: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """Return the metrics of lmms-eval's results by plain name, without standard errors.

    Args:
        results: What `simple_evaluate` returns.
        tasks: Names of tasks.

    Returns:
        {task: {metric: value}}; None where a metric could not be computed.

    Raises:
        Video3DError: If a task has no results.
    """
    numbers: dict[str, dict[str, float | None]] = {}
    for task in tasks:
        metrics = {
            key.removesuffix(",none"): None if value == NOT_AVAILABLE else value
            for key, value in results.get("results", {}).get(task, {}).items()
            if key.endswith(",none") and "_stderr" not in key
        }
        if not metrics:
            raise Video3DError(f"lmms-eval gave no results for {task}")
        numbers[task] = metrics
    return numbers


def _import_lmms_eval():
    """Apply the patches that lmms-eval needs here and return its evaluator."""
    from importlib.util import find_spec

    from video3d_plugin.patches import registry

    if find_spec("lmms_eval") is None:
        raise MissingError("lmms-eval is not installed", remedy="pip install 'video3d-plugin[eval]'")
    if find_spec("torchvision") is not None:
        registry.apply("torchvision_operators")
    for name in ("lmms_eval_no_retry", "lmms_eval_errors", "lmms_eval_file_locks", "lmms_eval_response_cache"):
        registry.apply(name)
    from lmms_eval import evaluator

    return evaluator


def _known_tasks(task_manager: Any, tasks: Sequence[str]):
    """Return a task manager of this package's tasks only, as reading lmms-eval's two thousand takes seconds."""
    from video3d_plugin.patches import registry
    from video3d_plugin.patches.lmms_eval_task_folder import task_folders

    applied = registry.state("lmms_eval_task_folder").status == "applied"
    manager = task_manager(
        include_path=None if applied else task_folders(), include_defaults=False, model_name="video3d"
    )
    unknown = [task for task in tasks if task not in manager.all_tasks]
    if unknown or not tasks:
        raise Video3DError(f"no task {', '.join(unknown) or '(none given)'} (known: {', '.join(manager.all_tasks)})")
    return manager


def _check_files(output: Path, started: str, asked: dict[str, int]) -> None:
    """Raise unless all result files were written in full; lmms-eval only logs a file that it cannot write."""
    for task, count in asked.items():
        files = list(output.rglob(f"{started}_samples_{task}.jsonl"))
        if not files:
            raise Video3DError(f"{output}: lmms-eval wrote no samples of {task} (is there space, is it writable?)")
        with open(files[0], encoding="utf-8") as lines:
            written = sum(1 for line in lines if json.loads(line))
        if written != count:
            raise Video3DError(f"{files[0]}: {written} samples of {count} questions")
    if not list(output.rglob(f"{started}_results.json")):
        raise Video3DError(f"{output}: lmms-eval wrote no results (is there space, is it writable?)")
