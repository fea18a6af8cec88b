"""Image builds of the same content: builders in, a table out, with download caches empty and full."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .contenders import BASE, HOME, SUITE, Contender, make_base
from .measure import Argv, Failed, Row, say, seconds
from .topics import Topic

APT = ("python3", "python3-venv", "git", "curl", "build-essential", "postgresql-client")
PIP = ("django==5.2", "requests", "numpy", "pandas", "sqlalchemy", "pytest", "flask")
MORE_APT, MORE_PIP = "jq", "rich"
PROOF = ("python", "-c", "import django, requests, numpy, pandas, sqlalchemy, pytest, flask")
IMAGE = "devenv-bench/built"
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


class Builder(NamedTuple):
    """Somebody who builds the same image in `folder`."""

    name: str
    folder: str
    env: dict[str, str]
    write: Callable[[Sequence[str], Sequence[str], str], None]
    """apt and pip packages, and the name of the round: write the build's description."""
    build: Argv
    forget: Callable[[bool], None]
    """Forget every layer but the base, and the downloads unless told to keep them."""
    prove: Argv
    colds: int
    warms: int


def building(builders: Sequence[Builder]) -> Topic:
    """Cold, one more pip package, one more apt package; with download caches empty, then full."""
    rows: dict[str, Row] = {}
    for key, caches in (("cold", "download caches empty"), ("warm", "download caches full")):
        rows |= {
            key: Row(f"build with the base present, {caches}", "s"),
            f"{key}pip": Row(f"then one more pip package ({MORE_PIP})", "s"),
            f"{key}apt": Row(f"then one more apt package ({MORE_APT})", "s"),
        }
    intro = (
        f"{len(APT)} apt packages ({' '.join(APT)}) and {len(PIP)} pip packages ({' '.join(PIP)}) on a minimal {SUITE}."
    )
    topic = Topic("Image builds", intro, rows, [])
    alive = list(builders)
    for key in ("cold", "warm"):
        for number in range(max(getattr(each, f"{key}s") for each in builders)):
            for builder in [each for each in alive if number < getattr(each, f"{key}s")]:
                try:
                    _round(builder, key, number, rows)
                except (Failed, subprocess.CalledProcessError) as fault:
                    say(f"{builder.name} is out: {fault}")
                    topic.failures.append(f"{builder.name}: {str(fault).splitlines()[0].replace(HOME, '…')}")
                    alive.remove(builder)
    return topic


def _round(builder: Builder, key: str, number: int, rows: dict[str, Row]) -> None:
    builder.forget(key == "warm")
    for suffix, apt, pip in (
        ("", APT, PIP),
        ("pip", APT, (*PIP, MORE_PIP)),
        ("apt", (*APT, MORE_APT), PIP),
    ):
        builder.write(apt, pip, f"{key}{number}")
        spent = seconds(builder.build, builder.folder, builder.env)
        rows[key + suffix].add(builder.name, spent)
        say(f"build, {rows[key + suffix].title}: {builder.name} {spent:.1f} s")
        if number == 0:
            seconds((*builder.prove, *PROOF), builder.folder, builder.env)


def of_devenv(contender: Contender, program: str, colds: int, warms: int) -> Builder:
    """devenv's own builder; its store is put back to one that holds the base and nothing else."""
    folder, store = f"{HOME}/builds/devenv", contender.env["DEVENV_HOME"]
    os.makedirs(folder, exist_ok=True)

    def write(apt: Sequence[str], pip: Sequence[str], _round: str = "") -> None:
        packages = f"apt: [{', '.join(apt)}]\npython: {{packages: [{', '.join(pip)}]}}\n" if apt else ""
        _write(f"{folder}/devenv.yml", f"name: built\nfrom: bootstrap:{SUITE}\n{packages}")

    def forget(keep_downloads: bool) -> None:
        if not os.path.exists(f"{store}.base"):
            write((), ())
            say("bootstrapping the base for devenv's builds")
            seconds((program, "build"), folder, contender.env)
            os.rename(store, f"{store}.base")
        kept = f"{store}.caches"
        if keep_downloads and os.path.exists(f"{store}/caches"):
            os.rename(f"{store}/caches", kept)
        shutil.rmtree(store, ignore_errors=True)
        subprocess.run(["cp", "-a", f"{store}.base", store], check=True)
        if os.path.exists(kept):
            shutil.rmtree(f"{store}/caches", ignore_errors=True)
            os.rename(kept, f"{store}/caches")

    run = contender.run(folder) if contender.run else ()
    return Builder("devenv", folder, dict(contender.env), write, (program, "build"), forget, run, colds, warms)


FLAVOURS = {
    "plain": "BuildKit",
    "cached": "BuildKit, cache mounts",
    "uv": "BuildKit, cache mounts, uv",
}
"""A Dockerfile as people write it; the same with cache mounts; the best we can write, with devenv's own installer."""


def of_docker(contender: Contender, client: str, flavour: str, colds: int, warms: int) -> Builder:
    """BuildKit, by Dockerfile of a flavour."""
    folder = f"{HOME}/builds/docker-{flavour}"
    build = (client, "build", "-q", "-t", IMAGE, *_proxies(), ".")

    def forget(keep_downloads: bool) -> None:
        if keep_downloads:  # the round's name, an ENV before every step, makes all layers new
            return
        subprocess.run([client, "rmi", "-f", IMAGE], env=contender.env, check=False, capture_output=True)
        subprocess.run([client, "builder", "prune", "-af"], env=contender.env, check=True, capture_output=True)

    run, write = (client, "run", "--rm", IMAGE), _dockerfile(folder, flavour)
    return Builder(FLAVOURS[flavour], folder, dict(contender.env), write, build, forget, run, colds, warms)


def of_podman(contender: Contender, colds: int) -> Builder:
    """Podman's build (buildah), by the Dockerfile with cache mounts."""
    folder = f"{HOME}/builds/podman"
    build = ("podman", "build", "-q", "-t", IMAGE, *_proxies(), ".")

    def forget(_keep: bool) -> None:
        for argv in (["podman", "rmi", "-af"], ["podman", "import", "-q", make_base(), BASE]):
            subprocess.run(argv, env=contender.env, check=True, capture_output=True)

    run, write = ("podman", "run", "--rm", IMAGE), _dockerfile(folder, "cached")
    return Builder("Podman, cache mounts", folder, dict(contender.env), write, build, forget, run, colds, 0)


def _dockerfile(folder: str, flavour: str) -> Callable[[Sequence[str], Sequence[str], str], None]:
    """A writer of the Dockerfile with the manifest's content; the host's certificates are lent, not baked."""
    os.makedirs(folder, exist_ok=True)
    shutil.copy(os.environ.get("SSL_CERT_FILE", BUNDLE), f"{folder}/ca.crt")
    pip = "RUN --mount=type=bind,source=ca.crt,target=/run/ca.crt "
    apt, tidy = "RUN --mount=type=cache,target=/var/cache/apt --mount=type=cache,target=/var/lib/apt ", ""
    if flavour == "uv":
        shutil.copy(os.path.join(os.path.dirname(sys.executable), "uv"), f"{folder}/uv")
        pip += "--mount=type=bind,source=uv,target=/usr/local/bin/uv --mount=type=cache,target=/root/.cache/uv "
        tool = "SSL_CERT_FILE=/run/ca.crt uv pip install -q --link-mode copy --python /opt/venv"
    elif flavour == "cached":
        pip += "--mount=type=cache,target=/root/.cache/pip "
        tool = "PIP_CERT=/run/ca.crt /opt/venv/bin/pip install -q"
    else:
        apt, tidy = "RUN ", " && apt-get clean && rm -rf /var/lib/apt/lists/*"
        tool = "PIP_CERT=/run/ca.crt /opt/venv/bin/pip install -q --no-cache-dir"

    def write(debs: Sequence[str], wheels: Sequence[str], name: str) -> None:
        lines = (
            f"FROM {BASE}",
            f"ENV BENCH_ROUND={name}-{flavour}",
            f"{apt}apt-get update -q && apt-get install -yq --no-install-recommends {' '.join(debs)}{tidy}",
            f"{pip}python3 -m venv /opt/venv && {tool} {' '.join(wheels)}",
            "ENV PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        _write(f"{folder}/Dockerfile", "\n".join(lines) + "\n")

    return write


def _proxies() -> Argv:
    return tuple(f"--build-arg={key}" for key in ("http_proxy", "https_proxy", "no_proxy") if key in os.environ)


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)
