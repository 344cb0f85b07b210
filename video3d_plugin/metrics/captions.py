"""Scan2Cap: the sentences that each evaluator compares for an object, and the IoU from which a caption counts.

Each convention is a function from items to (hypotheses, references) by key, for `ngrams.Scorer`:

    official    Scan2Cap lib/eval_helper.py b9e9610 (validation): 30 tokens, counts if IoU > threshold
    v3d         LaVi-Lab/Video-3D-LLM 3ff70e8: raw descriptions, IoU >= 0.5, '' where the box is not good enough
    leo         LEO evaluator/cap_eval.py 567f2d8: 30-token references, prediction not lower-cased, IoU >= 0.5
    chatscene   Chat-Scene utils/eval.py 475e106: 30-token references, PTB on both sides, IoU >= threshold

Precision, recall and F1 of the benchmark are in `dense_captions`. Known difference from Video-3D-LLM: its converter
gives an object without a good proposal the references of the object before it; here every object has its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from video3d_plugin.metrics.java import ptb_tokenize_pairs

MAX_TOKENS = 30
UNDETECTED = "sos eos"
Pairs = tuple[dict[str, str], dict[str, list[str]]]

_TOKEN = re.compile(r"'s\b|[a-z0-9]+(?:-[a-z0-9]+)*|[^\sa-z0-9]")


@dataclass(frozen=True)
class Scan2CapItem:
    """One object of the split and its predicted caption.

    Attributes:
        key: `scene|object_id|object_name`.
        caption: The predicted text; "" for none.
        iou: IoU of the described box with the object's box; None without a described box.
        descriptions: The annotators' sentences.
        reference_tokens: Their tokens, from `token` of the annotation file.
        tokens: Tokens of the caption, for models that predict ScanRefer's tokens; None to split `caption`.
    """

    key: str
    caption: str
    iou: float | None
    descriptions: Sequence[str]
    reference_tokens: Sequence[Sequence[str]]
    tokens: Sequence[str] | None = None

    def caption_tokens(self) -> list[str]:
        """Return the tokens of the caption."""
        return scanrefer_tokens(self.caption) if self.tokens is None else list(self.tokens)


def scanrefer_tokens(text: str) -> list[str]:
    """Split a text like the `token` fields of ScanRefer: lower case, punctuation apart, hyphenated words whole.

    Models trained on these tokens predict them. The text of other models is split in the same way.

    Args:
        text: A caption.
    """
    return _TOKEN.findall(text.lower())


def official_sentence(tokens: Sequence[str], limit: int | None = MAX_TOKENS) -> str:
    """Join tokens to `sos ... eos`.

    Args:
        tokens: Tokens of a sentence.
        limit: Maximum number of tokens; None for all.
    """
    return " ".join(["sos", *tokens[:limit], "eos"])


def official_references(item: Scan2CapItem) -> list[str]:
    """Return the references of an object as Scan2Cap's evaluator compares them."""
    return [official_sentence(tokens) for tokens in item.reference_tokens]


def _pairs(
    items: Iterable[Scan2CapItem],
    hypothesis: Callable[[Scan2CapItem], str],
    references: Callable[[Scan2CapItem], list[str]],
) -> Pairs:
    items = list(items)
    return {item.key: hypothesis(item) for item in items}, {item.key: references(item) for item in items}


def official_pairs(items: Iterable[Scan2CapItem], min_iou: float = 0.5) -> Pairs:
    """Return hypotheses and references of Scan2Cap's validation (lib/eval_helper.py b9e9610).

    Args:
        items: Objects of the split.
        min_iou: Threshold; an IoU equal to it does not count.
    """

    def hypothesis(item: Scan2CapItem) -> str:
        is_detected = item.iou is not None and item.iou > min_iou
        return official_sentence(item.caption_tokens()) if is_detected else UNDETECTED

    return _pairs(items, hypothesis, official_references)


def v3d_sentence(text: str) -> str:
    """Write a sentence as Video-3D-LLM compares it.

    Spaces are added around full stops and commas. They may double, which ROUGE counts as empty tokens.

    Args:
        text: A caption or description.
    """
    return "sos " + text.replace(".", " . ").replace(",", " , ").lower() + " eos"


def v3d_pairs(items: Iterable[Scan2CapItem], min_iou: float = 0.5) -> Pairs:
    """Return hypotheses and references of Video-3D-LLM (3ff70e8).

    The caption of an object without a good proposal is empty. Captions are stripped, as by its inference script, since
    white space at the ends would change ROUGE.

    Args:
        items: Objects of the split.
        min_iou: Threshold; an IoU equal to it counts.
    """

    def hypothesis(item: Scan2CapItem) -> str:
        is_detected = item.iou is not None and item.iou >= min_iou
        return v3d_sentence(item.caption.strip() if is_detected else "")

    return _pairs(items, hypothesis, lambda item: [v3d_sentence(text) for text in item.descriptions])


def leo_pairs(items: Iterable[Scan2CapItem], min_iou: float = 0.5) -> Pairs:
    """Return hypotheses and references of LEO (evaluator/cap_eval.py 567f2d8).

    Only a full stop before a space is separated, and capitals are kept.

    Args:
        items: Objects of the split.
        min_iou: Threshold; an IoU equal to it counts.
    """

    def hypothesis(item: Scan2CapItem) -> str:
        is_detected = item.iou is not None and item.iou >= min_iou
        return f"sos {item.caption} eos".replace(". ", " . ") if is_detected else UNDETECTED

    return _pairs(items, hypothesis, official_references)


def chatscene_pairs(items: Iterable[Scan2CapItem], min_iou: float = 0.5) -> Pairs:
    """Return hypotheses and references of Chat-Scene (utils/eval.py 475e106), both tokenised by PTB.

    Args:
        items: Objects of the split.
        min_iou: Threshold; an IoU equal to it counts.

    Raises:
        JavaMissing: Java is not available.
    """

    def hypothesis(item: Scan2CapItem) -> str:
        is_detected = item.iou is not None and item.iou >= min_iou
        return f"sos {item.caption} eos" if is_detected else UNDETECTED

    return ptb_tokenize_pairs(*_pairs(items, hypothesis, official_references))
