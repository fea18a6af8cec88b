"""An ImageConfig ↔ the JSON of an image config (image-spec, config.md, with Docker's Healthcheck, Shell and OnBuild)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from devenv.errors import StoreError
from devenv.model.image import Healthcheck, ImageConfig
from devenv.model.manifest import Pairs

from . import untrusted


class History(NamedTuple):
    """One line of an image's history; `empty` when it made no layer."""

    created_by: str
    empty: bool = False


def config_json(config: ImageConfig, diff_ids: Sequence[str], history: Sequence[History], created: int | None) -> bytes:
    """An image config (image-spec, config.md, with Docker's Healthcheck, Shell and OnBuild). Unset fields are left out.

    StoreError when `history` has another number of layers than there are: other tools refuse such an image.
    """
    if history and sum(not line.empty for line in history) != len(diff_ids):
        raise StoreError(f"write image config: its history doesn't tell of {len(diff_ids)} layers")
    stamp = {} if created is None else {"created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(created))}
    document: dict[str, Any] = {
        **stamp,
        "architecture": config.architecture,
        "os": config.os,
        "config": _execution(config),
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
        "history": [
            {**stamp, "created_by": line.created_by, **({"empty_layer": True} if line.empty else {})}
            for line in history
        ],
    }
    if config.variant:
        document["variant"] = config.variant
    return untrusted.dump(document)


def _execution(config: ImageConfig) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "User": config.user,
        "Env": [f"{name}={value}" for name, value in config.env],
        "WorkingDir": config.workdir,
        "ExposedPorts": {port if "/" in port else f"{port}/tcp": {} for port in config.exposed},
        "Volumes": {path: {} for path in config.volumes},
        "Labels": dict(config.labels),
        "StopSignal": config.stop_signal,
        "OnBuild": list(config.onbuild),
        "Healthcheck": _healthcheck_json(config.healthcheck) if config.healthcheck else None,
    }
    document = {name: value for name, value in fields.items() if value}
    for name, words in (("Entrypoint", config.entrypoint), ("Cmd", config.cmd), ("Shell", config.shell)):
        if words is not None:  # an empty list isn't the same as none
            document[name] = list(words)
    return document


def _healthcheck_json(check: Healthcheck) -> dict[str, Any]:
    fields = {
        "Test": list(check.test),
        "Interval": check.interval,
        "Timeout": check.timeout,
        "StartPeriod": check.start_period,
        "StartInterval": check.start_interval,
        "Retries": check.retries,
    }
    return {name: value for name, value in fields.items() if value}


def parse_config(data: bytes) -> ImageConfig:
    """The execution parameters in an image config. StoreError naming the field that isn't what the spec says."""
    try:
        return parse(data)[0]
    except untrusted.Bad as error:
        raise StoreError(f"read image config: {error}") from error


def parse(data: bytes) -> tuple[ImageConfig, tuple[str, ...]]:
    """The execution parameters and diff ids. Raises untrusted.Bad."""
    document = untrusted.load(data)
    fields = untrusted.mapping(document.get("config"), "config")
    rootfs = untrusted.mapping(document.get("rootfs"), "rootfs")
    if rootfs.get("type") != "layers":
        raise untrusted.Bad(f"rootfs.type {rootfs.get('type')!r} is not known")
    diff_ids = untrusted.texts(rootfs.get("diff_ids"), "diff_ids") or ()
    for diff_id in diff_ids:
        if not untrusted.DIGEST.fullmatch(diff_id):
            raise untrusted.Bad(f"diff id {diff_id[:100]!r} is not a sha256 digest")
    config = ImageConfig(
        env=_env(untrusted.texts(fields.get("Env"), "Env") or ()),
        user=untrusted.text(fields.get("User", ""), "User"),
        workdir=untrusted.text(fields.get("WorkingDir", ""), "WorkingDir"),
        entrypoint=untrusted.texts(fields.get("Entrypoint"), "Entrypoint"),
        cmd=untrusted.texts(fields.get("Cmd"), "Cmd"),
        exposed=_set(fields.get("ExposedPorts"), "ExposedPorts"),
        volumes=_set(fields.get("Volumes"), "Volumes"),
        labels=_labels(fields.get("Labels")),
        stop_signal=untrusted.text(fields.get("StopSignal", ""), "StopSignal"),
        healthcheck=_healthcheck(fields.get("Healthcheck")),
        shell=untrusted.texts(fields.get("Shell"), "Shell"),
        onbuild=untrusted.texts(fields.get("OnBuild"), "OnBuild") or (),
        architecture=untrusted.text(document.get("architecture"), "architecture"),
        os=untrusted.text(document.get("os"), "os"),
        variant=untrusted.text(document.get("variant", ""), "variant"),
    )
    return config, diff_ids


def _env(entries: Sequence[str]) -> Pairs:
    pairs = tuple((name, value) for name, _, value in (entry.partition("=") for entry in entries))
    if any(not name for name, _ in pairs):
        raise untrusted.Bad("Env: a variable without a name")
    return pairs


def _set(value: object, field: str) -> tuple[str, ...]:
    """Go's way to write a set: an object whose values are empty objects."""
    return tuple(sorted(untrusted.text(name, field) for name in untrusted.mapping(value, field)))


def _labels(value: object) -> Pairs:
    labels = untrusted.mapping(value, "Labels")
    return tuple(
        sorted(
            (untrusted.text(name, "Labels"), untrusted.text(text, f"Labels.{name[:100]!r}"))
            for name, text in labels.items()
        )
    )


def _healthcheck(value: object) -> Healthcheck | None:
    fields = untrusted.mapping(value, "Healthcheck")
    test = untrusted.texts(fields.get("Test"), "Healthcheck.Test") or ()
    if not fields:
        return None
    return Healthcheck(
        test,
        *(
            untrusted.number(fields.get(name, 0), f"Healthcheck.{name}", 1 << 62)
            for name in ("Interval", "Timeout", "StartPeriod", "StartInterval", "Retries")
        ),
    )
