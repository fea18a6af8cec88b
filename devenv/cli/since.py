"""`10m`, `2026-01-31T12:00`, Unix seconds → a moment."""

from __future__ import annotations

import re
from datetime import datetime

from devenv.errors import Fault, InputError

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d)", re.ASCII)
_UNIX = re.compile(r"\d{9,11}(\.\d{1,9})?", re.ASCII)


def instant(text: str, now: float, option: str = "--since") -> float:
    """Unix seconds; 0 for no text. A time without a zone is the host's. Raises InputError."""
    if not text:
        return 0.0
    if re.fullmatch(f"(?:{_PART.pattern})+", text, re.ASCII):
        return now - sum(float(count) * _UNITS[unit] for count, unit in _PART.findall(text))
    if _UNIX.fullmatch(text):
        return float(text)
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError) as error:
        hint = "as in 90s, 10m, 1h30m, 2d, 2026-01-31T12:00 or 2026-01-31T12:00Z"
        raise InputError(Fault(option, 0, 0, f"{text!r} is no time", hint)) from error
