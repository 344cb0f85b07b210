"""Named settings for fine-tuning."""

from __future__ import annotations

from video3d_plugin.training.settings import TrainSettings

# "paper": the settings of Video-3D LLM (arXiv 2412.00493): one epoch, 16 items a step, bfloat16.
PRESETS: dict[str, TrainSettings] = {
    "paper": TrainSettings(questions_per_scene=1, scenes_per_step=16, scenes_at_once=1, precision="bfloat16")
}
