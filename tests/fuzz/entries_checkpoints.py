"""Entries of checkpoints, adapters and their files. Every case loads a small model, as `load_model` does."""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
from pathlib import Path

from harness import Entry

_WORDS = ["the red chair and the white table", "You are a helpful assistant. system user assistant"]
_SIZES = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
          "num_key_value_heads": 1, "max_position_embeddings": 512}  # fmt: skip
_VISION = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
           "image_size": 28, "patch_size": 14}  # fmt: skip


@functools.cache
def _made() -> Path:
    """Folders `base` and `adapter`; made once, copied for every entry."""
    import torch

    from video3d_plugin.model.checkpoint.lora import add_lora
    from video3d_plugin.model.tiny import build_tiny, train_tokenizer

    torch.manual_seed(0)
    folder = Path(tempfile.mkdtemp(prefix="video3d-fuzz-seed-"))
    model, processor = build_tiny(train_tokenizer(_WORDS, 300), vision=_VISION, **_SIZES)
    model.save_pretrained(folder / "base")
    processor.save_pretrained(folder / "base")
    (folder / "base" / "generation_config.json").write_text(json.dumps({"eos_token_id": [2], "temperature": 0.5}))
    (folder / "base" / "training.json").write_text(json.dumps({"settings": {"max_frames": 3, "sampler": "uniform"}}))
    add_lora(model, rank=2).save_pretrained(str(folder / "adapter"))
    return folder


def _base(folder: Path) -> None:
    shutil.copytree(_made() / "base", folder, dirs_exist_ok=True)


def _bin(folder: Path) -> None:
    """The same with weights as older checkpoints have them."""
    import torch
    from safetensors.torch import load_file

    _base(folder)
    torch.save(load_file(str(folder / "model.safetensors")), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _sharded(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    _base(folder)
    weights = load_file(str(folder / "model.safetensors"))
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    parts = {f"model-0000{i + 1}-of-00002.safetensors": names[i::2] for i in range(2)}
    for name, own in parts.items():
        save_file({key: weights[key] for key in own}, str(folder / name), metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {key: name for name, own in parts.items() for key in own}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _adapter(folder: Path) -> None:
    shutil.copytree(_made() / "adapter", folder, dirs_exist_ok=True)


def _open(folder: Path, lora: Path | None = None) -> None:
    """Load, and ask: what was accepted must work."""
    import torch

    from video3d_plugin.loading import trained_view
    from video3d_plugin.model.checkpoint.loading import load_pair
    from video3d_plugin.scene import Question

    model, processor = load_pair(folder, lora=lora, dtype=torch.float32, attn_implementation="sdpa")
    trained_view(folder, lora)
    ids, _ = processor.encode(Question("t", "1", "s", "<image> the <|im_end|> <coord> chair", "red"), answered=True)
    assert max(ids) < model.config.vocab_size and ids.count(-200) == 1
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters() if lora is not None)
    with torch.no_grad():
        model.model(input_ids=torch.tensor([[i for i in ids if i >= 0]]))


def _open_adapter(folder: Path) -> None:
    _open(_made() / "base", folder)


_SETTINGS = ("config.json", "generation_config.json", "processor_config.json", "training.json")
ENTRIES = [
    Entry("checkpoint settings", _base, _open, _SETTINGS, count=1200),
    Entry("checkpoint tokenizer", _base, _open, ("tokenizer*.json", "special_tokens_map.json"), count=800),
    Entry("checkpoint weights", _base, _open, ("*.safetensors",), count=400),
    Entry("checkpoint weights of torch", _bin, _open, ("*.bin",), count=400),
    Entry("checkpoint index", _sharded, _open, ("*.index.json",), count=400),
    Entry("adapter settings", _adapter, _open_adapter, ("adapter_config.json",), count=900),
    Entry("adapter weights", _adapter, _open_adapter, ("adapter_model.*",), count=400),
    Entry("adapter trained in full", _adapter, _open_adapter, ("non_lora_trainables.bin",), count=400),
    Entry("adapter configuration", _adapter, _open_adapter, ("config.json",), count=400),
]
