"""USER as written, and an image's /etc/passwd and /etc/group -> numbers (as Docker resolves them). Pure."""

from __future__ import annotations

from devenv.model.accounts import accounts, group_id, groups, is_number, missing, within

from .spec import Identity


def resolve(user: str, passwd: str, group: str) -> Identity:
    """`""`, `name`, `uid`, `name:group`, `uid:gid` -> ids, supplementary groups, home. Raises NotFound for unknown names."""
    name, _, group_name = (user or "0").partition(":")
    entry = next((one for one in accounts(passwd) if name in (one.name, str(one.uid))), None)
    if entry is not None:
        uid, gid, home, login = within(entry.uid), within(entry.gid), entry.home or "/", entry.name
    elif is_number(name):
        uid, gid, home, login = within(int(name)), 0, "/", ""
    else:
        raise missing("user", name)
    if group_name:
        return Identity(uid, group_id(group_name, group), (), home)
    member = {within(one.gid) for one in groups(group) if login and login in one.members}
    return Identity(uid, gid, tuple(sorted(member - {gid})), home)
