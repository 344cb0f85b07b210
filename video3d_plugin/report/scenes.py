"""What the report knows of the scenes of its examples: names of their objects, and the viewer's page of each.

The pages lie in a folder beside the report. A link opens its page with the example's question selected.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlencode

from video3d_plugin.report.compare import Comparison
from video3d_plugin.report.results import Run
from video3d_plugin.report.worst import SHOWN_CHANGES, chosen_examples
from video3d_plugin.scene import Instance
from video3d_plugin.tasks import get

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True)
class Scenes:
    """Scenes of the examples.

    Attributes:
        report: The report's HTML file; the pages lie beside it.
        objects: Annotated objects by scene id, for those scenes that are known.
        reasons: Why a scene has no page, by scene id.
        command: The command that makes the pages.
    """

    report: Path
    objects: Mapping[str, Sequence[Instance]] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    command: str = "video3d report RESULTS --data DATA --view"

    def page(self, scene_id: str) -> Path | None:
        """Return the file of a scene's page, written or not; None if the id cannot be a file's name."""
        if not _FILE_NAME.fullmatch(scene_id):
            return None
        return self.report.with_name(f"{self.report.stem}_scenes") / f"{scene_id}.html"

    def link(self, record: Mapping, run_name: str = "") -> str:
        """Return the address of the question in its scene's page, relative to the report; "" if there is no page.

        Args:
            record: The question's record.
            run_name: Name of the run in a page that holds several.
        """
        page = self.page(record["scene_id"])
        if page is None or not page.is_file():
            return ""
        question = {"task": record["task"], "id": record["id"], **({"by": run_name} if run_name else {})}
        return f"{quote(page.parent.name)}/{quote(page.name)}#{urlencode(question, errors='replace')}"


def scene_ids(runs: Sequence[Run], comparisons: Sequence[Comparison], count: int) -> list[str]:
    """Return the ids of the scenes that the report's examples are of, sorted.

    Args:
        runs: Results.
        comparisons: Comparisons of two runs.
        count: Number of worst examples for each task and run.
    """
    tasks = [task for run in runs for task in run.tasks.values()]
    chosen = [row for task in tasks for rows in chosen_examples(get(task.task), task.records, count) for row in rows]
    records = [record for record, _ in chosen]
    for comparison in comparisons:
        changed = comparison.changed
        records += [change.before for change in (*changed[:SHOWN_CHANGES], *changed[-SHOWN_CHANGES:])]
    return sorted({record["scene_id"] for record in records})
