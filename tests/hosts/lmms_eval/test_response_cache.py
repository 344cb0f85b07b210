"""`--use_cache`: the same question of the same model about the same scene, and nothing else, is answered from it."""

from __future__ import annotations

import json
import shutil

import pytest

pytestmark = pytest.mark.usefixtures("lmms_eval_importable")
LIMIT = 5


@pytest.fixture
def asked(monkeypatch):
    """Ids of the questions that the model itself answered."""
    from video3d_plugin.pipeline import Video3D

    ids: list[str] = []
    original = Video3D.ground_scores

    def ground(self, scene, questions, **options):
        ids.extend(question.item_id for question in questions)
        return original(self, scene, questions, **options)

    monkeypatch.setattr(Video3D, "ground_scores", ground)
    return ids


@pytest.fixture
def run(benchmark_folder, checkpoint, tmp_path, asked):
    """Evaluate scanrefer with a cache, with some arguments changed; returns (numbers, ids asked this time)."""
    from video3d_plugin.evaluate import evaluate

    def run(**changes):
        asked.clear()
        options = {"pretrained": checkpoint, "data": benchmark_folder, "max_frames": 2, "limit": LIMIT, **changes}
        numbers = evaluate(["scanrefer"], output=tmp_path / "out", use_cache=tmp_path / "cache", **options)
        return numbers["scanrefer"], list(asked)

    return run


def test_the_same_run_is_answered_from_the_cache_with_the_same_numbers(run):
    first, asked_first = run()
    second, asked_second = run()
    assert len(asked_first) == LIMIT and asked_second == []
    assert first == second


@pytest.mark.parametrize("change", [{"max_frames": 3}, {"sampler": "mc"}, {"proposals": "gt"}])
def test_another_view_of_the_scenes_is_asked_anew(run, change):
    run()
    assert len(run(**change)[1]) == LIMIT


def test_other_weights_at_the_same_place_are_asked_anew(run, make_checkpoint, tmp_path):
    place = tmp_path / "checkpoint"
    shutil.copytree(make_checkpoint(0), place)
    run(pretrained=place)
    assert run(pretrained=place)[1] == []
    shutil.rmtree(place)
    shutil.copytree(make_checkpoint(1), place)
    assert len(run(pretrained=place)[1]) == LIMIT


def test_another_scene_at_the_same_place_is_asked_anew(run, benchmark_folder, tmp_path):
    place = tmp_path / "data"
    shutil.copytree(benchmark_folder, place)
    run(data=place)
    for path in (place / "scenes").glob("*.json"):
        record = json.loads(path.read_text())
        record["proposals"] = record["proposals"][::-1]
        path.write_text(json.dumps(record))
    assert len(run(data=place)[1]) == LIMIT


def test_what_an_interrupted_run_has_answered_is_not_asked_again(run, monkeypatch):
    from video3d_plugin.pipeline import Video3D

    interruptible = Video3D.ground_scores
    remaining = [3]

    def ground(self, *arguments, **options):
        remaining[0] -= 1
        if remaining[0] < 0:
            raise KeyboardInterrupt
        return interruptible(self, *arguments, **options)

    monkeypatch.setattr(Video3D, "ground_scores", ground)
    with pytest.raises(KeyboardInterrupt):
        run()
    monkeypatch.setattr(Video3D, "ground_scores", interruptible)
    resumed, asked_again = run()
    assert len(asked_again) == LIMIT - 3
    assert resumed["count_missing"] == 0


def test_an_unanswered_question_is_asked_again_next_time(run, monkeypatch):
    from video3d_plugin.errors import DataError, Video3DError
    from video3d_plugin.pipeline import Video3D

    answers = Video3D.ground_scores

    def refuse(self, *arguments, **options):
        raise DataError("not now")

    monkeypatch.setattr(Video3D, "ground_scores", refuse)
    with pytest.raises(Video3DError, match="not one question could be answered"):
        run()
    monkeypatch.setattr(Video3D, "ground_scores", answers)
    numbers, asked_again = run()
    assert numbers["count_missing"] == 0 and len(asked_again) == LIMIT


def test_runs_without_this_package_keep_their_keys():
    from types import SimpleNamespace

    from video3d_plugin.hosts.lmms_eval import cache_fingerprint

    foreign = SimpleNamespace(dump_config=lambda: {"metadata": [{"version": 0.0}]})
    assert cache_fingerprint.of_run("qwen2_5_vl", {"mmbench": foreign, "group": {"mme": foreign}}) == ""


def test_a_released_choice_of_frames_joins_the_key_and_one_that_was_computed_does_not(benchmark_folder, tmp_path):
    from video3d_plugin.data.folder import DataFolder
    from video3d_plugin.data.selections import read_selection, write_selection
    from video3d_plugin.hosts.lmms_eval import cache_fingerprint
    from video3d_plugin.sampling.coverage import Selection

    shutil.copytree(benchmark_folder, tmp_path / "data")
    folder = DataFolder.open(tmp_path / "data")
    scene_id = folder.scene_ids[0]
    path, frames_key = folder.selection_path(scene_id), folder.frames_key(scene_id)
    known = read_selection(path, frames_key)
    digests = [cache_fingerprint.of_data(folder.path)]
    path.unlink()
    digests.append(cache_fingerprint.of_data(folder.path))
    folder.frames(scene_id, "mc", 2)
    assert path.is_file() and digests[0] == digests[1] == cache_fingerprint.of_data(folder.path)
    for order in (known.order, known.order[::-1]):
        write_selection(path, frames_key, Selection(order, known.gains, known.visible), released=True)
        digests.append(cache_fingerprint.of_data(folder.path))
    assert len(set(digests)) == 3
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": "another"}))
    assert cache_fingerprint.of_data(folder.path) == digests[-1]


def test_a_sampled_digest_sees_a_change_at_either_end_of_a_large_file(tmp_path, monkeypatch):
    from video3d_plugin.hosts.lmms_eval import cache_fingerprint

    monkeypatch.setattr(cache_fingerprint, "WHOLE_FILE_BYTES", 100)
    monkeypatch.setattr(cache_fingerprint, "END_BYTES", 10)
    (tmp_path / "weights").write_bytes(bytes(1000))
    digests = {cache_fingerprint.of_folder(tmp_path)}
    for position in (3, 997):
        content = bytearray(1000)
        content[position] = 1
        (tmp_path / "weights").write_bytes(content)
        digests.add(cache_fingerprint.of_folder(tmp_path))
    assert len(digests) == 3


# What a run that was killed at a bad moment leaves in the folder


@pytest.fixture
def open_cache(tmp_path):
    """Opens the cache of `tmp_path`, as a run of a model of ours does."""
    from types import SimpleNamespace

    from video3d_plugin.patches import registry

    registry.apply("lmms_eval_response_cache")
    from lmms_eval.caching.response_cache import ResponseCache

    model = SimpleNamespace(fingerprint="tiny")
    return lambda: ResponseCache.create(str(tmp_path), model=model, model_args="", task_dict={})


def interrupted_run(folder, content: bytes | None = None):
    """The shard of a run that did not come to its end: of one answer, or of these bytes."""
    import sqlite3

    from lmms_eval.caching.response_cache import _SCHEMA_SQL

    folder.mkdir(parents=True)
    path = folder / "rank_0.db"
    if content is not None:
        path.write_bytes(content)
        return path
    shard = sqlite3.connect(path)
    shard.executescript(_SCHEMA_SQL)
    shard.execute("INSERT INTO responses VALUES ('key', 'generate_until', 'sqa3d', 0, 0, '{}', '\"chair\"', 0.0)")
    shard.commit()
    shard.close()
    return path


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0" + b"x" * 3000])
def test_a_shard_that_cannot_be_read_is_named_and_the_others_are_adopted(open_cache, tmp_path, caplog, content):
    broken = interrupted_run(tmp_path / "runs" / "a", content)
    interrupted_run(tmp_path / "runs" / "b")
    cache = open_cache()
    assert cache._lookup("key") == "chair"
    cache.close()
    (message,) = caplog.messages
    assert str(broken) in message and "not adopted" in message


def test_a_lock_that_a_killed_run_left_is_named_and_the_run_goes_on(open_cache, tmp_path, caplog, monkeypatch):
    from functools import partial

    from lmms_eval.caching import response_cache

    monkeypatch.setattr(response_cache, "_merge_lock", partial(response_cache._merge_lock, timeout_seconds=0))
    interrupted_run(tmp_path / "runs" / "a")
    lock = tmp_path / "runs" / ".merge.lock"
    lock.mkdir()
    cache = open_cache()
    assert cache._lookup("key") is None
    cache.close()
    (message,) = caplog.messages
    assert str(lock) in message and "not adopted" in message and "delete it if no run is merging" in message


def without_a_column(path):
    import sqlite3

    db = sqlite3.connect(path)
    db.execute("DROP TABLE IF EXISTS responses")
    db.execute("CREATE TABLE responses (cache_key TEXT PRIMARY KEY, request_type TEXT)")
    db.execute("CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT)")
    db.commit()
    db.close()


def test_a_shard_without_a_column_is_named_and_the_others_are_adopted(open_cache, tmp_path, caplog):
    broken = interrupted_run(tmp_path / "runs" / "a")
    without_a_column(broken)
    interrupted_run(tmp_path / "runs" / "b")
    cache = open_cache()
    assert cache._lookup("key") == "chair"
    cache.close()
    (message,) = caplog.messages
    assert str(broken) in message and "no such column" in message


@pytest.mark.parametrize("content", [None, b"no database"])
def test_a_cache_that_is_none_is_refused_with_the_remedy(open_cache, tmp_path, content):
    from video3d_plugin.errors import DataError

    path = tmp_path / "cache.db"
    without_a_column(path) if content is None else path.write_bytes(content)
    with pytest.raises(DataError, match="cache.db: not a cache of lmms-eval: .*delete it"):
        open_cache()
