"""Remarks on a scan for the user: strings that know what kind of remark they are."""

from __future__ import annotations

from typing import Literal

NoteKind = Literal["assumption", "check", "annotations", "proposals", "information"]
KINDS: tuple[NoteKind, ...] = ("assumption", "check", "annotations", "proposals", "information")


class Note(str):
    """A remark on a scan. A note is its text; a plain string counts as information.

    Attributes:
        kind: "assumption": what is taken for true though the recording does not say it, such as its camera or the
            direction up. "check": what seems wrong. "annotations" and "proposals": where the boxes come from.
            "information": everything else.
    """

    kind: NoteKind

    def __new__(cls, text: str, kind: NoteKind = "information") -> Note:
        """Return the note.

        Args:
            text: One sentence.
            kind: See the attribute.
        """
        note = super().__new__(cls, text)
        note.kind = kind
        return note


def kind_of(note: str) -> NoteKind:
    """Return the kind of a note."""
    return note.kind if isinstance(note, Note) else "information"
