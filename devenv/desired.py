"""(Manifest, keyed build) → Desired: the container that is wanted and the inputs it is made from. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from types import MappingProxyType

from devenv.model.build import Graph, Keyed
from devenv.model.container import ContainerSpec, Environment, Process
from devenv.model.manifest import Manifest, Pairs, Port, Source
from devenv.model.plan import HOOKS, Built, Desired

MAIN = "dev"
"""The name, within an environment, of the container that `up` makes and `shell` enters."""

SHELL = ("/bin/sh", "-c")

_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")


def environment(folder: str, name: str, known: Environment | None, variant: str = "") -> Environment:
    """The environment of a project folder (absolute, resolved): the known one under its present name, or a new one."""
    if known is not None:
        return Environment(known.id, name, known.folder, known.variant)
    # A hash, so that two checkouts of one project never meet, and one that was forgotten finds its volumes again.
    return Environment(sha256(f"{folder}\0{variant}".encode()).hexdigest()[:12], name, folder, variant)


def positions(graph: Graph, steps: Sequence[Keyed]) -> tuple[tuple[str, Keyed], ...]:
    """Each step with its position: the stage's name and its place in it, from 1."""
    names = {stage.index: stage.name for stage in graph.stages}
    places = {
        id(step): f"{names[stage.index]}:{number}"
        for stage in graph.stages
        for number, step in enumerate(stage.steps, 1)
    }
    return tuple((places[id(keyed.step)], keyed) for keyed in steps)


def desired(
    manifest: Manifest,
    home: Environment,
    image_key: str,
    steps: tuple[tuple[str, Keyed], ...],
    *,
    bases: Built = (),
    files: Mapping[str, Pairs] = MappingProxyType({}),
    certificates: str = "",
) -> Desired:
    """What `up` wants. `certificates` is the path of the bundle to lend.

    `bases`, what the stages start from, and `files` are only there for saying what changed.
    """
    spec = specify(manifest, home, image_key, certificates=certificates)
    hooks = tuple((f"hooks.{name}", "; ".join(hooks)) for name, hooks in manifest.hooks._asdict().items() if hooks)
    built = (*bases, *((position, keyed.inputs) for position, keyed in steps), (HOOKS, hooks))
    return Desired(home, image_key, steps, spec, manifest.hooks, built, files)


def specify(manifest: Manifest, home: Environment, image_key: str, *, certificates: str = "") -> ContainerSpec:
    """The main container, its image still to be filled in."""
    process = Process(
        argv=(*SHELL, manifest.command) if manifest.command else (),
        env=(*_no_proxy(manifest), *manifest.env),
        user=manifest.user or "",
        workdir=manifest.workdir or "",
    )
    sources = tuple(Source(absolute(manifest.folder, one.path), one.target, one.mode) for one in manifest.sources)
    return ContainerSpec(
        environment=home.id,
        name=MAIN,
        hostname=manifest.name,
        image="",
        process=process,
        sources=sources,
        ports=manifest.ports,
        limits=manifest.limits,
        network=manifest.network,
        certificates=certificates,
        runtime=manifest.runtime or "",
        inputs=_inputs(manifest, image_key, sources, certificates),
        mirror=manifest.mirror or "",
    )


def without_sources(spec: ContainerSpec) -> ContainerSpec:
    """The same without the source tree; processes that would have started in it start where the image says."""
    workdir = spec.process.workdir
    inside = any(f"{workdir}/".startswith(f"{source.target}/") for source in spec.sources)
    return spec._replace(sources=(), process=spec.process._replace(workdir="" if inside else workdir))


def one_shot(spec: ContainerSpec, process: Process, name: str) -> ContainerSpec:
    """The main container's spec for one process in one of its own: other name, no ports, no waiting init."""
    own = spec.process
    merged = Process(
        process.argv,
        env=(*own.env, *process.env),
        user=process.user or own.user,
        workdir=process.workdir or own.workdir,
        terminal=process.terminal,
    )
    return spec._replace(name=name, process=merged, ports=())


def bare(name: str, image: str, process: Process, certificates: str = "") -> ContainerSpec:
    """A container of nothing but an image."""
    return ContainerSpec("", name, name, image, process, certificates=certificates)


def absolute(folder: str, path: str) -> str:
    """A manifest's path: relative ones are the project's."""
    from os.path import join, normpath  # joining text only, no file is looked at

    return normpath(join(folder, path))


def port_text(port: Port) -> str:
    """`127.0.0.1:8000→8000`, `any` for a host port that is chosen at `up`."""
    protocol = "" if port.protocol == "tcp" else f"/{port.protocol}"
    return f"{port.address}:{port.host or 'any'}→{port.container}{protocol}"


def _no_proxy(manifest: Manifest) -> Pairs:
    """`proxy: none`: the engine lends the host's settings, empty ones of ours undo that."""
    if manifest.proxy == "host":
        return ()
    return tuple((spelt, "") for name in _PROXIES for spelt in (name, name.upper()))


def _inputs(manifest: Manifest, image_key: str, sources: Iterable[Source], certificates: str) -> Pairs:
    """One entry for each thing of the manifest that a container is made from; what isn't set has none."""
    limits = manifest.limits
    entries: list[tuple[str, str]] = [
        ("image", image_key),
        ("name", manifest.name),
        *((f"env.{name}", value) for name, value in manifest.env),
        ("proxy", manifest.proxy),
        ("user", manifest.user or ""),
        ("workdir", manifest.workdir or ""),
        ("command", manifest.command or ""),
        *((f"source {source.target}", f"{source.path} {source.mode}") for source in sources),
        ("ports", ", ".join(port_text(port) for port in manifest.ports)),
        ("limits.memory", "" if limits.memory is None else str(limits.memory)),
        ("limits.cpus", "" if limits.cpus is None else f"{limits.cpus:g}"),
        ("limits.pids", str(limits.pids)),
        ("network", manifest.network),
        ("certificates", certificates),
        ("runtime", manifest.runtime or ""),
        ("mirror", manifest.mirror or ""),
    ]
    # An empty variable isn't the same as none.
    return tuple(entry for entry in entries if entry[1] or entry[0].startswith("env."))
