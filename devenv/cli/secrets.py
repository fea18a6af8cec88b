"""The manifest's `secrets:` → their values, of whoever says `up`. They are nobody's input, and in no image."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping

from devenv.desired import absolute
from devenv.errors import Fault, InputError
from devenv.model.manifest import Manifest, Secret
from devenv.model.plan import Desired, Plan

LARGEST = 1 << 20
"""Bytes: a secret is a key or a token."""


def asked(wanted: Desired, decided: Plan) -> frozenset[str]:
    """The names of the secrets that containers which are to be started ask for."""
    started = {action.object for action in decided.actions if action.verb in ("create", "replace", "start")}
    specs = (wanted.spec, *(spec for service in wanted.services for spec in service.specs))
    return frozenset(name for spec in specs if spec.name in started for name in spec.secrets)


def values(manifest: Manifest, names: Collection[str], env: Mapping[str, str]) -> dict[str, bytes]:
    """What these secrets are. Raises InputError with all that aren't there."""
    found, faults = {}, []
    for secret in manifest.secrets:
        if secret.name in names:
            try:
                found[secret.name] = _value(manifest, secret, env)
            except OSError as error:
                faults.append(_fault(manifest, secret, f"{secret.from_file} can't be read: {error.strerror}", ""))
            except InputError as error:
                faults += error.faults
    if faults:
        raise InputError(*faults)
    return found


def _value(manifest: Manifest, secret: Secret, env: Mapping[str, str]) -> bytes:
    if secret.from_env:
        if secret.from_env not in env:
            message = f"the variable {secret.from_env} isn't set"
            raise InputError(_fault(manifest, secret, message, f"export {secret.from_env}=…, then again"))
        return env[secret.from_env].encode("utf-8", "surrogateescape")
    home, path = env.get("HOME", ""), secret.from_file
    at = f"{home}{path[1:]}" if home and path.startswith("~/") else absolute(manifest.folder, path)
    # Not to wait for a writer, should it be a FIFO.
    with open(os.open(at, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        value = file.read(LARGEST + 1)
    if len(value) > LARGEST:
        raise InputError(_fault(manifest, secret, f"{path} is larger than {LARGEST} bytes", "mount it: `volumes:`"))
    return value


def _fault(manifest: Manifest, secret: Secret, message: str, hint: str) -> Fault:
    key = f"secrets.{secret.name}"
    line, column = manifest.places.get(key, (0, 0))
    return Fault(os.path.relpath(manifest.path), line, column, f"`{key}`: {message}", hint)
