"""A Containerfile and where its names come from -> a graph with keys. Reads files and looks into the store; builds nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, MutableMapping
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches

from devenv.engine import Workshop
from devenv.errors import Fault, InputError
from devenv.model.build import Copy, Graph, Keyed, Mount, Stage
from devenv.model.image import ImageConfig, Rootfs

from .configure import SCRATCH, configure
from .context import Context, open_context
from .graph import graph as make_graph
from .graph import references
from .key import image_key, keys, results
from .observed import ABSENT, fingerprint
from .parse import Instruction, parse

TOOLS = "devenv-tools"
"""The context of programs lent to build steps; the engine has it."""

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
) -> Prepared:
    """Parse, expand and key a Containerfile. Raises InputError with every fault found.

    `contexts`: name -> `bootstrap:SUITE`, `oci:DIR[:TAG]`, `file:CONTAINERFILE` or a folder (BuildKit's named
    contexts); paths are relative to `folder`, which is the build context too. `file` is for messages, and where the
    ignore file is looked for.
    """
    hashes = {} if cache is None else cache
    instructions = parse(text, file)
    found = _Names(contexts, folder, file, args, workshop, platform, hashes, nesting)
    for name in references(instructions, args, target, platform):
        found.look_up(name, instructions)
    folders = {"": open_context(folder, file if os.path.isfile(file) else "", hashes), **found.folders}
    if found.faults:
        raise InputError(*found.faults)
    configs = {name: base.rootfs.config for name, base in found.bases.items()}
    graph = make_graph(instructions, file, args, target, configs, [*folders, TOOLS], platform)
    rootfs = {name: base.rootfs for name, base in found.bases.items()}
    digests: dict[tuple[str, Copy | Mount], str] = {}

    def digest(name: str, operation: Copy | Mount) -> str:
        # Which version of a tool is lent doesn't count: what is installed does, and that is in the command.
        found = _TOOLS_GENERATION if name == TOOLS else folders[name].digest(operation)
        digests[name, operation] = found
        return found

    steps = keys(graph, rootfs, digest)
    result = results(graph, rootfs, steps)[graph.stages[-1].name]
    config = stage_config(graph, graph.stages[-1], configs)
    if os.path.isfile(file):
        found.see("", file)
    observed = dict(found.observed)
    for context in folders.values():
        observed |= context.observed
    for base in found.bases.values():
        observed |= base.prepared.observed if base.prepared else {}
    key = image_key(result, canonical(config))
    return Prepared(graph, steps, key, result, config, found.bases, folders, digests, observed)


def canonical(config: ImageConfig) -> str:
    """An image config as text: equal configs, equal texts."""
    return json.dumps(asdict(config), sort_keys=True)


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
    ) -> None:
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

    def look_up(self, name: str, instructions: tuple[Instruction, ...]) -> None:
        """Find out what a name stands for."""
        if name == TOOLS:
            return
        value = self.given.get(normal(name), name)
        kind, _, rest = value.partition(":")
        if kind not in _KINDS:
            self._folder(name, value, instructions)
            return
        path = rest if kind == "bootstrap" else self._path(rest)
        if kind == "file":
            self.bases[name] = self._file(name, path)
        else:
            if kind == "oci":
                self.see(path if os.path.isdir(path) else path.rpartition(":")[0], "index.json")
            self.bases[name] = Base(self.workshop.peek(f"{kind}:{path}"), f"{kind}:{path}")

    def _folder(self, name: str, value: str, instructions: tuple[Instruction, ...]) -> None:
        path = self._path(value)
        if normal(name) in self.given and os.path.isdir(path):
            self.folders[name] = open_context(path, "", self.cache)
            return
        # A name that isn't there as such is made from an ARG.
        line = next((one.line for part in (name, "$") for one in instructions if part in one.text), 0)
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
        self.faults.append(Fault(self.file, line, 0, message, hint))

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
