"""The benchmarks, one module each. `spec` defines a benchmark's record, `registry` finds benchmarks by name.

    from video3d_plugin import tasks
    tasks.names(), tasks.get("scanrefer"), tasks.usable()

A benchmark's module is imported when it is first used.
"""

from video3d_plugin.tasks.registry import (
    BUILT_IN,
    VIDEO3D_LLM,
    get,
    is_grounding,
    names,
    needs_point,
    of_host_name,
    usable,
)
from video3d_plugin.tasks.scoring import Scores
from video3d_plugin.tasks.spec import PredictionFiles, TaskSpec

__all__ = [
    "BUILT_IN",
    "PredictionFiles",
    "Scores",
    "VIDEO3D_LLM",
    "TaskSpec",
    "get",
    "is_grounding",
    "names",
    "needs_point",
    "of_host_name",
    "usable",
]
