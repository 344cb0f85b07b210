"""What the original evaluators printed.

video3d_plugin/verify/goldens/metrics: made-up inputs run through the official code of ScanRefer 9d74830, M3DRef-CLIP
babfcc4, Scan2Cap b9e9610, ScanQA 0a9f162, LEO 567f2d8, LLaVA-3D 91d979d, Chat-Scene 475e106, Video-3D-LLM 3ff70e8 and
torchmetrics_ext 0.4.2. sqa3d.json holds SQA3D's own questions and is read from VIDEO3D_SHARED.
"""

from __future__ import annotations

import json
import shutil

import pytest

from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.verify.metrics import FILES, verify, verify_with
from video3d_plugin.verify.metrics_sheet import Sheet

NOT_COMPUTED = {  # by name, and nothing else
    "scanrefer": {"official_class18"},
    "multi3drefer": set(),
    "scan2cap": {
        "official_benchmark_predictions",
        "official_benchmark_missing_scene",
        "jsonl",
        "video3dllm_percent_with_stale_gt_of_skipped_items",
    },
    "scanqa": {"empty_prediction", "missing_prediction"},
    "sqa3d": {""},
}


@pytest.fixture(scope="module")
def results(java, score, goldens, shared_or_none, tmp_path_factory):
    """Every file that can be found, verified at once: METEOR starts once."""
    folder = tmp_path_factory.mktemp("metrics")
    for name in FILES:
        sources = [goldens / "metrics" / name, *([shared_or_none / "golden/metrics" / name] if shared_or_none else [])]
        source = next((s for s in sources if s.is_file()), None)
        if source:
            shutil.copy(source, folder / name)
    return list(verify_with(folder, score))


@pytest.fixture(scope="module")
def shared_or_none(request):
    try:
        return request.getfixturevalue("shared")
    except pytest.skip.Exception:
        return None


@pytest.mark.parametrize("name", [name.removesuffix(".json") for name in FILES])
def test_every_number_agrees_to_a_millionth(results, name):
    own = [r for r in results if r.case.split("/")[0] == name]
    if not own:
        pytest.skip(f"{name}.json is not in the repository: set VIDEO3D_SHARED (see CONTRIBUTING.md)")
    assert [r.line() for r in own if r.ok is False] == []
    assert all(r.limit == 1e-6 for r in own) and len(own) >= 5


@pytest.mark.parametrize("name", NOT_COMPUTED)
def test_nothing_is_left_out_but_what_is_named_here(results, name):
    left = [r for r in results if r.ok is None and r.case.startswith(f"{name}: ")]
    paths = [path.rsplit("/", 1)[-1] for r in left for path in r.case.split(": ", 1)[1].split(" and ")[0].split(", ")]
    assert set(paths) <= NOT_COMPUTED[name]


def changed(golden, folder, name, change):
    folder.mkdir(exist_ok=True)
    content = json.loads((golden / "metrics" / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))
    return folder


def test_a_number_that_is_off_by_two_millionths_is_out(goldens, tmp_path):
    def change(content):
        content["expected"]["video3dllm_percent"]["all"]["all iou@0.25"] += 2e-6

    out = [r.case for r in verify(changed(goldens, tmp_path / "x", "scanrefer.json", change)) if r.ok is False]
    assert out == ["scanrefer/v3d, all"]


def test_a_changed_input_is_out(goldens, tmp_path):
    def change(content):
        content["B_items"][5]["pred_boxes"] = []

    out = [r.case for r in verify(changed(goldens, tmp_path / "x", "multi3drefer.json", change)) if r.ok is False]
    assert "multi3drefer/per item, boxes given" in out and "multi3drefer/v3d, B" in out


def test_a_number_of_an_unknown_convention_is_named(goldens, tmp_path):
    def change(content):
        content["expected"]["another_system"] = {"all": 0.5}

    left = [r for r in verify(changed(goldens, tmp_path / "x", "scanrefer.json", change)) if "another_system" in r.case]
    assert len(left) == 1 and left[0].ok is None and "unknown to this version" in left[0].note


def test_a_folder_without_goldens_and_a_broken_file_are_errors(tmp_path):
    with pytest.raises(MissingError, match="scanrefer.json"):
        list(verify(tmp_path))
    (tmp_path / "scanrefer.json").write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        Sheet(tmp_path / "scanrefer.json")


def test_without_java_only_what_needs_it_is_left_out(goldens, no_java, tmp_path):
    pytest.importorskip("pycocoevalcap")
    shutil.copy(goldens / "metrics" / "scanqa.json", tmp_path / "scanqa.json")
    results = list(verify(tmp_path))
    assert [r.line() for r in results if r.ok is False] == []
    assert {"scanqa/official, EM", "scanqa/v3d, values", "scanqa/leo"} <= {r.case for r in results if r.ok}
    left = [r for r in results if r.ok is None and "java" in r.note.lower()]
    assert any("ptb_strings" in r.case for r in left)
