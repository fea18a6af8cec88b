"""What npm's names, paths and commands may look like: a Module of unknown making → what is wrong with it."""

import posixpath
import re
from typing import NamedTuple

from .lock import Module
from .manifest import Pairs

FOLDER = "node_modules"


class Machine(NamedTuple):
    """An architecture: `process.arch`, what the package with Node.js for it ends in, OpenSSL's name of it."""

    cpu: str
    package: str
    openssl: str


MACHINES = {
    "amd64": Machine("x64", "x64", "linux-x86_64"),
    "arm64": Machine("arm64", "arm64", "linux-aarch64"),
    "armhf": Machine("arm", "armv7l", "linux-armv4"),
    "ppc64el": Machine("ppc64", "ppc64le", "linux-ppc64le"),
    "s390x": Machine("s390x", "s390x", "linux64-s390x"),
}
"""By Debian's name."""

_WORD = r"[A-Za-z0-9_~-][A-Za-z0-9_.~-]*"
_NAME = re.compile(rf"(?!{FOLDER}$)(?:@{_WORD}/)?{_WORD}")
_VERSION = re.compile(r"\d+\.\d+\.\d+[0-9A-Za-z.+-]*")
_INTEGRITY = re.compile(r"sha(?:512|384|256|1)-[A-Za-z0-9+/]+={0,2}")
_COMMIT = re.compile(r"git:[0-9a-f]{40}(?:[0-9a-f]{24})?")
_REPOSITORY = re.compile(r"https?://[0-9A-Za-z._:\[\]-]+/[0-9A-Za-z._~/+%:=,-]+")
_URL = re.compile(r"https?://[^/@\s]+/[!-~]*")
_COMMAND = re.compile(r"(?!\.\.?$)[!-~]+")
_FILE = re.compile(r"[!-~]+")
_LONGEST = 214  # bytes of a name, as npm has it
_DEEPEST = 32  # packages within each other
_PATH = 3072  # bytes, so that the names of its own files still fit into PATH_MAX


def fault(module: Module) -> str:
    """What makes it unfit to be fetched, unpacked and linked; "" for nothing."""
    packages = names(module.path)
    if not packages or len(packages) > _DEEPEST or len(module.path) > _PATH:
        return f"its path {module.path!r:.80} is no place in a {FOLDER} folder"
    if not is_name(module.name or packages[-1]):
        return f"its name {module.name!r:.80} is no name of a package"
    if not _VERSION.fullmatch(module.version) or len(module.version) > 256:
        return f"its version {module.version!r:.80} is none"
    if module.commit:
        if not (_COMMIT.fullmatch(module.integrity) and _REPOSITORY.fullmatch(module.url)):
            return f"{module.commit!r:.80} of {module.url.rpartition('@')[2]!r:.80} is no commit of a git repository"
    elif not _INTEGRITY.fullmatch(module.integrity):
        return f"its integrity {module.integrity!r:.80} is none that npm writes" if module.integrity else "no integrity"
    if module.url and not _URL.fullmatch(module.url):
        return f"its address {module.url.rpartition('@')[2]!r:.80} isn't an http(s) URL without a password"
    bad = next((one for one in module.bins if not _is_bin(*one)), None)
    return f"its command {bad[0]!r:.40} is the file {bad[1]!r:.80}, which it can't be" if bad else ""


def is_name(text: str) -> bool:
    return len(text) <= _LONGEST and _NAME.fullmatch(text) is not None


def names(path: str) -> tuple[str, ...]:
    """The packages on the way to a path: `node_modules/a/node_modules/@b/c` → a, @b/c. Empty for what is no such path."""
    head, *found = f"/{path}".split(f"/{FOLDER}/")
    return tuple(found) if not head and found and all(map(is_name, found)) else ()


def name(module: Module) -> str:
    """What the registry calls it."""
    return module.name or names(module.path)[-1]


def bins(value: object, package: str) -> Pairs:
    """The commands of a package.json's or a lock's `bin`, by name, as npm cleans them (npm-normalize-package-bin).

    What isn't a command is left out; no file leaves its package.
    """
    if isinstance(value, str):
        value = {package: value}
    elif isinstance(value, list):
        value = {posixpath.basename(file): file for file in value if isinstance(file, str)}
    found = {}
    for command, file in value.items() if isinstance(value, dict) else ():
        short = posixpath.basename(re.sub(r"[\\:]", "/", str(command)))
        # As if its package were the root: `..` ends there.
        inside = posixpath.normpath("//" + file.replace("\\", "/")).lstrip("/") if isinstance(file, str) else ""
        if _is_bin(short, inside):
            found[short] = inside
    return tuple(sorted(found.items()))


def _is_bin(command: str, file: str) -> bool:
    fit = _COMMAND.fullmatch(command) and not set(command) & set("/\\:") and len(command) <= 255
    within = (
        _FILE.fullmatch(file) and posixpath.normpath(f"/{file}") == f"/{file}" and file[0] != "/" and "\\" not in file
    )
    return bool(fit and within and len(file) <= 1024)
