"""Entries of records: data folder and store, samples, predictions, results, labels, boxes, lmms-eval's cache."""

from __future__ import annotations

import json
import math
import os
import shutil
import sqlite3
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from harness import Entry

from video3d_plugin.data.folder import DataFolder
from video3d_plugin.data.training_files import read_training_files
from video3d_plugin.errors import DataError
from video3d_plugin.inputs_spec import InputsSpec
from video3d_plugin.metrics.ngrams import Scorer
from video3d_plugin.tasks import BUILT_IN, get
from video3d_plugin.tasks.object_classes import Labels

sys.path.append(str(Path(__file__).resolve().parent.parent / "helpers"))

from made_up_scan import LABELS, ScanRoot  # noqa: E402

SCENE = "scene0000_00"
SPEC = InputsSpec(image_size=28)
SELECTIONS, STORE = "data/selections/*", "data/store/*/*"  # what is damaged there is made again
BOX, FAR = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0], [9.0, 9.0, 9.0, 1.0, 1.0, 1.0]
DOC = {
    "scene_id": "s", "object_id": "3", "ann_id": 0, "description": "the chair", "gt_box": BOX, "eval_type": "st_w_d",
    "gt_boxes": [BOX], "object_ids": [3], "object_name": "chair", "references": ["a brown chair."], "input_box": BOX,
    "question_id": "q", "question": "What is it?", "situation": "I sit.", "answers": ["brown"], "answer": "brown",
}  # fmt: skip
SAID = {
    "scanrefer": {"scores": [0.2, 0.9], "boxes": [FAR, BOX]},
    "multi3drefer": {"scores": [0, 1, 0.5], "boxes": [FAR, BOX]},
}


def record(task: str, number: int = 0) -> dict:
    doc = {**DOC, "ann_id": number, "question_id": f"q{number}", "object_id": str(number)}
    return get(task).record(doc, SAID.get(task, "a brown chair"))


@lru_cache(maxsize=1)
def _prepared() -> Path:
    """A data folder, its store filled; made once and copied."""
    from video3d_plugin.data.prepare import prepare
    from video3d_plugin.data.prepare_scene import SceneOptions

    folder = Path(tempfile.mkdtemp(prefix="video3d-fuzz-made-"))
    root = ScanRoot(folder / "root").write_posed_images().write_mesh().write_mask().write_infos().write_annotations()
    prepare(root.path, folder / "data", scene=SceneOptions(check="headers", copy_frames=True), store=SPEC)
    shutil.rmtree(folder / "root")
    return folder / "data"


def data_folder(folder: Path) -> None:
    shutil.copytree(_prepared(), folder / "data")


def with_source(folder: Path) -> None:
    data_folder(folder)
    ScanRoot(folder / "root").write_posed_images().write_annotations()


def read_folder(folder: Path) -> None:
    """Docs as a table, questions, scenes; what they hold is finite."""
    data = DataFolder.open(folder / "data")
    for scene_id in data.scene_ids:
        scene = data.scene(scene_id)
        assert np.isfinite(scene.proposals).all() and all(
            map(math.isfinite, (v for i in scene.instances for v in i.box))
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data.frames(scene_id, "mc", 2)
    for task, split in data.tasks():
        docs = data.docs(task, split)
        json.dumps(docs, allow_nan=False)
        for doc in docs:
            get(task).record(doc, SAID.get(task, "a chair")) if split != "test" else None
        assert all(isinstance(question.prompt, str) for question in data.questions(task, split))


def made_again(run: Callable[[Path], None], pattern: str) -> Callable[[Path], str | None]:
    """`run`, which replaces damaged files of `pattern` by good ones: it returns "healed" where it did."""

    def contents(folder: Path) -> dict[Path, bytes | None]:
        return {path: path.read_bytes() if path.is_file() else None for path in folder.glob(pattern)}

    def healing(folder: Path) -> str | None:
        before = contents(folder)
        run(folder)
        return "healed" if contents(folder) != before else None

    return healing


def read_surface(folder: Path) -> None:
    """Cells of the surface are whole numbers; without them, every frame's are used."""
    cells = DataFolder.open(folder / "data").surface_cells(SCENE)
    if cells is None:
        raise DataError("no surface")
    assert cells.dtype.kind == "i" and cells.ndim == 2 and cells.shape[1] == 3 and len(cells)


def read_docs_as_table(folder: Path) -> None:
    from video3d_plugin.hosts.lmms_eval.state import STATE
    from video3d_plugin.hosts.lmms_eval.tasks import SceneTask

    STATE.current.data = DataFolder.open(folder / "data")
    for task, split in STATE.data_folder().tasks():
        if task in BUILT_IN:
            SceneTask(task).docs(split)(None)


def read_store(folder: Path) -> None:
    """A damaged file is made again; what is given fits together."""
    from video3d_plugin.data import store

    store.verified_files.clear()
    data = DataFolder.open(folder / "data")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inputs = data.inputs(SCENE, SPEC)
    views = len(inputs.frames)
    assert inputs.pixels.shape == (views, SPEC.used_side, SPEC.used_side, 3) and inputs.token_points.isfinite().all()
    assert inputs.proposal_bits.shape[:2] == (len(inputs.proposals), views) and inputs.scene_id == SCENE


def prepare_again(folder: Path) -> None:
    """A second run over a folder of which a file is damaged: it is made again, or said."""
    from video3d_plugin.data.prepare import prepare
    from video3d_plugin.data.prepare_scene import SceneOptions

    report = prepare(folder / "root", folder / "data", stages=["annotations"], scene=SceneOptions(check="headers"))
    json.dumps(report.to_json(), allow_nan=False)


def samples(folder: Path) -> None:
    for task in BUILT_IN:
        lines = [{"doc_id": i, "m": {"metric": "m", **record(task, i)}} for i in range(3)]
        name = folder / f"20261122_090000_samples_{task}.jsonl"
        name.write_text("".join(json.dumps(line) + "\n" for line in lines))


def results(folder: Path) -> None:
    samples(folder)
    content = {
        "results": dict.fromkeys(BUILT_IN, {"acc@0.25,none": 12.5, "count_missing,none": 0, "cider,none": 120.5}),
        "config": {"model": "video3d", "model_args": "pretrained=tiny"},
        "model_name": "models/tiny", "date": "20261122_090000",
        "n-samples": {task: {"original": 10, "effective": 3} for task in BUILT_IN},
    }  # fmt: skip
    (folder / "20261122_090000_results.json").write_text(json.dumps(content))


def _plain() -> Scorer:
    return Scorer(without_meteor="not here")


@lru_cache(maxsize=1)
def _no_java() -> None:
    """Tokens by Java take a second: here they are missing, which the numbers that need them say."""
    from video3d_plugin.metrics import java

    def missing() -> str:
        raise java.JavaMissing("not here")

    java.find_java = missing


def check_values(values: dict, counts: dict) -> None:
    """Scores are in per cent, CIDEr up to 1000. The Scan2Cap benchmark's precision may be more: objects without a
    prediction share the scene's first one."""
    for name, value in values.items():
        highest = 1000.1 if "cider" in name or name.startswith("benchmark_") else 100.01
        assert value is None or (type(value) is not bool and 0 <= value <= highest), f"{name} is {value}"
    assert all(type(n) is int and n >= 0 for n in counts.values())


def score_samples(folder: Path) -> None:
    from video3d_plugin.cli import score as cli
    from video3d_plugin.score import score

    _no_java()
    for path in sorted(folder.glob("*.jsonl")):
        task = path.stem.rsplit("_", 1)[1]
        result = score(task, path, None, _plain())
        check_values(result.scores.values, result.scores.counts)
        json.loads(cli.as_json(result), parse_constant=lambda name: 1 / 0)
        cli.as_text(result, everything=True)


def report_results(folder: Path) -> None:
    from video3d_plugin.report.page import write_page
    from video3d_plugin.report.results import read_results
    from video3d_plugin.report.scenes import Scenes
    from video3d_plugin.report.table import as_text

    _no_java()
    runs = read_results(folder, _plain())
    for run in runs:
        for task in run.tasks.values():
            check_values(task.values, task.counts)
    as_text(runs, True)
    write_page(runs, Scenes(folder / "report.html"), 2)


def view_files(folder: Path) -> None:
    """Every form that `view --boxes` reads: the items are finite and JSON."""
    from video3d_plugin.view.results import read_items

    for path in sorted(folder.glob("*.json*")):
        if not path.name.endswith("_results.json"):
            json.dumps(read_items(path, "s"), allow_nan=False)


def boxes_files(folder: Path) -> None:
    item = {
        "task": "ground", "id": "1", "question": "the chair", "answer": None, "expected": ["x"], "status": "",
        "reason": "", "verdict": "right", "score": 0.5, "measure": "IoU", "point": [0, 1, 2], "truth": [BOX],
        "predicted": [{"box": BOX, "score": 0.5, "confidence": 0.9}], "proposals": [BOX, FAR], "scores": [0.1, 0.2],
    }  # fmt: skip
    asked = {"format": "video3d ask", "scene_id": "s", "items": [item, {"task": "answer", "question": "?"}]}
    (folder / "asked.json").write_text(json.dumps(asked))
    (folder / "plain.json").write_text(json.dumps([BOX, FAR]))
    (folder / "by_scene.json").write_text(json.dumps({"scannet/s": [BOX], "t": []}))


def prediction_files(folder: Path) -> None:
    """One of each form, beside the annotations that they are scored with."""
    corners = [[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]
    ids = {"scene_id": "s", "object_id": "3", "ann_id": "0"}
    content = {
        "scanrefer.json": [{**ids, "bbox": corners, "unique_multiple": 1, "others": 0}],
        "multi3drefer.json": [{"scene_id": "s", "ann_id": 0, "aabb": [corners]}, {"id": "s|1", "boxes": [BOX]}],
        "scan2cap.json": {"s|3|chair": ["sos a chair eos"]},
        "scan2cap_benchmark.json": {"s": [{"caption": "sos a chair eos", "box": corners}]},
        "scanqa.json": [{"scene_id": "s", "question_id": "q", "answer_top10": ["brown", "red"]}],
        "sqa3d.json": {"7": "brown"},
    }
    for name, value in content.items():
        (folder / name).write_text(json.dumps(value))
    lines = [{"sample_id": "0", "scene": "s", "pred_response": BOX, "gt_response": BOX, "question_type": "unique"}]
    (folder / "scanrefer_v3d.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    truth = folder / "truth"
    truth.mkdir()
    refer = {**ids, "object_name": "chair", "description": "the chair", "token": ["the", "chair"]}
    multi = {"scene_id": "s", "object_ids": [3], "ann_id": 0, "eval_type": "st_w_d", "description": "the chair"}
    asked = {"scene_id": "s", "situation": "I sit.", "question": "What?", "question_id": 7}
    files = {
        "scanrefer": [[refer]], "multi3drefer": [[multi]], "scan2cap": [[refer]],
        "scanqa": [[{"scene_id": "s", "question_id": "q", "question": "What?", "answers": ["brown"]}]],
        "sqa3d": [{"questions": [asked]}, {"annotations": [{"question_id": 7, "answers": [{"answer": "brown"}]}]}],
    }  # fmt: skip
    for task, contents in files.items():
        for number, one in enumerate(contents):
            (truth / f"{task}_{number}.json").write_text(json.dumps(one))
    (truth / "boxes.json").write_text(json.dumps({"s": {"3": BOX, "4": corners}, "scannet/t": [BOX, None]}))


def score_predictions(folder: Path) -> None:
    from video3d_plugin.cli import score as cli
    from video3d_plugin.score import GroundTruth, score

    _no_java()
    boxes = folder / "truth" / "boxes.json"
    for path in sorted(folder.glob("*.json*")):
        task = path.stem.split("_")[0]
        annotations = sorted((folder / "truth").glob(f"{task}_*.json"))
        truth = GroundTruth(annotations=annotations, boxes=boxes, proposals=boxes if task == "scan2cap" else None)
        result = score(task, path, None if path.suffix == ".jsonl" else truth, _plain())
        check_values(result.scores.values, result.scores.counts)
        json.loads(cli.as_json(result), parse_constant=lambda name: 1 / 0)


def read_labels(folder: Path) -> None:
    labels = Labels.read(folder / "labels.tsv")
    assert all(0 <= number < 10**6 for number in labels.nyu40id.values())


def training_files(folder: Path) -> None:
    turns = [{"from": "human", "value": "<image> <coord> What?"}, {"from": "gpt", "value": "a chair"}]
    item = {"id": 0, "video": "scannet/s", "conversations": turns, "metadata": {"dataset": "scanqa"}, "box_input": BOX}
    ground = {**item, "conversations": [turns[0], {"from": "gpt", "value": "<ground>"}]}
    ground["metadata"] = {"dataset": "scanrefer", "object_id": "3", "ann_id": "0", "question_type": "unique"}
    (folder / "a.json").write_text(json.dumps([item, ground]))
    (folder / "a.jsonl").write_text(json.dumps(item) + "\n" + json.dumps(ground) + "\n")
    names = "\n".join(f"  - {{json_path: {n}, sampling_strategy: 'first:1'}}" for n in ("a.json", "a.jsonl"))
    (folder / "a.yaml").write_text(f"datasets:\n{names}\n")


def read_training(folder: Path) -> None:
    before = os.getcwd()
    os.chdir(folder)
    try:
        for path in sorted(folder.glob("a.*")):
            for question in read_training_files(path):
                assert all(map(math.isfinite, (value for point in question.coords for value in point)))
    finally:
        os.chdir(before)


def cache_files(folder: Path) -> None:
    from lmms_eval.caching.response_cache import _SCHEMA_SQL

    for name in ("cache.db", "runs/a/rank_0.db"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(folder / name)
        db.executescript(_SCHEMA_SQL)
        db.execute("INSERT INTO responses VALUES ('key', 'generate_until', 'sqa3d', 0, 0, '{}', '\"chair\"', 0.0)")
        db.commit()
        db.close()


def open_cache(folder: Path) -> None:
    import logging
    from types import SimpleNamespace

    from loguru import logger
    from video3d_plugin.patches import registry

    logger.remove()
    logging.disable(logging.CRITICAL)
    registry.apply("lmms_eval_response_cache")
    from lmms_eval.caching.response_cache import ResponseCache

    cache = ResponseCache.create(str(folder), model=SimpleNamespace(fingerprint="tiny"), model_args="", task_dict={})
    try:
        cache._lookup("key")
    finally:
        cache.close()


COMMANDS = {
    "score": "score scanrefer 20261122_090000_samples_scanrefer.jsonl --without-meteor --json",
    "report": "report . --html report.html --examples 2 --without-meteor",
    "view": f"view data/{SCENE} --frame-step 1 --boxes plain.json --max-frames 2 --all-frames 2 --save page.html",
    "sample": f"sample data/{SCENE} --sampler mc uniform --max-frames 2 --json",
    "prepare": "prepare root --output made --stages scenes,annotations --proposals gt --check headers --jobs 1",
}


def command_line(name: str):
    """Write words.json, the words of a command, and the files that they name."""

    def seeds(folder: Path) -> None:
        results(folder)
        boxes_files(folder)
        with_source(folder)
        (folder / "words.json").write_text(json.dumps(COMMANDS[name].split()))

    return seeds


def run_command(folder: Path) -> None:
    """A hostile command line ends with 0 or 2, or with an error of argparse; never with a traceback."""
    from video3d_plugin import cli

    _no_java()
    try:
        content = json.loads((folder / "words.json").read_text(errors="replace") or "[]")
    except (ValueError, RecursionError):  # no command line
        return
    words = [str(word).replace("\0", "") for word in content] if isinstance(content, list) else [str(content)]
    words = [word.encode("utf-8", "replace").decode() for word in words[:40]]
    if not words or words[0] not in COMMANDS or any(word.startswith("/") or ".." in word for word in words):
        return  # nothing outside of the folder is written
    before = os.getcwd()
    os.chdir(folder)
    try:
        status = cli.main(words)
    finally:
        os.chdir(before)
    assert status in (0, 1, 2), f"exit status {status}"


def only(name: str, text: str):
    return lambda folder: (folder / name).write_text(text)


ENTRIES = [
    Entry("data folder records", data_folder, read_folder, ["data/*.json", "data/*/*.json"], count=1500),
    Entry("surface", data_folder, read_surface, ["data/surface/*"], count=500),
    Entry("selections", data_folder, made_again(read_folder, SELECTIONS), [SELECTIONS], count=400),
    Entry("docs as a table", data_folder, read_docs_as_table, ["data/docs/*.json"], count=600),
    Entry("store", data_folder, made_again(read_store, STORE), [STORE], count=1200),
    Entry("prepare again", with_source, prepare_again, ["data/*.json", "data/docs/*", "data/questions/*"], count=300),
    Entry("samples scored", samples, score_samples, ["*.jsonl"], count=2000),
    Entry("samples reported", results, report_results, ["*_results.json", "*.jsonl"], count=1000),
    Entry("samples viewed", samples, view_files, ["*.jsonl"], count=1200),
    Entry("boxes viewed", boxes_files, view_files, ["*.json"], count=1500),
    Entry("predictions", prediction_files, score_predictions, ["*.json*", "truth/*"], count=2000),
    Entry("labels of groups", only("labels.tsv", LABELS), read_labels, count=800),
    Entry("training files", training_files, read_training, count=1000),
    Entry("lmms-eval's cache", cache_files, open_cache, ["**/*.db"], count=500),
    *(
        Entry(f"command line of {name}", command_line(name), run_command, ["words.json"], no_files=False, count=200)
        for name in COMMANDS
    ),
]
