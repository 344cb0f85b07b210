"""A real HoloLens scan (VIDEO3D_SHARED/realscan) through `video3d prepare` and the five tasks, with random weights.

The scan has annotations of four benchmarks. For the fifth, real SQA3D questions (VIDEO3D_SHARED/sqa3d) are asked about
this room: their answers mean nothing here, but file, prompt, model and metric are the real ones.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

SCENE = "scene9001_00"
QUESTIONS = 12
SQA3D = {
    "questions": "v1_balanced_questions_test_scannetv2.json",
    "annotations": "v1_balanced_sqa_annotations_test_scannetv2.json",
}


@pytest.fixture(scope="module")
def real_data(shared, tmp_path_factory) -> Path:
    from video3d_plugin.data.prepare import prepare

    root = tmp_path_factory.mktemp("real")
    (root / "sqa3d").mkdir()
    for part, name in SQA3D.items():
        content = json.loads((shared / "sqa3d" / name).read_text())
        content[part] = [{**item, "scene_id": SCENE} for item in content[part][:QUESTIONS]]
        (root / "sqa3d" / name).write_text(json.dumps(content))
    prepare(shared / "realscan", root / "data", annotations=(root / "sqa3d",))
    return root / "data"


def test_a_real_scan_goes_through_prepare_and_all_five_tasks(real_data, checkpoint, lmms_eval_importable, tmp_path):
    from video3d_plugin.data.folder import DataFolder
    from video3d_plugin.evaluate import evaluate

    folder = DataFolder.open(real_data)
    counts = {task: count for (task, _), count in folder.tasks().items()}
    assert set(counts) == {"scanrefer", "multi3drefer", "scan2cap", "scanqa", "sqa3d"} and counts["sqa3d"] == QUESTIONS
    assert folder.scene_ids == (SCENE,) and len(folder.scene(SCENE).frames) == 38
    numbers = evaluate(
        sorted(counts), pretrained=checkpoint, data=real_data, output=tmp_path, max_frames=8, max_new_tokens=8
    )
    for task, metric in {"scanrefer": "acc@0.5", "multi3drefer": "f1@0.5", "scanqa": "em@1", "sqa3d": "em"}.items():
        assert 0.0 <= numbers[task][metric] <= 100.0
        assert numbers[task]["count_missing"] == 0
    for task, count in counts.items():
        (samples,) = tmp_path.rglob(f"*_samples_{task}.jsonl")
        assert len(samples.read_text().splitlines()) == count


def test_chosen_boxes_of_the_real_scan_are_its_proposals(real_data, checkpoint, lmms_eval_importable, tmp_path):
    from video3d_plugin.data.folder import DataFolder
    from video3d_plugin.evaluate import evaluate

    evaluate(["scanrefer"], pretrained=checkpoint, data=real_data, output=tmp_path, max_frames=4, limit=5)
    (samples,) = tmp_path.rglob("*_samples_scanrefer.jsonl")
    proposals = DataFolder.open(real_data).scene(SCENE).proposals.tolist()
    for line in samples.read_text().splitlines():
        box = json.loads(line)["acc@0.25"]["box"]
        assert any(box == pytest.approx(known, abs=1e-5) for known in proposals)
