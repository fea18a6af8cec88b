"""Notes → text for a page."""

from __future__ import annotations

import re
from collections.abc import Iterable


def shown(note: str) -> str:
    """A note as HTML: escaped, its addresses made links."""
    from jinja2 import Markup, escape

    link = Markup('<a href="{0}">{0}</a>')
    parts = re.split(r"(https?://\S+)", note)
    return Markup("").join(link.format(part) if number % 2 else escape(part) for number, part in enumerate(parts))


def containing(notes: Iterable[str], words: str) -> list[str]:
    """The notes that have all of these words in them, whatever their case."""
    wanted = words.lower().split()
    return [note for note in notes if all(word in note.lower() for word in wanted)]
