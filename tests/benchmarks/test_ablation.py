"""The ablation's table says what was run: means and spreads, the side of the base, and runs that were kept."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from benchmarks.ablation.report import orderings, section, spread
from benchmarks.ablation.runs import Bench, slug
from benchmarks.ablation.variants import BASE, COLUMNS, HOME, VARIANTS, VIEWS
from video3d_plugin.config import Video3DConfig
from video3d_plugin.config.paper import PAPER
from video3d_plugin.data.records import FORMAT
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.mini.presets import preset
from video3d_plugin.mini.rooms import Counts, make_benchmark
from video3d_plugin.mini.settings import MiniSettings


def bench(tmp_path, chosen=None) -> Bench:
    return Bench(tmp_path / "data", (4, 2), tmp_path / "models", tmp_path, chosen or preset("mini"), None)


def keep(folder, name, found, like):
    (folder / name).write_text(json.dumps({"recipe": like.recipe, "numbers": found}))


def numbers(value: float) -> dict[str, float]:
    return {column: value for column, _, _ in COLUMNS}


@pytest.fixture
def found():
    view = " ".join(map(str, HOME))
    result = {v.name: [{view: numbers(40.0)}, {view: numbers(44.0)}] for v in VARIANTS}
    result[BASE.name] = [{f"{s} {f}": numbers(50.0 + i) for s, f in VIEWS} for i in (0, 2)]
    return result


def test_mean_and_spread_worked_by_hand():
    assert spread([40.0, 44.0, 48.0]) == "44.0 ± 4.0" and spread([1.0]) == "1.0" and spread([]) == "—"


def test_the_table_has_every_variant_and_view(found):
    text = section(found, "2 rooms", "ablation.svg")
    for variant in VARIANTS:
        assert f"| {variant.name} | " in text
    assert f"| {BASE.name} | 2 | 51.0 ± 1.4 |" in text and "| uniform | 4 | 51.0 ± 1.4 |" in text
    assert "51.72 / 83.76 / 30.09" in text and "2 rooms" in text
    assert "| mc | 16 | " in text and text.count("| 56.46 |") == 1 and "± 1.4 | — |" in text


def test_what_goes_the_other_way_is_said_and_what_lies_within_the_spread_too(found):
    lines = "\n".join(orderings(found))
    # 42 against 51 with spreads of 2 and 1: lower..
    assert "no 3D position, Scan2Cap CIDEr@0.5: -9.0 here, -52.73 in the paper: as in the paper" in lines
    assert "MLP position, ScanRefer Acc@0.5: -9.0 here, +1.26 in the paper: the other way round" in lines
    close = {**found, "BCE head": [run for run in found[BASE.name]]}
    assert "BCE head, ScanRefer Acc@0.5: +0.0 here, -5.90 in the paper: within the spread" in "\n".join(
        orderings(close)
    )


def test_the_samplers_are_compared_at_as_many_frames(found):
    few = {"uniform 8": numbers(50.0), "mc 8": numbers(58.0), "uniform 16": numbers(60.0), "mc 16": numbers(55.0)}
    lines = "\n".join(orderings({**found, BASE.name: [{**run, **few} for run in found[BASE.name]]}))
    assert "8 frames: +8.0 here, +4.54 in the paper: as in the paper" in lines
    assert "16 frames: -5.0 here, +1.04 in the paper: the other way round" in lines and "4 frames" not in lines


def test_one_run_is_no_verdict_and_none_is_no_line(found):
    one = {**found, "BCE head": found["BCE head"][:1], "MLP position": []}
    text = section(one, "2 rooms", "ablation.svg")
    assert "BCE head, ScanRefer Acc@0.5: -11.0 here, -5.90 in the paper: one run" in text
    assert "| MLP position | 0 | — |" in text and "- MLP position" not in text


def test_the_report_is_written_from_the_runs_there_are(tmp_path):
    from benchmarks.ablation.__main__ import main, parsed, small

    pytest.importorskip("matplotlib")
    page = tmp_path / "results.md"
    page.write_text("# Results\n")
    like = bench(tmp_path, small(parsed(["--lookup-steps", "7", "--steps", "9"])))
    keep(tmp_path, "bce-head-seed1.json", {" ".join(map(str, HOME)): numbers(12.0)}, like)
    asked = ["--report", "--measured", str(tmp_path), "--page", str(page), "--train-rooms", "4", "--val-rooms", "2"]
    with pytest.raises(DataError, match="bce-head-seed1.json.*another recipe"):
        main([*asked, "--lookup-steps", "7"])
    assert page.read_text() == "# Results\n"
    assert main([*asked, "--lookup-steps", "7", "--steps", "9"]) == 0
    assert "| BCE head | 1 | 12.0 |" in page.read_text() and (tmp_path / "ablation.svg").is_file()


def test_a_run_that_was_kept_is_read_and_not_run_again(tmp_path):
    kept = {"mc 8": numbers(1.0)}
    keep(tmp_path, "bce-head-seed0.json", kept, bench(tmp_path))
    assert bench(tmp_path).numbers(VARIANTS[-1], 0) == kept
    with pytest.raises(MissingError, match="data folder"):  # another seed would be trained, and there is no data
        bench(tmp_path).numbers(VARIANTS[-1], 1)


def test_a_run_from_before_a_setting_came_is_one_of_its_default(tmp_path):
    like, chosen = bench(tmp_path), preset("mini")
    older = like.recipe
    assert older["settings"].pop("lookup_scenes") == MiniSettings().lookup_scenes
    path = tmp_path / "bce-head-seed0.json"
    path.write_text(json.dumps({"recipe": older, "numbers": {"mc 8": numbers(1.0)}}))
    assert like.kept(VARIANTS[-1], 0) == {"mc 8": numbers(1.0)}
    other = replace(chosen, settings=replace(chosen.settings, lookup_scenes=3))
    with pytest.raises(DataError, match="another recipe"):
        bench(tmp_path, other).kept(VARIANTS[-1], 0)


def test_all_runs_that_the_repository_keeps_are_read():
    """Some were kept when a setting had another name."""
    from benchmarks.ablation.__main__ import parsed, small

    args = parsed([])
    kept = Bench(None, (args.train_rooms, args.val_rooms), args.output, args.measured, small(args), args.limit)
    found = [kept.kept(variant, seed) for variant in VARIANTS for seed in range(args.seeds)]
    assert len(found) == len(list(args.measured.glob("*.json"))) == 18
    assert all(numbers["mc 8"].keys() == {column for column, _, _ in COLUMNS} for numbers in found)


def test_models_of_another_recipe_lie_elsewhere(tmp_path):
    longer = replace(preset("mini"), settings=replace(preset("mini").settings, steps=7))
    other_seed = replace(preset("mini"), settings=replace(preset("mini").settings, seed=7))
    own = bench(tmp_path).models
    assert own == bench(tmp_path, other_seed).models != bench(tmp_path, longer).models
    assert own.parent == tmp_path / "models"


def test_nothing_is_trained_where_all_runs_are_kept(tmp_path, monkeypatch):
    import benchmarks.ablation.__main__ as ablation

    pytest.importorskip("matplotlib")
    monkeypatch.setattr(ablation, "_rooms", lambda args: pytest.fail("rooms were made"))
    like = bench(tmp_path, ablation.small(ablation.parsed([])))
    for variant in VARIANTS:
        views = [HOME] if variant.options else VIEWS
        found = {f"{sampler} {frames}": numbers(9.0) for sampler, frames in views}
        keep(tmp_path, f"{slug(variant.name)}-seed0.json", found, like)
    page = tmp_path / "results.md"
    asked = ["--measured", str(tmp_path), "--page", str(page), "--train-rooms", "4", "--val-rooms", "2", "--seeds", "1"]
    assert ablation.main(asked) == 0 and "| BCE head | 1 | 9.0 |" in page.read_text()


def test_runs_on_other_rooms_are_refused_before_anything_is_trained(tmp_path, monkeypatch):
    import benchmarks.ablation.__main__ as ablation

    small = {"frames": 2, "image_size": (24, 32), "write": ("annotations",), "progress": False}
    counts = Counts(objects=4, references=(1, 1), multi3drefer=1, scanqa=1, sqa3d=1)
    make_benchmark(tmp_path / "source", split={"train": 1, "val": 1}, counts=counts, **small)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "video3d.json").write_text(json.dumps({"format": FORMAT, "tasks": []}))
    monkeypatch.setattr(ablation, "_rooms", lambda args: tmp_path / "data")
    monkeypatch.setattr(Bench, "seeing", lambda *_: pytest.fail("a tower was trained"))
    asked = ["--measured", str(tmp_path), "--page", str(tmp_path / "page.md"), "--train-rooms", "4", "--val-rooms", "2"]
    like = bench(tmp_path, ablation.small(ablation.parsed([])))
    kept = {"recipe": like.recipe, "numbers": {" ".join(map(str, HOME)): numbers(9.0)}}
    path = tmp_path / "bce-head-seed0.json"
    path.write_text(json.dumps({**kept, "made_on": like.splits}))
    with pytest.raises(pytest.fail.Exception, match="a tower"):
        ablation.main(asked)
    path.write_text(json.dumps({**kept, "made_on": {**like.splits, "val": "0"}}))
    with pytest.raises(DataError, match="bce-head-seed0.json.*other rooms"):
        ablation.main(asked)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_every_variant_is_a_model_that_the_configuration_knows(variant):
    sizes = {**PAPER, **preset("mini").language}
    config, base = Video3DConfig(**{**sizes, **variant.options}), Video3DConfig(**sizes)
    differs = (config.position, config.head) != (base.position, base.head)
    assert differs == bool(variant.options)


def test_names_are_told_apart_in_files(tmp_path):
    kept = bench(tmp_path)
    for number, variant in enumerate(VARIANTS):
        keep(tmp_path, f"{slug(variant.name)}-seed0.json", {"mc 8": numbers(float(number))}, kept)
    assert [kept.numbers(v, 0)["mc 8"][COLUMNS[0][0]] for v in VARIANTS] == list(map(float, range(len(VARIANTS))))
