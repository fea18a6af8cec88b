"""A project folder and the real command line on it: what the engine's tests drive."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from devenv.paths import Paths


class Project:
    """A folder with a manifest, in a store. `base` is the `from:` of manifests that don't say another."""

    def __init__(self, paths: Paths, folder: str, base: str) -> None:
        self.paths = paths
        self.folder = folder
        self.base = base
        os.makedirs(folder, exist_ok=True)

    def manifest(self, text: str = "") -> None:
        """Write devenv.yml."""
        head = "" if "from:" in text else f"from: {self.base}\n"
        self.write("devenv.yml", head + text)

    def write(self, name: str, text: str, mode: int = 0o644) -> str:
        path = f"{self.folder}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def read(self, name: str) -> str:
        with open(f"{self.folder}/{name}", encoding="utf-8") as file:
            return file.read()

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "devenv", *words]

    def env(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": self.paths.home,
            "PYTHONPATH": os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
            "DEVENV_HOME": self.paths.home,
            "DEVENV_RUN": self.paths.run,
            **(extra or {}),
        }

    def layout(self, image: str) -> str:
        """An OCI image layout with an image, as other tools read it."""
        target = f"{os.path.dirname(self.paths.home)}/saved-{os.urandom(6).hex()}"
        self.run("save", image, target)
        return target

    def attempt(
        self, *words: str, input: str = "", env: Mapping[str, str] | None = None, pass_fds: Sequence[int] = ()
    ) -> subprocess.CompletedProcess[str]:
        """One command, however it ends; it must be with an error of ours if any, never a traceback."""
        done = subprocess.run(
            self.argv(*words),
            cwd=self.folder,
            env=self.env(env),
            input=input,
            capture_output=True,
            text=True,
            timeout=180,
            pass_fds=pass_fds,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def run(self, *words: str, input: str = "", env: Mapping[str, str] | None = None) -> str:
        """One command that must work; its stdout."""
        done = self.attempt(*words, input=input, env=env)
        assert done.returncode == 0, (words, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def runtime(self, *words: str, name: str = "") -> str:
        """What the OCI runtime itself says, asked by its own command line: the one that devenv chose, or the named."""
        chosen = name or os.listdir(self.paths.runtime)[0]
        argv = [chosen, "--root", f"{self.paths.runtime}/{chosen}", *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    def known(self) -> list[str]:
        """Ids of the containers that any runtime has state of."""
        return [
            name for runtime in os.listdir(self.paths.runtime) for name in os.listdir(f"{self.paths.runtime}/{runtime}")
        ]

    def start(self, *words: str, env: Mapping[str, str] | None = None, **more: Any) -> subprocess.Popen[str]:
        """One command in the background."""
        return subprocess.Popen(
            self.argv(*words),
            cwd=self.folder,
            env=self.env(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **more,
        )

    def up(self, manifest: str = "") -> dict[str, Any]:
        """Bring it up; what `ps` says of the main container."""
        self.manifest(manifest)
        self.run("up")
        return self.container()

    def container(self, name: str = "workspace") -> dict[str, Any]:
        """What `ps --all` says of a container of this folder."""
        rows: list[dict[str, Any]] = json.loads(self.run("ps", "--all", "--json"))
        return next(row for row in rows if row["name"] == name and row["environment"]["folder"] == self.folder)

    def down(self) -> None:
        """Nothing is left of it but images."""
        volumes = f"{self.paths.home}/volumes"  # without the option it takes half the time
        words = ["--volumes"] if os.path.isdir(volumes) and os.listdir(volumes) else []
        assert self.attempt("down", *words).returncode in (0, 2)


def cgroup(identifier: str, *names: str) -> str:
    """The first of these files in a container's cgroup, whichever hierarchy has it."""
    for folder, _, files in os.walk("/sys/fs/cgroup"):
        if folder.endswith(f"/devenv/{identifier}"):
            for name in names:
                if name in files:
                    with open(f"{folder}/{name}", encoding="ascii") as file:
                        return file.read().strip()
    raise AssertionError(f"no {names} for {identifier}")


def status(pid: int) -> dict[str, str]:
    """/proc/PID/status."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return {name: value.strip() for name, _, value in (line.partition(":") for line in file)}


def mounts(pid: int) -> dict[str, set[str]]:
    """Mount point → its options, of a process (the last mount there counts)."""
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8") as file:
        return {words[4]: set(words[5].split(",")) for words in map(str.split, file)}
