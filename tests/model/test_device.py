"""The model on a GPU that is pretended: no tensors of two devices meet, and the host waits only where it must.

The numbers are those of the CPU. What a GPU rounds and how fast it is, only a GPU shows.
"""

from __future__ import annotations

import copy
from collections import Counter
from contextlib import nullcontext

import pytest
import torch
import transformers
from model_cases import question
from pretend_gpu import DEVICE, MixedDevices, PretendedGpu, PretendedTensor, autocast

from video3d_plugin.model.attention import packed
from video3d_plugin.model.modeling import Video3DForCausalLM
from video3d_plugin.model.prefix import inference as prefixes
from video3d_plugin.model.sequence import PackedBatch

pytestmark = pytest.mark.skipif(
    not hasattr(torch, "uint64") or torch.cuda.is_available(), reason="needs a torch without CUDA, 2.3 or newer"
)

# How often transformers 5 reads a number; earlier versions do it more often.
OF_TRANSFORMERS = (2, 8, 0) if int(transformers.__version__.split(".")[0]) >= 5 else (1000, 1000, 1000)
# Where the host may wait for the device, how often, and why. `forward` counts a batch, whatever its layers and items.
SYNCS = {
    "forward, one item a row": {"model.modeling.forward": OF_TRANSFORMERS[0]},  # is the mask all ones?
    "forward, packed": {},
    "forward, batch on the device": {
        "model.modeling._on_cpu": 2,  # token ids, scene_index
        "model.assembly.assemble": 3,  # attention mask, labels, segments
        "model.assembly._coord_places": 1,  # are the points finite?
        "model.item_losses._targets_on_cpu": 1,
    },
    "encode": {"model.prefix.weight_sums._read": 1},
    "ground": {},
    "answer": {"model.prefix.inference.answer_tokens": 4},  # one a token: has an answer ended?
    "generate": {
        "model.modeling.generate": OF_TRANSFORMERS[1],  # two a token
        "model.modeling.forward": OF_TRANSFORMERS[2],  # before version 5: is the mask all ones?
    },
}
# Functions that may send something to the device: inputs, indices, constants.
COPIES = {
    "model.assembly.embed_text", "model.attention.packed.attention_mask_for", "model.attention.shared_prefix.to",
    "model.grounding.ground_loss", "model.item_losses._states", "model.item_losses._text_losses",
    "model.modeling.generate", "model.position._bounds", "model.prefix.decoding.__init__",
    "model.prefix.inference.encode_scene", "model.scene_tokens._pixels", "model.scene_tokens._placed",
    "model.scene_tokens.encode_scenes", "model.sequence.position_ids",
    "model.attention.packed.forward",  # torch: the constant of a masked score
}  # fmt: skip


def unexpected(gpu: PretendedGpu, step: str) -> dict[str, object]:
    """Return the waits and copies since the last call that the lists do not allow."""
    events, allowed = Counter(gpu.events), SYNCS[step]
    gpu.events.clear()
    waits = {name: n for (kind, name), n in events.items() if kind == "sync" and n > allowed.get(name, 0)}
    copies = {name: n for (kind, name), n in events.items() if kind == "copy" and name not in COPIES}
    return waits | copies


@pytest.fixture(scope="module")
def small(build):
    """Heads of 16, which the fused kernels take."""
    return build(hidden_size=64)


def in_format(small, dtype):
    model, processor = small
    return copy.deepcopy(model).to(dtype), processor


def training(model, batch):
    """(losses, {parameter: gradient}) on the CPU."""
    model.zero_grad()
    output = model(**batch)
    output.loss.backward()
    grads = {name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None}
    return output.item_losses.detach().cpu().float(), grads


def plain(tensor):
    return tensor.numbers if isinstance(tensor, PretendedTensor) else tensor


def items():
    return [question("scanqa", "a"), question("scan2cap", "a"), question("multi3drefer", "a", ()),
            question("scanrefer", "b", (20,)), question("two_coords", "b")]  # fmt: skip


FORMATS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "autocast": torch.float32}


@pytest.mark.parametrize("how", FORMATS)
@pytest.mark.parametrize("shared", [False, True])
def test_training(small, scenes, how, shared):
    model, processor = in_format(small, FORMATS[how])
    batch = processor(items(), scenes, with_labels=True, shared=shared)
    losses, grads = training(model, batch)
    with PretendedGpu() as gpu:
        gpu.put(model)
        with autocast(torch.bfloat16) if how == "autocast" else nullcontext():
            found = model(**batch)
        assert not unexpected(gpu, "forward, packed" if shared else "forward, one item a row")
        found.loss.backward()
        assert not gpu.events  # a backward pass neither waits nor copies
        kernels = set(gpu.kernels)
        slopes = {name: plain(p.grad) for name, p in model.named_parameters() if p.grad is not None}
        found_losses = plain(found.item_losses.detach()).float()
    assert any("flash" in name for name in kernels) == (shared and how != "float32")
    assert bool(kernels) == shared
    exact = how == "float32"
    assert torch.allclose(found_losses, losses, rtol=1e-4 if exact else 0.1, atol=1e-5 if exact else 0.1)
    assert slopes.keys() == grads.keys()
    whole, other = (torch.cat([part[name].float().flatten() for name in grads]) for part in (grads, slopes))
    assert float((whole - other).norm() / whole.norm()) < (1e-4 if exact else 0.2)


def test_a_batch_that_is_on_the_device_is_read_in_few_transfers(small, scenes):
    model, processor = in_format(small, torch.float32)
    batch = processor(items(), scenes, with_labels=True, shared=True)
    expected, _ = training(model, batch)
    with PretendedGpu() as gpu:
        gpu.put(model)
        there = {
            name: [t.to(DEVICE) for t in part] if name == "targets" else part if name == "scenes" else part.to(DEVICE)
            for name, part in batch.items()
        }
        gpu.events.clear()
        found = plain(model(**there).item_losses.detach())
        assert not unexpected(gpu, "forward, batch on the device")
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("how", FORMATS)
def test_encoding_and_asking(small, scenes, how, monkeypatch):
    model, processor = in_format(small, FORMATS[how])
    monkeypatch.setattr(type(processor), "stop_ids", [-1])
    texts, references = [question("scanqa", "b"), question("scan2cap", "b")], [question("scanrefer", "b")] * 2
    batch = processor(texts, scenes[1:], padding_side="left")
    batch["scene_index"] = torch.zeros(2, dtype=torch.long)

    def ask():
        prefix = prefixes.encode_scene(model, processor, scenes[1])
        yield "encode", prefix.keys[-1]
        yield "ground", torch.stack(prefixes.ground(model, processor, prefix, references))
        yield "answer", torch.tensor(prefixes.answer_tokens(model, processor, prefix, texts, 4))
        yield "generate", model.generate(**batch, max_new_tokens=4, do_sample=False, eos_token_id=[-1])

    expected = dict(ask())
    with PretendedGpu() as gpu:
        gpu.put(model)
        with autocast(torch.bfloat16) if how == "autocast" else nullcontext():
            for step, found in ask():
                assert not unexpected(gpu, step), step
                if how == "float32":
                    assert torch.allclose(plain(found).float(), expected[step].float(), atol=1e-4), step
                elif step == "ground":
                    assert torch.allclose(plain(found).float(), expected[step].float(), atol=0.1)
        kernels = set(gpu.kernels)
    assert kernels and all(("flash" in name) == (how != "float32") for name in kernels)


def test_a_model_is_built_on_the_device(small, scenes):
    model, processor = small
    with PretendedGpu():
        with torch.device(DEVICE):
            built = Video3DForCausalLM(copy.deepcopy(model.config))
        kinds = {type(t.data) for t in (*built.parameters(), *built.buffers())}
        assert kinds == {PretendedTensor}
        with torch.no_grad():
            loss = built(**processor(items()[:3], scenes[:1], with_labels=True, shared=True)).loss
        assert torch.isfinite(plain(loss))


def test_a_planted_mix_up_is_seen(small, scenes, monkeypatch):
    model, processor = in_format(small, torch.float32)
    on_host = property(lambda self: torch.zeros(self.ids.shape, dtype=torch.long))
    monkeypatch.setattr(PackedBatch, "position_ids", on_host)
    with PretendedGpu() as gpu:
        gpu.put(model)
        with pytest.raises(MixedDevices, match="cpu"):
            model(**processor(items()[:3], scenes[:1], with_labels=True, shared=True))


@pytest.mark.parametrize(
    "read", [lambda t: float(t.sum()), lambda t: t.nonzero(), lambda t: t[t > 0], torch.Tensor.cpu]
)
def test_a_planted_wait_is_seen(small, scenes, monkeypatch, read):
    model, processor = in_format(small, torch.float32)
    own = packed.attend_row
    monkeypatch.setattr(packed, "attend_row", lambda query, *rest: (read(query.detach()), own(query, *rest))[1])
    with PretendedGpu() as gpu:
        gpu.put(model)
        model(**processor(items()[:3], scenes[:1], with_labels=True, shared=True))
        assert unexpected(gpu, "forward, packed") == {"model.attention.packed._attend_rows": 2}  # layers
