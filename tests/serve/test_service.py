"""What the web demo does, without the web: uploads have bounds, belong to their owner and go; questions give boxes."""

from __future__ import annotations

import json
import re
import shutil
import socket
import stat
import threading
import time
import zipfile
from concurrent.futures import wait
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_detectors import DETECTORS
from tiny_onnx import detector_file
from worker_calls import blocking_read, read_unless_stuck, read_with_another, report_nonsense

from video3d_plugin import load_model, load_scene
from video3d_plugin.cli import serve
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.pipeline import Video3D
from video3d_plugin.serve import scenes as scenes_module
from video3d_plugin.serve import service as service_module
from video3d_plugin.serve.limits import BusyError, Limits
from video3d_plugin.serve.progress import CHECKING, FINDING, OPENING, SAMPLING, SHOWING, Progress, ProgressBoard
from video3d_plugin.serve.reading import SceneSource, check_inside
from video3d_plugin.serve.service import ANSWER, BOTH, BOXES, MAX_PAGES, Reply, SceneService

WAIT_S = 60  # for what takes a second or two on an idle machine


@pytest.fixture(scope="module")
def model(tiny_checkpoint):
    return load_model(tiny_checkpoint, device="cpu")


@pytest.fixture
def make_service(model):
    services = []

    def make(scenes=None, **options) -> SceneService:
        services.append(SceneService(model, scenes or {}, **options))
        return services[-1]

    yield make
    for service in services:
        service.close()


@pytest.fixture
def service(make_service, my_scan):
    return make_service({"my_scan": SceneSource(my_scan)}, limits=Limits(uploads=2))


def ask(service: SceneService, name: str, text: str, kind: str | None = BOTH, after=None, point=None) -> Reply:
    return service.ask(name, text, kind, service.read(name).result(WAIT_S), after, point).result(WAIT_S)


def page_of(service: SceneService, token: str) -> str:
    return service.page(token).result(WAIT_S)


def upload(service: SceneService, archive: Path, filename: str | None = None) -> str:
    """A copy is sent: the service deletes what it is given."""
    arrived = Path(shutil.copy(archive, service.folder / "arriving"))
    return service.upload(arrived, archive.name if filename is None else filename).result(WAIT_S)


def zipped(folder: Path, archive: Path, **changed: bytes) -> Path:
    """The folder as a zip; `changed` replaces the content of files, by name with _ for the dot."""
    with zipfile.ZipFile(archive, "w") as opened:
        for path in sorted(folder.iterdir()):
            opened.writestr(f"scan/{path.name}", changed.get(path.name.replace(".", "_"), path.read_bytes()))
    return archive


def kept(service: SceneService) -> list[str]:
    return [path.name for path in service.folder.iterdir()]


def items_of(page: str) -> list[dict]:
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])["items"]


def test_a_question_gives_an_answer_boxes_and_a_page_with_both(service, my_scan):
    reply, scene = ask(service, "my_scan", "the chair"), load_scene(my_scan)
    expected = service.model.ground(scene, "the chair")
    assert reply.boxes == expected[:10] and len(reply.boxes) > 0
    assert reply.text == service.model.answer(scene, "the chair", max_new_tokens=64)
    page = page_of(service, reply.page)
    (item,) = items_of(page)
    assert page.startswith("<!doctype html>") and item["question"] == "the chair" and item["answer"] == reply.text
    assert item["predicted"][0]["box"] == pytest.approx(reply.boxes[0].box)


def test_only_what_was_asked_for_is_computed(service, monkeypatch):
    monkeypatch.setattr(service.model, "answer", lambda *a, **k: pytest.fail("no answer was asked for"))
    assert ask(service, "my_scan", "the chair", BOXES).text == ""
    monkeypatch.undo()
    monkeypatch.setattr(service.model, "ground", lambda *a, **k: pytest.fail("no boxes were asked for"))
    assert ask(service, "my_scan", "How many?", ANSWER).boxes == ()


def test_a_page_lists_the_earlier_questions_about_its_scene_newest_first(service, my_scan, tmp_path):
    first = ask(service, "my_scan", "the first", BOXES)
    second = ask(service, "my_scan", "the second", BOXES, after=first.page)
    alone = ask(service, "my_scan", "the third", BOXES)
    unknown = ask(service, "my_scan", "the fourth", BOXES, after="made up")
    other = upload(service, zipped(my_scan, tmp_path / "a.zip"))
    elsewhere = ask(service, other, "the fifth", BOXES, after=second.page)
    questions = [
        [i["question"] for i in items_of(page_of(service, r.page))] for r in (second, alone, unknown, elsewhere)
    ]
    assert questions == [["the second", "the first"], ["the third"], ["the fourth"], ["the fifth"]]


def test_the_list_of_earlier_questions_has_an_end(service, monkeypatch):
    monkeypatch.setattr(service_module, "MAX_ITEMS", 2)
    after = None
    for text in ("one", "two", "three"):
        after = ask(service, "my_scan", text, BOXES, after).page
    assert [item["question"] for item in items_of(page_of(service, after))] == ["three", "two"]


def test_users_who_choose_the_same_scan_wait_for_one_reading(service):
    assert service.read("my_scan") is service.read("my_scan")
    assert ask(service, "my_scan", "the chair", BOXES).boxes


@pytest.mark.parametrize("text", ["", "   ", "x" * 1001, "<image> twice", "what is at <coord> ?", None, 7, "\ud800"])
def test_a_question_that_is_none_is_refused(service, text):
    with pytest.raises(DataError, match="question"):
        ask(service, "my_scan", text)


def test_a_question_about_a_point_is_answered_as_in_python_and_marked_in_the_view(service, my_scan):
    scene = service.read("my_scan").result(WAIT_S).inputs
    place = tuple(round(float(v), 2) for v in scene.extent.mean(0))
    point = " ".join(f"{v:.2f}" for v in place)
    about = ask(service, "my_scan", "What is here?", None, point=point)
    described = ask(service, "my_scan", " ", ANSWER, about.page, point)
    model, asked = service.model, "Given an object located at <coord> , What is here?"
    assert about.text == model.answer(scene, asked, points=[place], max_new_tokens=64) and about.boxes == ()
    assert described.text == model.caption(scene, place, max_new_tokens=64)
    items = items_of(page_of(service, described.page))
    assert [item["question"] for item in items] == ["Describe the object here.", "What is here?"]
    assert [item["point"] for item in items] == [pytest.approx(place)] * 2


BAD_POINTS = {
    "nan 0 0": "three finite numbers", "1 2 inf": "three finite numbers", "1 2": "three finite numbers",
    "1 2 3 4": "three finite numbers", "a b c": "three finite numbers", "": "three finite numbers",
    "900 0 0": "lies outside of the scan", (1.0, 2.0, 3.0): "is not text", "\ud800": "half a character",
}  # fmt: skip


@pytest.mark.parametrize("point", BAD_POINTS, ids=range(len(BAD_POINTS)))
def test_a_point_that_is_none_or_far_away_is_refused_in_one_line(service, point):
    with pytest.raises(DataError, match=BAD_POINTS[point]) as stop:
        ask(service, "my_scan", "What is here?", ANSWER, point=point)
    assert "\n" not in str(stop.value) and len(str(stop.value)) < 200


@pytest.mark.parametrize("kind", [BOTH, BOXES])
def test_boxes_are_not_found_at_a_point(service, kind):
    with pytest.raises(DataError, match="a question about a point has no boxes"):
        ask(service, "my_scan", "the chair", kind, point="0 0 1")


def test_an_unknown_scene_or_wish_is_refused(service):
    with pytest.raises(MissingError, match="no scene 'other'"):
        service.read("other")
    for name in (None, ["my_scan"], {"path": "/etc/passwd"}, 7, "\ud800"):  # what a program may send in place of a name
        with pytest.raises(DataError, match="the scene's name"):
            service.read(name)
    with pytest.raises(DataError, match="'dance' is not a kind of reply"):
        ask(service, "my_scan", "the chair", "dance")
    for kind in (7, ["answer"]):
        with pytest.raises(DataError, match="what to show is not text"):
            ask(service, "my_scan", "the chair", kind)


def test_old_pages_are_forgotten(service, monkeypatch):
    monkeypatch.setattr(service_module, "MAX_PAGES", 3)
    ready = service.read("my_scan").result(WAIT_S)
    tokens = [service.show("my_scan", ready) for _ in range(4)]
    assert service.page(tokens[0]) is None and page_of(service, tokens[1]) and service.page("made up") is None
    assert MAX_PAGES > 16  # a user's page outlives a few dozen requests of others


def test_scenes_that_are_not_kept_are_read_again(make_service, my_scan, monkeypatch):
    monkeypatch.setattr(scenes_module, "MAX_SCANS", 1)
    service = make_service({"a": SceneSource(my_scan), "b": SceneSource(my_scan)})
    first = service.read("a")
    first.result(WAIT_S), service.read("b").result(WAIT_S)
    service.read("b")
    assert service.read("a") is not first


def test_what_seems_wrong_with_a_scan_of_the_command_line_is_said_once(
    make_service, my_scan, tmp_path, monkeypatch, capsys
):
    scan = shutil.copytree(my_scan, tmp_path / "my_scan")
    for path in scan.glob("[0-9]*.txt"):
        np.savetxt(path, np.linalg.inv(np.loadtxt(path)))
    monkeypatch.setattr(scenes_module, "MAX_SCANS", 1)
    service = make_service({"a": SceneSource(scan), "b": SceneSource(my_scan)})
    for name in ("a", "b", "a"):  # read again the second time
        service.read(name).result(WAIT_S)
    assert capsys.readouterr().err.count("my_scan: note: neighbouring frames agree") == 1


def test_an_upload_can_be_asked_about_and_only_by_who_knows_its_name(service, my_scan, tmp_path):
    archive = zipped(my_scan, tmp_path / "kitchen <b>.zip")
    first, second = upload(service, archive), upload(service, archive)
    assert re.fullmatch(r"kitchenb-[\w-]{22}", first) and first != second
    assert service.names == ["my_scan"]
    boxes = ask(service, first, "the chair", BOXES).boxes
    assert [box.box for box in boxes] == [box.box for box in ask(service, "my_scan", "the chair", BOXES).boxes]


def test_the_files_of_an_upload_are_deleted_as_soon_as_it_is_read(service, my_scan, tmp_path):
    name = upload(service, zipped(my_scan, tmp_path / "a.zip"))
    assert kept(service) == []
    assert ask(service, name, "the chair").boxes and page_of(service, ask(service, name, "the table").page)
    service.close()
    assert not service.folder.exists()


def test_the_oldest_upload_goes_when_there_are_too_many_and_its_pages_with_it(service, my_scan, tmp_path):
    archive = zipped(my_scan, tmp_path / "a.zip")
    first = upload(service, archive)
    page = service.show(first, service.read(first).result())
    others = [upload(service, archive) for _ in range(2)]
    assert service.page(page) is None
    with pytest.raises(MissingError):
        service.read(first)
    assert all(service.read(name).done() for name in others)


def let_time_pass(monkeypatch, seconds: float) -> None:
    later = time.monotonic() + seconds
    monkeypatch.setattr(scenes_module, "time", SimpleNamespace(monotonic=lambda: later))


def test_an_idle_upload_is_dropped(make_service, my_scan, tmp_path, monkeypatch):
    service = make_service(limits=Limits(idle_s=1000))
    name = upload(service, zipped(my_scan, tmp_path / "a.zip"))
    service.drop_idle()
    assert service.read(name).done()
    let_time_pass(monkeypatch, 1001)
    service.drop_idle()
    with pytest.raises(MissingError):
        service.read(name)


@pytest.mark.parametrize(
    ("filename", "stem"),
    [("../../etc/passwd.zip", "passwd"), ("C:\\scans\\a b.zip", "ab"), ("", "scan"), ("\ud800.zip", "scan"),
     ("..", "scan"), ("x" * 500 + ".zip", "x" * 40), ("\0.zip", "scan"), ("video3d.json", "video3d")],
)  # fmt: skip
def test_the_name_of_an_uploaded_file_is_never_a_path(service, my_scan, tmp_path, filename, stem):
    name = upload(service, zipped(my_scan, tmp_path / "a.zip"), filename)
    assert name[:-23] == stem and kept(service) == []


def test_frames_that_do_not_decode_are_left_out_and_counted(service, make_service, my_scan, tmp_path):
    name = upload(service, zipped(my_scan, tmp_path / "a.zip", **{"00010_jpg": b"\xff\xd8 no picture"}))
    whole = service.read("my_scan").result(WAIT_S).view.scene
    scene = service.read(name).result().view.scene
    assert len(scene.frames) == len(whole.frames) - 1
    assert [o.what for o in scene.omissions] == ["frame 00010"]
    folder = Path(shutil.copytree(my_scan, tmp_path / "damaged"))
    (folder / "00010.jpg").write_bytes(b"\xff\xd8 no picture")
    service = make_service({"damaged": SceneSource(folder)})
    page = page_of(service, service.show("damaged", service.read("damaged").result(WAIT_S)))
    assert "1 left out, the first: frame 00010" in page


def test_what_a_page_says_of_a_scan_holds_no_path_of_this_machine(make_service, my_scan, tmp_path):
    folder = Path(shutil.copytree(my_scan, tmp_path / "my secret place" / "scan"))
    for name in ("00010.jpg", "00020.png", "00030.txt"):
        (folder / name).write_bytes(b"damaged")
    service = make_service({"scan": SceneSource(folder)})
    page = page_of(service, service.show("scan", service.read("scan").result(WAIT_S)))
    data = page.split('id="data">')[1].split("</script>")[0]
    assert "3 left out" in data and "secret place" not in data and str(tmp_path) not in data


def test_a_reading_that_blocks_holds_up_nobody(make_service, my_scan, tmp_path, monkeypatch):
    monkeypatch.setattr("video3d_plugin.serve.reading.read_scan", read_unless_stuck)
    scenes = {"stuck": SceneSource(my_scan, "stuck"), "sound": SceneSource(my_scan)}
    service = make_service(scenes)
    stuck = service.read("stuck")
    assert ask(service, "sound", "the chair").boxes
    assert upload(service, zipped(my_scan, tmp_path / "a.zip"))
    assert not stuck.done() and service.read("stuck") is stuck
    assert service.progress("stuck") == Progress(CHECKING, 3, 6)
    assert service.progress("sound") is None and service.progress("made up") is None


def test_two_scans_are_read_at_the_same_time(make_service, my_scan, tmp_path, monkeypatch):
    monkeypatch.setattr("video3d_plugin.serve.reading.read_scan", read_with_another)
    service = make_service({name: SceneSource(my_scan, str(tmp_path)) for name in "ab"})
    for reading in [service.read(name) for name in "ab"]:
        assert reading.result(WAIT_S).inputs is not None


def test_the_progress_of_a_reading_goes_through_its_stages(make_service, my_scan, monkeypatch):
    service, told = make_service({"my_scan": SceneSource(my_scan)}), []
    monkeypatch.setattr(ProgressBoard, "writer", lambda *_, **__: told.append)
    service.read("my_scan").result(WAIT_S)
    stages = list(dict.fromkeys(progress.stage for progress in told))
    assert stages == [OPENING, CHECKING, *([FINDING] if service.model.model.config.head else []), SAMPLING, SHOWING]
    counts = [progress for progress in told if progress.total]
    assert {progress.stage for progress in counts} == {CHECKING, SHOWING}
    assert all(0 < progress.done <= progress.total == len(load_scene(my_scan).frames) for progress in counts)


def test_the_name_of_an_upload_s_reading_hides_no_scan_and_has_a_bound(service, my_scan, tmp_path):
    board, told = ProgressBoard(), Progress(CHECKING, 1, 2)
    board.writer("my_scan", upload=True)(told)
    assert board.get("my_scan", upload=True) == told and board.get("my_scan", upload=False) is None
    board.writer("", upload=True)(told)
    assert board.get("", upload=True) is None
    with pytest.raises(DataError, match="name is too long"):
        service.upload(zipped(my_scan, tmp_path / "a.zip"), "a.zip", "x" * 65)
    assert not (tmp_path / "a.zip").exists()


def test_what_a_worker_reports_besides_progress_is_dropped(make_service, my_scan, tmp_path, monkeypatch):
    monkeypatch.setattr("video3d_plugin.serve.reading.read_scan", report_nonsense)
    service = make_service({"odd": SceneSource(my_scan, str(tmp_path / "sent"))})
    reading, end = service.read("odd"), time.monotonic() + WAIT_S
    while not (tmp_path / "sent").exists() and time.monotonic() < end:
        time.sleep(0.02)
    time.sleep(0.1)
    assert (tmp_path / "sent").exists() and service.progress("odd") is None and not reading.done()


def test_an_error_of_a_reader_loses_the_paths_in_it(make_service, my_scan, monkeypatch):
    service = make_service({"a b": SceneSource(my_scan)})

    def fail(*_, **__):
        raise DataError(f"12 MB do not fit {my_scan}/x", where="a.zip", remedy=f"free space in {my_scan.parent}/y")

    monkeypatch.setattr(service.scenes.workers, "run", fail)
    with pytest.raises(DataError) as stop:
        service.read("a b").result(WAIT_S)
    assert str(stop.value) == "a.zip: 12 MB do not fit x (free space in y)"


def test_a_failed_reading_is_tried_again_later(make_service, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    service = make_service({"empty": SceneSource(tmp_path / "empty")})
    first = service.read("empty")
    with pytest.raises((DataError, MissingError)) as stop:
        first.result(WAIT_S)
    assert str(tmp_path) not in str(stop.value)
    assert service.read("empty") is first
    let_time_pass(monkeypatch, scenes_module.RETRY_S + 1)
    assert service.read("empty") is not first


def test_closing_ends_readings_that_block(make_service, my_scan, monkeypatch):
    monkeypatch.setattr("video3d_plugin.serve.reading.read_scan", blocking_read)
    service = make_service({"stuck": SceneSource(my_scan)})
    reading = service.read("stuck")
    end = time.monotonic() + WAIT_S
    while not service.scenes.workers.process_ids and time.monotonic() < end:
        time.sleep(0.05)
    start = time.monotonic()
    service.close()
    with pytest.raises(DataError, match="ended early"):
        reading.result(WAIT_S)
    assert time.monotonic() - start < 5


def test_more_requests_than_may_wait_are_told_to_come_back(make_service, my_scan, monkeypatch):
    service = make_service({"my_scan": SceneSource(my_scan)}, limits=Limits(waiting=2))
    ready, going_on = service.read("my_scan").result(WAIT_S), threading.Event()
    monkeypatch.setattr(service.model, "answer", lambda *a, **k: going_on.wait(WAIT_S) and "yes")
    accepted = [service.ask("my_scan", "Is it?", ANSWER, ready) for _ in range(3)]
    with pytest.raises(BusyError, match="too many questions"):
        service.ask("my_scan", "Is it?", ANSWER, ready)
    going_on.set()
    assert [future.result(WAIT_S).text for future in accepted] == ["yes"] * 3
    assert wait([service.ask("my_scan", "Is it?", ANSWER, ready)], WAIT_S).done


def link(archive: Path) -> None:
    with zipfile.ZipFile(archive, "w") as opened:
        info = zipfile.ZipInfo("scan/00000.jpg")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        opened.writestr(info, "/etc/passwd")


def escape(archive: Path) -> None:
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("../../outside.txt", "x")


def bomb(archive: Path) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("scan/00000.png", b"\0" * (30 << 20))


def crowd(archive: Path) -> None:
    with zipfile.ZipFile(archive, "w") as opened:
        for i in range(200):
            opened.writestr(f"scan/{i}.txt", "")


def text(archive: Path) -> None:
    archive.write_text("no zip")


def no_frames(archive: Path) -> None:
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("scan/depth_intrinsic.txt", "1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1")


def data_folder(archive: Path) -> None:
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("scan/video3d.json", '{"format": 1}')
        opened.writestr("scan/scenes/a.json", '{"frames": [{"color": "/etc/passwd"}]}')


def data_folder_below(archive: Path) -> None:
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("scan/readme.txt", "x")
        opened.writestr("scan/inner/Video3D.json", "{}")


def nerfstudio_outside(archive: Path) -> None:
    """A recording whose list names images elsewhere, straight and by dots."""
    pose = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    places = ["/etc/passwd", "../../../../../../etc/passwd", "images/../../../../x.jpg"]
    frames = [{"file_path": p, "depth_file_path": p, "transform_matrix": pose} for p in places]
    camera = {"fl_x": 100, "fl_y": 100, "cx": 60, "cy": 45, "w": 120, "h": 90}
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("scan/transforms.json", json.dumps({**camera, "frames": frames}))


def video(archive: Path) -> None:
    with zipfile.ZipFile(archive, "w") as opened:
        for name in ("odometry.csv", "camera_matrix.csv", "rgb.mp4"):
            opened.writestr(f"scan/{name}", "x")


HOSTILE = {
    video: "holds a video or a bag",
    link: "holds a link",
    escape: "outside of itself",
    bomb: "30 MB|31 MB",
    crowd: "200 files",
    text: "not a whole zip",
    no_frames: "nearest format: posed frames, but there is no",
    data_folder: "holds a prepared data folder",
    data_folder_below: "holds a prepared data folder",
    nerfstudio_outside: "no usable frame|outside",
}


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_a_bad_upload_is_refused_with_a_reason_and_leaves_nothing(make_service, tmp_path, make):
    service = make_service(limits=Limits(unpacked_bytes=20 << 20, files=100))
    make(tmp_path / "a.zip")
    with pytest.raises((DataError, MissingError), match=HOSTILE[make]) as stop:
        upload(service, tmp_path / "a.zip")
    assert kept(service) == [] and not (service.folder.parent / "outside.txt").exists()
    assert str(service.folder) not in str(stop.value) and service.folder.name not in str(stop.value)


@pytest.fixture
def onnx_detector(tmp_path):
    """A file that sees one chair in the middle of every image."""
    path = tmp_path / "models" / "chairs.onnx"
    path.parent.mkdir()
    path.write_bytes(detector_file(np.zeros((3, 6)), np.array([12, 8, 36, 24, 0.8, 1.0]), (1, 1, 6), (32, 48)))
    path.with_suffix(".json").write_text(json.dumps({"size": [48, 32], "labels": ["person", "chair"]}))
    return path


@pytest.fixture
def transformers_detector(tmp_path):
    return DETECTORS["yolos"](tmp_path / "yolos")


@pytest.mark.parametrize("kind", ["onnx_detector", "transformers_detector"])
def test_a_detector_outside_of_an_upload_finds_its_objects(request, make_service, my_scan, tmp_path, model, kind):
    """Its files are read before the reader of an upload denies itself all others."""
    source = f"detector:{request.getfixturevalue(kind)}"
    service = make_service({"mine": SceneSource(my_scan)})
    service.model = load_model_with(model, proposals=source)
    service.scenes.check_model_view()
    names = ["mine", upload(service, zipped(my_scan, tmp_path / "a.zip"))]
    mine, uploaded = (service.read(name).result(WAIT_S).view.scene for name in names)
    assert set(mine.proposal_labels) == {"chair"} and mine.proposal_labels == uploaded.proposal_labels
    assert np.array_equal(mine.proposals, uploaded.proposals)


def load_model_with(model, **options) -> Video3D:
    return Video3D(model.model, model.processor, sampler=model.sampler, max_frames=model.max_frames, **options)


def test_a_detector_that_is_not_there_is_said_before_serving(make_service, model, tmp_path):
    service = make_service({})
    service.model = load_model_with(model, proposals=f"detector:{tmp_path / 'none.onnx'}")
    with pytest.raises(MissingError, match=r"none\.onnx: file not found"):
        service.scenes.check_model_view()


def test_boxes_in_a_file_are_of_the_servers_scans_alone(make_service, my_scan, tmp_path, model):
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"my_scan": [[0, 0, 1, 1, 1, 1]]}))
    service = make_service({"my_scan": SceneSource(my_scan)})
    service.model = load_model_with(model, proposals=str(boxes))
    assert service.read("my_scan").result(WAIT_S).view.scene.proposals.tolist() == [[0, 0, 1, 1, 1, 1]]
    uploaded = service.read(upload(service, zipped(my_scan, tmp_path / "a.zip"))).result(WAIT_S).view.scene
    assert len(uploaded.proposals) > 1


def test_a_scene_whose_files_lie_elsewhere_is_no_upload(my_scan, tmp_path):
    scene = load_scene(my_scan)
    check_inside(scene, my_scan)
    linked = Path(shutil.copytree(my_scan, tmp_path / "linked"))
    (linked / "00010.jpg").unlink()
    (linked / "00010.jpg").symlink_to(my_scan / "00010.jpg")
    for outside, folder in ((scene, tmp_path), (load_scene(linked), linked)):
        with pytest.raises(DataError, match="names a file outside of the upload"):
            check_inside(outside, folder)


def test_an_archive_that_is_too_large_or_has_too_many_frames_is_refused(make_service, my_scan, tmp_path):
    archive = zipped(my_scan, tmp_path / "a.zip")
    for limits, message in ((Limits(bytes=1000), "more than 0"), (Limits(frames=3), "8 frames, more than 3")):
        service = make_service(limits=limits)
        with pytest.raises(DataError, match=message):
            upload(service, archive)
        assert kept(service) == []


def test_uploads_can_be_turned_off(make_service, my_scan, tmp_path):
    service = make_service(uploads=False)
    with pytest.raises(DataError, match="turned off"):
        upload(service, zipped(my_scan, tmp_path / "a.zip"))
    assert kept(service) == []


def test_questions_from_several_threads_get_their_own_answers(service):
    alone = {text: ask(service, "my_scan", text, BOXES).boxes for text in ("the chair", "the table")}
    seen: dict[str, object] = {}
    threads = [
        threading.Thread(target=lambda t=t: seen.update({t: ask(service, "my_scan", t, BOXES).boxes})) for t in alone
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == alone


def test_scenes_are_named_after_their_folders_and_never_hide_each_other(my_scan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("x/scan", "y/scan", "scan"):
        Path(folder).mkdir(parents=True)
    Path("scan.zip").touch()
    paths = [Path(p) for p in ("x/scan", "scan", "y/scan", "scan.zip", "x/../scan")]
    sources = serve.scene_sources([my_scan, *paths], None)
    assert list(sources) == ["my_scan", "scan", f"{tmp_path.name}/scan", "y/scan", "scan.zip"]
    assert [source.path.resolve() for source in sources.values()] == [p.resolve() for p in (my_scan, *paths[:-1])]
    with pytest.raises(MissingError, match="nowhere"):
        serve.scene_sources([tmp_path / "nowhere"], None)


def test_scans_of_the_command_line_are_read_as_align_says(my_scan):
    assert serve.scene_sources([my_scan], None)["my_scan"].align == "auto"
    assert serve.scene_sources([my_scan], None, "none")["my_scan"].align == "none"
    with pytest.raises(MissingError, match="auto, none, or a file"):
        serve.scene_sources([my_scan], None, "upright")


def test_scenes_of_a_data_folder_do_not_hide_those_that_are_named(my_scan, tmp_path, monkeypatch):
    class Folder:
        scene_ids = ("my_scan", "other")

    monkeypatch.setattr("video3d_plugin.data.folder.DataFolder.open", lambda path: Folder)
    sources = serve.scene_sources([my_scan], tmp_path / "data")
    assert list(sources) == ["my_scan", "data/my_scan", "other"]
    assert sources["data/my_scan"] == SceneSource(tmp_path / "data", "my_scan")


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "127.0.0.1"), ("localhost", "127.0.0.1"), ("::1", "::1"), ("box", "127.0.1.1")],
)
def test_on_loopback_only_its_own_names_are_answered(host, address, capsys):
    assert "*" not in serve.allowed_hosts(host, address) and host in serve.allowed_hosts(host, address)
    assert capsys.readouterr().err == ""


def test_anywhere_else_too_and_it_is_said_that_there_is_no_password(capsys):
    assert {"box.lan", "192.168.1.5", socket.gethostname()} <= set(serve.allowed_hosts("box.lan", "192.168.1.5"))
    assert "*" not in serve.allowed_hosts("192.168.1.5", "192.168.1.5")
    assert capsys.readouterr().err.count("no password") == 2


def test_on_all_addresses_any_name_will_do(capsys):
    assert serve.allowed_hosts("0.0.0.0", "0.0.0.0") == serve.allowed_hosts("::", "::") == ["*"]
    assert "no password" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--max-upload-mb", "0"], ["--read-timeout", "0"], ["--read-timeout", "nan"],
                                   ["--read-timeout", "inf"], ["--no-upload"]], ids=" ".join)  # fmt: skip
def test_options_that_make_no_server_are_one_line(capsys, words):
    from video3d_plugin.cli import main

    assert main(["serve", *words]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_port_that_is_taken_is_one_line(capsys):
    from video3d_plugin.cli import main

    with serve.listening("127.0.0.1", 0) as taken:
        assert main(["serve", "--port", str(taken.getsockname()[1])]) == 2
    assert "cannot listen" in capsys.readouterr().err
