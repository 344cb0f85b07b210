"""The host's option strings, parsed once."""

from __future__ import annotations

import json

import pytest

from video3d_plugin.config import Video3DConfig, parse_object_feature, parse_position, parse_projector
from video3d_plugin.errors import DataError

SIZES = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
         "image_size": 58, "patch_size": 8}  # fmt: skip


@pytest.mark.parametrize(
    "text, expected",
    [
        ("avg-discrete-sin3d", ("average", "sine", True, False)),
        ("sample1-mlp", ("centre", "mlp", False, False)),
        ("minmax-discrete-sin3d", ("minmax", "sine", True, False)),
        ("sin3d-sample9", ("nine", "sine", False, False)),
        ("avg-discrete-mrope", ("average", "none", True, True)),
        ("avg-discrete-sin3d-mrope", ("average", "sine", True, True)),
    ],
)
def test_positions(text, expected):
    assert parse_position(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "avg", "sin3d", "avg-sin3d-mlp", "avg-sample5-mlp", "avg-mrope", "sample5-discrete-mrope", "averaged-sin3d"],
)
def test_positions_that_mean_nothing_are_refused(text):
    with pytest.raises(DataError, match="world_position_embedding_type.*sample5"):
        parse_position(text)


def test_object_features_and_projectors():
    assert parse_object_feature("patch14-pe") == parse_object_feature(None) == "patch14"
    assert parse_object_feature("patch27") == "patch27"
    assert parse_projector("mlp2x_gelu") == (2, 0) and parse_projector("mlp2x_res3x_gelu") == (2, 3)
    for parse, text in (
        (parse_object_feature, "patch16"),
        (parse_projector, "pooler"),
        (parse_projector, "mlp0x_gelu"),
        (parse_projector, 3),
    ):
        with pytest.raises(DataError, match="not understood"):
            parse(text)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"mm_newline_position": "row"}, "mm_newline_position 'row'"),
        ({"mm_newline_position": "grid", "mm_patch_merge_type": "spatial"}, "needs the newline parameter"),
        ({"mm_patch_merge_type": "diagonal_unpad"}, "mm_patch_merge_type"),
        ({"mm_spatial_pool_mode": "median"}, "mm_spatial_pool_mode"),
        ({"add_faster_video": True}, "add_faster_video"),
        ({"mm_spatial_pool_stride": "two"}, "mm_spatial_pool_stride is 'two'"),
        ({"mm_spatial_pool_stride": -1}, "mm_spatial_pool_stride is -1"),
        ({"mm_patch_merge_type": 3}, "mm_patch_merge_type 3"),
    ],
)
def test_layouts_that_mean_nothing_are_refused(options, message):
    with pytest.raises(DataError, match=message):
        Video3DConfig(**options).layout  # noqa: B018


def test_other_bad_options():
    for options, name in (
        ({"ground_head_type": "best"}, "head"),
        ({"ground_token_ids": [1, 2]}, "ground_token_id"),
        ({"world_position_embedding_type": "avg-discrete-sin3d", "voxel_size": 0}, "position"),
        ({"world_position_embedding_type": "avg-sin3d", "min_xyz_range": [1, 2]}, "position"),
        ({"world_position_embedding_type": "avg-discrete-sin3d", "voxel_size": "a"}, "position"),
        ({"world_position_embedding_type": 5}, "position"),
        ({"world_position_embedding_type": ["avg"]}, "position"),
        ({"object_feature_type": 5}, "object_patch"),
        ({"ground_head_type": "infonce", "ground_head_temperature": "warm"}, "head"),
    ):
        with pytest.raises(DataError):
            getattr(Video3DConfig(**options), name)


def test_newlines_by_merge_type():
    def layout(merge, newline):
        return Video3DConfig(mm_patch_merge_type=merge, mm_newline_position=newline).layout

    assert layout("flat", "grid").newline == "no_token"
    assert layout("spatial", "one_token").newline == "no_token" and not layout("spatial", "one_token").has_newline
    assert layout("spatial_unpad", "frame").newline == "frame"


def test_what_a_config_leaves_out_is_read_as_the_host_reads_it():
    """LLaVA-NeXT at df17966: merge type `flat` (so no newline), a linear projector, newline position `one_token`."""
    config = Video3DConfig(vision_config=SIZES)
    assert config.layout.newline == "no_token" and not config.layout.has_newline
    assert parse_projector(config.mm_projector_type) == (1, 0)
    assert config.head is None and config.position is None


def test_inputs_spec_follows_the_options():
    config = Video3DConfig(
        vision_config=SIZES, world_position_embedding_type="sample5-sin3d", object_feature_type="patch27",
        mm_spatial_pool_mode="max", mask_invalid_depth=True,
    )  # fmt: skip
    spec = config.inputs_spec
    assert (spec.patches_per_side, spec.grid_side, spec.points_per_token) == (7, 3, 5)
    assert (spec.object_grid_side, spec.mask_invalid_depth, spec.pooling) == (3, True, "max")


def test_a_config_survives_its_file(tmp_path):
    config = Video3DConfig(vision_config=SIZES, rope_theta=12345.0, ground_token_ids=[7], mm_newline_position="frame")
    config.save_pretrained(tmp_path)
    again = Video3DConfig.from_pretrained(tmp_path)
    assert again.to_dict()["rope_theta"] == 12345.0 and again.layout == config.layout and again.vision == SIZES
    content = json.loads((tmp_path / "config.json").read_text())
    assert content["rope_theta"] == 12345.0 and content["model_type"] == "video3d"


@pytest.mark.parametrize(
    "written", [{"rope_theta": 777.0}, {"rope_parameters": {"rope_theta": 777.0, "rope_type": "default"}}]
)
def test_the_rotary_base_is_read_from_files_of_either_version(tmp_path, written):
    content = {**Video3DConfig(vision_config=SIZES).to_dict(), "model_type": "llava_qwen"}
    content.pop("rope_theta", None), content.pop("rope_parameters", None)
    (tmp_path / "config.json").write_text(json.dumps({**content, **written}))
    assert Video3DConfig.from_pretrained(tmp_path).to_dict()["rope_theta"] == 777.0


def test_no_tower_and_an_unknown_tower(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataError, match="names no vision tower"):
        Video3DConfig().vision  # noqa: B018
    with pytest.raises(OSError, match="nobody/nothing.*vision_config"):
        Video3DConfig(mm_vision_tower="nobody/nothing").vision  # noqa: B018


@pytest.mark.parametrize("written", ["[]", "{", "3", '{"vision_config": [1]}'])
def test_a_config_file_that_is_no_configuration(tmp_path, written):
    (tmp_path / "config.json").write_text(written)
    with pytest.raises(DataError, match="JSON|vision_config"):
        Video3DConfig.from_pretrained(tmp_path)


def test_a_siglip_folder_gives_its_sizes(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "siglip", "vision_config": SIZES}))
    found = Video3DConfig(mm_vision_tower=str(tmp_path)).vision
    assert {name: found[name] for name in SIZES} == SIZES
