"""The /etc/hosts that containers share: seen as it changes where it is bound, never half written, whoever reads it when."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import pytest

from devenv.engine.native.slot import names
from devenv.engine.native.slot.names import Named
from devenv.paths import Paths

pytestmark = pytest.mark.engine

WORKSPACE = Named("10.213.0.2", ("workspace", "shop"))


def web(number: int, *more: str) -> Named:
    return Named(f"10.213.0.{number + 2}", (f"web-{number}", *more))


def write(paths: Paths, *rows: Named) -> None:
    names.write(paths, "shop", lambda: rows)


class Bound:
    """A mount namespace in which the file is bound over /etc/hosts, as in a container."""

    def __init__(self, path: str) -> None:
        script = f"mount --bind {path} /etc/hosts && echo ready && exec sleep 600"
        argv = ["unshare", "--mount", "sh", "-c", script]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def find(self, name: str, database: str = "ahostsv4") -> list[str]:
        """The addresses that this name has there, as programs ask for them."""
        argv = ["nsenter", f"--mount=/proc/{self.process.pid}/ns/mnt", "getent", database, name]
        lines = subprocess.run(argv, capture_output=True, text=True, timeout=30).stdout.splitlines()
        return list(dict.fromkeys(line.split()[0] for line in lines))

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def bound(home: Paths) -> Iterator[Bound]:
    made = Bound(names.ensure(home, "shop"))
    yield made
    made.end()


def test_names_appear_and_vanish_where_the_file_is_bound(home: Paths, bound: Bound) -> None:
    assert bound.find("web") == []
    write(home, WORKSPACE, web(1, "web"), web(2, "web"))
    assert bound.find("web") == ["10.213.0.3", "10.213.0.4"]
    assert bound.find("web-2") == ["10.213.0.4"]
    assert bound.find("shop") == bound.find("workspace") == ["10.213.0.2"]
    assert bound.find("10.213.0.4", "hosts") == ["10.213.0.4"]
    write(home, WORKSPACE, web(2), web(3, "web"))  # 2 isn't healthy any more
    assert bound.find("web") == ["10.213.0.5"]
    assert bound.find("web-2") == ["10.213.0.4"]
    assert bound.find("web-1") == []
    write(home, WORKSPACE)
    assert bound.find("web-3") == []
    assert bound.find("localhost") == ["127.0.0.1"]


def test_names_of_two_hundred_and_back(home: Paths, bound: Bound) -> None:
    path = home.hosts("shop")
    inode = os.stat(path).st_ino
    for count in (200, 3, 200, 0, 1):
        write(home, *(web(number, "web") for number in range(1, count + 1)))
        assert len(bound.find("web")) == count
        assert os.stat(path).st_ino == inode
    assert os.stat(path).st_size <= 201 * 128


def test_names_file_is_readable_by_all_and_writable_by_the_host_alone(home: Paths) -> None:
    before = os.umask(0o077)
    try:
        path = names.ensure(home, "shop")
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o644
    assert os.stat(os.path.dirname(path)).st_mode & 0o022 == 0


def test_names_written_again_touch_nothing(home: Paths) -> None:
    write(home, WORKSPACE, web(1, "web"))
    before = os.stat(home.hosts("shop")).st_mtime_ns
    write(home, web(1, "web"), WORKSPACE)
    assert os.stat(home.hosts("shop")).st_mtime_ns == before


_READER = """
import sys
path, allowed = sys.argv[1], set(sys.argv[2].split("|"))
reads = 0
print("ready", flush=True)
while True:
    with open(path) as file:
        lines = file.read().splitlines()
    reads += 1
    said = [" ".join(line.split()) for line in lines if not line.startswith("#")]
    if said[:2] != ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]:
        print("no loopback", lines[:3], flush=True)
    for line in said[2:]:
        if line not in allowed:
            print("half a line", repr(line), flush=True)
    if "10.213.0.2 workspace shop" not in said:
        print("no workspace", flush=True)
    if reads == 3000:
        print("read", flush=True)
        break
"""


def test_names_are_never_seen_half_written(home: Paths) -> None:
    """Readers while all but one name change all the time."""
    sets: Sequence[Sequence[Named]] = [
        [WORKSPACE, *(web(number, "web") for number in range(1, 100))],
        [WORKSPACE, *(web(number) for number in range(1, 100))],
        [WORKSPACE],
        [*(web(number, "web", "a-much-longer-alias-of-all-of-them") for number in range(50, 150)), WORKSPACE],
    ]
    allowed = "|".join({" ".join((row.address, *row.names)) for rows in sets for row in rows})
    write(home, WORKSPACE)
    argv = [sys.executable, "-c", _READER, home.hosts("shop"), allowed]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        changes = 0
        while reader.poll() is None:
            write(home, *sets[changes % len(sets)])
            changes += 1
        assert reader.stdout.read() == "read\n"
    assert changes > 20


def test_names_that_somebody_overwrote_are_put_back_in_the_same_file(home: Paths, bound: Bound) -> None:
    write(home, WORKSPACE, web(1, "web"))
    for text in ("10.0.0.1 web\n", "", "x" * 1000, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"):
        with open(home.hosts("shop"), "w", encoding="ascii") as file:
            file.write(text)
        write(home, WORKSPACE, web(1, "web"))
        assert bound.find("web") == ["10.213.0.3"]
        assert bound.find("localhost") == ["127.0.0.1"]


def test_names_that_are_none_are_left_out_and_many_take_several_rows(home: Paths, bound: Bound) -> None:
    many = tuple(f"a-rather-long-alias-{number}" for number in range(30))
    write(home, Named("10.213.0.9", ("ok", "no name", "no\nname", "10.0.0.1 evil", "", "x" * 64, *many, "ok")))
    assert bound.find("ok") == ["10.213.0.9"]
    assert bound.find(many[-1]) == ["10.213.0.9"]
    assert bound.find("evil") == []
    with open(home.hosts("shop"), encoding="ascii") as file:
        assert "name" not in file.read().replace("localhost", "")


def test_names_of_other_environments_are_in_other_files_and_go_with_them(home: Paths) -> None:
    write(home, web(1))
    names.write(home, "blog", lambda: [WORKSPACE])
    with open(home.hosts("blog"), encoding="ascii") as file:
        assert "web-1" not in file.read()
    for _ in range(2):
        names.remove(home, "shop")
    assert os.listdir(os.path.dirname(home.hosts("shop"))) == ["blog"]


def test_names_killed_anywhere_are_whole_at_the_next_write(home: Paths, bound: Bound) -> None:
    script = (
        "import sys; from devenv.paths import Paths; from devenv.engine.native.slot import names\n"
        "paths, count = Paths(sys.argv[1], sys.argv[2]), 0\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    count = (count + 37) % 150\n"
        "    names.write(paths, 'shop', lambda: [names.Named(f'10.213.0.{n}', (f'web-{n}',)) for n in range(count)])\n"
    )
    for _ in range(5):
        with subprocess.Popen([sys.executable, "-c", script, home.home, home.run], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(0.02)
            writer.kill()
        write(home, WORKSPACE, web(1, "web"))
        assert bound.find("web") == ["10.213.0.3"]
        with open(home.hosts("shop"), encoding="ascii") as file:
            said = [line.split()[0] for line in file if not line.startswith("#")]
        assert sorted(said) == ["10.213.0.2", "10.213.0.3", "127.0.0.1", "::1"]
