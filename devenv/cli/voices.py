"""Lines and pieces of what containers print → the terminal, each with its container's name where there are several."""

from __future__ import annotations

import re
import sys
from codecs import getincrementaldecoder
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

from devenv.console import clean, colours, paint
from devenv.engine import LogLine
from devenv.model.seen import Stream

_COLOUR = re.compile(r"(\x1b\[[0-9;:]*m)")
_ENDS = re.compile(r"([\r\n]+)")
_STYLES = ("cyan", "yellow", "green", "magenta", "blue", "red")


class Voices:
    """A prefix for each container, aligned, in a colour of its own; none for one that is alone."""

    def __init__(
        self, names: Iterable[str], env: Mapping[str, str], *, timestamps: bool = False, live: bool = False
    ) -> None:
        self.env = env
        self.timestamps = timestamps
        self.live = live
        self.last = sys.stdout
        self.styles: dict[str, str] = {}
        for name in names:
            self._meet(name)

    def say(self, name: str, line: LogLine) -> None:
        """Print a line to its own stream. A terminal gets colours and nothing else that would act on it; a file the very text."""
        self._meet(name)
        out = sys.stderr if line.stream == "stderr" else sys.stdout
        parts = [f"{moment(line.time)} "] if self.timestamps else []
        if len(self.styles) > 1:
            width = max(map(len, self.styles))
            parts.insert(0, paint(f"{name.ljust(width)} │ ", self.styles[name], colours(out, self.env)))
        if out is not self.last:
            self.last.flush()  # or lines that go to one place in the end would come in another order
        self.last = out
        print(*parts, only_colours(line.text) if out.isatty() else line.text, sep="", file=out, flush=self.live)

    def _meet(self, name: str) -> None:
        self.styles.setdefault(name, _STYLES[len(self.styles) % len(_STYLES)])


def copy(pieces: Iterator[tuple[Stream, bytes]]) -> None:
    """Print what comes as it comes, whole lines or not. Of a terminal's own codes, colours and line ends are let through."""
    decoders = {stream: getincrementaldecoder("utf-8")("replace") for stream in ("stdout", "stderr")}
    for stream, piece in pieces:
        out = sys.stderr if stream == "stderr" else sys.stdout
        text = decoders[stream].decode(piece)
        if out.isatty():
            parts = _ENDS.split(text)
            text = "".join(part if number % 2 else only_colours(part) for number, part in enumerate(parts))
        print(text, end="", file=out, flush=True)


def only_colours(text: str) -> str:
    """Clean but for its colours (ECMA-48, SGR), which end with the line."""
    parts = _COLOUR.split(text)
    kept = "".join(part if number % 2 else clean(part) for number, part in enumerate(parts))
    return f"{kept}\x1b[0m" if len(parts) > 1 else kept


def moment(time: float) -> str:
    """Unix seconds as ISO 8601 has them, in UTC."""
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds")
