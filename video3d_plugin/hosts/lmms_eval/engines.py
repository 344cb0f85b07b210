"""Connects the model of an evaluation to the engine that the options name."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video3d_plugin.engine import in_process, server
from video3d_plugin.engine.answers import check_same_weights
from video3d_plugin.files.json import read_object

if TYPE_CHECKING:
    from video3d_plugin.hosts.lmms_eval.options import ModelOptions
    from video3d_plugin.pipeline import Video3D

log = logging.getLogger(__name__)


def connect(video3d: Video3D, options: ModelOptions) -> None:
    """Start the engines that the options name, or connect to them, and let them answer.

    Args:
        video3d: The model; changed in place.
        options: Options of the model, with an engine.

    Raises:
        Video3DError: An engine cannot be started or reached, or runs other weights than the model.
    """
    if options.engine_url is not None:
        video3d.engine = server.VllmServer(options.engine_url, options.engine_model)
    else:
        arguments = {"dtype": video3d.model.dtype, **_arguments(options.engine_options)}
        video3d.engine = in_process.VllmInProcess(str(options.engine_model), **arguments)
        if options.engine_grounding:
            video3d.grounding_engine = in_process.VllmStates(str(options.engine_model), **arguments)
    check_same_weights(video3d.model, video3d.processor, video3d.engine)
    where = "the engine's pooling interface" if options.engine_grounding else "the model in this process"
    log.warning("text questions are answered by %s, grounding questions by %s", video3d.engine.name, where)


def _arguments(path: str | None) -> dict[str, Any]:
    """Return the engine arguments in a JSON file; none without one."""
    return {} if path is None else read_object(Path(path).expanduser(), "write a JSON object of vLLM's arguments")
