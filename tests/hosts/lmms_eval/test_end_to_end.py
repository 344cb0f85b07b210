"""Synthetic rooms, a tiny model, lmms-eval, numbers: through `evaluate()`, in this process."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from video3d_plugin.errors import MissingError, Video3DError

pytestmark = pytest.mark.usefixtures("lmms_eval_importable")
GROUNDING = ["scanrefer", "multi3drefer"]
QUICK = {"limit": 6, "max_new_tokens": 4, "max_frames": 4}


def samples_of(output: Path, task: str) -> list[dict]:
    (path,) = output.rglob(f"*_samples_{task}.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def first_run(benchmark_folder, checkpoint, tmp_path_factory):
    """(numbers, output) of a run that others are compared with."""
    from video3d_plugin.evaluate import evaluate

    output = tmp_path_factory.mktemp("first")
    where = {"pretrained": checkpoint, "data": benchmark_folder, "output": output}
    return evaluate(GROUNDING, **where, **QUICK), output


def test_the_numbers_are_those_of_the_model_and_the_metrics_alone(first_run, benchmark_folder, checkpoint):
    from video3d_plugin.data.folder import DataFolder
    from video3d_plugin.hosts.lmms_eval.questions import grounding_answer, question_from_doc
    from video3d_plugin.pipeline import load_model
    from video3d_plugin.tasks import get

    folder, model = DataFolder.open(benchmark_folder), load_model(checkpoint, device="cpu")
    docs = folder.docs("scanrefer", "val")[: QUICK["limit"]]
    records = []
    for doc in docs:
        inputs = folder.inputs(doc["scene_id"], model.spec, max_frames=QUICK["max_frames"])
        (scores,) = model.ground_scores(inputs, [question_from_doc(doc)])
        records.append(get("scanrefer").record(doc, grounding_answer(scores, inputs)))
    expected = get("scanrefer").aggregate(records)
    numbers = first_run[0]["scanrefer"]
    assert numbers and {name: expected[name] for name in numbers} == pytest.approx(numbers)


def test_a_sample_says_which_scene_and_question_and_can_be_scored_again(first_run):
    from video3d_plugin.tasks import get

    numbers, output = first_run
    for task in GROUNDING:
        samples = samples_of(output, task)
        first = next(key for key in samples[0] if key.startswith(("acc@", "f1@")))
        records = [sample[first] for sample in samples]
        assert len(samples) == QUICK["limit"]
        for sample, record in zip(samples, records, strict=True):
            target, answer = json.loads(sample["target"]), json.loads(sample["filtered_resps"])
            assert target["scene_id"] == record["scene_id"]
            assert len(answer["scores"]) == len(answer["boxes"]) + 1 == len(record["prediction"]["scores"])
        assert get(task).aggregate(records)[first] == pytest.approx(numbers[task][first])


def test_each_record_is_written_once_however_many_metrics_there_are(first_run):
    sample = samples_of(first_run[1], "multi3drefer")[0]
    carriers = [key for key, value in sample.items() if isinstance(value, dict) and "scene_id" in value]
    assert carriers == ["f1@0.25"]


def test_the_same_command_gives_the_same_samples(first_run, benchmark_folder, checkpoint, tmp_path):
    from video3d_plugin.evaluate import evaluate

    numbers = evaluate(GROUNDING, pretrained=checkpoint, data=benchmark_folder, output=tmp_path, **QUICK)
    for task in GROUNDING:
        assert samples_of(tmp_path, task) == samples_of(first_run[1], task)
        assert numbers[task] == first_run[0][task]


def test_annotated_boxes_as_proposals_can_be_hit(benchmark_folder, checkpoint, tmp_path):
    from video3d_plugin.evaluate import evaluate

    where = {"pretrained": checkpoint, "data": benchmark_folder, "output": tmp_path}
    evaluate(["scanrefer"], **where, **QUICK, proposals="gt")
    for sample in samples_of(tmp_path, "scanrefer"):
        boxes = json.loads(sample["filtered_resps"])["boxes"]
        truth = json.loads(sample["target"])["gt_box"]
        assert min(max(abs(a - b) for a, b in zip(box, truth, strict=True)) for box in boxes) < 1e-5


def test_a_scene_whose_frames_are_gone_is_counted_and_the_others_are_scored(benchmark_folder, checkpoint, tmp_path):
    from video3d_plugin.evaluate import evaluate
    from video3d_plugin.hosts.lmms_eval.state import STATE

    shutil.copytree(benchmark_folder.parent, tmp_path / "copy", ignore=shutil.ignore_patterns("store"))
    gone, kept = sorted(path.stem for path in (tmp_path / "copy" / "data" / "scenes").glob("*.json"))
    for name in ("rooms", "data"):
        for path in (tmp_path / "copy" / name).rglob(f"{gone}/*.jpg"):
            path.write_bytes(b"not a picture")
    for record in (tmp_path / "copy" / "data" / "scenes").iterdir():
        record.write_text(record.read_text().replace(str(benchmark_folder.parent), str(tmp_path / "copy")))
    where = {"pretrained": checkpoint, "data": tmp_path / "copy" / "data", "output": tmp_path / "out"}
    numbers = evaluate(["scanrefer"], **where, max_frames=2)["scanrefer"]
    records = [sample["acc@0.25"] for sample in samples_of(tmp_path / "out", "scanrefer")]
    missing = [record for record in records if record["status"] == "missing"]
    assert {record["scene_id"] for record in missing} == {gone}
    assert all("cannot be decoded" in record["reason"] for record in missing)
    assert {record["scene_id"] for record in records} == {gone, kept}
    assert numbers["count_missing"] == len(missing) > 0
    assert numbers["m3dref_acc@0.25"] <= numbers["acc@0.25"]
    assert STATE.exit_status == 3


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"tasks": ["scanreffer"]}, Video3DError, "no task scanreffer .known: .*scanrefer"),
        ({"tasks": []}, Video3DError, "none given"),
        ({"data": "nowhere"}, MissingError, "video3d prepare"),
        ({"pretrained": "./nowhere"}, MissingError, "nowhere"),
        ({"tasks": ["scanqa_test_w_obj"]}, MissingError, "no annotations of scanqa test_w_obj"),
        ({"sampler": "unifrom"}, Video3DError, "did you mean 'uniform'"),
    ],
)
def test_what_cannot_work_is_an_error_of_one_line(change, error, message, benchmark_folder, checkpoint, tmp_path):
    from video3d_plugin.evaluate import evaluate

    options = {"tasks": ["scanrefer"], "pretrained": checkpoint, "data": benchmark_folder, "output": tmp_path, **change}
    with pytest.raises(error, match=message) as caught:
        evaluate(options.pop("tasks"), **options, **QUICK)
    assert "\n" not in str(caught.value)


def test_results_that_could_not_be_written_are_an_error(benchmark_folder, checkpoint, tmp_path):
    from video3d_plugin.evaluate import evaluate

    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Video3DError, match="wrote no samples of scanrefer"):
        evaluate(["scanrefer"], pretrained=checkpoint, data=benchmark_folder, output=tmp_path / "file", **QUICK)


def test_a_run_in_which_nothing_could_be_answered_is_an_error(benchmark_folder, checkpoint, tmp_path):
    from video3d_plugin.evaluate import evaluate

    shutil.copytree(benchmark_folder, tmp_path / "data", ignore=shutil.ignore_patterns("store"))
    for path in (tmp_path / "data" / "scenes").glob("*.json"):
        path.write_text(path.read_text().replace(".jpg", ".gone"))
    with pytest.raises(Video3DError, match="not one question could be answered: 6 questions .* 6 x .*gone"):
        evaluate(["scanrefer"], pretrained=checkpoint, data=tmp_path / "data", output=tmp_path / "out", **QUICK)


def test_an_evaluation_leaves_no_data_folder_behind(benchmark_folder, checkpoint, tmp_path, monkeypatch):
    from video3d_plugin.errors import MissingError
    from video3d_plugin.evaluate import evaluate
    from video3d_plugin.hosts.lmms_eval.state import STATE

    monkeypatch.delenv("VIDEO3D_DATA", raising=False)
    evaluate(["sqa3d"], pretrained=checkpoint, data=benchmark_folder, output=tmp_path / "out", max_frames=2, limit=2)
    with pytest.raises(MissingError, match="VIDEO3D_DATA"):
        STATE.data_folder()


def test_a_lora_adapter_named_in_model_args_changes_the_scores(benchmark_folder, checkpoint, tmp_path):
    import torch

    from video3d_plugin.evaluate import evaluate
    from video3d_plugin.model.checkpoint.lora import add_lora
    from video3d_plugin.pipeline import load_model

    torch.manual_seed(0)
    adapted = add_lora(load_model(checkpoint, device="cpu").model, rank=2)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:  # zero at first, when the adapter changes nothing
                weight.normal_()
    adapted.save_pretrained(tmp_path / "adapter")
    found = {}
    for name, more in {"plain": {}, "lora": {"lora": tmp_path / "adapter"}}.items():
        where = {"pretrained": checkpoint, "data": benchmark_folder, "output": tmp_path / name}
        evaluate(["scanrefer"], **where, max_frames=2, limit=4, **more)
        records = [sample["acc@0.25"] for sample in samples_of(tmp_path / name, "scanrefer")]
        found[name] = [record["prediction"]["scores"] for record in records]
        assert len(records) == 4 and all(record["status"] == "ok" for record in records)
    assert found["plain"] != found["lora"]
