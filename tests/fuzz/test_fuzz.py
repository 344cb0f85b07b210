"""Every entry stands its damaged files; and the harness sees a traceback, a hang, memory and silence."""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor

import pytest
from harness import Entry, Outcome, all_entries, run_entry

from video3d_plugin.errors import DataError

ENTRIES = {entry.name: entry for entry in all_entries()}


def run_by_name(name: str, cases: int) -> Outcome:
    return run_entry(ENTRIES[name], range(cases))


def run_apart(entry: Entry, cases: int) -> Outcome:
    """Run an entry in its own process: entries silence logging and replace functions that other tests use."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        return pool.submit(run_by_name, entry.name, cases).result()


@pytest.mark.slow
@pytest.mark.parametrize("entry", ENTRIES.values(), ids=lambda entry: entry.name)
def test_damaged_files_are_refused_in_one_line(entry):
    outcome = run_apart(entry, entry.count)
    assert not outcome.findings, str(outcome)
    assert outcome.refused or outcome.healed, "no damage was noticed: does `run` read the files?"


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=lambda entry: entry.name)
def test_a_few_damaged_files(entry):
    outcome = run_apart(entry, 6)
    assert not outcome.findings, str(outcome)


def run_with(function, cases=2):
    return run_entry(
        Entry("made up", lambda folder: (folder / "a.txt").write_text("1 2 3\n" * 50), function), range(cases)
    )


def only_damaged(function):
    """`function`, for every text but the good one."""

    def run(folder):
        path = folder / "a.txt"
        if not path.is_file() or path.read_bytes() != b"1 2 3\n" * 50:
            function()

    return run


def fails():
    raise KeyError("inside")


def refuses():
    raise DataError("not three numbers")


def quotes_everything():
    raise DataError("x" * 100) from None


def test_what_an_entry_changes_in_its_process_stays_there():
    changed = []
    assert run_with(only_damaged(lambda: changed.append(1))).refused == 0 and not changed
    assert not run_with(lambda folder: changed.append(1)).findings and not changed


def test_good_files_that_do_not_pass_are_an_error():
    with pytest.raises(AssertionError, match="good files do not pass(?s:.*)KeyError"):
        run_with(lambda folder: fails())


def test_refusals_are_no_findings():
    outcome = run_with(only_damaged(refuses))
    assert outcome.refused == 2 and not outcome.findings


def test_files_that_are_made_again_are_healed():
    outcome = run_with(lambda folder: "healed")
    assert outcome.healed == 2 and not outcome.findings


def test_a_traceback_is_a_finding():
    (finding,) = run_with(only_damaged(fails)).findings.values()
    assert finding.kind.startswith("KeyError at") and finding.cases == [0, 1]


def test_memory_is_a_finding():
    (finding,) = run_with(only_damaged(lambda: bytearray(3 << 30))).findings.values()
    assert finding.kind.startswith("MemoryError")


def test_a_hang_is_a_finding_and_ends(monkeypatch):
    monkeypatch.setattr("harness.HANG_S", 0.5)
    (finding,) = run_with(only_damaged(lambda: time.sleep(60)), 1).findings.values()
    assert finding.kind == "hang"


def test_work_without_end_is_a_finding(monkeypatch):
    monkeypatch.setattr("harness.HANG_S", 0.5)

    def works():
        while True:
            pass

    (finding,) = run_with(only_damaged(works), 1).findings.values()
    assert finding.kind == "hang"


def test_a_process_that_dies_is_a_finding():
    import os

    (finding,) = run_with(only_damaged(lambda: os._exit(9)), 1).findings.values()
    assert finding.kind == "process ended"
