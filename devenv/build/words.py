"""A line's text → its words as written: quotes and escapes seen, but kept (BuildKit parser, parseWords)."""

from __future__ import annotations


class Malformed(ValueError):
    """An instruction isn't what it should be: what is wrong, the hint, and where in the instruction (0: its start)."""

    def __init__(self, message: str, hint: str = "", offset: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.offset = offset


def word_at(text: str, start: int, escape: str = "\\") -> tuple[int, int]:
    """Begin and end of the first word at or after `start`; equal when there is none left."""
    length = len(text)
    begin = start
    while begin < length and text[begin].isspace():
        begin += 1
    end, quote = begin, ""
    while end < length:
        char = text[end]
        if not quote and char.isspace():
            break
        if char == escape and quote != "'":
            end += 1  # whatever comes next is part of the word
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        end += 1
    return begin, min(end, length)


def split(text: str, escape: str = "\\") -> tuple[str, ...]:
    """All words of a text, as written."""
    words: list[str] = []
    begin, end = word_at(text, 0, escape)
    while begin < end:
        words.append(text[begin:end])
        begin, end = word_at(text, end, escape)
    return tuple(words)


def unquote(word: str, escape: str = "\\") -> str:
    """A word without its quotes and escapes, nothing expanded (flags and heredoc names)."""
    plain: list[str] = []
    quote = ""
    chars = iter(word)
    for char in chars:
        if char == escape and quote != "'":
            plain.append(next(chars, ""))
        elif quote:
            if char == quote:
                quote = ""
            else:
                plain.append(char)
        elif char in "'\"":
            quote = char
        else:
            plain.append(char)
    return "".join(plain)
