"""The benchmarks, one module each: `spec` says what one is made of, `registry` finds them.

    from video3d_plugin import tasks
    tasks.names(), tasks.get("scanrefer"), tasks.usable()

Names cost nothing; a benchmark's module is imported when it is asked for.
"""

from video3d_plugin.tasks.registry import BUILT_IN, get, is_grounding, names, needs_point, of_host_name, usable
from video3d_plugin.tasks.scoring import Scores
from video3d_plugin.tasks.spec import PredictionFiles, TaskSpec

__all__ = [
    "BUILT_IN",
    "PredictionFiles",
    "Scores",
    "TaskSpec",
    "get",
    "is_grounding",
    "names",
    "needs_point",
    "of_host_name",
    "usable",
]
