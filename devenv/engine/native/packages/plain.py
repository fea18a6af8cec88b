"""A fetched .deb -> whether dpkg, when it unpacks it, does no more than copy its files; if so these, unpacked once.

Plain is a package with nothing that runs before its files are there (preinst, debconf's questions), nothing that dpkg asks
about (conffiles), nothing others wait for (interest in triggers), and only folders, files and links of root's with the usual modes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from devenv.archive import tar
from devenv.crew import each
from devenv.model.lock import Deb

from .deb import BadDeb, Part, Repacked, expect, field, genuine, keep, members, reading, same, uncompressed
from .files import Files
from .tree import Draft, Tree, content, find, making, unfit

LAYOUT = "layout"
"""The file of a tree that isn't the package's."""
INFO = "var/lib/dpkg/info"
_FORM = "1"
_NOTED = frozenset(("md5sums", "postinst", "prerm", "postrm", "triggers", "shlibs", "symbols"))
"""What dpkg keeps of a control.tar beside `control`, and what has a meaning only when the package is configured or goes."""
_MODES = {tar.FILE: (0o644, 0o755), tar.FOLDER: (0o755,)}
_KINDS = {tar.FILE: "file", tar.FOLDER: "folder", tar.SYMLINK: "link"}
_PIECE = 1 << 20


class Line(NamedTuple):
    """An entry of a data.tar: its kind (`file`, `folder`, `link`, or `other`), its path ("" for the root), its time (Unix
    seconds), where a link leads.
    """

    kind: str
    path: str
    mtime: int
    link: str = ""


class Content(NamedTuple):
    """A package's control file and entries, in their order; `fault` says why dpkg must unpack it, "" if it is plain.

    Then `tree` has its files under their paths, and under dpkg's own names what it keeps of the control.tar (`notes`).
    """

    deb: Deb
    control: str
    fault: str
    lines: tuple[Line, ...]
    notes: tuple[Line, ...]
    tree: Tree

    @property
    def noted(self) -> str:
        """How the names of what dpkg keeps of it begin."""
        return _noted(self.deb, self.control)


def contents(
    debs: Sequence[Deb], files: Files, clock: int, stopped: Callable[[], bool] = lambda: False
) -> tuple[Content, ...]:
    """Each fetched package, verified, in the order given; unpacked if it never was, times later than `clock` as `clock`.

    The files of its tree are verified when they are linked. Raises StoreError that names the package, EngineError once `stopped`.
    """
    # Threads: hashlib, lzma and zstandard let go of the interpreter's lock.
    return tuple(each(lambda deb: _one(deb, files, clock), debs, stopped))


def _one(deb: Deb, files: Files, clock: int) -> Content:
    what, key = f"{deb.name} {deb.version}", f"{deb.sha256}-{_FORM}.{clock}"
    with reading(deb):
        raw = genuine(deb, files)
        tree = find(files, what, key)
        if tree is None:
            _unpack(deb, files, raw, key, clock)
            tree = find(files, what, key)
            assert tree is not None  # it has just been made
        layout = json.loads(content(tree, LAYOUT))
        same(deb, layout["control"])
    lines, notes = (tuple(Line(*line) for line in layout[name]) for name in ("lines", "notes"))
    return Content(deb, layout["control"], layout["fault"], lines, notes, tree)


def _noted(deb: Deb, control: str) -> str:
    several = field(control, "Multi-Arch") == "same"  # of several architectures, beside each other
    return f"{INFO}/{deb.name}:{deb.arch}." if several else f"{INFO}/{deb.name}."


# Unpacked once ----------------------------------------------------------------------------------------------------


def _unpack(deb: Deb, files: Files, raw: str, key: str, clock: int) -> None:
    with files.draft() as folder:
        packed = uncompressed(deb, raw, folder)
        with making(files, f"{deb.name} {deb.version}", key) as draft:
            unpacking = _Unpacking(packed, draft, clock)
            unpacking.all()
            draft.add(LAYOUT, False, (unpacking.layout(),))
        if unpacking.fault:
            keep(packed, files)  # dpkg will have it


class _Unpacking:
    """One package on its way into a tree. As soon as a fault is found nothing more is written, and what was goes."""

    def __init__(self, packed: Repacked, draft: Draft, clock: int) -> None:
        self.packed = packed
        self.draft = draft
        self.clock = clock
        self.fault = ""
        self.lines: list[Line] = []
        self.notes: list[Line] = []
        self.seen: set[str] = set()
        self.folders = {""}
        self.noted = _noted(packed.deb, packed.control)
        for name in ("Essential", "Important", "Protected"):
            if field(packed.control, name) == "yes":
                self.fault = name

    def all(self) -> None:
        with open(self.packed.path, "rb") as file:
            parts = members(file, self.packed.size)
            expect(parts, "debian-binary")
            try:
                self._control(expect(parts, "control.tar")[1])
                self._data(expect(parts, "data.tar")[1])
            except tar.BadTar as error:
                raise BadDeb(str(error)) from error
        if self.fault:
            for path in tuple(self.draft.entries):
                self.draft.drop(path)
            self.notes.clear()

    def _control(self, part: Part) -> None:
        source = _Source(part)
        while (entry := source.entry()) is not None:
            body = b"".join(source.pieces(entry.size))
            name = entry.path.removeprefix(b"./").decode(errors="replace")
            if name in ("", ".", "control"):
                continue
            if name not in _NOTED or entry.kind != tar.FILE or entry.mode not in _MODES[tar.FILE]:
                self.fault = self.fault or name
            elif name == "triggers" and b"interest" in body:
                self.fault = self.fault or "interest in triggers"
            elif not self.fault:
                line = Line("file", self.noted + name, self._time(entry))
                self.draft.add(line.path, entry.mode == 0o755, (body,), line.mtime)
                self.notes.append(line)
        if f"{self.noted}md5sums" not in self.draft.entries:
            self.fault = self.fault or "no md5sums"  # dpkg makes them itself

    def _data(self, part: Part) -> None:
        source = _Source(part)
        while (entry := source.entry()) is not None:
            path = entry.path.removeprefix(b"./").rstrip(b"/").decode(errors="surrogateescape")
            link = entry.link.decode(errors="surrogateescape")
            kind = _KINDS.get(entry.kind, "other")
            line = Line(kind, "" if path == "." else path, self._time(entry), link)
            self.fault = self.fault or self._fault(entry, line, source)
            if kind == "file" and not self.fault:
                self.draft.add(line.path, entry.mode == 0o755, source.pieces(entry.size), line.mtime)
            else:
                for _ in source.pieces(entry.size):
                    pass
            self.lines.append(line)
            self.seen.add(line.path)
            if kind == "folder":
                self.folders.add(line.path)

    def _fault(self, entry: tar.Entry, line: Line, source: _Source) -> str:
        """Why dpkg must unpack the package, as far as this entry is concerned."""
        if line.kind == "other" or entry.mode not in _MODES.get(entry.kind, (entry.mode,)):
            return f"{line.path}: its kind or mode"
        if entry.uid or entry.gid or entry.xattrs or not source.ordinary():
            return f"{line.path}: its owner or attributes"
        if line.kind == "link" and not line.link:
            return f"{line.path}: a link to nothing"
        if not line.path:
            return "" if line.kind == "folder" else "its root"
        above = line.path.rpartition("/")[0]
        if line.path in self.seen or above not in self.folders or unfit(line.path):
            return f"{line.path}: its name"
        return "its name is ours" if f"{line.path}/".startswith(("var/lib/dpkg/", f"{LAYOUT}/")) else ""

    def _time(self, entry: tar.Entry) -> int:
        return min(entry.mtime // 1_000_000_000, self.clock)

    def layout(self) -> bytes:
        return json.dumps(
            {"control": self.packed.control, "fault": self.fault, "lines": self.lines, "notes": self.notes}
        ).encode()


class _Source:
    """A member that is a tar."""

    __slots__ = ("_first", "_header", "_part")

    def __init__(self, part: Part) -> None:
        self._part = part
        self._first = self._header = b""

    def take(self, size: int) -> bytes:
        self._header = self._part.read(size)
        self._first = self._first or self._header
        return self._header

    def entry(self) -> tar.Entry | None:
        self._first = b""
        return tar.read(self)

    def ordinary(self) -> bool:
        """Whether the last entry has no pax header, and root's name: to dpkg names say more than numbers."""
        names = (self._header[265:297], self._header[297:329])
        return self._first[156:157] not in b"xg" and all(name.rstrip(b"\0") in (b"", b"root") for name in names)

    def pieces(self, size: int) -> Iterator[bytes]:
        """The bytes of the last entry, and past its padding. Raises BadTar."""
        padding = tar.padding(size)
        while size:
            data = self._part.read(min(size, _PIECE))
            if not data:
                raise tar.BadTar("the archive ends inside a file")
            size -= len(data)
            yield data
        self._part.read(padding)
