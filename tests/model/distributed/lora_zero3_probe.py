"""Run by test_zero3.py under torchrun: four steps of LoRA under ZeRO-3, and the last two again from a checkpoint.

Each run saves after its third step what is trained in full, as the host's trainer does.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import deepspeed
import torch
from model_cases import SIZES, TEXTS, VISION, question, random_scene

from video3d_plugin.model.checkpoint.lora import add_lora, save_full
from video3d_plugin.model.tiny import build_tiny, train_tokenizer

SETTINGS = {
    "train_micro_batch_size_per_gpu": 1,
    "zero_allow_untested_optimizer": True,
    "zero_optimization": {
        "stage": 3, "overlap_comm": False, "stage3_param_persistence_threshold": 2000,
    },
}  # fmt: skip


def started():
    """(engine, batch): the same at every call."""
    torch.manual_seed(0)
    model, processor = build_tiny(train_tokenizer(TEXTS, 400), vision=VISION, **SIZES)
    wrapped = add_lora(model, rank=2, dropout=0.0)
    trained = [p for p in wrapped.parameters() if p.requires_grad]
    engine, *_ = deepspeed.initialize(model=wrapped, optimizer=torch.optim.AdamW(trained, lr=1e-3), config=SETTINGS)
    engine.train()
    items = [question("scanqa", "a"), question("scanrefer", "a", (10,))]
    return engine, processor(items, [random_scene(model.config.inputs_spec, "a", 2, 4, 1)], with_labels=True)


def steps(engine, batch, numbers, folder: Path) -> list[float]:
    losses = []
    for number in numbers:
        loss = engine(**batch).loss
        engine.backward(loss)
        engine.step()
        losses.append(float(loss.detach()))
        if number == 2:
            engine.save_checkpoint(str(folder))
        if number >= 2:
            save_full(engine.module, folder)
    return losses


def main() -> None:
    torch.set_num_threads(1)
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # gloo alone: nothing to compile
    deepspeed.init_distributed(dist_backend="gloo", verbose=False)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = steps(*started(), (1, 2, 3, 4), folder)
        engine, batch = started()
        engine.load_checkpoint(str(folder))
        resumed = steps(engine, batch, (3, 4), folder)
    print("RESULT " + json.dumps({"whole": whole, "resumed": resumed}))


if __name__ == "__main__":
    main()
