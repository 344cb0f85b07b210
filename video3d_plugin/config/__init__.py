"""The model's configuration: LLaVA-NeXT's config.json, checked, with its options parsed."""

from video3d_plugin.config.model_config import HOST_MODEL_TYPES, SAVED_WITH, TOWER_AND_LANGUAGE, Video3DConfig
from video3d_plugin.config.options import (
    HeadKind,
    HeadSpec,
    LayoutSpec,
    Newline,
    PositionSpec,
    parse_object_feature,
    parse_position,
    parse_projector,
)
from video3d_plugin.config.tower import KNOWN_TOWERS, tower_folder, tower_sizes

__all__ = [
    "HOST_MODEL_TYPES",
    "KNOWN_TOWERS",
    "SAVED_WITH",
    "TOWER_AND_LANGUAGE",
    "HeadKind",
    "HeadSpec",
    "LayoutSpec",
    "Newline",
    "PositionSpec",
    "Video3DConfig",
    "parse_object_feature",
    "parse_position",
    "parse_projector",
    "tower_folder",
    "tower_sizes",
]
