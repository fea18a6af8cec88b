"""A verified .deb (deb(5)) -> the same package without compression, kept once, and of those a repository that apt reads.

Nothing is unpacked here: dpkg does that, in a container. Without decompression it needs half the time.
"""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

from devenv.archive import tar
from devenv.archive.stream import Limits, Source, decompressed
from devenv.beneath import remove_tree
from devenv.crew import each
from devenv.errors import StoreError
from devenv.model.lock import Deb

from ..trouble import trouble
from .files import Files, place, used

_MAGIC = b"!<arch>\n"
_CHUNK = 1 << 20
_CONTROL = 32 << 20  # bytes of an unpacked control.tar; a kernel's, with its 7,000 checksums, has 1 MiB
_DATA = 8 << 30  # bytes of an unpacked data.tar; ar's size field ends at 10^10
_RATIO_FLOOR = 64 << 20
_RATIO = 500
_ANY = Limits(ratio=1 << 40)  # ours count
_XZ_MEMORY = 256 << 20  # `xz -9` asks for 65 MiB
_SUFFIXES = ("", ".gz", ".xz", ".zst")
_OURS = frozenset(("filename", "size", "md5sum", "sha1", "sha256", "sha512"))
_FORMS = tuple(
    map(re.compile, (r"[a-z0-9][a-z0-9+.-]*", r"[0-9][0-9A-Za-z.+:~-]*", r"[a-z0-9][a-z0-9-]*", r"[0-9a-f]{64}"))
)
"""Of a name, a version (deb-version(7)), an architecture, a digest: they become names of files."""


class BadDeb(Exception):
    """The bytes aren't a Debian package we accept; the text says why."""


class Repacked(NamedTuple):
    """A package without compression: where it is ("": nowhere, nobody will read it), its own sha256 and size, its control file."""

    deb: Deb
    path: str
    sha256: str
    size: int
    control: str

    @property
    def file(self) -> str:
        """As apt itself names it: an epoch's colon is escaped."""
        return f"{self.deb.name}_{self.deb.version.replace(':', '%3a')}_{self.deb.arch}.deb"


def repacked(debs: Sequence[Deb], files: Files, stopped: Callable[[], bool] = lambda: False) -> tuple[Repacked, ...]:
    """Each fetched package repacked, in the order given; what was repacked before is only checked.

    Raises StoreError that names the package when it, or what was kept of it, isn't what it was (then that is removed), EngineError
    once `stopped`.
    """
    # Threads: hashlib, lzma and zstandard let go of the interpreter's lock.
    return tuple(each(lambda deb: _one(deb, files), debs, stopped))


def _one(deb: Deb, files: Files) -> Repacked:
    with reading(deb):
        # The package too, though what was made of it would do: whoever changed one of them may have meant the other.
        raw = genuine(deb, files)
        found = _kept(deb, files)
        if found is None:
            with files.draft() as draft:
                found = keep(uncompressed(deb, raw, draft), files)
        same(deb, found.control)
    return found


@contextmanager
def reading(deb: Deb) -> Iterator[None]:
    """What is wrong with a package's bytes, as StoreError that names it."""
    try:
        yield
    except BadDeb as error:
        raise StoreError(
            f"read {deb.name} {deb.version}: {error}",
            hint=f"is it a Debian package? `devenv lock --upgrade {deb.name}` looks anew",
        ) from error


def genuine(deb: Deb, files: Files) -> str:
    """The path of the fetched package, verified. Raises BadDeb, StoreError."""
    if not all(form.fullmatch(word) for form, word in zip(_FORMS, (*deb[:3], deb.sha256), strict=True)):
        raise BadDeb("no package is called that")
    return files.verified(f"{deb.name} {deb.version}", deb.sha256, deb.size)


def repository(folder: str, debs: Sequence[Repacked]) -> None:
    """Make `folder` a flat repository (`deb [trusted=yes] file:… ./`) of hard links. Equal packages give equal bytes."""
    remove_tree(folder)
    os.makedirs(folder)
    os.chmod(folder, 0o755)
    ordered = sorted(debs, key=lambda one: (one.deb.name, one.deb.version, one.deb.arch))
    for one in ordered:
        if one.path:
            os.link(one.path, f"{folder}/{one.file}")
    with open(f"{folder}/Packages", "w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        file.write("".join(_stanza(one) for one in ordered))
        os.fchmod(file.fileno(), 0o644)  # whatever the umask


def _stanza(one: Repacked) -> str:
    kept = "".join(text for name, text in paragraph(one.control) if name.lower() not in _OURS)
    return f"{kept}Filename: ./{one.file}\nSize: {one.size}\nSHA256: {one.sha256}\n\n"


def field(control: str, name: str) -> str:
    """A field's first line, "" when it isn't there."""
    found = (text for field, text in paragraph(control) if field.lower() == name.lower())
    return next(found, ":").partition(":")[2].partition("\n")[0].strip()


def paragraph(control: str) -> list[tuple[str, str]]:
    """(field, its text with the lines that continue it) of a control file (deb-control(5)). Raises BadDeb."""
    found: list[tuple[str, str]] = []
    for line in control.rstrip("\n").split("\n"):
        if line[:1] in (" ", "\t") and line.strip() and found:
            found[-1] = (found[-1][0], f"{found[-1][1]}{line}\n")
            continue
        name, colon, _ = line.partition(":")
        # An empty line would begin another package's paragraph in `Packages`.
        if not colon or not name.isascii() or not name.replace("-", "").isalnum():
            raise BadDeb(
                f"its control file has a line that is no field: {tar.show(line[:60].encode(errors='replace'))}"
            )
        found.append((name, f"{line}\n"))
    return found


# Kept -----------------------------------------------------------------------------------------------------------


def _places(deb: Deb, files: Files) -> tuple[str, str]:
    """Of the package, and of the note of what it should be."""
    return f"{files.folder}/unpacked/{deb.sha256}.deb", f"{files.folder}/unpacked/{deb.sha256}.control"


def _kept(deb: Deb, files: Files) -> Repacked | None:
    """What was repacked before, checked; None when it never was, or a power loss left it short."""
    path, note = _places(deb, files)
    try:
        with open(note, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            words, control = file.readline().split(), file.read()
        size = os.stat(path).st_size
    except FileNotFoundError:
        return None
    if len(words) != 3 or words[1] != str(size):
        return None
    if words[2] != _sha256_text(control) or words[0] != _sha256(path):
        remove_tree(path)
        remove_tree(note)
        raise StoreError(
            f"use {deb.name} {deb.version}: {path} isn't what was put there",
            hint="it was changed, and is removed; the next command makes it again",
        )
    used(path)
    used(note)
    return Repacked(deb, path, words[0], size, control)


def uncompressed(deb: Deb, raw: str, draft: str) -> Repacked:
    """The package at `raw`, in the folder `draft` without compression. Raises BadDeb."""
    path = f"{draft}/deb"
    with trouble(f"unpack {deb.name}"), open(raw, "rb") as packed, open(path, "wb") as out:
        control = _write(packed, deb.size, out)
        os.fchmod(out.fileno(), 0o644)  # whatever the umask: dpkg's user is another
    return Repacked(deb, path, _sha256(path), os.stat(path).st_size, control)


def keep(found: Repacked, files: Files) -> Repacked:
    """Move it from its draft to where it stays."""
    path, note = _places(found.deb, files)
    draft = f"{found.path}.control"
    with trouble(f"unpack {found.deb.name}"):
        with open(draft, "w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            file.write(f"{found.sha256} {found.size} {_sha256_text(found.control)}\n{found.control}")
        place(found.path, path)
        place(draft, note)
    return found._replace(path=path)


def same(deb: Deb, control: str) -> None:
    """The lock's words and the package's must agree: apt is asked for the former and installs the latter."""
    own = tuple(field(control, name) for name in ("Package", "Version", "Architecture"))
    if own != deb[:3]:
        raise BadDeb(f"it is {' '.join(own)}, not {' '.join(deb[:3])}")


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256_text(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


# The format -----------------------------------------------------------------------------------------------------


class Part:
    """The bytes of one member."""

    __slots__ = ("_file", "left", "read_so_far")

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self.left = size
        self.read_so_far = 0

    def read(self, size: int, /) -> bytes:
        data = self._file.read(min(size, self.left))
        self.left -= len(data)
        self.read_so_far += len(data)
        return data


def _write(raw: BinaryIO, size: int, out: BinaryIO) -> str:
    """Write the package without compression; its control file."""
    parts = members(raw, size)
    expect(parts, "debian-binary")
    control = b"".join(_uncompressed(*expect(parts, "control.tar"), _CONTROL))
    out.write(_MAGIC + _header("debian-binary", 4) + b"2.0\n")
    out.write(_header("control.tar", len(control)) + control + b"\n" * (len(control) % 2))
    name, part = expect(parts, "data.tar")
    at = out.tell()
    out.write(_header("data.tar", 0))
    for chunk in _uncompressed(name, part, _DATA):
        out.write(chunk)
    length = out.tell() - at - len(_header("data.tar", 0))
    out.write(b"\n" * (length % 2))
    out.seek(at)
    out.write(_header("data.tar", length))
    return _control_file(control)


def _header(name: str, size: int) -> bytes:
    return b"%-16s%-12d%-6d%-6d%-8s%-10d`\n" % (name.encode(), 0, 0, 0, b"100644", size)


def members(raw: BinaryIO, size: int) -> Iterator[tuple[str, Part]]:
    """(name, bytes) of the archive's members. What isn't read of one is passed over."""
    if raw.read(len(_MAGIC)) != _MAGIC:
        raise BadDeb("it isn't a Debian package")
    at = len(_MAGIC)
    while at < size:
        header = raw.read(60)
        if len(header) < 60 or header[58:] != b"`\n":
            raise BadDeb(f"no member's header at byte {at}")
        length = header[48:58].strip()
        if not length.isdigit() or at + 60 + int(length) > size:
            raise BadDeb(f"a member at byte {at} whose size lies")
        yield header[:16].rstrip().removesuffix(b"/").decode("ascii", "replace"), Part(raw, int(length))
        at += 60 + int(length) + int(length) % 2
        raw.seek(at)


def expect(parts: Iterator[tuple[str, Part]], name: str) -> tuple[str, Part]:
    """The next member, which must be `name` (with a known compression); those that begin with `_` aren't for us (deb(5))."""
    found, part = next((one for one in parts if not one[0].startswith("_")), ("nothing", None))
    suffix = found.removeprefix(name)
    if part is None or not found.startswith(name) or suffix not in _SUFFIXES:
        raise BadDeb(f"{tar.show(found.encode())} where {name} is expected")
    if name == "debian-binary" and not part.read(16).startswith(b"2."):
        raise BadDeb("a format other than 2")
    return found, part


def _uncompressed(name: str, part: Part, limit: int) -> Iterator[bytes]:
    """A member's bytes in chunks. Raises BadDeb when they are broken, too many, or far more than their packed size."""
    chunks = _unxz(part) if name.endswith(".xz") else decompressed(part, _ANY)
    unpacked = 0
    try:
        for chunk in chunks:
            unpacked += len(chunk)
            if unpacked > limit or (unpacked > _RATIO_FLOOR and unpacked > part.read_so_far * _RATIO):
                raise BadDeb(f"{name} is a bomb: {part.read_so_far} bytes of it unpack to {unpacked} and more")
            yield chunk
    except (tar.BadTar, zlib.error) as error:
        raise BadDeb(f"{name}: {error}") from error
    if part.left:
        raise BadDeb(f"{name}: something comes after its end")


def _unxz(part: Part) -> Iterator[bytes]:
    import lzma

    stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
    try:
        while not stream.eof:
            data = part.read(_CHUNK) if stream.needs_input else b""
            if stream.needs_input and not data:
                raise tar.BadTar("the xz stream ends too early")
            if chunk := stream.decompress(data, _CHUNK):
                yield chunk
    except lzma.LZMAError as error:
        raise tar.BadTar(str(error)) from error
    if stream.unused_data:
        raise tar.BadTar("something comes after its end")


def _control_file(data: bytes) -> str:
    """The file `control` in an uncompressed control.tar; of several, dpkg too has the last."""
    source = Source(iter((data,)), Limits(bytes=len(data)))
    found: bytes | None = None
    try:
        while (entry := tar.read(source)) is not None:
            body = source.take(entry.size + tar.padding(entry.size))[: entry.size]
            if entry.path.removeprefix(b"./") == b"control":
                found = body if entry.kind == tar.FILE else None
    except tar.BadTar as error:
        raise BadDeb(f"control.tar: {error}") from error
    if found is None:
        raise BadDeb("control.tar has no file `control`")
    text = found.decode("utf-8", "surrogateescape")
    paragraph(text)
    return text
