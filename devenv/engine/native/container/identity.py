"""USER as written, and an image's /etc/passwd and /etc/group -> numbers (as Docker resolves them). Pure."""

from __future__ import annotations

from devenv.errors import EngineError

from .spec import Identity


def resolve(user: str, passwd: str, group: str) -> Identity:
    """`""`, `name`, `uid`, `name:group`, `uid:gid` -> ids, supplementary groups, home. Raises EngineError for unknown names."""
    name, _, group_name = (user or "0").partition(":")
    users = [fields for line in passwd.splitlines() if len(fields := line.split(":")) >= 6]
    groups = [fields for line in group.splitlines() if len(fields := line.split(":")) >= 4]
    entry = next((fields for fields in users if name in (fields[0], fields[2])), None)
    if entry is not None:
        uid, gid, home, login = _id(entry[2]), _id(entry[3]), entry[5] or "/", entry[0]
    elif name.isascii() and name.isdecimal():
        uid, gid, home, login = _id(name), 0, "/", ""
    else:
        raise EngineError(
            f"find user {name!r}: not in the image's /etc/passwd", hint="name a user the image has, or a number"
        )
    if group_name:
        return Identity(uid, _group(group_name, groups), (), home)
    member = {_id(fields[2]) for fields in groups if login and login in fields[3].split(",")}
    return Identity(uid, gid, tuple(sorted(member - {gid})), home)


def _group(name: str, groups: list[list[str]]) -> int:
    found = next((fields for fields in groups if fields[0] == name), None)
    if found is not None:
        return _id(found[2])
    if name.isascii() and name.isdecimal():
        return _id(name)
    raise EngineError(
        f"find group {name!r}: not in the image's /etc/group", hint="name a group the image has, or a number"
    )


def _id(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) > 65535:
        raise EngineError(f"use id {text!r}: a container has the ids 0 to 65535")
    return int(text)
