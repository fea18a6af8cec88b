"""The doors of environments: who is connected with whom, which replicas a port leads to, and what is left when somebody is killed."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence

import pytest

from devenv.engine.native.records.state import State, this_process
from devenv.engine.native.slot import doors, pool
from devenv.engine.native.slot.doors import Member
from devenv.errors import EngineError
from devenv.model.manifest import Port
from devenv.paths import Paths

from .conftest import Machine, leaks, output, within
from .conftest import pool as run_pool

pytestmark = pytest.mark.engine

WEB = (Port(80, 8000, "0.0.0.0"),)
UNREACHABLE = {"refused", "no answer"}


class Store:
    """A store on a pretend machine, with five slots that are held."""

    def __init__(self, paths: Paths, state: State, machine: Machine) -> None:
        self.paths, self.state, self.machine = paths, state, machine
        self.slots = pool.claim_many(paths, state, this_process(), 5, spare=1)
        self.net = pool.network(paths, state)

    def netns(self, slot: int) -> str:
        return f"{self.paths.slot(slot)}/net"

    def ask(self, slot: int, other: int, port: int = 80) -> str:
        return self.machine.ask(self.netns(slot), self.net.address(other), port)

    def connect(self, group: int, members: Sequence[Member]) -> None:
        doors.connect(self.paths, self.state, group, lambda: members)

    def receivers(self) -> set[int]:
        """The slots that answer on port 8000 of the host."""
        found = set()
        for _ in range(6):
            with within(self.machine.host):
                client = socket.socket()
            with client:
                client.settimeout(2)
                try:
                    client.connect(("127.0.0.1", 8000))
                    found.add(int(client.recv(9)))
                except ConnectionRefusedError:
                    pass
        return found

    def ruleset(self) -> str:
        return output("nft", "list", "table", "inet", self.net.table)


@pytest.fixture
def here(home: Paths, state: State, machine: Machine) -> Iterator[Store]:
    made = Store(home, state, machine)
    yield made
    for number, _, _ in state.known_slots():
        state.release_slot(number)
    doors.close(home, state, *doors.slots(state))
    run_pool(home, "--teardown")
    assert leaks(home) == []


def serve(store: Store, *slots: int) -> None:
    """A server on port 80 of each that says its slot's number."""
    for slot in slots:
        script = (
            "import socket, sys\n"
            "server = socket.create_server(('0.0.0.0', 80))\n"
            "print('ready', flush=True)\n"
            "while True:\n"
            "    client, _ = server.accept()\n"
            "    client.sendall(sys.argv[1].encode())\n"
            "    client.close()\n"
        )
        argv = ["nsenter", f"--net={store.netns(slot)}", sys.executable, "-c", script, str(slot)]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE)
        store.machine._stack.callback(process.wait)
        store.machine._stack.callback(process.kill)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.stdout.close()


def generation() -> int:
    """How many transactions of nft this network namespace has seen (NFT_MSG_GETGEN, NFTA_GEN_ID)."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as netfilter:
        netfilter.settimeout(5)
        netfilter.send(struct.pack("=IHHIIBBH", 20, 10 << 8 | 16, 1, 1, 0, 0, 0, 0))
        return int(struct.unpack_from(">I", netfilter.recv(8192), 24)[0])


def test_connect_members_of_an_environment_and_no_others(here: Store) -> None:
    one, two, three, four, five = here.slots
    serve(here, *here.slots)
    here.connect(1, [Member(one), Member(two)])
    here.connect(2, [Member(three), Member(four)])
    here.connect(3, [Member(five)])
    assert here.ask(one, two) == str(two)
    assert here.ask(three, four) == str(four)
    for asker, asked in ((one, three), (three, one), (one, five), (five, one)):
        assert here.ask(asker, asked) in UNREACHABLE
    assert here.ruleset().count(here.net.address(five)) == 0  # who is alone is in no group


def test_connect_ports_lead_to_those_that_are_eligible(here: Store) -> None:
    serve(here, *here.slots[:3])
    for eligible in ([True] * 3, [True, False, True], [False, True, False], [False] * 3, [True] * 3):
        members = [Member(slot, "web", WEB, yes) for slot, yes in zip(here.slots, eligible, strict=False)]
        here.connect(1, members)
        assert here.receivers() == {member.slot for member in members if member.eligible}


def test_connect_again_changes_nothing(here: Store) -> None:
    members = [Member(slot, "web", WEB) for slot in here.slots[:3]]
    here.connect(1, members)
    before = generation()
    here.connect(1, members)
    here.connect(1, list(reversed(members)))
    assert generation() == before
    here.connect(1, members[:2])
    assert generation() == before + 3  # the port's new way, what leads to it, the old one's end


def test_connect_port_of_another_environment_is_refused_by_its_owners_name_and_nothing_is_changed(here: Store) -> None:
    one, two, three, *_ = here.slots
    with here.state.transaction() as db:
        db.execute("INSERT INTO environment (id, name, folder, variant) VALUES ('e', 'shop', '/home/me/shop', '')")
        db.execute(
            "INSERT INTO container (id, environment, name, image, slot, spec, created)"
            " VALUES ('e-web-1', 'e', 'web-1', '', ?, '{}', 0)",
            (one,),
        )
        here.state.give_slot(one, "e-web-1")
    here.connect(1, [Member(one, "web", WEB, eligible=False)])  # it needn't lead anywhere
    before = here.ruleset()
    with pytest.raises(EngineError, match=r"127\.0\.0\.1:8000: shop \(/home/me/shop\) has it"):
        here.connect(2, [Member(two, "api", (Port(80, 8000),)), Member(three)])
    with pytest.raises(EngineError, match="shop"):
        doors.open_doors(here.paths, here.state, two, [Port(80, 8000)])
    assert here.ruleset() == before
    assert two not in doors.slots(here.state)
    with pytest.raises(EngineError, match=r"publish port 127\.0\.0\.1:8000: shop \(/home/me/shop\) has it"):
        doors.choose(here.state, Port(80, 8000))
    assert doors.choose(here.state, Port(80, 8000), "e-db-1", "e-web-1") == Port(80, 8000)


def test_connect_member_that_left_loses_all_its_doors(here: Store) -> None:
    one, two, three, *_ = here.slots
    serve(here, one, two, three)
    members = [Member(slot, "web", WEB, loans=[("127.0.0.1", 3128)]) for slot in (one, two, three)]
    here.connect(1, members)
    here.connect(1, members[:2])
    assert here.receivers() == {one, two}
    assert here.ask(one, three) in UNREACHABLE
    assert here.net.address(three) not in here.ruleset()
    assert here.ruleset().count("127.0.0.1 . 3128") == 2
    here.connect(1, [])
    assert doors.slots(here.state) == set()
    assert "127.0.0.1 . 3128" not in here.ruleset()


def test_connect_what_is_lent_stays_unless_it_is_said_anew(here: Store) -> None:
    one, two, *_ = here.slots
    here.connect(1, [Member(one, "web", WEB), Member(two)])
    doors.open_doors(here.paths, here.state, one, (), [("127.0.0.1", 3128)])
    here.connect(1, [Member(one, "web", WEB, eligible=False), Member(two)])
    assert "127.0.0.1 . 3128" in here.ruleset()
    here.connect(1, [Member(one, "web", WEB, loans=()), Member(two)])
    assert "127.0.0.1 . 3128" not in here.ruleset()
    assert here.ruleset().count(here.net.address(one)) > 1


def test_connect_what_is_lent_is_given_back_by_who_ended_and_not_by_who_was_started_meanwhile(here: Store) -> None:
    one, two, *_ = here.slots
    here.connect(1, [Member(one, "web", WEB), Member(two)])
    doors.open_doors(here.paths, here.state, one, (), [("127.0.0.1", 3128)])
    doors.give_back(here.paths, here.state, one, lambda: False)
    assert "127.0.0.1 . 3128" in here.ruleset()
    doors.give_back(here.paths, here.state, one, lambda: True)
    assert "127.0.0.1 . 3128" not in here.ruleset()
    assert doors.slots(here.state) == {one, two}
    before = here.ruleset()
    doors.give_back(here.paths, here.state, two, lambda: True)
    assert here.ruleset() == before


def test_connect_port_that_goes_from_one_service_to_another_is_the_later_ones(here: Store) -> None:
    one, two, *_ = here.slots
    serve(here, one, two)
    here.connect(1, [Member(one, "old", WEB)])
    here.connect(1, [Member(one, "old", WEB), Member(two, "new", WEB)])
    assert here.receivers() == {two}
    here.connect(1, [Member(two, "new", WEB)])
    assert here.receivers() == {two}


def test_connect_replicas_with_another_port_inside_share_the_port_outside(here: Store) -> None:
    """While a change of it is rolled out."""
    one, two, *_ = here.slots
    serve(here, one)
    here.machine.serve(here.netns(two), "0.0.0.0", 81)
    here.connect(1, [Member(one, "web", WEB), Member(two, "web", (Port(81, 8000, "0.0.0.0"),))])
    found = {here.machine.ask(here.machine.outside, Machine.ADDRESS, 8000) for _ in range(4)}
    assert found == {str(one), Machine.OUTSIDE}


@pytest.mark.parametrize("damage", ["flushed", "killed", "bridge"])
def test_connect_puts_back_what_isnt_as_it_was_said_to_be(here: Store, damage: str) -> None:
    one, two, *_ = here.slots
    serve(here, one, two)
    members = [Member(slot, "web", WEB) for slot in (one, two)]
    here.connect(1, members)
    if damage == "flushed":
        subprocess.run(["nft", "flush", "ruleset"], check=True)
    elif damage == "bridge":
        subprocess.run(["ip", "link", "delete", here.net.bridge], check=True)
    else:  # after it was written down what is to be changed, and before that was done
        here.state.set("firewall", "")
        subprocess.run(["nft", "flush", "set", "inet", here.net.table, "members"], check=True)
    assert here.ask(one, two) in UNREACHABLE
    here.connect(1, members)
    assert here.ask(one, two) == str(two)
    assert here.receivers() == {one, two}
    assert pool.healthy(here.paths, here.state)


def test_connect_survives_elements_that_somebody_deleted(here: Store) -> None:
    one, two, three, *_ = here.slots
    serve(here, one, two, three)
    here.connect(1, [Member(slot, "web", WEB) for slot in (one, two, three)])
    subprocess.run(["nft", "flush", "map", "inet", here.net.table, "shared_anywhere"], check=True)
    subprocess.run(["nft", "flush", "set", "inet", here.net.table, "members"], check=True)
    here.connect(1, [Member(slot, "web", WEB) for slot in (one, two)])
    assert here.receivers() == {one, two}
    assert here.ask(one, two) == str(two)


def test_connect_by_many_at_once_leaves_what_the_last_one_saw(here: Store) -> None:
    """Each thread adds a member and connects; who comes later sees all who came before."""
    seen: list[Member] = []
    adding = threading.Lock()

    def join(slot: int) -> None:
        state = State(here.paths.state)
        with adding:
            seen.append(Member(slot, "web", WEB))
        doors.connect(here.paths, state, 1, lambda: list(seen))
        state.close()

    serve(here, *here.slots)
    threads = [threading.Thread(target=join, args=(slot,)) for slot in here.slots]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert here.receivers() == set(here.slots)
    assert here.ask(here.slots[0], here.slots[4]) == str(here.slots[4])


def test_connect_and_a_refill_at_the_same_time_lose_nothing(here: Store) -> None:
    one, two, *_ = here.slots
    serve(here, one, two)
    for _ in range(5):
        here.state.set("firewall", "")
        pid = pool.spawn_refill(here.paths, spare=1)
        here.connect(1, [Member(one, "web", WEB), Member(two, "web", WEB)])
        os.waitpid(pid, 0)
        assert here.receivers() == {one, two}
        here.connect(1, [Member(one, "web", WEB)])
        assert here.receivers() == {one}


def test_connect_datagrams_of_who_goes_on_sending_leave_a_replica_that_isnt_eligible(here: Store) -> None:
    one, two, *_ = here.slots
    for slot in (one, two):
        here.machine.serve(here.netns(slot), "0.0.0.0", 80, "udp")
    port = (Port(80, 8000, "0.0.0.0", "udp"),)
    here.connect(1, [Member(one, "dns", port), Member(two, "dns", port)])
    with within(here.machine.outside), socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        client.connect((Machine.ADDRESS, 8000))

        def flow() -> str:
            client.send(b"?")
            assert client.recv(99) == Machine.OUTSIDE.encode()
            return next(line for line in _flows() if "dport=8000" in line).rpartition("src=")[2].split()[0]

        with within(here.machine.host):
            first = flow()
            assert flow() == first
            served = next(slot for slot in (one, two) if here.net.address(slot) == first)
            here.connect(1, [Member(slot, "dns", port, eligible=slot != served) for slot in (one, two)])
            assert flow() != first


def _flows() -> list[str]:
    with open("/proc/net/nf_conntrack", encoding="ascii") as file:
        return list(file)


def test_connect_doors_of_a_closed_slot_are_gone_and_closing_again_does_nothing(here: Store) -> None:
    one, two, *_ = here.slots
    serve(here, one, two)
    here.connect(1, [Member(one, "web", WEB), Member(two, "web", WEB)])
    for _ in range(2):
        doors.close(here.paths, here.state, one)
        assert here.receivers() == {two}
        assert here.ask(two, one) in UNREACHABLE
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    doors.close(here.paths, here.state, two)
    assert doors.slots(here.state) == set()
    pool.heal(here.paths)
    assert here.receivers() == set()
    assert pool.healthy(here.paths, here.state)


def test_connect_what_the_firewall_cannot_have_is_not_kept(here: Store) -> None:
    one, two, three, *_ = here.slots
    serve(here, one)
    here.connect(1, [Member(one, "web", WEB), Member(two)])
    bad = Port(80, 70000)
    for group in (0, 2):
        with pytest.raises(EngineError, match="nft"):
            if group:
                here.connect(group, [Member(three, "web", (bad,))])
            else:
                doors.open_doors(here.paths, here.state, three, [bad])
        assert doors.slots(here.state) == {one, two}
    pool.heal(here.paths)
    assert here.receivers() == {one}
    assert here.ask(two, one) == str(one)


def test_connect_with_nothing_and_nobody_is_nothing(home: Paths, state: State) -> None:
    doors.connect(home, state, 1, list)
    assert doors.slots(state) == set()
    with pytest.raises(ValueError, match="group"):
        doors.connect(home, state, 0, list)
