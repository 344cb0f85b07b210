"""The locks: what `make` installs is named there, for every Python and machine that is promised."""

from __future__ import annotations

import re
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
# Each lock, and the extras of pyproject.toml that it covers.
LOCKS = {
    "constraints.txt": ("eval", "train", "serve", "apps", "completion", "cluster", "quantised", "rerun", "dev"),
    "constraints-4.45.txt": ("eval", "train", "llava", "dev"),
    "constraints-4.57.txt": ("eval", "train", "llava", "dev"),
    "constraints-lowest.txt": ("train",),
}
# Not in a lock: what `python -m venv` puts into an environment, and this package.
OWN = {"pip", "setuptools", "wheel", "video3d-plugin"}
MACHINES = [("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"), ("darwin", "x86_64")]


def pins(name: str) -> list[Requirement]:
    lines = (ROOT / name).read_text().splitlines()
    return [Requirement(line) for line in lines if not line.startswith("#")]


def applying(name: str, environment: dict[str, str] | None = None) -> dict[str, str]:
    """{distribution: version} of the pins that bind in an environment (default: this one)."""
    found: dict[str, str] = {}
    for pin in pins(name):
        if pin.marker is None or pin.marker.evaluate(environment):
            key = canonicalize_name(pin.name)
            assert key not in found, f"{name}: two pins of {key} apply to {environment}"
            (version,) = pin.specifier
            assert version.operator == "==", f"{name}: {pin} is no pin"
            found[key] = version.version
    return found


def environments(low: int = 10, high: int = 13) -> list[dict[str, str]]:
    return [
        {
            **default_environment(), "python_version": f"3.{minor}", "python_full_version": f"3.{minor}.1",
            "sys_platform": system, "platform_machine": machine, "platform_system": system.capitalize(), "extra": "",
        }
        for minor in range(low, high + 1)
        for system, machine in MACHINES
    ]  # fmt: skip


def direct(*extras: str) -> list[Requirement]:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [
        Requirement(text)
        for texts in (project["dependencies"], *(project["optional-dependencies"][extra] for extra in extras))
        for text in texts
    ]


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_says_how_it_was_made_and_holds_pins_alone(name):
    text = (ROOT / name).read_text()
    assert "make lock" in text.splitlines()[1]
    for line in text.splitlines()[2:]:  # no index, no host, no hash, no local build: any build of a version fits
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.!]*( ; [a-z0-9_ .'=<>!()*-]+)?", line, re.IGNORECASE), line


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_fits_what_pyproject_promises_everywhere(name):
    wanted = direct(*LOCKS[name])
    for environment in environments():
        bound = applying(name, environment)
        for requirement in wanted:
            if requirement.marker is not None and not requirement.marker.evaluate(environment):
                continue
            version = bound.get(canonicalize_name(requirement.name))
            assert version is not None, f"{name} does not pin {requirement.name}: run make lock"
            assert requirement.specifier.contains(version, prereleases=True), f"{name}: {version} is not {requirement}"


def test_the_lowest_versions_that_are_promised_are_those_that_are_tested():
    for environment in environments(10, 11):
        tested = applying("constraints-lowest.txt", environment)
        for requirement in direct("train"):
            (low,) = [s.version for s in requirement.specifier if s.operator == ">="]
            version = tested[canonicalize_name(requirement.name)]
            assert re.fullmatch(re.escape(low) + r"(\.\d+)*", version), f"{requirement}: {version} is tested"


def test_every_lock_that_make_uses_is_held_to_this():
    used = set(re.findall(r"--output-file (constraints\S*\.txt)", (ROOT / "Makefile").read_text()))
    assert used == set(LOCKS) == {path.name for path in ROOT.glob("constraints*.txt")}


def not_named(installed: set[str], lock: str) -> list[str]:
    return sorted(installed - applying(lock).keys() - OWN)


def test_this_environment_holds_nothing_that_its_lock_does_not_name():
    stamp = Path(sys.prefix) / ".installed"
    if not stamp.is_file() or not (lock := stamp.read_text().strip()):
        pytest.skip("this environment was not made by make")
    installed = {canonicalize_name(found.metadata["Name"]) for found in distributions()}
    missing = not_named(installed, lock)
    assert not missing, f"not in {lock}: {', '.join(missing)}; run `make lock`, or rm -r {sys.prefix} and make it anew"


def test_a_distribution_that_no_pin_binds_here_is_found():
    elsewhere = {pin.name for pin in pins("constraints.txt")} - applying("constraints.txt").keys()
    assert not_named({"torch", "pip", "left-over", *elsewhere}, "constraints.txt") == sorted({"left-over", *elsewhere})
