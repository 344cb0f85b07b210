"""Named settings for fine-tuning, and the model options that belong to them."""

from __future__ import annotations

from typing import Any

from video3d_plugin.config.paper import PAPER
from video3d_plugin.training.settings import TrainSettings

# "paper": Video-3D LLM (arXiv 2412.00493) as LaVi-Lab/Video-3D-LLM at 3ff70e8 trains it (scripts/3d/train/
# train_multi.sh): one epoch, 16 items a step, bfloat16. Not reproduced: the order of the items, in which the reference
# puts items of equal tasks side by side, and the items of the last step if it is not full, which the reference drops.
PRESETS: dict[str, TrainSettings] = {
    "paper": TrainSettings(
        questions_per_scene=1,
        scenes_per_step=16,
        scenes_at_once=1,
        precision="bfloat16",
        gradient_checkpointing=True,
        add_spatial_instruction=True,
    )
}
# Keys of config.json that a preset asks for if it is named. DeepSpeed in bfloat16 casts coordinates, too.
MODEL_OPTIONS: dict[str, dict[str, Any]] = {"paper": {**PAPER, "coordinate_dtype": "bfloat16"}}
