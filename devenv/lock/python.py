"""What `python:` asks for → the uv command that resolves it over a root, and what that answers (pylock.toml, PEP 751) → Dists."""

from __future__ import annotations

import json
import posixpath
import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from shlex import quote
from typing import Any
from urllib.parse import unquote

from devenv.errors import EngineError
from devenv.model.lock import Dist, Repository
from devenv.model.manifest import UNLOCKABLE

ANSWER = "/tmp/pylock.toml"
UV = "/run/devenv/tools/uv"
PROJECT = "/run/devenv/project"
ASKED = "/run/devenv/asked.in"
PINS = "/run/devenv/pins.toml"
SOURCES = "/run/devenv/packages"
BUILD = "/run/devenv/build.in"

_LARGE, _ALONE = 1 << 20, 6
"""Bytes of a wheel that is worth a layer of its own at the first lock, and how many are: each layer is one more that overlayfs looks
through for what isn't there, and a small wheel saves less than that costs."""

_INDEX = re.compile(rb"index|find-links|^\s*-[if]\b", re.MULTILINE)
_USER = re.compile(r"//[^/@\s]*@")
_FOLDER = "name a release of it, or install it under hooks: on_create:"
# Of a lock, into a script for sed: a name, a version and an address with nothing in them that it would take for its own.
_PINNED = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*==[0-9A-Za-z.!+_-]+ https?://[0-9A-Za-z._~/+%:@=,?-]+")
_DEFAULT = ("setuptools>=40.8.0",)  # of a project that doesn't say (PEP 517)
_PROJECTS = """
import json, os, sys, tarfile, zipfile
found = {}
for name in sorted(os.listdir(sys.argv[1])):
    path = os.path.join(sys.argv[1], name)
    found[name] = b""
    if name.endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                if member.count("/") == 1 and member.endswith("/pyproject.toml"):
                    found[name] = archive.read(member)
    else:
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isreg() and member.name.count("/") == 1 and member.name.endswith("/pyproject.toml"):
                    found[name] = archive.extractfile(member).read(1 << 20)
with open(sys.argv[2], "w") as file:
    json.dump({name: text.decode(errors="replace") for name, text in found.items()}, file)
"""

Best = Callable[[Sequence[str]], str | None]
"""File names of one version → the one that suits the target."""

_PROBE = (
    "import json, platform, sys; print(json.dumps([platform.python_version(), sys.executable, platform.libc_ver()[1]]))"
)


def probe(command: str) -> tuple[str, ...]:
    """The shell command that says which interpreter a root has; it writes nothing where it has none."""
    return ("sh", "-c", f'command -v "$1" > /dev/null && "$1" -I -c "$2" > {ANSWER} || true', "sh", command, _PROBE)


def probed(text: str) -> tuple[str, str, str] | None:
    """(version, path, C library's version) of what `probe` wrote; None where there is none."""
    if not text.strip():
        return None
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    told = answer if isinstance(answer, list) and len(answer) == 3 else [None]
    if not all(isinstance(value, str) and re.fullmatch(r"[\w./+-]*", value) for value in told):
        raise EngineError(f"lock python: its interpreter answers {text!r:.80}")
    version, command, libc = map(str, told)
    return version, command, libc


def elsewhere(contents: Mapping[str, bytes], best: Best) -> tuple[tuple[str, str, str], ...]:
    """(name, version, URL) of what a uv.lock has from an index which the pyproject.toml beside it names besides its default one."""
    found: list[tuple[str, str, str]] = []
    for file, content in contents.items():
        if posixpath.basename(file) == "uv.lock":
            project = contents.get(posixpath.join(posixpath.dirname(file), "pyproject.toml"), b"")
            with suppress(ValueError, TypeError, AttributeError):  # uv will say what is wrong with them
                found += _elsewhere(tomllib.loads(project.decode()), tomllib.loads(content.decode()), best)
    return tuple(found)


def _elsewhere(project: Mapping[str, Any], lock: Mapping[str, Any], best: Best) -> Iterator[tuple[str, str, str]]:
    uv = project.get("tool", {}).get("uv", {})
    named = [*uv.get("extra-index-url", ()), *(one.get("url") for one in uv.get("index", ()) if not one.get("default"))]
    indexes = {_bare(str(one)) for one in named}
    for package in lock.get("package", ()) if indexes else ():
        if _bare(str(package.get("source", {}).get("registry"))) in indexes:
            files = {_file(one): one for one in (*package.get("wheels", ()), *filter(None, [package.get("sdist")]))}
            name, version = str(package.get("name")), str(package.get("version"))
            url = _USER.sub("//", str(files.get(best(tuple(files)) or "", {}).get("url")))
            if _PINNED.fullmatch(f"{name}=={version} {url}"):
                yield name, version, url


def _bare(index: str) -> str:
    return _USER.sub("//", index).rstrip("/")


def compile_command(
    command: str,
    requirements: Sequence[str],
    locks: Sequence[str],
    upgrade: Sequence[str],
    *,
    pinned: bool,
    elsewhere: Sequence[tuple[str, str, str]] = (),
    renewed: Sequence[str] | None = None,
) -> tuple[str, ...]:
    """The shell command that resolves: requirements files and the folders of uv.lock files, beneath the project.

    What is pinned stays as it is as long as it suits, but for the names in `upgrade`. What these locks have from `elsewhere`
    is asked for by its address: the host's index may have nothing, or another one, by that name. `renewed`: uv.lock files
    are brought up to date first, with these requirements (`urllib3==2.0`) among others, as little as need be; None: they aren't.
    """
    moved = [
        f"s#^{name}\\(\\[[^]]*]\\)\\{{0,1\\}}=={version.replace('.', '[.]')}\\( \\|$\\)#{name}\\1 @ {url}\\2#"
        for name, version, url in elsewhere
    ]
    lines = ["set -eu"]
    if pinned:
        lines.append(f"cp {PINS} {ANSWER}")
    words = [f"{UV} pip compile --quiet --no-header --format pylock.toml --python {quote(command)}"]
    words += [f"--upgrade-package {quote(name)}" for name in upgrade]
    for number, folder in enumerate(locks, 1):
        text = f"/tmp/lock{number}.txt"
        export = f"{UV} export --quiet --frozen --no-header --no-emit-project --directory"
        project = posixpath.join(PROJECT, folder)
        if renewed is not None:
            copy, asked = f"/tmp/lock{number}", "".join(f" --upgrade-package {quote(one)}" for one in renewed)
            lines.append(f"cp -r {quote(project)} {copy}")
            lines.append(f"{UV} lock --quiet --directory {copy} --python {quote(command)}{asked}")
            project = copy
        lines.append(f"{export} {quote(project)} --python {quote(command)} --output-file {text}")
        if moved:
            lines.append(f"sed -i {' '.join(f'-e {quote(one)}' for one in moved)} {text}")
        words.append(text)
    words += [quote(posixpath.join(PROJECT, file)) for file in requirements]
    lines.append(f"{' '.join(words)} {ASKED} --output-file {ANSWER}")
    return ("/bin/sh", "-c", "\n".join(lines))


def projects(command: str) -> tuple[str, ...]:
    """The command that says what the source archives in SOURCES have as pyproject.toml."""
    return (command, "-I", "-c", _PROJECTS, SOURCES, ANSWER)


def build_requirements(text: str) -> tuple[str, ...]:
    """For each project that `projects` found, the requirements to build it with, as the text of a requirements file."""
    found = []
    for file, project in json.loads(text or "{}").items():
        try:
            system = tomllib.loads(project).get("build-system", {})
            requires = system.get("requires", _DEFAULT if "build-backend" not in system else ())
            # Older setuptools ask for wheel only when they are run.
            found.append("".join(f"{one}\n" for one in sorted({*map(str, requires), "wheel"})))
        except (tomllib.TOMLDecodeError, AttributeError, TypeError) as error:
            raise EngineError(f"lock {file}: its pyproject.toml can't be read: {error}") from error
    return tuple(found)


def compile_build(command: str) -> tuple[str, ...]:
    """The command that resolves the requirements in BUILD."""
    words = f"{UV} pip compile --quiet --no-header --no-build --format pylock.toml --python {quote(command)}"
    return ("/bin/sh", "-c", f"{words} {BUILD} --output-file {ANSWER}")


def pins(packages: Sequence[Dist], repositories: Sequence[Repository] = ()) -> str:
    """Locked versions and commits, in the form in which uv prefers them."""
    found = "".join(f'[[packages]]\nname = "{dist.name}"\nversion = "{dist.version}"\n' for dist in sorted(packages))
    for one in sorted(repositories):
        said = (("url", one.url), ("requested-revision", one.revision), ("commit-id", one.commit))
        words = (*said, ("subdirectory", one.subdirectory), ("type", "git"))
        vcs = ", ".join(f"{name} = {json.dumps(value)}" for name, value in words if value)
        found += f'[[packages]]\nname = "{one.name}"\nvcs = {{ {vcs} }}\n'
    return f'lock-version = "1.0"\ncreated-by = "devenv"\n{found}'


def names_indexes(contents: Mapping[str, bytes]) -> bool:
    """Whether a project's files may name indexes other than the host's. (A uv.lock names the one of whoever made it.)"""
    return any(_INDEX.search(content) for file, content in contents.items() if not file.endswith(".lock"))


def index_command(command: str, requirements: Sequence[str]) -> tuple[str, ...]:
    """The command that says of the versions in ASKED which index they come from: pylock.toml doesn't have it from uv."""
    words = [f"{UV} pip compile --quiet --no-deps --no-header --no-annotate --emit-index-annotation"]
    words += [f"--format requirements.txt --python {quote(command)}"]
    words += [quote(posixpath.join(PROJECT, file)) for file in requirements]
    return ("/bin/sh", "-c", f"{' '.join(words)} {ASKED} --output-file {ANSWER}")


def newest_command(command: str) -> tuple[str, ...]:
    """The command that says what the newest versions of the names in ASKED are that this Python can have."""
    words = f"{UV} pip compile --quiet --no-deps --no-header --format pylock.toml --python {quote(command)}"
    return ("/bin/sh", "-c", f"{words} {ASKED} --output-file {ANSWER}")


def newest(text: str) -> tuple[tuple[str, str], ...]:
    """(name, version) in the answer to `newest_command`."""
    return tuple((str(one["name"]), str(one.get("version", ""))) for one in _packages(text))


def versions(text: str) -> str:
    """What uv resolved, as a requirements file: those that come from an index."""
    listed = _packages(text)
    return "".join(f"{one['name']}=={one['version']}\n" for one in listed if "wheels" in one or "sdist" in one)


def foreign(text: str, contents: Mapping[str, bytes]) -> frozenset[str]:
    """The packages that come from an index which the project's own files name; `text` is the answer to `index_command`."""
    said = "\n".join(_USER.sub("//", content.decode(errors="replace")) for content in contents.values())
    found, name = set(), ""
    for line in text.splitlines():
        if match := re.match("([a-z0-9-]+)==", line):
            name = match[1]
        elif match := re.fullmatch(r"\s+# from (\S+)", line):
            index = re.escape(_USER.sub("//", match[1]).rstrip("/"))
            if re.search(rf"{index}/?(?![^\s\"'])", said):
                found.add(name)
    return frozenset(found)


def distributions(
    text: str, best: Best, foreign: Collection[str] = (), *, repositories: bool = False
) -> tuple[Dist, ...]:
    """What uv resolved: of each version the file that suits the target, else its source archive.

    `foreign` are the packages from other indexes than the host's: they keep their whole address. `repositories`: what comes
    from these is somebody else's business. Raises EngineError for what can't be locked.
    """
    packages = (one for one in _packages(text) if not (repositories and "vcs" in one))
    try:
        return tuple(sorted(_dist(one, best, foreign) for one in packages))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise EngineError(f"lock python: uv answers what can't be read: {error}") from error


def repositories(text: str) -> tuple[Repository, ...]:
    """What uv resolved that comes from git repositories, each with the commit it would take. Raises EngineError."""
    found = []
    for one in _packages(text):
        if not isinstance(vcs := one.get("vcs"), dict):
            continue
        name, url, commit = str(one["name"]), _USER.sub("//", str(vcs.get("url"))), str(vcs.get("commit-id"))
        if vcs.get("type") != "git" or not url.startswith(("https://", "http://")):
            hint = "only git repositories are installed from, over https or http"
            raise EngineError(f"lock {name}: it comes from {url}", hint=hint)
        revision, part = (str(vcs.get(key, "")) for key in ("requested-revision", "subdirectory"))
        found.append(Repository(name, commit, url, revision, part))
    return tuple(sorted(found))


def _packages(text: str) -> Sequence[Mapping[str, Any]]:
    try:
        found = tomllib.loads(text).get("packages", [])
    except tomllib.TOMLDecodeError as error:
        raise EngineError(f"lock python: uv answers what can't be read: {error}") from error
    if not isinstance(found, list) or not all(isinstance(one, dict) and "name" in one for one in found):
        raise EngineError("lock python: uv answers what can't be read: no list of packages")
    return found


def _dist(package: Mapping[str, Any], best: Best, foreign: Collection[str]) -> Dist:
    name, version = str(package["name"]), str(package.get("version", ""))
    archive = package.get("archive", {})
    if "vcs" in package or "directory" in package or "path" in archive:
        what, hint = ("repository", UNLOCKABLE.format("python")) if "vcs" in package else ("folder", _FOLDER)
        raise EngineError(f"lock {name}: it comes from a {what}, which can't be locked", hint=hint)
    if archive:
        return _made(name, version or "0", archive, _archive_file(name, version or "0", _file(archive)), direct=True)
    files = {_file(one): one for one in (*package.get("wheels", ()), *filter(None, [package.get("sdist")]))}
    chosen = best(tuple(files))
    if chosen is None:
        raise EngineError(f"lock {name} {version}: none of its files suits", hint="name another version of it")
    return _made(name, version, files[chosen], chosen, direct=name in foreign)


def _made(name: str, version: str, found: Mapping[str, Any], file: str, *, direct: bool) -> Dist:
    digest = str(found.get("hashes", {}).get("sha256", ""))
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise EngineError(f"lock {name} {version}: its index gives no sha256 for it")
    # Who may fetch it is the host's business; the lock is for everybody to read.
    url = _USER.sub("//", str(found["url"]).partition("#")[0]) if direct else ""
    return Dist(name, version, int(found.get("size", 0)), digest, file, url)


def _file(found: Mapping[str, Any]) -> str:
    path = str(found.get("name") or str(found["url"]).partition("#")[0].partition("?")[0])
    return posixpath.basename(unquote(path))


def _archive_file(name: str, version: str, file: str) -> str:
    """A wheel's own name; a source archive is called `main.zip` or `v1.tar.gz` by more than one project."""
    if file.endswith(".whl"):
        return file
    ending = next((one for one in (".tar.gz", ".tar.bz2", ".tar.xz", ".tgz", ".zip") if file.endswith(one)), ".tar.gz")
    return f"{name.replace('-', '_')}-{version}{ending}"


def layered(before: Sequence[Dist], after: Sequence[Dist], most: int = 16) -> tuple[Dist, ...]:
    """`after`, each in the layer its name had before; what is new makes a layer of its own, as long as there aren't too many.

    Of those locked first the largest are apart: another version of a small one leaves their thousands of files where they are,
    and other projects share them.
    """
    layers = {dist.name: dist.layer for dist in before} or _apart(after)
    added = min(max(layers.values(), default=0) + 1, most)
    return tuple(dist._replace(layer=layers.get(dist.name, added)) for dist in after)


def _apart(dists: Sequence[Dist]) -> dict[str, int]:
    """The layers of the first lock, by name: the largest wheels have one each, the others the first."""
    large = [dist for dist in dists if dist.is_wheel and dist.size >= _LARGE]
    alone = sorted(large, key=lambda dist: (-dist.size, dist.name))[:_ALONE]
    return dict.fromkeys((dist.name for dist in dists), 1) | {
        dist.name: 2 + number for number, dist in enumerate(alone)
    }
