"""Several containers: what is done at the same time, what is waited for, what a failure takes with it. Without threads or time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import pytest

from devenv.crew import Done
from devenv.model.container import ContainerSpec, Environment, Probe, Process
from devenv.model.events import Event
from devenv.model.image import PROJECT, Image, Rootfs
from devenv.model.manifest import Condition, Dependency, Healthcheck, Hooks
from devenv.model.plan import Desired, Report, WantedImage, WantedService
from devenv.plan import halt, plan, restart, takedown
from devenv.provision import provision
from tests.fake_engine import FakeEngine, FakeWorkshop

ENVIRONMENT = Environment("e1", "shop", "/home/ann/shop")
CHECK = Healthcheck("pg_isready", interval=1.0, timeout=5.0, retries=30)


class Alone:
    """Hands that do one thing after the other, when they are asked what is done, and a clock that only waiting moves."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.now = 100.0
        self.given: list[tuple[int, Callable[[], object]]] = []
        self.most = 0
        self.dismissed = False
        self.later: list[tuple[float, Callable[[], object]]] = []

    def clock(self) -> float:
        return self.now

    def after(self, seconds: float, what: Callable[[], object]) -> None:
        """Let something happen in so many seconds."""
        self.later.append((self.now + seconds, what))

    def give(self, number: int, work: Callable[[], object]) -> None:
        self.given.append((number, work))
        self.most = max(self.most, len(self.given))

    def take(self, seconds: float | None) -> Done | None:
        if not self.given:
            assert seconds is not None, "nothing is under way, and nothing will be"
            self.now += seconds
            for moment, what in [one for one in self.later if one[0] <= self.now]:
                self.later.remove((moment, what))
                what()
            return None
        number, work = self.given.pop(0)
        try:
            return Done(number, work())
        except BaseException as error:
            return Done(number, error=error)

    def dismiss(self, cancel: Callable[[], None] | None = None) -> None:
        self.dismissed = True
        if cancel is not None:
            cancel()


class Service(NamedTuple):
    name: str
    replicas: int = 1
    needs: tuple[tuple[str, Condition], ...] = ()
    check: Healthcheck | None = None
    awaited: Condition = "started"
    version: str = "1"
    image: str = PROJECT


class Shop:
    """An engine in memory, and what was asked of it last."""

    def __init__(self) -> None:
        self.engine = FakeEngine()
        self.hands = Alone(self.engine)
        self.events: list[Event] = []

    def wanted(self, services: Sequence[Service], hooks: Hooks | None = None) -> Desired:
        names = dict.fromkeys([PROJECT, *(one.image for one in services)])
        images = tuple(WantedImage(name, f"key of {name}") for name in names)
        process, inputs = Process(("/bin/sh", "-c", "serve")), (("image", images[0].key),)
        spec = ContainerSpec("e1", "workspace", "shop", "", Process(()), inputs=inputs, service="workspace")

        def replica(one: Service, index: int) -> ContainerSpec:
            name = f"{one.name}-{index}"
            needs = ("depends_on", ", ".join(name for name, _ in one.needs))
            return ContainerSpec(
                *("e1", name, name, "", process),
                inputs=(("env.VERSION", one.version), needs),
                service=one.name,
                index=index,
                healthcheck=one.check,
            )

        return Desired(
            ENVIRONMENT,
            images,
            spec,
            hooks or Hooks(),
            tuple(
                WantedService(
                    one.name,
                    one.image,
                    tuple(replica(one, index) for index in range(1, one.replicas + 1)),
                    tuple(Dependency(*need) for need in one.needs),
                    one.awaited if one.check is None else "healthy",
                )
                for one in services
            ),
        )

    def build(self, name: str) -> Image:
        self.engine.did.append(("build", name))
        return FakeWorkshop(self.engine, "/nowhere").commit(Rootfs(name), f"key of {name}", ())

    def up(
        self,
        *services: Service,
        hooks: Hooks | None = None,
        only: frozenset[str] | None = None,
        wait: bool = True,
        build: Callable[[str], Image] | None = None,
    ) -> Report:
        wanted = self.wanted(services, hooks)
        self.engine.did.clear()
        state = self.engine.observe(ENVIRONMENT, {one.name: one.key for one in wanted.images}, ())
        decided = plan(wanted, state, only=only, wait=wait)
        return provision(decided, self.engine, build or self.build, self.events.append, self.hands.clock, self.hands)

    def did(self) -> list[str]:
        """What was done, by the names of containers."""
        names = {identifier: one.name for identifier, one in self.engine.made.items()}
        return [" ".join(names.get(word, word) for word in one) for one in self.engine.did if one[0] != "register"]

    def status(self) -> dict[str, str]:
        return {one.name: one.health or one.status for one in self.engine.containers()}


@pytest.fixture
def shop() -> Shop:
    return Shop()


DB = Service("db", check=CHECK)
WEB = Service("web", 3, needs=(("db", "healthy"),))


def failed(report: Report) -> dict[str, str]:
    return {f"{one.action.verb} {one.action.object}": one.error.splitlines()[0] for one in report.results if one.error}


def skipped(report: Report) -> list[str]:
    return [f"{one.action.verb} {one.action.object}" for one in report.results if one.skipped]


def test_services_are_made_at_once_and_started_along_what_they_need(shop: Shop) -> None:
    report = shop.up(WEB, DB)
    assert report.ok, failed(report)
    assert shop.did() == [
        "build image",
        *("create workspace", "create db-1", "create web-1", "create web-2", "create web-3"),
        "connect e1",
        *("start workspace", "start db-1"),
        "healthy db-1",
        "connect e1",
        *("start web-1", "start web-2", "start web-3"),
        "connect e1",
    ]
    assert shop.status() == {
        "db-1": "healthy",
        **dict.fromkeys(("web-1", "web-2", "web-3", "workspace"), "running"),
    }
    assert shop.hands.dismissed


def test_others_are_told_of_many_changes_at_once_but_soon_though_something_is_waited_for(shop: Shop) -> None:
    slow = Service("slow", check=CHECK)
    shop.engine.probes["slow-1"] = [Probe(1)] * 50 + [Probe(0)]
    shop.up(slow, Service("web", 20, check=CHECK))
    assert shop.did().count("connect e1") == 3
    told = len(shop.did()) - 1 - shop.did()[::-1].index("connect e1", 1)
    assert "healthy slow-1" in shop.did()[told:]


def test_replicas_start_at_the_same_time(shop: Shop) -> None:
    assert shop.up(Service("web", 20)).ok
    assert shop.hands.most == 21


def test_up_again_touches_nothing(shop: Shop) -> None:
    shop.up(DB, WEB)
    report = shop.up(DB, WEB)
    assert {one.action.verb for one in report.results} == {"keep"}
    assert shop.did() == []


def test_results_stand_in_the_order_of_the_plan(shop: Shop) -> None:
    report = shop.up(WEB, DB)
    assert [f"{one.action.verb} {one.action.object}" for one in report.results] == [
        *("build image", "create workspace", "start workspace", "create db-1", "start db-1", "wait db-1"),
        *("create web-1", "start web-1", "create web-2", "start web-2", "create web-3", "start web-3"),
    ]


def test_a_service_is_seen_ready_soon_and_asked_ever_more_seldom(shop: Shop) -> None:
    shop.engine.probes["db-1"] = [Probe(1)] * 8 + [Probe(0)]
    shop.up(DB)
    assert shop.hands.now - 100 == pytest.approx(8 * 0.01)
    shop.engine.probes["db-1"] = [Probe(1)] * 200 + [Probe(0)]
    begun = shop.hands.now
    shop.up(DB._replace(version="2"))
    assert shop.hands.now - begun > 10


def test_a_service_that_never_gets_healthy_fails_with_what_it_and_its_check_said(shop: Shop) -> None:
    shop.engine.probes["db-1"] = [Probe(2, "starting up\nno response\n")]
    shop.hands.after(1.0, lambda: shop.engine.lines[shop.engine.containers()[0].id].extend(["one", "FATAL: two"]))
    report = shop.up(DB, WEB, Service("mail"))
    told = next(one.error for one in report.results if one.error)
    assert told.startswith("wait for db-1: not healthy after 30.")
    assert (
        "its check ended with exit code 2\n  │ check: starting up\n  │ check: no response\n  │ one\n  │ FATAL: two\n  hint:"
        in told
    )
    assert skipped(report) == ["start web-1", "start web-2", "start web-3"]
    assert shop.status()["mail-1"] == "running"
    assert shop.status()["db-1"] == "unhealthy"
    assert report.code == 1


def test_a_check_that_takes_too_long_says_so(shop: Shop) -> None:
    shop.engine.probes["db-1"] = [Probe(124)]
    assert "its check took longer than 5 s" in failed(shop.up(DB))["wait db-1"]


def test_a_start_period_is_time_on_top(shop: Shop) -> None:
    shop.engine.probes["db-1"] = [Probe(1)]
    report = shop.up(DB._replace(check=CHECK._replace(start_period=60)))
    assert "not healthy after 90." in failed(report)["wait db-1"]


def test_a_service_that_dies_before_it_is_healthy_fails_at_once(shop: Shop) -> None:
    shop.engine.probes["db-1"] = [Probe(1)]

    def dies() -> None:
        (db,) = (one for one in shop.engine.containers() if one.name == "db-1")
        shop.engine.lines[db.id] += [f"line {number}" for number in range(20)]
        shop.engine.crash(db.id, 3)

    shop.hands.after(0.5, dies)
    report = shop.up(DB, WEB)
    (told,) = (one.error for one in report.results if one.error)
    assert told.startswith("wait for db-1: its command ended before it was healthy with exit code 3\n  │ line 10\n")
    assert "mend `services.db.command` in devenv.yml; `devenv logs db-1` has all it said" in told
    assert shop.hands.now - 100 < 1


def test_what_ends_at_once_is_an_error_though_nobody_waits_for_it(shop: Shop) -> None:
    shop.engine.ends["web-2"] = 127
    report = shop.up(Service("web", 3), hooks=Hooks(on_start=("warm",)))
    assert failed(report) == {"start web-2": "start web-2: its command ended at once with exit code 127"}
    assert skipped(report) == ["run-hook on_start"]
    assert shop.status() == {"web-1": "running", "web-2": "stopped", "web-3": "running", "workspace": "running"}


def test_hooks_come_last_when_all_services_are_ready(shop: Shop) -> None:
    shop.engine.probes["db-1"] = [Probe(1)] * 5 + [Probe(0)]
    assert shop.up(DB, WEB, hooks=Hooks(on_create=("migrate",))).ok
    assert shop.did()[-1] == "execute workspace /bin/sh -c migrate"
    assert shop.engine.containers()[-1].hooks_done


def test_a_one_shot_is_waited_for_and_kept_when_it_has_completed(shop: Shop) -> None:
    migrate = Service("migrate", needs=(("db", "healthy"),), awaited="completed")
    web = Service("web", needs=(("migrate", "completed"),))
    shop.hands.after(2.0, lambda: shop.engine.crash(ids(shop)["migrate-1"], 0))
    assert shop.up(DB, migrate, web).ok
    assert shop.hands.now - 100 == pytest.approx(2.0, abs=0.3)
    assert shop.did().index("start web-1") > shop.did().index("start migrate-1")
    report = shop.up(DB, migrate, web)
    assert [one.action.reason for one in report.results if one.action.object == "migrate-1"] == [
        "it has completed, and nothing changed"
    ]
    assert shop.did() == []


def test_a_one_shot_may_end_at_once(shop: Shop) -> None:
    shop.engine.ends["migrate-1"] = 0
    assert shop.up(Service("migrate", awaited="completed"), Service("web", needs=(("migrate", "completed"),))).ok


def test_a_one_shot_whose_exit_code_isnt_written_down_yet_is_looked_at_again(shop: Shop) -> None:
    shop.hands.after(0.5, lambda: shop.engine.crash(ids(shop)["migrate-1"], None))
    shop.hands.after(0.7, lambda: shop.engine.crash(ids(shop)["migrate-1"], 0))
    assert shop.up(Service("migrate", awaited="completed")).ok


def test_a_one_shot_that_was_cut_off_fails(shop: Shop) -> None:
    shop.hands.after(0.5, lambda: shop.engine.crash(ids(shop)["migrate-1"], None))
    report = shop.up(Service("migrate", awaited="completed"))
    assert failed(report) == {"wait migrate-1": "wait for migrate-1: its command ended"}
    assert shop.hands.now - 100 < 2


def test_a_one_shot_that_fails_takes_those_with_it_that_need_it_and_is_tried_again(shop: Shop) -> None:
    migrate, web = Service("migrate", awaited="completed"), Service("web", needs=(("migrate", "completed"),))
    shop.engine.ends["migrate-1"] = 1
    report = shop.up(migrate, web)
    assert failed(report) == {"wait migrate-1": "wait for migrate-1: its command ended with exit code 1"}
    assert skipped(report) == ["start web-1"]
    shop.engine.ends["migrate-1"] = 0
    assert shop.up(migrate, web).ok
    assert shop.did()[:2] == ["connect e1", "start migrate-1"]


def ids(shop: Shop) -> dict[str, str]:
    return {one.name: one.id for one in shop.engine.containers()}


def test_replicas_are_replaced_one_after_the_other_each_once_the_one_before_is_healthy(shop: Shop) -> None:
    web = Service("web", 3, check=CHECK)
    shop.up(web)
    report = shop.up(web._replace(version="2"))
    assert report.ok
    assert [one for one in shop.did() if "connect" not in one] == [
        word
        for number, old in ((1, "c2"), (2, "c3"), (3, "c4"))
        for word in (
            f"remove {old}",
            f"create web-{number}",
            f"start web-{number}",
            f"healthy web-{number}",
        )
    ]


def test_a_failure_ends_the_roll_and_the_old_ones_go_on(shop: Shop) -> None:
    web = Service("web", 3, check=CHECK)
    shop.up(web)
    old = ids(shop)
    shop.engine.probes["web-1"] = [Probe(1)]
    report = shop.up(web._replace(version="2"))
    assert list(failed(report)) == ["wait web-1"]
    assert shop.status() == {"web-1": "unhealthy", "web-2": "healthy", "web-3": "healthy", "workspace": "running"}
    assert {name: identifier for name, identifier in ids(shop).items() if name in ("web-2", "web-3")} == {
        "web-2": old["web-2"],
        "web-3": old["web-3"],
    }


def test_a_roll_without_a_health_check_sees_each_run_first(shop: Shop) -> None:
    shop.up(Service("web", 3))
    shop.engine.ends["web-1"] = 1
    report = shop.up(Service("web", 3, version="2"))
    assert failed(report) == {"wait web-1": "wait for web-1: its command ended at once with exit code 1"}
    assert shop.status() == {"web-1": "stopped", "web-2": "running", "web-3": "running", "workspace": "running"}


def test_a_single_replica_is_replaced_only_once_what_it_needs_is_ready(shop: Shop) -> None:
    web = Service("web", needs=(("db", "healthy"),))
    shop.up(DB, web)
    shop.engine.probes["db-1"] = [Probe(1)]
    report = shop.up(DB._replace(version="2"), web._replace(version="2"))
    assert skipped(report) == ["replace web-1", "start web-1"]
    assert shop.status()["web-1"] == "running"


def test_what_is_no_longer_wanted_goes_before_others_come(shop: Shop) -> None:
    shop.up(DB, WEB, Service("mail"))
    report = shop.up(DB, WEB._replace(replicas=2), Service("post"))
    assert [(one.action.object, one.action.reason) for one in report.results if one.action.verb == "remove"] == [
        ("mail-1", "devenv.yml no longer has it"),
        ("web-3", "replicas: 2"),
    ]
    done = [one for one in shop.did() if one.split()[0] in ("remove", "create")]
    assert done[-1] == "create post-1" and len(done) == 3


def test_only_these_services_and_what_they_need_are_touched(shop: Shop) -> None:
    report = shop.up(DB, WEB, Service("mail"), only=frozenset({"db", "web"}), hooks=Hooks(on_start=("warm",)))
    assert report.ok
    assert sorted(shop.status()) == ["db-1", "web-1", "web-2", "web-3"]


def test_without_waiting_only_what_others_need_is_waited_for(shop: Shop) -> None:
    cache = Service("cache", check=CHECK)
    shop.engine.probes["cache-1"] = [Probe(1)]
    assert shop.up(DB, WEB, cache, wait=False).ok
    assert shop.status() == {
        "cache-1": "starting",
        "db-1": "healthy",
        **dict.fromkeys(("web-1", "web-2", "web-3", "workspace"), "running"),
    }


def test_what_is_unhealthy_though_it_runs_is_waited_for(shop: Shop) -> None:
    shop.up(DB)
    shop.engine.healthy(ids(shop)["db-1"], "unhealthy")
    report = shop.up(DB)
    assert [(one.action.verb, one.action.reason) for one in report.results if one.action.object == "db-1"] == [
        ("keep", "it runs, and nothing changed"),
        ("wait", "it is unhealthy"),
    ]
    assert shop.status()["db-1"] == "healthy"


def test_a_container_that_cant_be_made_is_told_before_anything_is_done(shop: Shop) -> None:
    shop.engine.refuses["web-2"] = "publish port 127.0.0.1:8000: nginx (pid 7) has it"
    report = shop.up(DB, WEB)
    assert failed(report) == {"create web-2": "publish port 127.0.0.1:8000: nginx (pid 7) has it"}
    assert shop.did() == []


def test_each_image_is_built_once_and_a_failure_of_one_leaves_the_others_alone(shop: Shop) -> None:
    def build(name: str) -> Image:
        if name == "db":
            from devenv.errors import StepFailed

            raise StepFailed("RUN false: exit code 1", code=1)
        return shop.build(name)

    db = Service("db", 2, image="db")
    report = shop.up(db, Service("web", 2), build=build)
    assert failed(report) == {"build image db": "RUN false: exit code 1"}
    assert skipped(report) == ["create db-1", "start db-1", "create db-2", "start db-2"]
    assert shop.status() == dict.fromkeys(("web-1", "web-2", "workspace"), "running")
    assert shop.up(db, Service("web", 2)).ok
    assert shop.did()[0] == "build db"


def test_an_interruption_lets_nothing_run_on(shop: Shop) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    shop.engine.probes["db-1"] = [Probe(1)]
    shop.hands.after(0.2, interrupted)
    with pytest.raises(KeyboardInterrupt):
        shop.up(DB)
    assert shop.hands.dismissed
    assert shop.did()[-2:] == ["cancel", "resume"]  # whoever goes on can take down what there is


def test_a_bug_in_a_thread_is_no_result(shop: Shop) -> None:
    shop.engine.start = None  # type: ignore[assignment,method-assign]
    with pytest.raises(TypeError):
        shop.up(DB)


def test_stopping_begins_with_those_that_depend_on_others(shop: Shop) -> None:
    shop.up(DB, WEB)
    state = shop.engine.observe(ENVIRONMENT, {}, ())
    shop.engine.did.clear()
    report = provision(halt(state), shop.engine, shop.build, shop.events.append, shop.hands.clock, shop.hands)
    assert report.ok
    stops = [one for one in shop.did() if one.startswith("stop")]
    assert stops[-1] == "stop db-1" and len(stops) == 5


def again(shop: Shop, *services: str) -> Report:
    """Restart these services."""
    state = shop.engine.observe(ENVIRONMENT, {}, ())
    specs = {one.id: shop.engine.spec(one.id) for one in state.containers if one.service in services}
    shop.engine.did.clear()
    decided = restart(state, specs.keys(), specs, Hooks())
    return provision(decided, shop.engine, shop.build, shop.events.append, shop.hands.clock, shop.hands)


def test_restarting_touches_one_replica_at_a_time_and_waits_until_it_is_healthy(shop: Shop) -> None:
    web = WEB._replace(check=CHECK)
    shop.up(DB, web)
    assert again(shop, "web").ok
    assert [one for one in shop.did() if one != "connect e1"] == [
        f"{verb} web-{number}" for number in (1, 2, 3) for verb in ("stop", "start", "healthy")
    ]


def test_a_replica_that_does_not_come_back_leaves_the_others_as_they_are(shop: Shop) -> None:
    shop.up(DB, WEB)
    shop.engine.ends["web-1"] = 3
    report = again(shop, "web")
    assert failed(report) == {"wait web-1": "wait for web-1: its command ended at once with exit code 3"}
    assert skipped(report)[:2] == ["stop web-2", "start web-2"]
    assert (shop.status()["web-2"], shop.status()["web-3"]) == ("running", "running")


def test_taking_down_removes_all_and_forgets(shop: Shop) -> None:
    shop.up(DB, WEB)
    state = shop.engine.observe(ENVIRONMENT, {}, ())
    report = provision(takedown(state), shop.engine, shop.build, shop.events.append, shop.hands.clock, shop.hands)
    assert report.ok
    assert shop.engine.containers() == ()
    assert shop.engine.environments() == ()


def test_a_service_is_one_thing_under_way_with_how_far_it_is(shop: Shop) -> None:
    shop.engine.probes["db-1"] = [Probe(1)] * 3 + [Probe(0)]
    shop.up(DB, Service("web", 2))
    told = [(one.kind, one.text) for one in shop.events if one.object == "db"]
    assert told == [
        ("started", ""),
        *(
            ("state", text)
            for text in ("creating", "created", "starting", "running", "waiting until healthy", "healthy")
        ),
        ("done", ""),
    ]
    assert ("state", "1 running, 1 starting") in [(one.kind, one.text) for one in shop.events if one.object == "web"]


def test_a_service_under_way_says_what_it_waits_for(shop: Shop) -> None:
    shop.up(DB, WEB)
    assert Event("state", "web", "3 waiting for db") in shop.events


def test_a_service_that_fails_is_told_as_failed_once(shop: Shop) -> None:
    shop.engine.ends["web-2"] = 1
    shop.up(Service("web", 3))
    assert [one.kind for one in shop.events if one.object == "web"].count("failed") == 1
    assert [one.kind for one in shop.events if one.object == "web"].count("done") == 0


def test_a_service_that_wasn_t_reached_isn_t_told_as_done(shop: Shop) -> None:
    shop.engine.ends["db-1"] = 1
    shop.up(DB, WEB)
    kinds = [one.kind for one in shop.events if one.object == "web"]
    assert (kinds[0], kinds[-1]) == ("started", "failed") and "done" not in kinds


def test_an_image_is_under_way_since_the_first_was_asked_for(shop: Shop) -> None:
    """They are built at the same time, whichever is asked for first."""

    def build(name: str) -> Image:
        shop.hands.now += 2.0
        return shop.build(name)

    report = shop.up(Service("db", image="db"), Service("cache", image="cache"), build=build)
    assert [one.seconds for one in report.results if one.action.verb == "build"] == pytest.approx([2.0, 4.0, 6.0])
