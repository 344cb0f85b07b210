"""A data folder of random scenes and questions, for tests of training."""

from __future__ import annotations

import torch

from video3d_plugin.geometry.boxes import pack_patches
from video3d_plugin.scene import Question, SceneInputs

COLOURS = ("red", "green", "blue", "white")
VISION = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "image_size": 56}
LANGUAGE = {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2}


class MadeUpFolder:
    """Scenes of random pixels and points behind DataFolder's two methods that training calls."""

    def __init__(self, spec, scenes=3):
        self.spec, self.scene_ids = spec, [f"scene{i:04d}_00" for i in range(scenes)]

    def inputs(self, scene_id, spec, *, sampler, max_frames, proposals):
        assert spec == self.spec
        rng = torch.Generator().manual_seed(self.scene_ids.index(scene_id))
        side, grid, patches = spec.used_side, spec.grid_side, spec.object_grid_side
        return SceneInputs(
            spec=spec,
            scene_id=scene_id,
            frames=("00000", "00010"),
            pixels=torch.randint(0, 256, (2, side, side, 3), dtype=torch.uint8, generator=rng),
            token_points=torch.randn(2, grid, grid, spec.points_per_token, 3, generator=rng),
            token_valid=torch.ones(2, grid, grid, dtype=torch.bool),
            proposals=torch.rand(4, 6, generator=rng) + 0.1,
            proposal_bits=pack_patches(torch.rand(4, 2, patches, patches, generator=rng) < 0.2),
            proposal_ids=torch.tensor([3, 5, 6, 9]),
        )

    def questions(self, task, split):
        assert split == "train"
        return [q for q in self.all_questions() if q.task == task]

    def all_questions(self):
        for i, scene_id in enumerate(self.scene_ids):
            for j in range(5):
                what = COLOURS[(i + j) % 4]
                yield Question("scanqa", f"q{i}-{j}", scene_id, f"<image> What is thing {j}?", what)
            yield Question("scanrefer", f"g{i}", scene_id, "<image>Find it", "<ground>", targets=((3, 5, 6, 9)[i % 4],))
