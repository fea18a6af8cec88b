"""What flows → plain dicts and lists for `--json`. The names here are a promise (docs/verbs.md)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from devenv.cli.listing import stale
from devenv.model.container import Container, Environment, Supervisor
from devenv.model.host import Check, Garbage
from devenv.model.image import Image
from devenv.model.manifest import Port
from devenv.model.plan import Action, Change, Plan, Record, Report, StepPlan
from devenv.model.trial import Difference, Moved, Notice, Run, Side, Trial, Verdict

Document = dict[str, object]


def environment(one: Environment) -> Document:
    return {"id": one.id, "name": one.name, "folder": one.folder, "variant": one.variant}


def plan(one: Plan) -> Document:
    return {"environment": environment(one.environment), "idle": one.idle, "actions": [action(a) for a in one.actions]}


def report(one: Report, found: Sequence[Container], *, gone: bool, watching: Supervisor | None = None) -> Document:
    results: list[Document] = [
        {
            **action(result.action),
            "seconds": round(result.seconds, 3),
            "error": result.error or None,
            "skipped": result.skipped,
        }
        for result in one.results
    ]
    return {
        "environment": environment(one.environment),
        "ok": one.ok,
        "actions": results,
        "containers": [container(known, one.environment, gone=gone, watching=watching) for known in found],
    }


def containers(
    found: Sequence[tuple[Environment, Container]],
    gone: Collection[str],
    supervisors: Mapping[str, Supervisor],
) -> list[Document]:
    return [container(one, home, gone=home.folder in gone, watching=supervisors.get(home.id)) for home, one in found]


def container(one: Container, home: Environment, *, gone: bool, watching: Supervisor | None = None) -> Document:
    return {
        "id": one.id,
        "environment": {**environment(home), "gone": gone, "supervisor": supervisor(watching)},
        "name": one.name,
        "image": one.image,
        "status": one.status,
        "pid": one.pid,
        "created": one.created,
        "started": one.started,
        "exit_code": one.exit_code,
        "address": one.address,
        "ports": [port(each) for each in one.ports],
        "service": one.service or None,
        "index": one.index or None,
        "health": one.health or None,
        "stale": stale(one, watching),
        "restarts": one.restarts,
        "next_start": one.again,
    }


def supervisor(one: Supervisor | None) -> Document | None:
    return None if one is None else {"pid": one.pid, "running": one.running, "since": one.since}


def images(found: Sequence[Image]) -> list[Document]:
    return [image(one) for one in found]


def image(one: Image) -> Document:
    return {
        "digest": one.digest,
        "references": list(one.references),
        "size": one.size,
        "created": one.created,
        "layers": len(one.layers),
        "key": one.key,
    }


def garbage(found: Sequence[Garbage], *, dry_run: bool) -> Document:
    entries = [{"kind": one.kind, "name": one.name, "size": one.size, "reason": one.reason} for one in found]
    return {"dry_run": dry_run, "size": sum(one.size for one in found), "removed": entries}


def checks(found: Sequence[Check]) -> Document:
    entries = [{"name": one.name, "ok": one.ok, "found": one.found, "fix": one.fix} for one in found]
    return {"ok": all(one.ok for one in found), "checks": entries}


def action(one: Action) -> Document:
    return {
        "verb": one.verb,
        "object": one.object,
        "reason": one.reason,
        "service": one.service or None,
        "command": one.command or None,
        "changes": [change(each) for each in one.changes],
        "steps": [step(each) for each in one.steps],
    }


def step(one: StepPlan) -> Document:
    return {
        "position": one.position,
        "text": one.text,
        "cached": one.cached,
        "reason": one.reason,
        "changes": [change(each) for each in one.changes],
        "network": one.online,
    }


def explained(decided: Plan, records: Sequence[Record]) -> Document:
    return {"environment": environment(decided.environment), "last": [*map(record, records)], "now": plan(decided)}


def record(one: Record) -> Document:
    return {
        "object": one.object,
        "verb": one.verb,
        "reason": one.reason,
        "when": one.when,
        "seconds": one.seconds,
        "error": one.error or None,
        "changes": [change(each) for each in one.changes],
        "steps": [{**step(each), "seconds": each.seconds, "outcome": each.outcome or None} for each in one.steps],
    }


def change(one: Change) -> Document:
    return {"name": one.name, "before": one.before, "after": one.after, "place": one.place or None}


def port(one: Port) -> Document:
    return {"address": one.address, "host": one.host, "container": one.container, "protocol": one.protocol}


def trial(one: Trial) -> Document:
    return {
        "id": one.id,
        "kind": one.kind,
        "project": one.project,
        "environment": one.environment,
        "folder": one.folder,
        "started": one.started,
        "seconds": round(one.seconds, 3),
        "command": one.command,
        "code": one.code,
        "baseline": side(one.baseline),
        "variants": [
            {**side(variant), "verdict": verdict(judged)}
            for variant, judged in zip(one.variants, one.verdicts, strict=True)
        ],
        "controlled": [{"name": name, "value": value} for name, value in one.controlled],
        "guilty": list(one.guilty),
        "tried": [{"name": name, "outcome": outcome} for name, outcome in one.tried],
        "candidates": list(one.candidates),
        "again": one.again or None,
    }


def side(one: Side) -> Document:
    return {
        "name": one.name,
        "changes": [change(each) for each in one.changes],
        "image": one.image or None,
        "packages": [moved(each) for each in one.moved],
        "runs": [run(each) for each in one.runs],
        "error": one.failed or None,
        "stage": one.stage or None,
        "outside": one.outside,
    }


def moved(one: Moved) -> Document:
    return {"group": one.group, "name": one.name, "before": one.before, "after": one.after, "direct": one.direct}


def run(one: Run) -> Document:
    return {
        "code": one.code,
        "started": one.started,
        "seconds": one.seconds,
        "cpu": one.cpu,
        "alone": one.alone,
        "log": one.log or None,
        "tests": None if one.cases is None else [each._asdict() for each in one.cases],
        "unnamed": one.unnamed,
        "partial": one.partial,
        "warnings": [notice(each) for each in one.notices],
    }


def notice(one: Notice) -> Document:
    return {"category": one.category, "text": one.text}


def verdict(one: Verdict) -> Document:
    return {
        "outcome": one.outcome,
        "code": one.code,
        "reasons": list(one.reasons),
        "tests": [difference(each) for each in one.differences],
        "passed": one.passed,
        "skipped": one.skipped,
        "warnings": {"new": [notice(each) for each in one.new], "gone": [notice(each) for each in one.gone]},
        "cpu": {"before": one.before, "after": one.after},
    }


def difference(one: Difference) -> Document:
    """`baseline` and `variant`: the outcome in each run, null where there was no such test. `within`: what couldn't be loaded, it with it."""
    return {
        "name": one.name,
        "kind": one.kind,
        "baseline": [each or None for each in one.baseline],
        "variant": [each or None for each in one.variant],
        "seconds": {"before": one.before, "after": one.after},
        "detail": one.detail or None,
        "within": one.within or None,
    }
