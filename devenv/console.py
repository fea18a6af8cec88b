"""Events, plans, reports and tables → a terminal, plain lines or JSON. The only place with rich.

stdout is data, stderr is talk. Whatever came from outside passes `clean` before a terminal sees it.
"""

from __future__ import annotations

import os
import re
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from devenv.clean import clean as clean
from devenv.clean import clean_lines
from devenv.colours import colours as colours
from devenv.model.events import Event, Sink

if TYPE_CHECKING:
    from threading import Timer

    from rich.live import Live
    from rich.text import Text

TAIL = 50
"""How many of a failed step's last lines are shown."""

_PATIENCE = 0.3
"""Seconds before a live display is begun: what is quicker needs none, and rich takes 40 ms to import."""

_NOTICED = 0.3
"""Seconds from which on a step that is done gets a line on a terminal."""

_READABLE = 100
"""Columns of a terminal that progress uses."""

_WIDE = 1 << 16
_NARROWEST = 12
"""Columns that a shortened cell has at least."""

_STYLES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}


def paint(text: str, style: str, colour: bool) -> str:
    """`text` in one of the styles above, if colours are wanted."""
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if colour and text else text


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    out: TextIO,
    *,
    colour: bool = False,
    shrink: Sequence[int] = (),
) -> None:
    """Aligned columns, two spaces apart, the header in bold; cells are cleaned. No header, no header line.

    On a terminal that is too narrow, cells of the columns `shrink`, in this order, lose their middle; a pipe gets all.
    """
    cleaned = [[clean(cell).replace("\t", "\\t") for cell in row] for row in rows]
    lines = [list(header), *cleaned] if header else cleaned
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    over = sum(widths) + 2 * (len(widths) - 1) - _columns(out) if widths else 0
    for column in shrink if over > 0 else ():
        least = min(widths[column], max(_NARROWEST, widths[column] - over))
        widths[column], over = least, over - (widths[column] - least)
    for number, row in enumerate(lines):
        cells = (_shortened(cell, width).ljust(width) for cell, width in zip(row, widths, strict=True))
        text = "  ".join(cells).rstrip()
        print(paint(text, "bold", colour) if header and number == 0 else text, file=out)


@contextmanager
def redrawn(out: TextIO, env: Mapping[str, str]) -> Iterator[Callable[[str], None]]:
    """What puts a table in the place of the one before, as far as the terminal has lines and columns."""
    height = 0
    colour = colours(out, env)

    def draw(text: str) -> None:
        nonlocal height
        size = os.get_terminal_size(out.fileno())
        lines = [line[: (size.columns or _WIDE) - 1] for line in text.splitlines()[: (size.lines or _WIDE) - 1]]
        back = f"\x1b[{height}F" if height else ""
        head = paint(lines[0], "bold", colour) if lines else ""
        out.write(f"{back}\x1b[J" + "".join(f"{line}\n" for line in (head, *lines[1:])))
        out.flush()
        height = max(1, len(lines))

    yield draw


def fold(text: str, out: TextIO, start: int, indent: int) -> str:
    """`text`, which begins in column `start`, broken at spaces so that it fits a terminal; further lines are indented."""
    width = _columns(out)
    if start + len(text) <= width or width - indent < _NARROWEST:
        return text
    lines, room = [""], width - start
    for word in re.findall(r"\S+(?: s\))?\s*", text):  # a time stays in one piece
        if lines[-1] and len(lines[-1]) + len(word.rstrip()) > room:
            lines.append("")
            room = width - indent
        lines[-1] += word
    return f"\n{' ' * indent}".join(line.rstrip() for line in lines)


def _columns(out: TextIO) -> int:
    """The terminal's width; what isn't one is as wide as it takes."""
    try:
        return os.get_terminal_size(out.fileno()).columns or _WIDE
    except (OSError, ValueError):
        return _WIDE


def _shortened(text: str, width: int) -> str:
    """At most `width` characters: of a path or a digest both ends say the most."""
    if len(text) <= width:
        return text
    front = (width - 1) // 3
    return f"{text[:front]}…{text[len(text) - (width - 1 - front) :]}"


def json(document: object, out: TextIO) -> None:
    """One JSON document. ASCII only, so that nothing in it can act on a terminal."""
    from json import dump

    dump(document, out, indent=2)
    out.write("\n")


def error(text: str, env: Mapping[str, str]) -> None:
    """An error on stderr, its hint set apart."""
    colour = colours(sys.stderr, env)
    head = paint("error:", "red", colour)
    lines = [
        paint(line, "cyan", colour) if line.startswith("  hint: ") else line for line in clean_lines(text).split("\n")
    ]
    print(head, "\n".join(lines), file=sys.stderr, flush=True)


def warning(text: str, env: Mapping[str, str]) -> None:
    """What the user should know though nothing fails, on stderr."""
    print(paint("warning:", "yellow", colours(sys.stderr, env)), clean_lines(text), file=sys.stderr, flush=True)


def waiting() -> None:
    """Another command acts on the same environment."""
    print("waiting: another devenv command is at work on this environment", file=sys.stderr, flush=True)


def seconds(value: float) -> str:
    """`0.4 s`, `12 s`, `2 min 05 s`."""
    if value < 10:
        return f"{value:.1f} s"
    if value < 60:
        return f"{value:.0f} s"
    return f"{int(value) // 60} min {int(value) % 60:02d} s"


def size(value: float) -> str:
    """Bytes as people read them: `12.3 MB`, powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def live(stream: TextIO, env: Mapping[str, str]) -> bool:
    """Whether somebody watches it, on a terminal that can draw anew what is there; else it is a log."""
    return stream.isatty() and env.get("TERM") != "dumb"


@contextmanager
def progress(
    stream: TextIO, env: Mapping[str, str], clock: Callable[[], float], *, verbose: bool = False
) -> Iterator[Sink]:
    """A sink that shows events on `stream` while the context lasts: live on a terminal, else a line each.

    `verbose` shows every line of output, not only the last ones of what failed. Threads may share the sink.
    """
    show = _Progress(stream, colours(stream, env), clock, verbose, live(stream, env))
    try:
        yield show
    finally:
        show.close()


class _Progress:
    """The steps under way, by object: when they began and the last lines they printed."""

    def __init__(self, stream: TextIO, colour: bool, clock: Callable[[], float], verbose: bool, live: bool) -> None:
        from threading import RLock

        self.stream, self.colour, self.clock, self.verbose, self.wants_live = stream, colour, clock, verbose, live
        self.begun: dict[str, float] = {}
        self.rows: tuple[tuple[str, float, str], ...] = ()
        self.tails: dict[str, deque[str]] = {}
        self.states: dict[str, str] = {}
        self.lock = RLock()
        self.timer: Timer | None = None
        self.live: Live | None = None
        self.closed = False

    def __call__(self, event: Event) -> None:
        with self.lock:
            name = clean(event.object)
            match event.kind:
                case "started":
                    self._started(name)
                case "output":
                    self._output(name, clean(event.text))
                case "state":
                    self._state(name, clean(event.text))
                case "cached":
                    if not self.wants_live:  # the summary counts them; who looks on wants to know what takes time
                        self._line("·", "dim", name, event.text or "cached")
                case "done":
                    self._ended(name)
                    if event.text:  # it came to its end, but not as one would wish
                        self._line("✗", "red", name, f"{event.text}, {seconds(event.seconds)}")
                    elif not self.wants_live or event.seconds >= _NOTICED:
                        self._line("✓", "green", name, seconds(event.seconds))
                case "failed":
                    self._failed(name, event)
                case "stopped":
                    self._ended(name)
                    self._line("✗", "red", name, f"stopped, {seconds(event.seconds)}")
                case "note" | "warning":
                    self._line("·" if event.kind == "note" else "!", "yellow", name, event.text)

    def close(self) -> None:
        """End the live display; what it showed last is gone."""
        with self.lock:
            self.closed = True
            timer, live, self.timer, self.live = self.timer, self.live, None, None
        if timer is not None:
            timer.cancel()
        if live is not None:
            live.stop()

    def _started(self, name: str) -> None:
        self.begun[name] = self.clock()
        self.tails[name] = deque(maxlen=TAIL)
        self._snapshot()
        if not self.wants_live:
            self._line("→", "cyan", name, "")
        elif self.timer is None and not self.closed:
            from threading import Timer

            self.timer = Timer(_PATIENCE, self._go_live)
            self.timer.daemon = True
            self.timer.start()

    def _output(self, name: str, text: str) -> None:
        self.tails.setdefault(name, deque(maxlen=TAIL)).append(text)
        self._snapshot()
        if self.verbose:
            self._said(name, text)

    def _state(self, name: str, text: str) -> None:
        """How far it is: no line of anybody's output, so it isn't shown again when that fails."""
        self.states[name] = text
        self._snapshot()
        if self.verbose:
            self._said(name, text)

    def _said(self, name: str, text: str) -> None:
        self._print(f"  {paint(name, 'dim', self.colour)} {paint('│', 'dim', self.colour)} {text}")

    def _failed(self, name: str, event: Event) -> None:
        tail = self.tails.get(name, ())
        self._ended(name)
        self._line("✗", "red", name, seconds(event.seconds) if event.seconds else "")
        for line in () if self.verbose else tail:
            self._print(f"  {paint('│', 'dim', self.colour)} {line}")

    def _ended(self, name: str) -> None:
        self.begun.pop(name, None)
        self.tails.pop(name, None)
        self.states.pop(name, None)
        self._snapshot()

    def _snapshot(self) -> None:
        last = {name: tail[-1] for name, tail in self.tails.items() if tail} | self.states
        self.rows = tuple((name, begun, last.get(name, "")) for name, begun in self.begun.items())

    def _line(self, sign: str, style: str, name: str, detail: str) -> None:
        detail = clean(detail)
        if self.wants_live and detail:  # on one line, the details at its end
            width = min(_columns(self.stream), _READABLE) - len(detail) - 4
            name = name[: width - 1] + "…" if len(name) > width else name.ljust(width)
        detail = paint(detail, "dim", self.colour)
        self._print(f"{paint(sign, style, self.colour)} {name}  {detail}".rstrip())

    def _print(self, line: str) -> None:
        if self.live is None:
            print(line, file=self.stream, flush=True)
        else:
            from rich.text import Text

            self.live.console.print(Text.from_ansi(line), soft_wrap=True)

    def _go_live(self) -> None:
        from rich.console import Console
        from rich.live import Live

        with self.lock:
            if self.closed:
                return
            console = Console(file=self.stream, no_color=not self.colour, highlight=False, markup=False, emoji=False)
            self.live = Live(
                console=console,
                get_renderable=lambda: self._running(console.size),
                refresh_per_second=8,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self.live.start()

    def _running(self, size: tuple[int, int]) -> Text:
        """The live part: a line for each step under way, the oldest first, as many as fit (columns, lines).

        Rich calls it with its own lock held, so it must not wait for ours: it reads one finished tuple.
        """
        from rich.text import Text

        now = self.clock()
        width, height = size
        text = Text(no_wrap=True, overflow="ellipsis")
        for name, begun, last in self.rows[: max(1, height - 2)]:
            sign = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"[int(now * 8) % 10]
            head = f"{sign} {name}  {seconds(now - begun)}"
            text.append("\n" if text else "")
            text.append(head[: width - 1], "cyan")
            text.append(f"  {last}"[: max(0, width - 1 - len(head))].expandtabs(1), "dim")
        return text
