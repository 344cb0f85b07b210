"""Settings of a training run."""

from __future__ import annotations

from dataclasses import dataclass

from video3d_plugin.errors import DataError
from video3d_plugin.inputs_spec import COORDINATE_DTYPES
from video3d_plugin.tasks import VIDEO3D_LLM


@dataclass(frozen=True)
class TrainSettings:
    """Everything a run depends on besides the model and the data. `presets` holds the paper's.

    Attributes:
        tasks: Benchmarks whose training questions are used.
        epochs: Passes over the training questions; ignored where `steps` is given.
        steps: Optimizer steps, or None to train for `epochs`.
        scenes_per_step: Groups in a step, over all processes. A group is one scene with up to `questions_per_scene`
            of its questions.
        scenes_at_once: Groups a process computes in one forward pass; gradients are accumulated over the rest of its
            share. None computes the whole share at once.
        questions_per_scene: Questions that share one sequence with their scene.
        learning_rate: Peak learning rate of all parameters but the vision tower's.
        vision_tower_lr: Peak learning rate of the vision tower. None uses `learning_rate`; 0 freezes the tower.
        warmup_fraction: Share of the steps over which the learning rate rises linearly.
        weight_decay: Applied to parameters with two or more dimensions.
        max_frames: Frames of a scene that the model sees.
        sampler: Name of the frame sampler.
        proposals: Boxes to choose from: "gt" (annotated) or "pred" (predicted).
        seed: Seeds weights that are new, the order of the questions and dropout.
        save_every: Steps between two checkpoints.
        gradient_checkpointing: Recompute activations in the backward pass, which saves memory.
        precision: "float32", "bfloat16" or "float16" (autocast). Trained weights are float32 in any case.
        workers: Data-loading processes.
        coordinate_dtype: Number format to which the model rounds coordinates, for readers of training.json.
        clamp_points: Whether the model clamps points to the extent of the scan's surface voxels, for the same.
        add_spatial_instruction: Put the reference's sentence on spatial relationships before every question.

    Raises:
        DataError: If a number of steps, epochs or scenes is not positive.
    """

    tasks: tuple[str, ...] = VIDEO3D_LLM
    epochs: float = 1.0
    steps: int | None = None
    scenes_per_step: int = 1
    scenes_at_once: int | None = None
    questions_per_scene: int = 8
    learning_rate: float = 1e-5
    vision_tower_lr: float | None = 2e-6
    warmup_fraction: float = 0.03
    weight_decay: float = 0.0
    max_frames: int = 32
    sampler: str = "uniform"
    proposals: str = "gt"
    seed: int = 0
    save_every: int = 500
    gradient_checkpointing: bool = False
    precision: str = "float32"
    workers: int = 0
    coordinate_dtype: str | None = None
    clamp_points: bool | None = None
    add_spatial_instruction: bool = False

    def __post_init__(self) -> None:
        if self.coordinate_dtype not in (None, *COORDINATE_DTYPES):
            remedy = f"known: {', '.join(COORDINATE_DTYPES)}"
            raise DataError(f"coordinate_dtype {self.coordinate_dtype!r} is unknown", remedy=remedy)
        for name in ("steps", "epochs", "scenes_per_step", "scenes_at_once"):
            number = getattr(self, name)
            if number is not None and not number > 0:
                raise DataError(f"{name} is {number}", remedy="give more than 0, or leave it out")
