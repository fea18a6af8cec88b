"""`up` from a receipt: what is wanted is known, so the manifest is not read and no key is computed again.

None where the store no longer has what the receipt speaks of: the long way builds it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from devenv import signals
from devenv.engine.native.facade import Native
from devenv.engine.native.records.record import pairs, spec_value
from devenv.model.container import Environment
from devenv.model.manifest import Dependency, Hooks, Pairs
from devenv.model.plan import Desired, WantedImage, WantedService
from devenv.paths import locate

Receipt = dict[str, Any]


def up(receipt: Receipt, env: Mapping[str, str]) -> int | None:
    """Bring up what the receipt wants, its image being there."""
    signals.catch()
    with closing(Native(locate(env, os.geteuid()), env)) as engine:
        return _up(engine, receipt, env)


def _up(engine: Native, receipt: Receipt, env: Mapping[str, str]) -> int | None:
    from devenv import console
    from devenv.cli import receipt as receipts
    from devenv.cli import show, telling
    from devenv.cli.listing import listening
    from devenv.plan import plan
    from devenv.provision import provision

    wanted = _wanted(receipt)
    digests = {name: digest for name, _, digest, _ in receipt["images"]}
    with engine.turn(wanted.environment.id, console.waiting):
        state = engine.observe(wanted.environment, {one.name: one.key for one in wanted.images}, ())
        if any(state.images[name].digest != digest for name, digest in digests.items()):
            return None
        with console.progress(sys.stderr, env, time.monotonic) as sink:
            report = provision(plan(wanted, state), engine, _nothing_to_build, sink, time.monotonic)
        telling.keep(engine, report, {})
        if wanted.services:
            engine.supervise(wanted.environment.id)
        if report.ok:
            receipts.renew(env, engine, receipt, wanted)
    found = engine.containers(wanted.environment.id)
    show.report(report, found, env, listening(engine, found, report))
    return report.code


def _wanted(receipt: Receipt) -> Desired:
    return Desired(
        Environment(**receipt["environment"]),
        tuple(WantedImage(name, key, (), _built(built)) for name, key, _, built in receipt["images"]),
        spec_value(receipt["spec"]),
        Hooks(tuple(receipt["hooks"]["on_create"]), tuple(receipt["hooks"]["on_start"])),
        tuple(map(_service, receipt["services"])),
        tuple(receipt["idle"]),
    )


def _service(told: Receipt) -> WantedService:
    return WantedService(
        told["name"],
        told["image"],
        tuple(map(spec_value, told["specs"])),
        tuple(Dependency(**one) for one in told["depends_on"]),
        told["awaited"],
    )


def _built(told: Sequence[Any]) -> tuple[tuple[str, Pairs], ...]:
    return tuple((position, pairs(inputs)) for position, inputs in told)


def _nothing_to_build(_: str) -> Any:
    raise AssertionError("the image was there a moment ago")
