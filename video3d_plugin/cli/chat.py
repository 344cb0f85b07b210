"""Chat: questions about one scan and their answers, for `video3d ask`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video3d_plugin import __version__
from video3d_plugin.cli.common import save_page, status
from video3d_plugin.errors import Video3DError
from video3d_plugin.prompts import ANSWER_PROMPT, CAPTION_PROMPT
from video3d_plugin.questions import DESCRIBE_HERE, about_point, as_point, ground_question, text_question
from video3d_plugin.scene import Question

if TYPE_CHECKING:
    from video3d_plugin.grounding_result import FoundBox, Grounding
    from video3d_plugin.pipeline import Video3D
    from video3d_plugin.scene import Scene

SHOWN = 5  # boxes listed for a description


@dataclass
class Chat:
    """Questions about one scan, and their answers.

    Attributes:
        model: The model.
        scene: The scan, with proposals.
        name: Name of the model on pages and in JSON.
        max_new_tokens: Largest number of tokens of an answer.
        items: What was asked and answered so far (`view.items`).
    """

    model: Video3D
    scene: Scene
    name: str
    max_new_tokens: int = 128
    items: list[dict[str, Any]] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)  # frames that a sampler chose for the questions

    def ask(self, text: str | None, ground: bool, several: bool, point: list[float] | None) -> dict[str, Any]:
        """Ask a question and append its item to `items`.

        Args:
            text: A question, or a description where `ground` is set; None describes the object at `point`.
            ground: Whether to find the object that `text` describes.
            several: With `ground`, whether to find all such objects, or none.
            point: x, y, z in metres, world frame.

        Returns:
            The item, with `shown`, a text for the terminal, where boxes were found.

        Raises:
            DataError: The text is empty, or the point lies outside of the scan.
        """
        from video3d_plugin.view.items import item_of_answer, item_of_grounding

        number = len(self.items) + 1
        with status("thinking"):
            if ground:
                grounding = self.model.ground(self.scene, text or "", several=several)
                item = item_of_grounding(grounding, number) | {
                    "shown": result_rows(grounding, self.scene.proposal_labels)
                }
            elif point is not None:
                item = self._about_point(text, point, number)
            else:
                answer = self.model.answer(self.scene, text or "", max_new_tokens=self.max_new_tokens)
                item = item_of_answer(text or "", answer, number=number)
            self._note_frames(text or "", ground, several, point)
        self.items.append(item)
        return item

    def _note_frames(self, text: str, ground: bool, several: bool, point: list[float] | None) -> None:
        """Remember the frames of a sampler that chooses them for each question, as the model was asked it."""
        from video3d_plugin.data.inputs import sample
        from video3d_plugin.sampling.registry import reads_question

        if reads_question(self.model.sampler):
            question = _question(self.scene.scene_id, text, ground, several, point)
            self.seen.update(sample(self.scene, self.model.sampler, self.model.max_frames, question=question))

    def _about_point(self, text: str | None, point: list[float], number: int) -> dict[str, Any]:
        from video3d_plugin.view.items import item_of_answer

        if not text:
            answer = self.model.caption(self.scene, point, max_new_tokens=self.max_new_tokens)
            return item_of_answer(DESCRIBE_HERE, answer, point, number)
        asked = about_point(text)
        answer = self.model.answer(self.scene, asked, points=[point], max_new_tokens=self.max_new_tokens)
        return item_of_answer(text, answer, point, number)

    def refuse(self, line: str, error: Video3DError) -> None:
        """Append an item for a line that could not be answered."""
        from video3d_plugin.view.items import item_of_answer

        item = item_of_answer(line, "", number=len(self.items) + 1)
        self.items.append(item | {"answer": None, "status": "refused", "reason": str(error)})

    def frames(self) -> list[int]:
        """Return the indices of the frames that the model sees, or has seen for the questions until now."""
        from video3d_plugin.data.inputs import sample
        from video3d_plugin.sampling.registry import reads_question

        if reads_question(self.model.sampler):
            return sorted(self.seen)
        return sample(self.scene, self.model.sampler, self.model.max_frames)

    def as_json(self) -> dict[str, Any]:
        """Return what `--json` prints, which `video3d view --boxes` reads."""
        from video3d_plugin.view.items import finite
        from video3d_plugin.view.results import ASK_FORMAT

        return {
            "format": ASK_FORMAT,
            "version": __version__,
            "scene_id": self.scene.scene_id,
            "model": self.name,
            "sampler": self.model.sampler,
            "frames": [self.scene.frames[i].name for i in self.frames()],
            "proposal_labels": list(self.scene.proposal_labels),
            "items": [finite({k: v for k, v in item.items() if k != "shown"}) for item in self.items],
        }

    def save(self, path: Path) -> None:
        """Write a page with the scan, the questions and the answers."""
        from video3d_plugin.view.scene_view import gather

        with status("reading frames for the page"):
            view = gather(self.scene, self.frames(), self.model.sampler)
        save_page(path, view, [{k: v for k, v in i.items() if k != "shown"} for i in self.items], model=self.name)


def _question(scene_id: str, text: str, ground: bool, several: bool, point: list[float] | None) -> Question:
    """The question that `Chat.ask` puts to the model."""
    if ground:
        return ground_question(text, 0, scene_id, several)
    if point is not None and not text:
        return Question("caption", "0", scene_id, CAPTION_PROMPT, coords=(as_point(point),))
    coords = () if point is None else (as_point(point),)
    return text_question(text if point is None else about_point(text), 0, scene_id, ANSWER_PROMPT, coords)


def result_rows(grounding: Grounding, labels: Sequence[str]) -> str:
    """Return a table of boxes: the selected ones, marked, the next best, and others that the description names.

    Args:
        grounding: The boxes with their scores.
        labels: Names of the proposals, by index; empty where they have none.
    """
    selected = {box.index for box in grounding.chosen}
    boxes = [*grounding.chosen, *(box for box in grounding if box.index not in selected)]
    shown, rest = boxes[: max(SHOWN, len(selected))], boxes[max(SHOWN, len(selected)) :]
    lines = [
        f"    {'score':>7} {'sure':>5}   centre x, y, z (m)        size x, y, z (m){'         label' * bool(labels)}"
    ]
    lines += [_row(box, box.index in selected, labels) for box in shown]
    words = set(re.findall(r"\w+", grounding.description.lower()))
    named = [box for box in rest if labels and words & set(re.findall(r"\w+", labels[box.index].lower()))]
    if named:
        lines += [
            "    further boxes with a label of the description:",
            *(_row(b, False, labels) for b in named[:SHOWN]),
        ]
    if not selected:
        lines.append("->  nothing here fits")
    elif grounding.nothing is not None and grounding.nothing > max(box.confidence for box in grounding.chosen):
        lines.append(f"    The model is {grounding.nothing:.0%} sure that nothing here fits.")
    return "\n".join(lines)


def _row(box: FoundBox, is_selected: bool, labels: Sequence[str]) -> str:
    centre, size = (" ".join(f"{v:7.2f}" for v in values) for values in (box.centre, box.size))
    label = f"   {labels[box.index]}" if labels else ""
    return f"{'->' if is_selected else '  '}  {box.score:7.3f} {box.confidence:5.0%}  {centre}   {size}{label}"
