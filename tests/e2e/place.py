"""A project folder and the real command line on it, with the host's own settings for apt, uv and npm."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.error import URLError

from devenv.paths import Paths

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
EXAMPLES = f"{CHECKOUT}/examples"


@dataclass(frozen=True, slots=True)
class Done:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def ran(self) -> set[str]:
        """The stages of which a build step ran (`stage-1` is one without a name)."""
        return set(re.findall(r"^✓ ([a-z0-9-]+) ", self.err, re.M)) - {
            "create",
            "start",
            "replace",
            "layer",
            "lock",
            "resolve",
        }


@dataclass(frozen=True, slots=True)
class Place:
    """A folder in a store."""

    paths: Paths
    folder: str

    def attempt(self, *words: str, input: str = "", env: Mapping[str, str] | None = None) -> Done:
        """One command, however it ends, but with a traceback."""
        done = subprocess.run(
            [sys.executable, "-m", "devenv", *words],
            cwd=self.folder,
            env=self.env(env),
            input=input,
            capture_output=True,
            text=True,
            timeout=500,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    def __call__(self, *words: str, input: str = "", env: Mapping[str, str] | None = None) -> Done:
        """One command that must work."""
        done = self.attempt(*words, input=input, env=env)
        assert done.code == 0, (words, done)
        return done

    def json(self, *words: str) -> Any:
        """What a command says with `--json`: one document, and nothing else on stdout."""
        return json.loads(self(*words, "--json").out)

    def env(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The host's settings with the store's places; the commands are those of this checkout."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DEVENV_")}
        places = {"DEVENV_HOME": self.paths.home, "DEVENV_RUN": self.paths.run, "PYTHONPATH": CHECKOUT}
        return {**kept, **places, **(extra or {})}

    def write(self, name: str, text: str) -> None:
        os.makedirs(os.path.dirname(f"{self.folder}/{name}"), exist_ok=True)
        with open(f"{self.folder}/{name}", "w", encoding="utf-8") as file:
            file.write(text)

    def read(self, name: str) -> str:
        with open(f"{self.folder}/{name}", encoding="utf-8") as file:
            return file.read()

    def change(self, name: str, before: str, after: str) -> None:
        """One line of a file; the old text must be there."""
        text = self.read(name)
        assert before in text
        self.write(name, text.replace(before, after))

    def container(self) -> Any:
        """The row of `ps --all` of this folder's container."""
        rows = [row for row in self.json("ps", "--all") if row["environment"]["folder"] == self.folder]
        assert len(rows) == 1, rows
        return rows[0]

    def ask(self, path: str = "/") -> tuple[int, str]:
        """Status and body at the published port; its server may still be starting."""
        (port,) = self.container()["ports"]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + 30
        while True:
            try:
                with opener.open(f"http://127.0.0.1:{port['host']}{path}", timeout=5) as answer:
                    return answer.status, answer.read().decode()
            except (URLError, ConnectionError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def layers(self) -> set[str]:
        """The layers in the store."""
        return set(os.listdir(self.paths.layers))
