"""The one table of a manifest's keys: the checker, the JSON Schema and the test of docs/manifest.md read it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

from devenv.model.manifest import Hooks, Limits, Node, Python

from . import values


class Text(NamedTuple):
    """A value of text. `what` completes "is not …"; `read` gives its meaning and raises Wrong.

    `pattern` is both Python and ECMA, and matches the whole; without `what` it is only for editors, and `read` has the
    better message. `words` are the only ones allowed. `shape`: `line` has no
    control characters, `lines` may have newlines and tabs, `any` all but NUL. `literal`: no template.
    """

    what: str
    pattern: str = ""
    read: Callable[[str], Any] = str
    words: tuple[str, ...] = ()
    shape: Literal["line", "lines", "any"] = "line"
    limit: int = 4096
    literal: bool = False
    empty: bool = False


class ListOf(NamedTuple):
    """A list → a tuple. `alone`: one item may stand without the list."""

    item: Kind
    alone: bool = False


class MapOf(NamedTuple):
    """Names of the user's choice → Pairs. `scope`: templates see them."""

    key: Text
    value: Text
    scope: bool = False


class Record(NamedTuple):
    """A mapping with keys of its own, made into a value by `make`. `short`: the key that text alone stands for."""

    keys: tuple[Key, ...]
    make: Callable[..., Any]
    short: str = ""


Kind = Text | ListOf | MapOf | Record


class Key(NamedTuple):
    """A key. `also` are names people try for it; `later`: known, and refused."""

    name: str
    kind: Kind
    doc: str
    also: tuple[str, ...] = ()
    required: bool = False
    later: bool = False


_COMMAND = Text("a command", shape="lines", limit=65536)
_LATER = Text("")
_SWITCH = Text("one of: true, false", read=values.switch, words=("true", "false"))


def _words(*words: str) -> Text:
    return Text(f"one of: {', '.join(words)}", words=words)


def _later(name: str, doc: str) -> Key:
    return Key(name, _LATER, doc, later=True)


_PYTHON = Record(
    (
        Key(
            "version",
            Text("a Python version: write '3.12' or '3.12.4'", values.PYTHON_VERSION, values.python_version),
            "The Python version, `3.N` or `3.N.P`. Default: the base's own.",
        ),
        Key(
            "requirements",
            ListOf(Text("", read=values.requirements)),
            "Files to install from: requirements .txt, pyproject.toml or uv.lock, inside the project folder.",
        ),
        Key(
            "packages",
            ListOf(Text("a Python package: write 'name', 'name==1.2' or 'name[extra]>=1,<2'", values.PIP)),
            "Packages to install, each as in a requirements file.",
        ),
        Key(
            "build_on",
            _words("auto", "base", "apt"),
            "What the packages are installed on: `base` (side by side with apt), `apt` (after it, when a package is"
            " compiled with what apt brings), `auto` (the default) decides.",
        ),
        Key(
            "network",
            _SWITCH,
            "`true`: packages from git repositories, which no lock can hold, are installed by a step with network, and"
            " reported as not reproducible. Default: `false`, they are refused.",
        ),
    ),
    Python,
)

_NODE = Record(
    (
        Key(
            "version",
            Text("a Node.js version: write '22', '22.11' or '22.11.0'", values.NODE_VERSION, values.node_version),
            "The Node.js version. Default: the newest long-term one.",
        ),
        Key("lock", Text("", read=values.npm_lock), "A package-lock.json to install from, beside its package.json."),
        Key(
            "packages",
            ListOf(Text("an npm package: write 'name', 'name@1' or '@scope/name@1'", values.NPM)),
            "Packages to install globally.",
        ),
    ),
    Node,
)

_SOURCE = Record(
    (
        Key(
            "path", Text("", read=values.host_path), "The folder, from the project folder. Default: the project folder."
        ),
        Key("target", Text("", read=values.target), "Where it is seen inside. Default: `/workspace`."),
        Key("mode", _words("rw", "ro", "copy-on-write"), "`rw` (the default), `ro`, or `copy-on-write`."),
    ),
    values.source,
    short="path",
)

_LIMITS = Record(
    (
        Key("memory", Text("a size: write '512M' or '2G'", values.MEMORY, values.memory), "Memory: `512M`, `2G`."),
        Key("cpus", Text("a number of cores: write '2' or '0.5'", r"[0-9]{1,4}(\.[0-9]{1,3})?", values.cpus), "Cores."),
        Key(
            "pids",
            Text("a number of processes: write '4096'", "[0-9]{1,7}", values.pids),
            "Processes and threads at one time. Default: 4096.",
        ),
    ),
    Limits,
)

_HOOKS = Record(
    (
        Key("on_create", ListOf(_COMMAND), "Commands run once, after the container is made."),
        Key("on_start", ListOf(_COMMAND), "Commands run at every start."),
    ),
    Hooks,
)

KEYS = (
    Key(
        "name",
        Text("", values.NAME, values.name, literal=True),
        "The environment's name. Default: the folder's, made fit. Not a template.",
        also=("project",),
    ),
    Key(
        "from",
        Text(
            "",
            f"bootstrap:({'|'.join(values.SUITES)})|file:.+|oci:.+",
            values.base,
        ),
        "What the image starts from: `bootstrap:SUITE` (Debian, built from its packages), `file:CONTAINERFILE`, or"
        " `oci:DIRECTORY[:TAG]` (an OCI image layout).",
        also=("image", "base", "FROM"),
        required=True,
    ),
    Key(
        "vars",
        MapOf(
            Text("", values.VARIABLE, values.variable, literal=True, empty=True),
            Text("", shape="lines", empty=True),
            scope=True,
        ),
        "Names for use in templates; each may use those before it.",
        also=("variables", "args"),
    ),
    Key(
        "apt",
        ListOf(Text("a Debian package: write 'name', 'name:arch' or 'name=version'", values.APT, limit=300)),
        "Debian packages to install.",
        also=("packages", "apt_packages", "deb"),
    ),
    Key("python", _PYTHON, "Python, in a virtual environment on PATH.", also=("pip", "uv", "requirements")),
    Key("node", _NODE, "Node.js.", also=("npm", "nodejs")),
    Key(
        "source",
        ListOf(_SOURCE, alone=True),
        "Folders of the host seen inside: a path, a mapping, or a list of these. Default: the project folder on"
        " `/workspace`; `[]` for none.",
        also=("sources", "mounts", "mount"),
    ),
    Key(
        "contexts",
        MapOf(
            Text("an image reference: write 'debian:bookworm-slim'", values.REFERENCE, literal=True, empty=True),
            Text("", read=values.context),
        ),
        "Where an image reference in a Containerfile comes from: `bootstrap:`, `oci:`, `file:` or a folder.",
        also=("build_contexts", "additional_contexts"),
    ),
    Key(
        "workdir",
        Text("", read=values.workdir),
        "The folder commands start in. Default: the first source's target.",
        also=("working_dir", "cwd", "workspace_folder"),
    ),
    Key(
        "env",
        MapOf(
            Text("", values.VARIABLE, values.env_name, literal=True, empty=True),
            Text("", shape="any", limit=65536, empty=True),
            scope=True,
        ),
        "Environment variables; each may use vars and those before it.",
        also=("environment", "variables"),
    ),
    Key(
        "user",
        Text("a user: write 'name', '1000' or '1000:1000'", values.USER, values.user),
        "Who commands run as: a name or number, with a group after `:`. Default: the image's.",
        also=("uid", "remoteUser"),
    ),
    Key(
        "command",
        _COMMAND,
        "What the container runs. Default: it waits for `shell` and `exec`.",
        also=("cmd", "entrypoint"),
    ),
    Key(
        "ports",
        ListOf(Text("", values.PORT, values.port)),
        "Ports to publish: `[[ADDRESS:]HOST:]CONTAINER[/udp]`. Without an address on this machine only; without a host"
        " port on any free one.",
        also=("port", "expose", "forwardPorts"),
    ),
    Key("limits", _LIMITS, "What a container may use.", also=("resources",)),
    Key("network", _words("bridge", "none"), "`bridge` (the default), or `none`.", also=("networks", "network_mode")),
    Key("hooks", _HOOKS, "Commands run inside at certain moments.", also=("postCreateCommand", "scripts")),
    Key("test", _COMMAND, "The command that tests the project.", also=("tests",)),
    Key(
        "certificates",
        Text("", read=values.certificates),
        "Certificate authorities known inside: `host` (the default), `none`, or a file of PEM certificates.",
        also=("ca", "certs"),
    ),
    Key(
        "proxy",
        _words("host", "none"),
        "Whether the host's proxy settings are used inside: `host` (the default), or `none`.",
    ),
    Key(
        "mirror",
        Text("a mirror: write an http:// or https:// address without user or query", values.URL),
        "The Debian archive to take packages from. Default: the host's own.",
    ),
    Key(
        "snapshot",
        Text("an archive of archives: write an http:// or https:// address with {time} in it", values.SNAPSHOT),
        "Where locked Debian packages come from that have left the mirror: `{time}` becomes YYYYMMDDTHHMMSSZ, `{archive}`"
        " debian or debian-security. Default: DEVENV_SNAPSHOT of the host, or none.",
    ),
    Key(
        "runtime",
        _words(*values.RUNTIMES),
        "The OCI runtime. Default: `crun`, or `runc` where that is missing.",
    ),
    _later("roles", "Reusable bundles of these keys."),
    _later("tasks", "Steps from templates, in order."),
    _later("handlers", "Steps run when a task notifies them."),
    _later("secrets", "Values that reach a container, never an image."),
    _later("services", "Further containers beside this one."),
    _later("volumes", "Folders that outlive containers."),
    _later("checks", "Tests of the environment itself."),
    _later("variants", "The same environment with some keys changed."),
    _later("sudo", "Whether programs inside may gain rights."),
    _later("forward", "What of the host's session reaches inside."),
    _later("welcome", "Text shown to a newcomer."),
    _later("profiles", "Groups of services started together."),
)


def walk(keys: tuple[Key, ...] = KEYS, before: str = "") -> Iterator[tuple[str, Key]]:
    """Every key with its dotted name, a record's before those in it."""
    for key in keys:
        yield before + key.name, key
        inner = key.kind.item if isinstance(key.kind, ListOf) else key.kind
        if isinstance(inner, Record):
            yield from walk(inner.keys, f"{before}{key.name}.")
