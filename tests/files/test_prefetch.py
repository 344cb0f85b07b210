"""Loading one item ahead of the work."""

from __future__ import annotations

import threading

from video3d_plugin.files.prefetch import prefetch


def test_the_next_is_loaded_while_the_first_is_worked_on_and_no_more_than_one_ahead():
    started = {key: threading.Event() for key in "abc"}

    def load(key):
        started[key].set()
        return key.upper()

    ahead = prefetch(list("abc"), load)
    key, future = next(ahead)
    assert (key, future.result()) == ("a", "A")
    assert started["b"].wait(timeout=10)
    assert not started["c"].is_set()
    assert [(k, f.result()) for k, f in ahead] == [("b", "B"), ("c", "C")]


def test_an_error_waits_for_its_own_turn():
    def load(key):
        if key == "b":
            raise OSError("unreadable")
        return key

    results = [future.exception() or future.result() for _, future in prefetch(list("abc"), load)]
    assert results[0] == "a" and str(results[1]) == "unreadable" and results[2] == "c"


def test_nothing_to_load_is_nothing_to_do():
    assert list(prefetch([], lambda key: key)) == []
