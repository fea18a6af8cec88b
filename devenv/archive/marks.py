"""An entry of a layer folder → what its mode and extended attributes mean (overlayfs, capabilities(7), acl(5))."""

from __future__ import annotations

import errno
import stat
import struct
from os import getxattr, stat_result

OPAQUE = "trusted.overlay.opaque"
CAPABILITY = "security.capability"
ACCESS_ACL = "system.posix_acl_access"

_V2 = 0x02000000
_V3 = 0x03000000
_GROUP_OBJ = 0x04
_ACL_HEADER = 4


def is_whiteout(info: stat_result) -> bool:
    """Whether this is overlayfs' mark for a name that is removed: a 0:0 character device."""
    return info.st_rdev == 0 and stat.S_ISCHR(info.st_mode)


def is_opaque(path: bytes) -> bool:
    """Whether a folder hides what the layers below have in it."""
    try:
        return getxattr(path, OPAQUE, follow_symlinks=False) == b"y"
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return False
        raise


def steers_overlayfs(name: str) -> bool:
    """Whether an attribute is overlayfs' own, for mounts by root or by a user."""
    return name.startswith(("trusted.overlay.", "user.overlay."))


def unrooted(value: bytes, root: int = 0) -> bytes | None:
    """A file capability as of version 2, for the image's own root; None if broken or not for `root`."""
    magic = struct.unpack_from("<I", value)[0] & 0xFF000000 if len(value) >= 4 else 0
    if magic == _V2 and len(value) == 20:
        return value
    if magic == _V3 and len(value) == 24 and struct.unpack_from("<I", value, 20)[0] == root:
        return struct.pack("<I", _V2 | value[0]) + value[4:20]
    return None


def rooted(value: bytes, root: int) -> bytes:
    """A version 2 capability as one that holds where the host's id `root` is root (version 3)."""
    return struct.pack("<I", _V3 | value[0]) + value[4:20] + struct.pack("<I", root)


def without_acl(mode: int, acl: bytes) -> int:
    """The mode of a file whose access ACL goes away: the group's own bits, where the ACL's mask was."""
    for at in range(_ACL_HEADER, len(acl) - 7, 8):
        tag, permissions = struct.unpack_from("<HH", acl, at)
        if tag == _GROUP_OBJ:
            mode = mode & ~0o070 | (mode >> 3 & permissions & 7) << 3
    return mode
