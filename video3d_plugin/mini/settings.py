"""Settings of a run that trains a model from scratch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from video3d_plugin.errors import DataError
from video3d_plugin.training.settings import TrainSettings


@dataclass(frozen=True)
class MiniSettings(TrainSettings):
    """`TrainSettings`, and what a model with random weights needs besides.

    Attributes:
        optimizer: "adamw", or "muon": Muon for the weight matrices of the layers and AdamW for the rest.
        muon_rate: Learning rate of Muon.
        move_scenes: Turn and shift a scene each time it is seen (`curriculum.augment`).
        task_rounds: How many times an epoch asks a benchmark's questions; a benchmark that is not named is asked once.
        object_rounds: Rounds of short questions about each annotated object (`curriculum.object_questions`).
        tower_steps: Steps of the first stage, which trains tower and projector (`curriculum.vision_pretraining`).
        lookup_steps: Steps of the second stage, which supervises the attention of the language model
            (`curriculum.attention_supervision`). The supervision then continues beside the questions of later stages.
        lookup_scenes: Scenes in a step of the second stage, over all processes.
        object_steps: Steps of the third stage: attention supervision and the short questions.
        final_stage_lr_factor: Factor of all learning rates in the last stage, which must not undo the earlier ones.

    Raises:
        DataError: If the optimizer is unknown, or as for `TrainSettings`.
    """

    optimizer: str = "adamw"
    muon_rate: float = 0.02
    move_scenes: bool = False
    task_rounds: Mapping[str, int] = field(default_factory=dict)
    object_rounds: int = 0
    tower_steps: int = 0
    lookup_steps: int = 0
    lookup_scenes: int = 6
    object_steps: int = 0
    final_stage_lr_factor: float = 1.0

    @property
    def uses_objects(self) -> bool:
        """Whether any stage is about the annotated objects themselves."""
        return bool(self.tower_steps or self.lookup_steps or self.object_steps or self.object_rounds)

    @property
    def supervises_attention(self) -> bool:
        """Whether attention is supervised, in a stage of its own and from then on."""
        return bool(self.lookup_steps or self.object_steps)

    def __post_init__(self):
        if self.optimizer not in ("adamw", "muon"):
            raise DataError(f"no optimizer {self.optimizer!r}", remedy="known: adamw, muon")
        super().__post_init__()
