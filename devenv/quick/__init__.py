"""The quick door: argv of a hot verb -> its exit code, when there is nothing to find out; None sends it the long way.

`ps`; `exec` and `run` of a plain command; `up` and `build` as long as all that the last one looked at (its receipt, cli/receipt.py) is
as it was: a stat of each file says so. Nothing is imported here that takes time: Python's own imports are the largest
cost of a start. What is read here only ever saves time; whether a process lives, the kernel says.
"""

from __future__ import annotations

import os
import sys

from devenv.colours import colours
from devenv.lives import alive, boot_id, held, identity, watched

from .formats import DOOR, VERSION, relevant

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, NoReturn

    Receipt = dict[str, Any]

_COMPLETE = "_DEVENV_COMPLETE"
_PROGRAMS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


def attempt(argv: Sequence[str], env: Mapping[str, str]) -> int | None:
    """Do the verb if that is quick and certain."""
    verb, words = (argv[0], list(argv[1:])) if argv else ("", [])
    if _COMPLETE in env:
        return None
    if verb == "up" and not words:
        return _up(env)
    if verb == "build" and not words:
        return _build(env)
    if verb == "ps" and {*words} <= {"--all", "-a", "--json"}:
        return _ps(words, env)
    if verb not in ("exec", "run"):
        return None
    plainly = bool(words) and words[0] == "--"
    if plainly:
        words = words[1:]
    elif words and words[0].startswith("-"):
        return None  # an option: the long way knows it
    if not words:
        return None
    return _exec(words, env, may_name=not plainly) if verb == "exec" else _run(words, env)


def plain(argv: Sequence[str], env: Mapping[str, str]) -> bool:
    """Whether this is a verb of every day without options, which needs no parser."""
    return list(argv) in (["up"], ["stop"], ["down"]) and _COMPLETE not in env


def _ps(words: list[str], env: Mapping[str, str]) -> int | None:
    from .listing import ps

    try:
        here = os.path.realpath(os.getcwd())
    except FileNotFoundError:
        return None
    folder = project()
    if folder is None and _nearest(here) is not None:
        return None  # it is less than certain that it counts
    return ps(
        folder or here,
        env,
        inside=folder is not None,
        everything=bool({*words} - {"--json"}),
        as_json="--json" in words,
    )


# exec ------------------------------------------------------------------------------------------------------------------


def names_container(word: str, services: Iterable[str]) -> bool:
    """Whether the first word after `exec` can be the name of a container, not of a command, in an environment with these."""
    service, dash, number = word.rpartition("-")
    return word in services or (bool(dash) and number.isdecimal() and service in services) or word.startswith("run-")


def _exec(words: list[str], env: Mapping[str, str], *, may_name: bool) -> int | None:
    from devenv import command
    from devenv.paths import locate

    folder = project() or ""
    paths = locate(env, os.geteuid())
    try:
        with open(paths.door(folder), encoding="utf-8", errors="surrogateescape") as file:
            kind, services, *told = file.read().split("\0")
    except (OSError, ValueError):
        return None
    if kind != DOOR or (may_name and names_container(words[0], services.split())):
        return None
    identifier, pid, start, boot, runtime, path, workdir, process, variables, *sources = told
    if not alive(int(pid), int(start), boot, boot_id()) or not watched(paths.bundle(identifier)):
        return None
    supervisor = paths.supervisor(identifier.rpartition("-")[0])
    if os.path.exists(supervisor) and not held(supervisor):
        return None  # it was killed: the long way starts it again
    paired = tuple(zip(sources[::3], sources[1::3], strict=True))
    if any(seen != "{}:{}".format(*identity(source)) for source, seen in zip(sources[::3], sources[2::3], strict=True)):
        return None  # a folder was made anew: the long way warns
    within = command.matching(os.path.realpath(os.getcwd()), folder, paired)
    root = f"/proc/{pid}/root"
    # What would fail goes the long way, which says why.
    if command.verdict(root, words[0], path, within or workdir) or (within and not command.is_folder(root, within)):
        return None
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if terminal and runtime.endswith("/crun"):
        return None  # somebody must stay, to let the size follow (container/runtime.py, attend)
    known = ("TERM", "COLORTERM", "NO_COLOR") if terminal else ()
    lent = [f"{name}={env[name]}" for name in known if name in env]
    # Options would do for runc; crun takes what they don't say (user, folder, privileges) from nowhere.
    described = _process(process, variables, lent, words, within or workdir, terminal)
    options = ("--process", f"/proc/self/fd/{described}")
    _become([runtime, "--root", f"{paths.runtime}/{os.path.basename(runtime)}", "exec", *options, identifier])


def _process(rest: str, variables: str, more: list[str], words: list[str], cwd: str, terminal: bool) -> int:
    """A process (runtime-spec) as a file in memory, for the runtime to inherit. To import json takes as long as all else."""
    from _json import encode_basestring_ascii as quoted

    args, env = (",".join(map(quoted, texts)) for texts in (words, more))
    own = f'"args":[{args}],"cwd":{quoted(cwd)},"env":[{variables[1:-1]}{"," if env else ""}{env}]'
    file = os.memfd_create("process", 0)
    os.write(file, f'{rest[:-1]},"terminal":{"true" if terminal else "false"},{own}}}'.encode())
    return file


def _become(argv: list[str]) -> NoReturn:
    """Let the runtime take our place: its exit code is ours, and signals come to it."""
    os.execve(argv[0], argv, {"PATH": ":".join(_PROGRAMS)})


# up and run ------------------------------------------------------------------------------------------------------------


def _up(env: Mapping[str, str]) -> int | None:
    receipt = _current(env)
    if receipt is None:
        return None
    answer = receipt["up"]
    if answer is not None and _stands(answer, env):
        sys.stdout.write(answer["coloured" if colours(sys.stdout, env) else "plain"])
        return 0
    if receipt["secrets"]:
        return None
    from .arrive import up

    return up(receipt, env)


def _build(env: Mapping[str, str]) -> int | None:
    receipt = _current(env)
    if receipt is None or not receipt["build"]:
        return None
    sys.stdout.write(receipt["build"])
    return 0


def _run(words: list[str], env: Mapping[str, str]) -> int | None:
    receipt = _current(env)
    if receipt is None or receipt["secrets"]:
        return None
    from .oneshot import run

    return run(receipt, words, env)


def _current(env: Mapping[str, str]) -> Receipt | None:
    """The receipt of the project we are in, if all it speaks of is as it was."""
    import json

    from devenv.build.observed import unchanged
    from devenv.paths import locate

    folder, paths = project(), locate(env, os.geteuid())
    try:
        with open(paths.receipt(folder or ""), "rb") as file:
            receipt: Receipt = json.load(file)
    except (OSError, ValueError):
        return None
    if receipt.get("version") != VERSION or receipt["env"] != relevant(env):
        return None
    if (*receipt["database"],) != identity(paths.state) or not unchanged(receipt["files"]):
        return None
    return receipt if _as_given(receipt["variables"], env) else None


def _as_given(variables: Mapping[str, str], env: Mapping[str, str]) -> bool:
    """Whether the variables that secrets come from hold what they did: of that, their fingerprints were written down."""
    if not variables:
        return True
    from devenv.engine.native.records.vault import fingerprint
    from devenv.paths import locate

    paths = locate(env, os.geteuid())
    values = {name: env[name].encode("utf-8", "surrogateescape") for name in variables if name in env}
    return {name: fingerprint(paths, value) for name, value in values.items()} == variables


def _stands(answer: Receipt, env: Mapping[str, str]) -> bool:
    """Whether the containers the answer speaks of run as they did, and nothing has happened to any, nor to what they need."""
    from devenv.build.observed import unchanged
    from devenv.paths import locate

    paths, boot = locate(env, os.geteuid()), boot_id()
    return (
        unchanged(answer["events"])
        and (not answer["supervisor"] or held(answer["supervisor"]))
        and all(_runs(one, paths.bundle(one["container"]), boot) for one in answer["containers"])
        and all(_hears(*one) for one in answer["heard"])
        and all(_connected(bridge) for bridge in {one["bridge"] for one in answer["containers"]} if bridge)
    )


def _runs(one: Receipt, bundle: str, boot: str) -> bool:
    """Whether this very container runs, watched, with its sources."""
    return (
        alive(one["pid"], one["start"], one["boot"], boot)
        and watched(bundle)
        and all(identity(path) == (device, inode) for path, device, inode in one["sources"])
    )


def _hears(pid: int, ports: list[tuple[int, str]], told: list[str]) -> bool:
    """Whether the same listen in a container as did."""
    from devenv.engine.native.slot.listening import heard

    return [*heard(pid, [(port, protocol) for port, protocol in ports])] == told


def project() -> str | None:
    """The nearest folder upwards with a devenv.yml, as cli/project.py finds it; None when that is less than certain."""
    try:
        folder = os.path.realpath(os.getcwd())
    except FileNotFoundError:
        return None
    trusted = {0, os.geteuid(), os.stat(folder).st_uid}
    found = _nearest(folder)
    return found if found is not None and os.lstat(f"{found}/devenv.yml").st_uid in trusted else None


def _nearest(folder: str) -> str | None:
    while not os.path.lexists(f"{folder}/devenv.yml"):
        if folder == "/":
            return None
        folder = os.path.dirname(folder)
    return folder


def _connected(bridge: str) -> bool:
    """Whether nobody took the bridge or the firewall away."""
    from devenv.engine.native.slot.address import table_name
    from devenv.engine.native.slot.firewall import linked, standing

    return linked(bridge) and standing(table_name(bridge))
