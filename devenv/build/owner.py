"""USER and --chown as written, and the image's own passwd and group files → uid and gid."""

from __future__ import annotations

from devenv.errors import NotFound

Owner = tuple[int, int]


def owner_of(spec: str, passwd_text: str = "", group_text: str = "") -> Owner:
    """uid and gid of `user[:group]`, names looked up in the image's own files.

    A number alone is both; a name alone brings its primary group (BuildKit). Raises NotFound.
    """
    user, _, group = spec.partition(":")
    uid, gid = (0, 0) if not user else _user(user, passwd_text)
    return uid, _group(group, group_text) if group else gid


def _user(user: str, passwd_text: str) -> Owner:
    if user.isascii() and user.isdigit():
        return _id(user), _id(user)
    for line in passwd_text.splitlines():
        fields = line.split(":")
        if fields[0] == user and len(fields) >= 4 and (fields[2] + fields[3]).isdigit():
            return _id(fields[2]), _id(fields[3])
    raise NotFound(
        f"find user {user}: the image's /etc/passwd has none", hint="make it in a step before, or give a number"
    )


def _group(group: str, group_text: str) -> int:
    if group.isascii() and group.isdigit():
        return _id(group)
    for line in group_text.splitlines():
        fields = line.split(":")
        if fields[0] == group and len(fields) >= 3 and fields[2].isdigit():
            return _id(fields[2])
    raise NotFound(
        f"find group {group}: the image's /etc/group has none", hint="make it in a step before, or give a number"
    )


_NAME_HINT = "make it in a step before, or give a number"


def _id(digits: str) -> int:
    if len(digits) > 10 or int(digits) > 65535:
        raise NotFound(f"use id {digits[:20]}: a container has ids from 0 to 65535", hint="choose a smaller one")
    return int(digits)
