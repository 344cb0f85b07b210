"""Every combination of options against the plain twin: also those in which the reference does not run."""

from __future__ import annotations

import pytest
import torch
from model_cases import alone, question, random_scene
from twins import Twin

from video3d_plugin.model.prefix.inference import answer_tokens, encode_scene

POINTS = ("avg", "sample1", "sample5", "sample9", "minmax")
POSITIONS = [f"{p}{d}-{e}" for p in POINTS for d in ("", "-discrete") for e in ("sin3d", "mlp")]


def check(build, frames=2, hidden=None, **options):
    """Losses, scores and greedy tokens of three kinds of items equal the twin's."""
    if hidden:
        options.update(hidden_size=hidden, num_attention_heads=2, num_key_value_heads=1)
    model, processor = build(**options)
    scene = random_scene(model.config.inputs_spec, "a", frames, 4, seed=3)
    twin = Twin(model)
    with torch.no_grad():
        for kind in ("scanqa", "scan2cap"):
            item = question(kind, "a")
            ids, labels = processor.encode(item, answered=True, training=True)
            expected = twin.text_loss(ids, labels, scene, item.coords)
            loss = model(**alone(processor, item, [scene], with_labels=True)).loss
            assert torch.allclose(loss, expected, rtol=1e-5, atol=1e-5), (kind, loss, expected)
        tokens = model.generate(**alone(processor, item, [scene]), max_new_tokens=3, do_sample=False, eos_token_id=None)
        prompt, _ = processor.encode(item, answered=False)
        assert tokens[0].tolist() == twin.greedy(prompt, scene, item.coords, 3)
        for targets in ((10,), (0, 20), ()):
            item = question("multi3drefer", "a", targets)
            output = model(**alone(processor, item, [scene], with_labels=True))
            scores = twin.scores(processor.encode(item, answered=True, training=True)[0], scene)
            assert torch.allclose(output.ground_scores[0], scores, rtol=1e-4, atol=1e-5)
            expected = twin.ground_loss(scores, [t // 10 for t in targets])
            assert torch.allclose(output.loss, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("position", POSITIONS)
def test_position_encodings(build, position):
    check(build, world_position_embedding_type=position)


MROPE = ("avg-discrete-mrope", "sample1-discrete-mrope", "avg-discrete-sin3d-mrope", "avg-discrete-mlp-mrope")


@pytest.mark.parametrize("position", MROPE)
@pytest.mark.parametrize("newline", ["grid", "one_token"])
def test_tokens_that_are_rotated_by_their_voxels(build, position, newline):
    # heads of 16 numbers, as the reference's of 128: 4, 2 and 2 frequencies of x, y and z
    check(build, hidden=32, world_position_embedding_type=position, mm_newline_position=newline, voxel_size=0.5)


def test_all_ways_of_computing_with_rotated_tokens_agree(build):
    options = {"world_position_embedding_type": "avg-discrete-mrope", "hidden_size": 32, "num_attention_heads": 2}
    model, processor = build(**options, num_key_value_heads=1)
    scene = random_scene(model.config.inputs_spec, "a", 2, 4, seed=3)
    items = [question("scanqa", "a"), question("sqa3d", "a"), question("scanrefer", "a"), question("scan2cap", "a")]
    with torch.no_grad():
        apart = model(**processor(items, [scene], with_labels=True)).item_losses
        for packed in (True, False):
            model.model.packed_attention_enabled = packed
            shared = model(**processor(items, [scene], with_labels=True, shared=True)).item_losses
            assert torch.allclose(shared, apart, rtol=1e-4)
        alone_tokens = [
            model.generate(**alone(processor, item, [scene]), max_new_tokens=4, do_sample=False, eos_token_id=None)[0]
            for item in items[:2]
        ]
        for by_layer in (True, False):
            prefix = encode_scene(model, processor, scene, by_layer=by_layer)
            for how in ("cascade", "expanded"):
                tokens = answer_tokens(model, processor, prefix, items[:2], 4, prefix_attention=how)
                for own, expected in zip(tokens, alone_tokens, strict=True):
                    assert own == expected[: len(own)].tolist() and own
    model.model.packed_attention_enabled = True


@pytest.mark.parametrize("pooling", ["bilinear", "average", "max"])
@pytest.mark.parametrize("newline", ["grid", "frame", "one_token", "no_token"])
def test_newlines_and_pooling_with_an_odd_number_of_frames(build, newline, pooling):
    check(build, frames=3, mm_newline_position=newline, mm_spatial_pool_mode=pooling)


@pytest.mark.parametrize("head", ["infonce", "score", "mlp"])
@pytest.mark.parametrize("feature", ["patch14-pe", "patch27-pe", "patch14"])
def test_heads_and_proposal_features(build, head, feature):
    check(build, ground_head_type=head, object_feature_type=feature)


@pytest.mark.parametrize("hidden", [36, 40, 44, 60])  # thirds 12, 13 and a rest, 14 and a rest, 20
@pytest.mark.parametrize("position", ["avg-discrete-sin3d", "sample5-sin3d"])
def test_hidden_sizes_with_odd_and_even_thirds(build, hidden, position):
    check(build, hidden=hidden, world_position_embedding_type=position)


def test_no_position_at_all(build):
    check(build, world_position_embedding_type=None)


def test_pooling_by_three(build):
    check(build, mm_spatial_pool_stride=3, mm_spatial_pool_mode="average", frames=1)


def test_tokens_without_valid_depth_get_no_position(build):
    check(build, mask_invalid_depth=True)


def test_the_option_for_valid_depth_changes_something(build):
    model, processor = build(mask_invalid_depth=True)
    scene = random_scene(model.config.inputs_spec, "a", 2, 4, seed=3)
    batch = alone(processor, question("scanqa", "a"), [scene], with_labels=True)
    masked = model(**batch).loss
    model.config.mask_invalid_depth = False
    assert abs(float(masked - model(**batch).loss)) > 1e-6
