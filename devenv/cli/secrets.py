"""The manifest's `secrets:` → their values, of whoever says `up`. Inputs have a fingerprint of them, and images nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from devenv.desired import absolute
from devenv.engine import Engine, Observer
from devenv.errors import Fault, InputError
from devenv.model.manifest import Manifest, Secret
from devenv.model.plan import Desired, Plan

LARGEST = 1 << 20
"""Bytes: a secret is a key or a token."""


class Read(NamedTuple):
    """The manifest's secrets as they are now, by name: those that can be read, and what is wrong with the others."""

    values: Mapping[str, bytes]
    faults: Mapping[str, Sequence[Fault]]

    def missing(self, names: Collection[str]) -> tuple[Fault, ...]:
        """What is wrong with these, in the manifest's order."""
        return tuple(fault for name, found in self.faults.items() if name in names for fault in found)

    def of(self, names: Collection[str]) -> dict[str, bytes]:
        """What these secrets are. Raises InputError with all that can't be read."""
        if faults := self.missing(names):
            raise InputError(*faults)
        return {name: value for name, value in self.values.items() if name in names}

    def fingerprints(self, engine: Observer) -> dict[str, str]:
        """What they are told apart by, of those that can be read."""
        return {name: engine.fingerprint(value) for name, value in self.values.items()}


def read(manifest: Manifest, env: Mapping[str, str]) -> Read:
    """Look at all of them; `env` are the variables of whoever says `up`."""
    values: dict[str, bytes] = {}
    faults: dict[str, Sequence[Fault]] = {}
    for secret in manifest.secrets:
        try:
            values[secret.name] = _value(manifest, secret, env)
        except OSError as error:
            told = _fault(manifest, secret, f"{secret.from_file} can't be read: {error.strerror}", "")
            faults[secret.name] = (told,)
        except InputError as error:
            faults[secret.name] = error.faults
    return Read(values, faults)


def asked(wanted: Desired, decided: Plan) -> frozenset[str]:
    """The names of the secrets that containers which are to be started ask for."""
    return frozenset(_given(wanted, decided, ("create", "replace", "start")))


def supply(engine: Engine, wanted: Desired, decided: Plan, read: Callable[[], Read]) -> None:
    """Give the engine what these containers ask for, before they are started. Raises InputError with all that can't be read."""
    if names := asked(wanted, decided):
        engine.supply(wanted.environment.id, read().of(names))


def unread(found: Read, wanted: Desired, decided: Plan) -> tuple[str, ...]:
    """What is to be said of secrets that can't be read, though containers that go on were given them."""
    kept = _given(wanted, decided, ("keep",))
    return tuple(
        f"{fault.message}: what runs keeps the one that it was given"
        for name, faults in found.faults.items()
        if name in kept
        for fault in faults
    )


def _given(wanted: Desired, decided: Plan, verbs: Collection[str]) -> set[str]:
    """The names of the secrets of all containers that one of these is done to."""
    meant = {action.object for action in decided.actions if action.verb in verbs}
    specs = (wanted.spec, *(spec for service in wanted.services for spec in service.specs))
    return {name for spec in specs if spec.name in meant for name in spec.secrets}


def files(manifest: Manifest, env: Mapping[str, str]) -> tuple[str, ...]:
    """The paths of those that are files."""
    return tuple(_path(manifest, secret, env) for secret in manifest.secrets if secret.from_file)


def _value(manifest: Manifest, secret: Secret, env: Mapping[str, str]) -> bytes:
    if secret.from_env:
        if secret.from_env not in env:
            message = f"the variable {secret.from_env} isn't set"
            raise InputError(_fault(manifest, secret, message, f"export {secret.from_env}=…, then again"))
        return env[secret.from_env].encode("utf-8", "surrogateescape")
    # Not to wait for a writer, should it be a FIFO.
    with open(os.open(_path(manifest, secret, env), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        value = file.read(LARGEST + 1)
    if len(value) > LARGEST:
        message = f"{secret.from_file} is larger than {LARGEST} bytes"
        raise InputError(_fault(manifest, secret, message, "mount it: `volumes:`"))
    return value


def _path(manifest: Manifest, secret: Secret, env: Mapping[str, str]) -> str:
    home, path = env.get("HOME", ""), secret.from_file
    return f"{home}{path[1:]}" if home and path.startswith("~/") else absolute(manifest.folder, path)


def _fault(manifest: Manifest, secret: Secret, message: str, hint: str) -> Fault:
    key = f"secrets.{secret.name}"
    line, column = manifest.places.get(key, (0, 0))
    return Fault(os.path.relpath(manifest.path), line, column, f"`{key}`: {message}", hint)
