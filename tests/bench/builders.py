"""Who builds images: a contender in; out, a `Builder` that writes a description, builds, forgets, and says its size."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from typing import ClassVar, Literal

from . import npm, recipes
from .contenders import HOME, Contender
from .measure import Argv, say, seconds
from .recipes import Content

Caches = Literal["empty", "packed", "full"]
"""What a builder may keep of what it downloaded: nothing; the files; also what was unpacked of them."""
CACHES = ("packages", "caches", "tools")
"""Of $DEVENV_HOME: what was downloaded and unpacked, caches of steps (uv's index too), uv itself."""
UNPACKED = "packages/unpacked"
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


class Builder(ABC):
    """Somebody who builds images of what `write` was given last."""

    def __init__(self, name: str, folder: str, contender: Contender, build: Argv, run: Argv) -> None:
        self.name, self.folder, self.env = name, f"{HOME}/builds/{folder}", dict(contender.env)
        self.build, self.run = build, run
        self.lock = ""
        """What is committed beside the description; "" for nothing."""
        self.up: Argv = ()
        self.down: Argv = ()
        os.makedirs(self.folder, exist_ok=True)

    @abstractmethod
    def prepare(self, first: Content) -> None:
        """Have at hand what a teammate has before the first build: a committed lock, an image with Node.js."""

    @abstractmethod
    def write(self, content: Content, number: str) -> None:
        """Write the description; `number` is the round's name."""

    @abstractmethod
    def forget(self, caches: Caches) -> None:
        """Forget every layer but the base."""

    @abstractmethod
    def disk(self) -> float:
        """MB that its whole store takes: hard links once, containers not."""

    def spent(self, argv: Argv = ()) -> float:
        """Seconds of a build, or of another command, when what was written before has reached the disk."""
        os.sync()
        return seconds(argv or self.build, self.folder, self.env)

    def prove(self, *argv: str) -> None:
        """Run a command in the image. Raises Failed."""
        seconds((*self.run, *argv), self.folder, self.env)

    def _write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            with open(f"{self.folder}/{name}", "w") as file:
                file.write(text)


def settle() -> None:
    """Wait until what was removed is gone: ext4 passes over inodes deleted in the last 5 s, and creating files is slower."""
    os.sync()
    time.sleep(6)


def du(path: str, *options: str) -> float:
    """MB (10^6) on disk."""
    os.sync()
    done = subprocess.run(["du", "-sx", "-B1", *options, path], check=True, capture_output=True, text=True)
    return int(done.stdout.split()[0]) / 1e6


class Devenv(Builder):
    """devenv; its store is put back to one that holds the base and nothing else."""

    def __init__(self, contender: Contender, program: str, folder: str = "devenv") -> None:
        super().__init__("devenv", folder, contender, (program, "build"), (program, "run", "--"))
        self.program, self.store = program, self.env["DEVENV_HOME"]
        self.up, self.down = (program, "up"), (program, "down")

    def prepare(self, first: Content) -> None:
        if not os.path.exists(f"{self.store}.base"):
            self._bootstrap()
        say("locking for devenv's builds")
        self.forget("full")
        self.lock = self._base_lock
        self.write(first, "")
        seconds((self.program, "lock"), self.folder, self.env)
        with open(f"{self.folder}/devenv.lock.yml") as file:
            self.lock = file.read()

    def _bootstrap(self) -> None:
        say("bootstrapping the base for devenv's builds")
        self.write(Content(), "")
        seconds(self.build, self.folder, self.env)
        os.rename(self.store, f"{self.store}.base")
        for name in CACHES:
            shutil.rmtree(f"{self.store}.base/{name}", ignore_errors=True)
        shutil.copy(f"{self.folder}/devenv.lock.yml", f"{self.store}.lock")

    @property
    def _base_lock(self) -> str:
        with open(f"{self.store}.lock") as file:
            return file.read()

    def write(self, content: Content, number: str) -> None:
        """Also put the lock back: one more package is resolved anew each time, as the user's would be."""
        self._write({**recipes.npm_files(content), "devenv.yml": recipes.manifest(content, number)})
        with suppress(FileNotFoundError):
            os.unlink(f"{self.folder}/devenv.lock.yml")
        if self.lock:
            self._write({"devenv.lock.yml": self.lock})

    def forget(self, caches: Caches) -> None:
        kept = f"{self.store}.kept"
        os.makedirs(kept)
        for name in CACHES if caches != "empty" else ():
            if os.path.exists(f"{self.store}/{name}"):
                os.rename(f"{self.store}/{name}", f"{kept}/{name}")
        if caches == "packed":
            shutil.rmtree(f"{kept}/{UNPACKED}", ignore_errors=True)
        shutil.rmtree(self.store, ignore_errors=True)
        subprocess.run(["cp", "-a", f"{self.store}.base", self.store], check=True)
        for name in os.listdir(kept):
            os.rename(f"{kept}/{name}", f"{self.store}/{name}")
        os.rmdir(kept)

    def disk(self) -> float:
        return du(self.store, f"--exclude={self.store}/containers")


class Docker(Builder):
    """BuildKit, by Dockerfile of a flavour."""

    FLAVOURS: ClassVar[dict[str, str]] = {
        "plain": "BuildKit",
        "cached": "BuildKit, cache mounts",
        "uv": "BuildKit, cache mounts, uv",
    }

    def __init__(self, contender: Contender, client: str, flavour: str, folder: str = "docker") -> None:
        image = f"devenv-bench/{folder}-{flavour}"
        build = (client, "build", "-q", "-t", image, *_proxies(), ".")
        run = (client, "run", "--rm", image)
        super().__init__(self.FLAVOURS[flavour], f"{folder}-{flavour}", contender, build, run)
        self.client, self.flavour, self.image = client, flavour, image
        _lend(self.folder, flavour)

    def prepare(self, first: Content) -> None:
        if first.npm or first.tools:
            folder = npm.node_files()
            build = [self.client, "build", "-q", "-t", recipes.NODE_BASE, "-f", "-", folder]
            subprocess.run(build, env=self.env, check=True, capture_output=True, input=recipes.node_base().encode())

    def write(self, content: Content, number: str) -> None:
        description = recipes.dockerfile(content, self.flavour, number)
        self._write({**recipes.npm_files(content), "Dockerfile": description})

    def forget(self, caches: Caches) -> None:
        kept = ("--filter", "type=regular") if caches != "empty" else ()
        subprocess.run([self.client, "rmi", "-f", self.image], env=self.env, check=False, capture_output=True)
        prune = [self.client, "builder", "prune", "-af", *kept]
        subprocess.run(prune, env=self.env, check=True, capture_output=True)

    def disk(self) -> float:
        return du(f"{HOME}/docker", f"--exclude={HOME}/docker/containers")


def _lend(folder: str, flavour: str) -> None:
    shutil.copy(os.environ.get("SSL_CERT_FILE", BUNDLE), f"{folder}/{recipes.CERTIFICATES}")
    if flavour == "uv":
        shutil.copy(os.path.join(os.path.dirname(sys.executable), "uv"), f"{folder}/uv")


def _proxies() -> Argv:
    return tuple(f"--build-arg={key}" for key in ("http_proxy", "https_proxy", "no_proxy") if key in os.environ)
