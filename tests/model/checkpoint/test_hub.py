"""A checkpoint by its name on the hub: what is downloaded, and one line for what goes wrong, against a small server."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import huggingface_hub.utils
import pytest
from hub_server import COMMITS, GATED, PRIVATE, Hub, hub_server
from huggingface_hub import constants

from video3d_plugin import cli
from video3d_plugin.errors import MissingError
from video3d_plugin.model.checkpoint.folders import local_folder
from video3d_plugin.model.checkpoint.hub import needed_files, snapshot

ROOT = Path(__file__).resolve().parents[3]
WEIGHTS = b"x" * 20_000
MAIN = {
    "config.json": b"{}",
    "merges.txt": b"#",
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"a pickle",
    "training_args.bin": b"a pickle",
    "README.md": b"",
    "checkpoint-100/model.safetensors": WEIGHTS,
}


def set_offline(monkeypatch, offline: bool) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    forget_sessions()


def forget_sessions() -> None:
    """Before huggingface_hub 1, a session that was begun offline stays so."""
    getattr(huggingface_hub.utils, "reset_sessions", lambda: None)()


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The server, as the hub of this process; the cache is tmp_path/hub."""
    content = {
        "owner/tiny": {
            COMMITS["main"]: MAIN,
            COMMITS["v1"]: {"config.json": b'{"v": 1}', "pytorch_model.bin": b"yy", "training_args.bin": b""},
        },
        "owner/images": {COMMITS["main"]: {"README.md": b"", "a.png": b""}},
        PRIVATE: {COMMITS["main"]: {"config.json": b"{}"}},
        GATED: {},
    }
    with hub_server(Hub(content)) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
        set_offline(monkeypatch, False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the attempts of the hub's library
        for name in ("HF_TOKEN", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
        yield hub
    forget_sessions()


def refusal(name: str, **options) -> str:
    with pytest.raises(MissingError) as error:
        local_folder(name, options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_needed_files_are_downloaded_once_and_said(hub, capsys):
    folder = local_folder("owner/tiny")
    assert {path.name for path in folder.iterdir()} == {"config.json", "merges.txt", "model.safetensors"}
    assert hub.downloaded() == {"config.json", "merges.txt", "model.safetensors"}
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert f"owner/tiny: downloading 3 files, 20.0 kB, to {constants.HF_HUB_CACHE}" in capsys.readouterr().err
    hub.asked.clear()
    assert local_folder("owner/tiny") == folder
    assert hub.downloaded() == set() and "downloading" not in capsys.readouterr().err


def test_pickles_are_taken_only_where_there_is_nothing_else():
    assert needed_files(["pytorch_model.bin", "optimizer.pt", "x.pth", "training_args.bin"]) == ["pytorch_model.bin"]
    adapter = ["adapter_model.safetensors", "adapter_model.bin", "non_lora_trainables.bin", "adapter_config.json"]
    assert needed_files(adapter) == [name for name in adapter if name != "adapter_model.bin"]


def test_a_revision_is_part_of_the_name_or_an_option(hub):
    folder = local_folder("owner/tiny@v1")
    assert (folder / "config.json").read_bytes() == b'{"v": 1}' and folder.name == COMMITS["v1"]
    assert local_folder("owner/tiny", {"revision": "v1"}) == folder
    assert local_folder(f"owner/tiny@{COMMITS['v1']}") == folder
    assert "owner/tiny@v9: the hub has no such revision" in refusal("owner/tiny@v9")


def test_an_unknown_or_private_name_and_one_that_needs_access(hub):
    assert "no such public name on the hub" in refusal("owner/unknown")
    assert "log in" in refusal(PRIVATE)
    assert (local_folder(PRIVATE, {"token": hub.token}) / "config.json").is_file()
    assert "ask its owner for access" in refusal(GATED)
    assert "owner/images: holds no checkpoint" in refusal("owner/images")
    assert "no name on the hub" in refusal("own er/name")


def test_without_a_connection_the_cache_is_used_if_it_is_complete(hub, monkeypatch, caplog):
    folder = local_folder("owner/tiny")
    set_offline(monkeypatch, True)
    assert local_folder("owner/tiny") == folder and not caplog.records
    message = refusal("owner/tiny@v1")
    assert "HF_HUB_OFFLINE" in message and constants.HF_HUB_CACHE in message
    set_offline(monkeypatch, False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # where nothing listens
    assert local_folder("owner/tiny") == folder
    assert "the copy in the cache is used" in caplog.text
    assert "connection to the hub failed" in refusal("owner/tiny@v1")


def test_a_hub_in_trouble_and_a_connection_that_breaks(hub, caplog):
    hub.status = 503
    assert "answered with status 503" in refusal("owner/tiny")
    hub.status = None
    hub.cut = {"model.safetensors"}
    assert "connection to the hub failed" in refusal("owner/tiny") and "the copy in the cache" not in caplog.text
    hub.cut = set()
    hub.asked.clear()
    assert (local_folder("owner/tiny") / "model.safetensors").read_bytes() == WEIGHTS
    assert "config.json" not in hub.downloaded()  # it was whole


def test_a_disk_that_is_too_small_or_gets_full(hub, monkeypatch):
    hub.claimed["model.safetensors"] = 10**15
    assert "1000000.0 GB are to be downloaded" in refusal("owner/tiny") and hub.downloaded() == set()
    hub.claimed.clear()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
    assert "the disk of" in refusal("owner/tiny") and "is full" in refusal("owner/tiny")


@pytest.mark.slow
@pytest.mark.parametrize("on_terminal", [True, False])
def test_bars_are_shown_on_a_terminal_and_a_line_in_a_pipe(hub, tmp_path, on_terminal):
    """A process of its own, which reads HF_ENDPOINT as a user's does."""
    words = ["export", "owner/tiny", "--format", "llava", "--output", "out"]  # refused then: config.json is empty
    environment = {name: value for name, value in os.environ.items() if not name.endswith(("BARS", "TQDM_DISABLE"))}
    environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
    environment |= {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    here, there = pty.openpty()
    fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
    with open(tmp_path / "piped", "wb") as file:
        subprocess.run(
            [sys.executable, "-m", "video3d_plugin.cli", *words],
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=there if on_terminal else file,
        )
    os.close(there)
    shown = os.read(here, 1 << 16).decode() if on_terminal else (tmp_path / "piped").read_text()
    os.close(here)
    assert "owner/tiny: downloading 3 files, 20.0 kB" in shown
    assert ("100%" in shown) == on_terminal


def test_a_model_by_its_name_on_the_hub_answers(hub, tiny_checkpoint, my_scan, capsys, monkeypatch):
    files = {path.name: path.read_bytes() for path in tiny_checkpoint.iterdir() if path.is_file()}
    hub.repositories["owner/model"] = {COMMITS["main"]: files}
    assert cli.main(["ask", str(my_scan), "the chair", "--ground", "--model", "owner/model@main"]) == 0
    printed = capsys.readouterr()
    assert "->" in printed.out and "owner/model@main: downloading" in printed.err
    assert snapshot("owner/model", "main").is_dir()
