"""docs/extending.md to the letter: a model, a frame sampler and a proposal maker, from training to lmms-eval."""

from __future__ import annotations

import importlib
import json
import shutil
import sys

import pytest
import torch
from add_on import install_from_page, write_add_on

from video3d_plugin import cli, load_model, load_scene
from video3d_plugin.data.folder import DataFolder
from video3d_plugin.errors import DataError
from video3d_plugin.model import registry
from video3d_plugin.model.checkpoint.loading import load_pair
from video3d_plugin.model.modeling import Video3DForCausalLM
from video3d_plugin.scene import Question

FIND = ["the chair near the table"]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        for heading in ("A model", "A frame sampler", "A proposal maker"):
            patch.syspath_prepend(install_from_page(tmp_path_factory.mktemp("site") / "site", heading))
        yield
    for name in ("roomgain", "nearpoint", "nearthing"):
        sys.modules.pop(name, None)


@pytest.fixture
def scene(my_scan):
    return load_scene(my_scan)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A prepared train split of one made-up room."""
    from video3d_plugin.data.prepare import prepare
    from video3d_plugin.mini.rooms import make_benchmark

    root, write = tmp_path_factory.mktemp("train"), ("posed_images", "mesh", "mask", "annotations")
    rooms = make_benchmark(
        root / "rooms", scenes=1, seed=4, frames=6, image_size=(90, 120), write=write, progress=False, split="train"
    )
    prepare(rooms, root / "data")
    return root / "data"


@pytest.fixture(scope="module")
def trained(site, data, tiny_checkpoint, tmp_path_factory):
    """The checkpoint of the built-in class, one training step later, as the add-on's."""
    output = tmp_path_factory.mktemp("trained") / "run"
    words = f"train --data {data} --model {tiny_checkpoint} --model-class roomgain --output {output} --tasks scanrefer"
    words += " --steps 1 --scenes-per-step 1 --questions-per-scene 2 --max-frames 2 --learning-rate 0.01"
    assert cli.main(words.split()) == 0
    return output


@pytest.fixture(scope="module")
def loud(trained, tmp_path_factory):
    """The same checkpoint with a large gain, so that it shows."""
    model, processor = load_pair(trained)
    with torch.no_grad():
        model.scene_gain.fill_(4.0)
    folder = tmp_path_factory.mktemp("loud") / "loud"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def test_the_built_in_class_is_taken_where_it_is_asked_for_by_name(trained):
    assert type(load_pair(trained)[0]).__name__ == "RoomGain"
    with pytest.raises(DataError, match="unexpected: scene_gain"):
        load_pair(trained, model_class="video3d")


def test_it_starts_from_a_checkpoint_of_the_built_in_class_as_that_model(site, tiny_checkpoint, scene):
    base = load_model(tiny_checkpoint, device="cpu")
    model = load_model(tiny_checkpoint, device="cpu", model_class="roomgain")
    assert type(base.model) is Video3DForCausalLM and type(model.model).__name__ == "RoomGain"
    assert model.model.initialised_parts == ["scene_gain"] and not model.model.scene_gain.any()
    assert torch.equal(model.ground_scores(scene, FIND)[0], base.ground_scores(scene, FIND)[0])


def test_its_own_parameter_is_trained_and_saved_with_its_name(trained):
    assert json.loads((trained / "config.json").read_text())["video3d_model"] == "roomgain"
    model = load_pair(trained)[0]
    assert type(model).__name__ == "RoomGain" and model.scene_gain.any() and not model.initialised_parts
    assert type(Video3DForCausalLM.from_pretrained(str(trained))) is type(model)


def test_asking_runs_its_code_and_a_changed_parameter_is_seen(loud, trained, scene):
    quiet, model = load_model(trained, device="cpu"), load_model(loud, device="cpu")
    before = model.ground_scores(scene, FIND)[0]
    assert not torch.allclose(before, quiet.ground_scores(scene, FIND)[0], atol=1e-3)
    with torch.no_grad():
        model.model.scene_gain.zero_()
    assert not torch.allclose(model.ground_scores(scene, FIND)[0], before, atol=1e-3), "an old prefix was taken"


def test_the_commands_run_its_code(loud, trained, my_scan, tmp_path, capsys):
    scores = []
    for checkpoint in (loud, trained):
        words = ["ask", str(my_scan), FIND[0], "--ground", "--json", "--device", "cpu", "--model", str(checkpoint)]
        assert cli.main(words) == 0
        scores.append(json.loads(capsys.readouterr().out)["items"])
    assert scores[0] != scores[1]
    assert cli.main(["export", str(loud), "--format", "video3d", "--output", str(tmp_path / "same")]) == 0
    assert load_pair(tmp_path / "same")[0].scene_gain.eq(4).all()


def test_an_export_for_llava_next_warns_and_is_still_loaded_as_its_class(loud, tmp_path, caplog):
    assert cli.main(["export", str(loud), "--output", str(tmp_path / "llava")]) == 0
    assert "LLaVA-NeXT does not know model 'roomgain'" in caplog.text
    assert type(load_pair(tmp_path / "llava")[0]).__name__ == "RoomGain"


def test_an_adapter_keeps_the_class_and_trains_its_parts_in_full(site, tiny_checkpoint, tmp_path):
    pytest.importorskip("peft")
    from video3d_plugin.model.checkpoint.lora import add_lora

    model, processor = load_pair(tiny_checkpoint, model_class="roomgain")
    wrapped = add_lora(model, rank=2)
    assert model.scene_gain.requires_grad and not model.model.layers[0].mlp.up_proj.base_layer.weight.requires_grad
    with torch.no_grad():
        model.scene_gain.fill_(2.0)
    wrapped.save_pretrained(str(tmp_path / "adapter"))
    processor.save_pretrained(tmp_path / "adapter")
    merged = load_pair(tiny_checkpoint, lora=tmp_path / "adapter")[0]
    assert type(merged).__name__ == "RoomGain" and merged.scene_gain.eq(2).all()


def test_without_the_add_on_its_checkpoint_is_refused_in_one_line(trained, monkeypatch):
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if "/site" not in entry or "site-packages" in entry])
    with pytest.raises(DataError) as caught:
        load_pair(trained)
    assert "names model 'roomgain', which is not installed" in str(caught.value)
    assert "registered here: video3d)" in str(caught.value) and "\n" not in str(caught.value)


def test_a_checkpoint_of_another_class_is_refused(site, trained):
    class Unrelated(Video3DForCausalLM):
        pass

    with pytest.raises(DataError, match="was written by model 'roomgain', and Unrelated is not derived from it"):
        Unrelated.from_pretrained(str(trained))


def test_the_built_in_class_leaves_no_key(tiny_checkpoint):
    assert "video3d_model" not in json.loads((tiny_checkpoint / "config.json").read_text())


# lmms-eval


@pytest.fixture
def lmms_eval():
    from video3d_plugin._startup import install
    from video3d_plugin.hosts.lmms_eval.state import STATE

    install()
    yield pytest.importorskip("lmms_eval", reason="lmms-eval is not installed (pip install 'video3d-plugin[eval]')")
    STATE.reset()


def model_class_of(name: str) -> type:
    """What `lmms-eval --model NAME` makes."""
    from lmms_eval.models.registry_v2 import ModelRegistryV2

    from video3d_plugin.hosts.lmms_eval.manifest import manifests

    models = ModelRegistryV2()
    for manifest in manifests():
        models.register_manifest(manifest)
    return models.get_model_class(name)


def requests(lm, docs):
    from lmms_eval.api.instance import Instance

    lm.task_dict = {"task": {"test": docs}}
    arguments = [("context", {"max_new_tokens": 2}, None, index, "task", "test") for index in range(len(docs))]
    return [
        Instance("generate_until", arguments=a, idx=0, metadata={"task": "task", "doc_id": a[3], "repeats": 1})
        for a in arguments
    ]


def doc(scene_id, item="r1", task="scanrefer", prompt="<image> the chair", **more):
    return {"task": task, "item_id": item, "scene_id": scene_id, "prompt": prompt, **more}


def test_lmms_eval_runs_its_code_under_both_names(lmms_eval, loud, trained, data):
    (scene_id,) = DataFolder.open(data).scene_ids
    answers, fingerprints = {}, set()
    for name, checkpoint in (("roomgain", loud), ("video3d", loud), ("roomgain", trained)):
        lm = model_class_of(name)(pretrained=str(checkpoint), data=str(data), device="cpu", max_frames=2)
        assert type(lm.video3d.model).__name__ == "RoomGain"
        (answer,) = lm.generate_until(requests(lm, [doc(scene_id)]))
        answers[name, checkpoint.name] = json.loads(answer)["scores"]
        fingerprints.add(lm.fingerprint)
    assert answers["roomgain", "loud"] == answers["video3d", "loud"] != answers["roomgain", "run"]
    assert len(fingerprints) == 2


def test_the_cache_key_knows_the_class(lmms_eval, site, tiny_checkpoint, data):
    made = [
        model_class_of(name)(pretrained=str(tiny_checkpoint), data=str(data), device="cpu")
        for name in ("video3d", "roomgain")
    ]
    assert made[0].fingerprint != made[1].fingerprint


def test_the_tasks_give_it_the_scene_and_no_plain_prompt(lmms_eval, loud, data):
    from video3d_plugin.hosts.lmms_eval.tasks import SceneTask

    (scene_id,) = DataFolder.open(data).scene_ids
    model_class_of("roomgain")(pretrained=str(loud), data=str(data), device="cpu")
    item = doc(scene_id, task="scanqa", prompt="<image> How many?")
    assert SceneTask("scanqa").text(item, {"frames": 2}) == item["prompt"]
    assert SceneTask("scanqa").visual(item, {"frames": 2}) == []


def test_a_name_that_lmms_eval_has_itself_is_left_out_with_a_warning(lmms_eval, tmp_path, monkeypatch):
    from video3d_plugin.hosts.lmms_eval.manifest import manifests

    importlib.import_module("lmms_eval.models")
    monkeypatch.syspath_prepend(write_add_on(tmp_path / "site", "video3d.models", {"llava": "no_such:Model"}, {}))
    with pytest.warns(UserWarning, match=r"'llava' \(no_such:Model of addon 1.0\): lmms-eval has a model of this name"):
        ids = [manifest.model_id for manifest in manifests()]
    assert "video3d" in ids and "llava" not in ids


# Classes that cannot be used

HEAD = "from video3d_plugin import Video3DForCausalLM\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("class M: pass\n", "class M is no subclass of Video3DForCausalLM"),
        ("M = 5\n", "a int is no subclass"),
        (HEAD + "class M(Video3DForCausalLM):\n    new_parts = 'head'\n", "new_parts of M is a str, expected a tuple"),
        (HEAD + "class M(Video3DForCausalLM):\n    new_parts = (5,)\n", "new_parts holds 5"),
        (HEAD + "class M(Video3DForCausalLM):\n    def forward(self, **k): pass\n", "overrides forward"),
        ("import sys\nsys.exit(3)\n", "3"),
    ],
    ids=["other", "number", "text", "numbers", "forward", "exits"],
)
def test_a_class_that_cannot_be_used_is_named_with_its_distribution(text, reason, tmp_path, monkeypatch, request):
    module = f"bad_model_{request.node.callspec.id}"
    folder = write_add_on(tmp_path / "site", "video3d.models", {module: f"{module}:M"}, {f"{module}.py": text})
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(DataError, match=rf"model '{module}' \({module}:M of addon 1.0\) cannot be loaded: .*{reason}"):
        registry.get(module)
    assert registry.get("video3d") is Video3DForCausalLM


def test_a_new_part_that_the_checkpoint_has_in_part_is_refused(site, loud, tmp_path):
    from safetensors.torch import load_file, save_file

    class Deeper(registry.get("roomgain")):
        new_parts = ("extra",)

        def __init__(self, config):
            super().__init__(config)
            self.extra = torch.nn.Linear(2, 2)

    model = Deeper.from_pretrained(str(loud))
    assert model.initialised_parts == ["extra.bias", "extra.weight"] and model.scene_gain.eq(4).all()
    model.save_pretrained(tmp_path / "part")
    file = tmp_path / "part" / "model.safetensors"
    tensors = load_file(file)
    del tensors["extra.bias"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(DataError, match="missing: extra.bias"):
        Deeper.from_pretrained(str(tmp_path / "part"))


# A sampler that reads the question


@pytest.fixture
def encoded(monkeypatch):
    """The frames of each scene that is encoded."""
    from video3d_plugin.model.prefix import inference

    seen, original = [], inference.encode_scene
    monkeypatch.setattr(inference, "encode_scene", lambda m, p, i: seen.append(i.frames) or original(m, p, i))
    return seen


def place(scene, index) -> tuple[float, ...]:
    return tuple((scene.world_from_scan @ scene.frames[index].scan_from_camera)[:3, 3].tolist())


def test_questions_that_see_the_same_frames_share_an_encoding(site, tiny_checkpoint, scene, encoded):
    model = load_model(tiny_checkpoint, device="cpu", sampler="nearest", max_frames=1)
    first, last = place(scene, 0), place(scene, 7)
    together = model.caption(scene, [first, last, first], max_new_tokens=3)
    names = [(scene.frames[i].name,) for i in (0, 7)]
    assert encoded == names and together[0] == together[2]
    assert model.caption(scene, last, max_new_tokens=3) == together[1] and encoded == names
    plain = load_model(tiny_checkpoint, device="cpu", sampler="uniform", max_frames=1)
    inputs = plain.encode_scene(model.inputs(scene, question=Question("q", "0", scene.scene_id, "", coords=(last,))))
    assert plain.caption(inputs, last, max_new_tokens=3) == together[1]
    assert len(model.ground(scene, FIND[0])) == len(model.inputs(scene, sampler="uniform").proposals)


def test_ask_uses_it_and_lists_the_frames_of_its_questions(site, tiny_checkpoint, my_scan, scene, capsys):
    words = ["ask", str(my_scan), "--model", str(tiny_checkpoint), "--sampler", "nearest", "--max-frames", "1"]
    words += ["--json", "--device", "cpu", "--max-new-tokens", "2", "--point", *map(str, place(scene, 7))]
    assert cli.main(words) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == [scene.frames[7].name]


def test_lmms_eval_groups_a_scenes_questions_by_their_frames(lmms_eval, site, tiny_checkpoint, data, encoded):
    folder = DataFolder.open(data)
    (scene_id,) = folder.scene_ids
    first, last = (list(place(folder.scene(scene_id), index)) for index in (0, 5))
    about = {"task": "scan2cap", "prompt": "<image> at <coord> ."}
    docs = [doc(scene_id, str(i), coords=[point], **about) for i, point in enumerate((first, last, first))]
    given = {"pretrained": str(tiny_checkpoint), "data": str(data), "device": "cpu", "max_frames": 1}
    lm = model_class_of("video3d")(sampler="nearest", **given)
    answers = lm.generate_until(requests(lm, docs))
    frames = folder.scene(scene_id).frames
    assert sorted(encoded) == [(frames[0].name,), (frames[5].name,)] and answers[0] == answers[2]
    assert lm.fingerprint != model_class_of("video3d")(sampler="uniform", **given).fingerprint


def test_where_a_scene_has_one_choice_of_frames_it_is_refused_in_one_line(
    site, tiny_checkpoint, data, my_scan, room_root, tmp_path, capsys
):
    train = f"train --data {data} --model {tiny_checkpoint} --output {tmp_path / 'out'} --tasks scanrefer"
    for words in (
        train.split(),
        ["prepare", str(room_root), "--output", str(tmp_path / "data"), "--store"],
        ["sample", str(my_scan)],
        ["view", str(my_scan), "--save", str(tmp_path / "page.html"), "--no-open"],
        ["serve", str(my_scan), "--port", "0"],
    ):
        if words[0] == "serve":
            checkpoint = tmp_path / "checkpoint"
            shutil.copytree(tiny_checkpoint, checkpoint)
            (checkpoint / "training.json").write_text(json.dumps({"settings": {"sampler": "nearest"}}))
            words += ["--model", str(checkpoint)]
        else:
            words += ["--sampler", "nearest"]
        assert cli.main(words) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert "frame sampler 'nearest' chooses frames for each question" in error, words[0]


def test_the_table_of_samplers_leaves_out_what_fails_and_what_reads_the_question(
    site, my_scan, tmp_path, monkeypatch, capsys
):
    text = "def fails(scene, max_frames, coverage):\n    return {}['x']\n"
    points = {"fails": "bad_sampler:fails", "number": "bad_sampler:__file__", "gone": "bad_sampler:gone"}
    folder = write_add_on(tmp_path / "site", "video3d.frame_samplers", points, {"bad_sampler.py": text})
    monkeypatch.syspath_prepend(folder)
    with pytest.warns(UserWarning) as caught:
        assert cli.main(["sample", str(my_scan), "--max-frames", "2", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["samplers"]) == {"uniform", "mc", "mc-ratio90", "mc-ratio95"}
    said = "\n".join(str(warning.message) for warning in caught)
    assert "frame sampler 'gone' (bad_sampler:gone of addon 1.0) cannot be loaded" in said
    assert "'number' (bad_sampler:__file__ of addon 1.0) cannot be loaded: is a str, expected a function" in said
    assert "frame sampler 'fails' (bad_sampler:fails of addon 1.0) failed: KeyError: 'x'" in said
    assert cli.main(["sample", str(my_scan), "--sampler", "fails"]) == 2
    assert "'fails'" in capsys.readouterr().err


def test_the_proposal_maker_of_the_page_is_used_by_commands_and_in_python(site, my_scan, tiny_checkpoint, capsys):
    scene = load_scene(my_scan, proposals="nearest:0.6")
    assert len(scene.proposals) == len(scene.frames) and scene.proposal_views[0] == (scene.frames[0].name,)
    assert (
        0 < scene.proposals[:, 3:].max() <= 0.61 and scene.notes[-1] == "proposals are the nearest things of the frames"
    )
    assert cli.main(["objects", str(my_scan), "--proposals", "nearest", "--json", "--limit", "2"]) == 0
    assert len(json.loads(capsys.readouterr().out)["objects"]) == 2
    assert cli.main(["objects", str(my_scan), "--proposals", "nearest:wide"]) == 2
    error = capsys.readouterr().err.strip()
    assert "proposal maker 'nearest' (nearthing:nearest of nearthing 1.0) failed: ValueError" in error


def test_lmms_eval_runs_the_named_maker_once_for_a_scene(lmms_eval, site, tiny_checkpoint, data):
    scene_id = DataFolder.open(data).scene_ids[0]
    given = {"pretrained": str(tiny_checkpoint), "data": str(data), "device": "cpu", "max_frames": 2}
    lm = model_class_of("video3d")(proposals="nearest:0.6", **given)
    inputs = lm.load_scene(scene_id)
    assert len(inputs.proposals) == len(DataFolder.open(data).scene(scene_id).frames)
    assert list(lm.made_proposals) == [scene_id]
    assert lm.fingerprint != model_class_of("video3d")(proposals="nearest:0.7", **given).fingerprint
