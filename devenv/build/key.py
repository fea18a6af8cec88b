"""A graph, its bases and contexts' digests → every step's key: a hash chained over all that could change its result.

docs/containerfile.md says in words what counts and what doesn't.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from devenv.errors import Fault, InputError, NotFound
from devenv.model.build import Configure, Copy, Graph, Keyed, Mount, Run, Stage, Step, Workdir
from devenv.model.image import Rootfs
from devenv.model.manifest import FROM_MANIFEST, Pairs

VERSION = 2
"""Raised whenever the same inputs would give another result: every key then differs."""

Digest = Callable[[str, Copy | Mount], str]
"""(context name, "" the build context; what reads it) → the digest of the content it reads."""

_SHOWN = 200  # characters of an input's value that are kept for explaining


def keys(
    graph: Graph, bases: Mapping[str, Rootfs], digest: Digest, clock: int = 0, files: Pairs = ()
) -> tuple[Keyed, ...]:
    """Every step of every stage, in file order, with its key.

    `bases`: each FROM (and --from) that is no stage and no folder. `clock`: what steps are told the time is.
    `files`: the digests (sha256:…) of the URLs that are locked.
    What `digest` raises as NotFound or InputError becomes one InputError with the lines of the steps.
    """
    results: dict[str, str] = {}
    chain = _Chain(
        graph, bases, digest, clock, dict(files), results, {stage.name: stage.index for stage in graph.stages}, []
    )
    made: list[Keyed] = []
    for stage in graph.stages:
        parent = start(stage, bases, results)
        for step in stage.steps:
            keyed = _keyed(chain, stage, step, parent)
            parent = keyed.result
            made.append(keyed)
        results[stage.name] = parent
    if chain.faults:
        raise InputError(*chain.faults)
    return tuple(made)


def start(stage: Stage, bases: Mapping[str, Rootfs], results: Mapping[str, str]) -> str:
    """The key of the root filesystem a stage starts from. `results`: stage name → its result."""
    if stage.base_is_stage:
        return results[stage.base]
    return SCRATCH if stage.base == "scratch" else bases[stage.base].key


def results(graph: Graph, bases: Mapping[str, Rootfs], keyed: Sequence[Keyed]) -> dict[str, str]:
    """The result key of each stage, by name; a stage without steps has its base's."""
    last = {one.stage: one.result for one in keyed}
    found: dict[str, str] = {}
    for stage in graph.stages:
        found[stage.name] = last.get(stage.index) or start(stage, bases, found)
    return found


def image_key(result: str, config: str) -> str:
    """The key of an image: the result key of its stage and its config as canonical JSON."""
    return _hash("image", (("rootfs", result), ("config", config)))


def independent(copy: Copy) -> bool:
    """Whether a copy's layer is made on nothing, whatever it is put over: --link, and no owner looked up by name."""
    return copy.link and not copy.chown.replace(":", "").strip("0123456789")


def moved(fault: Fault, file: str, line: int) -> Fault:
    """A fault of what a step reads, told at the step: its own place goes into the message."""
    place = ":".join(str(part) for part in (fault.file, fault.line) if part)
    return Fault(file, line, 0, f"{place}: {fault.message}", fault.hint)


class _Chain(NamedTuple):
    graph: Graph
    bases: Mapping[str, Rootfs]
    digest: Digest
    clock: int
    files: Mapping[str, str]
    results: Mapping[str, str]
    numbers: Mapping[str, int]
    faults: list[Fault]

    def content(self, step: Step, name: str, operation: Copy | Mount) -> str:
        try:
            return self.digest(name, operation)
        except NotFound as error:
            self.faults.append(Fault(self.graph.file, step.line, 0, error.message, error.hint))
        except InputError as error:
            self.faults.extend(moved(fault, self.graph.file, step.line) for fault in error.faults)
        return ""

    def source(self, step: Step, name: str, what: str, operation: Copy | Mount) -> tuple[str, str]:
        """The input that stands for what is read from a stage, an image or a context."""
        if name in self.results:
            return f"stage {name}", self.results[name]
        if name in self.bases:
            return f"image {name}", self.bases[name].key
        return f"context {name and name + ' '}{what}", self.content(step, name, operation)


def _keyed(chain: _Chain, stage: Stage, step: Step, parent: str) -> Keyed:
    operation = step.operation
    above = ("parent", parent)
    timed = (("clock", str(chain.clock)), above)
    needs: tuple[int, ...] = ()
    if isinstance(operation, Configure):
        parts = _configure_parts(operation)
        return Keyed(stage.index, step, _hash("configure", (*parts, above)), parent, parent, _inputs(step, parts))
    if isinstance(operation, Workdir):
        parts = (("workdir", operation.path), *timed)
    elif isinstance(operation, Run):
        parts = (*_run_parts(chain, step, operation), *timed)
        needs = tuple(
            sorted(
                {chain.numbers[mount.source_from] for mount in operation.mounts if mount.source_from in chain.numbers}
            )
        )
    else:
        parts = _copy_parts(chain, step, operation)
        needs = (chain.numbers[operation.source_from],) if operation.source_from in chain.numbers else ()
        if independent(operation):
            key = _hash("link", parts)
            over = _hash("over", (("layer", key), above))
            return Keyed(stage.index, step, key, parent, over, _inputs(step, parts), needs)
        parts = (*parts, *timed)
    key = _hash(type(operation).__name__.lower(), parts)
    return Keyed(stage.index, step, key, parent, key, _inputs(step, parts), needs)


def _configure_parts(operation: Configure) -> Pairs:
    parts = [(f"env.{name}", value) for name, value in operation.env]
    parts += [(f"label.{name}", value) for name, value in operation.labels]
    for name in ("user", "entrypoint", "cmd", "exposed", "volumes", "stop_signal", "healthcheck", "shell"):
        value = getattr(operation, name)
        if value is not None and value != ():
            parts.append((name, value if isinstance(value, str) else repr(value)))
    return tuple(parts)


def _run_parts(chain: _Chain, step: Step, run: Run) -> Pairs:
    if len(run.argv) == 3 and run.argv[1] == "-c":
        parts = [("command", run.argv[2]), ("shell", run.argv[0])]
    else:
        parts = [("command", json.dumps(run.argv))]
    parts += [(f"heredoc {heredoc.name}", heredoc.content) for heredoc in run.heredocs]
    parts += [(f"env.{name}", value) for name, value in sorted(step.env) if name not in step.uncounted]
    parts += [("user", step.user), ("workdir", step.workdir), ("network", run.network)]
    for mount in run.mounts:
        # A secret's value is not known here, and must not be: another value is no other build.
        parts.append((f"mount {mount.kind} {mount.target or mount.id}", _mount_text(mount)))
        if mount.kind == "bind":
            parts.append(chain.source(step, mount.source_from, mount.source, mount))
    return tuple(parts)


def _mount_text(mount: Mount) -> str:
    fields = (mount.target, mount.source, mount.source_from, mount.id, mount.readonly, mount.required, mount.sharing)
    return json.dumps((*fields, mount.mode, mount.uid, mount.gid, mount.size, mount.env))


def _copy_parts(chain: _Chain, step: Step, copy: Copy) -> Pairs:
    how = {"chown": copy.chown, "chmod": "" if copy.chmod is None else f"{copy.chmod:04o}"}
    how |= {"exclude": " ".join(copy.exclude), "checksum": copy.checksum}
    how |= {"parents": "yes" if copy.parents else "", "unpack": "yes" if copy.unpack else ""}
    parts = [("target", copy.target), *((name, value) for name, value in how.items() if value)]
    parts += [(f"heredoc {heredoc.name}", heredoc.content) for heredoc in copy.heredocs]
    parts += [(f"url {url}", copy.checksum or chain.files.get(url, "")) for url in copy.urls]
    if copy.sources:
        parts.append(("sources", json.dumps(copy.sources)))
        parts.append(chain.source(step, copy.source_from, " ".join(copy.sources), copy))
    return tuple(parts)


def _inputs(step: Step, parts: Sequence[tuple[str, str]]) -> Pairs:
    """What is kept for explaining: the manifest's keys, whole, then the parts, long ones as beginning and digest."""
    keys = tuple((f"{FROM_MANIFEST}{name}", value) for name, value in step.origins)
    return (*keys, *((name, value if len(value) <= _SHOWN else _cut(value)) for name, value in parts))


def _cut(value: str) -> str:
    digest = hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{value[: _SHOWN - 24]}… (sha256 {digest[:12]})"


def _hash(kind: str, parts: Sequence[tuple[str, str]]) -> str:
    # ASCII escapes keep names that aren't UTF-8 (surrogates) distinct, and a list of pairs can't run together.
    return hashlib.sha256(json.dumps([VERSION, kind, *parts]).encode("ascii")).hexdigest()


SCRATCH = _hash("scratch", ())
"""The key of an empty root filesystem."""
