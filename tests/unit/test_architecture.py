"""The rules of docs/architecture.md, held against the imports of every module."""

from __future__ import annotations

import ast
import os
import re

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LINES = 450
LONGER: dict[str, int] = {}
"""Files allowed to be longer, with their limit."""

EFFECTS = {
    "os",
    "subprocess",
    "socket",
    "time",
    "random",
    "shutil",
    "tempfile",
    "threading",
    "sqlite3",
    "urllib",
    "secrets",
}

PURE_NAMES = {"os.path", "urllib.parse"}  # joining and taking apart text

# Rooms that take values and give values.
PURE_ROOMS = (
    "devenv.model",
    "devenv.manifest",
    "devenv.render",
    "devenv.build",
    "devenv.lock",
    "devenv.plan",
    "devenv.provision",
    "devenv.trial",
)
PURE_FILES = {
    "devenv.changes",
    "devenv.clean",
    "devenv.reasons",
    "devenv.desired",
    "devenv.inputs",
    "devenv.readiness",
    "devenv.errors",
    "devenv.engine",
    "devenv.archive.tar",
}
PURE_FILES |= {
    f"devenv.engine.native.{name}"
    for name in (
        "container.spec",
        "container.identity",
        "slot.ids",
        "slot.address",
        "slot.ruleset",
        "records.record",
        "records.schema",
        "store.image",
        "store.config",
        "store.shelf",
        "store.transient",
        "store.untrusted",
        "supervisor.policy",
    )
}
# The files of those rooms that are there to look at the disk, or to act.
EFFECTFUL = {
    "devenv.manifest.load",
    "devenv.manifest.altering",
    "devenv.render.templates",
    "devenv.render.requirements",  # and requirements files
    *(
        f"devenv.build.{name}"
        for name in (
            "again",
            "archive",
            "caches",
            "context",
            "copy",
            "execute",
            "hashes",
            "layers",
            "observed",
            "prepare",
            "select",
            "several",
            "target",
            "transfer",
        )
    ),
}
CLOCKED = {"devenv.engine.native.store.config"}  # parses times; takes none

HOMES = {
    "typer": {"devenv.cli"},
    "rich": {"devenv.console"},
    "yaml": {"devenv.manifest.document"},
    "jinja2": {"devenv.render"},
    "ctypes": {"devenv.engine.native.mount", "devenv.beneath"},
    "subprocess": {"devenv.engine.native.process"},
    "sqlite3": {"devenv.engine.native.records.state"},
    "zstandard": {"devenv.archive.stream"},
    "urllib3": {"devenv.engine.native.packages.web"},
    "packaging": {"devenv.lock.tags", "devenv.engine.native.packages.wheel"},
    "urllib.request": set(),
    "pathlib": set(),
    "logging": set(),
}

NATIVE = "devenv.engine.native"
# What any sibling may know: values, places, and the seams to the host (system calls, programs, the kernel's words).
LEAVES = {
    "Json",
    "slot.address",
    "slot.ids",
    "mount",
    "process",
    "trouble",
    "records.state",
    "records.record",
    "container.spec",
}
# Who puts siblings together, besides whole rooms that are there for it. Nobody but composers knows a composer.
COMPOSERS = {
    "collect",
    "container.bundle",
    "container.given",
    "copy.copying",
    "facade",
    "host.doctor",
    "host.kernel",
    "host.outside",
    "machine",
    "records.ledger",
    "records.observe",
    "slot.doors",
    "slot.pool",
    "slot.refill",
    "supervisor.__main__",
    "supervisor.loop",
    "supervisor.work",
}
COMPOSING = {"building", "running", "insight"}
# room of the engine -> the rooms of the engine it may know, composers too.
BENEATH = {"store", "packages", "slot", "container", "host", "records"}
WITHIN = {
    "store": set(),
    "packages": set(),
    "slot": {"records"},
    "host": {"slot", "container", "records"},
    "container": {"store", "slot", "host"},
    "records": {"store", "slot", "container"},
    "building": BENEATH,
    "running": BENEATH | {"supervisor"},  # its lock, and what it decides by
    "insight": BENEATH | {"running"},
    "copy": BENEATH | {"running"},
    "supervisor": BENEATH | {"running", "insight"},
}
# Pairs of siblings that do know each other, each with its reason.
ACQUAINTED = {
    ("records.state", "records.schema"),  # its tables
    ("container.monitor", "container.runtime"),  # conmon is told which runtime to call
    ("container.runtime", "container.terminal"),  # which relays what crun would leave alone
    ("store.image", "store.config"),  # one document in two parts, and how both are read
    ("store.image", "store.untrusted"),
    ("store.config", "store.untrusted"),
    ("store.shelf", "store.untrusted"),
    ("store.layout", "store.blob"),  # a folder of blobs, and the index of their names
    ("store.layout", "store.index"),
    ("store.tarred", "store.blob"),  # the same in one file
    ("store.tarred", "store.index"),
    ("store.adopt", "store.transient"),  # what of an upperdir is no part of the layer
    ("store.adopt", "store.lowers"),  # whether an opaque folder hides anything
    ("store.merge", "store.lowers"),
    ("store.compare", "store.differing"),  # two layers, two files
    ("packages.fetch", "packages.files"),  # where what is fetched goes
    ("packages.fetch", "packages.web"),
    ("packages.index", "packages.web"),  # an index is asked as files are fetched
    ("packages.index", "packages.fetch"),  # whose Wanted it makes
    ("packages.tree", "packages.files"),  # unpacked beside what was fetched
    ("packages.wheel", "packages.files"),
    ("packages.wheel", "packages.tree"),
    ("packages.venv", "packages.files"),
    ("packages.venv", "packages.tree"),
    ("packages.venv", "packages.wheel"),
    ("packages.npm", "packages.fetch"),  # whose Wanted it makes
    ("packages.npm", "packages.files"),
    ("packages.npm", "packages.tree"),
    ("packages.node_modules", "packages.files"),  # the time that everything kept there has
    ("packages.node_modules", "packages.tree"),
    ("packages.nodejs", "packages.node_modules"),  # npm is installed as other global packages are
    ("packages.nodejs", "packages.tree"),
    ("packages.archive", "packages.fetch"),  # whose Wanted it makes
    ("copy.parcel", "copy.walk"),  # what is copied, from a tree or a tar
    ("copy.write", "copy.walk"),
    ("packages.deb", "packages.files"),  # what is repacked is kept beside what was fetched
    ("slot.firewall", "slot.ruleset"),  # the text that it has nft do
    ("slot.flows", "slot.netlink"),  # how the kernel is spoken to
    ("slot.network", "slot.netlink"),
    ("supervisor.look", "supervisor.policy"),  # what is to be seen of a row
    ("supervisor.memory", "insight.usage"),  # where a container's cgroups are
    ("packages.plain", "packages.deb"),  # how a .deb is read
    ("packages.plain", "packages.files"),
    ("packages.plain", "packages.tree"),
    ("packages.dpkg", "packages.deb"),
    ("packages.dpkg", "packages.plain"),  # what is laid out
    ("packages.dpkg", "packages.tree"),
    ("container.snapshot", "store.layer"),  # where a file system can't idmap, layers are shifted by copying
}

FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "core", "base", "manager", "common", "misc"}

# room -> the rooms it may import (besides itself, `errors` and `model`).
KNOWS = {
    "model": set(),
    "errors": set(),
    "guard": set(),
    "paths": set(),
    "signals": set(),
    "beneath": set(),
    "command": set(),
    "archive": set(),
    "manifest": set(),
    "render": set(),
    "build": {"archive", "engine", "beneath", "lock"},
    "changes": set(),
    "clean": set(),
    "colours": set(),
    "crew": set(),
    "desired": {"inputs"},
    "inputs": set(),
    "lives": set(),
    "lock": {"changes", "engine", "manifest", "render"},
    "plan": {"changes", "reasons"},
    "provision": {"crew", "engine", "readiness"},
    "readiness": set(),
    "trial": {"changes", "clean", "engine", "render"},
    "engine": {"guard", "beneath", "archive", "command", "crew", "lives", "lock", "paths", "readiness", "signals"},
    "console": {"clean", "colours"},
    # `up` by the quick door plans and provisions as the long way does, with what that way has written down.
    "reasons": {"changes"},
    "quick": {
        "build",
        "cli",
        "colours",
        "command",
        "console",
        "engine",
        "lives",
        "paths",
        "plan",
        "provision",
        "signals",
    },
    "cli": {
        "beneath",
        "build",
        "changes",
        "clean",
        "command",
        "console",
        "crew",
        "desired",
        "engine",
        "lives",
        "lock",
        "manifest",
        "paths",
        "plan",
        "provision",
        "quick",
        "render",
        "signals",
        "trial",
    },
    "__main__": {"cli", "quick", "signals"},
}


def _modules() -> dict[str, str]:
    found = {}
    for folder, _, files in os.walk(f"{ROOT}/devenv"):
        for file in files:
            if file.endswith(".py"):
                path = os.path.relpath(f"{folder}/{file}", ROOT)
                found[path[:-3].replace("/", ".").removesuffix(".__init__")] = path
    return found


MODULES = _modules()
TREES = {name: ast.parse(open(f"{ROOT}/{path}", encoding="utf-8").read()) for name, path in MODULES.items()}  # noqa: SIM115


def imports(module: str) -> set[str]:
    """Dotted names of everything a module imports, wherever in it; of ours, down to the module."""
    package = module if MODULES[module].endswith("__init__.py") else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
            start = ".".join(part for part in (above if node.level else "", node.module or "") if part)
            found |= {f"{start}.{alias.name}" if f"{start}.{alias.name}" in MODULES else start for alias in node.names}
    return found


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("module", sorted(MODULES))
def test_architecture_module_is_short_documented_and_well_named(module: str) -> None:
    with open(f"{ROOT}/{MODULES[module]}", encoding="utf-8") as file:
        assert len(file.readlines()) <= LONGER.get(module, LINES)
    assert module == "devenv" or ast.get_docstring(TREES[module])
    assert not FORBIDDEN_NAMES & set(module.split("."))


@pytest.mark.parametrize("module", sorted(MODULES))
def test_architecture_pure_rooms_have_no_effects(module: str) -> None:
    pure = module in PURE_FILES or any(module == one or module.startswith(f"{one}.") for one in PURE_ROOMS)
    if pure and module not in EFFECTFUL:
        effects = {name for name in imports(module) if name.split(".")[0] in EFFECTS and name not in PURE_NAMES}
        assert effects <= ({"time"} if module in CLOCKED else set())


@pytest.mark.parametrize("module", sorted(MODULES))
def test_architecture_every_library_has_one_home(module: str) -> None:
    for library, homes in HOMES.items():
        uses = any(name == library or name.startswith(f"{library}.") for name in imports(module))
        at_home = any(module == home or module.startswith(f"{home}.") for home in homes)
        assert not uses or at_home, library


@pytest.mark.parametrize("module", sorted(MODULES))
def test_architecture_rooms_know_only_whom_they_may(module: str) -> None:
    ours = {name for name in imports(module) if name.startswith("devenv.")}
    if room(module):
        assert {room(name) for name in ours} <= {room(module), "model", "errors"} | KNOWS[room(module)]
    # Only two doors lead to our own engine; everybody else sees the protocols.
    if not module.startswith((NATIVE, "devenv.quick")) and module != "devenv.cli.session":
        assert not [name for name in ours if name.startswith(NATIVE)]


@pytest.mark.parametrize("module", sorted(name for name in MODULES if name.startswith(f"{NATIVE}.")))
def test_architecture_siblings_of_the_engine_dont_know_each_other(module: str) -> None:
    name = module.removeprefix(f"{NATIVE}.")
    known = {one.removeprefix(f"{NATIVE}.") for one in imports(module) if one.startswith(f"{NATIVE}.")}
    known -= LEAVES | {other for own, other in ACQUAINTED if own == name}
    assert name in COMPOSERS or name.split(".")[0] in COMPOSING or not known


@pytest.mark.parametrize("module", sorted(name for name in MODULES if name.startswith(f"{NATIVE}.")))
def test_architecture_rooms_of_the_engine_know_only_those_beneath(module: str) -> None:
    own = module.split(".")[3]
    ours = {name.split(".")[3] for name in imports(module) if name.startswith(f"{NATIVE}.")}
    if own in WITHIN:
        assert (ours & set(WITHIN)) <= WITHIN[own] | {own}


def test_architecture_lists_name_what_exists() -> None:
    listed = {f"{NATIVE}.{name}" for name in (LEAVES - {"Json"}) | COMPOSERS} | EFFECTFUL | PURE_FILES | set(LONGER)
    assert listed <= set(MODULES)
    assert all(f"{NATIVE}.{other}" in imports(f"{NATIVE}.{own}") for own, other in ACQUAINTED)
    assert {name.split(".")[1] for name in MODULES if "." in name} == set(KNOWS)
    rooms = {name for name in MODULES if name.startswith(NATIVE) and MODULES[name].endswith("__init__.py")}
    assert rooms - {NATIVE} == {f"{NATIVE}.{name}" for name in WITHIN}


@pytest.mark.parametrize("page", ["safety", "architecture", "faults"])
def test_architecture_pages_name_files_that_exist(page: str) -> None:
    with open(f"{ROOT}/docs/{page}.md", encoding="utf-8") as file:
        named = set(re.findall(r"`([\w/]+\.py)`", file.read()))
    rooms = (ROOT, f"{ROOT}/devenv", f"{ROOT}/devenv/engine/native")
    assert named
    assert not [name for name in named if not any(os.path.isfile(f"{room}/{name}") for room in rooms)]
