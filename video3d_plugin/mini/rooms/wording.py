"""Words for objects and relations.

There are enough forms to sound natural, and few enough that the tests read every sentence back with a grammar of their
own.
"""

from __future__ import annotations

import re

import numpy as np

from video3d_plugin.mini.rooms.objects import KINDS
from video3d_plugin.mini.rooms.relations import Body, Facts

PHRASES: dict[str, tuple[str, ...]] = {
    "on": ("on the {a}", "on top of the {a}", "sitting on the {a}"),
    "next_to": ("next to the {a}", "beside the {a}", "right by the {a}", "close to the {a}"),
    "below": ("below the {a}", "under the {a}", "underneath the {a}"),
    "in_front_of": ("in front of the {a}", "just in front of the {a}"),
    "left_of": ("to the left of the {a} when you face it", "on the left side of the {a} as you look at it"),
    "right_of": ("to the right of the {a} when you face it", "on the right side of the {a} as you look at it"),
    "between": ("between the {a} and the {b}", "in between the {a} and the {b}"),
    "corner": ("in the corner of the room", "in a corner", "tucked into a corner"),
    "wall": ("against the wall", "along the wall"),
    "middle": ("in the middle of the room", "away from the walls"),
    "same_wall": ("on the same wall as the {a}", "along the same wall as the {a}"),
    "opposite_wall": ("on the wall opposite the {a}", "along the wall opposite the {a}"),
    "nearest": ("closest to the {a}", "nearest to the {a}"),
    "farthest": ("farthest from the {a}", "furthest from the {a}", "most distant from the {a}"),
    "leftmost_door": ("furthest to the left when you enter through the {a}", "leftmost as seen from the {a}"),
    "rightmost_door": ("furthest to the right when you enter through the {a}", "rightmost as seen from the {a}"),
    "leftmost_facing": ("furthest to the left when you face the {a}", "leftmost when looking at the {a}"),
    "rightmost_facing": ("furthest to the right when you face the {a}", "rightmost when looking at the {a}"),
    "biggest": ("bigger than the {others}", "larger than the {others}"),
    "smallest": ("smaller than the {others}", "more compact than the {others}"),
    "tallest": ("taller than the {others}",),
}
NUMBERS = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
)


def pick(rng: np.random.Generator, options):
    """Draw one of `options`; by index, so that Python objects stay as they are."""
    return options[int(rng.integers(len(options)))]


def noun(rng: np.random.Generator, label: str) -> str:
    """Return the label, or sometimes another word for it."""
    nouns = KINDS[label].nouns
    return label if len(nouns) == 1 or rng.random() < 0.6 else pick(rng, nouns)


def plural(label: str) -> str:
    return KINDS[label].plural


def article(words: str) -> str:
    return ("an " if words[0] in "aeiou" else "a ") + words


def name_of(facts: Facts, body: Body, rng: np.random.Generator) -> str | None:
    """Return a noun phrase without article that denotes this object alone ("door", "red cabinet"), or None."""
    if len(facts.group(body.label)) == 1:
        word = noun(rng, body.label)
        return f"{body.color} {word}" if body.color and rng.random() < 0.3 else word
    if body.color and len(facts.group(body.label, body.color)) == 1:
        return f"{body.color} {noun(rng, body.label)}"
    return None


def phrase(rng: np.random.Generator, kind: str, names: list[str], others: str = "") -> str:
    """Return the relation `kind` in words; `names` are the noun phrases of its anchors."""
    slots = dict(zip("ab", names, strict=False))
    return pick(rng, PHRASES[kind]).format(**slots, others=others)


def tokens(description: str) -> list[str]:
    """Return ScanRefer's token list: lower-case words, with punctuation split off."""
    return re.findall(r"[a-z0-9]+(?:'[a-z]+)?|[.,?!;]", description.lower())
