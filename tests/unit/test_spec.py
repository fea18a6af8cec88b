"""config.json, whole, against golden files; and what must hold in each of them.

To write them anew after a change: `python -m tests.unit.test_spec`, and look at the difference.
"""

from __future__ import annotations

import json
import os

import pytest

from devenv.engine.native.container.spec import (
    BUILD,
    MASKED,
    READONLY,
    Attachment,
    BundleSpec,
    Identity,
    ProcessSpec,
    Tmpfs,
    config_json,
    process_json,
)
from devenv.model.manifest import Limits

CASES = f"{os.path.dirname(os.path.abspath(__file__))}/spec_cases"
_USER = Identity(1000, 1000, (4, 24), "/home/user")

SPECS = {
    "plain": BundleSpec(
        rootfs="/run/devenv/bundles/shop-dev/rootfs",
        hostname="shop",
        process=ProcessSpec(("/run/devenv/init", "-P"), (("PATH", "/bin"), ("A", "b=c")), Identity(), "/workspace"),
        user_namespace="/run/devenv/slots/3/user",
        id_start=0x70030000,
        network_namespace="/run/devenv/slots/3/net",
        cgroup="/devenv/shop-dev",
        seccomp={"defaultAction": "SCMP_ACT_ERRNO"},
        attachments=(Attachment("/m/1/file", "/etc/hosts", readonly=True), Attachment("/m/2", "/workspace")),
    ),
    "user-limits-no-network": BundleSpec(
        rootfs="/root",
        hostname="h",
        process=ProcessSpec(("sh",), (), _USER, "/", terminal=True),
        user_namespace="/u",
        id_start=0x70000000,
        network_namespace="",
        cgroup="/devenv/x",
        seccomp={},
        limits=Limits(memory=64 << 20, cpus=0.5, pids=10),
    ),
    "build-step": BundleSpec(
        rootfs="/root",
        hostname="build",
        process=ProcessSpec(("/bin/sh", "-c", "true"), (), Identity(), "/", capabilities=BUILD),
        user_namespace="/u",
        id_start=0x70000000,
        network_namespace="/n",
        cgroup="/devenv/build-1",
        seccomp={},
        tmpfs=(Tmpfs("/scratch", 1 << 20, 0o700, (5, 6)), Tmpfs("/more")),
    ),
}


def text(name: str) -> str:
    return json.dumps(config_json(SPECS[name]), indent=1, sort_keys=True) + "\n"


@pytest.mark.parametrize("name", SPECS)
def test_spec_is_as_expected(name: str) -> None:
    with open(f"{CASES}/{name}.json", encoding="utf-8") as file:
        assert text(name) == file.read()


@pytest.mark.parametrize("name", SPECS)
def test_spec_keeps_every_wall(name: str) -> None:
    config = config_json(SPECS[name])
    linux, process = config["linux"], config["process"]
    kinds = {namespace["type"] for namespace in linux["namespaces"]}
    assert kinds == {"pid", "ipc", "uts", "mount", "cgroup", "user", "network"}
    assert linux["uidMappings"] == linux["gidMappings"]
    assert all(extent["hostID"] >= 0x70000000 and extent["size"] == 65536 for extent in linux["uidMappings"])
    assert (linux["maskedPaths"], linux["readonlyPaths"]) == (list(MASKED), list(READONLY))
    assert process["noNewPrivileges"] is True
    assert process["capabilities"]["inheritable"] == process["capabilities"]["ambient"] == []
    assert linux["resources"]["pids"]["limit"] > 0
    assert linux["resources"]["devices"] == [{"allow": False, "access": "rwm"}]
    for mount in config["mounts"]:
        assert "nosuid" in mount["options"], mount
        assert mount["destination"] in ("/dev", "/dev/pts") or "nodev" in mount["options"], mount
        assert mount["destination"] not in ("/sys", "/sys/fs/cgroup") or "ro" in mount["options"]


def test_spec_counts_capabilities() -> None:
    assert len(config_json(SPECS["plain"])["process"]["capabilities"]["effective"]) == 8
    assert len(config_json(SPECS["build-step"])["process"]["capabilities"]["effective"]) == 11


def test_spec_gives_a_user_no_effective_capability() -> None:
    shaped = process_json(ProcessSpec(("sh",), (), _USER, "/"))
    assert shaped["capabilities"]["effective"] == shaped["capabilities"]["permitted"] == []
    assert len(shaped["capabilities"]["bounding"]) == 8


if __name__ == "__main__":
    for case in SPECS:
        with open(f"{CASES}/{case}.json", "w", encoding="utf-8") as golden:
            golden.write(text(case))
