"""Run by test_rank_sync.py under torchrun on two CPU ranks: four steps of ZeRO-2 or 3 beside the same steps without it.

Every rank has other kinds of items and other numbers of scenes. With SGD and no clipping the change of a weight is the
sum of its gradients, so that equal weights mean equal gradients.
"""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext

import deepspeed
import torch
from model_cases import SIZES, TEXTS, VISION, question, random_scene

from video3d_plugin.model.modeling import Video3DForCausalLM
from video3d_plugin.model.tiny import build_tiny, train_tokenizer

# For each step, what each of the two ranks has: (task, scene, targets).
STEPS = [
    [[("scanqa", "a"), ("sqa3d", "b")], [("scanrefer", "b", (20,))]],
    [[("multi3drefer", "a", ()), ("scanrefer", "b", (30,)), ("multi3drefer", "a", (0, 20))], [("two_coords", "a")]],
    [[("scan2cap", "b")], [("scanqa", "a"), ("multi3drefer", "b", (10,)), ("scan2cap", "b")]],
    [[("scanrefer", "a", (10,))], [("scanqa", "b"), ("sqa3d", "b")]],
]
RATE = 0.05


def batches(model, processor):
    spec = model.config.inputs_spec
    scenes = {name: random_scene(spec, name, *sizes) for name, sizes in {"a": (2, 4, 1), "b": (3, 6, 2)}.items()}
    for ranks in STEPS:
        chosen = [[question(*item) for item in items] for items in ranks]
        yield [
            processor(items, [scenes[n] for n in sorted({i.scene_id for i in items})], with_labels=True)
            for items in chosen
        ]


def plain(build) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Losses of all ranks and the weights after the last step, as data parallel training has them, in one process."""
    model, processor = build()
    model.train()
    Video3DForCausalLM.rank_sync_enabled = False  # scene by scene, and nothing that no item needs
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=RATE)
    losses = []
    for ranks in batches(model, processor):
        optimiser.zero_grad()
        for batch in ranks:
            loss = model(**batch).loss
            (loss / len(ranks)).backward()
            losses.append(float(loss.detach()))
        optimiser.step()
    return losses, {name: p.detach().clone() for name, p in model.named_parameters()}


def under_deepspeed(build, stage: int, checkpointing: bool) -> tuple[list[float], dict[str, torch.Tensor]]:
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    model, processor = build()
    if checkpointing:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable({"use_reentrant": True})
        model.config.use_cache = False
    settings = {
        "train_micro_batch_size_per_gpu": 1,
        "zero_allow_untested_optimizer": True,
        "gradient_clipping": 0.0,
        "zero_optimization": {"stage": stage, "overlap_comm": False, "reduce_bucket_size": 4096},
    }
    if stage == 3:  # sizes that make a tiny model's parameters travel
        settings["zero_optimization"] |= {
            "stage3_prefetch_bucket_size": 2048, "stage3_param_persistence_threshold": 16,
            "stage3_max_live_parameters": 4096, "stage3_max_reuse_distance": 256,
        }  # fmt: skip
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=RATE)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimiser, config=settings)
    engine.train()
    losses = []
    for ranks in batches(model, processor):
        loss = engine(**ranks[rank]).loss
        engine.backward(loss)
        engine.step()
        found = [torch.zeros(()) for _ in range(world)]
        torch.distributed.all_gather(found, loss.detach())
        losses += [float(one) for one in found]
    whole = {}
    for name, p in model.named_parameters():
        with deepspeed.zero.GatheredParameters([p]) if hasattr(p, "ds_id") else nullcontext():
            whole[name] = p.detach().clone()
    return losses, whole


def main() -> None:
    overrides, stage, checkpointing = json.loads(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "True"
    torch.set_num_threads(1)
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # gloo alone: nothing to compile
    deepspeed.init_distributed(dist_backend="gloo", verbose=False)
    tokenizer = train_tokenizer(TEXTS, 400)

    def build():
        return build_tiny(tokenizer, vision=VISION, **{**SIZES, **overrides})

    start = {name: p.detach() for name, p in build()[0].named_parameters()}
    (losses, weights), (expected_losses, expected) = under_deepspeed(build, stage, checkpointing), plain(build)
    worst = max(abs(a - b) / abs(b) for a, b in zip(losses, expected_losses, strict=True))
    differences = {}
    for name, value in expected.items():
        step = float((value - start[name]).norm())
        # Of a bias of keys the gradient is nothing but rounding: softmax does not see it.
        differences[name] = float((weights[name] - value).norm()) / max(step, 1e-4)
    name = max(differences, key=differences.get)
    still = sorted(n for n in expected if expected[n].equal(start[n]))
    if torch.distributed.get_rank() == 0:
        print("RESULT " + json.dumps({"loss": worst, "weights": differences[name], "where": name, "still": still}))


if __name__ == "__main__":
    main()
