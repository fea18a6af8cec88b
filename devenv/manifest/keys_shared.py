"""The keys that a project and each of its services have: what an image is made of, and how it is run."""

from __future__ import annotations

from devenv.model.manifest import Limits, Node, Python

from . import values
from .kinds import A_COMMAND, Key, ListOf, MapOf, Record, Text, words

_SWITCH = Text("one of: true, false", read=values.switch, words=("true", "false"))

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
            words("auto", "base", "apt"),
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
        Key(
            "network",
            _SWITCH,
            "`true`: install scripts have network, what `lock` has from git repositories is installed too, and both are"
            " reported as not reproducible. Default: `false`, scripts have none, repositories are refused.",
        ),
    ),
    Node,
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

FROM = Key(
    "from",
    Text(
        "",
        f"bootstrap:({'|'.join(values.SUITES)})|file:.+|oci:.+",
        values.base,
    ),
    "What the image starts from: `bootstrap:SUITE` (Debian, built from its packages), `file:CONTAINERFILE`, or"
    " `oci:DIRECTORY[:TAG]` (an OCI image layout).",
    also=("base", "FROM"),
    required="bootstrap:bookworm",
)

APT = Key(
    "apt",
    ListOf(Text("a Debian package: write 'name', 'name:arch' or 'name=version'", values.APT, limit=300)),
    "Debian packages to install.",
    also=("packages", "apt_packages", "deb"),
)

CONTEXTS = Key(
    "contexts",
    MapOf(
        Text("an image reference: write 'debian:bookworm-slim'", values.REFERENCE, literal=True, empty=True),
        Text("", read=values.context),
    ),
    "Where an image reference in a Containerfile comes from: `bootstrap:`, `oci:`, `file:` or a folder.",
    also=("build_contexts", "additional_contexts"),
)

WORKDIR = Key(
    "workdir",
    Text("", read=values.workdir),
    "The folder commands start in. Default: the first source's target.",
    also=("working_dir", "cwd", "workspace_folder"),
)

ENV = Key(
    "env",
    MapOf(
        Text("", values.VARIABLE, values.env_name, literal=True, empty=True),
        Text("", shape="any", limit=65536, empty=True),
        scope=True,
    ),
    "Environment variables; each may use vars and those before it.",
    also=("environment", "variables"),
)

USER = Key(
    "user",
    Text("a user: write 'name', '1000' or '1000:1000'", values.USER, values.user),
    "Who commands run as: a name or number, with a group after `:`. Default: the image's.",
    also=("uid", "remoteUser"),
)

COMMAND = Key(
    "command",
    A_COMMAND,
    "What the container runs. Default: it waits for `shell` and `exec`.",
    also=("cmd",),
)

PYTHON = Key("python", _PYTHON, "Python, in a virtual environment on PATH.", also=("pip", "uv", "requirements"))

NODE = Key("node", _NODE, "Node.js.", also=("npm", "nodejs"))

LIMITS = Key("limits", _LIMITS, "What a container may use.", also=("resources",))
