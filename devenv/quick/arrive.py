"""`up` from a receipt: what is wanted is known, so the manifest is not read and no key is computed again.

None where the store no longer has what the receipt speaks of: the long way builds it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from devenv import signals
from devenv.engine.native.facade import Native
from devenv.paths import locate

from . import wanted as wanting

Receipt = dict[str, Any]


def up(receipt: Receipt, env: Mapping[str, str]) -> int | None:
    """Bring up what the receipt wants, its image being there."""
    signals.catch()
    with closing(Native(locate(env, os.geteuid()), env)) as engine:
        return _up(engine, receipt, env)


def _up(engine: Native, receipt: Receipt, env: Mapping[str, str]) -> int | None:
    from devenv import console
    from devenv.cli import receipt as receipts
    from devenv.cli import show
    from devenv.cli.carrying import carry_out
    from devenv.cli.listing import listening
    from devenv.plan import plan

    wanted, digests = wanting.read(receipt), wanting.digests(receipt)
    with engine.turn(wanted.environment.id, console.waiting):
        state = engine.observe(wanted.environment, {one.name: one.key for one in wanted.images}, ())
        if any(state.images[name].digest != digest for name, digest in digests.items()):
            return None
        with console.progress(sys.stderr, env, time.monotonic) as sink:
            report = carry_out(plan(wanted, state), engine, sink)
        if report.ok:
            receipts.renew(env, engine, receipt, wanted)
    found = engine.containers(wanted.environment.id)
    show.report(report, found, env, listening(engine, found, report))
    return report.code
