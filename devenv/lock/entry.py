"""A locked package ↔ its line: words with blanks between, then what few packages have, as `name=value`. Pure.

Nothing is read that isn't written in just this way, and nothing written that couldn't be read: a lock is for others to read,
and so for others to write.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Generic, NamedTuple, TypeVar

from devenv.model import npm
from devenv.model.lock import Deb, Dist, Module, Remote, Repository

T = TypeVar("T", Deb, Dist, Module, Remote, Repository)
Words = list[str]

LAYERS = 99
_MORE = ("url", "layer", "manual", "bin", "name", "scripts", "revision", "subdirectory")
_WORD = re.compile(r"[!-~]+")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,14}")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_URL = re.compile(r"https?://[^/@\s]+/[!-~]*")
_DEB = re.compile(r"[a-z0-9][a-z0-9+.-]*")
_DEB_VERSION = re.compile(r"[0-9A-Za-z](?:[0-9A-Za-z.+:~-]*[0-9A-Za-z.+~])?")
_ARCH = re.compile(r"[a-z0-9][a-z0-9-]*")
_DIST = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")  # as PEP 503 makes it
_DIST_VERSION = re.compile(r"[0-9A-Za-z](?:[0-9A-Za-z.+!_-]*[0-9A-Za-z])?")
_FILE = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_.+!~-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_REPOSITORY = re.compile(
    r"https?://[0-9A-Za-z._:\[\]-]+/[0-9A-Za-z._~/+%:=,-]*"
)  # no @ or #: what follows is no address
_REVISION = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_./+-]*")
_PART = re.compile(r"[0-9A-Za-z_.][0-9A-Za-z_./+~-]*")


class Kind(NamedTuple, Generic[T]):
    """How entries of one kind are made into words and back, and what there may be but one of in a list."""

    words: Callable[[T], Words]
    made: Callable[[Words, Mapping[str, Words]], T]
    unique: Callable[[T], str]


def written(kind: Kind[T], value: T) -> str:
    """Its line. Raises ValueError for what couldn't be read again; the message says why."""
    words = kind.words(value)
    if bad := next((word for word in words if not _WORD.fullmatch(word) or word[0] == "#" or word[-1] == ":"), None):
        raise ValueError(f"{bad!r:.80} can't be written down")
    line = " ".join(words)
    if "" in words or _made(kind, line) != value:
        raise ValueError("it can't be written down")
    return line


def read(kind: Kind[T], line: str) -> T:
    """What a line says. Raises ValueError for what isn't written by `written`; the message says why."""
    value = _made(kind, line)
    if " ".join(kind.words(value)) != line:
        raise ValueError("it isn't written as devenv writes it")
    return value


def _made(kind: Kind[T], line: str) -> T:
    plain: Words = []
    more: dict[str, Words] = {}
    for word in line.split(" "):
        name, equals, value = word.partition("=")
        if equals and name in _MORE:
            more.setdefault(name, []).append(value)
        else:
            plain.append(word)
    try:
        return kind.made(plain, more)
    except IndexError:
        raise ValueError("it has too few words") from None


def _deb_words(deb: Deb) -> Words:
    plain = [deb.name, deb.version, deb.arch, str(deb.size), f"sha256:{deb.sha256}", deb.path]
    return [*plain, *_url(deb.url), *_layer(deb.layer), *(["manual=yes"] if deb.manual else [])]


def _deb(words: Words, more: Mapping[str, Words]) -> Deb:
    return Deb(
        _fit(_DEB, words[0], "name"),
        _fit(_DEB_VERSION, words[1], "version"),
        _fit(_ARCH, words[2], "architecture"),
        _size(words[3]),
        _sha256(words[4]),
        _inside(words[5]),
        *(_read_url(more), _read_layer(more)),
        more.get("manual") == ["yes"],
    )


def _dist_words(dist: Dist) -> Words:
    plain = [dist.name, dist.version, str(dist.size), f"sha256:{dist.sha256}", dist.file]
    return [*plain, *_url(dist.url), *_layer(dist.layer)]


def _dist(words: Words, more: Mapping[str, Words]) -> Dist:
    return Dist(
        _fit(_DIST, words[0], "name"),
        _fit(_DIST_VERSION, words[1], "version"),
        _size(words[2]),
        _sha256(words[3]),
        _fit(_FILE, words[4], "file"),
        *(_read_url(more), _read_layer(more)),
    )


def _module_words(module: Module) -> Words:
    bins = [f"bin={name}:{file}" for name, file in module.bins]
    names = [f"name={module.name}"] if module.name else []
    scripts = ["scripts=yes"] if module.scripts else []
    plain = [module.path, module.version, module.integrity]
    return [*plain, *bins, *names, *_url(module.url), *scripts, *_layer(module.layer)]


def _module(words: Words, more: Mapping[str, Words]) -> Module:
    bins = tuple((name, file) for name, _, file in (one.partition(":") for one in more.get("bin", ())))
    names, urls = more.get("name", [""]), more.get("url", [""])
    scripts, layer = more.get("scripts") == ["yes"], _read_layer(more)
    module = Module(words[0], words[1], words[2], names[0], urls[0], bins, scripts, layer)
    if wrong := npm.fault(module):
        raise ValueError(wrong)
    return module


def _remote_words(remote: Remote) -> Words:
    return [remote.url, str(remote.size), f"sha256:{remote.sha256}"]


def _remote(words: Words, _: Mapping[str, Words]) -> Remote:
    ours = re.fullmatch(r"uv:[\w.+-]+", words[0], re.ASCII)  # an interpreter, from where the host has them
    return Remote(words[0] if ours else _fit(_URL, words[0], "address"), _size(words[1]), _sha256(words[2]))


def _repository_words(one: Repository) -> Words:
    named = (("revision", one.revision), ("subdirectory", one.subdirectory))
    return [one.name, one.commit, one.url, *(f"{name}={value}" for name, value in named if value)]


def _repository(words: Words, more: Mapping[str, Words]) -> Repository:
    revision, part = (more.get(name, [""])[0] for name in ("revision", "subdirectory"))
    return Repository(
        _fit(_DIST, words[0], "name"),
        _fit(_COMMIT, words[1], "commit"),
        _fit(_REPOSITORY, words[2], "address"),
        _fit(_REVISION, revision, "revision") if revision else "",
        _fit(_PART, _inside(part), "folder") if part else "",
    )


def _url(url: str) -> Words:
    return [f"url={url}"] if url else []


def _layer(layer: int) -> Words:
    return [f"layer={layer}"] if layer != 1 else []


def _read_url(more: Mapping[str, Words]) -> str:
    return _fit(_URL, more["url"][0], "address") if "url" in more else ""


def _read_layer(more: Mapping[str, Words]) -> int:
    layer = _size(more["layer"][0], "layer") if "layer" in more else 1
    if not 1 <= layer <= LAYERS:
        raise ValueError(f"its layer isn't 1 to {LAYERS}")
    return layer


def _fit(pattern: re.Pattern[str], word: str, what: str) -> str:
    if not pattern.fullmatch(word):
        shown = re.sub(r"//[^/]*@", "//…@", word)  # a password is nobody's business
        raise ValueError(f"{shown!r:.80} is no {what}")
    return word


def _size(word: str, what: str = "size") -> int:
    return int(_fit(_NUMBER, word, what))


def _sha256(word: str) -> str:
    return _fit(_DIGEST, word, "sha256:… digest")[7:]


def _inside(path: str) -> str:
    if path.startswith("/") or ".." in path.split("/") or not _WORD.fullmatch(path):
        raise ValueError(f"{path!r:.80} is no path beneath an archive")
    return path


DEB = Kind(_deb_words, _deb, lambda deb: f"{deb.name}:{deb.arch}")
DIST = Kind(_dist_words, _dist, lambda dist: dist.name)
BUILD = Kind(_dist_words, _dist, lambda dist: dist.file)
"""What source archives are built with: each may want its own version."""
MODULE = Kind(_module_words, _module, lambda module: module.path)
REPOSITORY = Kind(_repository_words, _repository, lambda one: one.name)
REMOTE = Kind(_remote_words, _remote, lambda remote: remote.url)
