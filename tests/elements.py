"""HTML in which every element must be closed in its place."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"br", "circle", "hr", "input", "line", "meta"}
"""Those that have no end."""


class Elements(HTMLParser):
    """Tells `found` of each element and `said` of each text. Raises AssertionError where one isn't closed in its place."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def found(self, tag: str, attributes: dict[str, str]) -> None:
        raise NotImplementedError

    def said(self, text: str) -> None:
        raise NotImplementedError

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), (tag, attrs)
        self.found(tag, {name: value or "" for name, value in attrs})

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, (tag, self.open, self.getpos())
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.said(data)
