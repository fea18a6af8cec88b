"""What is found out about this machine, and what its store could do without."""

from typing import NamedTuple


class Check(NamedTuple):
    """One thing `doctor` looked at: whether it will do, what was found, and the fix ("" when none is needed)."""

    name: str
    ok: bool
    found: str
    fix: str = ""


class Garbage(NamedTuple):
    """One thing that nothing needs: its kind (`layer`, `image`, `draft`, `cache`), name, bytes, and why."""

    kind: str
    name: str
    size: int
    reason: str


class Archive(NamedTuple):
    """Where Debian packages come from: URI of the main archive, of the security archive ("" for none).

    `snapshot` is a URL pattern of archives as they were: `{time}` becomes YYYYMMDDTHHMMSSZ, `{archive}` `debian` or
    `debian-security`; "" for none.
    """

    main: str
    security: str
    snapshot: str = ""
