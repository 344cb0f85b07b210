"""What surrounds each `simple_evaluate`: nothing of one evaluation is another's, and a failure has a status."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from video3d_plugin.patches import lmms_eval_errors

from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.hosts.lmms_eval.state import STATE

COMMAND = SimpleNamespace(model="video3d")


@pytest.fixture(autouse=True)
def fresh_process():
    yield
    STATE.reset()


@pytest.fixture
def simple_evaluate():
    """The host's function, wrapped; here the model is the function that does the work."""

    def host(model, cli_args=None):
        return model()

    (change,) = lmms_eval_errors.changes(SimpleNamespace(simple_evaluate=host))
    return change.value


class Model:
    """As the adapter, as far as the patches look: it chose a folder, and leaves one question open."""

    fingerprint = "tiny"

    def __init__(self, data):
        self.data = data
        STATE.current.data = data

    def __call__(self):
        STATE.note_unanswered("sqa3d", "s", "1", "s: no frames")
        return STATE.data_folder()


def test_a_question_that_one_model_left_open_is_not_missing_from_the_next(simple_evaluate):
    simple_evaluate(Model("folder"), cli_args=COMMAND)
    assert len(STATE.current.unanswered) == 1
    assert simple_evaluate(lambda: STATE.why_unanswered("sqa3d", "s", "1")) is None


def test_a_question_that_was_left_open_stays_in_the_exit_status(simple_evaluate):
    simple_evaluate(Model("folder"), cli_args=COMMAND)
    simple_evaluate(lambda: None, cli_args=COMMAND)
    assert len(STATE.current.unanswered) == 0 and STATE.exit_status == 3
    assert "1 questions were left unanswered: 1 x s: no frames" in STATE.summary_of_all()


def test_each_model_is_asked_about_its_own_folder_and_leaves_none_behind(simple_evaluate, monkeypatch):
    monkeypatch.delenv("VIDEO3D_DATA", raising=False)
    first, second = Model("one"), Model("other")
    assert [simple_evaluate(model=model) for model in (first, second, first)] == ["one", "other", "one"]
    Model("another")
    with pytest.raises(MissingError, match="VIDEO3D_DATA"):
        simple_evaluate(STATE.data_folder)


def fail():
    raise DataError("no frames", where="s")


def test_an_error_is_one_line_and_a_status_on_the_command_line_and_itself_elsewhere(simple_evaluate, capsys):
    with pytest.raises(DataError):
        simple_evaluate(fail)
    with pytest.raises(SystemExit, match="2"):
        simple_evaluate(fail, cli_args=COMMAND)
    assert capsys.readouterr().err == "video3d: error: s: no frames\n"


def test_a_failed_evaluation_is_not_reported_as_one_with_questions_left_open(simple_evaluate):
    simple_evaluate(Model("folder"), cli_args=COMMAND)
    with pytest.raises(SystemExit, match="2"):
        simple_evaluate(fail, cli_args=COMMAND)
    assert STATE.exit_status == 0  # the status of the error is the process's
