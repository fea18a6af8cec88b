"""Many containers of one project: contenders with a composition in, rows of bringing it up, looking at it and reaching it out."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from .contenders import BASE, DAEMONS, HOME, SUITE, Contender, write
from .measure import Argv, Failed, Row, output, outside_memory, say, seconds
from .topics import Topic, clear, in_turn, tolerated

_SERVE = "exec sleep infinity"
_READY = "sleep 1; date +%s.%N > ready; exec sleep infinity"
_NGINX = (
    "exec nginx -g 'daemon off; worker_processes 1; error_log /dev/null crit; pid /tmp/nginx.pid;'"
    " -c /workspace/nginx.conf"
)
_CONF = """events { worker_connections 1024; }
http { access_log off; server { listen 8000; location / { return 200 "hello"; } } }
"""
_WEB = "devenv-bench/nginx"


def services(contenders: Sequence[Contender], rounds: int, many: int) -> Topic:
    """5, 12, 20 and `many` containers up, `ps`, a health-gated pair, and requests through a published port."""
    rows = {
        "five": Row("5 replicas up, image cached", "ms"),
        "twelve": Row("12 services up", "ms"),
        "twenty": Row("20 replicas up", "ms"),
        "each20": Row("each of 20", "ms"),
        "ps": Row("`ps` with 20 running", "ms"),
        "down20": Row("down of 20", "ms"),
        "pair": Row("from a service's readiness to the start of what waits for it", "ms"),
        "many": Row(f"{many} replicas up", "s"),
        "each": Row(f"each of {many}", "ms"),
        "memory": Row(f"memory per container, {many} running", "MB"),
        "direct": Row("requests a second, nginx, straight to the container", "k/s"),
        "port": Row("requests a second, through its published port", "k/s"),
    }
    intro = (
        f"One project in a file of its own, {rounds} rounds, in a rotating order. devenv's `up` brings its workspace up as"
        " well. Docker alone has no such file: its 20 are 20 times `docker run -d`."
    )
    topic = Topic("Services and replicas", intro, rows, [])
    alive = list(contenders)
    for number in range(rounds):
        for contender in in_turn(alive, number):
            with tolerated(contender, topic, alive):
                _round(contender, rows)
            time.sleep(0.3)
        say(f"services: round {number + 1} of {rounds}")
    for contender in [one for one in alive if one.name == "devenv"]:
        with tolerated(contender, topic, alive):
            _many(contender, rows, many)
    for contender in alive:
        with tolerated(contender, topic, alive):
            _requests(contender, rows)
        say(f"services: requests to {contender.name} done")
    return topic


def composed(contender: Contender, label: str, wanted: Mapping[str, Mapping[str, Any]], apt: Sequence[str] = ()) -> str:
    """A project with these services, for devenv and for compose; its folder. In both they see it at /workspace."""
    folder = f"{HOME}/projects/{contender.name.lower()}-{label}"
    os.makedirs(folder, exist_ok=True)
    write(f"{folder}/nginx.conf", _CONF)
    base = {"name": f"bench-{label}", "from": f"bootstrap:{SUITE}", "apt": [*apt], "services": wanted}
    write(f"{folder}/devenv.yml", json.dumps(base))  # YAML has all of JSON
    image = _WEB if apt else BASE
    theirs = {name: _in_compose(one, image) for name, one in wanted.items()}
    write(f"{folder}/docker-compose.yml", json.dumps({"services": theirs}))
    return folder


def _in_compose(service: Mapping[str, Any], image: str) -> dict[str, Any]:
    """A service as compose has it. It knows no replicas but by `--scale`."""
    kept = {name: value for name, value in service.items() if name in ("ports",)}
    kept |= {"image": image, "command": ["/bin/sh", "-c", service["command"].replace("$", "$$")]}
    kept |= {"volumes": [".:/workspace"], "working_dir": "/workspace"}
    if "healthcheck" in service:
        check = service["healthcheck"]
        kept["healthcheck"] = {**check, "test": ["CMD-SHELL", check["test"]]}
    waits = {"healthy": "service_healthy", "started": "service_started"}
    if "depends_on" in service:
        kept["depends_on"] = {
            name: {"condition": waits[condition]} for name, condition in service["depends_on"].items()
        }
    return kept


def _round(contender: Contender, rows: dict[str, Row]) -> None:
    def add(row: str, value: float) -> None:
        rows[row].add(contender.name, 1e3 * value)

    if contender.name == "Docker":
        with _runs(contender, 20) as spent:
            add("twenty", spent)
            add("each20", spent / 20)
            add("ps", seconds((contender.run("")[0], "ps"), "/", contender.env) if contender.run else 0)
        return
    with _up(contender, "five", {"web": {"command": _SERVE, "replicas": 5}}) as spent:
        add("five", spent)
    with _up(contender, "twelve", {f"s{number}": {"command": _SERVE} for number in range(12)}) as spent:
        add("twelve", spent)
    folder = _folder(contender, "twenty")
    with _up(
        contender, "twenty", {"web": {"command": _SERVE, "replicas": 20}}, lambda spent: add("down20", spent)
    ) as spent:
        add("twenty", spent)
        add("each20", spent / 20)
        add("ps", seconds(_ps(contender), folder, contender.env))
    add("pair", _pair(contender))


@contextmanager
def _up(
    contender: Contender,
    label: str,
    wanted: Mapping[str, Mapping[str, Any]],
    taken: Callable[[float], None] = lambda _: None,
) -> Iterator[float]:
    """The seconds that `up` took, its containers being there while the body runs; `taken` gets those of `down`."""
    folder = composed(contender, label, wanted)
    scale = [
        word for name, one in wanted.items() if "replicas" in one for word in ("--scale", f"{name}={one['replicas']}")
    ]
    argv = contender.up(folder) if contender.name == "devenv" else (*contender.up(folder), *scale)
    if contender.name == "devenv":
        seconds((argv[0], "build"), folder, contender.env)  # the image is there, as for the others
    try:
        yield seconds(argv, folder, contender.env)
        taken(seconds(contender.down(folder), folder, contender.env))
    except BaseException:
        clear(contender, folder)
        raise


@contextmanager
def _runs(docker: Contender, count: int) -> Iterator[float]:
    """`docker run -d` so many times, one after the other, as people's scripts do it."""
    folders = [f"{HOME}/projects/docker-run-{number}" for number in range(count)]
    try:
        for folder in folders:
            os.makedirs(folder, exist_ok=True)
        yield sum(seconds(docker.up(folder), folder, docker.env) for folder in folders)
    finally:
        for folder in folders:
            clear(docker, folder)


def _pair(contender: Contender) -> float:
    """Seconds between what a service writes when it is ready, 1 s after its start, and what the one that waits writes."""
    wanted = {
        "first": {"command": _READY, "healthcheck": {"test": "test -e /workspace/ready", "interval": "1s"}},
        "then": {"command": "date +%s.%N > started; exec sleep infinity", "depends_on": {"first": "healthy"}},
    }
    folder = _folder(contender, "pair")
    for name in ("ready", "started"):
        if os.path.exists(f"{folder}/{name}"):
            os.unlink(f"{folder}/{name}")
    with _up(contender, "pair", wanted):
        deadline = time.monotonic() + 10
        while not os.path.exists(f"{folder}/started") or not os.path.getsize(f"{folder}/started"):
            if time.monotonic() > deadline:
                raise Failed(f"{contender.name}: what waits was never started")
            time.sleep(0.01)
        times = [_number(f"{folder}/{name}") for name in ("ready", "started")]
    return times[1] - times[0]


def _number(path: str) -> float:
    with open(path) as file:
        return float(file.read())


def _many(contender: Contender, rows: dict[str, Row], count: int) -> None:
    time.sleep(2)
    before = outside_memory(DAEMONS)
    with _up(contender, "many", {"web": {"command": _SERVE, "replicas": count}}) as spent:
        rows["many"].add(contender.name, spent)
        rows["each"].add(contender.name, 1e3 * spent / count)
        time.sleep(2)
        rows["memory"].add(contender.name, (outside_memory(DAEMONS) - before) / count)


def _requests(contender: Contender, rows: dict[str, Row]) -> None:
    """wrk against nginx, straight and through the port, in turn, three times."""
    wrk = shutil.which("wrk")
    if wrk is None or contender.name == "Docker":
        return
    if contender.name != "devenv":
        _make_nginx(contender)
    folder = composed(contender, "web", {"web": {"command": _NGINX, "ports": ["8000"]}}, ["nginx-light"])
    if contender.name == "devenv":
        seconds((contender.up("")[0], "build"), folder, contender.env)
    try:
        seconds(contender.up(folder), folder, contender.env)
        direct, port = _addresses(contender, folder)
        for _ in range(3):
            for row, address in (("direct", direct), ("port", port)):
                rows[row].add(contender.name, _rate((wrk, "-t1", "-c32", "-d3s", f"http://{address}/")))
    finally:
        clear(contender, folder)


def _make_nginx(compose: Contender) -> None:
    docker = _docker(compose)
    recipe = f"FROM {BASE}\nRUN apt-get update && apt-get install -y --no-install-recommends nginx-light\n"
    subprocess.run(
        [docker, "build", "-q", "-t", _WEB, "--network", "host", "-"],
        input=recipe.encode(),
        env=compose.env,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def _addresses(contender: Contender, folder: str) -> tuple[str, str]:
    """ADDRESS:PORT straight to the container, and the published one."""
    if contender.name == "devenv":
        listed = json.loads(output((contender.up("")[0], "ps", "--json"), contender.env, folder) or "[]")
        (web,) = (one for one in listed if one["name"] == "web-1")
        (port,) = web["ports"]
        return f"{web['address']}:8000", f"{port['address']}:{port['host']}"
    docker, compose = _docker(contender), contender.up("")[:-2]
    name = output((*compose, "ps", "-q", "web"), contender.env, folder) or ""
    template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    address = output((docker, "inspect", "--format", template, name), contender.env)
    published = output((*compose, "port", "web", "8000"), contender.env, folder) or ""
    return f"{address}:8000", published.replace("0.0.0.0", "127.0.0.1")


def _docker(compose: Contender) -> str:
    """The client that belongs to the daemon compose talks to."""
    first = compose.up("")[0]
    return (
        first
        if os.path.basename(first) == "docker"
        else shutil.which("docker", path="/usr/bin:/usr/local/bin") or "docker"
    )


def _rate(argv: Argv) -> float:
    """Thousands of requests a second, as wrk says it. Its warm-up is its own."""
    said = output(argv, os.environ) or ""
    found = re.search(r"Requests/sec:\s+([0-9.]+)", said)
    if not found or "Socket errors" in said or "Non-2xx" in said:
        raise Failed(f"{' '.join(argv)}: {said[-500:]}")
    return float(found[1]) / 1e3


def _ps(contender: Contender) -> Argv:
    return (contender.up("")[0], "ps") if contender.name == "devenv" else (*contender.up("")[:-2], "ps")


def _folder(contender: Contender, label: str) -> str:
    return f"{HOME}/projects/{contender.name.lower()}-{label}"
