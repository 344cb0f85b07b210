"""lmms-eval's own command line with --model video3d, beside a dependency that is too new or missing."""

from __future__ import annotations

import os
import re

import pytest
from stubs import python, stub, without

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("lmms_eval_importable")]
COMMAND = "import sys; from lmms_eval.cli.dispatch import main; sys.argv = ['lmms-eval', *sys.argv[1:]]; main()"
CASES = {
    "transformers too new": (lambda path: stub(path, "transformers", "99.0"), "transformers 99.0 does not fit "),
    "filelock too new": (lambda path: stub(path, "filelock", "99.0"), "filelock 99.0 does not fit "),
    "no tenacity": (lambda path: without(path, "tenacity"), "tenacity is not installed, which lmms-eval 0.7"),
}


@pytest.fixture
def lmms_eval(host_environment, tmp_path):
    def lmms_eval(prepare, *words):
        (tmp_path / "stubs").mkdir()
        folder = prepare(tmp_path / "stubs")
        hook = os.path.join(host_environment["PYTHONPATH"].split(os.pathsep)[0], "sitecustomize.py")
        if os.path.isfile(hook):  # an overlay stands for the installed package: only one sitecustomize is run
            with open(folder / "sitecustomize.py", "a") as file, open(hook) as line:
                file.write(f"\n{line.read()}\n")
        return python(folder, "-c", COMMAND, *words, PYTHONPATH=host_environment["PYTHONPATH"])

    return lmms_eval


@pytest.mark.parametrize("case", CASES)
def test_it_ends_in_one_line_and_status_2(lmms_eval, case, checkpoint):
    prepare, said = CASES[case]
    words = ["--model", "video3d", "--model_args", f"pretrained={checkpoint}", "--tasks", "scanrefer"]
    done = lmms_eval(prepare, *words)
    assert done.returncode == 2, done.stderr[-2000:]
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("video3d: error: ")]
    assert said in line and re.search(r"\((pip install|install another version of) ", line)


def test_another_model_keeps_its_traceback(lmms_eval):
    done = lmms_eval(CASES["transformers too new"][0], "--model", "dummy", "--tasks", "scanrefer")
    assert done.returncode == 1 and "Traceback" in done.stderr and "video3d: error" not in done.stderr
