"""The chat layout by hand, labels, batches, files, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from model_cases import question, random_scene
from transformers import AutoProcessor

from video3d_plugin.data.training_files import with_spatial_instruction
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.model.processing import Video3DProcessor
from video3d_plugin.model.sequence import IGNORE, IMAGE_ID
from video3d_plugin.scene import Question


@pytest.fixture
def words(tokenizer):
    return lambda text: tokenizer(text, add_special_tokens=False).input_ids


def test_the_layout_is_the_published_checkpoints(pair, words):
    """qwen_1_5: the placeholder is followed by a newline token of its own, and the text after it is tokenised alone."""
    _, processor = pair
    item = question("scanqa", "a")
    ids, _ = processor.encode(item, answered=False)
    before = words("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n")
    after = words(" What colour is the lamp? Answer the question simply.")
    assert ids == [*before, IMAGE_ID, *words("\n"), *after, *words("<|im_end|>\n<|im_start|>assistant\n")]
    answered, _ = processor.encode(item, answered=True)
    assert answered == [*ids, *words("red"), *words("<|im_end|>\n")]


def test_a_grounding_item_is_always_answered(pair, words):
    _, processor = pair
    ids, _ = processor.encode(question("scanrefer", "a"), answered=False)
    assert ids[-len(words("<ground><|im_end|>\n")) :] == words("<ground><|im_end|>\n")
    assert len(words("<ground>")) == len(words("<coord>")) == len(words("<image>")) == 1


def test_a_line_break_after_the_image_is_the_placeholders_own(pair):
    _, processor = pair
    plain, broken = (Question("x", "1", "a", f"<image>{gap}What?") for gap in ("", "\n"))
    assert processor.encode(plain, answered=False) == processor.encode(broken, answered=False)


def test_text_may_precede_the_image(pair, words):
    _, processor = pair
    ids, _ = processor.encode(Question("x", "1", "a", "Look: <image> What?"), answered=False)
    at = ids.index(IMAGE_ID)
    assert ids[at - len(words("Look: ")) : at] == words("Look: ")


def test_labels_of_llava_next(pair, words):
    """The assistant's turn with its header, and every chat mark and newline: nothing else."""
    _, processor = pair
    ids, labels = processor.encode(question("scanqa", "a"), answered=True)
    marks = {*words("<|im_start|>"), *words("<|im_end|>"), *words("\n")}
    turn = words("<|im_start|>assistant\nred<|im_end|>\n")
    assert labels[-len(turn) :] == turn == ids[-len(turn) :]
    for token, label in zip(ids[: -len(turn)], labels, strict=False):
        assert label == (token if token in marks else IGNORE)


def as_the_reference_trains(words, text, answer):
    """preprocess_qwen of LaVi-Lab/Video-3D-LLM's train_3d.py: one text a turn, in which <image> is a token."""
    system = words("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n")
    before, after = f"<|im_start|>user\n{text}<|im_end|>\n".split("<image>")
    user = [*words(before), IMAGE_ID, *words(after)]
    assistant = words(f"<|im_start|>assistant\n{answer}<|im_end|>\n")
    marks = {*words("<|im_start|>"), *words("<|im_end|>"), *words("\n")}
    labels = [token if token in marks else IGNORE for token in system + user] + assistant
    return system + user + assistant, labels


@pytest.mark.parametrize("task", ["scanrefer", "multi3drefer", "scan2cap", "scanqa", "sqa3d"])
@pytest.mark.parametrize("instruction", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_ids_and_labels_of_training_are_the_references(pair, scenes, words, task, instruction, shared):
    _, processor = pair
    item = question(task, "a")
    item = with_spatial_instruction([item])[0] if instruction else item
    batch = processor([item], scenes[:1], with_labels=True, shared=shared)
    ids, labels = as_the_reference_trains(words, item.prompt, item.answer)
    assert batch["input_ids"][0].tolist() == ids and batch["labels"][0].tolist() == labels


@pytest.mark.parametrize("shared", [False, True])
def test_ids_and_labels_of_several_turns_are_the_references(pair, scenes, words, shared):
    _, processor = pair
    further = (("Is it near the door?", "It is."), ("What colour is the <|im_end|> lamp?", "red"))
    item = replace(question("scanqa", "a"), further=further)
    other = question("scanqa", "a")
    batch = processor([other, item] if shared else [item], scenes[:1], with_labels=True, shared=shared)
    ids, labels = as_the_reference_trains(words, item.prompt, item.answer)
    marks = {*words("<|im_start|>"), *words("<|im_end|>"), *words("\n")}
    for user, assistant in further:
        start, end = words("<|im_start|>user\n"), words("<|im_end|>\n")
        asked = [*start, *processor.encode_text(user), *end]  # chat tokens in the text are letters
        assert sum(token in words("<|im_end|>") for token in asked) == 1
        own = words(f"<|im_start|>assistant\n{assistant}<|im_end|>\n")
        for_loss = {*range(len(start)), *range(len(asked) - len(end), len(asked))}
        ids += asked + own
        labels += [t if t in marks and i in for_loss else IGNORE for i, t in enumerate(asked)] + own
    if not shared:
        assert batch["input_ids"][0].tolist() == ids and batch["labels"][0].tolist() == labels
        return
    own = batch["segments"][0] != 1  # the prefix and the second item
    assert batch["input_ids"][0][own].tolist() == ids and batch["labels"][0][own].tolist() == labels


def test_further_turns_are_trained_on_and_not_read_when_asked(pair, scenes):
    model, processor = pair
    plain = question("scanqa", "a")
    item = replace(plain, further=(("Is it near the door?", "It is."),))
    assert processor.suffix_ids(item, answered=False) == processor.suffix_ids(plain, answered=False)
    with torch.no_grad():
        losses = [model(**processor([one], scenes[:1], with_labels=True)).loss for one in (plain, item)]
        packed = model(**processor([item, plain], scenes[:1], with_labels=True, shared=True)).item_losses
    assert losses[0] != losses[1] and torch.allclose(packed, torch.stack(losses[::-1]), rtol=1e-5)


def test_prompts_with_and_without_the_newline_are_packed_apart(pair, scenes):
    model, processor = pair
    items = [question("scanqa", "a"), *with_spatial_instruction([question("sqa3d", "a")]), question("scan2cap", "a")]
    shared = processor(items, scenes[:1], with_labels=True, shared=True)
    assert len(shared["input_ids"]) == 2 and shared["scene_index"].tolist() == [0, 0]
    apart = processor([items[1], items[0], items[2]], scenes[:1], with_labels=True)
    with torch.no_grad():
        assert torch.allclose(model(**shared).item_losses, model(**apart).item_losses, rtol=1e-5)


def test_labels_of_the_answer_alone(pair, words):
    model, processor = pair
    other = Video3DProcessor(processor.tokenizer, model.config, label_style="answer")
    _, labels = other.encode(question("scanqa", "a"), answered=True)
    assert [label for label in labels if label != IGNORE] == words("red<|im_end|>\n")


def test_batch_by_keys(pair, scenes, mixed):
    _, processor = pair
    batch = processor(mixed, scenes, with_labels=True)
    assert batch["scene_index"].tolist() == [0, 1, 1, 0, 0, 1, 1]
    assert batch["coords"].shape == (3, 3) and batch["coords"][0].tolist() == pytest.approx([0.7, -1.1, 0.9])
    assert [t.tolist() for t in batch["targets"]] == [[], [2], [], [], [], [0, 4], []]
    assert batch["attention_mask"].sum(1).tolist() == [
        len(processor.encode(q, answered=True, training=True)[0]) for q in mixed
    ]
    assert "labels" not in processor(mixed, scenes)


def test_decoding_stops_at_the_end_mark(pair, words):
    _, processor = pair
    assert processor.decode([*words(" the lamp"), *words("<|im_end|>"), *words("more")]) == "the lamp"
    assert processor.batch_decode([words("red"), []]) == ["red", ""]


def test_files_give_the_same_processor(pair, tmp_path, mixed):
    model, processor = pair
    other = Video3DProcessor(processor.tokenizer, model.config, system_message="Look well.", label_style="answer")
    other.save_pretrained(tmp_path)
    for loaded in (Video3DProcessor.from_pretrained(tmp_path), AutoProcessor.from_pretrained(str(tmp_path))):
        assert isinstance(loaded, Video3DProcessor)
        for item in mixed:
            assert loaded.encode(item, answered=True) == other.encode(item, answered=True)
        assert loaded.config.inputs_spec == model.config.inputs_spec


@pytest.mark.parametrize("stops", ["one", "several"])
def test_the_stop_tokens_of_generation_config_end_an_answer(pair, words, tmp_path, stops):
    model, processor = pair
    processor.save_pretrained(tmp_path)
    assert Video3DProcessor.from_pretrained(tmp_path).stop_ids == processor.stop_ids
    lamp, red = words(" the lamp"), words("red")
    (tmp_path / "generation_config.json").write_text(
        json.dumps({"eos_token_id": red[0] if stops == "one" else [processor.stop_ids[0], red[0]]})
    )
    loaded = Video3DProcessor.from_pretrained(tmp_path)
    assert loaded.stop_ids == [*processor.stop_ids, red[0]]
    assert loaded.decode([*lamp, *red, *lamp]) == "the lamp" != processor.decode([*lamp, *red, *lamp])
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": "red"}')
    with pytest.raises(DataError, match="generation_config.json.*eos_token_id"):
        Video3DProcessor.from_pretrained(tmp_path)


def test_a_folder_without_a_tokenizer_says_so(pair, tmp_path):
    pair[0].config.save_pretrained(tmp_path)
    with pytest.raises(MissingError, match="tokenizer.json"):
        Video3DProcessor.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "broken, message",
    [
        ({"prompt": "What?"}, "no <image>"),
        ({"coords": ((0.0, 0.0, 0.0),)}, "0 <coord> in its prompt and 1 coords"),
        ({"prompt": "<image> <coord> <coord> ?", "coords": ((0.0, 0.0, 0.0),)}, "2 <coord> in its prompt and 1 coords"),
        ({"answer": None}, "no answer to train on"),
        ({"scene_id": "elsewhere"}, "scene that was not given"),
        ({"answer": "<ground>", "targets": (70,)}, "objects \\[70\\]"),
    ],
)
def test_a_broken_question_is_named(pair, scenes, broken, message):
    _, processor = pair
    item = replace(question("scanqa", "a"), **broken)
    with pytest.raises(DataError, match="scanqa q of .*" + message.replace("|", "\\|")):
        processor([question("sqa3d", "a"), item], scenes, with_labels=True)


def test_scenes_must_fit_the_model(pair, scenes):
    model, processor = pair
    with pytest.raises(DataError, match="given twice"):
        processor([question("scanqa", "a")], [scenes[0], scenes[0]])
    other = random_scene(replace(model.config.inputs_spec, points="nine"), "a", 1, 1)
    with pytest.raises(DataError, match="a: made for .*inputs_spec"):
        processor([question("scanqa", "a")], [other])
    with pytest.raises(DataError, match="no questions"):
        processor([], scenes)


def test_a_tokenizer_without_the_tokens_is_refused(pair):
    with pytest.raises(DataError, match="tokens of the tokenizer"):
        Video3DProcessor(_Letters(), pair[0].config)


class _Letters:
    """A tokenizer that knows no marks."""

    def __call__(self, text, add_special_tokens=False):
        return type("E", (), {"input_ids": [ord(c) for c in text]})


def test_padding_is_not_attended_to(pair, scenes):
    model, processor = pair
    items = [question("scanqa", "a"), question("scan2cap", "a")]
    batch = processor(items, scenes[:1], with_labels=True)
    short = int(batch["attention_mask"][0].sum())
    with torch.no_grad():
        before = model(**batch).item_losses
        batch["input_ids"][0, short:] = 5
        assert torch.equal(model(**batch).item_losses, before)


def test_what_the_caller_asks_for_wins_over_processor_config(pair, tmp_path):
    pair[1].save_pretrained(tmp_path)
    stored = Video3DProcessor.from_pretrained(tmp_path)
    assert (stored.label_style, stored.system_message) == (pair[1].label_style, pair[1].system_message)
    asked = Video3DProcessor.from_pretrained(tmp_path, label_style="answer", system_message="Answer in rhymes.")
    assert (asked.label_style, asked.system_message) == ("answer", "Answer in rhymes.")
    with pytest.raises(DataError, match="label_style 'x' is unknown"):
        Video3DProcessor.from_pretrained(tmp_path, label_style="x")
