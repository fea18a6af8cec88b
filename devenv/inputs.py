"""(ContainerSpec, key of its image) → its inputs: an entry for each thing of the manifest that it is made from. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from devenv.model.container import ContainerSpec
from devenv.model.manifest import Healthcheck, Mount, Pairs, Port, Restart
from devenv.model.plan import UNREAD

_GRACE: float = ContainerSpec._field_defaults["stop_grace"]


def inputs(
    spec: ContainerSpec,
    image_key: str,
    env: Pairs,
    proxy: str,
    secrets: Mapping[str, str],
    before: Pairs = (),
    after: Pairs = (),
) -> Pairs:
    """What a container is made from, by the manifest's names; what isn't set has no entry.

    `env` are the manifest's variables, without those that undo what the host lends; `secrets` the fingerprints of those that
    could be read, by name; `before` and `after` are further entries.
    """
    process, limits = spec.process, spec.limits
    entries: list[tuple[str, str]] = [
        ("image", image_key),
        *before,
        *((f"env.{name}", value) for name, value in env),
        ("proxy", proxy),
        ("user", process.user),
        ("workdir", process.workdir),
        ("command", process.argv[-1] if process.argv else ""),
        *((f"source {source.target}", f"{source.path} {source.mode}") for source in spec.sources),
        *((f"volumes {mount.target}", _mount(mount)) for mount in spec.mounts),
        ("ports", ", ".join(port_text(port) for port in spec.ports)),
        ("limits.memory", "" if limits.memory is None else str(limits.memory)),
        ("limits.cpus", "" if limits.cpus is None else f"{limits.cpus:g}"),
        ("limits.pids", str(limits.pids)),
        ("network", spec.network),
        ("certificates", spec.certificates),
        ("runtime", spec.runtime),
        ("mirror", spec.mirror),
        *((f"secrets.{name}", secrets.get(name, UNREAD)) for name in spec.secrets),
        *(_check(spec.healthcheck) if spec.healthcheck else ()),
        ("restart", _restart(spec.restart)),
        ("stop_signal", spec.stop_signal),
        ("stop_grace", "" if spec.stop_grace == _GRACE else _seconds(spec.stop_grace)),
        *after,
    ]
    # An empty variable isn't the same as none.
    return tuple(entry for entry in entries if entry[1] or entry[0].startswith("env."))


def port_text(port: Port) -> str:
    """`127.0.0.1:8000→8000`, `any` for a host port that is chosen at `up`."""
    protocol = "" if port.protocol == "tcp" else f"/{port.protocol}"
    return f"{port.address}:{port.host or 'any'}→{port.container}{protocol}"


def _mount(mount: Mount) -> str:
    return f"{mount.volume or mount.path} {'ro' if mount.readonly else 'rw'}"


def _check(check: Healthcheck) -> Pairs:
    return (
        ("healthcheck.test", check.test),
        ("healthcheck.interval", _seconds(check.interval)),
        ("healthcheck.timeout", _seconds(check.timeout)),
        ("healthcheck.retries", str(check.retries)),
        ("healthcheck.start_period", _seconds(check.start_period)),
    )


def _restart(restart: Restart) -> str:
    if restart.policy == "no":
        return ""
    return restart.policy if restart.most is None else f"{restart.policy}:{restart.most}"


def _seconds(value: float) -> str:
    return f"{value:g}s"
