"""examples/shop-stack: all its services from nothing with one `up`; their order, names, data and port; two checkouts at once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from devenv.paths import Paths
from tests.e2e.conftest import New
from tests.e2e.place import EXAMPLES, Place
from tests.engine.conftest import temporary_store
from tests.engine.standing import left, standing

pytestmark = [pytest.mark.engine, pytest.mark.network]

SERVICES = {
    "workspace": "running",
    "cache-1": "running",
    "db-1": "running",
    "migrate-1": "stopped",
    "web-1": "running",
    "web-2": "running",
    "web-3": "running",
    "worker-1": "running",
}


@pytest.fixture(scope="module")
def fresh(new: New, store: Paths) -> tuple[Place, frozenset[str]]:
    """The stack's folder, and what there is before its first `up`, but for the places that the store makes for any container."""
    first = new(manifest="from: bootstrap:bookworm\n")
    first("up")
    first("down")
    return new("shop-stack"), standing(store, [])


@pytest.fixture(scope="module")
def stack(fresh: tuple[Place, frozenset[str]]) -> Place:
    """The stack, up."""
    place, _ = fresh
    place("up")
    return place


@pytest.fixture(scope="module")
def empty() -> Iterator[Paths]:
    """A store with nothing in it."""
    with temporary_store() as paths:
        yield paths


def containers(place: Place) -> dict[str, Any]:
    """What `ps --all` says of this folder's containers, by name."""
    rows = [row for row in place.json("ps", "--all") if row["environment"]["folder"] == place.folder]
    return {row["name"]: row for row in rows}


def smoke(place: Place) -> int:
    """The example's own smoke test, from outside through the published port; the number of the order that it placed."""
    address = place("port", "web", "8000").out.strip()
    argv = [sys.executable, f"{place.folder}/smoke.py", f"http://{address}"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done
    assert done.stdout.startswith("ok: web-1, web-2, web-3 answer; order ")
    return int(done.stdout.split()[6])


def order(place: Place, number: int) -> Any:
    """An order, as the shop tells of it."""
    address = place("port", "web", "8000").out.strip()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{address}/orders/{number}/", timeout=10) as answer:
        return json.loads(answer.read())


def reaches(place: Place, address: str) -> bool:
    """Whether the workspace gets a connection to a PostgreSQL at an address."""
    ask = f"import socket, sys; sys.exit(bool(socket.socket().connect_ex(('{address}', 5432))))"
    return place.attempt("exec", "--", "timeout", "5", "python", "-c", ask).code == 0


def images(place: Place) -> dict[str, str]:
    """Digests by the service that has the image of its own, "" for the project's."""
    told = place.json("build")
    return {"": told["digest"], **{name: one["digest"] for name, one in told["services"].items()}}


def test_stack_comes_up_with_one_command_as_its_manifest_says(stack: Place) -> None:
    found = containers(stack)
    assert {name: one["status"] for name, one in found.items()} == SERVICES
    assert found["migrate-1"]["exit_code"] == 0
    assert {name for name, one in found.items() if one["health"] == "healthy"} == {
        *("cache-1", "db-1", "web-1", "web-2", "web-3")
    }
    assert len({one["image"] for one in found.values()}) == 3


def test_stack_passes_its_tests_inside(stack: Place) -> None:
    stack("test")


def test_stack_answers_through_its_published_port(stack: Place) -> None:
    ports = {port["host"] for row in containers(stack).values() for port in row["ports"]}
    assert len(ports) == 1
    assert order(stack, smoke(stack))["packed"]


def test_stack_keeps_everything_the_second_time(stack: Place) -> None:
    before = containers(stack)
    assert {action["verb"] for action in stack.json("up")["actions"]} == {"keep"}
    assert {name: one["pid"] for name, one in containers(stack).items()} == {
        name: one["pid"] for name, one in before.items()
    }
    assert stack.json("plan")["idle"] is True


def test_stack_leaves_its_source_tree_as_it_was(stack: Place) -> None:
    argv = ["diff", "-rq", "-x", "devenv.lock.yml", f"{EXAMPLES}/shop-stack", stack.folder]
    made = subprocess.run(argv, capture_output=True, text=True).stdout.splitlines()
    assert [line for line in made if line.startswith(f"Only in {stack.folder}")] == []


def test_stack_s_data_survives_down_and_up_and_nothing_else_does(
    stack: Place, fresh: tuple[Place, frozenset[str]]
) -> None:
    number = smoke(stack)
    (environment,) = {row["environment"]["id"] for row in containers(stack).values()}
    stack("down")
    assert containers(stack) == {}
    assert left(stack.paths, environment, fresh[1], volumes=True) == []
    stack("up")
    assert order(stack, number)["packed"]
    assert smoke(stack) > number


def test_two_checkouts_are_up_at_the_same_time(stack: Place, new: New) -> None:
    other = new("shop-stack")
    shutil.copy(f"{stack.folder}/devenv.lock.yml", other.folder)
    layers = stack.layers()
    other("up")
    number = smoke(stack)
    assert smoke(other) == 1
    assert smoke(stack) > number
    assert stack.layers() == layers
    assert reaches(stack, containers(stack)["db-1"]["address"])
    assert not reaches(stack, containers(other)["db-1"]["address"])
    other("down", "--volumes")
    assert smoke(stack)


def test_one_more_package_of_a_service_is_that_service_s_alone(stack: Place) -> None:
    before, digests = containers(stack), images(stack)
    stack.change("devenv.yml", "apt: [redis-server]", "apt: [redis-server, jq]")
    done = {(one["object"], one["verb"]) for one in stack.json("up")["actions"] if one["verb"] != "keep"}
    assert done == {
        ("lock", "lock"),
        ("image cache", "build"),
        *(("cache-1", verb) for verb in ("replace", "start", "wait")),
    }
    # The worker, which lost its queue, may have ended and been started again.
    assert {name for name, one in containers(stack).items() if one["created"] != before[name]["created"]} == {"cache-1"}
    assert {name for name, digest in images(stack).items() if digest != digests[name]} == {"cache"}
    assert smoke(stack)


@pytest.mark.soak
def test_stack_comes_up_from_an_empty_store_and_leaves_nothing(empty: Paths) -> None:
    folder = f"{os.path.dirname(empty.home)}/checkout"
    shutil.copytree(f"{EXAMPLES}/shop-stack", folder, ignore=shutil.ignore_patterns("__pycache__"))
    place = Place(empty, folder)
    place("up")
    place("test")
    assert smoke(place) == 2
    place("down", "--volumes")
    assert containers(place) == {}


@pytest.mark.soak
def test_stack_is_the_same_on_another_machine_but_for_what_postgresql_makes_up(stack: Place, empty: Paths) -> None:
    folder = f"{os.path.dirname(empty.home)}/again"
    shutil.copytree(stack.folder, folder)
    before, after = images(stack), images(Place(empty, folder))
    assert {name for name in before if before[name] != after[name]} <= {"db"}  # the cluster's own number
