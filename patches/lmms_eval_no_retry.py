"""Makes lmms-eval raise errors of this package at once instead of building a task's data set five times.

lmms-eval retries for the sake of downloads and finally hides the reason in a RetryError. An error of this package (a
missing data folder, a broken annotation file) does not go away, so it is raised as it is; others are retried as before.
"""

from __future__ import annotations

from types import ModuleType

from video3d_plugin.patches.base import Patch, PatchMismatch, Replace, resolve

from video3d_plugin.errors import Video3DError


def changes(module: ModuleType) -> list[Replace]:
    policy = module.ConfigurableTask.download.retry
    if not callable(getattr(policy, "retry", None)):
        raise PatchMismatch(
            "patch lmms_eval_no_retry: tenacity's Retrying has no `retry` (known to work: tenacity 8, 9)"
        )
    before = policy.retry

    def retry(state) -> bool:
        failed = state.outcome is not None and state.outcome.failed
        return False if failed and isinstance(state.outcome.exception(), Video3DError) else before(state)

    return [Replace(policy, "retry", retry)]


def not_needed(module: ModuleType) -> str | None:
    download = resolve(module, "ConfigurableTask.download")
    return None if hasattr(download, "retry") else "this lmms-eval does not retry"


PATCH = Patch(
    name="lmms_eval_no_retry",
    target="lmms_eval.api.task",
    why="an error in this package's data is reported at once, not after five attempts",
    known={},
    changes=changes,
    not_needed=not_needed,
)
