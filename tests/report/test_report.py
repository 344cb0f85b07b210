"""A results folder as lmms-eval 0.7.3 leaves it, made small, and what is reported of it."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from video3d_plugin.cli import report
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.metrics.ngrams import Scorer
from video3d_plugin.report import overview, page, published, results, table, worst
from video3d_plugin.report.draw import plan
from video3d_plugin.report.scenes import Scenes, scene_ids
from video3d_plugin.scene import Instance
from video3d_plugin.tasks import get, usable

BOX = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
FAR = [4.0, 4.0, 0.0, 1.0, 1.0, 1.0]
NASTY = '<script>alert("x")</script> & <img src=x onerror=alert(1)>'


@pytest.fixture
def plain():
    pytest.importorskip("pycocoevalcap")
    return Scorer(without_meteor="not in this test")


def scanrefer(n, box, description="the chair"):
    doc = {"scene_id": "s", "object_id": "3", "ann_id": str(n), "description": description, "gt_box": BOX}
    proposals = {"scores": [1.0, 0.0], "boxes": [box, FAR], "has_zero_target": False}
    return get("scanrefer").record({**doc, "eval_type": "unique", "multiple": False, "others": False}, proposals)


def sqa3d(n, answer, reference="tv"):
    doc = {"question_id": n, "scene_id": "s", "situation": NASTY, "question": "What is it?", "answer": reference}
    return get("sqa3d").record(doc, answer)


def scan2cap(n, caption):
    doc = {"scene_id": "s", "object_id": str(n), "object_name": "chair", "gt_box": BOX, "box": BOX}
    return get("scan2cap").record({**doc, "references": [f"chair number {n}."], "token": []}, caption)


RECORDS = {
    "scanrefer": [scanrefer(0, BOX), scanrefer(1, FAR, NASTY)],
    "sqa3d": [sqa3d(0, "TV"), sqa3d(1, "lamp"), sqa3d(2, None)],
    "scan2cap": [scan2cap(0, "chair number 0."), scan2cap(1, "nothing")],
}


def write_run(folder, date="20261122_090000", model="models/tiny", tasks=RECORDS, samples=True, values=None, suffix=""):
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "results": {
            name + suffix: {
                "alias": name,
                **(values or {"acc@0.25,none": 12.5, "acc@0.25_stderr,none": "N/A", "em,none": "N/A"}),
            }
            for name in tasks
        },
        "config": {"model": "video3d", "model_args": "pretrained=tiny"},
        "model_name": model,
        "n-samples": {name + suffix: {"original": 10, "effective": len(r)} for name, r in tasks.items()},
    }
    content["results"]["mmlu"] = {"acc,none": 1.0}
    (folder / f"{date}_results.json").write_text(json.dumps(content))
    for name, records in tasks.items() if samples else ():
        lines = [
            {"doc_id": i, "m": {"metric": "m", **r}, "m2": {"metric": "m2", "id": r["id"]}}
            for i, r in enumerate(records)
        ]
        (folder / f"{date}_samples_{name}{suffix}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_records_give_every_convention_again(tmp_path, plain):
    (run,) = results.read_results(write_run(tmp_path / "tiny").parent, plain)
    assert run.model == "models/tiny" and set(run.tasks) == set(RECORDS)
    task = run.tasks["scanrefer"]
    assert task.values["acc@0.5"] == 50 and task.values["v3d_acc@0.5"] == 50  # not the 12.5 of the host's table
    assert task.limited == (2, 10) and run.tasks["sqa3d"].counts["missing"] == 1


def test_without_samples_the_hosts_numbers_are_shown(tmp_path, plain):
    (run,) = results.read_results(write_run(tmp_path / "tiny", samples=False), plain)
    assert run.tasks["scanrefer"].values == {"acc@0.25": 12.5, "em": None} and run.tasks["scanrefer"].records == []
    assert "questions not logged" in table.counted(run.tasks["scanrefer"])


def test_the_newest_run_of_a_task_counts_and_older_tasks_stay(tmp_path, plain):
    write_run(tmp_path / "m", "20261101_000000")
    write_run(tmp_path / "m", "20261102_000000", tasks={"sqa3d": [sqa3d(0, "TV")]})
    (run,) = results.read_results(tmp_path, plain)
    assert run.tasks["sqa3d"].values["em"] == 100 and set(run.tasks) == set(RECORDS)


def test_the_newest_run_is_that_of_the_latest_date_whatever_its_folder_is_called(tmp_path, plain):
    write_run(tmp_path / "second_try", "20261102_000000", tasks={"sqa3d": [sqa3d(0, "TV")]})
    write_run(tmp_path / "third", "20261101_000000", tasks={"sqa3d": [sqa3d(0, "lamp")]})
    renamed = write_run(tmp_path / "zero", "20261031_000000", tasks={"sqa3d": [sqa3d(0, "lamp")]}, samples=False)
    (file,) = renamed.glob("*_results.json")
    content = {**json.loads(file.read_text()), "date": "20261030_000000"}
    file.unlink()
    (renamed / "run_results.json").write_text(json.dumps(content))
    (run,) = results.read_results(tmp_path, plain)
    assert run.tasks["sqa3d"].values["em"] == 100


def test_two_models_are_two_columns(tmp_path, plain):
    write_run(tmp_path / "a", model="first")
    write_run(tmp_path / "b", model="second")
    runs = results.read_results(tmp_path, plain)
    assert [r.model for r in runs] == ["first", "second"]
    header = next(line for line in table.as_text(runs).splitlines() if "first" in line)
    assert "second" in header and "Video-3D LLM 32 frames" in header


def test_mini_variants_are_named_apart(tmp_path, plain):
    write_run(tmp_path / "a", suffix="_mini")
    (run,) = results.read_results(tmp_path, plain)
    assert run.tasks["scanrefer_mini"].task == "scanrefer" and run.tasks["scanrefer_mini"].split_note == "mini"
    assert "scanrefer_mini" in table.as_text([run])


def test_the_table_names_conventions_dates_and_what_is_missing(tmp_path, plain):
    text = table.as_text(results.read_results(write_run(tmp_path / "a"), plain))
    assert published.AS_OF in text and "arXiv 2412.00493" in text and "3ff70e8" in text
    assert "only 2 of 10 were asked" in text and "not comparable with the papers" in text
    assert "not computed: meteor@0.5" in text and "not in this test" in text
    row = next(line for line in text.splitlines() if line.startswith("v3d_acc@0.25"))
    assert "50.00" in row and "58.12" in row and "57.87" in row
    assert "GPT4Scene-HDM: v3d_acc@0.25 62.60" in text


def test_every_published_number_has_a_metric_of_that_name():
    for system in published.published_systems():
        for task, numbers in system.numbers.items():
            assert set(numbers) <= set(get(task).names()), system.name
            assert all(0 < value < 120 for value in numbers.values())


def test_every_bar_has_a_metric_of_that_name():
    for spec in usable().values():
        assert spec.bars and {name for _, name in spec.bars} <= set(spec.names())


class Reader(HTMLParser):
    """Tags that are open at the end, and all that were seen."""

    VOID = {"meta", "br", "rect", "path"}

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.attributes, self.data = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.data.append(data)


def test_the_page_is_whole_and_holds_no_script_and_no_link(tmp_path, plain):
    runs = results.read_results(write_run(tmp_path / "a", model=NASTY), plain)
    reader = Reader(page.page(runs, Scenes(tmp_path / "r.html")))
    assert reader.open == [] and {"script", "img", "link", "iframe"} & set(reader.seen) == set()
    assert not any(name.startswith("on") or name == "src" for name, _ in reader.attributes)
    links = [value for name, value in reader.attributes if name == "href"]
    assert links == ["#task-scanrefer", "#task-scan2cap", "#task-sqa3d"]  # inside the page only
    ids = [value for name, value in reader.attributes if name == "id"]
    assert {link[1:] for link in links} <= set(ids)
    text = "".join(reader.data)
    assert NASTY in text and "58.12" in text and "Worst examples" in text
    assert "width:50.0%" in page.page(runs, Scenes(tmp_path / "r.html"))


def test_the_page_without_samples_says_how_to_get_examples(tmp_path, plain):
    text = page.page(results.read_results(write_run(tmp_path / "a", samples=False), plain), Scenes(tmp_path / "r.html"))
    assert "--log_samples" in text and "Worst examples" not in text


def test_the_worst_come_first_and_ties_are_spread(plain):
    records = [sqa3d(n, "TV" if n < 3 else "lamp") for n in range(100)]
    chosen = worst.worst(get("sqa3d"), records, 10)
    ids = [int(record["id"]) for record, score in chosen if score == 0]
    assert len(ids) == 10 and max(ids) - min(ids) > 50
    assert worst.worst(get("sqa3d"), records, 10) == chosen
    (first, score), *_ = worst.worst(get("scanrefer"), RECORDS["scanrefer"], 2)
    assert first["id"] == "s|3|1" and score == 0


@pytest.mark.parametrize("task", RECORDS)
def test_worst_of_few_or_none(task, plain):
    assert len(worst.worst(get(task), RECORDS[task], 50)) == len(RECORDS[task])
    assert worst.worst(get(task), [], 5) == [] and worst.worst(get(task), RECORDS[task], 0) == []


def test_the_worst_caption_is_the_one_that_says_something_else(plain):
    (record, score), _ = worst.worst(get("scan2cap"), RECORDS["scan2cap"], 2)
    assert record["caption"] == "nothing" and score == 0


def test_a_plan_by_hand():
    svg = plan(get("scanrefer"), RECORDS["scanrefer"][1])
    # Boxes span -0.5 to 4.5 m, with 1.5 m around them -2 to 6 m: 420 units are 8 m, and 1 m is 52.5.
    assert '<rect class="truth" x="78.8" y="288.8" width="52.5" height="52.5"/>' in svg
    assert svg.count('class="proposal"') == 2 and svg.count('rect class="predicted"') == 1
    assert ">true</text>" in svg and ">chosen</text>" in svg and "8.0 m across: true, chosen" in svg
    nothing = {"task": "multi3drefer", "gt_boxes": [], "chosen": {"mass0.4": {"boxes": []}}, "prediction": None}
    assert plan(get("multi3drefer"), nothing) == ""


def test_a_plan_names_the_objects_of_the_scene():
    beside = [4.2, *FAR[1:]]
    objects = [Instance(1, "arm chair", BOX), Instance(2, NASTY, beside), Instance(3, "tv", [1, 2, 0, 1, 1, 1])]
    svg = plan(get("scanrefer"), RECORDS["scanrefer"][1], objects)
    assert ">true: arm chair</text>" in svg and ">tv</text>" in svg and svg.count('rect class="object"') == 2
    assert "<script" not in svg and "chosen: &lt;script&gt;" in svg  # the object that the chosen box overlaps most
    assert plan(get("scan2cap"), RECORDS["scan2cap"][0]).count(">true: chair</text>") == 1  # of the document


def test_texts_of_a_plan_do_not_overlap():
    objects = [Instance(n, "chair", [n * 0.2, 0.1 * n, 0, 1, 1, 1]) for n in range(12)]
    svg = plan(get("scanrefer"), RECORDS["scanrefer"][0], objects)
    texts = re.findall(r'<text class="(?:object|truth|predicted)" x="(.*?)" y="(.*?)">(.*?)<', svg)
    places = [(float(x), float(y), len(text) * 3.3) for x, y, text in texts]
    assert len(places) > 2
    for i, (x, y, half) in enumerate(places):
        assert all(abs(x - a) >= half + b - 0.2 or abs(y - v) >= 13.8 for a, v, b in places[:i])


def test_a_plan_of_one_point_does_not_divide_by_zero():
    record = {"task": "scanrefer", "gt_box": [1, 1, 1, 0, 0, 0], "box": None, "prediction": "x"}
    drawing = plan(get("scanrefer"), record)
    assert drawing and "nan" not in drawing and "inf" not in drawing


def test_an_example_links_to_its_question_where_its_scene_has_a_page(tmp_path, plain):
    runs = results.read_results(write_run(tmp_path / "a"), plain)
    assert scene_ids(runs, (), 12) == ["s"]
    scenes = Scenes(tmp_path / "my report.html", command="video3d report a --data DATA --view")
    text = page.page(runs, scenes)
    assert "s (no page: not made yet)" in text and "<code>video3d report a --data DATA --view</code>" in text
    failed = page.page(runs, replace(scenes, reasons={"s": "DATA: no scene 's'"}))
    assert "s (no page: DATA: no scene &#x27;s&#x27;)" in failed and "<code>" not in failed
    scenes.page("s").parent.mkdir()
    scenes.page("s").write_text("")
    text = page.page(runs, scenes)
    assert 'href="my%20report_scenes/s.html#task=scanrefer&amp;id=s%7C3%7C1"' in text and "no page" not in text
    assert scenes.link(RECORDS["scanrefer"][0], "a b").endswith("&by=a+b")


@pytest.mark.parametrize("scene_id", ["../s", "a/b", "", ".", "..", "s\0", "\ud800", "x" * 200])
def test_a_scene_whose_id_is_no_files_name_has_no_page(tmp_path, scene_id):
    assert Scenes(tmp_path / "r.html").page(scene_id) is None
    assert Scenes(tmp_path / "r.html").link({**RECORDS["scanrefer"][0], "scene_id": scene_id}) == ""


def test_the_command_writes_the_pages_of_the_examples_scenes(tmp_path, room_root, monkeypatch, capsys):
    pytest.importorskip("pycocoevalcap")
    from video3d_plugin import load_scene

    scene = load_scene(room_root)
    here = {**sqa3d(0, "TV"), "scene_id": scene.scene_id}
    write_run(tmp_path / "a", tasks={"sqa3d": [here, {**sqa3d(1, "TV"), "scene_id": "gone"}]})
    parser = argparse.ArgumentParser()
    report.add_arguments(parser)
    arguments = [str(tmp_path / "a"), "--without-meteor", "--view"]
    monkeypatch.delenv("VIDEO3D_DATA", raising=False)
    with pytest.raises(DataError, match="--view needs the scenes .add --data DATA"):
        report.run(parser.parse_args(arguments))
    assert report.run(parser.parse_args([*arguments, "--data", str(room_root)])) == 0
    assert "no page of scene gone: " in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "a/report_scenes").iterdir()] == [f"{scene.scene_id}.html"]
    text = (tmp_path / "a/report.html").read_text()
    assert f'href="report_scenes/{scene.scene_id}.html#task=sqa3d&amp;id=0"' in text and "gone (no page: " in text


def test_folders_that_hold_nothing_and_broken_files_are_errors(tmp_path, plain):
    with pytest.raises(MissingError, match="no such folder"):
        results.read_results(tmp_path / "absent", plain)
    with pytest.raises(MissingError, match="no results of scanrefer"):
        results.read_results(tmp_path, plain)
    (tmp_path / "1_results.json").write_text("{")
    with pytest.raises(DataError, match="not valid JSON"):
        results.read_results(tmp_path, plain)
    (tmp_path / "1_results.json").write_text('{"other": 1}')
    with pytest.raises(DataError, match="no `results`"):
        results.read_results(tmp_path, plain)
    write_run(tmp_path / "x")
    (tmp_path / "1_results.json").unlink()
    (tmp_path / "x" / "20261122_090000_samples_sqa3d.jsonl").write_text("{oops\n")
    with pytest.raises(DataError, match="line 1: not valid JSON"):
        results.read_results(tmp_path, plain)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"results": {"sqa3d": None}}, "results of sqa3d: expected an object, found NoneType"),
        (
            {"results": {"sqa3d": {"count_missing,none": float("nan")}}},
            "`sqa3d: count_missing` is nan, expected a finite number from 0",
        ),
        ({"n-samples": {"sqa3d": 5}}, "n-samples of sqa3d: expected an object, found int"),
        ({"n-samples": [1]}, "n-samples: expected an object, found list"),
        ({"config": "x"}, "config: expected an object, found str"),
    ],
)
def test_a_results_file_of_another_shape_is_an_error_of_one_line(tmp_path, plain, change, message):
    content = {"results": {"sqa3d": {"em,none": 1.0}}, **change}
    (tmp_path / "1_results.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=f"1_results.json: .*{message}"):
        results.read_results(tmp_path, plain)


def broken(**changes) -> bytes:
    """A line with a record that was whole; `...` takes a field away."""
    record = {name: value for name, value in {**sqa3d(5, "TV"), **changes}.items() if value is not ...}
    return json.dumps({"em": {"metric": "em", **record}}).encode()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"[1]", "jsonl: line 2: expected a JSON dict, found a list"),
        (b"\xff", "jsonl: line 2: not UTF-8"),
        (b"[" * 200_000, "jsonl: line 2: not valid JSON: nested too deeply"),
        (broken(answer=None), "jsonl, line 2: `answer` is None, expected text"),
        (broken(answer=...), "jsonl, line 2: `answer` is missing"),
        (broken(id=7), "jsonl, line 2: `id` is 7, expected text"),
    ],
)
def test_a_sample_that_cannot_be_read_is_an_error_of_one_line(tmp_path, plain, line, message):
    write_run(tmp_path, "1", tasks={"sqa3d": [sqa3d(0, "TV")]})
    with open(tmp_path / "1_samples_sqa3d.jsonl", "ab") as samples:
        samples.write(line + b"\n")
    with pytest.raises(DataError, match=f"1_samples_sqa3d.{message}"):
        results.read_results(tmp_path, plain)


def test_the_command_writes_the_page_beside_the_results(tmp_path, capsys):
    pytest.importorskip("pycocoevalcap")
    folder = write_run(tmp_path / "a").parent
    parser = argparse.ArgumentParser()
    report.add_arguments(parser)
    assert report.run(parser.parse_args([str(folder), "--without-meteor"])) == 0
    assert str(folder / "report.html") in capsys.readouterr().out
    assert (folder / "report.html").read_text().startswith("<!doctype html>")
    assert list(folder.glob("*.tmp")) == []
    assert (
        report.run(parser.parse_args([str(folder), "--without-meteor", "--all", "--html", str(tmp_path / "p/q.html")]))
        == 0
    )
    assert "leo_em_refined" in capsys.readouterr().out and (tmp_path / "p/q.html").is_file()


def test_the_first_screen_has_numbers_published_ones_and_why_they_do_not_compare(tmp_path, plain):
    (run,) = results.read_results(write_run(tmp_path / "a"), plain)
    by_task = {h.host_name: h for h in overview.headlines([run])}
    assert list(by_task) == ["scanrefer", "scan2cap", "sqa3d"]
    found = by_task["scanrefer"]
    assert (found.metric, found.value, found.published) == ("v3d_acc@0.5", 50, 51.72)
    assert found.difference == pytest.approx(50 - 51.72) and found.reason == "2 of 10 questions were asked"
    reader = Reader(page.page([run], Scenes(tmp_path / "r.html")))
    text = "".join(reader.data)
    assert "not comparable" in text and "2026-11-22" in text and "models/tiny" in text
    assert text.index("-1.72") < text.index("Worst examples") and "Typical examples" in text


def test_a_whole_run_compares_and_another_split_does_not(plain):
    whole = results.TaskRun("sqa3d", "sqa3d", None, {"em": 50.0}, {"questions": 3519})
    assert overview.why_not_comparable(whole) == ""
    mini = results.TaskRun("sqa3d", "sqa3d_mini", None, {"em": 50.0}, {"questions": 3519})
    assert overview.why_not_comparable(mini) == "another split: mini"
    fewer = results.TaskRun("sqa3d", "sqa3d", None, {"em": 50.0}, {"questions": 7})
    assert "the benchmark has 3519" in overview.why_not_comparable(fewer)


def test_typical_examples_are_those_in_the_middle(plain):
    records = [sqa3d(n, "TV" if n < 3 else "lamp") for n in range(10)]
    assert [score for _, score in worst.typical(get("sqa3d"), records, 2)] == [0, 0]
    assert [score for _, score in worst.typical(get("sqa3d"), records[:5], 1)] == [1]
    assert worst.typical(get("sqa3d"), [], 3) == worst.typical(get("sqa3d"), records, 0) == []


def test_folders_of_one_name_are_told_apart_by_their_parents():
    assert report.folder_names([Path("a"), Path("x/b")]) == ["a", "b"]
    assert report.folder_names([Path("old/lmms"), Path("new/lmms")]) == ["old/lmms", "new/lmms"]


def test_two_runs_are_compared_by_type_and_by_question(tmp_path, capsys):
    pytest.importorskip("pycocoevalcap")
    before = [sqa3d(0, "TV"), sqa3d(1, "lamp"), sqa3d(2, "TV"), sqa3d(9, "TV")]
    after = [sqa3d(0, "TV"), sqa3d(1, "TV"), sqa3d(2, "bed"), sqa3d(3, "TV"), sqa3d(4, "TV")]
    first, second = (
        write_run(tmp_path / name, tasks={"sqa3d": rows}) for name, rows in (("before", before), ("after", after))
    )
    parser = argparse.ArgumentParser()
    report.add_arguments(parser)
    out = tmp_path / "both.html"
    assert report.run(parser.parse_args([str(first), str(second), "--without-meteor", "--html", str(out)])) == 0
    text = capsys.readouterr().out
    row = next(line for line in text.splitlines() if line.startswith("em ") and "+5.00" in line)
    assert "75.00" in row and "80.00" in row
    assert "of 3 questions in both, 1 are better and 1 worse" in text
    assert "1: 0.00 -> 1.00" in text and "2: 1.00 -> 0.00" in text
    reader = Reader(out.read_text())
    assert reader.open == [] and "Better: 1 of 3 questions" in "".join(reader.data)
    write_run(tmp_path / "after" / "x", model="another")
    with pytest.raises(DataError, match="holds 2 runs.*compare folders of one run"):
        report.run(parser.parse_args([str(first), str(second), "--without-meteor", "--html", str(out)]))
