"""What a container uses, out of what the kernel writes: texts as they were on hosts with cgroup v1, v2 and both."""

from __future__ import annotations

import pytest

from devenv.engine.native.insight.tasks import command, status, ticks
from devenv.engine.native.insight.usage import blocks, counters, groups, hierarchies, moved, traffic, volume
from devenv.model.seen import Usage

HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
38 31 0:35 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
UNIFIED = "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
NESTED = "30 23 0:26 /docker/4f /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"

V1 = {
    ("cpuacct", "cpuacct.usage"): "69549452\n",
    ("memory", "memory.usage_in_bytes"): "7000000\n",
    ("memory", "memory.stat"): "cache 1\ninactive_file 9\ntotal_inactive_file 2000000\n",
    ("memory", "memory.limit_in_bytes"): "9223372036854771712\n",
    ("blkio", "blkio.throttle.io_service_bytes"): "254:0 Read 4096\n254:0 Write 8192\n254:16 Read 1\nTotal 12289\n",
    ("pids", "pids.current"): "3\n",
    ("pids", "pids.max"): "4096\n",
    ("", "cpu.stat"): "usage_usec 1\n",
}
V2 = {
    ("", "cpu.stat"): "usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\nnr_periods 0\n",
    ("", "memory.current"): "7000000\n",
    ("", "memory.stat"): "anon 1\ninactive_file 2000000\n",
    ("", "memory.max"): "67108864\n",
    ("", "io.stat"): "254:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n7:0 \n",
    ("", "pids.current"): "3\n",
    ("", "pids.max"): "max\n",
}


def test_usage_of_v1() -> None:
    assert counters(lambda *asked: V1.get(asked, "")) == Usage(
        0.0, 0.069549452, 5000000, None, read=4097, written=8192, pids=3, pids_limit=4096
    )


def test_usage_of_v2() -> None:
    assert counters(lambda *asked: V2.get(asked, "")) == Usage(
        0.0, 1.5, 5000000, 67108864, read=4096, written=8192, pids=3, pids_limit=None
    )


def test_usage_of_a_v2_tree_without_controllers_is_what_v1_counts() -> None:
    both = {**V2, **V1}
    assert counters(lambda *asked: both.get(asked, "")) == counters(lambda *asked: V1.get(asked, ""))


def test_usage_that_nobody_counts_is_none() -> None:
    assert counters(lambda *_: "") == Usage(0.0)


@pytest.mark.parametrize(
    ("cgroup", "mountinfo", "expected"),
    [
        (
            "4:memory:/devenv/a\n2:cpu,cpuacct:/devenv/a\n1:name=systemd:/\n0::/devenv/a\n",
            HYBRID,
            {
                "memory": "/sys/fs/cgroup/memory/devenv/a",
                "cpu": "/sys/fs/cgroup/cpu,cpuacct/devenv/a",
                "cpuacct": "/sys/fs/cgroup/cpu,cpuacct/devenv/a",
                "name=systemd": "/sys/fs/cgroup/systemd/",
                "": "/sys/fs/cgroup/unified/devenv/a",
            },
        ),
        ("0::/devenv/a\n", UNIFIED, {"": "/sys/fs/cgroup/devenv/a"}),
        ("0::/docker/4f/devenv/a\n", NESTED, {"": "/sys/fs/cgroup/devenv/a"}),
    ],
)
def test_usage_finds_a_container_s_cgroups(cgroup: str, mountinfo: str, expected: dict[str, str]) -> None:
    assert groups(cgroup, hierarchies(mountinfo)) == expected


def test_usage_of_the_network_is_without_lo() -> None:
    head = "Inter-|   Receive                                                |  Transmit\n face |bytes    packets\n"
    counted = "    lo:      99       1    0    0    0     0          0         0       99       1    0\n"
    counted += "  eth0:    5400      54    0    0    0     0          0         0      700       7    0\n"
    assert traffic(head + counted) == (5400, 700)


def test_usage_of_disks_is_of_all_of_them() -> None:
    assert blocks("8:0 Read 1\n8:0 Write 2\n8:0 Discard 4\n8:16 Read 8\nTotal 11\n") == (9, 2)
    assert volume("8:0 rbytes=1 wbytes=2\n8:16 rbytes=8 wbytes=16\n") == (9, 18)
    assert blocks("") == volume("") == (0, 0)


def test_usage_of_disks_is_what_processes_say_where_nobody_else_counts() -> None:
    said = (
        "rchar: 37331\nwchar: 17\nsyscr: 30\nsyscw: 3\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 0\n"
    )
    assert (moved(said), moved("")) == ((4096, 8192), (0, 0))


def test_tasks_read_what_a_process_says_of_itself() -> None:
    assert status("Name:\tsh\nUid:\t1\t2\t3\t4\nNSpid:\t300\t7\n")["NSpid"] == "300\t7"
    assert ticks("300 (a) b) S 1 300 300 0 -1 4194304 1 2 3 4 11 22 0 0 20 0 1 0 5 6 7") == 33


@pytest.mark.parametrize(
    ("cmdline", "expected"), [("sh\0-c\0echo hi\0", "sh -c echo hi"), ("", "[kworker]"), ("\0\0", "[kworker]")]
)
def test_tasks_have_a_command(cmdline: str, expected: str) -> None:
    assert command(cmdline, "kworker") == expected
