"""The text of one value → what it means. Each function raises Wrong with what is wrong and the fix."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from typing import Literal

from devenv.model.manifest import From, Port, Source

SUITES = ("bullseye", "bookworm", "trixie", "forky", "sid")
FACTS = ("arch", "project", "user", "index")
REGISTRIES = (
    "images of registries are not supported yet: use `from: bootstrap:SUITE` with what `apt`, `python` and `node` install, or"
    " `from: oci:DIRECTORY`"
)
BASELINE = "baseline"
"""What the manifest is called beside its variants."""
_PYTHON_TO_COME = 20  # of years to come: what is beyond is a slip
_NODE_TO_COME = 40
_MOVING = {"oldoldstable", "oldstable", "stable", "testing", "unstable", "experimental"}

NAME = "[a-z0-9]+([._-][a-z0-9]+)*"
VARIABLE = "[A-Za-z_][A-Za-z0-9_]*"
VARIANT = "[a-z0-9]([a-z0-9._-]{0,30}[a-z0-9])?"
APT = "[a-z0-9][a-z0-9+.-]*[a-z0-9+.](:[a-z0-9-]+)?(=[A-Za-z0-9.+:~-]+[*]?)?"
_SPEC = "(===|==|~=|!=|<=|>=|<|>) *[A-Za-z0-9.*+!_-]+"
PIP = (
    r"[A-Za-z0-9][A-Za-z0-9._-]*( *\[[A-Za-z0-9._, -]*\])?"
    rf"( *{_SPEC}( *, *{_SPEC})*| *@ *(git\+)?https?://[^\s]+)?( *;[ -~]*)?"
)
NPM = r"(@[a-z0-9][a-z0-9._~-]*/)?[a-z0-9][a-z0-9._~-]*(@[A-Za-z0-9.^~<>=*+-]+)?"
PYTHON_VERSION = r"3\.[0-9]{1,2}(\.[0-9]{1,2})?"
NODE_VERSION = r"[0-9]{1,2}(\.[0-9]{1,3}(\.[0-9]{1,3})?)?"
USER = "([a-z_][a-z0-9_-]{0,31}|[0-9]{1,5})(:([a-z_][a-z0-9_-]{0,31}|[0-9]{1,5}))?"
PORT = r"((([0-9]{1,3}\.){3}[0-9]{1,3}:)?[0-9]{0,5}:)?[0-9]{1,5}(/(tcp|udp))?"
MEMORY = r"[0-9]{1,15}(\.[0-9]{1,3})? ?[KMGTkmgt]?i?[Bb]?"
REFERENCE = "[A-Za-z0-9][A-Za-z0-9._/:@-]*"
URL = r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~/+%-]*)?"
SNAPSHOT = (
    r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/[A-Za-z0-9._~/+%{}-]*\{time\}[A-Za-z0-9._~/+%{}-]*"
)
TARGET = r"/[A-Za-z0-9_./@+=~-]*"
RUNTIMES = ("crun", "runc")

_KERNEL = ("/proc", "/sys", "/dev")
_OURS = ("/run/devenv", "/run/secrets")
_SYSTEM = (
    "/(bin|boot|etc|home|lib|lib32|lib64|libx32|opt|root|run|sbin|srv|tmp|usr|var)?"
    "|/usr/(bin|lib|local|sbin|share)|/var/(lib|run|tmp)"
    r"|/etc/(group|hostname|hosts|passwd|resolv\.conf|shadow|ssl)"
)


class Wrong(Exception):
    """A value isn't what its key takes: the reason, and what to write instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that `word` was probably meant to be, or ""."""
    from difflib import get_close_matches  # only needed when something is wrong

    words = {one.lower(): one for one in known}
    found = get_close_matches(word[:100].lower(), list(words), 1, 0.6)
    return words[found[0]] if found else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint naming the nearest word, or all of them."""
    words = tuple(known)
    near = nearest(word, words)
    return f"did you mean {near!r}?" if near else f"one of: {', '.join(words)}"


def show(text: str) -> str:
    """A value as messages show it: on one line, escaped, cut short."""
    return repr(text if len(text) <= 60 else text[:57] + "…")


def project_name(text: str) -> str:
    """Any text (a folder's name) made into a valid project name."""
    name = re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")
    return name[:63].rstrip("-") or "project"


def name(text: str) -> str:
    """A project's name: a host name and a repository name both."""
    if len(text) > 63 or not re.fullmatch(NAME, text):
        what = "is longer than 63 characters" if len(text) > 63 else "is not a name (a-z, 0-9, and . _ - between)"
        raise Wrong(f"{show(text)} {what}", f"write {project_name(text)!r}, for example")
    return text


def variable(text: str) -> str:
    """The name of a variable, which no fact has."""
    if not re.fullmatch(VARIABLE, text):
        raise Wrong(f"{show(text)} can't be the name of a variable", "use letters, digits and _, no digit first")
    if text in FACTS:
        raise Wrong(f"{text!r} is already known as a fact", "choose another name")
    return text


def variant(text: str) -> str:
    """The name of a variant: part of its environment's name."""
    if not re.fullmatch(VARIANT, text):
        raise Wrong(f"{show(text)} can't be the name of a variant", "use a-z, 0-9 and . _ - between, at most 32")
    if text == BASELINE:
        raise Wrong(f"{text!r} is what the manifest is without any", "choose another name")
    return text


def env_name(text: str) -> str:
    """The name of an environment variable (POSIX, 8.1)."""
    if not re.fullmatch(VARIABLE, text):
        raise Wrong(f"{show(text)} can't be the name of a variable", "use letters, digits and _, no digit first")
    return text


def base(text: str) -> From:
    """`bootstrap:SUITE`, `file:CONTAINERFILE` or `oci:DIRECTORY[:TAG]`."""
    kind, colon, value = text.partition(":")
    if kind == "image" and colon:
        raise Wrong("images from registries (`image:`) are not supported yet", "use bootstrap:, file: or oci:")
    if kind == "bootstrap" and colon:
        return From("bootstrap", suite(value))
    if kind == "file" and colon:
        return From("file", inside(value))
    if kind == "oci" and colon:
        return From("oci", layout(value))
    raise Wrong(f"{show(text)} doesn't say what kind of base it is", _base_hint(text))


def _base_hint(text: str) -> str:
    if text in SUITES:
        return f"did you mean 'bootstrap:{text}'?"
    if "file" in posixpath.basename(text).lower() and ":" not in text:
        return f"did you mean 'file:{text}'?"
    image = re.fullmatch(r"(?:.*/)?debian:([a-z]+)(?:-slim)?", text)
    if image and image[1] in SUITES:
        return f"registries are not supported yet: did you mean 'bootstrap:{image[1]}'?"
    kind = nearest(text.partition(":")[0], ("bootstrap", "file", "oci"))
    written = f"did you mean '{kind}:'? " if kind and ":" in text else ""
    if not written and ":" not in text and (near := nearest(text, SUITES)):
        return f"did you mean 'bootstrap:{near}'?"
    if not written and re.fullmatch(REFERENCE, text):
        return REGISTRIES
    return f"{written}write bootstrap:SUITE, file:CONTAINERFILE or oci:DIRECTORY[:TAG]"


def suite(text: str) -> str:
    """A Debian release by its own name: what `stable` means changes, what `bookworm` means doesn't."""
    if text in _MOVING:
        hint = "write 'sid'" if text == "unstable" else f"write the release's own name: {', '.join(SUITES)}"
        raise Wrong(f"{text!r} is a name that moves from release to release", hint)
    if text not in SUITES:
        raise Wrong(f"{show(text)} is not a Debian release this can build", did_you_mean(text, SUITES))
    return text


def layout(text: str) -> str:
    """`DIRECTORY[:TAG]` of an OCI image layout (image-spec, image-layout.md)."""
    folder, colon, tag = text.rpartition(":")
    if not colon or "/" in tag:
        return host_path(text)
    if not re.fullmatch("[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", tag):
        raise Wrong(f"{show(tag)} is not a tag", "write oci:DIRECTORY or oci:DIRECTORY:TAG")
    return f"{host_path(folder)}:{tag}"


def context(text: str) -> str:
    """Where a reference comes from: as `from:`, or a folder."""
    if text.partition(":")[0] in ("bootstrap", "file", "oci", "image"):
        return str(base(text))
    if ":" in text:
        raise Wrong(f"{show(text)} is neither a base nor a folder", _base_hint(text) + ", or the path of a folder")
    return host_path(text)


def host_path(text: str) -> str:
    """A path on the host, absolute or from the project folder; may lead outside."""
    if not text:
        raise Wrong("the path is empty", "'.' is the project folder")
    if text.startswith("~"):
        raise Wrong(f"{show(text)}: `~` is not expanded", "write the path from the project folder, or an absolute one")
    if text.startswith("-"):
        raise Wrong(f"{show(text)} looks like an option", "choose another name")
    return _normal(text)


def inside(text: str) -> str:
    """A file of the project, as a path from its folder."""
    path = _normal(text) if text else "."
    if path.startswith(("/", "../")) or path == "..":
        raise Wrong(f"{show(text)} is outside the project folder", "write the path of a file inside, from there")
    if path == ".":
        raise Wrong(f"{show(text)} is not the path of a file", "write the path of a file in the project folder")
    if path.startswith("-") or not re.fullmatch(r"[\w./@+=~-]+", path):
        raise Wrong(f"{show(text)} has characters that a build can't take", "use letters, digits and . _ - @ + = ~ /")
    return path


def requirements(text: str) -> str:
    """A file that says which Python packages to install."""
    path = inside(text)
    file = posixpath.basename(path)
    if file in ("pyproject.toml", "uv.lock") or file.endswith((".txt", ".in")):
        return path
    raise Wrong(f"{show(text)} can't be installed from", "name a requirements .txt, a pyproject.toml or a uv.lock")


def npm_lock(text: str) -> str:
    """A lock file of npm."""
    path = inside(text)
    file = posixpath.basename(path)
    if file in ("package-lock.json", "npm-shrinkwrap.json"):
        return path
    if file in ("yarn.lock", "pnpm-lock.yaml", "bun.lockb", "bun.lock"):
        raise Wrong(f"{file} is not supported yet", "make a package-lock.json with `npm install --package-lock-only`")
    raise Wrong(f"{show(text)} is not a lock file of npm", "name a package-lock.json")


def switch(text: str) -> bool:
    """`true` or `false`, as the table's words allow."""
    return text == "true"


def python_version(text: str) -> str:
    """`3.N` or `3.N.P`, 3.8 or newer."""
    minor = int(text.split(".")[1])
    if minor < 8:
        hint = "did you mean '3.10'?" if text == "3.1" else "3.8 is the oldest that can be installed"
        raise Wrong(f"Python {text} is too old", hint)
    if minor > _PYTHON_TO_COME:
        raise Wrong(f"there is no Python {text}", "write '3.12', for example")
    return text


def node_version(text: str) -> str:
    """`N`, `N.N` or `N.N.N`."""
    if int(text.split(".")[0]) > _NODE_TO_COME:
        raise Wrong(f"there is no Node.js {text}", "write '22', for example")
    return text


def workdir(text: str) -> str:
    """An absolute folder inside, none of the kernel's."""
    path = _absolute(text)
    if _below(path, _KERNEL):
        raise Wrong(f"{show(text)} is the kernel's", "choose a folder like /workspace")
    return path


def target(text: str) -> str:
    """An absolute folder inside on which a folder of the host may be mounted."""
    path = _absolute(text)
    if _below(path, (*_KERNEL, *_OURS)) or re.fullmatch(_SYSTEM, path):
        raise Wrong(f"{show(text)} belongs to the system inside", "choose a folder of its own, like /workspace")
    return path


def source(path: str = ".", target: str = "/workspace", mode: Literal["rw", "ro", "copy-on-write"] = "rw") -> Source:
    """A Source with the manifest's defaults."""
    return Source(path, target, mode)


def user(text: str) -> str:
    """A name or number, with a group after `:`; numbers as far as a container's range goes."""
    for part in text.split(":"):
        number = part.lstrip("0")
        if number.isascii() and number.isdecimal() and (len(number) > 5 or int(number) > 65535):
            raise Wrong(f"{show(text)}: {part} is beyond 65535, the last id a container has", "choose a lower one")
    return text


def port(text: str) -> Port:
    """`[[ADDRESS:]HOST:]CONTAINER[/tcp|/udp]`."""
    if not re.fullmatch(PORT, text):
        raise Wrong(f"{show(text)} is not a port", _port_hint(text))
    rest, _, protocol = text.partition("/")
    parts = rest.split(":")
    if len(parts) == 2 and not parts[0]:
        raise Wrong(f"{show(text)} names no host port", f"write {parts[1]!r} for any free one")
    address = parts[0] if len(parts) == 3 else "127.0.0.1"
    if any(int(octet) > 255 or octet != str(int(octet)) for octet in address.split(".")):
        raise Wrong(f"{show(text)}: {address} is not an IPv4 address", "leave it out to publish on this machine only")
    host = _port_number(parts[-2]) if len(parts) > 1 and parts[-2] else None
    return Port(_port_number(parts[-1]), host, address, "udp" if protocol == "udp" else "tcp")


def _port_hint(text: str) -> str:
    if re.search("[0-9]-[0-9]", text):
        return "ranges are not supported: write each port as an item"
    if "[" in text or text.count(":") > 2:
        return "the address must be IPv4, as in '127.0.0.1:9000:8000'"
    return "write '8000', '9000:8000', '127.0.0.1:9000:8000' or '8000/udp'"


def _port_number(text: str) -> int:
    if not 1 <= int(text) <= 65535:
        raise Wrong(f"{text} is not a port", "ports go from 1 to 65535")
    return int(text)


def memory(text: str) -> int:
    """Bytes; K, M, G and T are powers of 1024."""
    number = re.match(r"[0-9.]+", text)
    assert number is not None  # the table's pattern has matched
    unit = text[number.end() :].strip().upper()[:1]
    size = int(float(number[0]) * 1024 ** "BKMGT".index(unit or "B"))
    if not 16 << 20 <= size <= 16 << 40:
        raise Wrong(f"{show(text)} is {size:,} bytes, not a sensible limit", "choose between 16M and 16T")
    return size


def cpus(text: str) -> float:
    """Cores, in parts if need be."""
    if not 0.01 <= float(text) <= 1024:
        raise Wrong(f"{show(text)} is not a sensible number of cores", "choose between 0.01 and 1024")
    return float(text)


def pids(text: str) -> int:
    """Processes and threads at one time."""
    if not 16 <= int(text) <= 4_194_304:  # the kernel's PID_MAX_LIMIT
        raise Wrong(f"{show(text)} is not a sensible limit", "choose between 16 and 4194304")
    return int(text)


def certificates(text: str) -> str:
    """`host`, `none`, or a file."""
    return text if text in ("host", "none") else host_path(text)


def _normal(text: str) -> str:
    path = posixpath.normpath(text)
    return "/" + path.lstrip("/") if path.startswith("/") else path  # POSIX lets two leading slashes differ from one


def _absolute(text: str) -> str:
    if not text.startswith("/"):
        raise Wrong(f"{show(text)} is not an absolute path", "start it with /")
    if ".." in text.split("/"):
        raise Wrong(f"{show(text)} contains `..`", "write the path it leads to")
    if not re.fullmatch(TARGET, text):
        raise Wrong(f"{show(text)} has characters that a mount can't take", "use letters, digits and . _ - @ + = ~ /")
    return _normal(text)


def _below(path: str, folders: Iterable[str]) -> bool:
    return any(path == folder or path.startswith(folder + "/") for folder in folders)
