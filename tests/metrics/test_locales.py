"""Every score is the same under every locale, time zone and hash seed, whoever set them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from video3d_plugin.metrics.java import JVM_OPTIONS, find_java, jvm_environment

PROBE = Path(__file__).parent / "locale_probe.py"
GERMAN = "-Duser.language=de -Duser.country=DE"
TURKISH = "-Duser.language=tr -Duser.country=TR -Duser.language.format=de -Duser.country.format=DE"
ENVIRONMENTS = {
    "plain": {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"},
    "German system": {"LANG": "de_DE.UTF-8", "LC_ALL": "de_DE.UTF-8", "PYTHONHASHSEED": "1"},
    "Turkish system": {"LANG": "tr_TR.UTF-8", "LC_ALL": "tr_TR.UTF-8", "PYTHONHASHSEED": "2", "TZ": "Asia/Kolkata"},
    "poor system": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TZ": "Pacific/Kiritimati"},
    "German tools": {"JAVA_TOOL_OPTIONS": GERMAN, "PYTHONHASHSEED": "4242"},
    "Turkish launcher": {"JDK_JAVA_OPTIONS": TURKISH},
    "Turkish runtime": {"_JAVA_OPTIONS": f"-Xss2m '-Duser.language=tr' {TURKISH} -Dfile.encoding=ISO-8859-9"},
}


@pytest.fixture(scope="session")
def locales(tmp_path_factory) -> dict[str, str]:
    """German and Turkish for the C library, made where the machine has what they are made of (Debian's `locales`)."""
    folder = tmp_path_factory.mktemp("locales")
    maker = shutil.which("localedef")
    for name in ("de_DE", "tr_TR") if maker else ():
        subprocess.run([maker, "-i", name, "-f", "UTF-8", folder / f"{name}.UTF-8"], capture_output=True, check=False)
    return {"LOCPATH": str(folder)} if any(folder.iterdir()) else {}


def probe(environment: dict[str, str], *arguments: str) -> object:
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG"))}
    run = subprocess.run(
        [sys.executable, str(PROBE), *arguments],
        env={**variables, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr.decode(errors="replace")[-2000:]
    return json.loads(run.stdout)


@pytest.mark.parametrize("name", ["German tools", "Turkish runtime"])
def test_tokens_are_the_same_whatever_java_is_told_of_a_locale(java, name):
    tokens = probe(ENVIRONMENTS["plain"], "--tokens")
    assert probe(ENVIRONMENTS[name], "--tokens") == tokens
    assert tokens[0] == "i sit in the kitchen it is 1.5 m wide"


@pytest.mark.slow
def test_every_score_is_the_same_under_every_locale_time_zone_and_hash_seed(java, locales):
    expected = probe(ENVIRONMENTS["plain"])
    numbers = expected[1]["scanqa"]
    assert 0 < numbers["meteor"] < 100 and 0 < numbers["leo_meteor"] and 0 < expected[1]["scan2cap"]["meteor@0.5"]
    for name, environment in ENVIRONMENTS.items():
        assert probe({**environment, **locales}) == expected, name


def settings_of(environment: dict[str, str], options: tuple[str, ...]) -> dict[str, str]:
    command = [find_java(), *options, "-XshowSettings:properties", "-version"]
    run = subprocess.run(command, capture_output=True, check=True, env=environment)
    lines = (line.strip().split(" = ", 1) for line in run.stderr.decode().splitlines() if " = " in line)
    return {parts[0]: parts[1] for parts in lines if len(parts) == 2}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_jvm_has_one_locale_whatever_the_environment_says(java, name, monkeypatch):
    for variable, value in ENVIRONMENTS[name].items():
        monkeypatch.setenv(variable, value)
    settings = settings_of(jvm_environment(), JVM_OPTIONS)
    said = {key: settings.get(key) for key in ("user.language", "user.language.format", "file.encoding")}
    assert said == {"user.language": "en", "user.language.format": "en", "file.encoding": "UTF-8"}


def test_without_the_options_a_jvm_would_take_the_locale_that_it_is_told(java):
    environment = {**os.environ, "_JAVA_OPTIONS": "-Duser.language=tr -Dfile.encoding=ISO-8859-9"}
    assert settings_of(environment, JVM_OPTIONS)["user.language"] == "tr"


def test_other_options_of_the_user_s_stay(monkeypatch):
    monkeypatch.setenv("_JAVA_OPTIONS", '-Xmx1g "-Duser.language=tr" -Djava.io.tmpdir=/x -Duser.home=/y')
    assert jvm_environment()["_JAVA_OPTIONS"].split() == ["-Xmx1g", "-Djava.io.tmpdir=/x", "-Duser.home=/y"]
