"""The model's values <-> the JSON kept in the state. What comes back from disk is checked by the types it is built from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from devenv.model import plain
from devenv.model.container import ContainerSpec, Process
from devenv.model.manifest import Healthcheck, Limits, Mount, Pairs, Port, Restart, Source

from .. import Json

if TYPE_CHECKING:  # `ps` shouldn't wait for it
    from devenv.model.plan import Change, Record


def spec_text(spec: ContainerSpec) -> str:
    """A ContainerSpec as JSON."""
    return json.dumps(plain(spec), sort_keys=True)


def spec_value(text: str | Json) -> ContainerSpec:
    """The ContainerSpec of `spec_text`, or of what that is parsed to. What an older devenv didn't write has its default."""
    data: Json = json.loads(text) if isinstance(text, str) else text
    process: Json = data["process"]
    check: Json | None = data.get("healthcheck")
    return ContainerSpec(
        **{
            **data,
            "process": Process(
                tuple(process["argv"]), pairs(process["env"]), process["user"], process["workdir"], process["terminal"]
            ),
            "sources": tuple(Source(**source) for source in data["sources"]),
            "volumes": pairs(data["volumes"]),
            "ports": tuple(Port(**port) for port in data["ports"]),
            "limits": Limits(**data["limits"]),
            "inputs": pairs(data["inputs"]),
            "mounts": tuple(Mount(**mount) for mount in data.get("mounts", ())),
            "secrets": tuple(data.get("secrets", ())),
            "healthcheck": None if check is None else Healthcheck(**check),
            "restart": Restart(**data.get("restart", {})),
        }
    )


def told_text(record: Record) -> str:
    """A Record as JSON."""
    return json.dumps(plain(record))


def told_value(text: str) -> Record:
    """The Record of `told_text`."""
    from devenv.model.plan import Record, StepPlan

    data: Json = json.loads(text)
    steps = (StepPlan(**{**step, "changes": _changes(step["changes"])}) for step in data["steps"])
    return Record(**{**data, "changes": _changes(data["changes"]), "steps": tuple(steps)})


def _changes(data: list[Json]) -> tuple[Change, ...]:
    from devenv.model.plan import Change

    return tuple(Change(**change) for change in data)


def pairs(data: list[list[str]]) -> Pairs:
    """Lists of two strings, as JSON has them, as tuples."""
    return tuple((name, value) for name, value in data)
