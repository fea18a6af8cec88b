"""The system call filter of every container: Docker's allow-list, tightened (runtime-spec, config-linux.md, seccomp).

Not in it, so refused with EPERM: mount and the new mount calls, unshare, setns, keyctl, bpf, perf_event_open, io_uring,
userfaultfd, open_by_handle_at, clocks, modules, swap, reboot. Sockets of AF_ALG and AF_VSOCK are refused, and clone() with a
flag for a new namespace. clone3() says ENOSYS, because a filter can't look into its argument: libc falls back to clone().
"""

from __future__ import annotations

import os
from functools import cache

from .. import Json

_EPERM, _ENOSYS = 1, 38
_NEW_NAMESPACES = 0x7E020000  # CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}
_AF_ALG, _AF_VSOCK = 38, 40
_PERSONALITIES = (0x0, 0x0008, 0x20000, 0x20008, 0xFFFFFFFF)  # PER_LINUX, PER_LINUX32, UNAME26, both, query
_ARCHITECTURES = {"amd64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86"), "arm64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM")}
LOADERS = {"amd64": "lib/ld-linux.so.2", "arm64": "lib/ld-linux-armhf.so.3"}
"""Where an image that can run programs of the 32-bit sister architecture has their loader."""


@cache
def profile(architecture: str, *, chroot: bool, sister: bool = False) -> Json:
    """The `linux.seccomp` object. `chroot`: also allow chroot(2), which package installation needs.

    `sister`: for programs of the 32-bit architecture too. The runtime compiles the filter at every start, and a second
    architecture costs it 8 ms, so only images that have the loader for such programs get it.
    """
    with open(os.path.join(os.path.dirname(__file__), "seccomp.txt"), encoding="ascii") as file:
        names = file.read().split()
    allow: Json = {"action": "SCMP_ACT_ALLOW"}
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": _EPERM,
        "architectures": list(_ARCHITECTURES.get(architecture, ())[: 2 if sister else 1]),
        "syscalls": [
            {**allow, "names": sorted([*names, "chroot"] if chroot else names)},
            {**allow, "names": ["clone"], "args": [_argument(0, _NEW_NAMESPACES, "SCMP_CMP_MASKED_EQ", 0)]},
            {"action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS, "names": ["clone3"]},
            # All families but two, as three rules: a runtime takes two conditions on one argument as alternatives.
            {**allow, "names": ["socket"], "args": [_argument(0, _AF_ALG, "SCMP_CMP_LT")]},
            {**allow, "names": ["socket"], "args": [_argument(0, _AF_ALG + 1, "SCMP_CMP_EQ")]},
            {**allow, "names": ["socket"], "args": [_argument(0, _AF_VSOCK, "SCMP_CMP_GT")]},
            *(
                {**allow, "names": ["personality"], "args": [_argument(0, value, "SCMP_CMP_EQ")]}
                for value in _PERSONALITIES
            ),
        ],
    }


def _argument(index: int, value: int, operator: str, second: int | None = None) -> Json:
    argument: Json = {"index": index, "value": value, "op": operator}
    if second is not None:
        argument["valueTwo"] = second
    return argument
