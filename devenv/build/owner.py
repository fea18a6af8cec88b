"""--chown as written, and the image's own passwd and group files → uid and gid."""

from __future__ import annotations

from devenv.model.accounts import accounts, group_id, is_number, missing, within

Owner = tuple[int, int]


def owner_of(spec: str, passwd: str = "", group: str = "") -> Owner:
    """uid and gid of `user[:group]`, names looked up in the image's own files.

    A number alone is both; a name alone brings its primary group (BuildKit). Raises NotFound.
    """
    user, _, group_name = spec.partition(":")
    uid, gid = _user(user, passwd) if user else (0, 0)
    if not group_name:
        return uid, gid
    return uid, within(int(group_name)) if is_number(group_name) else group_id(group_name, group)


def _user(user: str, passwd: str) -> Owner:
    if is_number(user):
        return within(int(user)), within(int(user))
    found = next((one for one in accounts(passwd) if one.name == user), None)
    if found is None:
        raise missing("user", user)
    return within(found.uid), within(found.gid)
