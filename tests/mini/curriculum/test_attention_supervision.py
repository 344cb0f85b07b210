"""Attention supervision: where tokens of points and names should attend, and that training brings them there."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

from video3d_plugin.errors import DataError
from video3d_plugin.geometry.boxes import unpack_patches
from video3d_plugin.mini.curriculum import attention_supervision
from video3d_plugin.mini.curriculum.attention_losses import added, attention_loss, log_attention
from video3d_plugin.mini.curriculum.attention_supervision import AttentionSupervision
from video3d_plugin.mini.curriculum.augment import turn_and_shift
from video3d_plugin.mini.curriculum.object_questions import names_in_folder
from video3d_plugin.mini.curriculum.scene_supervision import scene_supervision
from video3d_plugin.mini.curriculum.supervision_dataset import SupervisionCollator, SupervisionDataset, some_frames
from video3d_plugin.mini.curriculum.vocabulary import NONE, Vocabulary
from video3d_plugin.mini.optimizer import build_optimizer
from video3d_plugin.mini.presets import MiniPreset
from video3d_plugin.mini.settings import MiniSettings
from video3d_plugin.mini.train import from_scratch, train_mini
from video3d_plugin.model.modeling import Video3DForCausalLM
from video3d_plugin.prompts import ANSWER_PROMPT, GROUND_PROMPT
from video3d_plugin.scene import Question
from video3d_plugin.training.dataset import SceneGroups
from video3d_plugin.training.stage import Stage, run_stage

SIZES = {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 3, "initializer_range": 0.1}
TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "image_size": 112}


@pytest.fixture
def build(questions):
    def make(**options):
        return from_scratch(MiniPreset(MiniSettings(), {**SIZES, **options}, TOWER, 400), questions)

    return make


def supervision_of(rooms, questions, processor, count=24, seed=0):
    named = names_in_folder(rooms, questions)
    vocabulary = Vocabulary.of(named.values(), processor.tokenizer)
    scene_id = sorted(named)[0]
    inputs = rooms.inputs(scene_id, processor.config.inputs_spec, max_frames=3, proposals="gt")
    return (
        inputs,
        vocabulary,
        scene_supervision(inputs, named[scene_id], vocabulary, processor, random.Random(seed), count=count),
    )


@pytest.mark.parametrize("newline", ["grid", "frame", "one_token", "no_token"])
def test_columns_of_cells_are_where_the_model_puts_them(rooms, questions, build, newline):
    model, processor = build(mm_newline_position=newline)
    inputs, _, supervision = supervision_of(rooms, questions, processor)
    marked = torch.arange(inputs.token_points[..., 0, 0].numel(), dtype=torch.float32)
    inputs = replace(inputs, token_points=torch.zeros_like(inputs.token_points) + marked.view(3, 4, 4, 1, 1))
    model.get_model().world_position_embedding = Spread()
    rows, _ = model.assemble(torch.tensor([processor.prefix_ids()]), [model_tokens(model, inputs)])
    found = (rows.embeds[0, supervision["cell_columns"]].mean(-1) / 1000.0).round()
    assert torch.equal(found, marked)


class Spread(torch.nn.Module):
    """A position embedding that drowns all else: the point's first coordinate, times 1000."""

    def forward(self, points):
        return points[..., 0, :1].expand(*points.shape[:-2], SIZES["hidden_size"]) * 1000.0


def model_tokens(model, inputs):
    from video3d_plugin.model.scene_tokens import encode_scene_tokens

    return encode_scene_tokens(model, inputs.tensors(), with_proposals=False)


def test_points_and_names_attend_to_cells_in_the_boxes_of_their_objects(rooms, questions, build):
    _, processor = build()
    inputs, vocabulary, supervision = supervision_of(rooms, questions, processor)
    cells = inputs.token_points.mean(-2).reshape(-1, 3)
    points, names = len(supervision["point_columns"]), len(supervision["named"])
    assert points > 10 and names > 10 and supervision["cells"].shape == (points + names, len(cells))
    assert bool(supervision["cells"][:points].any(1).all()), "a point of what no cell shows is not asked"
    for row, named in zip(supervision["cells"][points:], supervision["named"], strict=True):
        boxes = inputs.proposals[named]
        for cell in cells[row]:
            assert bool(((cell - boxes[:, :3]).abs() <= boxes[:, 3:] / 2 + 0.11).all(1).any())
    assert set(supervision["labels"][:points, 0].tolist()) <= set(vocabulary.labels.values())
    assert set(supervision["labels"][points:, 0].tolist()) == {NONE}, (
        "a name says its label: there is nothing to look up"
    )


def test_cells_with_extreme_points_show_the_objects_of_their_patches(rooms, questions, build):
    model, processor = build(world_position_embedding_type="minmax-discrete-sin3d")
    inputs, _, supervision = supervision_of(rooms, questions, processor)
    points = len(supervision["point_columns"])
    assert points > 10 and bool(supervision["cells"][:points].any(1).all())
    side = processor.config.inputs_spec.object_grid_side
    patches = unpack_patches(inputs.proposal_bits, side)
    owners = (supervision["points"][:points, None] - inputs.proposals[None, :, :3]).norm(dim=-1).argmin(1)
    for owner, cells in zip(owners, supervision["cells"], strict=False):
        assert int(cells.sum()) <= int(patches[owner].sum()), "no cell without a patch of its own"
    empty = scene_supervision(
        replace(inputs, proposal_bits=torch.zeros_like(inputs.proposal_bits)),
        names_in_folder(rooms, questions)[inputs.scene_id],
        Vocabulary.of(names_in_folder(rooms, questions).values(), processor.tokenizer),
        processor,
        random.Random(0),
    )
    assert len(empty["points"]) == len(empty["target"]) == 0 and empty["point_columns"].dtype == torch.long
    loss = AttentionSupervision.of(model, processor, names_in_folder(rooms, questions))([empty])["loss"]
    assert float(loss.detach()) == 0, "frames that show no object teach nothing, and break nothing"


@pytest.mark.parametrize(
    "kind", ["avg-discrete-sin3d", "avg-mlp", "sample1-discrete-sin3d", "minmax-discrete-sin3d", None]
)
def test_every_position_encoding_can_be_supervised(rooms, questions, build, tmp_path, kind):
    model, processor = build(world_position_embedding_type=kind)
    settings = MiniSettings(learning_rate=1e-3, vision_tower_lr=None, max_frames=2)
    loss = teach(model.train(), processor, rooms, names_in_folder(rooms, questions), tmp_path, settings, steps=1)
    assert loss > 0


OF_ENDS, BY_TWO = ("anchor_mentions", "target_mentions"), ("standing_at_mentions", "facing_mentions")


def test_rows_are_tokenized_as_the_processor_does(rooms, questions, build):
    _, processor = build()

    _, vocabulary, supervision = supervision_of(rooms, questions, processor, 60)
    prefix, points = processor.prefix_ids(), len(supervision["points"])
    assert supervision["ids"][: len(prefix)].tolist() == prefix and not supervision["segments"][: len(prefix)].any()
    items = supervision["ids"][len(prefix) :]
    coord, ground = processor.config.coord_token_id, processor.config.ground_token_id
    assert set(items[supervision["point_columns"]].tolist()) == {coord} and int((items == coord).sum()) == points
    asked = len(supervision["point_columns"])
    segments = supervision["segments"][len(prefix) :]
    mentions = supervision["mention_columns"]
    spoken_of = (items[mentions] == coord).sum() + asked
    assert len(mentions) == len(supervision["name_columns"]) + points - asked and int(spoken_of) == points
    for kind, ends in (
        *((k, supervision["end_columns"]) for k in OF_ENDS),
        *((k, supervision["situation_columns"]) for k in BY_TWO),
    ):
        of, mention = supervision[kind].nonzero().T
        assert len(of) and torch.equal(segments[ends[of]], segments[mentions[mention]])
        assert bool((mentions[mention] <= ends[of]).all()), "what comes later is not seen"
    assert not bool((supervision["standing_at_mentions"] & supervision["facing_mentions"]).any())
    word_of = {number: label for label, number in vocabulary.labels.items()}
    called = [
        (end, word_of[n])
        for end, (n, _) in zip(supervision["end_columns"].tolist(), supervision["target_labels"].tolist(), strict=False)
        if n >= 0
    ]
    for end, label in called:
        assert label in processor.tokenizer.decode(items[segments == segments[end]]), "it is said"
    assert len(called) > 20
    unlike = supervision["anchor_labels"][:, 0] != NONE
    assert bool(unlike.any()) and not bool((unlike & (supervision["target_labels"] != NONE).any(1)).any())
    assert not bool((supervision["anchor_labels"][:, 1] != NONE).any()) and bool(
        supervision["anchor"][unlike].any(1).all()
    )
    assert segments[supervision["end_columns"]].tolist() == list(
        range(asked + 1, asked + 1 + len(supervision["target"]))
    )
    assert set(segments[supervision["name_columns"]].tolist()) <= set(segments[supervision["end_columns"]].tolist())
    assert len(supervision["name_columns"]) == len(supervision["named"])
    assert segments.unique().tolist() == list(range(1, asked + len(supervision["target"]) + 1))
    header = processor.tokenizer("assistant\n", add_special_tokens=False).input_ids
    ends = items[supervision["end_columns"]].tolist()
    framed = [n for n, end in enumerate(ends, asked + 1) if end in (ground, header[-1])]
    kinds = set()
    for number in framed:
        own = processor.tokenizer.decode(items[segments == number])
        said = own.split("<|im_end|>")[0].split("\n")[-1].removesuffix(" Answer the question simply.").strip()
        prompt = (ANSWER_PROMPT if own.startswith(" ") else GROUND_PROMPT).format(question=said, description=said)
        asks = Question("", "", "", prompt, None, ((0.0, 0.0, 0.0),) * said.count("<coord>"))
        asks = asks if own.startswith(" ") else replace(asks, answer="<ground>", targets=())
        whole = processor.tokenizer.decode(processor.suffix_ids(asks, answered=False)[0])
        assert whole.startswith(own) and (own == whole or own.endswith("<ground>"))
        if "<coord>" not in said:
            ids = items[segments == number].tolist()
            assert processor.suffix_ids(asks, answered=False)[0][: len(ids)] == ids
        kinds.add(own.startswith(" "))
    assert kinds == {True, False}
    text = processor.tokenizer.decode(items[segments == asked + 1])
    assert any(label in text for label in ("chair", "table", "bed", "desk", "lamp", "box", "plant")) or text.strip()


def test_log_attention_is_that_of_the_model(rooms, questions, build):
    model, processor = build(attn_implementation="eager")
    inputs, _, supervision = supervision_of(rooms, questions, processor)
    begin, points = len(processor.prefix_ids()), len(supervision["point_columns"])
    end = begin + points + 40  # of a row with the prefix, its points and some phrases
    ids, segments = supervision["ids"][None, :end], supervision["segments"][None, :end]
    marks = int((ids == processor.config.coord_token_id).sum())
    tokens = model_tokens(model, inputs)
    rows, _ = model.assemble(ids, [tokens], coords=supervision["points"][:marks], segments=segments)
    from video3d_plugin.model.sequence import additive_mask

    with torch.no_grad():
        out = model.get_model()(
            inputs_embeds=rows.embeds,
            attention_mask=additive_mask(rows.segments, rows.embeds.dtype),
            position_ids=rows.position_ids,
            output_hidden_states=True,
            output_attentions=True,
            use_cache=False,
        )
        cos, sin = model.get_model().rotary_emb(rows.embeds, rows.position_ids)
        prefix = int((rows.segments == 0).sum())
        looks = torch.arange(prefix, len(rows.segments[0]), 7)
        layer = model.get_model().layers[1]
        shares = log_attention(layer, out.hidden_states[1][0], cos[0], sin[0], looks, rows.segments[0]).exp()
    torch.testing.assert_close(shares, out.attentions[1][0][:, looks])
    assert bool((shares[..., prefix:].sum(-1) < 1).all())


def share_of_the_right_cells(model, vocabulary, supervision) -> float:
    layer_input = {}

    def keep(module, args, kwargs):
        layer_input["states"], layer_input["rotation"] = args[0], kwargs["position_embeddings"]

    handle = model.get_model().layers[1].register_forward_pre_hook(keep, with_kwargs=True)
    with torch.no_grad():
        AttentionSupervision(model, vocabulary)([supervision])
    handle.remove()
    cos, sin = (part[0] for part in layer_input["rotation"])
    first = layer_input["states"].shape[1] - int((supervision["segments"] > 0).sum())
    looks = first + torch.cat([supervision["point_columns"], supervision["name_columns"]])
    with torch.no_grad():
        items = supervision["segments"][supervision["segments"] > 0]
        segments = torch.cat([items.new_zeros(first), items])
        layer = model.get_model().layers[1]
        shares = log_attention(layer, layer_input["states"][0], cos, sin, looks, segments).exp()
    shown = supervision["cells"].any(1)
    return float(
        (shares[:, shown][..., supervision["cell_columns"]] * supervision["cells"][shown]).sum(-1).amax(0).mean()
    )


def teach(model, processor, rooms, names, output, settings, steps):
    module = AttentionSupervision.of(model, processor, names)
    stage = Stage(
        "learning to look",
        module,
        SupervisionDataset(rooms, names, module.vocabulary, processor, settings),
        SupervisionCollator(processor),
        lambda: build_optimizer(module, settings),
        steps=steps,
        scenes_per_step=2,
    )
    return run_stage(stage, output, settings)


def test_training_moves_attention_to_the_right_cells(rooms, questions, build, tmp_path):
    model, processor = build()
    model.train()
    named = names_in_folder(rooms, questions)
    _, vocabulary, supervision = supervision_of(rooms, questions, processor, seed=9)
    before = share_of_the_right_cells(model, vocabulary, supervision)
    settings = MiniSettings(learning_rate=3e-3, vision_tower_lr=None, max_frames=3)
    teach(model, processor, rooms, named, tmp_path, settings, steps=40)
    assert share_of_the_right_cells(model, vocabulary, supervision) > 1.5 * before
    assert isinstance(model, Video3DForCausalLM) and all(torch.isfinite(p).all() for p in model.parameters())


def test_states_that_encode_the_right_places_have_a_small_loss(rooms, questions, build):
    """The scene's own position encoding, told at full strength, is the best that a state can say of a place."""
    model, processor = build()
    inputs, vocabulary, supervision = supervision_of(rooms, questions, processor)
    teacher = AttentionSupervision(model, vocabulary)
    teacher.place = torch.nn.Identity()
    there = model.get_model().world_position_embedding(inputs.proposals[:, None, :3])
    there = 40 * (there - there.mean(0))
    wanted = torch.eye(len(there), dtype=torch.bool)
    right = teacher.place_loss(there, wanted, supervision)
    wrong = teacher.place_loss(there.roll(1, 0), wanted, supervision)
    several = teacher.place_loss(there.roll(1, 0), wanted | wanted.roll(1, 1), supervision)
    assert float(right) < 0.5 < 5 < float(wrong) and float(several) <= float(wrong)


def test_attention_is_summed_over_the_heads():
    shares = torch.tensor([[[0.5, 0.5], [1.0, 0.0]], [[0.25, 0.75], [1.0, 0.0]]]).clamp(min=1e-9).log()
    wanted = torch.tensor([[True, False], [False, False]])
    torch.testing.assert_close(attention_loss(shares, wanted), -torch.tensor(0.75).log())
    assert float(attention_loss(shares, torch.zeros_like(wanted))) == 0


def test_additions_are_relative_to_the_variance_of_the_tokens():
    came = torch.tensor([[1.0, 5.0], [3.0, 5.0]], requires_grad=True)  # squares from the mean: 1, 0, 1, 0
    kept = (came.detach() + torch.tensor([1.0, 0.0])).requires_grad_()
    assert added(came, came).item() == 0
    loss = added(came, kept)
    loss.backward()
    assert loss.item() == pytest.approx(1.0) and came.grad is None, "tokens are not to vary more for it"
    assert (kept.grad[:, 0] > 0).all() and (kept.grad[:, 1] == 0).all()


def test_layers_that_add_to_visual_tokens_have_a_larger_loss(rooms, questions, build, monkeypatch):
    model, processor = build(num_hidden_layers=4)
    _, vocabulary, own = supervision_of(rooms, questions, processor)
    supervision, seen = AttentionSupervision(model, vocabulary), []
    monkeypatch.setattr(attention_supervision, "added", lambda came, kept: seen.append(added(came, kept)) or seen[-1])
    supervision([own])
    with torch.no_grad():  # in the layer before the one that the tokens are kept for
        model.get_model().layers[2].mlp.down_proj.weight.normal_()
    supervision([own])
    with torch.no_grad():  # in that layer itself
        model.get_model().layers[3].mlp.down_proj.weight.normal_()
    supervision([own])
    first, before, itself = map(float, seen)
    assert first == 0 < before == itself, "layers begin with adding nothing"


@pytest.mark.parametrize("count", [1, 2, 99])
def test_some_frames_keep_everything_of_those_frames(rooms, questions, build, count):
    _, processor = build()
    spec, scene_id = processor.config.inputs_spec, rooms.scene_ids[0]
    whole = rooms.inputs(scene_id, spec, max_frames=3, proposals="gt")
    part = some_frames(whole, count, random.Random(1))
    kept = [whole.frames.index(name) for name in part.frames]
    assert len(kept) == min(count, 3) and kept == sorted(kept)
    for name in ("pixels", "token_points", "token_valid"):
        assert torch.equal(getattr(part, name), getattr(whole, name)[kept])
    assert torch.equal(part.proposal_patches, whole.proposal_patches[:, kept])
    assert torch.equal(part.proposals, whole.proposals)


@pytest.mark.parametrize("layers", [2, 3, 4, 5])
def test_a_model_gets_the_losses_of_the_layers_that_it_has(rooms, questions, build, layers):
    model, processor = build(num_hidden_layers=layers)
    model.train()
    _, vocabulary, supervision = supervision_of(rooms, questions, processor)
    teacher, inner = AttentionSupervision(model, vocabulary), model.get_model()
    states = [
        torch.randn(len(supervision["ids"]) + 60, SIZES["hidden_size"], requires_grad=True) for _ in range(layers + 1)
    ]
    ids = torch.arange(len(states[0]))[None]
    rotation = [part[0] for part in inner.rotary_emb(states[0][None], ids)]
    items = supervision["segments"][supervision["segments"] > 0]
    row = attention_supervision.SceneRow(torch.cat([items.new_zeros(len(states[0]) - len(items)), items]), rotation)
    teacher.relation_loss(states, row, supervision).backward()
    taught = {number for number, part in enumerate(states) if part.grad is not None and bool(part.grad.any())}
    assert taught == {2: set(), 3: {2}, 4: {2, 3}, 5: {2, 3, 4}}[layers]
    for layer in range(2, min(layers, 4)):
        assert bool(inner.layers[layer].self_attn.q_proj.weight.grad.any()), "where to look is taught as well"


def test_a_model_without_a_head_can_be_supervised(rooms, questions, build, tmp_path):
    model, processor = build(ground_head_type=None)
    settings = MiniSettings(learning_rate=1e-3, vision_tower_lr=None, max_frames=2)
    named = names_in_folder(rooms, questions)
    loss = teach(model.train(), processor, rooms, named, tmp_path, settings, steps=2)
    assert loss > 0


def test_a_single_layer_or_no_objects_is_an_error(rooms, questions, build):
    with pytest.raises(DataError, match="has one"):
        AttentionSupervision.of(*build(num_hidden_layers=1), names_in_folder(rooms, questions))
    with pytest.raises(DataError, match="no annotated objects"):
        AttentionSupervision.of(*build(), {"scene": {}})


def test_the_loss_of_questions_is_added(rooms, questions, build):
    model, processor = build()
    supervision = AttentionSupervision.of(model, processor, names_in_folder(rooms, questions))
    groups = SceneGroups(
        rooms, questions, model.config.inputs_spec, questions_per_scene=3, max_frames=2, augment=turn_and_shift
    )
    scenes = SupervisionDataset(
        rooms, names_in_folder(rooms, questions), supervision.vocabulary, processor, MiniSettings(max_frames=2), groups
    )
    assert len(scenes) == len(groups)
    batch = SupervisionCollator(processor)([scenes[0], scenes[1]])
    assert len(batch["scenes"]) == 2
    with torch.no_grad():
        alone, asked = supervision(batch["scenes"])["loss"], model(**batch["questions"]).loss
        torch.testing.assert_close(supervision(**batch)["loss"], alone + asked)
    scenes.set_epoch(1)
    again = SupervisionCollator(processor)([scenes[0], scenes[1]])
    assert not torch.equal(again["scenes"][0]["scene"]["token_points"], batch["scenes"][0]["scene"]["token_points"])


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_supervised_run_saves_the_model_itself(rooms, questions, build, tmp_path, checkpointing):
    model, processor = build()
    settings = MiniSettings(("scanrefer",), steps=2, lookup_steps=1, object_rounds=1, max_frames=2, save_every=9)
    settings = replace(settings, gradient_checkpointing=checkpointing)
    train_mini(model.train(), processor, rooms, tmp_path, settings)
    loaded = Video3DForCausalLM.from_pretrained(tmp_path)
    for (name, one), other in zip(model.named_parameters(), loaded.parameters(), strict=True):
        assert torch.equal(one, other), name


def test_the_farthest_object_is_encoded_as_the_opposite_of_the_place(rooms, questions, build):
    model, processor = build()
    _, _, own = supervision_of(rooms, questions, processor)
    supervision = AttentionSupervision.of(model, processor, names_in_folder(rooms, questions))
    centres = own["scene"]["proposals"][:, None, :3].float().expand(-1, model.config.position.points_per_token, -1)
    with torch.no_grad():
        there = model.get_model().world_position_embedding(centres)
        there = there - there.mean(0)
        one = torch.eye(len(there), dtype=torch.bool)[:1]
        loss = {
            (sign, away): float(supervision.place_loss(sign * there[:1], one, own, torch.tensor([away])))
            for sign in (1, -1)
            for away in (False, True)
        }
    assert loss[1, False] < 0.5 < 2 < loss[-1, False] and loss[-1, True] < 0.5 < 2 < loss[1, True]


def test_cells_that_show_one_object_have_its_labels_and_points(rooms, questions, build):
    _, processor = build()
    inputs, vocabulary, supervision = supervision_of(rooms, questions, processor)
    named = names_in_folder(rooms, questions)[inputs.scene_id]
    points = inputs.token_points.reshape(-1, 3).float()
    columns = supervision["cell_columns"].tolist()
    assert len(supervision["shown_columns"]) > 5
    for column, point, wanted in zip(
        *(supervision[f"shown_{k}"] for k in ("columns", "points", "labels")), strict=True
    ):
        assert torch.equal(points[columns.index(int(column))], point)
        boxes = inputs.proposals.float()
        inside = ((point - boxes[:, :3]).abs() <= boxes[:, 3:] / 2 + 0.11).all(1)
        owners = [i for i, yes in zip(inputs.proposal_ids.tolist(), inside, strict=True) if yes and i in named]
        assert [tuple(wanted.tolist())] == [vocabulary.numbers(named, i) for i in owners]


def test_visual_tokens_that_encode_their_places_have_a_smaller_loss(rooms, questions, build):
    model, processor = build()
    _, _, own = supervision_of(rooms, questions, processor)
    supervision = AttentionSupervision.of(model, processor, names_in_folder(rooms, questions))
    own = {**own, "shown_labels": torch.full_like(own["shown_labels"], NONE)}
    points = own["shown_points"][:, None].expand(-1, model.config.position.points_per_token, -1)
    with torch.no_grad():
        there = model.get_model().world_position_embedding(points)
        right, wrong = (float(supervision.visual_token_loss(states, own)) for states in (there, there.flip(0)))
    assert right < 1 < 2 < wrong


def test_the_last_stage_has_learning_rates_of_its_own(rooms, questions, build, tmp_path):
    def left(name, steps, later):
        model, processor = build()
        settings = MiniSettings(
            learning_rate=1e-2,
            optimizer="adamw",
            max_frames=2,
            lookup_steps=1,
            steps=steps,
            final_stage_lr_factor=later,
        )
        train_mini(model.train(), processor, rooms, tmp_path / name, settings)
        return model.state_dict()

    one, more, moved = left("a", 1, 0.0), left("b", 2, 0.0), left("c", 2, 1.0)
    assert all(torch.equal(one[name], more[name]) for name in one), "at no rate nothing is forgotten, or learnt"
    assert not all(torch.equal(one[name], moved[name]) for name in one)


@pytest.mark.parametrize("scenes", [1, 2])
def test_a_step_of_the_second_stage_has_as_many_scenes_as_the_settings_say(rooms, build, tmp_path, monkeypatch, scenes):
    model, processor = build()
    sizes, collate = [], SupervisionCollator.__call__

    def counted(self, items):
        if items[0][1] is None:  # no questions: learning to look
            sizes.append(len(items))
        return collate(self, items)

    monkeypatch.setattr(SupervisionCollator, "__call__", counted)
    settings = MiniSettings(("scanrefer",), steps=1, lookup_steps=1, lookup_scenes=scenes, max_frames=2)
    train_mini(model.train(), processor, rooms, tmp_path, settings)
    assert max(sizes) == scenes  # of three: the last of an epoch may have fewer
