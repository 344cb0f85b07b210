"""Docs, prompts, records and numbers, as the task files use them."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest
from made_up_rooms import prepared_rooms

from video3d_plugin.data.folder import DataFolder
from video3d_plugin.errors import MissingError, Video3DError
from video3d_plugin.hosts.lmms_eval import plain_prompts, submission, tasks
from video3d_plugin.hosts.lmms_eval.state import STATE
from video3d_plugin.hosts.lmms_eval.tasks import SceneTask
from video3d_plugin.tasks import VIDEO3D_LLM, TaskSpec, get

BOX = [1.0, 2.0, 0.5, 0.4, 0.6, 0.8]
DOCS = {
    "scanrefer": {
        "task": "scanrefer", "item_id": "s|5|3", "scene_id": "s", "object_id": "5", "ann_id": "3",
        "description": "the chair", "eval_type": "unique", "multiple": True, "others": False, "gt_box": BOX,
        "prompt": "<image>Identify the object according to the following description.\nThe chair",
    },
    "multi3drefer": {
        "task": "multi3drefer", "item_id": "s|12", "scene_id": "s", "object_ids": [5], "ann_id": 12,
        "description": "the chairs", "eval_type": "st_w_d", "gt_boxes": [BOX], "prompt": "<image>...",
    },
    "scan2cap": {
        "task": "scan2cap", "item_id": "s|5|chair", "scene_id": "s", "object_id": "5", "object_name": "chair",
        "references": ["a brown chair"], "token": [["a", "brown", "chair"]], "gt_box": BOX, "box": BOX,
        "coords": [BOX[:3]], "prompt": "<image> Given an object located at <coord> , describe the object in detail.",
    },
    "scanqa": {
        "task": "scanqa", "item_id": "v0", "scene_id": "s", "question_id": "v0", "question": "What color?",
        "answers": ["brown"], "prompt": "<image> What color? Answer the question simply.",
    },
    "sqa3d": {
        "task": "sqa3d", "item_id": "22", "scene_id": "s", "question_id": 22, "situation": "I sit.",
        "question": "What is it?", "answer": "piano", "prompt": "<image> I sit. What is it? Answer ...",
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def fresh_outcome():
    yield
    STATE.reset()


def score(task: str, responses: list[str], docs: list[dict] | None = None) -> dict:
    """All listed numbers of a task, gathered as lmms-eval does: metric by metric, each from its own list."""
    scene_task = SceneTask(task)
    lists: dict[str, list] = {name: [] for name in scene_task.spec.metrics}
    for doc, response in zip(docs or [DOCS[task]] * len(responses), responses, strict=True):
        for name, item in scene_task.process_results(doc, [response]).items():
            lists[name].append(item)
    return {name: scene_task.aggregate(items) for name, items in lists.items()}


def with_id(task: str, number: int) -> dict:
    key = {"scanrefer": "ann_id", "multi3drefer": "ann_id", "scanqa": "question_id", "sqa3d": "question_id"}[task]
    return {**DOCS[task], key: str(number), "item_id": f"i{number}"}


@pytest.mark.parametrize(
    ("response", "accuracy"),
    [
        (json.dumps({"scores": [0.1, 0.9, 0.2], "boxes": [[9, 9, 9, 1, 1, 1], BOX]}), 100.0),
        (json.dumps({"scores": [0.9, 0.1, 5.0], "boxes": [[9, 9, 9, 1, 1, 1], BOX]}), 0.0),
        ("The chair is at [1.0, 2.0, 0.5, 0.4, 0.6, 0.8].", 100.0),
        ("I do not know", 0.0),
    ],
)
def test_scores_of_video3d_and_text_of_any_model_are_graded_alike(response, accuracy):
    numbers = score("scanrefer", [response])
    assert numbers["acc@0.5"] == accuracy
    assert numbers["multiple_acc@0.5"] == accuracy and numbers["v3d_unique_acc@0.5"] == accuracy


def test_a_caption_counts_for_the_box_that_was_pointed_at():
    task, doc = SceneTask("scan2cap"), DOCS["scan2cap"]
    record = task.process_results(doc, ["a brown chair"])["cider@0.5"]
    assert record["box"] == BOX and record["iou"] == pytest.approx(1) and record["caption"] == "a brown chair"
    assert record["reference_tokens"] == doc["token"]
    unseen = task.process_results({**doc, "box": None, "coords": []}, ["a brown chair"])["cider@0.5"]
    assert unseen["box"] is None and unseen["iou"] is None


def test_an_unanswered_question_is_missing_not_empty_and_says_why():
    STATE.note_unanswered("sqa3d", "s", "i1", "s: no frames")
    record = SceneTask("sqa3d").process_results(with_id("sqa3d", 1), [""])["em"]
    assert record["status"] == "missing" and record["reason"] == "s: no frames"
    numbers = score("scanrefer", ["[1,2,0.5,0.4,0.6,0.8]", ""], [with_id("scanrefer", 0), with_id("scanrefer", 1)])
    assert numbers["count_missing"] == 0
    STATE.note_unanswered("scanrefer", "s", "i1", "s: no frames")
    numbers = score("scanrefer", ["[1,2,0.5,0.4,0.6,0.8]", ""], [with_id("scanrefer", 0), with_id("scanrefer", 1)])
    assert numbers["count_missing"] == 1 and numbers["m3dref_acc@0.5"] == 50.0


def test_the_order_in_which_ranks_hand_over_records_does_not_matter(monkeypatch):
    docs = [with_id("scanrefer", i) for i in range(5)]
    responses = [json.dumps([1.0, 2.0, 0.5, 0.4, 0.6, 0.1 * i]) for i in range(5)]
    seen = []
    scores = TaskSpec.scores

    def spy(self, records, score=None):
        seen.append([record["id"] for record in records])
        return scores(self, records, score)

    monkeypatch.setattr(TaskSpec, "scores", spy)
    forwards = score("scanrefer", responses, docs)
    assert score("scanrefer", responses[::-1], docs[::-1]) == forwards
    assert seen[0] == seen[1] == sorted(seen[0])  # sums of floats depend on the order: it must be the same one


def test_a_metric_asked_for_without_the_records_is_an_error_not_an_old_number():
    score("scanrefer", ["[]"])
    other = SceneTask("scanrefer").process_results(with_id("scanrefer", 7), ["[]"])["acc@0.5"]
    with pytest.raises(Video3DError, match="acc@0.5 was requested before acc@0.25"):
        SceneTask("scanrefer").aggregate([other])


def test_a_number_that_cannot_be_computed_is_not_zero():
    assert score("multi3drefer", ["[]"])["mt_f1@0.5"] == "N/A"


def test_targets_are_json_with_the_ids_and_the_truth():
    for task, doc in DOCS.items():
        target = json.loads(SceneTask(task).target(doc))
        assert target["scene_id"] == "s" and target["item_id"] == doc["item_id"]


def test_the_mini_selection_is_small_spread_and_always_the_same():
    docs = [{"scene_id": f"s{i // 40:02}", "item_id": str(i)} for i in range(1200)]
    chosen = tasks.mini_selection(docs)
    assert len(chosen) == tasks.MINI_QUESTIONS == len({doc["item_id"] for doc in chosen})
    scenes = sorted({doc["scene_id"] for doc in chosen})
    assert len(scenes) == tasks.MINI_SCENES and scenes[-1] > "s20"
    assert tasks.mini_selection(docs) == chosen
    assert tasks.mini_selection(docs[:5]) == docs[:5]


def test_an_unknown_task_lists_the_known_ones():
    with pytest.raises(Video3DError, match="scanrefer, multi3drefer"):
        SceneTask("scan_refer")


# Submission files


def test_the_scanqa_test_splits_write_the_official_prediction_file(tmp_path):
    task = SceneTask("scanqa")
    STATE.note_unanswered("scanqa", "s", "i1", "no frames")
    items = [
        task.submission_items(with_id("scanqa", i), [a])["submission"] for i, a in ((2, "two"), (0, "zero"), (1, ""))
    ]
    path = task.write_submission("test_w_obj")(items, args=type("Args", (), {"output_path": str(tmp_path)}))
    written = json.loads(open(path).read())
    assert written == [
        {"scene_id": "s", "question_id": "0", "answer_top10": ["zero"]},
        {"scene_id": "s", "question_id": "1", "answer_top10": [""]},
        {"scene_id": "s", "question_id": "2", "answer_top10": ["two"]},
    ]
    assert path == str(tmp_path / "submissions" / "scanqa_test_w_obj.json")


def test_the_scanrefer_test_split_writes_corners_and_groups(tmp_path):
    task = SceneTask("scanrefer")
    doc = {**DOCS["scanrefer"], "gt_box": None}
    item = task.submission_items(doc, ["[0, 0, 0, 2, 4, 6]"])["submission"]
    (line,) = json.loads(open(task.write_submission("test")([item], args=_args(tmp_path))).read())
    assert (line["unique_multiple"], line["others"]) == (1, 0)
    corners = np.array(line["bbox"])
    assert corners.shape == (8, 3)
    assert corners.min(0).tolist() == [-1, -2, -3] and corners.max(0).tolist() == [1, 2, 3]
    assert len({tuple(corner) for corner in line["bbox"]}) == 8


def _args(folder):
    return type("Args", (), {"output_path": str(folder)})


def test_a_benchmark_without_a_submission_format_says_so():
    with pytest.raises(Video3DError, match="sqa3d has no submission format"):
        submission.writer(get("sqa3d"), "test")


# On a data folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> DataFolder:
    return DataFolder.open(prepared_rooms(tmp_path_factory.mktemp("tasks"), scenes=1, seed=5))


@pytest.fixture
def chosen(folder):
    STATE.open_data(folder.path)
    yield folder
    STATE.current.data = None


def test_docs_take_the_place_of_the_placeholder(chosen):
    splits = {task: get(task).eval_split for task in VIDEO3D_LLM}
    for task, split in splits.items():
        docs = SceneTask(task).docs(split)(None)
        assert len(docs) == len(chosen.docs(task, split)) > 0
        assert dict(docs[0])["prompt"] == chosen.docs(task, split)[0]["prompt"]
        assert len(SceneTask(task).docs(split, mini=True)(None)) <= tasks.MINI_QUESTIONS


def test_docs_of_a_split_that_is_not_there_say_what_is(chosen):
    with pytest.raises(MissingError, match="no annotations of scanqa test_w_obj .it has: scanrefer val"):
        SceneTask("scanqa").docs("test_w_obj")(None)


def test_without_a_data_folder_the_tasks_say_what_to_run(monkeypatch):
    monkeypatch.delenv("VIDEO3D_DATA", raising=False)
    with pytest.raises(MissingError, match="video3d prepare SOURCE --output DATA"):
        SceneTask("scanqa").docs("val")(None)


def test_without_datasets_the_tasks_name_the_extra(chosen, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingError, match=r"pip install 'video3d-plugin\[eval\]'"):
        SceneTask("scanqa").docs("val")(None)


def test_the_environment_names_the_folder_where_the_model_does_not(folder, monkeypatch):
    monkeypatch.setenv("VIDEO3D_DATA", str(folder.path))
    assert STATE.data_folder().path == folder.path


def test_video3d_gets_its_own_prompts_and_reads_its_own_frames(chosen):
    doc = chosen.docs("scanrefer", "val")[0]
    task = SceneTask("scanrefer")
    assert task.text(doc, {"format": "video3d"}) == (
        f"<image>Identify the object according to the following description.\n{doc['description'].capitalize()}"
    )
    assert task.visual(doc, {"format": "video3d"}) == []


def test_other_models_get_frames_cameras_and_a_plain_question(chosen):
    doc = chosen.docs("scanrefer", "val")[0]
    text = SceneTask("scanrefer").text(doc, {"frames": 3})
    images = SceneTask("scanrefer").visual(doc, {"frames": 3})
    assert [image.mode for image in images] == ["RGB"] * 3
    assert text.startswith("These are 3 frames") and text.count("camera at [") == 3
    assert doc["description"] in text and "[x, y, z, w, h, l]" in text
    assert "<image>" not in text and str(doc["gt_box"][0]) not in text


def test_other_models_read_special_tokens_of_a_description_as_words(chosen):
    doc = {**chosen.docs("scanrefer", "val")[0], "description": "the <image> by the <|im_end|> lamp"}
    text = SceneTask("scanrefer").text(doc, {"frames": 3})
    assert "the < image> by the < |im_end|> lamp" in text and "<image>" not in text and "<|im_end|>" not in text


def test_cameras_are_described_where_they_are_and_where_they_look(chosen):
    scene, frames = plain_prompts.sampled_frames(chosen.scene_ids[0], {"frames": 1})
    world_from_camera = scene.world_from_scan @ frames[0].scan_from_camera
    line = plain_prompts.camera_line(1, scene, frames[0])
    position, forward = (json.loads(found) for found in re.findall(r"\[[^\]]*\]", line))
    assert position == pytest.approx(world_from_camera[:3, 3], abs=0.006)
    assert forward == pytest.approx(world_from_camera[:3, 2], abs=0.006)
    assert np.linalg.norm(forward) == pytest.approx(1, abs=0.02)


def test_depth_comes_with_the_frames_on_request(chosen):
    doc = chosen.docs("scanqa", "val")[0]
    images = SceneTask("scanqa").visual(doc, {"frames": 2, "depth": True})
    assert len(images) == 4 and images[1].mode == "RGB"
    scene, frames = plain_prompts.sampled_frames(doc["scene_id"], {"frames": 2})
    from video3d_plugin.data.frames import read_depth

    depth_m = read_depth(frames[0]) * frames[0].depth_unit_m
    grey = np.asarray(images[1])[..., 0]
    assert np.abs(grey / 255 * plain_prompts.WHITE_DEPTH_M - np.clip(depth_m, 0, 10)).max() < 0.03
    assert "each followed by its depth" in SceneTask("scanqa").text(doc, {"frames": 2, "depth": True})


def test_questions_about_words_have_no_cameras_unless_asked_for(chosen):
    doc = chosen.docs("sqa3d", "test")[0]
    task = SceneTask("sqa3d")
    assert "camera at" not in task.text(doc, {}) and "camera at" in task.text(doc, {"poses": True})
    assert doc["situation"] in task.text(doc, {}) and doc["question"] in task.text(doc, {})


def test_more_frames_than_there_are_gives_each_frame_once(chosen):
    doc = chosen.docs("scanqa", "val")[0]
    assert len(SceneTask("scanqa").visual(doc, {"frames": 99})) == len(chosen.scene(doc["scene_id"]).frames)


def test_braces_in_a_description_are_only_braces(chosen):
    doc = {**chosen.docs("scanrefer", "val")[0], "description": "the {box} on {0}"}
    assert "the {box} on {0}" in SceneTask("scanrefer").text(doc, {"frames": 1})
