"""An image's /etc/passwd and /etc/group (passwd(5), group(5)) → its accounts and groups. Lines that are none are passed over."""

from typing import NamedTuple

from devenv.errors import NotFound

LAST = 65535
"""The highest id a container has."""

_HINT = "make it in a step before, or give a number"


class Account(NamedTuple):
    """A line of /etc/passwd."""

    name: str
    uid: int
    gid: int
    home: str


class Group(NamedTuple):
    """A line of /etc/group."""

    name: str
    gid: int
    members: tuple[str, ...]


def accounts(passwd: str) -> list[Account]:
    """All accounts, in the file's order."""
    found = []
    for fields in (line.split(":") for line in passwd.splitlines()):
        if len(fields) >= 4 and is_number(fields[2]) and is_number(fields[3]):
            found.append(Account(fields[0], int(fields[2]), int(fields[3]), fields[5] if len(fields) > 5 else ""))
    return found


def groups(group: str) -> list[Group]:
    """All groups, in the file's order."""
    found = []
    for fields in (line.split(":") for line in group.splitlines()):
        if len(fields) >= 3 and is_number(fields[2]):
            found.append(Group(fields[0], int(fields[2]), tuple(fields[3].split(",")) if len(fields) > 3 else ()))
    return found


def group_id(name: str, group: str) -> int:
    """The id of a group given by name or number. Raises NotFound."""
    found = next((one for one in groups(group) if one.name == name), None)
    if found is not None:
        return within(found.gid)
    if is_number(name):
        return within(int(name))
    raise missing("group", name)


def missing(kind: str, name: str) -> NotFound:
    """The error that the image knows no such `user` or `group`."""
    file = "/etc/passwd" if kind == "user" else "/etc/group"
    return NotFound(f"find {kind} {name[:40]!r}: the image's {file} has none", hint=_HINT)


def within(number: int) -> int:
    """An id that a container has. Raises NotFound."""
    if number > LAST:
        raise NotFound(f"use id {number}: a container has the ids 0 to {LAST}", hint="choose a smaller one")
    return number


def is_number(text: str) -> bool:
    """Whether it is an id in decimal digits, of any size that the kernel knows."""
    return text.isascii() and text.isdecimal() and len(text) <= 10
