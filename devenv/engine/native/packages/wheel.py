"""A verified wheel → the tree of what it installs into a virtual environment ("Binary distribution format", packaging.python.org).

Nothing of it is executed. The tree's top is the environment's own folder, which is /opt/venv in every image.
"""

from __future__ import annotations

import base64
import configparser
import csv
import hashlib
import io
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import NamedTuple

from devenv.errors import StoreError
from devenv.model.lock import Dist

from .files import Files
from .tree import Draft, Entry, Tree, find, making

VENV = "/opt/venv"
_SHEBANG = f"#!{VENV}/bin/python".encode()
_RULES = 1
"""Of unpacking. Trees made by others aren't taken: an image must not depend on who unpacked first."""

_CHUNK = 1 << 20
_MAX_ENTRIES = 500_000
_MAX_BYTES = 64 << 30
_RATIO = 500
_RATIO_FLOOR = 64 << 20
_MAX_TEXT = 64 << 20
_HASHES = ("sha256", "sha384", "sha512")
_OWN = ("RECORD", "RECORD.jws", "RECORD.p7s", "INSTALLER", "REQUESTED", "direct_url.json")
"""What whoever installs writes, or has no use for."""
_ENTRY = re.compile(r"(?P<module>\w+(\.\w+)*)\s*:\s*(?P<call>\w+(\.\w+)*)\s*(\[[^\]]*\]\s*)?")
_PIP = re.compile(r"pip\d*(\.\d+)?")
_SCRIPT = """\
{shebang}
# -*- coding: utf-8 -*-
import sys
from {module} import {name}
if __name__ == "__main__":
    if sys.argv[0].endswith("-script.pyw"):
        sys.argv[0] = sys.argv[0][:-11]
    elif sys.argv[0].endswith(".exe"):
        sys.argv[0] = sys.argv[0][:-4]
    sys.exit({call}())
"""


class _Wheel(NamedTuple):
    """An open wheel: its files by name, the stem of its two folders (`flask-3.0.0`), and where things go."""

    what: str
    archive: zipfile.ZipFile
    members: Mapping[str, zipfile.ZipInfo]
    stem: str
    python: str

    @property
    def info(self) -> str:
        return f"{self.stem}.dist-info"

    @property
    def site(self) -> str:
        return f"lib/python{self.python}/site-packages"


def unpacked(files: Files, dist: Dist, python: str) -> Tree:
    """The wheel's tree for Python `python` (`3.11`), unpacked if it isn't yet. StoreError says what is wrong with it."""
    what = f"{dist.name} {dist.version}"
    key = f"{dist.sha256}-{_RULES}.{python}"
    found = find(files, what, key)
    if found is None:
        path = files.verified(what, dist.sha256, dist.size)
        with making(files, what, key) as draft:
            _unpack(path, dist, what, python, draft)
        found = find(files, what, key)
    if found is None:
        raise StoreError(f"use {what}: what was unpacked is gone again", hint="run the command again")
    return found


def _unpack(path: str, dist: Dist, what: str, python: str, draft: Draft) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive, what, os.stat(path).st_size)
            wheel = _Wheel(what, archive, members, _stem(members, dist, what), python)
            _install(wheel, draft)
    # zipfile's: another archive, another version of zip, cut short. Those of what is in it: no UTF-8, no base64, no number
    # (ValueError), a header folded without end (RecursionError). A wheel is anybody's.
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RecursionError) as error:
        raise _broken(what, str(error) or type(error).__name__) from error


def _broken(what: str, cause: str) -> StoreError:
    hint = f"the wheel itself is like that: `devenv lock --upgrade {what.split()[0]}`, or another version"
    return StoreError(f"unpack {what}: {cause}", hint=hint)


def _members(archive: zipfile.ZipFile, what: str, size: int) -> dict[str, zipfile.ZipInfo]:
    """The files in it, by name; nothing is unpacked yet."""
    found: dict[str, zipfile.ZipInfo] = {}
    listed = archive.infolist()
    total = sum(info.file_size for info in listed)
    if len(listed) > _MAX_ENTRIES or total > _MAX_BYTES:
        raise _broken(what, f"{len(listed)} files of {total} bytes are more than are accepted")
    if total > size * _RATIO + _RATIO_FLOOR:
        raise _broken(what, f"a bomb, more than {_RATIO} times its compressed size")
    for info in listed:
        name = info.filename
        kind = stat.S_IFMT(info.external_attr >> 16)
        if info.orig_filename != name:
            raise _broken(what, f"{info.orig_filename!r} is no path of a file")
        if name in found:
            raise _broken(what, f"{name!r} is in it twice")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _broken(what, f"{name!r} is neither file nor folder")
        if info.flag_bits & 0x1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _broken(what, f"{name!r} is encrypted, or compressed otherwise than by deflate")
        if not info.is_dir():
            found[name] = info
    return found


def _stem(members: Mapping[str, zipfile.ZipInfo], dist: Dist, what: str) -> str:
    """What precedes `.dist-info`: there is one such folder, and it is the distribution's (PEP 427)."""
    from packaging.utils import canonicalize_name

    folders = {
        top for top, slash, _ in (name.partition("/") for name in members) if slash and top.endswith(".dist-info")
    }
    if len(folders) != 1:
        raise _broken(what, f"it has {len(folders)} .dist-info folders instead of one")
    stem = folders.pop().removesuffix(".dist-info")
    name, _, version = stem.rpartition("-")
    if canonicalize_name(name) != canonicalize_name(dist.name) or not _is_same(version, dist.version):
        raise _broken(what, f"it says that it is {name} {version}")
    return stem


def _is_same(one: str, other: str) -> bool:
    from packaging.version import InvalidVersion, Version

    try:
        return Version(one.replace("_", "-")) == Version(other)
    except InvalidVersion:
        return one == other


# Installing ---------------------------------------------------------------------------------------


def _install(wheel: _Wheel, draft: Draft) -> None:
    said = _email(_text(wheel, f"{wheel.info}/WHEEL"))
    if said.get("wheel-version", "").partition(".")[0] != "1":
        raise _broken(wheel.what, f"its format is {said.get('wheel-version', 'none')!r}, not 1.x")
    record = _record(_text(wheel, f"{wheel.info}/RECORD"))
    for name in sorted(wheel.members):
        target, is_script = _target(wheel, name)
        if not target:
            continue
        executable = is_script or bool(wheel.members[name].external_attr >> 16 & 0o111)
        pieces = _compared(wheel, name, record.get(name, ("", "")))
        _add(wheel, draft, target, executable, _rewritten(pieces) if is_script else pieces)
    for name, text in _scripts(wheel):
        _add(wheel, draft, f"bin/{name}", True, [text.encode()])
    _add(wheel, draft, f"{wheel.site}/{wheel.info}/INSTALLER", False, [b"devenv"])
    path = f"{wheel.site}/{wheel.info}/RECORD"
    _add(wheel, draft, path, False, [_installed(wheel, path, draft.entries.values())])


def _add(wheel: _Wheel, draft: Draft, path: str, executable: bool, pieces: Iterable[bytes]) -> None:
    if path in ("pyvenv.cfg", "bin/activate", "bin/python", "bin/python3", f"bin/python{wheel.python}"):
        raise _broken(wheel.what, f"it would replace {path} of the virtual environment")
    draft.add(path, executable, pieces)


def _target(wheel: _Wheel, name: str) -> tuple[str, bool]:
    """Where a file of the wheel goes, "" for nowhere, and whether it is a script."""
    top, _, rest = name.partition("/")
    if top == wheel.info and rest in _OWN:
        return "", False
    if top != f"{wheel.stem}.data":
        return f"{wheel.site}/{name}", False
    kind, _, rest = rest.partition("/")
    if kind in ("purelib", "platlib"):
        return f"{wheel.site}/{rest}", False
    if kind == "headers":
        return f"include/site/python{wheel.python}/{wheel.stem.rpartition('-')[0]}/{rest}", False
    if kind == "scripts":
        return f"bin/{rest}", True
    if kind == "data":
        return rest, False
    raise _broken(wheel.what, f"{name!r} is of no kind that is known")


def _pieces(wheel: _Wheel, name: str) -> Iterator[bytes]:
    with wheel.archive.open(wheel.members[name]) as file:
        while piece := file.read(_CHUNK):
            yield piece


def _text(wheel: _Wheel, name: str) -> str:
    info = wheel.members.get(name)
    if info is None:
        raise _broken(wheel.what, f"it has no {name}")
    if info.file_size > _MAX_TEXT:
        raise _broken(wheel.what, f"its {name} has {info.file_size} bytes")
    return b"".join(_pieces(wheel, name)).decode()


def _email(text: str) -> dict[str, str]:
    pairs = (line.partition(":")[::2] for line in text.splitlines())
    return {key.strip().lower(): value.strip() for key, value in pairs}


def _record(text: str) -> dict[str, tuple[str, str]]:
    """path → (algorithm, digest). Files it doesn't name, and those it has no digest for, count as they are."""
    rows = csv.reader(io.StringIO(text, newline=""))
    digests = ((row[0], row[1].partition("=")) for row in rows if len(row) == 3)
    return {path: (algorithm, digest) for path, (algorithm, _, digest) in digests if digest}


def _compared(wheel: _Wheel, name: str, wanted: tuple[str, str]) -> Iterator[bytes]:
    """A file's bytes; at their end, whether they are what RECORD says."""
    algorithm, digest = wanted
    if algorithm and algorithm not in _HASHES:
        raise _broken(wheel.what, f"its RECORD has a digest by {algorithm!r} for {name}")
    hashed = hashlib.new(algorithm) if algorithm else None
    for piece in _pieces(wheel, name):
        if hashed is not None:
            hashed.update(piece)
        yield piece
    if hashed is not None and _encoded(hashed.digest()) != digest.rstrip("="):
        raise _broken(wheel.what, f"{name} isn't what its RECORD says")


def _rewritten(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """A script, with the environment's Python where it says `#!python`."""
    first = next(pieces, b"")
    if first.startswith(b"#!python"):
        line, newline, rest = first.partition(b"\n")
        _, space, arguments = line.rstrip(b"\r").partition(b" ")
        first = _SHEBANG + space + arguments + newline + rest
    return chain((first,), pieces)


def _scripts(wheel: _Wheel) -> Iterator[tuple[str, str]]:
    """(name, text) of the commands that its entry points name."""
    if f"{wheel.info}/entry_points.txt" not in wheel.members:
        return
    parser = configparser.RawConfigParser(delimiters=("=",), strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        parser.read_string(_text(wheel, f"{wheel.info}/entry_points.txt"))
    except configparser.Error as error:
        raise _broken(wheel.what, f"its entry_points.txt: {error.message.splitlines()[0]}") from error
    commands = {
        name: value
        for kind in ("gui_scripts", "console_scripts")
        if kind in parser
        for name, value in parser[kind].items()
    }
    if pip := commands.get("pip"):  # as pip itself does: by the version of this Python, whatever the wheel says
        commands = {name: value for name, value in commands.items() if not _PIP.fullmatch(name)}
        commands |= dict.fromkeys(("pip", f"pip{wheel.python.partition('.')[0]}", f"pip{wheel.python}"), pip)
    for name, value in sorted(commands.items()):
        found = _ENTRY.fullmatch(value.strip())
        if found is None or "/" in name:
            raise _broken(wheel.what, f"its entry point {name!r} = {value!r} is none")
        call = found["call"]
        yield (
            name,
            _SCRIPT.format(shebang=_SHEBANG.decode(), module=found["module"], name=call.partition(".")[0], call=call),
        )


def _installed(wheel: _Wheel, own: str, entries: Iterable[Entry]) -> bytes:
    """RECORD of what is installed, as uv writes it: by path, beneath site-packages or from there."""
    rows = [
        (os.path.relpath(one.path, wheel.site), f"sha256={_encoded(bytes.fromhex(one.sha256))}", str(one.size))
        for one in entries
    ]
    rows.append((os.path.relpath(own, wheel.site), "", ""))
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(sorted(rows))
    return text.getvalue().encode()


def _encoded(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
