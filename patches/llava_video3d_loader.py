"""Lets `llava.model.builder.load_pretrained_model` open checkpoints of `--model video3d`."""

from __future__ import annotations

from types import ModuleType

from video3d_plugin.patches.base import Patch, Replace


def changes(module: ModuleType) -> list[Replace]:
    from video3d_plugin.hosts.llava_next import train

    wrapped = train.wrap_load_pretrained_model(module.load_pretrained_model)
    return [Replace(module, "load_pretrained_model", wrapped)]


PATCH = Patch(
    name="llava_video3d_loader",
    target="llava.model.builder",
    why="LLaVA-NeXT's loader would build its own class, without position embedding and heads",
    known={"load_pretrained_model": {"5f2515374cf1fd5f": "LLaVA-NeXT df17966 and b42941c"}},
    changes=changes,
)
