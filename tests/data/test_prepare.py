"""`video3d prepare`: repeatable, resumable, counted; and the data folder it makes."""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up_scan import HEIGHT, WIDTH, ScanRoot, matrix_text, png, shift

from video3d_plugin.cli import prepare as prepare_cli
from video3d_plugin.data import prepare_scene, store
from video3d_plugin.data.folder import DataFolder
from video3d_plugin.data.frames import check_frame
from video3d_plugin.data.prepare import STAGES, prepare
from video3d_plugin.data.prepare_scene import SceneOptions
from video3d_plugin.data.readers import load_scene
from video3d_plugin.data.records import FORMAT
from video3d_plugin.errors import DataError, MissingError, Video3DError
from video3d_plugin.files import atomic
from video3d_plugin.inputs_spec import InputsSpec

SPEC = InputsSpec(image_size=28)
ROOT = Path(__file__).parents[2]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def run_prepare(source, output, *extra) -> list[str]:
    return [sys.executable, "-m", "video3d_plugin.cli", "prepare", str(source), "--output", str(output), *extra]


def environment():
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def prepared(full_root, tmp_path):
    prepare(full_root.path, tmp_path / "data")
    return DataFolder.open(tmp_path / "data")


def test_a_prepared_scene_is_the_scene(full_root, prepared):
    direct, scene = load_scene(full_root.path), prepared.scene("scene0000_00")
    assert scene.instances == direct.instances and (scene.proposals == direct.proposals).all()
    assert (scene.world_from_scan == direct.world_from_scan).all()
    for got, expected in zip(scene.frames, direct.frames, strict=True):
        assert (got.name, got.color, got.depth, got.depth_size) == (
            expected.name,
            expected.color,
            expected.depth,
            expected.depth_size,
        )
        assert (got.scan_from_camera == expected.scan_from_camera).all()


def test_tasks_docs_and_questions(prepared):
    assert prepared.tasks() == {
        ("scanrefer", "val"): 3,
        ("multi3drefer", "val"): 3,
        ("scan2cap", "val"): 2,
        ("scanqa", "val"): 1,
        ("scanqa", "test_wo_obj"): 1,
        ("sqa3d", "test"): 1,
    }
    assert prepared.docs("scanrefer", "val")[0]["gt_box"] == [10.5, 0.5, 0.5, 1, 1, 1]
    assert [len(prepared.questions(*task)) for task in prepared.tasks()] == [3, 3, 3, 2, 0, 3]
    assert prepared.questions("scan2cap", "val")[0].coords == ((10.5, 0.5, 0.5),)


def test_the_same_source_gives_the_same_bytes(full_root, tmp_path):
    for name in ("one", "two"):
        prepare(full_root.path, tmp_path / name, store=SPEC)
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert one == two and any(name.startswith("store/") for name in one)


def test_a_second_run_redoes_nothing_and_changes_nothing(full_root, prepared, monkeypatch):
    before = contents(prepared.path)
    monkeypatch.setattr(prepare_scene, "without_broken_frames", lambda scene: pytest.fail("a frame was decoded again"))
    report = prepare(full_root.path, prepared.path)
    assert report.scenes[0].reused and contents(prepared.path) == before


def test_a_changed_annotation_file_redoes_the_annotations_only(full_root, prepared, monkeypatch):
    monkeypatch.setattr(prepare_scene, "without_broken_frames", lambda scene: pytest.fail("a frame was decoded again"))
    path = full_root.path / "annotations" / "multi3drefer_val.json"
    path.write_text(json.dumps(json.loads(path.read_text())[:1]))
    before = contents(prepared.path)
    prepare(full_root.path, prepared.path)
    after = contents(prepared.path)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {
        "docs/multi3drefer_val.json",
        "questions/multi3drefer_val.json",
        "report.json",
        "video3d.json",
    }


def test_a_changed_option_redoes_what_depends_on_it(full_root, prepared):
    before = contents(prepared.path)
    prepare(full_root.path, prepared.path, scene=SceneOptions(max_proposals=1))
    after = contents(prepared.path)
    assert len(DataFolder.open(prepared.path).scene("scene0000_00").proposals) == 1
    assert after["selections/scene0000_00.json"] == before["selections/scene0000_00.json"]
    assert after["docs/scan2cap_val.json"] != before["docs/scan2cap_val.json"]


def test_a_new_frame_in_the_source_is_noticed(full_root, prepared):
    for suffix in (".jpg", ".png", ".txt"):
        (full_root.posed / f"00000{suffix}").rename(full_root.posed / f"00070{suffix}")
    full_root.write_infos(names=["00010", "00070"])
    prepare(full_root.path, prepared.path)
    scene = DataFolder.open(prepared.path).scene("scene0000_00")
    assert [frame.name for frame in scene.frames] == ["00010", "00070"]


def test_broken_frames_are_left_out_and_counted_in_the_report(full_root, tmp_path):
    (full_root.posed / "00010.jpg").write_bytes((full_root.posed / "00010.jpg").read_bytes()[:300])
    (full_root.posed / "00020.txt").write_text("inf " * 16)
    report = prepare(full_root.path, tmp_path / "data")
    kept = json.loads((tmp_path / "data" / "report.json").read_text())["prepared"]["scene0000_00"]
    assert kept["frames"] == 4 and len(kept["omissions"]) == 2
    assert "left out: 1 x frame: pose is not finite" in report.table()
    assert "left out: 1 x frame: colour image cannot be decoded" in report.table()


def test_a_scan_that_cannot_be_used_is_counted_and_the_others_are_made(full_root, tmp_path):
    ScanRoot(full_root.path, "scene0001_00").write_posed_images().write_mesh()
    (full_root.path / "scans" / "scene0001_00" / "scene0001_00_vh_clean_2.ply").write_bytes(b"no mesh")
    (full_root.path / "scans" / "scene0002_00").mkdir()
    report = prepare(full_root.path, tmp_path / "data")
    assert DataFolder.open(tmp_path / "data").scene_ids == ("scene0000_00",)
    assert [r.scene_id for r in report.failed] == ["scene0001_00", "scene0002_00"]
    assert "left out: scene scene0001_00: " in report.table() and "not a PLY file" in report.table()


def without_depth(root: ScanRoot) -> None:
    for path in root.posed.glob("*.png"):
        path.write_bytes(png(np.zeros((HEIGHT, WIDTH), np.uint16)))


def with_a_lost_pose(root: ScanRoot) -> None:
    (root.posed / "00020.txt").write_text(matrix_text(shift(500, 500, 300)))


def with_a_truncated_depth(root: ScanRoot) -> None:
    path = root.posed / "00020.png"
    path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize(
    "damage, message",
    [
        (without_depth, "no frame has a measured depth"),
        (with_a_lost_pose, "voxels span .* not one room"),
        (with_a_truncated_depth, r"00020\.png: depth cannot be decoded"),
    ],
)
def test_a_scan_without_a_max_coverage_choice_is_counted_and_the_others_are_made(full_root, tmp_path, damage, message):
    for name in ("scene0001_00", "scene0002_00"):
        ScanRoot(full_root.path, name).write_posed_images()
    damage(ScanRoot(full_root.path, "scene0001_00"))
    report = prepare(full_root.path, tmp_path / "data", scene=SceneOptions(check="headers"))
    (omission,) = report.scenes[1].omissions
    assert omission.what == "max-coverage choice of frames" and re.search(message, omission.reason)
    assert f"left out: 1 x max-coverage: {omission.reason}" in report.table()
    folder = DataFolder.open(tmp_path / "data")
    assert len(folder.scene_ids) == 3 and folder.tasks() and folder.selection_path("scene0002_00").is_file()
    assert len(folder.frames("scene0001_00", "uniform", 4)) == 4
    with pytest.raises(DataError, match=message):
        folder.frames("scene0001_00", "mc", 4)


def test_no_usable_scan_at_all_is_an_error(scan_root, tmp_path):
    scan_root.write_posed_images()
    for path in scan_root.posed.glob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="no usable scan: .*depth is not a PNG"):
        prepare(scan_root.path, tmp_path / "data")


def test_items_that_cannot_be_used_are_counted_in_report_and_table(full_root, tmp_path):
    path = full_root.path / "annotations" / "multi3drefer_val.json"
    items = json.loads(path.read_text())
    items[0]["object_ids"], items[1]["scene_id"] = [77], "scene0999_00"
    path.write_text(json.dumps(items))
    table = prepare(full_root.path, tmp_path / "data").table()
    assert "multi3drefer val: 1 of 3 items: object has no annotated box: scene0000_00 object 77" in table
    assert "multi3drefer val: 1 of 3 items: scene is not among the prepared ones: scene0999_00" in table


def test_the_report_tells_of_the_whole_folder_whatever_ran_last(full_root, tmp_path):
    (full_root.posed / "00020.txt").write_text("inf " * 16)
    ScanRoot(full_root.path, "scene0001_00").write_posed_images()
    (full_root.path / "scans" / "scene0002_00").mkdir(parents=True)
    annotations = full_root.path / "annotations" / "multi3drefer_val.json"
    annotations.write_text(annotations.read_text().replace("[4, 1]", "[77]"))
    path = tmp_path / "data" / "report.json"

    prepare(full_root.path, tmp_path / "data")
    whole = json.loads(path.read_text())
    assert whole["prepared"]["scene0000_00"]["omissions"] and whole["failed"] and whole["tasks"]
    for options in ({"stages": ["annotations"]}, {"scenes": ["scene0001_00"]}, {"stages": ["scenes"]}):
        report = prepare(full_root.path, tmp_path / "data", **options)
        assert json.loads(path.read_text()) == whole, options
        assert "left out: scene scene0002_00" in report.table() and "multi3drefer val: 1 of 3" in report.table()


def test_a_damaged_scene_of_an_earlier_run_is_reported(full_root, tmp_path):
    ScanRoot(full_root.path, "scene0001_00").write_posed_images()
    prepare(full_root.path, tmp_path / "data")
    (tmp_path / "data" / "scenes" / "scene0000_00.json").write_text("{")
    report = prepare(full_root.path, tmp_path / "data", scenes=["scene0001_00"], stages=["scenes"])
    assert [(r.scene_id, "not valid JSON" in r.failed) for r in report.failed] == [("scene0000_00", True)]


def test_a_folder_whose_name_cannot_be_a_scene_s_is_reported_with_the_remedy(full_root, tmp_path):
    ScanRoot(full_root.path, "my room").write_posed_images().write_sens()
    report = prepare(full_root.path, tmp_path / "data")
    (failed,) = report.failed
    assert failed.scene_id == "my room" and "rename it" in failed.failed
    full_root.posed.rename(full_root.posed.with_name("other room"))
    with pytest.raises(DataError, match=r"no scan has a name that a scene can have: my room, other room \(rename"):
        prepare(full_root.path, tmp_path / "data")


def test_a_prepared_scene_is_thinned_by_a_step_as_any_other(prepared):
    scene = load_scene(prepared.path, frame_step=4)
    assert [frame.name for frame in scene.frames] == ["00000", "00040"]
    assert "one frame in 4 is used, of 6" in scene.notes
    assert len(load_scene(prepared.path, frame_step=1).frames) == 6
    with pytest.raises(DataError, match="frame_step is 0"):
        load_scene(prepared.path, frame_step=0)


def test_a_benchmark_file_that_is_broken_is_an_error_that_names_it(full_root, tmp_path):
    (full_root.path / "annotations" / "multi3drefer_val.json").write_text("[")
    with pytest.raises(DataError, match=r"multi3drefer_val\.json: not valid JSON"):
        prepare(full_root.path, tmp_path / "data")


def test_a_scan_that_lost_its_source_leaves_the_folder(full_root, tmp_path):
    ScanRoot(full_root.path, "scene0001_00").write_posed_images()
    prepare(full_root.path, tmp_path / "data")
    assert len(DataFolder.open(tmp_path / "data").scene_ids) == 2
    full_root.posed.parent.joinpath("scene0001_00").rename(tmp_path / "elsewhere")
    prepare(full_root.path, tmp_path / "data")
    assert DataFolder.open(tmp_path / "data").scene_ids == ("scene0000_00",)


def test_some_scans_can_be_prepared_and_others_later(full_root, tmp_path):
    for name in ("scene0001_00", "scene0001_01"):
        ScanRoot(full_root.path, name).write_posed_images()
    prepare(full_root.path, tmp_path / "data", scenes=["scene0001_*"])
    assert DataFolder.open(tmp_path / "data").scene_ids == ("scene0001_00", "scene0001_01")
    prepare(full_root.path, tmp_path / "data", scenes=["scene0000_00"])
    assert len(DataFolder.open(tmp_path / "data").scene_ids) == 3
    with pytest.raises(MissingError, match="no scan 'scene7'"):
        prepare(full_root.path, tmp_path / "data", scenes=["scene7"])


def test_stages_can_run_alone(full_root, tmp_path):
    output = tmp_path / "data"
    with pytest.raises(DataError, match="no usable scan.*run the stage `scenes` first"):
        prepare(full_root.path, output, stages=["frames"])
    prepare(full_root.path, output, stages=["scenes"])
    assert not (output / "selections").exists() and not (output / "docs").exists()
    prepare(full_root.path, output, stages=["frames"])
    assert (output / "selections").is_dir() and not (output / "docs").exists()
    prepare(full_root.path, output, stages=["annotations"])
    assert DataFolder.open(output).tasks()
    with pytest.raises(DataError, match="unknown stage 'sense'"):
        prepare(full_root.path, output, stages=["sense"])


def test_several_processes_give_the_bytes_of_one(full_root, tmp_path):
    for index in range(1, 4):
        ScanRoot(full_root.path, f"scene000{index}_00").write_posed_images().write_mesh()
    prepare(full_root.path, tmp_path / "one")
    prepare(full_root.path, tmp_path / "two", jobs=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_local_dask_cluster_gives_the_bytes_of_one_process(full_root, tmp_path):
    pytest.importorskip("distributed", reason="dask[distributed] is not installed")
    ScanRoot(full_root.path, "scene0001_00").write_posed_images().write_mesh()
    prepare(full_root.path, tmp_path / "one")
    command = run_prepare(full_root.path, tmp_path / "two", "--backend", "dask", "--jobs", "2")
    # a script of its own, because the cluster's workers import the main module
    script = tmp_path / "main.py"
    script.write_text(f"if __name__ == '__main__':\n    {command[2]}\n")
    subprocess.run([command[0], str(script), *command[3:]], env=environment(), check=True, timeout=300)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize("backend, package", [("dask", "distributed"), ("ray", "ray")])
def test_a_backend_that_is_not_installed_says_what_to_install(full_root, tmp_path, monkeypatch, backend, package):
    monkeypatch.setitem(sys.modules, package, None)
    ScanRoot(full_root.path, "scene0001_00").write_posed_images()
    with pytest.raises(MissingError, match="pip install"):
        prepare(full_root.path, tmp_path / "data", backend=backend, jobs=2)


def test_copied_frames_make_the_folder_independent(full_root, tmp_path):
    prepare(full_root.path, tmp_path / "data", scene=SceneOptions(copy_frames=True))
    expected = DataFolder.open(tmp_path / "data").inputs("scene0000_00", SPEC, proposals="gt")
    full_root.path.rename(tmp_path / "gone")
    (tmp_path / "data").rename(tmp_path / "moved")
    folder = DataFolder.open(tmp_path / "moved")
    for path in (folder.path / "store").rglob("*.safetensors"):
        path.unlink()
    got = folder.inputs("scene0000_00", SPEC, proposals="gt")
    assert all(torch.equal(got.tensors()[k], expected.tensors()[k]) for k in got.tensors())


@pytest.mark.parametrize("harm", ["cut", "emptied", "lost", "longer"])
@pytest.mark.parametrize("suffix", [".jpg", ".depth.png"])
def test_a_copied_frame_that_was_cut_short_is_noticed_and_copied_again(full_root, tmp_path, suffix, harm):
    options = SceneOptions(copy_frames=True)
    prepare(full_root.path, tmp_path / "data", scene=options)
    assert all(result.reused for result in prepare(full_root.path, tmp_path / "data", scene=options).scenes)
    path = next(p for p in sorted((tmp_path / "data" / "frames").rglob("*")) if p.name.endswith(suffix))
    whole = path.read_bytes()
    if harm == "lost":
        path.unlink()
    else:
        path.write_bytes({"cut": whole[:-20], "emptied": b"", "longer": whole + b"x"}[harm])
    if harm in ("cut", "emptied"):  # whoever reads it meanwhile is told
        frames = DataFolder.open(tmp_path / "data").scene("scene0000_00").frames
        frame = next(frame for frame in frames if path in (frame.color.path, frame.depth.path))
        assert f"ends after {path.stat().st_size} of {len(whole)} bytes" in check_frame(frame)
    assert not any(result.reused for result in prepare(full_root.path, tmp_path / "data", scene=options).scenes)
    assert path.read_bytes() == whole


def test_copies_of_a_record_without_their_sizes_are_made_again_once(full_root, tmp_path):
    options = SceneOptions(copy_frames=True)
    prepare(full_root.path, tmp_path / "data", scene=options)
    path = tmp_path / "data" / "scenes" / "scene0000_00.json"
    record = json.loads(path.read_text())
    for frame in record["frames"]:
        frame["color"][2] = frame["depth"][2] = None
    path.write_text(json.dumps(record))
    assert len(DataFolder.open(tmp_path / "data").scene("scene0000_00").frames[0].color.read()) > 100
    assert not any(result.reused for result in prepare(full_root.path, tmp_path / "data", scene=options).scenes)
    assert all(result.reused for result in prepare(full_root.path, tmp_path / "data", scene=options).scenes)


def test_frames_of_a_sens_can_be_copied_too(scan_root, tmp_path):
    scan_root.write_sens()
    prepare(scan_root.path, tmp_path / "data", scene=SceneOptions(copy_frames=True))
    frame = DataFolder.open(tmp_path / "data").scene("scene0000_00").frames[0]
    assert frame.color.path.parent == tmp_path / "data" / "frames" / "scene0000_00"
    assert frame.color.read() == load_scene(scan_root.path).frames[0].color.read()


def test_a_source_and_folder_moved_together_still_find_each_other(full_root, tmp_path, monkeypatch):
    prepare(full_root.path, tmp_path / "data")
    (tmp_path / "new").mkdir()
    full_root.path.rename(tmp_path / "new" / "source")
    (tmp_path / "data").rename(tmp_path / "new" / "data")
    assert DataFolder.open(tmp_path / "new" / "data").inputs("scene0000_00", SPEC).pixels.shape == (32, 28, 28, 3)


def test_a_lost_source_is_an_error_that_names_the_frame_and_the_remedy(full_root, prepared, tmp_path):
    full_root.path.rename(tmp_path / "gone")
    with pytest.raises(DataError, match=r"00000\.png: cannot be read.*put the source back or prepare again"):
        DataFolder.open(prepared.path).inputs("scene0000_00", SPEC)


def all_readable(output: Path, *scene_ids: str) -> bool:
    """Whether the frames of these scenes, and of no others, are found; nothing comes from the store."""
    folder = DataFolder.open(output)
    assert folder.scene_ids == scene_ids
    scenes = [folder.scene(scene_id) for scene_id in scene_ids]
    return all(check_frame(frame) is None for scene in scenes for frame in scene.frames)


@pytest.mark.parametrize("stages", [["annotations"], ["frames"], ["scenes"], STAGES])
def test_a_run_without_copies_leaves_a_folder_with_copies_usable(full_root, tmp_path, stages):
    output = tmp_path / "data"
    prepare(full_root.path, output, scene=SceneOptions(copy_frames=True))
    (output / "selections" / "scene0000_00.json").unlink()
    prepare(full_root.path, output, stages=stages)
    assert all_readable(output, "scene0000_00")


def test_some_scans_can_be_copied_and_others_not(full_root, tmp_path):
    ScanRoot(full_root.path, "scene0001_00").write_posed_images()
    prepare(full_root.path, tmp_path / "data")
    prepare(full_root.path, tmp_path / "data", scenes=["scene0001_00"], scene=SceneOptions(copy_frames=True))
    assert all_readable(tmp_path / "data", "scene0000_00", "scene0001_00")
    full_root.path.rename(tmp_path / "gone")
    assert check_frame(DataFolder.open(tmp_path / "data").scene("scene0001_00").frames[0]) is None


def test_scans_of_two_sources_can_share_a_folder(full_root, tmp_path):
    other = ScanRoot(tmp_path / "other", "scene0001_00").write_posed_images()
    prepare(full_root.path, tmp_path / "data")
    prepare(other.path, tmp_path / "data", scenes=["scene0001_00"])
    assert all_readable(tmp_path / "data", "scene0000_00", "scene0001_00")


def test_a_scan_whose_source_was_moved_is_found_after_the_next_run(full_root, prepared, tmp_path, monkeypatch):
    full_root.path.rename(tmp_path / "moved")
    monkeypatch.setattr(prepare_scene, "without_broken_frames", lambda scene: pytest.fail("a frame was decoded again"))
    prepare(tmp_path / "moved", prepared.path)
    assert all_readable(prepared.path, "scene0000_00")


def as_of_before_roots(folder: Path, source: Path) -> None:
    """What was written when the head said for all scenes where their frames lie."""
    for path in (folder / "scenes").glob("*.json"):
        record = json.loads(path.read_text())
        del record["root"]
        path.write_text(json.dumps(record))
    head = json.loads((folder / "video3d.json").read_text())
    lies = {"source": str(source), "source_relative": os.path.relpath(source, folder), "frames_copied": False}
    (folder / "video3d.json").write_text(json.dumps({**head, **lies}))


def test_scenes_of_before_lie_where_the_head_says_also_after_another_run(full_root, prepared, tmp_path):
    ScanRoot(full_root.path, "scene0001_00").write_posed_images()
    as_of_before_roots(prepared.path, full_root.path)
    assert all_readable(prepared.path, "scene0000_00")
    prepare(full_root.path, prepared.path, scenes=["scene0001_00"], scene=SceneOptions(copy_frames=True))
    assert all_readable(prepared.path, "scene0000_00", "scene0001_00")
    (prepared.path / "video3d.json").write_text(json.dumps({"format": FORMAT}))
    with pytest.raises(DataError, match=r"scene0000_00\.json: .*root.*run `video3d prepare` again"):
        DataFolder.open(prepared.path).scene("scene0000_00")
    prepare(full_root.path, prepared.path)
    assert all_readable(prepared.path, "scene0000_00", "scene0001_00")


KILLS = [0.02, 0.3, *(pytest.param(delay / 100, marks=pytest.mark.slow) for delay in range(0, 100, 7))]


@pytest.mark.parametrize("kill_after", KILLS)
def test_a_killed_run_continues_to_the_same_bytes(full_root, tmp_path, kill_after):
    for index in range(1, 5):
        ScanRoot(full_root.path, f"scene000{index}_00").write_posed_images().write_mesh()
    prepare(full_root.path, tmp_path / "whole", store=InputsSpec(image_size=112))
    command = run_prepare(full_root.path, tmp_path / "killed", "--store", "--image-size", "112")
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (tmp_path / "killed" / "video3d.json").exists():
        time.sleep(0.01)  # the imports are not what is to be interrupted
    time.sleep(kill_after)
    process.send_signal(signal.SIGKILL)
    process.wait()
    prepare(full_root.path, tmp_path / "killed", store=InputsSpec(image_size=112))
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_ctrl_c_says_how_many_scenes_are_prepared_and_the_same_command_goes_on(
    full_root, tmp_path, monkeypatch, capsys
):
    from video3d_plugin import cli
    from video3d_plugin.data import prepare as module

    ScanRoot(full_root.path, "scene0001_00").write_posed_images().write_mesh()

    def interrupted(job):
        if job.files.scene_id == "scene0001_00":
            raise KeyboardInterrupt
        return prepare_scene.prepare_scene(job)

    words = ["prepare", str(full_root.path), "--output", str(tmp_path / "data")]
    with monkeypatch.context() as patch:
        patch.setattr(module, "prepare_scene", interrupted)
        assert cli.main(words) == 130
    said = "video3d: stopped; 1 of 2 scenes are prepared, and the same command goes on from there\n"
    assert capsys.readouterr().err == said
    assert cli.main(words) == 0


def test_leftovers_of_a_killed_writer_are_removed_and_those_of_a_living_one_are_not(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = [f".a.json.{atomic.HOST}.{pid}-0.video3d-tmp" for pid in (dead.pid, os.getpid())]
    for name in names:
        (tmp_path / name).write_text("half")
    assert atomic.remove_leftovers(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == [names[1]]


def test_two_processes_on_one_folder_end_with_the_bytes_of_one(full_root, tmp_path):
    for index in range(1, 4):
        ScanRoot(full_root.path, f"scene000{index}_00").write_posed_images().write_mesh()
    prepare(full_root.path, tmp_path / "whole")
    command = run_prepare(full_root.path, tmp_path / "shared")
    both = [
        subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in "ab"
    ]
    said = [process.communicate(timeout=120)[1].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert contents(tmp_path / "shared") == contents(tmp_path / "whole")


def test_a_full_disk_is_a_clear_error_and_leaves_no_half_file(full_root, tmp_path, monkeypatch):
    original = Path.write_bytes

    def full(self, data):
        if "scenes" in self.parts[-2]:
            original(self, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(DataError, match=r"scene0000_00\.json: the disk is full \(free some space"):
            prepare(full_root.path, tmp_path / "data")
    assert list((tmp_path / "data" / "scenes").iterdir()) == []
    prepare(full_root.path, tmp_path / "data")
    prepare(full_root.path, tmp_path / "whole")
    assert contents(tmp_path / "data") == contents(tmp_path / "whole")


@pytest.mark.filterwarnings("ignore:.*max-coverage frames are chosen anew")
@pytest.mark.parametrize("damage", [lambda data: data[:-20], lambda data: b"{}"])
@pytest.mark.parametrize(
    "name",
    [
        "video3d.json",
        "scenes/scene0000_00.json",
        "docs/scanrefer_val.json",
        "questions/scanrefer_val.json",
        "selections/scene0000_00.json",
        "surface/scene0000_00.npz",
    ],
)
def test_damaged_files_of_the_folder_are_made_again(full_root, prepared, name, damage):
    before, path = contents(prepared.path), prepared.path / name
    path.write_bytes(damage(path.read_bytes()))
    prepare(full_root.path, prepared.path)
    assert contents(prepared.path) == before


@pytest.mark.parametrize("name", ["surface/scene0000_00.npz", "selections/scene0000_00.json"])
def test_lost_files_of_the_folder_are_made_again(full_root, prepared, name):
    before = contents(prepared.path)
    (prepared.path / name).unlink()
    prepare(full_root.path, prepared.path)
    assert contents(prepared.path) == before


@pytest.mark.parametrize("name, key", [("scenes/scene0000_00.json", "proposals"), ("video3d.json", "tasks")])
def test_a_file_with_one_damaged_key_is_made_again(full_root, prepared, name, key):
    before, path = contents(prepared.path), prepared.path / name
    path.write_text(json.dumps({**json.loads(path.read_text()), key: 3}))
    with pytest.raises(DataError, match="run `video3d prepare` again"):
        DataFolder.open(prepared.path).scene("scene0000_00")
    prepare(full_root.path, prepared.path)
    assert contents(prepared.path) == before


@pytest.mark.parametrize("damage", [lambda record: record[:50], lambda record: record.replace(":[", ':["",')])
def test_a_damaged_choice_of_frames_is_said_and_made_again(prepared, damage):
    path = prepared.selection_path("scene0000_00")
    expected, whole = prepared.frames("scene0000_00", "mc", 3), path.read_text()
    path.write_text(damage(whole))
    with pytest.warns(UserWarning, match=r"scene0000_00\.json: .*max-coverage frames are chosen anew"):
        assert len(prepared.frames("scene0000_00", "uniform", 3)) == 3
    with pytest.warns(UserWarning, match="chosen anew"):
        assert prepared.frames("scene0000_00", "mc", 3) == expected
    assert path.read_text() == whole


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:100])])
def test_without_the_surface_no_other_frames_are_chosen(prepared, damage):
    prepared.selection_path("scene0000_00").unlink()
    damage(prepared.path / "surface" / "scene0000_00.npz")
    with pytest.raises(Video3DError, match=r"scene0000_00\.npz: .*run `video3d prepare` again"):
        prepared.frames("scene0000_00", "mc", 3)
    assert len(prepared.frames("scene0000_00", "uniform", 3)) == 3


def test_other_people_s_folders_are_not_written_into(full_root, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match="is not empty and not a data folder"):
        prepare(full_root.path, tmp_path / "home")
    with pytest.raises(DataError, match="is or contains the source"):
        prepare(full_root.path, full_root.path)
    with pytest.raises(MissingError, match="no scan with frames"):
        prepare(tmp_path / "home", tmp_path / "data")
    with pytest.raises(MissingError, match="no such folder"):
        prepare(tmp_path / "nowhere", tmp_path / "data")


def test_the_command_prints_the_closing_table(full_root, tmp_path, capsys):
    parser = argparse.ArgumentParser()
    prepare_cli.add_arguments(parser)
    arguments = parser.parse_args(
        [str(full_root.path), "--output", str(tmp_path / "data"), "--store", "--image-size", "28"]
    )
    assert prepare_cli.run(arguments) == 0
    said = capsys.readouterr().out
    assert "scenes      1 (0 were ready), 6 frames, 2 annotated boxes, 3 proposals" in said
    assert "left out: nothing" in said and "VIDEO3D_DATA=" in said
    assert len(list((tmp_path / "data" / "store").rglob("*.safetensors"))) == 1


def test_inputs_come_from_the_store_the_second_time(prepared, monkeypatch):
    first = prepared.inputs("scene0000_00", SPEC, max_frames=4)
    monkeypatch.setattr("video3d_plugin.data.folder.scene_inputs", lambda *a: pytest.fail("computed again"))
    again = DataFolder.open(prepared.path).inputs("scene0000_00", SPEC, max_frames=4)
    assert (again.spec, again.scene_id, again.frames) == (first.spec, first.scene_id, first.frames)
    for name, tensor in first.tensors().items():
        assert torch.equal(again.tensors()[name], tensor) and again.tensors()[name].dtype == tensor.dtype


@pytest.mark.parametrize(
    "change",
    [
        {"max_frames": 3},
        {"sampler": "mc"},
        {"proposals": "gt"},
        {"spec": InputsSpec(image_size=42)},
        {"spec": InputsSpec(image_size=28, points="nine")},
        {"proposals": np.array([[0, 0, 0, 1, 1, 1.0]])},
    ],
)
def test_other_arguments_never_find_the_old_file(prepared, change):
    arguments = {"spec": SPEC, "max_frames": 4, "sampler": "uniform", "proposals": "pred"}
    prepared.inputs("scene0000_00", **arguments)
    prepared.inputs("scene0000_00", **{**arguments, **change})
    files = list((prepared.path / "store").rglob("*.safetensors"))
    assert len(files) == 2 or change == {"sampler": "mc"} and len(files) in (1, 2)


def test_repeated_frames_are_stored_once_and_come_back_repeated(prepared):
    made = prepared.inputs("scene0000_00", SPEC, max_frames=32)
    again = prepared.inputs("scene0000_00", SPEC, max_frames=32)
    assert len(again.frames) == 32 and again.frames == made.frames
    assert all(torch.equal(again.tensors()[k], made.tensors()[k]) for k in made.tensors())
    (path,) = (prepared.path / "store").rglob("*.safetensors")
    assert path.stat().st_size < 6 * 28 * 28 * 3 + 6000


@pytest.mark.parametrize("damage", [lambda d: d[:-40], lambda d: d[:8], lambda d: b"", "flip"])
def test_a_damaged_store_file_is_found_and_made_again(prepared, damage):
    expected = prepared.inputs("scene0000_00", SPEC, max_frames=4)
    (path,) = (prepared.path / "store").rglob("*.safetensors")
    good = path.read_bytes()
    flipped = bytearray(good)
    flipped[-500] ^= 1
    path.write_bytes(bytes(flipped) if damage == "flip" else damage(good))
    store.verified_files.clear()
    with pytest.warns(UserWarning, match="damaged store file.*made again"):
        got = prepared.inputs("scene0000_00", SPEC, max_frames=4)
    assert torch.equal(got.pixels, expected.pixels) and path.read_bytes() == good


@pytest.mark.parametrize(
    "part", [b"scene0000_00", b"00010", b"pool_stride", b'pool_stride\\": ', b"checksum", b"frames"]
)
def test_a_flipped_bit_in_the_header_of_a_store_file_is_found(prepared, part):
    prepared.inputs("scene0000_00", SPEC, max_frames=4)
    (path,) = (prepared.path / "store").rglob("*.safetensors")
    data = bytearray(path.read_bytes())
    data[data.index(part) + len(part) - (not part.endswith(b" "))] ^= 1
    path.write_bytes(data)
    store.verified_files.clear()
    with pytest.raises(DataError, match="damaged store file"):
        store.read(path)


def test_a_folder_that_cannot_be_written_to_works_and_says_so_once(prepared, monkeypatch):
    def denied(path, inputs):
        raise DataError("cannot be written: Permission denied", where=path)

    monkeypatch.setattr(store, "write", denied)
    with pytest.warns(UserWarning, match="nothing can be stored") as caught:
        for _ in range(2):
            assert prepared.inputs("scene0000_00", SPEC).pixels.shape == (32, 28, 28, 3)
    assert len(caught) == 1


def test_the_environment_names_the_folder_or_the_error_says_what_to_run(prepared, monkeypatch, tmp_path):
    monkeypatch.setenv("VIDEO3D_DATA", str(prepared.path))
    assert DataFolder.from_env().path == prepared.path
    monkeypatch.delenv("VIDEO3D_DATA")
    with pytest.raises(MissingError, match="video3d prepare SOURCE --output DATA.*VIDEO3D_DATA=DATA"):
        DataFolder.from_env()
    with pytest.raises(MissingError, match="not a prepared data folder"):
        DataFolder.open(tmp_path / "nothing")


def test_what_is_not_there_is_named_with_what_is(prepared):
    with pytest.raises(MissingError, match="no scene 'scene5'.*it has 1: scene0000_00"):
        prepared.scene("scene5")
    with pytest.raises(MissingError, match="no annotations of scanrefer train.*scanrefer val"):
        prepared.docs("scanrefer", "train")
    with pytest.raises(DataError, match="unknown frame sampler 'ratio95'.*mc-ratio95"):
        prepared.inputs("scene0000_00", SPEC, sampler="ratio95")


def release_choice(root, files, visible=60, **changed):
    (root.path / "metadata").mkdir(exist_ok=True)
    item = {"video_id": "scannet/scene0000_00", "frame_files": [f"data/x/{name}.jpg" for name in files]}
    item |= {"voxel_nums": [9] * len(files), "num_all_voxels": visible, **changed}
    (root.path / "metadata" / "scannet_select_frames.json").write_text(json.dumps([item]))


def test_a_released_choice_comes_and_goes_with_its_file(full_root, tmp_path):
    def mc():
        report = prepare(full_root.path, tmp_path / "data")
        folder = DataFolder.open(tmp_path / "data")
        return [folder.scene("scene0000_00").frames[i].name for i in folder.frames("scene0000_00", "mc", 2)], report

    computed, _ = mc()
    whole = contents(tmp_path / "data")
    release_choice(full_root, ["00050", "00030", "00000", "00010", "00020", "00040"])  # as many as there are candidates
    assert mc()[0] == ["00030", "00050"] != computed
    release_choice(full_root, ["00040", "00010", "00000", "00050", "00020", "00030"])
    assert mc()[0] == ["00010", "00040"]
    release_choice(full_root, ["00040", "00999"])
    again, report = mc()
    assert again == computed and "1 frames of the released choice are not there" in json.dumps(report.to_json())
    (full_root.path / "metadata" / "scannet_select_frames.json").unlink()
    mc()
    assert contents(tmp_path / "data") == whole


@pytest.fixture
def long_scan(scan_root, tmp_path):
    """A prepared scan of 66 frames: every second one is a candidate for 32 frames, all are for 48."""
    scan_root.frames = 66
    scan_root.write_posed_images().write_infos()
    prepare(scan_root.path, tmp_path / "data", stages=["scenes", "frames"])
    return scan_root, DataFolder.open(tmp_path / "data")


def test_frames_do_not_depend_on_what_was_asked_for_before(long_scan):
    _, folder = long_scan
    path = folder.selection_path("scene0000_00")
    frames, kept = folder.frames("scene0000_00", "mc", 32), path.read_bytes()
    more = folder.frames("scene0000_00", "mc", 48)
    assert folder.frames("scene0000_00", "mc", 32) == frames and path.read_bytes() == kept
    path.unlink()
    assert folder.frames("scene0000_00", "mc", 48) == more and not path.exists()
    assert folder.frames("scene0000_00", "mc", 32) == frames and path.read_bytes() == kept


def test_a_longer_choice_of_the_same_candidates_is_kept(long_scan):
    _, folder = long_scan
    frames = folder.frames("scene0000_00", "mc", 32)
    folder.frames("scene0000_00", "mc", 33)
    assert len(json.loads(folder.selection_path("scene0000_00").read_text())["order"]) == 33
    assert folder.frames("scene0000_00", "mc", 32) == frames


@pytest.mark.parametrize("more", [33, 48])
def test_a_released_choice_stays_whatever_else_is_asked_for(long_scan, more):
    root, folder = long_scan
    release_choice(root, [f"{index * 10:05d}" for index in range(0, 64, 2)])
    prepare(root.path, folder.path)
    kept = folder.selection_path("scene0000_00").read_bytes()
    folder.frames("scene0000_00", "mc", more)
    assert folder.frames("scene0000_00", "mc", 32) == list(range(0, 64, 2))
    assert folder.selection_path("scene0000_00").read_bytes() == kept


@pytest.mark.parametrize("released", [True, False])
def test_a_stored_choice_of_before_is_used_only_if_it_was_released(prepared, released):
    """Format 2 did not say which candidates a computed choice was made from."""
    path = prepared.selection_path("scene0000_00")
    computed = prepared.frames("scene0000_00", "mc", 2)
    record = {**json.loads(path.read_text()), "format": 2, "released": released, "order": [4, 5, 0, 1, 2, 3]}
    path.write_text(json.dumps(record))
    assert prepared.frames("scene0000_00", "mc", 2) == ([4, 5] if released else computed) and computed != [4, 5]


@pytest.mark.parametrize(
    "changed",
    [{"voxel_nums": [1]}, {"voxel_nums": ["a", "b"]}, {"frame_files": None}, {"frame_files": [1, 2]},
     {"frame_files": ["a.jpg", "b/a.png"]}, {"video_id": 3}, {"num_all_voxels": None}, {"num_all_voxels": -1}],
)  # fmt: skip
def test_a_broken_released_choice_is_named(full_root, tmp_path, changed):
    release_choice(full_root, ["00000", "00010"], **changed)
    with pytest.raises(DataError, match=r"scannet_select_frames\.json: (item 0: `|frames and voxel counts)"):
        prepare(full_root.path, tmp_path / "data")


def as_of_format_1(folder: Path) -> None:
    """What the first version wrote: frames without a void value."""
    head, scene = folder / "video3d.json", folder / "scenes" / "scene0000_00.json"
    for path in (head, scene):
        content = json.loads(path.read_text())
        for frame in content.get("frames", []):
            del frame["void"]
        path.write_text(json.dumps({**content, "format": 1}))


def test_a_data_folder_of_another_format_is_refused_and_prepared_anew(full_root, prepared):
    whole = contents(prepared.path)
    as_of_format_1(prepared.path)
    with pytest.raises(DataError, match="format 1, this version reads 2.*run `video3d prepare` again"):
        DataFolder.open(prepared.path)
    prepare(full_root.path, prepared.path)
    again = contents(prepared.path)
    assert [name for name in whole if again.get(name) != whole[name]] == []


def test_a_scene_record_of_another_format_is_refused(prepared):
    as_of_format_1(prepared.path)
    head = prepared.path / "video3d.json"
    head.write_text(head.read_text().replace('"format": 1', f'"format": {FORMAT}'))
    with pytest.raises(DataError, match=r"scene0000_00\.json: scene record of format 1, expected 2"):
        DataFolder.open(prepared.path).scene("scene0000_00")


def test_load_scene_takes_a_data_folder(prepared):
    assert load_scene(prepared.path).scene_id == "scene0000_00"


@pytest.mark.parametrize("kind", ["pipe", "link to itself"])
def test_a_store_file_that_is_no_file_is_refused_at_once(tmp_path, kind):
    path = tmp_path / "a.safetensors"
    os.mkfifo(path) if kind == "pipe" else path.symlink_to(path)
    with pytest.raises(DataError, match="delete it"):
        store.read(path)
