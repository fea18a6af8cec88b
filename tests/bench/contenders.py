"""Who is measured, and with which commands: what is installed here in, a `Contender` for each out."""

from __future__ import annotations

import glob
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from .measure import Argv, output, say

HOME = os.environ.get("DEVENV_BENCH_HOME", "/var/tmp/devenv-bench")
"""Everything the benchmark and its peers write, on a real disk."""
BASE = "devenv-bench/base"
SUITE = "bookworm"
DAEMONS = frozenset({"dockerd", "containerd"})

Command = Callable[[str], Argv]
"""A project folder in, the command to run in it out. A container is named after its folder."""


class Contender(NamedTuple):
    """A command for each thing that is measured; None where it has no such verb."""

    name: str
    version: str
    env: Mapping[str, str]
    up: Command
    exec: Command
    """To be followed by a command."""
    down: Command
    run: Command | None = None
    """To be followed by a command."""
    again: Command | None = None
    clear: Command | None = None
    """Where `down` is not a verb of its own but only clears up: not measured."""


def name(folder: str) -> str:
    return os.path.basename(folder)


def environment() -> dict[str, str]:
    """The user's, but for what changes how Python starts, and with homes of the benchmark's own."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PYTHON", "DEVENV", "DOCKER_", "CONTAINER"))
    }
    os.makedirs(f"{HOME}/home", exist_ok=True)
    return {**kept, "HOME": f"{HOME}/home", "NO_COLOR": "1", "DOCKER_BUILDKIT": "1"}


def make_base() -> str:
    """The peers' base image as a tar archive: the same packages as devenv's `bootstrap:`."""
    path = f"{HOME}/base.tar"
    if not os.path.exists(path):
        say(f"bootstrapping {SUITE} for the peers")
        subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", "--format=tar", SUITE, f"{path}.new"], check=True)
        os.rename(f"{path}.new", path)
    return path


def install_devenv(checkout: str) -> str:
    """Build the wheel of this checkout and install it, compiled, into a fresh environment; the program's path."""
    venv, wheels = f"{HOME}/venv", f"{HOME}/wheels"
    for folder in (venv, wheels):
        shutil.rmtree(folder, ignore_errors=True)
    uv = os.path.join(os.path.dirname(sys.executable), "uv")
    env = {**environment(), "UV_NATIVE_TLS": "1", "UV_CACHE_DIR": f"{HOME}/uv"}
    python = "/usr/bin/python3" if _recent("/usr/bin/python3") else sys.executable

    def quietly(*argv: str) -> None:
        subprocess.run([uv, *argv], env=env, check=True, stderr=subprocess.DEVNULL)

    quietly("build", "--quiet", "--wheel", "--out-dir", wheels, checkout)
    quietly("venv", "--quiet", "--python", python, venv)
    quietly(
        "pip",
        "install",
        "--quiet",
        "--compile-bytecode",
        "--python",
        f"{venv}/bin/python",
        *glob.glob(f"{wheels}/*.whl"),
    )
    return f"{venv}/bin/devenv"


def _recent(python: str) -> bool:
    return output((python, "-c", "import sys; assert sys.version_info >= (3, 11)"), os.environ) is not None


def devenv(program: str, store: str) -> Contender:
    """devenv with a store of its own; its run-time files are in the benchmark's private /run."""
    os.makedirs(store, exist_ok=True)
    env = {**environment(), "DEVENV_HOME": store, "DEVENV_RUN": f"/run/{os.path.basename(store)}"}
    version = output((program, "--version"), env) or "?"
    return Contender(
        "devenv",
        version.removeprefix("devenv").strip(),
        env,
        run=lambda _: (program, "run", "--"),
        up=lambda _: (program, "up"),
        again=lambda _: (program, "up"),
        exec=lambda _: (program, "exec", "--"),
        down=lambda _: (program, "down"),
    )


@contextmanager
def dockerd() -> Iterator[tuple[str, dict[str, str]] | None]:
    """A Docker daemon with a data root of its own while the body runs: (client, environment), or None if absent."""
    daemon = shutil.which("dockerd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if not daemon:
        yield None
        return
    socket = f"unix://{HOME}/docker.sock"
    env = {**environment(), "DOCKER_HOST": socket}
    folders = ("--data-root", f"{HOME}/docker", "--exec-root", f"{HOME}/docker-run", "--pidfile", f"{HOME}/dockerd.pid")
    with open(f"{HOME}/dockerd.log", "w") as log:
        process = subprocess.Popen(
            [daemon, *folders, "-H", socket, "--storage-driver", "overlay2"], stdout=log, stderr=log
        )
    try:
        client = _client(env, time.monotonic() + 30)
        subprocess.run([client, "import", make_base(), BASE], env=env, check=True, stdout=subprocess.DEVNULL)
        yield client, env
    finally:
        process.terminate()
        process.wait(30)


def _client(env: Mapping[str, str], deadline: float) -> str:
    """The `docker` on PATH that talks to our daemon, preferably of its very version (stubs of other versions exist)."""
    found = dict.fromkeys(path for folder in env["PATH"].split(":") if os.access(path := f"{folder}/docker", os.X_OK))
    while time.monotonic() < deadline:
        said = {
            path: output((path, "version", "--format", "{{.Client.Version}} {{.Server.Version}}"), env)
            for path in found
        }
        talking = {path: text.split() for path, text in said.items() if text}
        if talking:
            return next((path for path, (client, server) in talking.items() if client == server), next(iter(talking)))
        time.sleep(0.1)
    sys.exit(f"bench: dockerd did not answer in 30 s; its log is {HOME}/dockerd.log")


def docker(client: str, env: Mapping[str, str]) -> Contender:
    version = output((client, "version", "--format", "{{.Server.Version}}"), env) or "?"
    return Contender(
        "Docker",
        version,
        env,
        run=lambda _: (client, "run", "--rm", BASE),
        up=lambda folder: (client, "run", "-d", "--name", name(folder), *_mounted(folder), BASE, "sleep", "infinity"),
        exec=lambda folder: (client, "exec", name(folder)),
        down=lambda folder: (client, "rm", "-f", name(folder)),
    )


def _mounted(folder: str) -> Argv:
    return "-v", f"{folder}:/workspace", "-w", "/workspace"


def compose(client: str, env: Mapping[str, str]) -> Contender | None:
    """Compose, as the client's plugin or as a program."""
    plugin = output((client, "compose", "version", "--short"), env)
    program: Argv = (client, "compose") if plugin else ("docker-compose",)
    version = plugin or output((*program, "version", "--short"), env)
    if not version:
        return None
    return Contender(
        "docker-compose",
        version,
        env,
        run=lambda _: (*program, "run", "--rm", "-T", "app"),
        up=lambda _: (*program, "up", "-d"),
        again=lambda _: (*program, "up", "-d"),
        exec=lambda _: (*program, "exec", "-T", "app"),
        down=lambda _: (*program, "down", "-t", "0"),
    )


def devcontainer(client: str, env: Mapping[str, str]) -> Contender | None:
    program = shutil.which("devcontainer", path=f"{HOME}/npm/node_modules/.bin:{env['PATH']}")
    version = program and output((program, "--version"), env)
    if not program or not version:
        return None
    where: Argv = ("--docker-path", client, "--workspace-folder")
    mine = 'docker ps -aq --filter "label=devcontainer.local_folder=$1" | xargs -r docker rm -f'.replace(
        "docker ", f"{client} "
    )
    return Contender(
        "devcontainers CLI",
        version,
        env,
        up=lambda folder: (program, "up", *where, folder),
        again=lambda folder: (program, "up", *where, folder),
        exec=lambda folder: (program, "exec", *where, folder),
        down=lambda folder: ("sh", "-c", mine, "sh", folder),
        clear=lambda folder: ("sh", "-c", mine, "sh", folder),
    )


def podman() -> Contender | None:
    """Podman with a store of its own and the settings that work without systemd and CAP_SYS_RESOURCE."""
    program = shutil.which("podman")
    if not program:
        return None
    folder = f"{HOME}/podman"
    os.makedirs(folder, exist_ok=True)
    write(
        f"{folder}/containers.conf",
        '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]\n'
        '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
        f'[network]\nnetwork_backend = "netavark"\nnetwork_config_dir = "{folder}/networks"\n',
    )
    write(
        f"{folder}/storage.conf",
        f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/root"\nrunroot = "{folder}/run"\n',
    )
    env = {
        **environment(),
        "CONTAINERS_CONF": f"{folder}/containers.conf",
        "CONTAINERS_STORAGE_CONF": f"{folder}/storage.conf",
    }
    subprocess.run([program, "import", "-q", make_base(), BASE], env=env, check=True, stdout=subprocess.DEVNULL)
    return Contender(
        "Podman",
        output((program, "version", "--format", "{{.Client.Version}}"), env) or "?",
        env,
        run=lambda _: (program, "run", "--rm", BASE),
        up=lambda where: (program, "run", "-d", "--name", name(where), *_mounted(where), BASE, "sleep", "infinity"),
        exec=lambda where: (program, "exec", name(where)),
        down=lambda where: (program, "rm", "-f", "-t", "0", name(where)),
    )


def project(folder: str) -> str:
    """A small project every contender can bring up, its source tree seen at /workspace; the folder."""
    os.makedirs(f"{folder}/.devcontainer", exist_ok=True)
    write(
        f"{folder}/devenv.yml",
        f"name: {name(folder)}\nfrom: bootstrap:{SUITE}\nsource: {{path: ., target: /workspace}}\n",
    )
    service = {"image": BASE, "command": "sleep infinity", "volumes": [".:/workspace"], "working_dir": "/workspace"}
    write(f"{folder}/docker-compose.yml", json.dumps({"version": "3.7", "services": {"app": service}}))
    mount = {"workspaceMount": f"source={folder},target=/workspace,type=bind", "workspaceFolder": "/workspace"}
    write(f"{folder}/.devcontainer/devcontainer.json", json.dumps({"image": BASE, **mount}))
    write(f"{folder}/marker", "seen\n")
    return folder


def write(path: str, text: str) -> None:
    """A file with this text."""
    with open(path, "w") as file:
        file.write(text)
