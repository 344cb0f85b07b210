"""Run by test_llava_results.py: which items LLaVA-NeXT's trainer hands to its training step, epoch by epoch.

The script's train(), LLaVATrainer, its sampler and its loop run as they are; only the step itself computes nothing.
"""

from __future__ import annotations

import json
import sys

import torch

from video3d_plugin.training.dataset import GroupCollator


def main() -> None:
    import llava.train.train as script

    options, sizes = json.loads(sys.argv[1]), json.loads(sys.argv[2])
    seen: list[list[str]] = []
    collate = GroupCollator.__call__

    def recorded(self, groups):
        batch = collate(self, groups)
        batch["names"] = [question.item_id for _, questions in groups for question in questions]
        return batch

    def step(self, model, inputs, *rest):
        seen.append((float(self.state.epoch), inputs["names"]))
        return torch.zeros(())

    GroupCollator.__call__ = recorded
    script.LLaVATrainer.training_step = step
    result = []
    for index, (batch, shared) in enumerate(sizes):
        seen.clear()
        run = {**options, "per_device_train_batch_size": batch, "questions_per_scene": shared,
               "output_dir": f"{options['output_dir']}/{index}"}  # fmt: skip
        sys.argv = ["train.py", *(str(word) for name, value in run.items() for word in (f"--{name}", value))]
        script.train()
        result.append([names for _, names in seen])
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main()
