"""A compose file's keys that a manifest has no key of that name for → what to write instead."""

from __future__ import annotations

from .values import REGISTRIES

_OUT = "leave it out: "
_BY_NAME = f"{_OUT}the containers of an environment find each other by the service's name"
_RIGHTS = f"{_OUT}what a container may do is the same for all, and never anything to the host itself"
_TERMINAL = f"{_OUT}`devenv shell` and `devenv exec` bring a terminal of their own"

HINTS = {
    "image": REGISTRIES,
    "build": "a Dockerfile is named so: `from: file:Dockerfile`",
    "container_name": _BY_NAME,
    "hostname": _BY_NAME,
    "networks": f"{_OUT}an environment has one network, where its containers find each other by name",
    "network_mode": "the network is the whole environment's: `network: bridge` or `none`, at the top level",
    "expose": f"{_OUT}containers of an environment reach each other's ports; `ports` publishes them",
    "entrypoint": "write it into `command`, before its arguments: that is all that runs",
    "env_file": "write the variables in `env`; those that are secret belong in `secrets`",
    "stdin_open": _TERMINAL,
    "tty": _TERMINAL,
    "init": f"{_OUT}each container has an init",
    **dict.fromkeys(("privileged", "cap_add", "cap_drop", "security_opt", "devices"), _RIGHTS),
}
"""Whether it stands at the top or in a service."""

PROJECT = HINTS | {
    "links": _BY_NAME,
    "volumes_from": "services share a volume by naming it, each in its `volumes`",
    "version": f'{_OUT}a manifest has no version; that of Python is `python: {{version: "3.12"}}`',
}
SERVICE = HINTS | {
    "volumes_from": "write the same `volumes` here as there: services share a volume by naming it",
}
