"""Text of unknown making → text that does nothing but be read. Pure."""

from __future__ import annotations

import re

# ECMA-48: CSI (parameters, intermediates, final); strings (DCS, SOS, OSC, PM, APC) up to BEL or ST; other escapes.
_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)
# C0 but tab, DEL, C1, line separators, and the marks that reorder text (a name could read as another one).
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def clean(text: str) -> str:
    """One line, safe to print: escape sequences are dropped, other control characters shown as `\\x1b`.

    Of a line redrawn with carriage returns, the last state stays.
    """
    text = _ESCAPE.sub("", text.rstrip("\r\n").rpartition("\r")[2])
    return _CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)


def clean_lines(text: str) -> str:
    """Several lines, each clean."""
    return "\n".join(clean(line) for line in text.split("\n"))
