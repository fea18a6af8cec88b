"""Desired, its images built <-> the JSON that is kept of it: to have the same again, no manifest is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from devenv.engine.native.records.record import pairs, spec_value
from devenv.model import plain
from devenv.model.container import Environment
from devenv.model.image import PROJECT
from devenv.model.manifest import Dependency, Hooks, Pairs
from devenv.model.plan import Desired, WantedImage, WantedService


def written(wanted: Desired, digests: Mapping[str, str]) -> dict[str, Any]:
    """What is wanted, with the digests of its images, by name."""
    return {
        "environment": plain(wanted.environment),
        "images": [(one.name, one.key, digests[one.name], one.built) for one in wanted.images],
        "spec": plain(wanted.spec._replace(image=digests[PROJECT])),
        "hooks": plain(wanted.hooks),
        "services": plain(wanted.services),
        "idle": wanted.idle,
    }


def read(told: Mapping[str, Any]) -> Desired:
    """The Desired of `written`; of its images there are no steps."""
    return Desired(
        Environment(**told["environment"]),
        tuple(WantedImage(name, key, (), _built(built)) for name, key, _, built in told["images"]),
        spec_value(told["spec"]),
        Hooks(tuple(told["hooks"]["on_create"]), tuple(told["hooks"]["on_start"])),
        tuple(map(_service, told["services"])),
        tuple(told["idle"]),
    )


def digests(told: Mapping[str, Any]) -> dict[str, str]:
    """The digests of its images, by name."""
    return {name: digest for name, _, digest, _ in told["images"]}


def _service(told: Mapping[str, Any]) -> WantedService:
    return WantedService(
        told["name"],
        told["image"],
        tuple(map(spec_value, told["specs"])),
        tuple(Dependency(**one) for one in told["depends_on"]),
        told["awaited"],
    )


def _built(told: Sequence[Any]) -> tuple[tuple[str, Pairs], ...]:
    return tuple((position, pairs(inputs)) for position, inputs in told)
