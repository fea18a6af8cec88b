"""(Manifest, images) → Desired: the containers that are wanted and the inputs they are made from. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from types import MappingProxyType

from devenv.errors import NotFound
from devenv.inputs import inputs
from devenv.model.build import Graph, Keyed
from devenv.model.container import RUN, ContainerSpec, Environment, Process
from devenv.model.image import PROJECT, ImageConfig
from devenv.model.manifest import (
    Condition,
    Dependency,
    Hooks,
    Manifest,
    Pairs,
    Port,
    Replica,
    Service,
    Source,
)
from devenv.model.plan import DEPENDS_ON, HOOKS, Built, Desired, WantedImage, WantedService

PROMPT = "debian_chroot"
"""The variable with which the prompts of a variant's containers begin; in each, its own name."""

MAIN = "workspace"
"""The name, within an environment, of the container that `shell` enters, and of what it counts as among services."""

SHELL = ("/bin/sh", "-c")

_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")


def manifests(manifest: Manifest) -> dict[str, Manifest]:
    """Those of all images that a manifest speaks of, by the name they are wanted under; the project's own first."""
    own = {service.name: service.image for service in manifest.services if service.image is not None}
    return {PROJECT: manifest, **own}


def owner(image: str) -> str:
    """What the steps of an image are told by from another's: its service; "" for the project's."""
    return "" if image == PROJECT else image


def image_of(services: Sequence[Service], name: str) -> str:
    """The name of the image that a service runs. Raises NotFound for a service that there isn't."""
    return next((_image_of(one) for one in selected(services, names=(name,)) if one.name == name), PROJECT)


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


def image(
    name: str,
    key: str,
    steps: tuple[tuple[str, Keyed], ...],
    *,
    bases: Built = (),
    files: Mapping[str, Pairs] = MappingProxyType({}),
    hooks: Hooks | None = None,
) -> WantedImage:
    """An image that is wanted. `bases`, what the stages start from, and `files` are only there for saying what changed."""
    told = tuple(
        (f"hooks.{kind}", json.dumps(listed)) for kind, listed in (hooks or Hooks())._asdict().items() if listed
    )
    counted = ((position, keyed.inputs) for position, keyed in steps)
    return WantedImage(name, key, steps, (*bases, *counted, *(((HOOKS, told),) if hooks is not None else ())), files)


def remembered_hooks(built: Built) -> Hooks:
    """The manifest's hooks as the project's image was remembered with them; none where nobody did."""
    told = {name.removeprefix("hooks."): value for name, value in dict(built).get(HOOKS, ())}
    # An earlier devenv wrote down what is one command, too: `a; b`.
    return Hooks(**{kind: tuple(json.loads(value)) if value[:2] == '["' else (value,) for kind, value in told.items()})


def desired(
    manifest: Manifest,
    home: Environment,
    images: Sequence[WantedImage],
    services: Sequence[Service] = (),
    words: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    *,
    certificates: str = "",
    secrets: Mapping[str, str] = MappingProxyType({}),
) -> Desired:
    """What `up` wants: the workspace and these of the manifest's services. `images` begin with the project's.

    `words` are what images run (see `words`), by name. `certificates` is the path of the bundle to lend; `secrets` are the
    fingerprints of those that could be read, by name.
    """
    made = {one.name: (one.key, words.get(one.name, ())) for one in images}
    # Also those that others wait for who aren't wanted now: a one-shot is always one.
    every = (dependency for service in (*manifest.services, *services) for dependency in service.depends_on)
    completed = {one.service for one in every if one.condition == "completed"}
    return Desired(
        environment=home,
        images=tuple(images),
        spec=specify(manifest, home, made[PROJECT][0], certificates=certificates, secrets=secrets),
        hooks=manifest.hooks,
        services=tuple(
            WantedService(
                service.name,
                _image_of(service),
                tuple(
                    _replica(manifest, home, service, one, made[_image_of(service)], certificates, secrets)
                    for one in service.replicas
                ),
                service.depends_on,
                _awaited(service, completed),
            )
            for service in services
        ),
        idle=tuple(one.name for one in manifest.services if one not in services),
    )


def selected(
    services: Sequence[Service], profiles: Collection[str] = (), names: Collection[str] = ()
) -> tuple[Service, ...]:
    """The services to have: those named, else those without profiles or with one of these; and what they depend on.

    In the manifest's order. Raises NotFound for a name that none has.
    """
    known = {service.name: service for service in services}
    for name in names:
        if name not in known:
            listed = ", ".join(known) or "none"
            raise NotFound(f"service {name}: devenv.yml has no such one", hint=f"its services: {listed}")
    active = (one.name for one in services if not one.profiles or set(profiles) & set(one.profiles))
    pending, found = list(names or active), set[str]()
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += [dependency.service for dependency in known[name].depends_on]
    return tuple(service for service in services if service.name in found)


def beside(manifest: Manifest) -> Manifest:
    """A manifest whose environment gets in nobody's way: its sources are never written, its ports are any that are free."""

    def free(ports: tuple[Port, ...]) -> tuple[Port, ...]:
        return tuple(port._replace(host=None, last=None) for port in ports)

    return manifest._replace(
        sources=tuple(one._replace(mode="copy-on-write") if one.mode == "rw" else one for one in manifest.sources),
        ports=free(manifest.ports),
        services=tuple(one._replace(ports=free(one.ports)) for one in manifest.services),
    )


def unwritten(wanted: Desired, folders: Collection[str]) -> Desired:
    """The same, with the host's folders and files that services mount never written: `folders` of them by copy-on-write."""

    def apart(spec: ContainerSpec) -> ContainerSpec:
        seen = tuple(one for one in spec.mounts if one.path and not one.readonly and one.path in folders)
        sources = tuple(Source(one.path, one.target, "copy-on-write") for one in seen)
        mounts = tuple(one._replace(readonly=True) if one.path else one for one in spec.mounts if one not in seen)
        return spec._replace(sources=(*spec.sources, *sources), mounts=mounts)

    services = (one._replace(specs=tuple(map(apart, one.specs))) for one in wanted.services)
    return wanted._replace(services=tuple(services))


def specify(
    manifest: Manifest,
    home: Environment,
    image_key: str,
    *,
    certificates: str = "",
    secrets: Mapping[str, str] = MappingProxyType({}),
) -> ContainerSpec:
    """The workspace, its image still to be filled in."""
    process = Process(
        argv=(*SHELL, manifest.command) if manifest.command else (),
        env=(*_no_proxy(manifest), *_prompt(home), *manifest.env),
        user=manifest.user or "",
        workdir=manifest.workdir or "",
    )
    spec = ContainerSpec(
        environment=home.id,
        name=MAIN,
        hostname=manifest.name,
        image="",
        process=process,
        sources=_sources(manifest),
        ports=manifest.ports,
        limits=manifest.limits,
        network=manifest.network,
        certificates=certificates,
        runtime=manifest.runtime or "",
        mirror=manifest.mirror or "",
        service=MAIN,
        secrets=tuple(secret.name for secret in manifest.secrets),
    )
    named = (("name", manifest.name),)
    return spec._replace(inputs=inputs(spec, image_key, manifest.env, manifest.proxy, secrets, named))


def _replica(
    manifest: Manifest,
    home: Environment,
    service: Service,
    one: Replica,
    image: tuple[str, tuple[str, ...]],
    certificates: str,
    secrets: Mapping[str, str],
) -> ContainerSpec:
    """One container of a service, which sees the project's sources where it runs the project's image.

    `image` is the key of its image, and what that runs.
    """
    image_key, words = image
    spec = ContainerSpec(
        environment=home.id,
        name=f"{service.name}-{one.index}",
        hostname=f"{service.name}-{one.index}",
        image="",
        process=Process(
            argv=(*SHELL, one.command) if one.command else (),
            env=(*_no_proxy(manifest), *_prompt(home, f"{service.name}-{one.index}"), *one.env),
            user=one.user or "",
            workdir=one.workdir or "",
        ),
        sources=_sources(manifest) if service.image is None else (),
        ports=tuple(_own_port(port, one.index) for port in service.ports),
        limits=service.limits,
        network=manifest.network,
        certificates=certificates,
        runtime=manifest.runtime or "",
        stop_signal=service.stop_signal,
        mirror=manifest.mirror or "",
        service=service.name,
        index=one.index,
        mounts=tuple(
            mount._replace(path=absolute(manifest.folder, mount.path)) if mount.path else mount for mount in one.mounts
        ),
        secrets=service.secrets,
        healthcheck=one.healthcheck,
        restart=service.restart,
        stop_grace=service.stop_grace,
    )
    ordered = ((DEPENDS_ON, ", ".join(map(_needed, service.depends_on))),)
    made = spec._replace(inputs=inputs(spec, image_key, one.env, manifest.proxy, secrets, after=ordered))
    # What the image runs is an input of it by the image.
    return made if one.command else made._replace(process=made.process._replace(argv=words))


def words(manifest: Manifest, config: ImageConfig) -> tuple[str, ...]:
    """What an image of this manifest runs in a service that has no command: ENTRYPOINT and CMD, or ()."""
    if manifest.base.kind == "bootstrap":
        return ()  # its shell would end at once; so it waits, as the workspace does
    return (*(config.entrypoint or ()), *(config.cmd or ()))


def without_sources(spec: ContainerSpec) -> ContainerSpec:
    """The same without the source tree; processes that would have started in it start where the image says."""
    workdir = spec.process.workdir
    inside = any(f"{workdir}/".startswith(f"{source.target}/") for source in spec.sources)
    return spec._replace(sources=(), process=spec.process._replace(workdir="" if inside else workdir))


def one_shot(spec: ContainerSpec, process: Process, name: str) -> ContainerSpec:
    """The workspace's spec for one process in a container of its own: other name, no ports, no waiting init."""
    own = spec.process
    merged = Process(
        process.argv,
        env=(*own.env, *process.env),
        user=process.user or own.user,
        workdir=process.workdir or own.workdir,
        terminal=process.terminal,
    )
    return spec._replace(name=name, process=merged, ports=(), service="")


def bare(name: str, image: str, process: Process, certificates: str = "") -> ContainerSpec:
    """A container of nothing but an image."""
    return ContainerSpec("", name, name, image, process, certificates=certificates)


def absolute(folder: str, path: str) -> str:
    """A manifest's path: relative ones are the project's."""
    from os.path import join, normpath  # joining text only, no file is looked at

    return normpath(join(folder, path))


def _image_of(service: Service) -> str:
    return PROJECT if service.image is None else service.name


def _awaited(service: Service, completed: Collection[str]) -> Condition:
    if service.name in completed:
        return "completed"
    return "healthy" if any(one.healthcheck for one in service.replicas) else "started"


def _needed(one: Dependency) -> str:
    """A dependency as a container's inputs have it: a one-shot's as such, for whoever starts that again without the manifest."""
    return f"{one.service} (completed)" if one.condition == "completed" else one.service


def _own_port(port: Port, index: int) -> Port:
    """Of a range of host ports, the replica's own."""
    return port if port.last is None or port.host is None else port._replace(host=port.host + index - 1, last=None)


def _sources(manifest: Manifest) -> tuple[Source, ...]:
    return tuple(Source(absolute(manifest.folder, one.path), one.target, one.mode) for one in manifest.sources)


def _prompt(home: Environment, container: str = "") -> Pairs:
    """What Debian's prompt begins with, where the host's name, the same for all variants, wouldn't say which it is.

    Not in a trial's runs, whose sides see the same: it is no input, and nobody goes into them.
    """
    if not home.variant or home.variant.startswith(RUN):
        return ()
    return ((PROMPT, f"devenv:{home.name}/{container}" if container else f"devenv:{home.name}"),)


def _no_proxy(manifest: Manifest) -> Pairs:
    """`proxy: none`: the engine lends the host's settings, empty ones of ours undo that."""
    if manifest.proxy == "host":
        return ()
    return tuple((spelt, "") for name in _PROXIES for spelt in (name, name.upper()))
