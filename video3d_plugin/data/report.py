"""The report of a preparation: what it did and left out, as report.json and as the table printed at the end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from video3d_plugin.scene import Omission

if TYPE_CHECKING:
    from video3d_plugin.data.folder import DataFolder
    from video3d_plugin.scene import Scene


@dataclass(frozen=True)
class SceneResult:
    """What became of a scan.

    Attributes:
        scene_id: Id of the scan.
        frames: Number of frames.
        instances: Number of annotated objects.
        proposals: Number of proposals.
        omissions: What was left out.
        notes: What a user should know.
        failed: Why there is no scene; None if there is one.
        reused: Whether everything was up to date before.
    """

    scene_id: str
    frames: int = 0
    instances: int = 0
    proposals: int = 0
    omissions: tuple[Omission, ...] = ()
    notes: tuple[str, ...] = ()
    failed: str | None = None
    reused: bool = False

    @classmethod
    def of(
        cls, scene: Scene, omissions: tuple[Omission, ...] = (), notes: tuple[str, ...] = (), *, reused: bool
    ) -> SceneResult:
        """Return the result for a scene; `omissions` and `notes` are added to the scene's own."""
        counts = len(scene.frames), len(scene.instances), len(scene.proposals)
        return cls(scene.scene_id, *counts, (*scene.omissions, *omissions), (*scene.notes, *notes), reused=reused)


@dataclass(frozen=True)
class TaskResult:
    """What became of a task and split.

    Attributes:
        task: Name of the benchmark.
        split: Name of the split.
        items: Number of items in the annotation files.
        docs: Number of evaluation docs.
        questions: Number of training questions.
        skipped: (number of items, reason, what it concerns) of what was left out.
    """

    task: str
    split: str
    items: int
    docs: int
    questions: int
    skipped: tuple[tuple[int, str, str], ...] = ()

    def reasons(self) -> list[Omission]:
        """Return one omission for each reason, with counts and the first things that it concerns."""
        result = []
        for reason in dict.fromkeys(reason for _, reason, _ in self.skipped):
            concerned = [what for _, other, what in self.skipped if other == reason]
            count = sum(count for count, other, _ in self.skipped if other == reason)
            few = ", ".join(concerned[:3]) + (f" and {len(concerned) - 3} more" if len(concerned) > 3 else "")
            result.append(Omission(f"{self.task} {self.split}: {count} of {self.items} items", f"{reason}: {few}"))
        return result


@dataclass
class Report:
    """The results of a preparation. Nothing in it depends on time or machine: equal runs write equal reports.

    Attributes:
        scenes: Results of scans.
        tasks: Results of tasks and splits.
        notes: What a user should know about the source as a whole.
    """

    scenes: list[SceneResult] = field(default_factory=list)
    tasks: list[TaskResult] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _folder: dict[str, Any] = field(default_factory=dict)

    def add_scene(self, result: SceneResult) -> None:
        """Add the result of a scan."""
        self.scenes.append(result)

    def add_task(self, result: TaskResult) -> None:
        """Add the result of a task and split."""
        self.tasks.append(result)

    def describe(self, folder: DataFolder) -> None:
        """Record how many scenes the finished folder has."""
        self._folder = {"scenes": len(folder.scene_ids)}

    def first_failure(self) -> str:
        """Return why the first failed scan failed."""
        return next((result.failed for result in self.scenes if result.failed), "no scan was asked for")

    @property
    def failed(self) -> list[SceneResult]:
        """The results of scans that have no scene."""
        return [result for result in self.scenes if result.failed]

    @property
    def omissions(self) -> list[Omission]:
        """Everything that was left out: scans, parts of scenes, annotations."""
        of_scenes = [
            Omission(f"{result.scene_id} {omission.what}", omission.reason)
            for result in self.scenes
            for omission in result.omissions
        ]
        whole = [Omission(f"scene {result.scene_id}", result.failed or "") for result in self.failed]
        return whole + of_scenes + [omission for task in self.tasks for omission in task.reasons()]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON value of report.json."""
        return {
            "format": 1,
            **self._folder,
            "prepared": {
                r.scene_id: {
                    "frames": r.frames,
                    "instances": r.instances,
                    "proposals": r.proposals,
                    "omissions": [[o.what, o.reason] for o in r.omissions],
                    "notes": list(r.notes),
                }
                for r in self.scenes
                if not r.failed
            },
            "failed": {r.scene_id: r.failed for r in self.failed},
            "tasks": [
                {
                    "task": t.task,
                    "split": t.split,
                    "items": t.items,
                    "docs": t.docs,
                    "questions": t.questions,
                    "omissions": [{"items": count, "reason": why, "of": what} for count, why, what in t.skipped],
                }
                for t in self.tasks
            ],
            "notes": self.notes,
        }

    def table(self) -> str:
        """Return the table printed at the end: what there is, and every kind of omission with its number."""
        usable = [r for r in self.scenes if not r.failed]
        lines = []
        if self.scenes:
            reused = sum(r.reused for r in usable)
            lines.append(
                f"scenes      {len(usable)} ({reused} were ready), {sum(r.frames for r in usable)} frames, "
                f"{sum(r.instances for r in usable)} annotated boxes, {sum(r.proposals for r in usable)} proposals"
            )
        for t in self.tasks:
            lines.append(f"{t.task + ' ' + t.split:<22} {t.docs:>7} to evaluate {t.questions:>7} to train on")
        if not self.tasks:
            lines.append("annotations  none found")
        lines += _omission_lines(self)
        lines += [f"note: {note} ({count} scenes)" if count else f"note: {note}" for note, count in self._notes()]
        return "\n".join(lines)

    def _notes(self) -> list[tuple[str, int]]:
        counted = Counter(note for result in self.scenes for note in result.notes)
        return [(note, 0) for note in self.notes] + counted.most_common(20)


def _omission_lines(report: Report, limit: int = 20) -> list[str]:
    """Return omissions by reason; those of annotations have their own counts."""
    lines = [f"left out: scene {result.scene_id}: {result.failed}" for result in report.failed[:limit]]
    if len(report.failed) > limit:
        lines.append(f"left out: {len(report.failed) - limit} more scenes, listed in report.json")
    kinds: Counter[tuple[str, str]] = Counter()
    for result in report.scenes:
        for omission in result.omissions:
            kinds[omission.what.split(" ", 1)[0], omission.reason] += 1
    lines += [f"left out: {count} x {what}: {reason}" for (what, reason), count in kinds.most_common(limit)]
    if len(kinds) > limit:
        lines.append(f"left out: {len(kinds) - limit} more kinds, listed in report.json")
    lines += [f"left out: {o.what}: {o.reason}" for task in report.tasks for o in task.reasons()]
    return lines or ["left out: nothing"]
