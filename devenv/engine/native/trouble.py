"""The seam where the machine's own troubles (disk full, read-only, I/O error, a damaged database) become an EngineError."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from devenv.errors import FREE_SPACE, EngineError

from .records.state import DatabaseError, explain

_FIXES = {
    errno.ENOSPC: f"{FREE_SPACE}: `devenv gc` removes what nothing needs; `df -h` and `df -i` show what is full",
    errno.EDQUOT: "free some of your quota: `devenv gc` removes what nothing needs",
    errno.EROFS: "make it writable, or put the store elsewhere with DEVENV_HOME",
    errno.EIO: "the disk fails: see `dmesg`; put the store elsewhere with DEVENV_HOME",
    errno.EMFILE: "allow more open files: ulimit -n",
    errno.ENFILE: "allow more open files: sysctl fs.file-max",
    errno.EACCES: "the store belongs to another user: see `ls -ld` on it",
}


@contextmanager
def trouble(doing: str) -> Iterator[None]:
    """`doing` is `verb object`. Also a decorator. What is an EngineError already passes through."""
    try:
        yield
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        cause = error.strerror or str(error)
        raise EngineError(f"{doing}: {where}{cause}", hint=_FIXES.get(error.errno or 0, "")) from error
    except DatabaseError as error:
        raise explain(error, doing) from error
