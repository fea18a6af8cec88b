"""What is wanted, and where it may be → kept files (`Files`), side by side. Only what isn't there already is fetched."""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from devenv.errors import THE_NETWORK, DevenvError, EngineError, Fault, InputError, StoreError

from .files import Files, Writer, digest_of
from .web import Failed, Reaches, Web, shown

MAX_BYTES = 4 << 30
"""What a file may have whose size isn't known."""
MAX_SECONDS = 1800.0
"""For one file from one place."""
PAUSES = (0.2, 0.5, 1.0)
"""Seconds before each further attempt, where the last one brought nothing."""
PATIENCE = 20.0
"""Seconds that a server may ask us to wait."""
_ATTEMPTS = 20  # at one place, as long as each brings something
_TICK = 0.1


class Wanted(NamedTuple):
    """A file. `what` names its package in messages, name first: `flask 3.0.0`. `size` 0 and `sha256` "": not known before.

    `places` gives the URLs in the order in which they are tried; it is called in the thread that fetches, only if the file isn't
    there, and may itself ask the network. `integrity` is npm's (`sha512-…`). `foreign`: a project names the places, not the host.
    `hint`: what to do when no place has it; "": the lock is to be renewed.
    """

    what: str
    sha256: str
    size: int
    places: Callable[[], Iterable[str]]
    integrity: str = ""
    foreign: bool = False
    hint: str = ""


class Fetched(NamedTuple):
    """A file that is in Files now. `url` says where from, without password; "" when it was there already."""

    wanted: Wanted
    sha256: str
    size: int
    url: str = ""


def fetch(
    wanted: Iterable[Wanted],
    files: Files,
    *,
    env: Mapping[str, str],
    bundle: str,
    reaches: Reaches,
    stopped: Callable[[], bool],
    told: Callable[[Fetched], None],
    jobs: int = 8,
) -> None:
    """Have all of it in `files`, `jobs` at a time, and tell of each, in this thread, as it comes.

    `env`: the host's proxies; `bundle`: path of its certificates; `reaches`: Workshop.reaches, for what is `foreign`.
    When one can't be had no other is begun, and those under way stop: EngineError, with each place and its reason.
    """
    missing = []
    for one in wanted:
        sha256 = one.sha256 or (files.find(one.integrity) if one.integrity else "")
        if files.has(sha256, one.size):
            told(Fetched(one, sha256, one.size))
        else:
            missing.append(one)
    if missing:
        _Fetch(files, Web(env, bundle, reaches, jobs), missing).run(min(jobs, len(missing)), stopped, told)


class _Fetch:
    """Files being fetched, by threads that nobody waits for: names, TLS and headers may come byte by byte."""

    def __init__(self, files: Files, web: Web, wanted: Sequence[Wanted]) -> None:
        self.files = files
        self.web = web
        self.over = threading.Event()
        self.left = len(wanted)
        self._waiting: queue.SimpleQueue[Wanted] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Fetched | BaseException] = queue.SimpleQueue()
        for one in wanted:
            self._waiting.put(one)

    def run(self, jobs: int, stopped: Callable[[], bool], told: Callable[[Fetched], None]) -> None:
        for _ in range(jobs):
            threading.Thread(target=self._work, daemon=True).start()
        try:
            while self.left:
                try:
                    done = self._done.get(timeout=_TICK)
                except queue.Empty:
                    done = None
                if stopped():
                    raise EngineError("fetch packages: stopped")
                if isinstance(done, BaseException):
                    raise done
                if done is not None:
                    self.left -= 1
                    told(done)
        finally:
            self.over.set()

    def _work(self) -> None:
        try:
            while not self.over.is_set():
                self._done.put(self._fetched(self._waiting.get_nowait()))
        except queue.Empty:
            pass
        except BaseException as error:  # the caller's to raise
            self._done.put(error)

    def _fetched(self, wanted: Wanted) -> Fetched:
        tried: list[str] = []
        failed: list[DevenvError] = []
        places = iter(wanted.places())
        while not self.over.is_set():
            try:
                url = next(places)
            except StopIteration:
                break
            except EngineError as error:
                tried.append(error.message)
                failed.append(error)
                break
            try:
                return self._from(wanted, url)
            except (Failed, StoreError) as error:
                tried.append(f"{shown(url)}: {error.message}")
                failed.append(error)
        raise unavailable(wanted, tried, failed)

    def _from(self, wanted: Wanted, url: str) -> Fetched:
        """The file from one place, in as many attempts as bring something."""
        deadline = time.monotonic() + MAX_SECONDS
        with self.files.writer(wanted.what, wanted.sha256, wanted.size) as out:
            body = _Body(wanted, out)
            fruitless = 0
            for _ in range(_ATTEMPTS):
                had = out.size
                try:
                    self._receive(wanted, url, body, deadline)
                    break
                except Failed as error:
                    fruitless = fruitless + 1 if out.size <= had else 0
                    if not error.passing or fruitless > len(PAUSES) or error.after > PATIENCE:
                        raise
                    if self.over.wait(max(PAUSES[max(fruitless - 1, 0)], error.after)):
                        raise
            else:
                raise Failed(f"it broke off {_ATTEMPTS} times", offline=True)
            body.check()
        if wanted.integrity:
            self.files.remember(wanted.integrity, out.sha256)
        return Fetched(wanted, out.sha256, out.size, shown(url))

    def _receive(self, wanted: Wanted, url: str, body: _Body, deadline: float) -> None:
        with self.web.get(url, begin=body.out.size, foreign=wanted.foreign, stopped=self.over.is_set) as answer:
            if answer.begin != body.out.size:
                body.restart()
            for piece in answer.body:
                body.write(piece)
                if time.monotonic() > deadline:
                    raise Failed(f"not done in {MAX_SECONDS:.0f} s", offline=True)


class _Body:
    """What came of a file so far."""

    def __init__(self, wanted: Wanted, out: Writer) -> None:
        self.wanted = wanted
        self.out = out
        self.restart()

    def restart(self) -> None:
        self.out.restart()
        self._hash = None
        if self.wanted.integrity:
            digest_of(self.wanted.what, self.wanted.integrity)  # is it one at all?
            self._hash = hashlib.new(self.wanted.integrity.partition("-")[0])

    def write(self, piece: bytes) -> None:
        self.out.write(piece)
        if self.out.size > MAX_BYTES:
            raise Failed(f"more than {MAX_BYTES} bytes")
        if self._hash is not None:
            self._hash.update(piece)

    def check(self) -> None:
        if self._hash is not None and self._hash.digest() != digest_of(self.wanted.what, self.wanted.integrity):
            raise Failed(f"it isn't {self.wanted.integrity}")


def unavailable(wanted: Wanted, tried: Sequence[str], failed: Sequence[DevenvError]) -> DevenvError:
    """The error for what no place gave, each with its reason."""
    reasons = "".join(f"\n  {reason}" for reason in tried) or "\n  nobody says where it is"
    if any(isinstance(error, Failed) and error.barred for error in failed):
        hint = "take it from elsewhere, or allow the address with DEVENV_ADD_FROM"
        return InputError(Fault(wanted.what, 0, 0, f"it can't be had from anywhere:{reasons}", hint))
    name = wanted.what.split()[0] if wanted.what.split() else wanted.what
    hint = f"`devenv lock --upgrade {name}` takes what there is now; `snapshot:` can name an archive of what was"
    if failed and all(isinstance(error, Failed) and error.offline for error in failed):
        hint = f"{THE_NETWORK} failed, or who was asked: try again; `devenv doctor` checks the network"
    elif wanted.hint:
        hint = wanted.hint
    return EngineError(f"fetch {wanted.what}: it can't be had from anywhere:{reasons}", hint=hint)
