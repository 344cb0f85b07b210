"""What the web demo does, without the web: uploads have bounds, belong to their owner and go; questions give boxes."""

from __future__ import annotations

import re
import shutil
import socket
import stat
import threading
import zipfile
from pathlib import Path

import pytest

from video3d_plugin import load_model, load_scene
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.serve import cli
from video3d_plugin.serve.desk import ANSWER, BOTH, BOXES, KEPT_PAGES, Desk, Limits


@pytest.fixture(scope="module")
def model(tiny_checkpoint):
    return load_model(tiny_checkpoint, device="cpu")


@pytest.fixture
def desk(model, my_scan):
    desk = Desk(model, {"my_scan": lambda: load_scene(my_scan)}, limits=Limits(kept=2))
    yield desk
    desk.close()


def zipped(folder: Path, archive: Path, **changed: bytes) -> Path:
    """The folder as a zip; `changed` replaces the content of files, by name with _ for the dot."""
    with zipfile.ZipFile(archive, "w") as opened:
        for path in sorted(folder.iterdir()):
            opened.writestr(f"scan/{path.name}", changed.get(path.name.replace(".", "_"), path.read_bytes()))
    return archive


def kept(desk: Desk) -> list[str]:
    return [path.name for path in Path(desk._folder.name).iterdir()]


def test_a_question_gives_an_answer_boxes_and_a_page_with_both(desk):
    asked: list[dict] = []
    reply = desk.ask("my_scan", "the chair", BOTH, asked)
    expected = desk.model.ground(desk.scene("my_scan"), "the chair")
    assert reply.boxes == expected[:10] and len(reply.boxes) > 0
    assert reply.text == desk.model.answer(desk.scene("my_scan"), "the chair", max_new_tokens=64)
    (item,) = asked
    assert item["question"] == "the chair" and item["answer"] == reply.text
    assert item["predicted"][0]["box"] == list(reply.boxes[0].box)
    page = desk.page(reply.page)
    assert page.startswith("<!doctype html>") and '"question":"the chair"' in page


def test_only_what_was_asked_for_is_computed(desk, monkeypatch):
    monkeypatch.setattr(desk.model, "answer", lambda *a, **k: pytest.fail("no answer was asked for"))
    assert desk.ask("my_scan", "the chair", BOXES).text == ""
    monkeypatch.undo()
    monkeypatch.setattr(desk.model, "ground", lambda *a, **k: pytest.fail("no boxes were asked for"))
    assert desk.ask("my_scan", "How many?", ANSWER).boxes == ()


def test_the_page_lists_the_newest_question_first(desk):
    asked: list[dict] = []
    for text in ("the first", "the second"):
        desk.ask("my_scan", text, BOXES, asked)
    assert [item["question"] for item in asked] == ["the second", "the first"]


def test_a_scan_is_read_once(model, my_scan):
    calls = []
    desk = Desk(model, {"my_scan": lambda: calls.append(1) or load_scene(my_scan)})
    desk.ask("my_scan", "the chair", BOXES)
    desk.show("my_scan")
    assert len(calls) == 1
    desk.close()


@pytest.mark.parametrize("text", ["", "   ", "x" * 1001, "<image> twice", "what is at <coord> ?", None, 7, "\ud800"])
def test_a_question_that_is_none_is_refused(desk, text):
    with pytest.raises(DataError, match="question"):
        desk.ask("my_scan", text)


def test_an_unknown_scene_or_wish_is_refused(desk):
    with pytest.raises(MissingError, match="no scene 'other'"):
        desk.ask("other", "the chair")
    for name in (None, ["my_scan"]):  # what a program may send in place of a name
        for work in (lambda name=name: desk.ask(name, "the chair"), lambda name=name: desk.show(name)):
            with pytest.raises(DataError, match="the scene's name is not text"):
                work()
    with pytest.raises(DataError, match="'dance' is nothing to ask for"):
        desk.ask("my_scan", "the chair", "dance")


def test_old_pages_are_forgotten(desk):
    tokens = [desk.show("my_scan") for _ in range(KEPT_PAGES + 1)]
    assert desk.page(tokens[0]) is None and desk.page(tokens[1]) and desk.page("made up") is None


def test_an_upload_can_be_asked_about_and_only_by_who_knows_its_name(desk, my_scan, tmp_path):
    archive = zipped(my_scan, tmp_path / "kitchen <b>.zip")
    first, second = desk.upload(archive), desk.upload(archive)
    assert re.fullmatch(r"kitchenb-[\w-]{12}", first) and first != second
    assert desk.names == ["my_scan"]
    boxes = desk.ask(first, "the chair", BOXES).boxes
    assert [box.box for box in boxes] == [box.box for box in desk.ask("my_scan", "the chair", BOXES).boxes]


def test_the_oldest_upload_goes_when_there_are_too_many_and_all_go_at_the_end(desk, my_scan, tmp_path):
    archive = zipped(my_scan, tmp_path / "a.zip")
    names = [desk.upload(archive) for _ in range(3)]
    assert sorted(kept(desk)) == ["upload-2", "upload-3"]
    with pytest.raises(MissingError):
        desk.scene(names[0])
    folder = Path(desk._folder.name)
    desk.close()
    assert not folder.exists()


def test_frames_that_do_not_decode_are_left_out_and_counted(desk, my_scan, tmp_path):
    name = desk.upload(zipped(my_scan, tmp_path / "a.zip", **{"00010_jpg": b"\xff\xd8 no picture"}))
    scene, whole = desk.scene(name), desk.scene("my_scan")
    assert len(scene.frames) == len(whole.frames) - 1
    assert [o.what for o in scene.omissions] == ["frame 00010"]


def test_so_are_those_of_a_scan_that_the_command_line_names(model, my_scan, tmp_path):
    folder = Path(shutil.copytree(my_scan, tmp_path / "damaged"))
    (folder / "00010.jpg").write_bytes(b"\xff\xd8 no picture")
    desk = Desk(model, {"damaged": lambda: load_scene(folder)})
    assert "1 left out, the first: frame 00010" in desk.page(desk.show("damaged"))
    desk.close()


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


HOSTILE = {
    link: "holds a link",
    escape: "outside of itself",
    bomb: "30 MB|31 MB",
    crowd: "200 files",
    text: "not a whole zip",
    no_frames: "no usable frame",
}


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_a_bad_upload_is_refused_with_a_reason_and_leaves_nothing(model, tmp_path, make):
    desk = Desk(model, {}, limits=Limits(unpacked_bytes=20 << 20, files=100))
    make(tmp_path / "a.zip")
    with pytest.raises(DataError, match=HOSTILE[make]):
        desk.upload(tmp_path / "a.zip")
    assert kept(desk) == [] and not (Path(desk._folder.name).parent / "outside.txt").exists()
    desk.close()


def test_an_archive_that_is_too_large_or_has_too_many_frames_is_refused(model, my_scan, tmp_path):
    archive = zipped(my_scan, tmp_path / "a.zip")
    for limits, said in ((Limits(bytes=1000), "more than 0"), (Limits(frames=3), "8 frames, more than 3")):
        desk = Desk(model, {}, limits=limits)
        with pytest.raises(DataError, match=said):
            desk.upload(archive)
        desk.close()


def test_uploads_can_be_turned_off(model, my_scan, tmp_path):
    desk = Desk(model, {}, uploads=False)
    with pytest.raises(DataError, match="turned off"):
        desk.upload(zipped(my_scan, tmp_path / "a.zip"))
    desk.close()


def test_questions_from_several_threads_get_their_own_answers(desk):
    alone = {text: desk.ask("my_scan", text, BOXES).boxes for text in ("the chair", "the table")}
    seen: dict[str, object] = {}
    threads = [
        threading.Thread(target=lambda t=t: seen.update({t: desk.ask("my_scan", t, BOXES).boxes})) for t in alone
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
    loaders = cli.scene_loaders([my_scan, *paths], None)
    assert list(loaders) == ["my_scan", "scan", f"{tmp_path.name}/scan", "y/scan", "scan.zip"]
    assert [loader.args[0].resolve() for loader in loaders.values()] == [p.resolve() for p in (my_scan, *paths[:-1])]
    with pytest.raises(MissingError, match="nowhere"):
        cli.scene_loaders([tmp_path / "nowhere"], None)


def test_scenes_of_a_data_folder_do_not_hide_those_that_are_named(my_scan, tmp_path, monkeypatch):
    class Folder:
        scene_ids = ("my_scan", "other")
        scene = staticmethod(lambda scene_id: scene_id)

    monkeypatch.setattr("video3d_plugin.data.folder.DataFolder.open", lambda path: Folder)
    loaders = cli.scene_loaders([my_scan], tmp_path / "data")
    assert list(loaders) == ["my_scan", "data/my_scan", "other"] and loaders["data/my_scan"]() == "my_scan"


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "127.0.0.1"), ("localhost", "127.0.0.1"), ("::1", "::1"), ("box", "127.0.1.1")],
)
def test_on_loopback_only_its_own_names_are_answered(host, address, capsys):
    assert "*" not in cli.allowed_hosts(host, address) and host in cli.allowed_hosts(host, address)
    assert capsys.readouterr().err == ""


def test_anywhere_else_too_and_it_is_said_that_there_is_no_password(capsys):
    assert {"box.lan", "192.168.1.5", socket.gethostname()} <= set(cli.allowed_hosts("box.lan", "192.168.1.5"))
    assert "*" not in cli.allowed_hosts("192.168.1.5", "192.168.1.5")
    assert capsys.readouterr().err.count("no password") == 2


def test_on_all_addresses_any_name_will_do(capsys):
    assert cli.allowed_hosts("0.0.0.0", "0.0.0.0") == cli.allowed_hosts("::", "::") == ["*"]
    assert "no password" in capsys.readouterr().err


def test_a_port_that_is_taken_is_one_line(capsys):
    from video3d_plugin.cli import main

    with cli._listening("127.0.0.1", 0) as taken:
        assert main(["serve", "--port", str(taken.getsockname()[1])]) == 2
    assert "cannot listen" in capsys.readouterr().err
