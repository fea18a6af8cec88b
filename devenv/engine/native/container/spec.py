"""What a container is to be -> its config.json (runtime-spec 1.0). Pure: every path and id comes in."""

from __future__ import annotations

from typing import NamedTuple

from devenv.model.manifest import Limits, Pairs

from .. import Json

VERSION = "1.0.2"
# Capabilities are within the user namespace: over its own ids and network, never over the host.
RUN = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID")
BUILD = (*RUN, "SETFCAP", "SETPCAP", "SYS_CHROOT")
# The union of what Docker and Podman hide.
MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/dev/block",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
)
_HIERARCHIES = (
    *("blkio", "cpu", "cpu,cpuacct", "cpuacct", "cpuset", "devices", "freezer", "hugetlb", "memory", "misc"),
    *("net_cls", "net_cls,net_prio", "net_prio", "perf_event", "pids", "rdma", "systemd", "unified"),
)
# runtimes leave the tmpfs that holds cgroup v1's hierarchies writable. To make it read-only crun binds the whole tree over
# itself, which makes the hierarchies writable again: so each is named. What isn't there is passed over.
READONLY = (
    *("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"),
    *("/sys/fs/cgroup", *(f"/sys/fs/cgroup/{name}" for name in _HIERARCHIES)),
)


class Identity(NamedTuple):
    """Who a process runs as, inside: numeric ids and home folder."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


class Attachment(NamedTuple):
    """A prepared host path to be bound at `target`."""

    source: str
    target: str
    readonly: bool = False


class Tmpfs(NamedTuple):
    """A tmpfs at `target`: size in bytes (None: the kernel's half of memory), mode, owner inside."""

    target: str
    size: int | None = None
    mode: int = 0o1777
    owner: tuple[int, int] = (0, 0)


class ProcessSpec(NamedTuple):
    """The process part: argv, environment, who, where, on a terminal or not."""

    argv: tuple[str, ...]
    env: Pairs
    identity: Identity
    cwd: str
    terminal: bool = False
    capabilities: tuple[str, ...] = RUN


class BundleSpec(NamedTuple):
    """All that config.json says. `user_namespace` and `network_namespace` are pinned paths; network "" is a new, empty one."""

    rootfs: str
    hostname: str
    process: ProcessSpec
    user_namespace: str
    id_start: int
    network_namespace: str
    cgroup: str
    seccomp: Json
    attachments: tuple[Attachment, ...] = ()
    tmpfs: tuple[Tmpfs, ...] = ()
    limits: Limits = Limits()


def process_json(process: ProcessSpec) -> Json:
    """The `process` object, as in config.json and for `exec --process`."""
    named = [f"CAP_{name}" for name in sorted(process.capabilities)]
    # The kernel drops a non-root user's capabilities at exec; the bounding set stays, for what is setuid.
    effective = named if process.identity.uid == 0 else []
    return {
        "terminal": process.terminal,
        "user": {
            "uid": process.identity.uid,
            "gid": process.identity.gid,
            "additionalGids": list(process.identity.groups),
        },
        "args": list(process.argv),
        "env": [f"{name}={value}" for name, value in process.env],
        "cwd": process.cwd,
        "capabilities": {
            "bounding": named,
            "effective": effective,
            "permitted": effective,
            "inheritable": [],
            "ambient": [],
        },
        "noNewPrivileges": True,
    }


def config_json(bundle: BundleSpec) -> Json:
    """The whole config.json (runtime-spec, config.md and config-linux.md)."""
    return {
        "ociVersion": VERSION,
        "hostname": bundle.hostname,
        "process": process_json(bundle.process),
        "root": {"path": bundle.rootfs, "readonly": False},
        "mounts": [*_system_mounts(), *map(_tmpfs, bundle.tmpfs), *map(_bind, bundle.attachments)],
        "linux": {
            "namespaces": _namespaces(bundle),
            "uidMappings": [{"containerID": 0, "hostID": bundle.id_start, "size": 65536}],
            "gidMappings": [{"containerID": 0, "hostID": bundle.id_start, "size": 65536}],
            "cgroupsPath": bundle.cgroup,
            "resources": _resources(bundle.limits),
            "seccomp": bundle.seccomp,
            "maskedPaths": list(MASKED),
            "readonlyPaths": list(READONLY),
        },
    }


def _namespaces(bundle: BundleSpec) -> list[Json]:
    network: Json = {"type": "network"}
    if bundle.network_namespace:
        network["path"] = bundle.network_namespace
    new: list[Json] = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "cgroup")]
    return [*new, {"type": "user", "path": bundle.user_namespace}, network]


def _system_mounts() -> list[Json]:
    quiet = ["nosuid", "noexec", "nodev"]
    return [
        _mount("proc", "/proc", "proc", quiet),
        _mount("tmpfs", "/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount(
            "devpts", "/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
        ),
        _mount("shm", "/dev/shm", "tmpfs", [*quiet, "mode=1777", "size=512m"]),
        _mount("mqueue", "/dev/mqueue", "mqueue", quiet),
        _mount("sysfs", "/sys", "sysfs", [*quiet, "ro"]),
        _mount("cgroup", "/sys/fs/cgroup", "cgroup", [*quiet, "relatime", "ro"]),
    ]


def _tmpfs(tmpfs: Tmpfs) -> Json:
    uid, gid = tmpfs.owner
    options = ["nosuid", "nodev", f"mode={tmpfs.mode:o}", f"uid={uid}", f"gid={gid}"]
    return _mount("tmpfs", tmpfs.target, "tmpfs", [*options, *([f"size={tmpfs.size}"] if tmpfs.size else [])])


def _bind(attachment: Attachment) -> Json:
    options = ["rbind", "rprivate", "nosuid", "nodev", "ro" if attachment.readonly else "rw"]
    return _mount(attachment.source, attachment.target, "bind", options)


def _mount(source: str, target: str, kind: str, options: list[str]) -> Json:
    return {"source": source, "destination": target, "type": kind, "options": options}


def _resources(limits: Limits) -> Json:
    resources: Json = {"pids": {"limit": limits.pids}, "devices": [{"allow": False, "access": "rwm"}]}
    if limits.memory is not None:
        # Swap counts with memory: a limit that swap could exceed would be none.
        resources["memory"] = {"limit": limits.memory, "swap": limits.memory}
    if limits.cpus is not None:
        resources["cpu"] = {"period": 100000, "quota": max(1000, round(limits.cpus * 100000))}
    return resources
