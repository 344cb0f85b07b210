"""Samplers by name: built in, of third parties, unknown; uniform sampling."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from add_on import write_add_on

from video3d_plugin.errors import DataError
from video3d_plugin.sampling import registry
from video3d_plugin.sampling.uniform import uniform


def scene_of(count):
    return SimpleNamespace(frames=tuple(range(count)))


def test_the_built_in_samplers_are_those_of_the_package_metadata():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert project["project"]["entry-points"][registry.GROUP] == registry.BUILT_IN


@pytest.mark.parametrize("name", registry.BUILT_IN)
def test_every_built_in_sampler_loads(name):
    assert callable(registry.get(name))


@pytest.mark.parametrize(
    "name, advice", [("ratio95", "mc-ratio95"), ("unifrom", "uniform"), ("mc_ratio90", "mc-ratio90")]
)
def test_an_unknown_name_lists_the_known_and_guesses(name, advice):
    with pytest.raises(DataError) as caught:
        registry.get(name)
    assert f"did you mean '{advice}'" in str(caught.value)
    assert all(known in str(caught.value) for known in registry.BUILT_IN)


def test_a_name_like_no_other_gets_no_guess():
    with pytest.raises(DataError) as caught:
        registry.get("zzzzzzzzz")
    assert "did you mean" not in str(caught.value)


def test_a_sampler_of_an_add_on_is_found_and_a_broken_one_stops_nobody(tmp_path, monkeypatch):
    points = {
        "every-other": "operator:itemgetter",
        "broken": "no_such_module_at_all:f",
        "uniform": "operator:itemgetter",
    }
    monkeypatch.syspath_prepend(write_add_on(tmp_path, registry.GROUP, points, {}))
    assert registry.names() == (*registry.BUILT_IN, "broken", "every-other")
    assert registry.get("every-other").__name__ == "itemgetter" and registry.get("uniform") is uniform
    with pytest.raises(DataError, match=r"'broken' \(no_such_module_at_all:f of addon 1.0\)"):
        registry.get("broken")
    with pytest.warns(UserWarning, match=r"frame sampler 'broken' \(no_such_module_at_all:f of addon 1.0\)"):
        assert registry.usable() == (*registry.BUILT_IN, "every-other")


def test_uniform_by_hand():
    assert uniform(scene_of(10), 4) == [0, 3, 6, 9]
    assert uniform(scene_of(10), 1) == [0]


def test_uniform_repeats_the_frames_of_a_short_scan():
    assert uniform(scene_of(2), 5) == [0, 0, 0, 0, 1]
    assert uniform(scene_of(1), 3) == [0, 0, 0]


@pytest.mark.parametrize("count", [0, -1, 1 << 29])
def test_a_number_of_frames_that_no_sampler_can_give_is_refused(count):
    from video3d_plugin.data.inputs import sample

    with pytest.raises(DataError, match=f"max_frames is {count}.*ask for 1 to"):
        sample(scene_of(3), "uniform", count)
