"""Many containers by the engine's own doors: made and started by threads, their ports, names, mounts, secrets, health, and what is told.

Everything is done by threads of a pool, as provision does it: the test's own stays where the host's mounts are.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from devenv.engine.native.facade import Native
from devenv.engine.native.machine import open_machine
from devenv.engine.native.slot import doors
from devenv.errors import EngineError, NotFound
from devenv.model.container import Container, ContainerSpec, Environment, Process
from devenv.model.events import ignore
from devenv.model.manifest import Healthcheck, Limits, Mount, Port, Restart
from devenv.paths import Paths
from tests.engine.conftest import eventually

pytestmark = pytest.mark.engine

CANARY = "canary-5b1f9e07"


class Fleet:
    """The containers of one environment, driven from a pool of threads."""

    def __init__(self, native: Native, pool: ThreadPoolExecutor, image: str, environment: str) -> None:
        self.native = native
        self.pool = pool
        self.image = image
        self.environment = Environment(environment, environment, f"/somewhere/{environment}")
        self.paths = native.paths
        native.register(self.environment)

    def spec(self, name: str, *, command: str = "", **more: Any) -> ContainerSpec:
        """A replica (`web-1`), or the workspace."""
        service, _, index = name.partition("-")
        process = Process(("/bin/sh", "-c", command) if command else ())
        asked: dict[str, Any] = {"process": process, "service": service, "index": int(index or 0), **more}
        return ContainerSpec(environment=self.environment.id, name=name, hostname=name, image=self.image, **asked)

    def all(self, work: Callable[[str], Any], containers: Iterable[str]) -> list[Any]:
        return list(self.pool.map(work, containers))

    def create(self, *specs: ContainerSpec) -> list[str]:
        made: list[str] = self.pool.submit(lambda: [one.id for one in self.native.create(specs)]).result()
        return made

    def up(self, *specs: ContainerSpec) -> list[str]:
        """Created, connected and started at the same time, connected."""
        made = self.create(*specs)
        self.native.connect(self.environment.id)
        self.all(self.native.start, made)
        self.native.connect(self.environment.id)
        return made

    def remove(self, *containers: str) -> None:
        self.all(self.native.remove, containers)

    def seen(self, container: str) -> Container:
        return next(one for one in self.native.containers(self.environment.id) if one.id == container)

    def told(self) -> list[tuple[str, str, str]]:
        return [(one.object, one.kind, one.detail) for one in self.native.events(self.environment.id)]

    def run(self, container: str, command: str) -> str:
        """What a command in it printed; it must work."""
        lines: list[str] = []
        code = self.native.execute(container, Process(("/bin/sh", "-c", command)), lines.append)
        assert code == 0, lines
        return "".join(f"{line}\n" for line in lines)

    def attempt(self, container: str, command: str) -> int:
        return self.native.execute(container, Process(("/bin/sh", "-c", command)), lambda _: None)

    def end(self) -> None:
        self.remove(*(one.id for one in self.native.containers(self.environment.id)))
        self.native.forget(self.environment.id, volumes=True)


@pytest.fixture(scope="module")
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


@pytest.fixture(scope="module")
def native(store: Paths) -> Iterator[Native]:
    machine = open_machine({"DEVENV_HOME": store.home, "DEVENV_RUN": store.run})
    yield machine.engine
    machine.engine.close()


@pytest.fixture(scope="module")
def image(store: Paths, base: str) -> str:
    """The base alone, with a folder that volumes can begin as."""

    def build() -> str:
        machine = open_machine({"DEVENV_HOME": store.home, "DEVENV_RUN": store.run})
        shop = machine.workshop
        shop.open()
        rootfs = shop.base(base, ignore)
        with shop.edit("data", rootfs.layers) as root:
            os.makedirs(f"{root}/data/inner")
            os.chmod(f"{root}/data", 0o750)
            os.chown(f"{root}/data", 33, 34)
            with open(f"{root}/data/file", "w", encoding="ascii") as file:
                file.write("image\n")
            os.makedirs(f"{root}/empty")
        layer = shop.layer("data")
        assert layer is not None
        digest = shop.commit(rootfs._replace(layers=(*rootfs.layers, layer)), "key", ["test"]).digest
        machine.engine.close()
        return digest

    with ThreadPoolExecutor(1) as builder:  # whose mounts end with it
        return builder.submit(build).result()


@pytest.fixture
def fleet(native: Native, threads: ThreadPoolExecutor, image: str) -> Iterator[Fleet]:
    made = Fleet(native, threads, image, f"e{os.urandom(3).hex()}")
    yield made
    made.end()


@pytest.fixture
def other(native: Native, threads: ThreadPoolExecutor, image: str) -> Iterator[Fleet]:
    """Another environment."""
    made = Fleet(native, threads, image, f"o{os.urandom(3).hex()}")
    yield made
    made.end()


# Threads ------------------------------------------------------------------------------------------


def test_twenty_start_at_once_again_and_again_and_leave_nothing(fleet: Fleet) -> None:
    for _ in range(3):
        made = fleet.up(*(fleet.spec(f"web-{number}", ports=(Port(8000),)) for number in range(1, 21)))
        seen = fleet.native.containers(fleet.environment.id)
        assert {one.status for one in seen} == {"running"}
        assert len({one.address for one in seen}) == len({one.pid for one in seen}) == 20
        fleet.all(fleet.native.stop, made)
        assert {one.status for one in fleet.native.containers(fleet.environment.id)} == {"stopped"}
        fleet.all(fleet.native.start, made)
        fleet.remove(*made)
        assert doors.slots(fleet.native.state) == set()
        assert os.listdir(f"{fleet.paths.home}/containers") == []
        assert os.listdir(f"{fleet.paths.run}/bundles") == []
        assert not [line for line in _mounts(fleet.paths) if fleet.paths.slots not in line]


def test_descriptors_of_the_command_dont_grow_with_what_it_starts(fleet: Fleet) -> None:
    def cycle() -> int:
        fleet.remove(*fleet.up(*(fleet.spec(f"web-{number}") for number in range(1, 9))))
        return len(os.listdir("/proc/self/fd"))

    cycle()
    before = cycle()
    assert [cycle() for _ in range(3)][-1] <= before + 4  # a thread that hadn't worked yet opens its state


def test_monitors_hold_no_descriptor_of_another_containers_start(fleet: Fleet) -> None:
    made = fleet.up(*(fleet.spec(f"web-{number}") for number in range(1, 13)))
    ours = {os.readlink(f"/proc/self/fd/{fd}") for fd in _own_descriptors()}
    for container in made:
        with open(f"{fleet.paths.bundle(container)}/conmon.pid", encoding="ascii") as file:
            folder = f"/proc/{file.read().strip()}/fd"
        theirs = {os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder)}
        assert not {one for one in theirs & ours if one.startswith(("pipe:", "socket:"))}
        assert not {one for one in theirs if "state.db" in one}


def test_mounts_of_starts_are_seen_by_nobody_else(fleet: Fleet) -> None:
    fleet.up(fleet.spec("web-1"))
    assert not [line for line in _mounts(fleet.paths) if fleet.paths.slots not in line]


# Made, all or none --------------------------------------------------------------------------------


def test_create_makes_all_or_none(fleet: Fleet) -> None:
    spare = len(fleet.native.state.spare_slots())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(EngineError, match=f"{number}.*pid {os.getpid()}"):
            fleet.create(fleet.spec("web-1"), fleet.spec("db-1", ports=(Port(80, number),)))
    with pytest.raises(NotFound):
        fleet.create(fleet.spec("web-1"), fleet.spec("db-1")._replace(image="sha256:none"))
    fleet.create(fleet.spec("web-1"))
    with pytest.raises(EngineError, match="create web-1: there is one already"):
        fleet.create(fleet.spec("db-1"), fleet.spec("web-1"))
    assert [one.name for one in fleet.native.containers(fleet.environment.id)] == ["web-1"]
    assert not fleet.native.state.slots_at_work()
    assert len(fleet.native.state.spare_slots()) >= spare - 1


def test_create_writes_down_what_was_asked_for(fleet: Fleet) -> None:
    spec = fleet.spec(
        "web-2",
        mounts=(Mount("/data", volume="data", readonly=True),),
        secrets=("A", "B"),
        healthcheck=Healthcheck("true", 1.5, 2.5, 4, 0.5),
        restart=Restart("on-failure", 5),
        stop_grace=2.5,
        stop_signal="SIGINT",
    )
    (made,) = fleet.create(spec)
    assert fleet.native.ground.spec(made)[0] == spec
    found = fleet.seen(made)
    assert (found.service, found.index, found.health, found.restarts, found.status) == ("web", 2, "", 0, "created")


# Ports ----------------------------------------------------------------------------------------------


def test_ports_are_one_for_all_replicas_or_one_each_of_a_range(fleet: Fleet) -> None:
    free = Port(8000)
    made = fleet.create(*(fleet.spec(f"web-{n}", ports=(free, Port(9000, 41000, last=41002))) for n in (1, 2)))
    more = fleet.create(fleet.spec("web-3", ports=(free, Port(9000, 41000, last=41002))))
    (other,) = fleet.create(fleet.spec("db-1", ports=(free,)))
    ports = [fleet.seen(one).ports for one in (*made, *more)]
    assert len({some[0] for some in ports}) == 1
    assert ports[0][0].host is not None
    assert [some[1] for some in ports] == [Port(9000, 41000 + number) for number in range(3)]
    assert fleet.seen(other).ports[0].host != ports[0][0].host


def test_a_port_that_was_chosen_is_chosen_again_unless_somebody_has_it_by_now(fleet: Fleet, other: Fleet) -> None:
    free = Port(8000)

    def published() -> Port:
        (made,) = fleet.create(fleet.spec("web-1", ports=(free, free._replace(container=8001))))
        ports = fleet.seen(made).ports
        fleet.remove(made)
        assert ports[1].host != ports[0].host
        return ports[0]

    first = published()
    assert published() == first
    other.up(other.spec("web-1", ports=(first,)))
    assert published() != first
    other.remove(*(one.id for one in other.native.containers(other.environment.id)))
    with socket.create_server(("127.0.0.1", published().host or 0)) as server:
        assert published().host != server.getsockname()[1]


def test_check_lets_replicas_share_and_names_who_has_a_port(fleet: Fleet, other: Fleet) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        number = free.getsockname()[1]
    fleet.up(*(fleet.spec(f"web-{one}", ports=(Port(8000, number),)) for one in (1, 2)))
    fleet.native.check(fleet.spec("web-1", ports=(Port(8000, number),)))
    fleet.native.check(fleet.spec("api-1", ports=(Port(8000, number),)))  # it takes the place of web
    with pytest.raises(EngineError, match=f"{number}: {fleet.environment.name} .{fleet.environment.folder}. has it"):
        other.native.check(other.spec("web-1", ports=(Port(8000, number),)))
    fleet.remove(*(one.id for one in fleet.native.containers(fleet.environment.id)))
    other.native.check(other.spec("web-1", ports=(Port(8000, number),)))


SERVER = """exec perl -e '
use Socket; socket(S, PF_INET, SOCK_STREAM, 0); setsockopt(S, SOL_SOCKET, SO_REUSEADDR, 1);
bind(S, sockaddr_in(8000, INADDR_ANY)) or die; listen(S, 99); while (accept(C, S)) { print C $ENV{HOSTNAME}; close C }'
"""


def test_a_shared_port_leads_to_those_that_run_and_are_healthy(fleet: Fleet) -> None:
    check = Healthcheck("true")
    made = fleet.up(
        *(fleet.spec(f"web-{n}", command=SERVER, ports=(Port(8000),), healthcheck=check) for n in (1, 2, 3))
    )
    port = fleet.seen(made[0]).ports[0].host
    assert port is not None
    assert eventually(lambda: _answers(port) == {"web-1", "web-2", "web-3"})  # all are still starting
    fleet.native.healthy(made[1], "healthy")
    fleet.native.connect(fleet.environment.id)
    assert _answers(port) == {"web-2"}
    fleet.native.healthy(made[2], "healthy")
    fleet.native.healthy(made[0], "unhealthy")
    fleet.native.connect(fleet.environment.id)
    assert _answers(port) == {"web-2", "web-3"}
    fleet.pool.submit(fleet.native.stop, made[1]).result()
    assert _answers(port) == {"web-3"}


def test_a_port_leads_nowhere_near_who_is_being_stopped(fleet: Fleet) -> None:
    stubborn = SERVER.replace("listen", "$SIG{TERM} = sub { sleep 1; exit 0 }; listen")
    made = fleet.up(
        fleet.spec("web-1", command=stubborn, ports=(Port(8000),)),
        fleet.spec("web-2", command=SERVER, ports=(Port(8000),)),
    )
    port = fleet.seen(made[0]).ports[0].host
    assert port is not None
    assert eventually(lambda: _answers(port) == {"web-1", "web-2"})
    stopping = fleet.pool.submit(fleet.native.stop, made[0])
    assert eventually(lambda: _answers(port, 4) == {"web-2"})
    assert not stopping.done()
    stopping.result(20)


# Names ----------------------------------------------------------------------------------------------


def test_names_lead_to_replicas_as_they_come_and_go(fleet: Fleet, other: Fleet) -> None:
    fleet.up(fleet.spec("workspace")._replace(hostname="shop"))
    (workspace,) = (one.id for one in fleet.native.containers(fleet.environment.id))
    own = fleet.seen(workspace).address
    assert fleet.run(workspace, "getent hosts shop workspace").split() == [
        own,
        "workspace",
        "shop",
        own,
        "workspace",
        "shop",
    ]
    assert fleet.attempt(workspace, "getent hosts web") != 0
    made = fleet.up(*(fleet.spec(f"web-{n}", command=SERVER) for n in (1, 2)))
    addresses = {fleet.seen(one).address for one in made}
    assert set(fleet.run(workspace, "getent ahostsv4 web | cut -d' ' -f1").split()) == addresses
    assert fleet.run(workspace, "getent hosts web-2").split()[0] == fleet.seen(made[1]).address
    assert fleet.run(made[0], "hostname; cat /etc/hostname").split() == ["web-1", "web-1"]
    assert eventually(lambda: _asked(fleet, workspace, "web-2") == "web-2")
    fleet.remove(made[0])
    fleet.native.connect(fleet.environment.id)
    assert fleet.run(workspace, "getent ahostsv4 web | cut -d' ' -f1 | sort -u").split() == [
        fleet.seen(made[1]).address
    ]
    assert fleet.attempt(workspace, "getent hosts web-1") != 0

    (stranger,) = other.up(other.spec("workspace"))
    assert _asked(other, stranger, fleet.seen(made[1]).address) == ""
    assert other.attempt(stranger, "getent hosts web-2") != 0


def test_a_slot_that_is_given_back_is_in_no_group(fleet: Fleet, other: Fleet) -> None:
    made = fleet.up(fleet.spec("web-1", command=SERVER), fleet.spec("web-2"))
    slots = {container: slot for slot, _, container in fleet.native.state.known_slots() if container}
    fleet.remove(made[1])
    (stranger,) = other.up(other.spec("web-1"))
    again = {container: slot for slot, _, container in fleet.native.state.known_slots() if container}
    assert again[stranger] == slots[made[1]]
    assert _asked(other, stranger, fleet.seen(made[0]).address) == ""


# Mounts ---------------------------------------------------------------------------------------------


def test_a_volume_is_one_for_all_and_begins_as_the_image_has_it(fleet: Fleet) -> None:
    data = (Mount("/data", volume="data"),)
    made = fleet.up(*(fleet.spec(f"web-{n}", mounts=data) for n in range(1, 7)))
    assert fleet.run(made[0], "cat /data/file; stat -c '%u:%g %a' /data; ls /data").split() == [
        *("image", "33:34", "750", "file", "inner")
    ]
    for number, container in enumerate(made):
        fleet.run(container, f"echo {number} > /data/from-{number}")
    assert fleet.run(made[-1], "ls /data | grep -c from-") == "6\n"
    fleet.remove(*made)
    assert os.listdir(fleet.paths.volume(fleet.environment.id, "")) == ["data"]
    (reader,) = fleet.up(fleet.spec("job-1", mounts=(Mount("/in", volume="data", readonly=True),)))
    assert fleet.run(reader, "cat /in/from-5") == "5\n"
    assert fleet.attempt(reader, "echo > /in/more") != 0


def test_an_empty_volume_that_several_make_at_once_is_one(fleet: Fleet) -> None:
    for attempt in range(4):
        mounts = (Mount("/empty", volume=f"empty-{attempt}"),)
        made = fleet.up(*(fleet.spec(f"web-{n}", mounts=mounts) for n in range(1, 9)))
        for container in made:
            fleet.run(container, f"echo > /empty/{container}")
        assert fleet.run(made[0], "ls /empty").split() == sorted(made)
        fleet.remove(*made)


def test_what_the_image_declares_a_volume_is_each_replicas_own(fleet: Fleet) -> None:
    from devenv.engine.native.container import defaults

    image = fleet.native.ground.image(fleet.image)
    declared = image._replace(config=image.config._replace(volumes=("/var/lib/db", "/data")))
    spec = fleet.spec("db-2", mounts=(Mount("/data", volume="data"),))
    assert defaults.volumes(declared, spec) == (("db-2.var-lib-db", "/var/lib/db"),)
    assert defaults.volumes(declared, fleet.spec("workspace")) == (("var-lib-db", "/var/lib/db"), ("data", "/data"))


@pytest.fixture
def outside(store: Paths) -> Iterator[str]:
    """A folder of a user of the host."""
    folder = f"{os.path.dirname(store.home)}/outside-{os.urandom(3).hex()}"
    os.mkdir(folder, 0o755)
    with open(f"{folder}/conf", "w", encoding="ascii") as file:
        file.write("setting\n")
    for path in (folder, f"{folder}/conf"):
        os.chown(path, 1234, 1235)
    yield folder
    subprocess.run(["rm", "-r", folder], check=True)


def test_folders_and_files_of_the_host_belong_to_their_owner(fleet: Fleet, outside: str) -> None:
    mounts = (Mount("/there", path=outside), Mount("/etc/app.conf", path=f"{outside}/conf"))
    root, user = fleet.up(
        fleet.spec("web-1", mounts=mounts),
        fleet.spec("web-2", mounts=mounts)._replace(process=Process((), user="www-data")),
    )
    fleet.run(root, "cp /bin/true /there/made; chmod 4755 /there/made; echo more >> /etc/app.conf")
    assert fleet.run(user, "id -u; stat -c %U /there /there/made /etc/app.conf").split() == ["33", *["www-data"] * 3]
    fleet.run(user, "echo user > /there/theirs; /there/made")
    for name in ("made", "theirs", "conf"):
        status = os.stat(f"{outside}/{name}")
        assert (status.st_uid, status.st_gid) == (1234, 1235)
    with open(f"{outside}/conf", encoding="ascii") as file:
        assert file.read() == "setting\nmore\n"
    for target in ("/there", "/etc/app.conf"):
        options = fleet.run(root, f"findmnt --noheadings --output OPTIONS {target}")
        assert {"nosuid", "nodev", "rw"} <= set(options.strip().split(","))


def test_what_is_mounted_read_only_is(fleet: Fleet, outside: str) -> None:
    mounts = (
        Mount("/there", path=outside, readonly=True),
        Mount("/etc/app.conf", path=f"{outside}/conf", readonly=True),
    )
    (made,) = fleet.up(fleet.spec("web-1", mounts=mounts))
    assert fleet.run(made, "cat /etc/app.conf /there/conf") == "setting\nsetting\n"
    assert fleet.attempt(made, "echo > /there/new") != 0
    assert fleet.attempt(made, "echo > /etc/app.conf") != 0


def test_what_cannot_be_mounted_is_told_before_anything_is_made(fleet: Fleet, outside: str) -> None:
    os.symlink(f"{outside}/conf", f"{outside}/link")
    os.mkfifo(f"{outside}/fifo")
    for name, said in (
        ("missing", "mount .*/missing: No such file"),
        ("link", "it is, or leads through, a link"),
        ("fifo", "neither a folder nor a file"),
    ):
        spec = fleet.spec("web-1", mounts=(Mount("/x", path=f"{outside}/{name}"),))
        with pytest.raises(NotFound, match=said):
            fleet.native.check(spec)
    assert not os.path.exists(f"{outside}/missing")
    assert fleet.native.containers(fleet.environment.id) == ()


def test_a_file_that_was_replaced_outside_is_seen_to_be_another(fleet: Fleet, outside: str) -> None:
    (made,) = fleet.up(fleet.spec("web-1", mounts=(Mount("/etc/app.conf", path=f"{outside}/conf"),)))
    assert fleet.seen(made).lost == ""
    os.rename(f"{outside}/conf", f"{outside}/before")
    with open(f"{outside}/conf", "w", encoding="ascii") as file:
        file.write("other\n")
    assert fleet.seen(made).lost == f"{outside}/conf"


# Secrets --------------------------------------------------------------------------------------------


def test_secrets_are_files_for_the_containers_user_alone(fleet: Fleet) -> None:
    fleet.native.supply(fleet.environment.id, {"TOKEN": b"one\n\0two", "OTHER": b"other"})
    (made,) = fleet.up(fleet.spec("web-1", secrets=("TOKEN",))._replace(process=Process((), user="www-data")))
    assert fleet.run(
        made, "ls /run/secrets; stat -c '%U %a' /run/secrets/TOKEN; wc -c < /run/secrets/TOKEN"
    ).split() == [*("TOKEN", "www-data", "400", "8")]
    options = set(fleet.run(made, "findmnt --noheadings --output OPTIONS /run/secrets").strip().split(","))
    assert {"ro", "nosuid", "nodev"} <= options
    assert fleet.run(made, "findmnt --noheadings --output FSTYPE /run/secrets") == "tmpfs\n"
    for command in ("echo > /run/secrets/TOKEN", "rm /run/secrets/TOKEN", "echo > /run/secrets/NEW"):
        assert fleet.native.execute(made, Process(("/bin/sh", "-c", command), user="root"), lambda _: None) != 0
    nobody = Process(("/bin/sh", "-c", "cat /run/secrets/TOKEN"), user="nobody")
    assert fleet.native.execute(made, nobody, lambda _: None) != 0


def test_a_secret_that_nobody_gave_is_named(fleet: Fleet) -> None:
    fleet.native.supply(fleet.environment.id, {"A": b"1"})
    (made,) = fleet.create(fleet.spec("web-1", secrets=("A", "TOKEN")))
    with pytest.raises(EngineError, match="start web-1: nobody gave it the secret TOKEN"):
        fleet.pool.submit(fleet.native.start, made).result()
    fleet.native.supply(fleet.environment.id, {"TOKEN": b"2"})
    assert fleet.pool.submit(fleet.native.start, made).result().status == "running"


def test_a_canary_is_found_nowhere(fleet: Fleet, store: Paths) -> None:
    secret = CANARY.encode()
    fleet.native.supply(fleet.environment.id, {"TOKEN": secret})
    inputs = (("secret.TOKEN", fleet.native.fingerprint(secret)),)
    (made,) = fleet.up(fleet.spec("web-1", secrets=("TOKEN",), inputs=inputs, healthcheck=Healthcheck("true")))
    assert fleet.run(made, f"grep -c {CANARY[:6]} /run/secrets/TOKEN") == "1\n"
    fleet.native.probe(made, Healthcheck("cat /run/secrets/TOKEN"))
    fleet.pool.submit(fleet.native.stop, made).result()
    fleet.pool.submit(fleet.native.start, made).result()
    kept = _having(store, CANARY)
    assert kept == ([f"{store.secrets()}/{fleet.environment.id}/TOKEN"] if os.path.isdir(store.secrets()) else [])
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if pid != str(os.getpid()):
            assert CANARY.encode() not in _content(f"/proc/{pid}/cmdline") + _content(f"/proc/{pid}/environ")
    fleet.end()
    assert _having(store, CANARY) == []
    assert not os.path.isdir(store.secrets("/dev/shm"))


def test_a_replaced_secret_is_seen_by_its_fingerprint_and_given_at_the_next_start(fleet: Fleet) -> None:
    fleet.native.supply(fleet.environment.id, {"TOKEN": b"old"})
    (made,) = fleet.up(fleet.spec("web-1", secrets=("TOKEN",), inputs=(("t", fleet.native.fingerprint(b"old")),)))
    fleet.native.supply(fleet.environment.id, {"TOKEN": b"new"})
    assert fleet.run(made, "cat /run/secrets/TOKEN") == "old\n"
    assert dict(fleet.seen(made).inputs)["t"] != fleet.native.fingerprint(b"new")
    fleet.pool.submit(fleet.native.stop, made).result()
    fleet.pool.submit(fleet.native.start, made).result()
    assert fleet.run(made, "cat /run/secrets/TOKEN") == "new\n"


# Stopping -------------------------------------------------------------------------------------------


def test_stop_sends_the_signal_and_waits_no_longer_than_its_grace(fleet: Fleet) -> None:
    trap = "trap 'echo ended; exit 7' INT; echo ready; while :; do sleep 0.05; done"
    deaf = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
    polite, stubborn = fleet.up(
        fleet.spec("web-1", command=trap, stop_signal="SIGINT"), fleet.spec("web-2", command=deaf, stop_grace=0.5)
    )
    for one in (polite, stubborn):
        assert eventually(lambda one=one: bool(list(fleet.native.logs(one))))  # type: ignore[misc]
    begun = time.monotonic()
    ended = fleet.all(fleet.native.stop, (polite, stubborn))
    assert time.monotonic() - begun < 8  # the usual grace is 10 s
    assert [one.exit_code for one in ended] == [7, 137]
    assert [line.text for line in fleet.native.logs(polite)] == ["ready", "ended"]
    assert ("web-2", "stop", "exit code 137") in fleet.told()


def test_after_a_reboot_the_first_that_is_started_has_the_slots_of_all_wired(fleet: Fleet) -> None:
    made = fleet.up(*(fleet.spec(f"web-{n}") for n in (1, 2, 3)))
    fleet.all(fleet.native.stop, made)
    slots = [slot for slot, _, container in fleet.native.state.known_slots() if container in made]
    marks = ", ".join("?" * len(made))
    fleet.native.state.db.execute(f"UPDATE slot SET boot = 'before' WHERE container IN ({marks})", made)

    fleet.pool.submit(fleet.native.start, made[0]).result()

    assert [fleet.native.state.slot_wired(slot) for slot in slots] == [True] * 3
    fleet.all(fleet.native.start, made)
    fleet.native.connect(fleet.environment.id)
    assert fleet.run(made[0], "getent hosts web-3 | wc -l") == "1\n"


def test_cancel_ends_all_waiting(fleet: Fleet, store: Paths) -> None:
    deaf = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
    made = fleet.up(*(fleet.spec(f"web-{n}", command=deaf, stop_grace=45) for n in (1, 2)))
    for one in made:
        assert eventually(lambda one=one: bool(list(fleet.native.logs(one))))  # type: ignore[misc]
    command = open_machine({"DEVENV_HOME": store.home, "DEVENV_RUN": store.run}).engine
    with ThreadPoolExecutor(3) as pool:
        stopping = pool.submit(command.stop, made[0])
        probing = pool.submit(command.probe, made[1], Healthcheck("sleep 600", timeout=600))
        watching = pool.submit(command.watch, made[1], 600)
        try:
            assert eventually(lambda: "sleep 600" in fleet.run(made[1], "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"))
        finally:
            command.cancel()  # or the pool would wait for ten minutes
        with pytest.raises(EngineError, match="stop web-1: interrupted"):
            stopping.result(20)
        assert probing.result(20).code == 124
        assert watching.result(20).status == "running"
        with pytest.raises(EngineError, match="stop web-2: interrupted"):  # what begins meanwhile is cancelled, too
            pool.submit(command.stop, made[1]).result(20)
        for one in made:
            fleet.native.state.db.execute("UPDATE container SET spec = replace(spec, '45', '0.1') WHERE id = ?", (one,))
        command.resume()
        assert [one.status for one in pool.map(command.stop, made)] == ["stopped"] * 2
    command.close()
    command.cancel()  # too late for anything


# Health ---------------------------------------------------------------------------------------------


def test_probe_says_how_the_check_ended(fleet: Fleet) -> None:
    (made,) = fleet.up(fleet.spec("web-1", process=Process((), (("WHO", "me"),), "www-data", "/tmp")))

    def probe(test: str, timeout: float = 10.0) -> tuple[int, str]:
        found = fleet.native.probe(made, Healthcheck(test, timeout=timeout))
        return found.code, found.output

    assert probe("true") == (0, "")
    assert probe("echo out; echo err >&2; exit 3") == (3, "out\nerr\n")
    assert probe("echo $WHO $(id -un) $PWD") == (0, "me www-data /tmp\n")
    assert probe("kill -9 $$")[0] == 137
    assert probe("no-such-program")[0] == 127
    code, output = probe("yes", 0.3)
    assert (code, len(output)) == (124, 4096)
    fleet.pool.submit(fleet.native.stop, made).result()
    assert probe("true") == (125, "")
    assert fleet.native.probe("none", Healthcheck("true")).code == 125


def test_probe_leaves_nothing_running(fleet: Fleet) -> None:
    (made,) = fleet.up(fleet.spec("web-1", command="sleep 600"))

    def inside() -> list[str]:
        look = 'for each in /proc/[0-9]*; do read -r name < "$each/comm" && echo "$name"; done 2>/dev/null; true'
        return sorted(fleet.run(made, look).split())

    before = inside()
    for test in ("sleep 601", "sleep 602 & setsid sleep 603 & sleep 604", "trap '' TERM; sleep 605 & wait"):
        assert fleet.native.probe(made, Healthcheck(test, timeout=0.2)).code == 124
    assert fleet.native.probe(made, Healthcheck("sleep 606 & setsid sleep 607 & sleep 608 >&- 2>&- &")).code == 0
    until = time.monotonic() + 10
    while inside() != before and time.monotonic() < until:  # what was killed is there until the init has collected it
        time.sleep(0.05)
    assert inside() == before
    assert [name for name in os.listdir(fleet.paths.bundle(made)) if name.startswith("exec-")] == []


def test_probes_of_many_at_once_dont_disturb_each_other(fleet: Fleet) -> None:
    made = fleet.up(*(fleet.spec(f"web-{n}") for n in range(1, 5)))
    asked = [(container, code) for container in made for code in range(1, 9)]
    codes = fleet.pool.map(lambda one: fleet.native.probe(one[0], Healthcheck(f"sleep 0.1; exit {one[1]}")).code, asked)
    assert list(codes) == [code for _, code in asked]


def test_health_is_written_down_and_ends_with_the_container(fleet: Fleet) -> None:
    with_check, without = fleet.up(fleet.spec("web-1", healthcheck=Healthcheck("true")), fleet.spec("db-1"))
    assert [fleet.seen(one).health for one in (with_check, without)] == ["starting", ""]
    for health in ("healthy", "healthy", "unhealthy", "healthy"):
        fleet.native.healthy(with_check, health)
    assert fleet.seen(with_check).health == "healthy"
    assert [detail for _, kind, detail in fleet.told() if kind == "health"] == ["healthy", "unhealthy", "healthy"]
    fleet.pool.submit(fleet.native.stop, with_check).result()
    fleet.native.healthy(with_check, "healthy")  # too late
    assert fleet.seen(with_check).health == ""
    fleet.pool.submit(fleet.native.start, with_check).result()
    assert fleet.seen(with_check).health == "starting"


# What is told ---------------------------------------------------------------------------------------


def test_an_end_is_told_with_its_exit_code_however_soon_it_is_seen(fleet: Fleet) -> None:
    made = fleet.up(*(fleet.spec(f"web-{n}", command=f"exit {n}") for n in range(1, 13)))
    seen = fleet.all(lambda one: fleet.native.watch(one, 10), made)
    assert [one.exit_code for one in seen] == list(range(1, 13))
    told = {(name, detail) for name, kind, detail in fleet.told() if kind == "die"}
    assert told == {(f"web-{n}", f"exit code {n}") for n in range(1, 13)}


def test_events_tell_a_containers_life(fleet: Fleet) -> None:
    from devenv.engine.native.running import lifecycle

    (made,) = fleet.up(fleet.spec("web-1", command="read line < /tmp/fifo || sleep 0.3; exit 4"))
    assert eventually(lambda: fleet.seen(made).status == "stopped")
    for _ in range(2):
        assert fleet.native.watch(made, 0).exit_code == 4
    again = fleet.pool.submit(lambda: lifecycle.start(fleet.native.ground, made, again=True)).result()
    assert again.restarts == 1
    assert eventually(lambda: fleet.seen(made).status == "stopped")
    fleet.pool.submit(fleet.native.start, made).result()
    assert fleet.seen(made).restarts == 0
    fleet.remove(made)
    ours = [(kind, detail) for name, kind, detail in fleet.told() if name == "web-1"]
    assert ours[:6] == [
        *(("create", ""), ("start", ""), ("die", "exit code 4"), ("restart", ""), ("die", "exit code 4"), ("start", ""))
    ]
    assert ours[-1] == ("remove", "")
    times = [one.time for one in fleet.native.events(fleet.environment.id)]
    assert times == sorted(times)


def test_out_of_memory_is_told_and_leaves_no_file_in_our_folder(fleet: Fleet) -> None:
    hungry = "sleep 0.2; tail /dev/zero"
    (made,) = fleet.up(fleet.spec("web-1", command=hungry, limits=Limits(memory=32 << 20)))
    assert eventually(lambda: fleet.native.watch(made, 0).status == "stopped")
    assert ("web-1", "oom", "") in fleet.told()
    assert fleet.seen(made).exit_code == 137
    assert not os.path.exists("oom")
    assert not os.path.exists("/oom")


def test_an_end_that_nobody_saw_is_told(fleet: Fleet) -> None:
    made = fleet.up(fleet.spec("web-1"), fleet.spec("web-2"))
    with open(f"{fleet.paths.bundle(made[0])}/conmon.pid", encoding="ascii") as file:
        os.kill(int(file.read()), 9)
    fleet.native.state.db.execute("UPDATE container SET boot = 'another' WHERE id = ?", (made[1],))
    for one in made:
        assert eventually(lambda one=one: fleet.native.watch(one, 0).status == "stopped")  # type: ignore[misc]
    assert {("web-1", "die", "its monitor was killed"), ("web-2", "die", "the host was restarted")} <= set(fleet.told())
    assert [one.status for one in fleet.all(fleet.native.start, made)] == ["running", "running"]


# Helpers --------------------------------------------------------------------------------------------


def _mounts(paths: Paths) -> list[str]:
    """The store's, as the host sees them."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return [line for line in file if os.path.dirname(paths.home) in line]


def _own_descriptors() -> list[int]:
    """Those that no program is meant to inherit."""
    found = []
    for fd in map(int, os.listdir("/proc/self/fd")):
        with suppress(OSError):  # the listing's own
            if not os.get_inheritable(fd):
                found.append(fd)
    return found


def _answers(port: int, count: int = 24) -> set[str]:
    """Who answers there."""
    found = set()
    for _ in range(count):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
                found.add(connection.recv(99).decode())
        except OSError:
            found.add("nobody")
    return found


def _asked(fleet: Fleet, container: str, host: str) -> str:
    """What a server of the environment answers to a container; "" when it can't be reached."""
    client = (
        "use IO::Socket::INET; my $s = IO::Socket::INET->new(PeerAddr => $ARGV[0], PeerPort => 8000, Timeout => 1)"
        " or exit 1; print <$s>"
    )
    lines: list[str] = []
    fleet.native.execute(container, Process(("perl", "-e", client, host)), lines.append)
    return "".join(lines)


def _having(store: Paths, text: str) -> list[str]:
    """The files of a store that a text is in, found by a process of its own: were this one to read the database, which it
    has open, it would lose the locks on it (sqlite.org/howtocorrupt.html, 2.2), and the next process would take it away.
    """
    argv = ["grep", "--recursive", "--files-with-matches", "--exclude-dir=slots", "--fixed-strings", "--", text]
    found = subprocess.run([*argv, store.home, store.run], capture_output=True, text=True)
    assert found.returncode in (0, 1), found.stderr
    return found.stdout.splitlines()


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
