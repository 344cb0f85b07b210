"""Checkpoints of forks of Video-3D LLM, recognised by their parameters: read as the fork reads them, or refused.

3DRS (arXiv 2506.01946; Visual-AI/3DRS at 0401f54). Four modules serve its training losses or nothing, and are left out.
At inference it differs in two ways: frames are resized to the tower's square instead of cropped, and a proposal's
features are the mean of the tower's (patches with at least half of their pixels in the box) and of the language model's
last states (tokens with at least an eighth).

VEGA-3D (arXiv 2603.19235; H-EmbodVis/VEGA-3D at 9c96924) adds the features of a generative video model that runs beside
the tower. 3D-IDE (arXiv 2604.03296; ChushanZhang/3D-IDE at 0002655) leaves the 3D positions of tokens and proposals out
unless told otherwise, averages tokens instead of patches, and learns a feature for proposals that no frame shows.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from video3d_plugin.config import TOWER_AND_LANGUAGE, Video3DConfig
from video3d_plugin.errors import DataError

THREEDRS = ("model.corres_linear.", "model.linear_dc.", "model.geometric_linear.", "model.proj_3d.")
VEGA_3D = ("model.generative_projector.", "model.feature_fusion.")
THREED_IDE = ("empty_object_embedding",)
SUPPORTED = "checkpoints of Video-3D LLM and 3DRS can be loaded"

log = logging.getLogger(__name__)


def adapt_to_fork(config: Video3DConfig, shapes: Mapping[str, tuple[int, ...]], folder: Path) -> tuple[str, ...]:
    """Recognise a fork's checkpoint.

    Args:
        config: Its configuration; changed in place where the fork's inference differs.
        shapes: Shapes of its parameters by name.
        folder: The checkpoint's folder, for messages.

    Returns:
        Beginnings of the names of parameters to leave out.

    Raises:
        DataError: It is a checkpoint of a fork that is not supported; the message says why.
    """
    if _has(shapes, VEGA_3D) or getattr(config, "use_generative_feature", False):
        what = "is a checkpoint of VEGA-3D, which needs the features of a generative video model that is not read here"
        raise DataError(what, where=folder, remedy=SUPPORTED)
    if _has(shapes, THREED_IDE):
        what = "is a checkpoint of 3D-IDE, which pools proposals in another way and learns a feature for unseen ones"
        raise DataError(what, where=folder, remedy=SUPPORTED)
    if not all(_has(shapes, (part,)) for part in THREEDRS):
        return ()
    config.grounding_features, config.frame_fit = TOWER_AND_LANGUAGE, "resize"
    parts = ", ".join(part.removeprefix("model.").strip(".") for part in THREEDRS)
    what = "left out, which its inference does not use; frames are resized instead of cropped"
    log.warning("%s is a checkpoint of 3DRS: %s are %s", folder, parts, what)
    return THREEDRS


def _has(shapes: Mapping[str, tuple[int, ...]], parts: tuple[str, ...]) -> bool:
    return any(name.startswith(parts) for name in shapes)
