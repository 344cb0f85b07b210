"""Entry-point groups: what is built in, what add-ons bring, and add-ons that are broken."""

from __future__ import annotations

import warnings

import pytest
from add_on import write_add_on

from video3d_plugin.errors import DataError
from video3d_plugin.extensions import ExtensionGroup

BUILT_IN = {"dumps": "json:dumps"}


def number(name, loaded):
    if not isinstance(loaded, int):
        raise DataError(f"is a {type(loaded).__name__}, expected a number")


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Adds a distribution to sys.path: site(points, modules)."""

    def add(points, modules, name="addon"):
        monkeypatch.syspath_prepend(write_add_on(tmp_path / name, "test.group", points, modules, name))

    return add


@pytest.fixture
def group():
    return ExtensionGroup("test.group", "thing", BUILT_IN, number)


def test_without_add_ons_there_is_what_is_built_in(group):
    import json

    assert group.names() == ("dumps",) and group.get("dumps") is json.dumps
    assert group.usable() == {"dumps": json.dumps}


def test_an_add_on_is_found_and_comes_last(group, site):
    site({"a-first": "ext_ok:ONE"}, {"ext_ok.py": "ONE = 1\n"})
    assert group.names() == ("dumps", "a-first") and group.get("a-first") == 1


def test_an_add_on_does_not_replace_what_is_built_in(group, site):
    site({"dumps": "ext_other:TWO"}, {"ext_other.py": "TWO = 2\n"})
    assert group.names() == ("dumps",) and callable(group.get("dumps"))


@pytest.mark.parametrize(
    ("value", "text", "reason"),
    [
        ("ext_gone_1:x", None, "No module named 'ext_gone_1'"),
        ("ext_bad_2:x", "raise RuntimeError('out of order')\n", "out of order"),
        ("ext_bad_3:x", "import sys\n", "has no attribute 'x'"),
        ("ext_bad_4:x", "x = 'text'\n", "is a str, expected a number"),
        ("ext_bad_5:x", "raise KeyError()\n", "KeyError"),
    ],
)
def test_a_broken_add_on_is_an_error_by_name_and_a_warning_otherwise(group, site, value, text, reason):
    module = value.split(":")[0]
    site({"broken": value}, {} if text is None else {f"{module}.py": text})
    site({"works": f"{module}_ok:x"}, {f"{module}_ok.py": "x = 5\n"}, "other")
    with pytest.raises(DataError, match=rf"thing 'broken' \({value} of addon 1.0\) cannot be loaded: .*{reason}"):
        group.get("broken")
    with pytest.warns(UserWarning, match=rf"'broken' \({value} of addon 1.0\) .*{reason}; it is left out") as caught:
        members = group.usable()
    assert list(members) == ["dumps", "works"] and len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert group.get("works") == 5


def test_an_unknown_name_lists_the_known_and_guesses(group):
    with pytest.raises(DataError) as caught:
        group.get("dump")
    assert str(caught.value) == "unknown thing 'dump' (did you mean 'dumps'? known: dumps)"
    with pytest.raises(DataError) as caught:
        group.get("zzzzzzz")
    assert "did you mean" not in str(caught.value)
