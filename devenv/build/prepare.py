"""A Containerfile and where its names come from -> a graph with keys. Reads files and looks into the store; builds nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from types import MappingProxyType

from devenv.engine.workshop import Workshop
from devenv.errors import Fault, InputError, NotFound, StoreError
from devenv.lock.parcels import digest as digest_of
from devenv.lock.parcels import listing
from devenv.model import plain
from devenv.model.build import Copy, Graph, Keyed, Mount, Run, Stage, Step
from devenv.model.image import ImageConfig, Rootfs
from devenv.model.lock import EPOCH, Parcel, Remote
from devenv.model.manifest import FROM_LOCK, Pairs

from . import hashes as hash_cache
from .configure import SCRATCH, configure
from .context import Context, open_context
from .graph import graph as make_graph
from .graph import overridden, references, undeclared
from .ignore import Matcher
from .instruction import Instruction
from .key import image_key, keys, results
from .observed import ABSENT, fingerprint
from .origin import annotate
from .parse import parse

TOOLS = "devenv-tools"
"""The context of programs lent to build steps; the engine has it."""

PACKAGES = "devenv-packages"
"""The context of what the lock names; the engine fetches it."""

Blame = Callable[[Step, Sequence[str]], tuple[str, str, Sequence[str]]]
"""(a failed step, the last lines it printed) -> the message's beginning, a hint ("" for none), the lines that say why."""

_TOOL_NAMES = ("uv", "node")
_TOOLS_GENERATION = "1"
_KINDS = ("bootstrap", "oci", "file")
_MAX_NESTING = 5
_SUITES = ("bullseye", "bookworm", "trixie", "forky", "sid")


@dataclass(frozen=True, slots=True)
class Base:
    """What a name stands for: its root as far as known, and how to get it: a reference, or a build of its own."""

    rootfs: Rootfs
    reference: str = ""
    prepared: Prepared | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that is known before anything is built. `steps` hold the graph's own Step objects; `key` is the image's."""

    graph: Graph
    steps: tuple[Keyed, ...]
    key: str
    result: str
    config: ImageConfig
    bases: Mapping[str, Base]
    contexts: Mapping[str, Context]
    digests: Mapping[tuple[str, Copy | Mount], str] = field(default_factory=dict)
    """(context, what reads it) -> the digest that went into the key: what is read later must have it too."""
    observed: Mapping[str, str] = field(default_factory=dict)
    """absolute path -> fingerprint of every file and folder that was looked at (context.py)."""
    declared: frozenset[str] = frozenset()
    """The names that ARG declares in all the files that this is built from."""
    warnings: tuple[str, ...] = ()
    """What the user should be told, each beginning with the file it is about."""
    blame: Blame | None = None
    """Who is to blame for a failed step, as far as somebody else than its line in the Containerfile."""
    parcels: Mapping[str, Parcel] = field(default_factory=dict)
    """What the paths of the context `devenv-packages` stand for."""
    clock: int = EPOCH
    files: Mapping[str, Remote] = field(default_factory=dict)
    """What ADD's URLs lead to, as far as it is locked."""
    """SOURCE_DATE_EPOCH of the steps."""


def prepare(
    text: str,
    file: str,
    *,
    contexts: Mapping[str, str],
    folder: str,
    args: Mapping[str, str],
    target: str,
    workshop: Workshop,
    platform: str = "linux/amd64",
    cache: MutableMapping[str, str] | None = None,
    nesting: int = 0,
    blame: Blame | None = None,
    parcels: Mapping[str, Parcel] = MappingProxyType({}),
    clock: int = EPOCH,
    files: Sequence[Remote] = (),
) -> Prepared:
    """Parse, expand and key a Containerfile. Raises InputError with every fault found.

    `contexts`: name -> `bootstrap:SUITE`, `oci:DIR[:TAG]`, `file:CONTAINERFILE` or a folder (BuildKit's named
    contexts); paths are relative to `folder`, which is the build context too. `file` is for messages. When it is there,
    its ignore file counts, and contexts stand for its stages of their name. A rendered text is no file: it names each
    file it reads, so an ignore file made for another has no say in it, nor have names made for another file's stages.
    `parcels`, `clock` and `files` are the lock's.
    """
    place = workshop.memory(folder)
    before = hash_cache.load(place) if cache is None else {}
    hashes = dict(before) if cache is None else cache
    instructions = parse(text, file)
    found = _Names(contexts, folder, file, args, workshop, platform, hashes, nesting, clock, files)
    is_file = os.path.isfile(file)
    if is_file:
        instructions = overridden(instructions, *found.kinds())
    for name in references(instructions, args, target, platform):
        found.look_up(name, instructions)
    unread = workshop.unread
    own = open_context(folder, file, hashes, unread) if is_file else Context(folder, Matcher(()), hashes, unread)
    folders = {"": own, **found.folders}
    if found.faults:
        raise InputError(*found.faults)
    configs = {name: base.rootfs.config for name, base in found.bases.items()}
    graph = annotate(make_graph(instructions, file, args, target, configs, [*folders, TOOLS, PACKAGES], platform), text)
    rootfs = {name: base.rootfs for name, base in found.bases.items()}
    digests: dict[tuple[str, Copy | Mount], str] = {}

    def digest(name: str, operation: Copy | Mount) -> str:
        if name == TOOLS:
            found = _tool(operation)
        elif name == PACKAGES:
            found = digest_of(locked(parcels, operation))
        else:
            found = folders[name].digest(operation)
        digests[name, operation] = found
        return found

    steps = tuple(_listed(keyed, parcels) for keyed in keys(graph, rootfs, digest, clock, digests_of(files)))
    result = results(graph, rootfs, steps)[graph.stages[-1].name]
    config = stage_config(graph, graph.stages[-1], configs)
    if is_file:
        found.see("", file)
    observed = dict(found.observed)
    for context in folders.values():
        observed |= context.observed
    for base in found.bases.values():
        observed |= base.prepared.observed if base.prepared else {}
    if cache is None:
        hash_cache.keep(place, before, hashes, observed.keys())
    key = image_key(result, canonical(config))
    nested = (base.prepared.declared for base in found.bases.values() if base.prepared)
    declared = frozenset(graph.declared).union(*nested)
    # All files are given all arguments: one that any of them declares is well given.
    warnings = () if nesting else tuple(f"{file}: {text}" for text in undeclared(args, declared))
    return Prepared(
        graph,
        steps,
        key,
        result,
        config,
        found.bases,
        folders,
        digests,
        observed,
        declared,
        warnings,
        blame,
        parcels,
        clock,
        {remote.url: remote for remote in files},
    )


def undeclared_in(prepared: Mapping[str, Prepared], args: Mapping[str, str]) -> Mapping[str, Prepared]:
    """Images that are built together: an argument that any of them declares is well given, another is told of once."""
    declared = frozenset().union(*(one.declared for one in prepared.values()))
    found = (
        dict(prepared) if len(prepared) == 1 else {name: replace(one, warnings=()) for name, one in prepared.items()}
    )
    for name, one in prepared.items() if len(prepared) > 1 else ():
        texts = tuple(f"{one.graph.file}: {text}" for text in undeclared(args, declared))
        return {**found, name: replace(one, warnings=texts)}
    return found


def digests_of(files: Sequence[Remote]) -> Pairs:
    """What goes into the keys of steps that fetch them."""
    return tuple((remote.url, f"sha256:{remote.sha256}") for remote in files)


def addresses(prepared: Prepared) -> frozenset[str]:
    """The URLs that ADD fetches and no --checksum vouches for, here and in the bases that are themselves built."""
    copies = (keyed.step.operation for keyed in prepared.steps if isinstance(keyed.step.operation, Copy))
    found = {url for copy in copies if not copy.checksum for url in copy.urls}
    nested = (addresses(base.prepared) for base in prepared.bases.values() if base.prepared)
    return frozenset(found.union(*nested))


def locked(parcels: Mapping[str, Parcel], operation: Copy | Mount) -> Parcel:
    """What a step takes of the lock. Raises NotFound."""
    path = _path(operation)
    found = parcels.get(path)
    if found is None:
        raise NotFound(f"find {path} in {PACKAGES}: the lock has {', '.join(sorted(parcels)) or 'nothing'}")
    return found


def _listed(keyed: Keyed, parcels: Mapping[str, Parcel]) -> Keyed:
    """With what it takes of the lock in words."""
    operation = keyed.step.operation
    reads: Sequence[Copy | Mount] = ()
    if isinstance(operation, Copy):
        reads = [operation] if operation.source_from == PACKAGES else ()
    elif isinstance(operation, Run):
        reads = [mount for mount in operation.mounts if mount.source_from == PACKAGES]
    found = "".join(listing(parcels[path]) for one in reads if (path := _path(one)) in parcels)
    return replace(keyed, inputs=(*keyed.inputs, (FROM_LOCK, found))) if found else keyed


def _path(operation: Copy | Mount) -> str:
    return (operation.source if isinstance(operation, Mount) else " ".join(operation.sources)).strip("/")


def _tool(operation: Copy | Mount) -> str:
    """What counts of a tool. Not which version is lent: what is installed counts, and that is in the command."""
    hint = f"RUN --mount=type=bind,from={TOOLS},source=uv,target=/usr/local/bin/uv …"
    if isinstance(operation, Copy):
        raise NotFound(f"copy from {TOOLS}: its programs are lent to a RUN, not copied", hint=hint)
    name = operation.source.strip("/")
    if name not in _TOOL_NAMES:
        raise NotFound(f"find {name or 'everything'} in {TOOLS}: it has {' and '.join(_TOOL_NAMES)}", hint=hint)
    return _TOOLS_GENERATION


def canonical(config: ImageConfig) -> str:
    """An image config as text: equal configs, equal texts."""
    return json.dumps(plain(config), sort_keys=True)


def stage_config(graph: Graph, stage: Stage, configs: Mapping[str, ImageConfig]) -> ImageConfig:
    """The image config a stage ends with."""
    if stage.base_is_stage:
        base = next(one for one in graph.stages if one.name == stage.base)
        config = stage_config(graph, base, configs)
    else:
        config = SCRATCH if stage.base == "scratch" else configs[stage.base]
    for step in stage.steps:
        config = configure(config, step)
    return config


class _Names:
    """Names of bases and contexts, looked up one by one; what is wrong with them is collected."""

    def __init__(
        self,
        contexts: Mapping[str, str],
        folder: str,
        file: str,
        args: Mapping[str, str],
        workshop: Workshop,
        platform: str,
        cache: MutableMapping[str, str],
        nesting: int,
        clock: int,
        files: Sequence[Remote],
    ) -> None:
        self.clock = clock
        self.files = files
        self.given = {normal(name): value for name, value in contexts.items()}
        self.contexts = contexts
        self.folder = folder
        self.file = file
        self.args = args
        self.workshop = workshop
        self.platform = platform
        self.cache = cache
        self.nesting = nesting
        self.bases: dict[str, Base] = {}
        self.folders: dict[str, Context] = {}
        self.faults: list[Fault] = []
        self.observed: dict[str, str] = {}

    def kinds(self) -> tuple[set[str], set[str]]:
        """The names of the contexts that are images, and of those that are folders."""
        images = {name for name, value in self.given.items() if value.partition(":")[0] in _KINDS}
        return images, {*self.given} - images

    def look_up(self, name: str, instructions: tuple[Instruction, ...]) -> None:
        """Find out what a name stands for."""
        if name in (TOOLS, PACKAGES):
            return
        value = self.given.get(normal(name), name)
        kind, _, rest = value.partition(":")
        if kind not in _KINDS:
            self._folder(name, value, instructions)
            return
        path = rest if kind == "bootstrap" else self._path(rest)
        if kind == "file":
            self.bases[name] = self._file(name, path)
        elif kind == "bootstrap" and rest not in _SUITES:
            near = get_close_matches(rest, _SUITES, 1)
            hint = f"did you mean {near[0]}?" if near else f"one of: {', '.join(_SUITES)}"
            self._fault(name, instructions, f"{rest!r} is not a Debian release this can build", hint)
        else:
            if kind == "oci":
                self.see(path if os.path.isdir(path) else path.rpartition(":")[0], "index.json")
            try:
                self.bases[name] = Base(self.workshop.peek(f"{kind}:{path}"), f"{kind}:{path}")
            except (NotFound, StoreError) as error:
                self._fault(name, instructions, f"{value}: {error.message}", error.hint)

    def _fault(self, name: str, instructions: tuple[Instruction, ...], message: str, hint: str) -> None:
        # A name that isn't there as such is made from an ARG.
        line = next((one.line for part in (name, "$") for one in instructions if part in one.text), 0)
        self.faults.append(Fault(self.file, line, 0, message, hint))

    def _folder(self, name: str, value: str, instructions: tuple[Instruction, ...]) -> None:
        path = self._path(value)
        if normal(name) in self.given and os.path.isdir(path):
            self.folders[name] = open_context(path, "", self.cache, self.workshop.unread)
            return
        if normal(name) in self.given:
            message, hint = (
                f"context {name}: {path} is not a folder",
                "name a folder, bootstrap:SUITE, oci:DIR or file:PATH",
            )
        else:
            message = f"image {name}: images from registries are not supported yet"
            suite = next((suite for suite in _SUITES if suite in name), "bookworm")
            hint = f'say where it comes from: `contexts: {{"{name}": bootstrap:{suite}}}`, or --build-context {name}=…'
            near = get_close_matches(name.lower(), _stage_names(instructions), 1)
            if near:
                hint = f"did you mean the stage {near[0]}? Otherwise {hint}"
        self._fault(name, instructions, message, hint)

    def _file(self, name: str, path: str) -> Base:
        """A context that is itself built from a Containerfile."""
        if self.nesting >= _MAX_NESTING:
            raise InputError(
                Fault(self.file, 0, 0, f"context {name}: Containerfiles that name each other", "break the cycle")
            )
        prepared = prepare(
            _read(path),
            path,
            contexts={other: value for other, value in self.contexts.items() if other != name},
            folder=self.folder,
            args=self.args,
            target="",
            workshop=self.workshop,
            platform=self.platform,
            cache=self.cache,
            nesting=self.nesting + 1,
            clock=self.clock,
            files=self.files,
        )
        return Base(Rootfs(prepared.result, (), prepared.config), prepared=prepared)

    def see(self, folder: str, name: str) -> None:
        """A file that was looked at."""
        path = f"{folder}/{name}" if folder else name
        try:
            self.observed[path] = fingerprint(os.lstat(path))
        except OSError:
            self.observed[path] = ABSENT

    def _path(self, path: str) -> str:
        return os.path.normpath(os.path.join(self.folder, path))


def _stage_names(instructions: tuple[Instruction, ...]) -> list[str]:
    words = [instruction.text.split() for instruction in instructions]
    return [line[-1].lower() for line in words if len(line) > 2 and line[-2].lower() == "as"]


def normal(name: str) -> str:
    """An image's name as short as it can be written: without `library/` and the tag `latest`."""
    short = name.removeprefix("library/").lower()
    return short.removesuffix(":latest")


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(1 << 20)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(Fault(path, 0, 0, f"can't be read: {error}")) from error
