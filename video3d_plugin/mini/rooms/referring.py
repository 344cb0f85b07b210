"""Referring expressions: clues that identify an object among others of its class, and sentences made of them.

Clues (`clues.py`), with the class and the colour if it is stated, identify the object if no other object of the class
satisfies all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from video3d_plugin.mini.rooms.clues import ALONE, ANCHORED, COMPARED, Clue, clues
from video3d_plugin.mini.rooms.relations import PREDICATES, Body, Facts
from video3d_plugin.mini.rooms.styles import Style
from video3d_plugin.mini.rooms.wording import article, name_of, noun, phrase, pick, plural


@dataclass(frozen=True)
class Expression:
    """The colour (None: not stated) and the clues that, with the class, identify an object."""

    target: Body
    color: str | None
    clues: tuple[Clue, ...]


class Referrer:
    """Makes expressions for the objects of one room. Clues are computed once for each class."""

    def __init__(self, facts: Facts, style: Style | None = None):
        self.facts, self.style = facts, style or Style()
        self._clues: dict[tuple[int, str | None], list[Clue]] = {}

    def clues(self, target: Body, color: str | None = None) -> list[Clue]:
        """Return the clues of an object among those of its class, or of its class and colour."""
        key = (target.id, color)
        if key not in self._clues:
            true_of = clues(self.facts, target, self.facts.group(target.label, color))
            usable = [c for c in true_of if self.style.relations.get(c.kind, 0) > 0]
            if color:
                usable = [c for c in usable if c.kind not in COMPARED or c in self.clues(target)]
            self._clues[key] = usable
        return self._clues[key]

    def of_color_only(self, expression: Expression) -> bool:
        """Return whether the object is the nearest, leftmost ... of its colour, and not clearly of its class."""
        of_class = self.clues(expression.target)
        return any(c.kind not in PREDICATES and c not in of_class for c in expression.clues)

    def expression(self, target: Body, rng: np.random.Generator, *, color: str = "may") -> Expression | None:
        """Draw an expression for an object.

        Args:
            target: The object.
            rng: Draws colour and clues.
            color: "may" or "never" be stated.

        Returns:
            None if two clues do not identify the object.
        """
        sisters = self.facts.group(target.label)
        colored = self.facts.group(target.label, target.color) if target.color and color == "may" else sisters
        color_word = target.color if color == "may" else None
        if len(sisters) == 1:
            extra = self._extra(self.clues(target), rng)
            return Expression(target, color_word if rng.random() < 0.8 else None, (extra,) if extra else ())
        options = []
        if color_word and len(colored) < len(sisters):  # colour does part or all of the work
            if len(colored) == 1:
                extra = self._extra([c for c in self.clues(target) if c.kind in (*ANCHORED, *ALONE)], rng)
                options.append((0.3, color_word, (extra,) if extra else ()))
            else:
                sufficient = self._enough(self.clues(target, color_word), rng)
                options += [(0.35, color_word, sufficient)] if sufficient else []
        sufficient = self._enough(self.clues(target), rng)
        if sufficient:
            options.append((0.65, color_word if rng.random() < self.style.color else None, sufficient))
        if not options:
            return None
        weights = np.array([o[0] for o in options])
        _, color_word, sufficient = options[int(rng.choice(len(options), p=weights / weights.sum()))]
        return Expression(target, color_word, self._with_extra(target, sufficient, rng))

    def _enough(self, available: list[Clue], rng: np.random.Generator) -> tuple[Clue, ...]:
        """One or two clues that identify the object; empty if there are none."""
        single = [c for c in available if len(c.holders) == 1]
        if single and rng.random() < 0.9:
            return (self._draw(single, rng),)
        partial = [c for c in available if len(c.holders) > 1]
        pairs = [(a, b) for i, a in enumerate(partial) for b in partial[i + 1 :] if len(a.holders & b.holders) == 1]
        if pairs:
            return pick(rng, pairs)
        return (self._draw(single, rng),) if single else ()

    def _with_extra(self, target: Body, sufficient: tuple[Clue, ...], rng: np.random.Generator) -> tuple[Clue, ...]:
        """Sometimes add a second true clue where one would do."""
        if len(sufficient) != 1 or rng.random() > self.style.extra:
            return sufficient
        used = {sufficient[0].kind}
        more = [c for c in self.clues(target) if c.kind not in used and c.kind in (*ANCHORED, *ALONE)]
        extra = self._extra(more, rng)
        return (*sufficient, extra) if extra else sufficient

    def _extra(self, available: list[Clue], rng: np.random.Generator) -> Clue | None:
        """A clue that is not needed; mostly none where only kinds are left that the style rarely uses."""
        weight = sum(self.style.relations[kind] for kind in {c.kind for c in available})
        return self._draw(available, rng) if weight >= 1 or rng.random() < weight else None

    def _draw(self, available: list[Clue], rng: np.random.Generator) -> Clue | None:
        """Draw the kind of relation by the style first, then a clue of that kind; else anchors would decide."""
        kinds = sorted({c.kind for c in available})
        if not kinds:
            return None
        weights = np.array([self.style.relations[k] for k in kinds])
        kind = kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]
        return pick(rng, [c for c in available if c.kind == kind])

    def say(self, clue: Clue, label: str, rng: np.random.Generator) -> str:
        """Return a clue in words."""
        names = [name_of(self.facts, a, rng) for a in clue.anchors]
        if clue.kind == "between" and rng.random() < 0.5:
            names.reverse()
        sisters = len(self.facts.group(label))
        others = "other one" if sisters == 2 else f"other {plural(label)}"
        return phrase(rng, clue.kind, names, others)

    def sentence(self, expression: Expression, rng: np.random.Generator) -> str:
        """Return a description as in ScanRefer: lower case, with full stops."""
        label, color = expression.target.label, expression.color
        phrases = [self.say(c, label, rng) for c in expression.clues]
        return compose(noun(rng, label), color, phrases, rng, one_phrase=self.of_color_only(expression))

    def noun_phrase(self, expression: Expression, rng: np.random.Generator) -> str:
        """Return "red chair closest to the door and next to the bed", without an article."""
        words = f"{expression.color} " if expression.color else ""
        phrases = [self.say(c, expression.target.label, rng) for c in expression.clues]
        return words + " ".join([noun(rng, expression.target.label), " and ".join(phrases)]).strip()


def compose(
    word: str, color: str | None, phrases: list[str], rng: np.random.Generator, *, one_phrase: bool = False
) -> str:
    """Compose a description of a noun, a colour and up to two relation phrases.

    Args:
        word: The noun.
        color: The colour, or None.
        phrases: The relation phrases.
        rng: Draws the form.
        one_phrase: The first relation is true among objects of the colour only: "the red chair closest to the door",
            not "this chair is closest to the door. it is red."
    """
    named = f"{color} {word}" if color else word
    if not phrases:
        return pick(
            rng,
            (
                f"this is {article(named)}.",
                f"the {named} in the room.",
                f"there is {article(named)}.",
                f"find the {named}.",
            ),
        )
    both, first, rest = " and ".join(phrases), phrases[0], phrases[1:]
    tail = "".join(f" it is {s}." for s in rest)
    forms = [
        f"this is {article(named)}. it is {both}.",
        f"the {named} {both}.",
        f"there is {article(named)} {first}.{tail}",
        f"{article(named)}. it is {first}.{tail}",
        f"find the {named} that is {both}.",
        f"it is the {named} {first}.{tail}",
        f"the {named} that is {first}.{tail}",
        f"{first} there is {article(named)}.{tail}",
        f"look for the {named} {both}.",
        f"i am looking for the {named}. it is {both}.",
    ]
    if color:
        forms.append(f"the {word} is {color}. it is {both}.")
        forms.append(f"this {word} is {first}. it is {color}.{tail}")
        forms.append(f"it is {article(word)} that is {color} and {first}.{tail}")
    if one_phrase:
        forms = [form for form in forms if f"{named} {first}" in form or f"{named} that is {first}" in form]
    return pick(rng, forms)
