"""The keys of a service, a volume and a secret: parts of the one table in keys.py."""

from __future__ import annotations

from . import keys_shared as shared
from . import services, values, values_service
from .kinds import A_COMMAND, Key, ListOf, MapOf, Record, Text, words

_A_SERVICE = Text("a service's name: write one of those under `services`", values_service.SERVICE)
_A_SECRET = Text("a secret's name: write one of those under `secrets` at the top level", values_service.SECRET)


def _duration(default: str, doc: str, name: str) -> Key:
    read = values_service.duration if name in ("start_period", "stop_grace") else values_service.span
    kind = Text("", values_service.DURATION, read)
    return Key(name, kind, f"{doc} `500ms`, `10s`, `2m`. Default: {default}.")


_HEALTHCHECK = Record(
    (
        Key("test", A_COMMAND, "A command run inside: exit code 0 means healthy.", ("command", "cmd"), "pg_isready"),
        _duration("10s", "How long between two checks, at most: after the start they are closer.", "interval"),
        _duration("10s", "How long one may take.", "timeout"),
        Key(
            "retries",
            Text("", "[0-9]{1,4}", values_service.retries),
            "How many must fail in a row for it to be unhealthy. Default: 3.",
        ),
        _duration("0s", "Time for the first success, on top of `interval` × `retries`.", "start_period"),
    ),
    values_service.healthcheck,
    short="test",
)

_OWN = (
    Key(
        "volumes",
        ListOf(Text("", values_service.MOUNT, values_service.mount)),
        "What outlives the container, or is the host's: `NAME:TARGET[:ro]` of a volume, `PATH:TARGET[:ro]` of a folder or"
        " file; PATH begins with `.`, `/` or `~/`.",
        also=("volume", "mounts", "mount", "source", "sources", "binds"),
    ),
    Key(
        "ports",
        ListOf(Text("", values_service.PORT, values_service.port)),
        "Ports to publish, as for a project; replicas share them. `9000-9002:8000` gives each one of its own.",
        also=("port",),
    ),
    Key("secrets", ListOf(_A_SECRET), "Names of the secrets it is given.", also=("secret",)),
    Key(
        "healthcheck",
        _HEALTHCHECK,
        "What says that it is ready: a command, or a mapping.",
        also=("health", "health_check", "check", "test"),
    ),
    Key(
        "depends_on",
        MapOf(_A_SERVICE, words("started", "healthy", "completed"), listed="started"),
        "What is waited for before it starts: service → `started`, `healthy` or `completed` (it ended, with exit code 0). Or a"
        " list, for `started`.",
        also=("depends", "requires", "needs", "links", "after"),
    ),
    Key(
        "replicas",
        Text("", "[0-9]{1,4}", values_service.replicas),
        "How many containers are the same, from 0 to 1000. Default: 1.",
        also=("scale", "deploy", "instances", "count"),
    ),
    Key(
        "restart",
        Text("", values_service.RESTART, values_service.restart),
        "What happens when it ends: `no` (the default), `on-failure[:N]` (at most N times in a row), or `always`.",
        also=("restart_policy",),
    ),
    shared.LIMITS,
    Key(
        "stop_signal",
        Text("", values_service.SIGNAL, values_service.stop_signal),
        "The signal that ends it: `SIGINT`. Default: the image's, or SIGTERM.",
        also=("signal",),
    ),
    _duration("10s", "How long it may take to end before it is killed.", "stop_grace")._replace(
        also=("stop_grace_period", "stop_timeout")
    ),
    Key(
        "profiles",
        ListOf(Text("a profile: write a name, of a-z, 0-9, - and _", values_service.PROFILE)),
        "It starts only with `--profile` of one of these names, or when one that starts depends on it.",
        also=("profile",),
    ),
)

SERVICE = Record(
    (
        shared.FROM._replace(
            doc="What an image of its own starts from. Default: the project's, when other keys of an image are there. Without"
            " any it runs the project's image.",
            required="",
        ),
        shared.APT,
        shared.PYTHON,
        shared.NODE,
        shared.CONTEXTS._replace(doc="As for a project. With the project's `from`, the project's are beneath."),
        shared.COMMAND._replace(doc="What it runs. Default: what its image says."),
        shared.ENV._replace(
            doc="Environment variables; each may use vars, the project's, and those before it. With the project's image, the"
            " project's are beneath.",
        ),
        shared.USER._replace(doc="Who it runs as. Default: the project's, with its image; or the image's own."),
        shared.WORKDIR._replace(
            doc="The folder it starts in. Default: the project's, with its image; or the image's own."
        ),
        *_OWN,
    ),
    services.draw,
    each=("env", "command", "user", "workdir", "volumes", "healthcheck"),
)

VOLUME = Record((), dict)

SECRET = Record(
    (
        Key(
            "from_env",
            Text("", values.VARIABLE, values_service.from_env),
            "The variable that holds it, of whoever says `up`.",
            also=("env", "environment", "variable"),
        ),
        Key(
            "from_file",
            Text("", read=values_service.home_path),
            "The file that holds it, from the project folder, absolute, or from `~/`.",
            also=("file", "path"),
        ),
    ),
    values_service.secret,
)
