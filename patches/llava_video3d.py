"""Adds `--model video3d` to LLaVA-NeXT's training scripts (`video3d_plugin.hosts.llava_next.train`)."""

from __future__ import annotations

from types import ModuleType

from video3d_plugin.patches.base import Patch, PatchMismatch, Replace

PARTS = ("__init__", "parse_args_into_dataclasses")


def changes(module: ModuleType) -> list[Replace]:
    from transformers.hf_argparser import HfArgumentParser

    from video3d_plugin.hosts.llava_next import train

    lacking = [name for name in PARTS if not callable(vars(HfArgumentParser).get(name))]
    if lacking:
        raise PatchMismatch(f"patch llava_video3d: transformers' HfArgumentParser has no {', '.join(lacking)}")
    init, parse = (vars(HfArgumentParser)[name] for name in PARTS)
    return [
        Replace(HfArgumentParser, "__init__", train.wrap_parser_init(init)),
        Replace(HfArgumentParser, "parse_args_into_dataclasses", train.wrap_parse_args(parse)),
    ]


PATCH = Patch(
    name="llava_video3d",
    target="llava.train.llava_trainer",
    why="LLaVA-NeXT's training scripts have no place for another model",
    known={},
    changes=changes,
)
