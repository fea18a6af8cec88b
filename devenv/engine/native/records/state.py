"""The engine's SQLite state: what is in it is valid, what is not in it is rubbish. The only module with sqlite3.

Files are synced before the row that vouches for them is committed. A layer row carries the boot id it was
made in until its files are known to be on disk: after a power loss such rows don't count, after a mere kill they do.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count, islice
from typing import NamedTuple

from devenv.errors import StoreError
from devenv.lives import alive, boot_id, process_start

from .schema import SCHEMA, STEPS, TABLES

_DAY = 86400
_PATIENCE = 30.0  # seconds to wait for others who write


class Owner(NamedTuple):
    """A process that holds something: it counts only while this very process lives."""

    pid: int
    start: int
    boot: str


def this_process() -> Owner:
    """The calling process as an owner."""
    pid = os.getpid()
    return Owner(pid, process_start(pid) or 0, boot_id())


DatabaseError = sqlite3.Error
"""What a damaged, locked or full database raises, for the seam that translates it."""

_DAMAGED = "the database is damaged: move it aside, then `devenv up` in each project: what runs is ended, images are built again, volumes stay"


def explain(error: sqlite3.Error, doing: str) -> StoreError:
    """Our error for one of SQLite's; OperationalError is the disk's or a lock's trouble, the others mean damage."""
    damaged = not isinstance(error, sqlite3.OperationalError)
    return StoreError(f"{doing}: state.db: {error}", hint=_DAMAGED if damaged else "")


class State:
    """One connection. Short transactions; `durable` ones are on disk when they return."""

    def __init__(self, path: str) -> None:
        try:
            self.db = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
            self._switch_to_wal()
            self.db.execute("PRAGMA synchronous = NORMAL")
            self.db.execute("PRAGMA foreign_keys = ON")
            self._migrate()
        except sqlite3.DatabaseError as error:
            raise explain(error, f"open {path}") from error
        self.boot = boot_id()

    def _switch_to_wal(self) -> None:
        """SQLite doesn't wait here by itself: a reader that becomes a writer could wait for another that does the same.

        All who open a new store at once do that; one wins, and for the others there is nothing left to switch.
        """
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                self.db.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(0.005)

    def _migrate(self) -> None:
        (version,) = self.db.execute("PRAGMA user_version").fetchone()
        if version == SCHEMA:
            return
        if version > SCHEMA:
            raise StoreError(
                f"open state: schema {version} is newer than this devenv knows ({SCHEMA})",
                hint="use the devenv that made this store, or another DEVENV_HOME",
            )
        with self.transaction():
            (version,) = self.db.execute("PRAGMA user_version").fetchone()
            steps = [TABLES] if version == 0 else [STEPS[number] for number in range(version, SCHEMA)]
            for statement in ";\n".join(steps).split(";\n"):  # none, if somebody else got here first
                self.db.execute(statement)
            self.db.execute(f"PRAGMA user_version = {SCHEMA}")

    def close(self) -> None:
        self.db.close()

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """All or nothing. With `durable`, the commit survives power loss (one fsync)."""
        self.db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield self.db
        except BaseException:
            self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")

    # Settings ------------------------------------------------------------------------------------

    def setting(self, name: str) -> str | None:
        row = self.db.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set(self, name: str, value: str) -> None:
        self.db.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", (name, value))

    # Environments --------------------------------------------------------------------------------

    def register(self, identifier: str, name: str, folder: str, variant: str) -> None:
        """Write an environment down, or its new name; a new one has the smallest number that nobody has."""
        known = self.db.execute("SELECT name FROM environment WHERE folder = ? AND variant = ?", (folder, variant))
        if known.fetchone() == (name,):
            return
        with self.transaction() as db:
            taken = {number for (number,) in db.execute("SELECT number FROM environment")}
            number = next(number for number in count(1) if number not in taken)
            db.execute(
                "INSERT INTO environment (id, name, folder, variant, number) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (folder, variant) DO UPDATE SET name = excluded.name",
                (identifier, name, folder, variant, number),
            )

    def group(self, environment: str) -> int:
        """The number of an environment, at least 1; 0 for none that is registered."""
        row = self.db.execute("SELECT number FROM environment WHERE id = ?", (environment,)).fetchone()
        return 0 if row is None else int(row[0])

    # Slots ---------------------------------------------------------------------------------------

    def claim_slot(self, owner: Owner, container: str | None = None) -> int | None:
        """Take a wired, free slot for a command, or for a container; None when there is none."""
        with self.transaction():
            for number in self._free_slots():
                self._hold(number, owner, container)
                return number
        return None

    def new_slots(self, count: int, owner: Owner, offered: Iterable[int]) -> list[int]:
        """Reserve the first `count` of the numbers offered that aren't wired, for `owner` to wire."""
        with self.transaction():
            self.free_dead_owners()
            taken = {
                number
                for number, boot, container, pid in self.db.execute("SELECT number, boot, container, pid FROM slot")
                if boot == self.boot or container is not None or pid is not None
            }
            numbers = list(islice((number for number in offered if number not in taken), count))
            for number in numbers:
                self._hold(number, owner, None)
            return numbers

    def hold_slot(self, number: int, owner: Owner) -> bool:
        """Take this very slot for a command that will wire it; False when another living command has it."""
        with self.transaction():
            self.free_dead_owners()
            row = self.db.execute("SELECT pid FROM slot WHERE number = ?", (number,)).fetchone()
            if row is not None and row[0] is not None:
                return False
            self.db.execute(
                "INSERT INTO slot (number, pid, pid_start, pid_boot) VALUES (?, ?, ?, ?) ON CONFLICT (number) DO UPDATE"
                " SET pid = excluded.pid, pid_start = excluded.pid_start, pid_boot = excluded.pid_boot",
                (number, *owner),
            )
            return True

    def slots_wired(self, numbers: Sequence[int]) -> None:
        """These are pinned and wired in this boot, and free unless a container has them."""
        with self.transaction():
            self.db.executemany(
                "UPDATE slot SET boot = ?, pid = NULL, pid_start = NULL, pid_boot = NULL WHERE number = ?",
                [(self.boot, number) for number in numbers],
            )

    def slot_wired(self, number: int) -> bool:
        """Whether this slot's namespaces were pinned in this boot."""
        row = self.db.execute("SELECT boot FROM slot WHERE number = ?", (number,)).fetchone()
        return row is not None and row[0] == self.boot

    def give_slot(self, number: int, container: str) -> None:
        """From the command that claimed it to a container."""
        self.db.execute(
            "UPDATE slot SET container = ?, pid = NULL, pid_start = NULL, pid_boot = NULL WHERE number = ?",
            (container, number),
        )

    def release_slot(self, number: int) -> None:
        """Free again, still wired."""
        self.db.execute(
            "UPDATE slot SET container = NULL, pid = NULL, pid_start = NULL, pid_boot = NULL WHERE number = ?",
            (number,),
        )

    def drop_slots(self, numbers: Sequence[int]) -> None:
        """These are no longer wired."""
        with self.transaction():
            self.db.executemany("DELETE FROM slot WHERE number = ? AND container IS NULL", [(n,) for n in numbers])
            self.db.executemany("UPDATE slot SET boot = NULL WHERE number = ?", [(n,) for n in numbers])

    def spare_slots(self) -> list[int]:
        """Wired slots that nobody holds."""
        return self._free_slots()

    def take_slot(self, number: int, owner: Owner) -> bool:
        """Take this very spare; False when it isn't one any more."""
        cursor = self.db.execute(
            "UPDATE slot SET pid = ?, pid_start = ?, pid_boot = ?"
            " WHERE number = ? AND boot = ? AND container IS NULL AND pid IS NULL",
            (*owner, number, self.boot),
        )
        return cursor.rowcount == 1

    def known_slots(self) -> list[tuple[int, bool, str | None]]:
        """(number, wired in this boot, container) of all."""
        rows = self.db.execute("SELECT number, boot, container FROM slot ORDER BY number")
        return [(number, boot == self.boot, container) for number, boot, container in rows]

    def slots_at_work(self) -> frozenset[int]:
        """Slots of commands that live."""
        rows = self.db.execute("SELECT number, pid, pid_start, pid_boot FROM slot WHERE pid IS NOT NULL")
        return frozenset(number for number, pid, start, boot in rows if alive(pid, start, boot, self.boot))

    def dead_owners(self) -> frozenset[int]:
        """The slots of commands that died."""
        rows = self.db.execute("SELECT number, pid, pid_start, pid_boot FROM slot WHERE pid IS NOT NULL").fetchall()
        return frozenset(number for number, pid, start, boot in rows if not alive(pid, start, boot, self.boot))

    def free_dead_owners(self) -> None:
        """Slots of commands that died: their namespaces can't be trusted to be idle, so they count as not wired."""
        for number in self.dead_owners():
            self.db.execute(
                "UPDATE slot SET boot = NULL, pid = NULL, pid_start = NULL, pid_boot = NULL WHERE number = ?", (number,)
            )

    def _free_slots(self) -> list[int]:
        rows = self.db.execute(
            "SELECT number FROM slot WHERE boot = ? AND container IS NULL AND pid IS NULL ORDER BY number",
            (self.boot,),
        )
        return [row[0] for row in rows]

    def _hold(self, number: int, owner: Owner, container: str | None) -> None:
        if container is None:
            self.db.execute(
                "INSERT INTO slot (number, pid, pid_start, pid_boot) VALUES (?, ?, ?, ?) ON CONFLICT (number) DO UPDATE"
                " SET pid = excluded.pid, pid_start = excluded.pid_start, pid_boot = excluded.pid_boot",
                (number, *owner),
            )
        else:
            self.db.execute("UPDATE slot SET container = ? WHERE number = ?", (container, number))

    # Layers and images -----------------------------------------------------------------------------

    def layer(self, key: str) -> int | None:
        """The layer a step with this key made, if it counts."""
        row = self.db.execute("SELECT id, boot FROM layer WHERE key = ?", (key,)).fetchone()
        return row[0] if row is not None and row[1] in (None, self.boot) else None

    def layer_size(self, identifier: int) -> int | None:
        """Bytes of its files; None for a layer that doesn't count."""
        row = self.db.execute("SELECT size, boot FROM layer WHERE id = ?", (identifier,)).fetchone()
        return row[0] if row is not None and row[1] in (None, self.boot) else None

    def layer_used(self, identifier: int) -> None:
        """Remember, to the day, that a build took it from the store."""
        now = time.time()
        self.db.execute("UPDATE layer SET used = ? WHERE id = ? AND used < ?", (now, identifier, now - _DAY))

    def layer_blob(self, identifier: int) -> tuple[str, int] | None:
        """Digest (the diff id) and size of the layer's tar, None as long as nobody asked for them."""
        row = self.db.execute("SELECT diff_id, blob_size FROM layer WHERE id = ?", (identifier,)).fetchone()
        return None if row is None or row[0] is None else (row[0], row[1])

    def reserve_layer(self) -> int:
        """A number no other layer has or had."""
        with self.transaction():
            now = time.time()
            # A row with boot '' never counts; it only takes the number.
            cursor = self.db.execute("INSERT INTO layer (boot, created, used) VALUES ('', ?, ?)", (now, now))
            assert cursor.lastrowid is not None
            return cursor.lastrowid

    def layer_made(self, identifier: int, key: str | None, size: int, parent: str = "") -> int:
        """The folder of a reserved layer is whole. Returns the id that counts: another's, if it was quicker with the same key."""
        with self.transaction():
            if key is not None:
                row = self.db.execute("SELECT id, boot FROM layer WHERE key = ?", (key,)).fetchone()
                if row is not None and row[1] in (None, self.boot):
                    self.db.execute("DELETE FROM layer WHERE id = ?", (identifier,))
                    return int(row[0])
                self.db.execute("UPDATE layer SET key = NULL, boot = '' WHERE key = ?", (key,))
            self.db.execute(
                "UPDATE layer SET key = ?, size = ?, boot = ?, used = ?, parent = ? WHERE id = ?",
                (key, size, self.boot, time.time(), parent or None, identifier),
            )
            return identifier

    def siblings(self, parent: str, limit: int) -> list[int]:
        """The newest layers that were made on the root with this key."""
        rows = self.db.execute(
            "SELECT id FROM layer WHERE parent = ? AND (boot IS NULL OR boot = ?) ORDER BY id DESC LIMIT ?",
            (parent, self.boot, limit),
        )
        return [row[0] for row in rows]

    def set_blob(self, identifier: int, diff_id: str, size: int) -> None:
        self.db.execute("UPDATE layer SET diff_id = ?, blob_size = ? WHERE id = ?", (diff_id, size, identifier))

    def forget_key(self, key: str) -> None:
        """The key's layer is found no more; the layer itself stays for those who have its number."""
        self.db.execute("UPDATE layer SET key = NULL WHERE key = ?", (key,))

    def drop_layer(self, identifier: int) -> None:
        """Nothing was made of this layer."""
        self.db.execute("DELETE FROM layer WHERE id = ?", (identifier,))

    def drop_reserved(self, identifier: int) -> None:
        """Give up a reserved number; a layer that was made stays."""
        self.db.execute("DELETE FROM layer WHERE id = ? AND boot = ''", (identifier,))

    def image_of(self, key: str) -> str | None:
        """The digest of the newest image of a key."""
        row = self.db.execute("SELECT digest FROM image WHERE key = ? ORDER BY created DESC", (key,)).fetchone()
        return None if row is None else str(row[0])

    def commit_image(
        self, digest: str, key: str, layers: Sequence[int], config: str, size: int, references: Sequence[str]
    ) -> None:
        """The image counts, and so do its layers, for good: call only after syncfs."""
        with self.transaction(durable=True):
            self.db.execute("UPDATE layer SET boot = NULL WHERE boot = ?", (self.boot,))
            self.db.execute(
                "INSERT INTO image VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (digest) DO UPDATE SET key = excluded.key,"
                " layers = excluded.layers, created = excluded.created",
                (digest, key, json.dumps(list(layers)), config, size, time.time()),
            )
            for name in references:
                self.db.execute("INSERT OR REPLACE INTO reference VALUES (?, ?)", (name, digest))
