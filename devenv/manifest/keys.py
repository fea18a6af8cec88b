"""The one table of a manifest's keys: the checker, the JSON Schema and the test of docs/manifest.md read it."""

from __future__ import annotations

from collections.abc import Iterator

from devenv.model.manifest import Hooks

from . import keys_shared as shared
from . import values, values_service
from .keys_service import SECRET, SERVICE, VOLUME
from .kinds import A_COMMAND, Again, Key, ListOf, MapOf, Record, Text, later, words

_SOURCE = Record(
    (
        Key(
            "path", Text("", read=values.host_path), "The folder, from the project folder. Default: the project folder."
        ),
        Key("target", Text("", read=values.target), "Where it is seen inside. Default: `/workspace`."),
        Key("mode", words("rw", "ro", "copy-on-write"), "`rw` (the default), `ro`, or `copy-on-write`."),
    ),
    values.source,
    short="path",
)

_HOOKS = Record(
    (
        Key("on_create", ListOf(A_COMMAND), "Commands run once, after the container is made."),
        Key("on_start", ListOf(A_COMMAND), "Commands run at every start."),
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
    shared.FROM,
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
    shared.APT,
    shared.PYTHON,
    shared.NODE,
    Key(
        "source",
        ListOf(_SOURCE, alone=True),
        "Folders of the host seen inside: a path, a mapping, or a list of these. Default: the project folder on"
        " `/workspace`; `[]` for none.",
        also=("sources", "mounts", "mount"),
    ),
    shared.CONTEXTS,
    shared.WORKDIR,
    shared.ENV,
    shared.USER,
    shared.COMMAND,
    Key(
        "ports",
        ListOf(Text("", values.PORT, values.port)),
        "Ports to publish: `[[ADDRESS:]HOST:]CONTAINER[/udp]`. Without an address on this machine only; without a host"
        " port on any free one.",
        also=("port", "forwardPorts"),
    ),
    shared.LIMITS,
    Key("network", words("bridge", "none"), "`bridge` (the default), or `none`."),
    Key(
        "services",
        MapOf(Text("", values_service.SERVICE, values_service.service_name, literal=True, empty=True), SERVICE),
        "Further containers beside this one, by name. They find each other by it.",
        also=("service", "containers"),
    ),
    Key(
        "volumes",
        MapOf(Text("", values_service.VOLUME, values_service.volume_name, literal=True, empty=True), VOLUME),
        "Folders that outlive containers, by name: services mount them. `{}` is all there is to say of one.",
        also=("volume",),
    ),
    Key(
        "secrets",
        MapOf(Text("", values_service.SECRET, values_service.secret_name, literal=True, empty=True), SECRET),
        "Values that reach containers and never an image, by name: each is a file beneath /run/secrets.",
        also=("secret",),
    ),
    Key("hooks", _HOOKS, "Commands run inside at certain moments.", also=("postCreateCommand", "scripts")),
    Key(
        "test",
        A_COMMAND,
        "The command that tests the project: what `test`, `try`, `matrix` and `bisect` run.",
        also=("tests",),
    ),
    Key(
        "variants",
        MapOf(Text("", values.VARIANT, values.variant, literal=True, empty=True), Again(("name", "variants"))),
        "The same environment with some keys changed, by name: mappings are merged with what stands above, anything else"
        " replaces it, `null` takes a key away.",
        also=("variant", "matrix"),
    ),
    Key(
        "certificates",
        Text("", read=values.certificates),
        "Certificate authorities known inside: `host` (the default), `none`, or a file of PEM certificates.",
        also=("ca", "certs"),
    ),
    Key(
        "proxy",
        words("host", "none"),
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
        words(*values.RUNTIMES),
        "The OCI runtime. Default: `crun`, or `runc` where that is missing.",
    ),
    later("roles", "Reusable bundles of these keys."),
    later("tasks", "Steps from templates, in order."),
    later("handlers", "Steps run when a task notifies them."),
    later("checks", "Tests of the environment itself."),
    later("sudo", "Whether programs inside may gain rights."),
    later("forward", "What of the host's session reaches inside."),
    later("welcome", "Text shown to a newcomer."),
)


def walk() -> Iterator[tuple[str, Key]]:
    """Every key with its dotted name, a record's before those in it; NAME stands for one of the user's choice.

    What is in a record that is there twice (a project's and a service's `python`) comes once.
    """
    return _walk(KEYS, "", set())


def _walk(keys: tuple[Key, ...], before: str, seen: set[int]) -> Iterator[tuple[str, Key]]:
    for key in keys:
        yield before + key.name, key
        kind = key.kind
        inner = kind.item if isinstance(kind, ListOf) else kind.value if isinstance(kind, MapOf) else kind
        if isinstance(inner, Record) and id(inner) not in seen:
            seen.add(id(inner))
            named = "NAME." if isinstance(kind, MapOf) else ""
            yield from _walk(inner.keys, f"{before}{key.name}.{named}", seen)
