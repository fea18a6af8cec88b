"""The quick door: argv of a hot verb -> its exit code, when there is nothing to find out; None sends it the long way.

`up` when nothing changed, `exec` and `run` of a plain command. The long way writes a receipt of what it looked at
(cli/receipt.py); as long as a stat of each says that it is as it was, the answer is too. Nothing is imported here that
takes time: Python's own imports are the largest cost of a start.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from typing import Any

    Receipt = dict[str, Any]

VERSION = 1
"""Of the receipt's format: another one is not read."""

_COMPLETE = "_DEVENV_COMPLETE"


def attempt(argv: Sequence[str], env: Mapping[str, str]) -> int | None:
    """Do the verb if that is quick and certain."""
    verb, words = (argv[0], list(argv[1:])) if argv else ("", [])
    if _COMPLETE in env:
        return None
    if verb == "up" and not words:
        return _up(env)
    if verb not in ("exec", "run"):
        return None
    if words and words[0] == "--":
        words = words[1:]
    elif words and words[0].startswith("-"):
        return None  # an option: the long way knows it
    if not words:
        return None
    return _exec(words, env) if verb == "exec" else _run(words, env)


def plain(argv: Sequence[str], env: Mapping[str, str]) -> bool:
    """Whether this is a verb of every day without options, which needs no parser."""
    return list(argv) in (["up"], ["stop"], ["down"]) and _COMPLETE not in env


def relevant(env: Mapping[str, str]) -> dict[str, str]:
    """The variables that what `up` wants depends on."""
    return {name: env[name] for name in ("USER", "DEVENV_IDMAP") if name in env}


def _up(env: Mapping[str, str]) -> int | None:
    found = _Found.at(env)
    if found is None or not found.current(env):
        return None
    answer = found.receipt["up"]
    row = found.container()
    if answer is None or row is None or [row[0], row[1]] != answer["process"] or not _lives(row[1], row[2], row[3]):
        return None
    if not _watched(f"{found.run}/bundles/{row[0]}") or (answer["bridge"] and not _connected(answer["bridge"])):
        return None
    colour = "FORCE_COLOR" in env or (sys.stdout.isatty() and "NO_COLOR" not in env and env.get("TERM") != "dumb")
    sys.stdout.write(answer["coloured" if colour else "plain"])
    sys.stdout.flush()
    return 0


def _exec(words: list[str], env: Mapping[str, str]) -> int | None:
    found = _Found.at(env)
    row = found.container() if found is not None else None
    if found is None or row is None or not _lives(row[1], row[2], row[3]):
        return None
    found.close()
    runtime = _runtime(json.loads(row[4])["runtime"])
    if runtime is None:
        return None
    options = []
    if sys.stdin.isatty() and sys.stdout.isatty():
        known = [f"{name}={env[name]}" for name in ("TERM", "COLORTERM", "NO_COLOR") if name in env]
        options = ["--tty", *(word for pair in known for word in ("--env", pair))]
    argv = [runtime, "--root", f"{found.run}/runtime", "exec", *options, row[0], *words]
    # In our place: its exit code is ours, its signals come to it.
    os.execve(runtime, argv, {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})


def _run(words: list[str], env: Mapping[str, str]) -> int | None:
    found = _Found.at(env)
    if found is None or not found.current(env):
        return None
    text = json.dumps(found.receipt["spec"])
    found.close()
    # Made like any other one-shot container from here on.
    from .oneshot import run

    return run(text, words, env)


class _Found:
    """The environment we are in, and its receipt."""

    def __init__(self, run: str, database: sqlite3.Connection, identifier: str, receipt: Receipt) -> None:
        self.run = run
        self.database = database
        self.identifier = identifier
        self.receipt = receipt

    @staticmethod
    def at(env: Mapping[str, str]) -> _Found | None:
        """By the nearest devenv.yml of the current folder or above."""
        import sqlite3

        from devenv.engine.native.paths import locate

        folder = _project()
        paths = locate(env, os.geteuid())
        if folder is None or not os.path.exists(paths.state):
            return None
        try:
            database = sqlite3.connect(f"file:{paths.state}?mode=ro", uri=True, timeout=5)
            row = database.execute(
                "SELECT id, receipt FROM environment WHERE folder = ? AND variant = ''", (folder,)
            ).fetchone()
        except sqlite3.Error:
            return None  # the long way says what is wrong
        return _Found(paths.run, database, row[0], json.loads(row[1] or "{}")) if row else None

    def close(self) -> None:
        self.database.close()

    def current(self, env: Mapping[str, str]) -> bool:
        """Whether all that the last `up` looked at is as it was."""
        from devenv.build.observed import unchanged

        receipt = self.receipt
        return (
            receipt.get("version") == VERSION
            and receipt["env"] == relevant(env)
            and unchanged(receipt["files"])
            and self.database.execute("SELECT 1 FROM image WHERE digest = ?", (receipt["spec"]["image"],)).fetchone()
            is not None
        )

    def container(self) -> tuple[str, int, int, str, str] | None:
        """(id, pid, its start, boot, spec) of the main container, if it was ever started."""
        found: tuple[str, int, int, str, str] | None = self.database.execute(
            "SELECT id, pid, pid_start, boot, spec FROM container WHERE environment = ? AND name = 'dev'"
            " AND pid IS NOT NULL",
            (self.identifier,),
        ).fetchone()
        return found


def _project() -> str | None:
    """The nearest folder upwards with a devenv.yml, as cli/project.py finds it; None when that is less than certain."""
    try:
        folder = os.path.realpath(os.getcwd())
    except FileNotFoundError:
        return None
    trusted = {0, os.geteuid(), os.stat(folder).st_uid}
    while not os.path.lexists(f"{folder}/devenv.yml"):
        if folder == "/":
            return None
        folder = os.path.dirname(folder)
    return folder if os.lstat(f"{folder}/devenv.yml").st_uid in trusted else None


def _lives(pid: int, start: int, boot: str) -> bool:
    """Whether this very process lives (state.alive, which costs more to import)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return fields[0] not in (b"Z", b"X") and int(fields[19]) == start and file.read().strip() == boot
    except OSError:
        return False


def _watched(bundle: str) -> bool:
    """Whether the container's conmon lives (monitor.watches, which costs more to import)."""
    try:
        with open(f"{bundle}/conmon.pid", encoding="ascii") as file:
            pid = file.read().strip()
        with open(f"/proc/{pid}/stat", "rb") as stat:
            words = stat.read().split()
    except OSError:
        return False
    return words[1] == b"(conmon)" and words[2] not in (b"Z", b"X")


def _connected(bridge: str) -> bool:
    """Whether nobody took the bridge or the firewall away."""
    from devenv.engine.native.address import table_name
    from devenv.engine.native.firewall import standing

    return os.path.exists(f"/sys/class/net/{bridge}") and standing(table_name(bridge))


def _runtime(name: str) -> str | None:
    for known in (name,) if name else ("runc", "crun"):
        for folder in ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"):
            if os.access(f"{folder}/{known}", os.X_OK):
                return f"{folder}/{known}"
    return None
