"""What is shipped and what CI runs: the wheel holds the package and nothing else, bounds are those that are tested."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = {
    "video3d_plugin": "video3d_plugin",
    "lmms_tasks": "video3d_plugin/lmms_tasks",
    "patches": "video3d_plugin/patches",
}
tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def build(source: Path, output: Path, target: str) -> Path:
    if find_spec("hatchling") is None:
        pytest.skip("building needs hatchling in this environment (pip install hatchling)")
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(output)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, text=True)
    (path,) = output.glob("*.whl" if target == "wheel" else "*.tar.gz")
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The checkout without what builds and tests leave in it."""
    folder = tmp_path_factory.mktemp("source") / "checkout"
    left = (".git", ".venv*", "__pycache__", "runs", "demo-data", "dist", "shared", ".*_cache", ".hypothesis")
    return Path(shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*left)))


def content(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    return content(build(source, tmp_path_factory.mktemp("wheel"), "wheel"))


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(source, wheel):
    expected = {"video3d_plugin_hooks.pth", "video3d_plugin/tested_versions.txt"}
    for folder, place in SHIPPED.items():
        files = (path for path in (source / folder).rglob("*") if path.is_file())
        expected |= {f"{place}/{path.relative_to(source / folder).as_posix()}" for path in files}
    assert {name for name in wheel if ".dist-info/" not in name} == expected
    assert any(name.endswith("licenses/LICENSE") for name in wheel) and "video3d_plugin/py.typed" in wheel


def test_the_wheel_holds_the_tested_versions_and_the_reference_results(source, wheel):
    assert wheel["video3d_plugin/tested_versions.txt"] == (source / "constraints.txt").read_bytes()
    for name in ("model/default/golden.safetensors", "training/default.safetensors", "metrics/scanqa.json"):
        assert f"video3d_plugin/verify/goldens/{name}" in wheel
    size = sum(len(data) for name, data in wheel.items() if name.startswith("video3d_plugin/verify/goldens/"))
    assert 1_000_000 < size < 2_000_000


def test_the_source_distribution_gives_the_same_wheel(source, wheel, tmp_path):
    with tarfile.open(build(source, tmp_path / "sdist", "sdist")) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert not (unpacked / "tests").exists()
    assert content(build(unpacked, tmp_path / "again", "wheel")) == wheel


@pytest.fixture(scope="module")
def workflow():
    return yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())


@pytest.fixture
def jobs(workflow):
    return workflow["jobs"]


def test_ci_runs_make_targets_and_nothing_else(jobs):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for job in jobs.values():
        assert [step["run"] for step in job["steps"] if "run" in step] == ["make ${{ matrix.target }}"]
        assert {row["target"] for row in job["strategy"]["matrix"]["include"]} <= targets
    always = {row["target"] for row in jobs["make"]["strategy"]["matrix"]["include"]}
    assert always >= {"lint", "test", "coverage", "demo", "test-lowest", "test-versions", "wheel"}


def test_the_newest_of_everything_is_tried_every_week(workflow):
    assert any("cron" in moment for moment in workflow[True]["schedule"])  # YAML reads the key `on` as a truth value
    newest = workflow["jobs"]["newest"]
    assert "github.event_name == 'schedule'" in newest["if"]
    assert {row["target"] for row in newest["strategy"]["matrix"]["include"]} == {"test-newest"}


def test_ci_covers_the_first_and_the_last_python_that_is_promised(jobs):
    low, high = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups()
    pythons = {row["python"] for job in jobs.values() for row in job["strategy"]["matrix"]["include"]}
    assert {f"3.{low}", f"3.{int(high) - 1}"} <= pythons
