"""Scan2Cap: which sentences each evaluator compares for an object, and from which box on a caption counts.

Each convention is a function from items to (hypotheses, references) by key, ready for `ngrams.Scorer`:

    official    Scan2Cap lib/eval_helper.py b9e9610 (validation): 30 tokens, counts if IoU > threshold
    v3d         LaVi-Lab/Video-3D-LLM 3ff70e8: raw descriptions, IoU >= 0.5, '' where the box is not good enough
    leo         LEO evaluator/cap_eval.py 567f2d8: 30-token references, prediction not lower-cased, IoU >= 0.5
    chatscene   Chat-Scene utils/eval.py 475e106: 30-token references, PTB on both sides, IoU >= threshold

The benchmark's precision, recall and F1 are in `scan2cap_benchmark`. Known difference from the reference: its
converter leaves an object without a good proposal with the references of the object before it; here every object
is compared with its own.
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
    """One object of the split and what was said about it.

    key                `scene|object_id|object_name`
    caption            free text; "" where nothing was said
    iou                of the box that was described with the object's box; None: there is no box
    descriptions       the annotators' sentences, raw
    reference_tokens   their tokens, from the annotation file's `token`
    tokens             tokens of the caption where the model emits ScanRefer-style tokens itself; None: from `caption`
    """

    key: str
    caption: str
    iou: float | None
    descriptions: Sequence[str]
    reference_tokens: Sequence[Sequence[str]]
    tokens: Sequence[str] | None = None

    def caption_tokens(self) -> list[str]:
        return scanrefer_tokens(self.caption) if self.tokens is None else list(self.tokens)


def scanrefer_tokens(text: str) -> list[str]:
    """Split free text the way ScanRefer's `token` fields are: lower case, punctuation apart, hyphenated words whole.

    A caption model that was trained on those tokens emits them itself; any other model's text has to be split so
    that it is compared like with like.
    """
    return _TOKEN.findall(text.lower())


def official_sentence(tokens: Sequence[str], limit: int | None = MAX_TOKENS) -> str:
    """`sos ... eos` around at most `limit` tokens (None: all of them)."""
    return " ".join(["sos", *tokens[:limit], "eos"])


def official_references(item: Scan2CapItem) -> list[str]:
    return [official_sentence(tokens) for tokens in item.reference_tokens]


def _pairs(
    items: Iterable[Scan2CapItem],
    hypothesis: Callable[[Scan2CapItem], str],
    references: Callable[[Scan2CapItem], list[str]],
) -> Pairs:
    items = list(items)
    return {item.key: hypothesis(item) for item in items}, {item.key: references(item) for item in items}


def official_pairs(items: Iterable[Scan2CapItem], min_iou: float = 0.5) -> Pairs:
    """Scan2Cap validation @min_iou. The threshold is strict: an IoU of exactly 0.5 does not count."""

    def hypothesis(item: Scan2CapItem) -> str:
        found = item.iou is not None and item.iou > min_iou
        return official_sentence(item.caption_tokens()) if found else UNDETECTED

    return _pairs(items, hypothesis, official_references)


def v3d_sentence(text: str) -> str:
    """Full stops and commas get spaces of their own, so double spaces appear (ROUGE counts the empty tokens)."""
    return "sos " + text.replace(".", " . ").replace(",", " , ").lower() + " eos"


def v3d_pairs(items: Iterable[Scan2CapItem], min_iou: float = 0.5) -> Pairs:
    """Video-3D-LLM: every object with its own references; '' is said of an object without a good proposal.

    Its inference script strips the model's text; leading and trailing white space would shift ROUGE.
    """

    def hypothesis(item: Scan2CapItem) -> str:
        found = item.iou is not None and item.iou >= min_iou
        return v3d_sentence(item.caption.strip() if found else "")

    return _pairs(items, hypothesis, lambda item: [v3d_sentence(text) for text in item.descriptions])


def leo_pairs(items: Iterable[Scan2CapItem], min_iou: float = 0.5) -> Pairs:
    """LEO: only a full stop that a space follows is set apart, and capitals stay."""

    def hypothesis(item: Scan2CapItem) -> str:
        found = item.iou is not None and item.iou >= min_iou
        return f"sos {item.caption} eos".replace(". ", " . ") if found else UNDETECTED

    return _pairs(items, hypothesis, official_references)


def chatscene_pairs(items: Iterable[Scan2CapItem], min_iou: float = 0.5) -> Pairs:
    """Chat-Scene: PTB tokenisation on both sides. Needs Java; JavaMissing where there is none."""

    def hypothesis(item: Scan2CapItem) -> str:
        found = item.iou is not None and item.iou >= min_iou
        return f"sos {item.caption} eos" if found else UNDETECTED

    return ptb_tokenize_pairs(*_pairs(items, hypothesis, official_references))
