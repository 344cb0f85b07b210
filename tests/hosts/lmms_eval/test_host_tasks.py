"""lmms-eval's own spatial tasks, answered from prepared scenes and scored by the host's own functions."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pytest

from video3d_plugin.errors import DataError
from video3d_plugin.hosts.lmms_eval.host_tasks import SCENE_FIELDS
from video3d_plugin.hosts.lmms_eval.state import STATE

pytestmark = pytest.mark.usefixtures("lmms_eval_importable")

CHOICE = {"options": ["A. left", "B. right"], "ground_truth": "A"}
KINDS = {
    "object_counting": {"question": "How many <image> chair(s) are in this room?", "ground_truth": "2"},
    "object_rel_direction_easy": {"question": "Is the desk to my left or right?", **CHOICE},
    "object_rel_direction_medium": {"question": "Is the door to my left or right?", **CHOICE},
    "object_rel_direction_hard": {"question": "Is the sofa to my left or right?", **CHOICE},
    "room_size_estimation": {"question": "What is the size of this room?", "ground_truth": "12.5"},
}


def stub(folder: Path, scenes: list[str], name: str = "stub_vsibench") -> Path:
    """A task with the prompts, options and metrics of vsibench, whose documents are about these scenes."""
    import lmms_eval.tasks.vsibench.utils as vsibench

    docs = [
        {"id": number, "dataset": "scannet", "scene_name": scene, "question_type": kind, "options": [], **question}
        for number, (scene, (kind, question)) in enumerate((s, item) for s in scenes for item in KINDS.items())
    ]
    folder.mkdir()
    (folder / "docs.json").write_text(json.dumps(docs))
    (folder / "utils.py").write_text("from lmms_eval.tasks.vsibench.utils import *\n")
    host = Path(vsibench.__file__).parent / "_default_template_yaml"
    settings = host.read_text().replace("dataset_path: nyu-visionx/VSI-Bench", "dataset_path: json")
    files = f"dataset_kwargs: {{data_files: {{test: {folder / 'docs.json'}}}}}\n"
    (folder / f"{name}.yaml").write_text(f"task: {name}\ntest_split: test\n{files}{settings}")
    return folder


@pytest.fixture
def run(checkpoint, benchmark_folder, tmp_path):
    """scenes -> lmms-eval's results of the stub task, of the model with these prepared scenes."""
    from lmms_eval.evaluator import simple_evaluate
    from lmms_eval.tasks import TaskManager

    from video3d_plugin.hosts.lmms_eval.model import Video3DLmms

    def evaluate(scenes):
        model = Video3DLmms(pretrained=str(checkpoint), data=str(benchmark_folder), max_frames=2, device="cpu")
        manager = TaskManager(include_path=str(stub(tmp_path / "tasks", scenes)), include_defaults=False)
        return simple_evaluate(
            model=model, tasks=["stub_vsibench"], task_manager=manager, bootstrap_iters=0, log_samples=True
        )

    return evaluate


def test_the_host_s_functions_score_answers_to_the_host_s_prompts(run, benchmark_folder, checkpoint, caplog):
    import lmms_eval.tasks.vsibench.utils as vsibench

    from video3d_plugin.data.folder import DataFolder
    from video3d_plugin.pipeline import load_model
    from video3d_plugin.scene import Question

    folder, model = DataFolder.open(benchmark_folder), load_model(checkpoint, device="cpu")
    with caplog.at_level(logging.WARNING):
        results = run(list(folder.scene_ids))
    assert "stub_vsibench: answered from the prepared frames of each scene" in caplog.text
    settings = {"mca_post_prompt": "Answer with the option's letter from the given choices directly."} | {
        "na_post_prompt": "Please answer the question using a single word or phrase."
    }
    scored = []
    for sample in results["samples"]["stub_vsibench"]:
        doc = sample["doc"]
        prompt = vsibench.vsibench_doc_to_text(doc, settings)
        inputs = folder.inputs(doc["scene_name"], model.spec, max_frames=2)
        question = Question("stub", "0", doc["scene_name"], f"<image> {prompt}")
        (answer,) = model.answer(inputs, [question], max_new_tokens=16)
        assert sample["filtered_resps"] == [answer] or sample["filtered_resps"] == answer
        scored.append(vsibench.vsibench_process_results(dict(doc), [answer])["vsibench_overall"])
    numbers = results["results"]["stub_vsibench"]
    assert len(scored) == 2 * len(KINDS) and STATE.summary() is None
    assert numbers["vsibench_overall,none"] == vsibench.vsibench_aggregate_overall(scored)


def test_questions_about_other_scenes_are_left_unanswered_and_counted(run, benchmark_folder):
    from video3d_plugin.data.folder import DataFolder

    (scene_id, *_) = DataFolder.open(benchmark_folder).scene_ids
    samples = run([scene_id, "41069021"])["samples"]["stub_vsibench"]
    by_scene = {sample["doc"]["scene_name"]: sample["filtered_resps"] for sample in samples}
    assert by_scene["41069021"] in ("", [""])
    count = len(KINDS)
    reason = "stub_vsibench: scene is not among the prepared ones"
    assert STATE.summary() == f"{count} questions were left unanswered: {count} x {reason}"


def test_the_page_names_the_fields_and_tasks_whose_documents_have_them():
    import lmms_eval.tasks.vsibench.utils as vsibench

    page = (Path(__file__).parents[3] / "docs" / "evaluation.md").read_text().split("## Spatial benchmarks")[1]
    page = page.split("\n## ")[0]
    assert ", ".join(f"`{name}`" for name in SCENE_FIELDS) in page
    tasks = Path(vsibench.__file__).parent.parent
    for task in re.search(r"--tasks (\S+)", page)[1].split(","):
        assert any(
            f"doc['{name}']" in text or f'doc["{name}"]' in text
            for name in SCENE_FIELDS
            for text in [(tasks / task / "utils.py").read_text()]
        )


def test_a_task_without_a_prepared_scene_is_refused_in_one_line(run):
    with pytest.raises(DataError, match="no scene of stub_vsibench is prepared, such as '41069021'") as caught:
        run(["41069021"])
    assert "\n" not in str(caught.value)
