"""Spare slots: claimed, refilled, healed, cleaned and taken away, whatever died or was deleted meanwhile."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from devenv.engine.native.records.state import Owner, State, this_process
from devenv.engine.native.slot import doors, namespace, pool
from devenv.engine.native.slot.ids import host_start
from devenv.errors import EngineError
from devenv.model.manifest import Port
from devenv.paths import Paths

from .conftest import Machine, eventually, leaks, output, within
from .conftest import pool as run_pool

pytestmark = pytest.mark.engine


@pytest.fixture(autouse=True)
def here(home: Paths, machine: Machine) -> Iterator[Machine]:
    """All of it on a pretend machine, taken down there."""
    yield machine
    if os.path.exists(home.state):
        state = State(home.state)
        for number, _, _ in state.known_slots():
            state.release_slot(number)
        state.close()
        run_pool(home, "--teardown")
        assert leaks(home) == []


def dead() -> Owner:
    """An owner that lived in this boot and died."""
    me = this_process()
    return me._replace(start=me.start - 1)


def netns(paths: Paths, slot: int) -> str:
    return f"{paths.slot(slot)}/net"


def inode(paths: Paths, slot: int) -> int:
    return os.stat(netns(paths, slot)).st_ino


def test_pool_first_claim_makes_spares_and_the_next_needs_none(home: Paths, state: State, here: Machine) -> None:
    here.serve(here.outside, "0.0.0.0", 80)
    slot = pool.claim(home, state, this_process(), spare=3)
    assert len(state.spare_slots()) == 2
    assert here.ask(netns(home, slot), Machine.OUTSIDE, 80) == Machine.ADDRESS
    begun = time.perf_counter()
    other = pool.claim(home, state, this_process(), spare=3)
    assert time.perf_counter() - begun < 0.2  # a refill takes longer
    assert other != slot
    uid_map = here.run(netns(home, other), "nsenter", f"--user={home.slot(other)}/user", "cat", "/proc/self/uid_map")
    assert uid_map.stdout.split() == ["0", str(host_start(other)), "65536"]


def test_pool_refill_twice_makes_no_more_than_asked(home: Paths, state: State) -> None:
    for _ in range(2):
        run_pool(home, "--spare", "3")
    assert state.spare_slots() == [0, 1, 2]
    assert sorted(os.listdir(home.slots)) == ["0", "1", "2"]


def test_pool_released_slot_is_claimed_again(home: Paths, state: State) -> None:
    slot = pool.claim(home, state, this_process(), spare=1)
    before = inode(home, slot)
    state.release_slot(slot)
    assert pool.claim(home, state, this_process(), spare=1) == slot
    assert inode(home, slot) == before


def test_pool_spare_that_somebody_unmounted_is_not_claimed(home: Paths, state: State) -> None:
    run_pool(home, "--spare", "2")
    namespace.unpin(home.slot(0))
    assert pool.claim(home, state, this_process(), spare=2) == 1
    assert pool.claim(home, state, this_process(), spare=1) == 0
    assert namespace.is_pinned(home.slot(0))


def test_pool_firewall_of_another_version_is_replaced(home: Paths, state: State) -> None:
    run_pool(home, "--spare", "1")
    table = pool.network(home, state).table
    subprocess.run(["nft", f"add set inet {table} older {{ type ipv4_addr; }}"], check=True)
    state.set("firewall", f"{state.boot} 00000000")
    run_pool(home, "--spare", "1")
    assert "older" not in output("nft", "list", "table", "inet", table)


def test_pool_many_claim_at_once_and_each_gets_its_own(home: Paths, state: State) -> None:
    script = (
        "import sys, time; from devenv import paths; from devenv.engine.native.records import state;"
        "from devenv.engine.native.slot import pool;"
        "p = paths.Paths(*sys.argv[1:]); s = state.State(p.state);"
        "print(pool.claim(p, s, state.this_process(), spare=2), flush=True); time.sleep(30)"
    )
    argv = [sys.executable, "-c", script, home.home, home.run]
    claimers = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    try:
        slots = [int(claimer.stdout.readline()) for claimer in claimers if claimer.stdout]
    finally:
        for claimer in claimers:
            claimer.kill()
            claimer.communicate()
    assert len(set(slots)) == 6
    run_pool(home, "--spare", "2")  # the claimers died
    assert len(state.known_slots()) == len(os.listdir(home.slots))


def test_pool_many_slots_are_claimed_in_one_go(home: Paths, state: State, here: Machine) -> None:
    here.serve(here.outside, "0.0.0.0", 80)
    run_pool(home, "--spare", "2")
    slots = pool.claim_many(home, state, this_process(), 70, spare=2)  # more than are wired, or pinned, at a time
    assert len(set(slots)) == 70
    assert state.spare_slots() == []
    for slot in (slots[0], slots[-1]):
        assert here.ask(netns(home, slot), Machine.OUTSIDE, 80) == Machine.ADDRESS
    assert pool.claim_many(home, state, this_process(), 0) == []


def test_pool_claim_of_many_that_fails_holds_none(home: Paths, state: State) -> None:
    """In a mount namespace where what is pinned from now on isn't seen."""
    run_pool(home, "--spare", "3")
    script = (
        "import os, sys; from devenv import errors, paths; from devenv.engine.native.records import state;"
        "from devenv.engine.native.slot import pool;"
        "p = paths.Paths(*sys.argv[1:3]); s = state.State(p.state); host = os.open(sys.argv[3], os.O_RDONLY)\n"
        "try: pool.claim_many(p, s, state.this_process(), 5, mount_namespace=host, spare=1)\n"
        "except errors.EngineError as error: print(error, s.spare_slots())"
    )
    ours = f"/proc/{os.getpid()}/ns/mnt"
    argv = ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", script, home.home, home.run, ours]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert "isn't seen in this mount namespace [0, 1, 2]" in said
    assert pool.claim_many(home, state, this_process(), 5, spare=1)[:3] == [0, 1, 2]


def test_pool_spares_that_somebody_unmounted_are_not_among_many(home: Paths, state: State) -> None:
    run_pool(home, "--spare", "4")
    for slot in (0, 2):
        namespace.unpin(home.slot(slot))
    slots = pool.claim_many(home, state, this_process(), 6, spare=1)
    assert len(set(slots)) == 6
    assert all(namespace.is_pinned(home.slot(slot)) for slot in slots)


def test_pool_slots_given_back_are_kept_for_a_while(home: Paths, state: State) -> None:
    slots = pool.claim_many(home, state, this_process(), 6, spare=1)
    for slot in slots:
        state.release_slot(slot)
    for _ in range(2):
        assert pool.tend(home, state, spare=1) is None
    assert pool.claim_many(home, state, this_process(), 3, spare=1) == slots[:3]
    assert pool.tend(home, state, spare=1, patience=0) is None  # by now there aren't too many


def test_pool_tend_starts_a_detached_refill_only_when_needed(home: Paths, state: State) -> None:
    run_pool(home, "--spare", "4")
    assert pool.tend(home, state, spare=4) is None
    for _ in range(2):
        state.claim_slot(this_process())
    begun = time.perf_counter()
    pid = pool.tend(home, state, spare=4)
    assert time.perf_counter() - begun < 0.2  # a refill takes longer
    assert pid is not None
    assert os.getsid(pid) == pid
    assert os.waitpid(pid, 0)[1] == 0
    assert len(state.spare_slots()) == 4


def test_pool_second_background_refill_leaves_at_once(home: Paths, state: State) -> None:
    import fcntl

    os.makedirs(home.locks)
    with open(f"{home.locks}/pool", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        pid = pool.spawn_refill(home, spare=2)
        assert os.waitpid(pid, 0)[1] == 0
    assert state.known_slots() == []


def test_pool_surplus_is_destroyed(home: Paths, state: State) -> None:
    run_pool(home, "--spare", "5")
    assert pool.tend(home, state, spare=1) is None  # somebody may want them again
    pid = pool.tend(home, state, spare=1, patience=0)
    assert pid is not None
    os.waitpid(pid, 0)
    assert state.spare_slots() == [0, 1]
    assert sorted(os.listdir(home.slots)) == ["0", "1"]


def test_pool_slot_of_a_dead_command_is_made_anew_and_its_processes_end(home: Paths, state: State) -> None:
    run_pool(home, "--spare", "1")
    assert state.claim_slot(dead()) == 0
    before = inode(home, 0)
    argv = ["nsenter", f"--user={home.slot(0)}/user", f"--net={netns(home, 0)}", "sleep", "60"]
    with subprocess.Popen(argv) as left:
        assert eventually(lambda: left.pid in namespace.occupants(home.slot(0)))
        run_pool(home, "--spare", "1")
        assert left.wait(5) == -signal.SIGKILL
    assert state.spare_slots() == [0]
    assert inode(home, 0) != before


def test_pool_slot_of_a_living_command_is_left_alone(home: Paths, state: State) -> None:
    slot = pool.claim(home, state, this_process(), spare=1)
    before = inode(home, slot)
    run_pool(home, "--spare", "1")
    assert inode(home, slot) == before
    assert slot not in state.spare_slots()


@pytest.mark.parametrize("damage", ["unpinned", "unwired", "bridge", "firewall", "guard", "folder"])
def test_pool_heals_what_somebody_deleted(home: Paths, state: State, here: Machine, damage: str) -> None:
    here.serve(here.outside, "0.0.0.0", 80)
    run_pool(home, "--spare", "2")
    net = pool.network(home, state)
    if damage == "unpinned":
        namespace.unpin(home.slot(0))
    elif damage == "unwired":
        subprocess.run(["ip", "link", "del", net.link(0)], check=True)
    elif damage == "bridge":
        subprocess.run(["ip", "link", "del", net.bridge], check=True)
    elif damage == "firewall":
        subprocess.run(["nft", "flush", "ruleset"], check=True)
    elif damage == "guard":
        subprocess.run(["nft", "delete", "table", "bridge", net.table], check=True)
    else:
        subprocess.run(["umount", "--lazy", home.slots], check=True)
        subprocess.run(["rm", "-rf", home.slots], check=True)
    assert pool.healthy(home, state) == (damage not in ("bridge", "firewall", "guard"))
    for _ in range(2):
        run_pool(home, "--spare", "2")
    assert pool.healthy(home, state)
    assert state.spare_slots() == [0, 1]
    for slot in (0, 1):
        assert here.ask(netns(home, slot), Machine.OUTSIDE, 80) == Machine.ADDRESS


def test_pool_after_a_reboot_stale_files_are_no_slots_and_a_container_is_rewired(
    home: Paths, state: State, here: Machine
) -> None:
    here.serve(here.outside, "0.0.0.0", 80)
    with state.transaction() as db:
        for number, container in ((0, None), (1, "web"), (2, None), (3, "db")):
            db.execute("INSERT INTO slot (number, boot, container) VALUES (?, 'another boot', ?)", (number, container))
    for slot in (0, 1, 7):
        os.makedirs(home.slot(slot))
        for kind in ("user", "net"):
            open(f"{home.slot(slot)}/{kind}", "w", encoding="ascii").close()
    slot = pool.claim(home, state, this_process(), spare=2)
    assert slot == 0
    assert state.spare_slots() == [2]
    assert not os.path.exists(home.slot(7))
    assert not state.slot_wired(1)
    for _ in range(2):
        pool.rewire(home, [1, 3])
        assert state.slot_wired(1) and state.slot_wired(3)
        assert here.ask(netns(home, 1), Machine.OUTSIDE, 80) == Machine.ADDRESS
    assert not {1, 3} & {*state.spare_slots()}
    state.release_slot(1)
    state.release_slot(3)


def test_pool_after_a_reboot_a_subnet_that_became_somebody_elses_is_changed(home: Paths, state: State) -> None:
    run_pool(home, "--spare", "1")
    before = pool.network(home, state).subnet
    run_pool(home, "--teardown")
    subprocess.run(["ip", "route", "add", str(before), "dev", "up0"], check=True)
    run_pool(home, "--spare", "1")
    assert not pool.network(home, state).subnet.overlaps(before)


def test_pool_published_ports_come_back_after_a_flush(home: Paths, state: State, here: Machine) -> None:
    slot = pool.claim(home, state, this_process(), spare=1)
    here.serve(netns(home, slot), "0.0.0.0", 80)
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    for _ in range(2):
        doors.open_doors(home, state, slot, [Port(80, 8000)])
        assert here.ask(here.host, "127.0.0.1", 8000) == pool.network(home, state).gateway
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    pool.heal(home)
    assert here.ask(here.host, "127.0.0.1", 8000) == pool.network(home, state).gateway
    for _ in range(2):
        doors.close(home, state, slot)
        assert here.ask(here.host, "127.0.0.1", 8000) == "refused"


def test_pool_port_of_another_container_is_refused(home: Paths, state: State) -> None:
    one, other = (pool.claim(home, state, this_process(), spare=2) for _ in range(2))
    doors.open_doors(home, state, one, [Port(80, 8000)])
    with pytest.raises(EngineError, match=r"0\.0\.0\.0:8000"):
        doors.open_doors(home, state, other, [Port(80, 8000, "0.0.0.0")])
    doors.close(home, state, one)
    doors.open_doors(home, state, other, [Port(80, 8000, "0.0.0.0")])


def lent(paths: Paths, state: State) -> str:
    """What nft says is lent to single slots."""
    return output("nft", "list", "map", "inet", pool.network(paths, state).table, "lent").partition("elements")[2]


def test_pool_service_is_lent_to_one_slot_until_that_is_closed(home: Paths, state: State, here: Machine) -> None:
    slot, other = (pool.claim(home, state, this_process(), spare=2) for _ in range(2))
    gateway = pool.network(home, state).gateway
    here.serve(here.host, "127.0.0.1", 3128)
    here.serve(here.host, "127.0.0.2", 3129)
    for _ in range(2):
        doors.open_doors(home, state, slot, (), [("127.0.0.1", 3128), ("127.0.0.2", 3129)])
    for flushed in (False, True):
        if flushed:
            subprocess.run(["nft", "flush", "ruleset"], check=True)
            pool.heal(home)
        assert [here.ask(netns(home, slot), gateway, port) for port in (3128, 3129)] == ["127.0.0.1"] * 2
        assert [here.ask(netns(home, other), gateway, port) for port in (3128, 3129)] == ["refused"] * 2
    for _ in range(2):
        doors.close(home, state, slot)
        assert here.ask(netns(home, slot), gateway, 3128) == "refused"
    assert lent(home, state) == ""


def test_pool_what_was_lent_to_a_dead_command_is_taken_back(home: Paths, state: State) -> None:
    run_pool(home, "--spare", "2")
    slot = state.claim_slot(dead())
    assert slot is not None
    doors.open_doors(home, state, slot, [Port(80, 8000)], [("127.0.0.1", 3128)])
    assert "3128" in lent(home, state)
    run_pool(home, "--spare", "2")
    assert lent(home, state) == ""
    assert doors.slots(state) == set()


def test_pool_client_of_a_closed_port_reaches_nobody_who_has_the_slot_next(
    home: Paths, state: State, here: Machine
) -> None:
    slot = pool.claim(home, state, this_process(), spare=1)
    here.serve(netns(home, slot), "0.0.0.0", 80, "udp")
    doors.open_doors(home, state, slot, [Port(80, 8000, "0.0.0.0", "udp")])
    with within(here.outside), socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(0.5)
        client.connect((Machine.ADDRESS, 8000))
        client.send(b"?")
        assert client.recv(99) == Machine.OUTSIDE.encode()
        with within(here.host):
            doors.close(home, state, slot)
        client.send(b"?")
        with pytest.raises((TimeoutError, ConnectionRefusedError)):
            client.recv(99)


def test_pool_table_of_another_version_is_replaced_when_a_door_is_opened(home: Paths, state: State) -> None:
    slot = pool.claim(home, state, this_process(), spare=1)
    table = pool.network(home, state).table
    subprocess.run(["nft", f"delete table inet {table}; add table inet {table}"], check=True)
    state.set("firewall", f"{state.boot} 00000000")
    doors.open_doors(home, state, slot, (), [("127.0.0.1", 3128)])
    assert "3128" in lent(home, state)
    assert pool.healthy(home, state)


def test_pool_refill_killed_anywhere_is_finished_by_the_next(home: Paths, state: State) -> None:
    run_pool(home, "--spare", "1")  # so that the kills fall into the making of slots, not into the setting up
    for attempt in range(8):
        pid = pool.spawn_refill(home, spare=attempt + 2)
        eventually(lambda: len(os.listdir(home.slots)) > len(state.known_slots()) - 1, 0.5)
        time.sleep(0.15 + attempt * 0.01)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    run_pool(home, "--spare", "12")
    spare = state.spare_slots()
    assert len(spare) == 12
    assert sorted(int(name) for name in os.listdir(home.slots)) == spare
    links = [
        link for link in output("ip", "-br", "link").split() if link.startswith(pool.network(home, state).link(0)[:-1])
    ]
    assert len(links) == 12


def test_pool_pins_in_the_mount_namespace_it_is_given(home: Paths, state: State) -> None:
    script = (
        "import os, sys; from devenv import paths; from devenv.engine.native import mount;"
        "from devenv.engine.native.records import state;"
        "from devenv.engine.native.slot import namespace, pool;"
        "p = paths.Paths(*sys.argv[1:]); namespace.prepare(p.slots); host = mount.enter_private_namespace();"
        " s = state.State(p.state);"
        "slot = pool.claim(p, s, state.this_process(), mount_namespace=host, spare=1);"
        "namespace.is_pinned(p.slot(slot)) or sys.exit('not seen inside');"
        "s.claim_slot(state.this_process()); pid = pool.spawn_refill(p, mount_namespace=host, spare=2);"
        "sys.exit(os.waitpid(pid, 0)[1])"
    )
    subprocess.run([sys.executable, "-c", script, home.home, home.run], check=True)
    assert output("findmnt", "-rno", "TARGET").count(home.slots) == 1 + 2 * len(state.known_slots())


def test_pool_teardown_leaves_nothing_and_can_be_repeated(home: Paths, state: State) -> None:
    run_pool(home, "--spare", "2")
    for _ in range(2):
        run_pool(home, "--teardown")
        assert leaks(home) == []
        assert state.known_slots() == []


def test_pool_teardown_needs_nothing_of_what_somebody_took_away(home: Paths, state: State) -> None:
    run_pool(home, "--spare", "2")
    there = pool.network(home, state)
    output("nft", "flush", "ruleset")
    for link in json.loads(output("ip", "-j", "link")):
        if link["ifname"].startswith(there.bridge):
            output("ip", "link", "delete", link["ifname"])

    run_pool(home, "--teardown")

    assert leaks(home) == []
    assert state.known_slots() == []


def test_pool_teardown_spares_a_container_and_its_network(home: Paths, state: State, here: Machine) -> None:
    here.serve(here.outside, "0.0.0.0", 80)
    slot = pool.claim(home, state, this_process(), spare=2)
    state.give_slot(slot, "web")
    run_pool(home, "--teardown")
    assert [number for number, _, _ in state.known_slots()] == [slot]
    assert here.ask(netns(home, slot), Machine.OUTSIDE, 80) == Machine.ADDRESS
    state.release_slot(slot)


def test_pool_code_in_the_current_folder_is_not_run(home: Paths, state: State, tmp_path: os.PathLike[str]) -> None:
    planted = f"{os.fspath(tmp_path)}/devenv"
    os.makedirs(planted)
    with open(f"{planted}/__init__.py", "w", encoding="ascii") as file:
        file.write("raise SystemExit('planted code ran')")
    before = os.getcwd()
    os.chdir(tmp_path)
    try:
        assert pool.claim(home, state, this_process(), spare=1) == 0
    finally:
        os.chdir(before)


def test_pool_error_of_the_refill_is_told(home: Paths, state: State) -> None:
    subprocess.run(["ip", "route", "add", "10.192.0.0/10", "dev", "up0"], check=True)
    subprocess.run(["ip", "route", "add", "172.16.0.0/12", "dev", "up0"], check=True)
    with pytest.raises(EngineError, match="choose a subnet"):
        pool.claim(home, state, this_process(), spare=1)
