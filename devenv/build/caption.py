"""An instruction's text → a line for people: without what only builders read."""

from __future__ import annotations

import re

from devenv.model.build import Step

_FLAGS = re.compile(r"(?<=^RUN )(?:--(?:mount|network|security)=\S+ )+")
_TOOLS = re.compile(r"/run/devenv/tools/(?=\w+ )")


def title(step: Step, width: int = 200) -> str:
    """What a step is called while it runs."""
    words = caption(step.words, width)
    return f"{step.place} {words}" if step.place else words


def called(image: str, title: str) -> str:
    """The same behind the name of the image whose step it is, "" where there is but one."""
    return f"{image} {title}" if image else title


def caption(text: str, width: int) -> str:
    """At most `width` characters: `RUN apt-get install git`, its mounts left out."""
    line = _TOOLS.sub("", _FLAGS.sub("", " ".join(text.split())))
    return line if len(line) <= width else f"{line[: width - 1]}…"
