"""How time grows with questions a scene, frames, proposals and scenes: figures and a plot.

    python benchmarks/scaling.py [--plot docs/scaling.svg]

Each point is measured once, in CPU seconds of one thread (the small model of `scene_answers.py`). The baseline by
questions, frames and scenes is one full forward pass a question, timed for one question (at each number of frames) and
multiplied: dashed, without packed attention. That of the proposals is a loop over them, timed at each mark up to 100.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import made_up
import torch
from measure import Transcript, options, seconds
from page import table
from proposal_features import baseline, room_points

from video3d_plugin.geometry.boxes import proposal_patches
from video3d_plugin.inputs_spec import InputsSpec
from video3d_plugin.model.grounding import proposal_features
from video3d_plugin.pipeline import Video3D
from video3d_plugin.scene import Question, SceneInputs

QUESTIONS = (1, 4, 16, 64, 256)
FRAMES = (8, 16, 32, 64, 128)
PROPOSALS = (10, 30, 100, 300, 500)
SCENES = (1, 2, 4)
Series = dict[int, tuple[float, float | None]]  # by size: (video3d, baseline), seconds


def by_questions(video: Video3D) -> Series:
    scene, asked = made_up.scene(32), made_up.questions("ground", max(QUESTIONS))
    one = full(video, scene)

    def ask(count):
        prefix = video.encode_scene(scene)
        return video.ground_scores(prefix, asked[:count])

    return {count: (seconds(lambda count=count: ask(count))[0], one * count) for count in QUESTIONS}


def by_frames(video: Video3D, count: int = 16) -> Series:
    asked, times = made_up.questions("ground", count), {}
    for frames in FRAMES:
        scene = made_up.scene(frames)
        fast = seconds(lambda scene=scene: video.ground_scores(video.encode_scene(scene), asked))[0]
        times[frames] = (fast, full(video, scene) * count)
    return times


def by_scenes(video: Video3D, count: int = 16) -> Series:
    scenes = [replace(made_up.scene(32, seed=index), scene_id=f"room{index}") for index in range(max(SCENES))]
    one, times = full(video, scenes[0]), {}
    for number in SCENES:
        asked = [
            replace(question, scene_id=scene.scene_id)
            for scene in scenes[:number]
            for question in made_up.questions("ground", count)
        ]
        took = seconds(lambda number=number, asked=asked: ground_scenes(video, scenes[:number], asked))[0]
        times[number] = (took, one * len(asked))
    return times


def ground_scenes(video: Video3D, scenes: Sequence[SceneInputs], asked: Sequence[Question]) -> None:
    for scene in scenes:
        questions = [question for question in asked if question.scene_id == scene.scene_id]
        video.ground_scores(video.encode_scene(scene), questions)


def by_proposals(frames: int = 32, width: int = 128) -> Series:
    spec, draw, times = InputsSpec(), torch.Generator().manual_seed(0), {}
    points = room_points(frames, spec.image_size)
    patches = torch.randn(frames * spec.patches_per_side**2, width, generator=draw)
    corners = torch.rand(max(PROPOSALS), 3, generator=draw) * torch.tensor([6, 5, 2.7])
    boxes = torch.cat([corners, 0.3 + torch.rand(len(corners), 3, generator=draw)], 1)
    for count in PROPOSALS:
        own = boxes[:count]
        fast = seconds(lambda own=own: proposal_features(patches, proposal_patches(points, own, spec).flatten(1)))[0]
        slow = seconds(lambda own=own: baseline(points, own, patches, spec))[0] if count <= 100 else None
        times[count] = (fast, slow)
    return times


@torch.inference_mode()
def full(video: Video3D, scene) -> float:
    """Seconds of one question's full forward pass."""
    question = replace(made_up.questions("ground", 1)[0], scene_id=scene.scene_id)
    batch = video.processor([question], [scene])
    return seconds(lambda: video.model(**batch))[0]


def draw_panels(series: dict[str, Series], path: Path) -> None:
    """One panel a series, both axes logarithmic; the same numbers give the same bytes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.rcParams["svg.hashsalt"] = "video3d"
    figure, panels = pyplot.subplots(1, len(series), figsize=(3.2 * len(series), 3), layout="constrained")
    for panel, (name, points) in zip(panels, series.items(), strict=True):
        panel.loglog(list(points), [fast for fast, _ in points.values()], "o-", label="video3d")
        slow = {size: other for size, (_, other) in points.items() if other is not None}
        panel.loglog(list(slow), list(slow.values()), "--" if "proposals" not in name else "s--", label="baseline")
        panel.set(xlabel=name, ylabel="seconds" if panel is panels[0] else "")
        panel.set_xticks(list(points), [str(size) for size in points])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0].legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--plot", type=Path, help="draw it here (SVG); beside the page if only that is given")
    args = parser.parse_args()
    torch.set_num_threads(1)
    say = Transcript()
    video = Video3D(*made_up.model_of("small"))
    full(video, made_up.scene(8))  # the first call is slower
    series = {
        "questions a scene (32 frames)": by_questions(video),
        "frames (16 questions)": by_frames(video),
        "proposals (32 frames)": by_proposals(),
        "scenes (16 questions each)": by_scenes(video),
    }
    rows = []
    for name, points in series.items():
        for size, (fast, slow) in points.items():
            other = "" if slow is None else f"{slow:.4g}"
            rows.append([name, str(size), f"{fast:.4g}", other, "" if slow is None else f"{slow / fast:.1f}x"])
            say(" ".join(rows[-1]))
    plot = args.plot or (args.page.parent / "scaling.svg" if args.page else None)
    if plot and find_spec("matplotlib") is None:
        print("no plot: matplotlib is not installed (pip install '.[train]')")
        plot = None
    if plot:
        draw_panels(series, plot)
    picture = f"![seconds by questions, frames, proposals and scenes]({plot.name})\n\n" if plot else ""
    figures = table(["", "size", "video3d s", "baseline s", "ratio"], rows)
    say.lines = ["the baseline by questions, frames and scenes: one question's time, times the questions"]
    say.publish(args.page, "scaling", "Scaling", picture + figures)


if __name__ == "__main__":
    sys.exit(main())
