"""A model that is not ours, through lmms-eval's own adapter: Qwen2.5-VL with a few random weights."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = [
    pytest.mark.usefixtures("lmms_eval_importable"),
    pytest.mark.skipif(
        find_spec("qwen_vl_utils") is None, reason="qwen_vl_utils is not installed (lmms-eval brings it)"
    ),
]
VISION_MARKS = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *VISION_MARKS]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for c in m['content'] %}{% if c['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif c['type'] == 'text' %}{{ c['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def qwen(tmp_path_factory) -> Path:
    """A checkpoint folder that AutoProcessor and Qwen2_5_VLForConditionalGeneration open."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import (
        PreTrainedTokenizerFast,
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    folder = tmp_path_factory.mktemp("qwen")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    letters = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    letters.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=letters, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.add_special_tokens({"additional_special_tokens": MARKS})
    ids = {mark: tokenizer.convert_tokens_to_ids(mark) for mark in MARKS}
    text = dict(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=8192, rope_scaling={"type": "mrope", "mrope_section": [2, 3, 3]},
        pad_token_id=ids["<|endoftext|>"], eos_token_id=ids["<|im_end|>"], bos_token_id=None,
    )  # fmt: skip
    vision = dict(
        depth=1, hidden_size=32, intermediate_size=64, num_heads=2, out_hidden_size=32, fullatt_block_indexes=[0]
    )
    config = Qwen2_5_VLConfig(
        text_config=text, vision_config=vision, tie_word_embeddings=False,
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
    )  # fmt: skip
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder)
    processor = Qwen2_5_VLProcessor(Qwen2VLImageProcessor(), tokenizer, Qwen2VLVideoProcessor(), chat_template=TEMPLATE)
    processor.save_pretrained(folder)
    return folder


def test_a_vision_language_model_of_lmms_eval_runs_the_tasks(qwen, benchmark_folder, monkeypatch):
    from lmms_eval.evaluator import simple_evaluate
    from lmms_eval.tasks import TaskManager

    if find_spec("decord") is None:  # lmms-eval's adapter imports it for videos; there are none here
        monkeypatch.setitem(sys.modules, "decord", ModuleType("decord"))
    monkeypatch.setenv("VIDEO3D_DATA", str(benchmark_folder))
    ours = TaskManager(include_defaults=False, model_name="qwen2_5_vl")  # the hook adds this package's folder
    results = simple_evaluate(
        model="qwen2_5_vl",
        model_args=f"pretrained={qwen},device_map=cpu,device=cpu,min_pixels=784,max_pixels=6272",
        tasks=["scanrefer", "multi3drefer"],
        task_manager=ours,
        limit=2,
        gen_kwargs="max_new_tokens=4",
        bootstrap_iters=0,
    )
    assert results["results"]["scanrefer"]["acc@0.25,none"] == 0.0
    for sample in results["samples"]["scanrefer"]:
        prompt = sample["input"] if "input" in sample else sample["arguments"][0]
        assert "axis-aligned 3D bounding box" in prompt and "camera at" in prompt and "<image>Identify" not in prompt
        record = sample["acc@0.25"]
        assert (
            record["status"] in ("unreadable", "empty")
            and record["scene_id"] == json.loads(sample["target"])["scene_id"]
        )
