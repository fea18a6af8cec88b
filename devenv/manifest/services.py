"""What a service's keys mean → Service, the manifest of its image with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from devenv.model.manifest import Condition, Dependency, Manifest, Mount, Pairs, Replica, Service

IMAGE_KEYS = ("from", "apt", "python", "node", "contexts")
_LENT = ("certificates", "proxy", "mirror", "snapshot", "runtime")

Places = Mapping[str, tuple[int, int]]


class Drawn(NamedTuple):
    """A service that knows neither its name nor its project yet. `image` are the values of the image's keys, empty without
    any; `first` is what its first replica is, or would be; `mounts` are its and the others', those that all have once.
    """

    service: Service
    image: Mapping[str, Any]
    first: Replica
    mounts: tuple[tuple[Mount, ...], ...]


def draw(first: dict[str, Any], each: Sequence[dict[str, Any]], **values: Any) -> Drawn:
    """What the table of keys makes of a service: `first` and `each` are its replicas' values, `values` the others."""
    image = {key: values.pop(key) for key in IMAGE_KEYS if key in values}
    waits: Iterable[tuple[str, Condition]] = values.pop("depends_on", ())
    replicas = tuple(_replica(number, one) for number, one in enumerate(each, 1))
    needs = tuple(Dependency(*wait) for wait in waits)
    would = _replica(1, first)
    # What no `index` is in is the very same in each, however much it is.
    mounts = {id(one.mounts): one.mounts for one in (would, *replicas)}
    return Drawn(Service("", None, replicas, depends_on=needs, **values), image, would, tuple(mounts.values()))


def _replica(index: int, values: dict[str, Any]) -> Replica:
    mounts = {"mounts": values["volumes"]} if "volumes" in values else {}
    return Replica(index, **mounts, **{key: value for key, value in values.items() if key != "volumes"})


def services(drawn: Iterable[tuple[str, Drawn]], project: Manifest, home: str) -> tuple[Service, ...]:
    """The services of a project that is complete but for them. `home` is what `~` stands for."""
    places: dict[str, dict[str, tuple[int, int]]] = {}
    for where, place in project.places.items():
        first, _, rest = where.partition(".")
        if first == "services":
            name, _, key = rest.partition(".")
            places.setdefault(name, {})[key] = place
    return tuple(_service(name, one, project, places.get(name, {}), home) for name, one in drawn)


def _service(name: str, drawn: Drawn, project: Manifest, places: Places, home: str) -> Service:
    image = _image(name, drawn.image, project, places) if drawn.image else None
    settled: dict[tuple[int, int], tuple[Pairs, tuple[Mount, ...]]] = {}
    for one in drawn.service.replicas:
        if (id(one.env), id(one.mounts)) not in settled:
            env = one.env if image else tuple({**dict(project.env), **dict(one.env)}.items())
            mounts = tuple(mount._replace(path=at_home(mount.path, home)) for mount in one.mounts)
            settled[id(one.env), id(one.mounts)] = (env, mounts)
    replicas = tuple(
        one._replace(
            env=settled[id(one.env), id(one.mounts)][0],
            user=one.user if image else one.user or project.user,
            workdir=one.workdir if image else one.workdir or project.workdir,
            mounts=settled[id(one.env), id(one.mounts)][1],
        )
        for one in drawn.service.replicas
    )
    return drawn.service._replace(name=name, image=image, replicas=replicas)


def _image(name: str, keys: Mapping[str, Any], project: Manifest, places: Places) -> Manifest:
    """The manifest of an image: what the service says of it, and how it is built as the project says."""
    inherits = "from" not in keys
    contexts = {**dict(project.contexts if inherits else ()), **dict(keys.get("contexts", ()))}
    shared = (*_LENT, "from", "contexts") if inherits else _LENT
    kept = {where: place for where, place in project.places.items() if _top(where) in shared}
    own = {where: place for where, place in places.items() if _top(where) in IMAGE_KEYS}
    return Manifest(
        project.path,
        project.folder,
        f"{project.name}-{name}",
        keys.get("from", project.base),
        apt=keys.get("apt", ()),
        python=keys.get("python"),
        node=keys.get("node"),
        contexts=tuple(contexts.items()),
        service=name,
        places={**kept, **own},
        **{key: getattr(project, key) for key in _LENT},
    )


def _top(where: str) -> str:
    return where.partition(".")[0].partition("[")[0]


def at_home(path: str, home: str) -> str:
    """A path of the host, `~` made into `home`."""
    return f"{home.rstrip('/')}{path[1:]}" if path.startswith("~") else path
