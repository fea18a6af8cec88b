"""The model's values <-> the JSON kept in the state. What comes back from disk is checked by the types it is built from."""

from __future__ import annotations

import json

from devenv.model import plain
from devenv.model.container import ContainerSpec, Process
from devenv.model.manifest import Limits, Pairs, Port, Source

from . import Json


def spec_text(spec: ContainerSpec) -> str:
    """A ContainerSpec as JSON."""
    return json.dumps(plain(spec), sort_keys=True)


def spec_value(text: str | Json) -> ContainerSpec:
    """The ContainerSpec of `spec_text`, or of what that is parsed to."""
    data: Json = json.loads(text) if isinstance(text, str) else text
    process: Json = data["process"]
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
        }
    )


def pairs(data: list[list[str]]) -> Pairs:
    """Lists of two strings, as JSON has them, as tuples."""
    return tuple((name, value) for name, value in data)
