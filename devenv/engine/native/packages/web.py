"""A URL → the answer to it, by HTTP through the host's proxies and certificates; at most five redirects, none to less safety.

What a project names by itself (`foreign`) is fetched from no address that its build steps couldn't reach (slot/reach.py).
"""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, NamedTuple
from urllib.parse import SplitResult, unquote, urljoin, urlsplit, urlunsplit

from devenv.errors import EngineError
from devenv.guard import Reaches as Reaches
from devenv.guard import Unreached, connected

if TYPE_CHECKING:  # 60 ms, and what is kept already needs no web
    from urllib3 import BaseHTTPResponse, PoolManager
    from urllib3.connectionpool import HTTPConnectionPool

CONNECT = 15.0
SILENCE = 30.0
"""Seconds without a byte."""
MAX_REDIRECTS = 5

_CHUNK = 1 << 18
_MOVED = (301, 302, 303, 307, 308)
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_AGENT = "devenv"
# urllib3 and those it asks would undo percent signs: the host asked for must be the one that was read.
_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")


class Failed(EngineError):
    """A place didn't give what was asked of it. `passing`: asking again, after so many seconds at least, may help.

    `offline`: nobody knows whether it has that, as the network or the server failed; so for all that is passing.
    `barred`: what a project names is fetched from no such place.
    """

    def __init__(
        self, message: str, *, passing: bool = False, after: float = 0.0, offline: bool = False, barred: bool = False
    ) -> None:
        super().__init__(message)
        self.passing = passing
        self.after = after
        self.offline = offline or passing
        self.barred = barred


class Answer(NamedTuple):
    """`begin` is where in the file the body begins: 0 unless a later part was asked for. `url` is the last, after redirects."""

    url: str
    kind: str
    begin: int
    size: int | None
    body: Iterator[bytes]

    def text(self, limit: int) -> bytes:
        """All of it; Failed when it is more than `limit` bytes."""
        found = bytearray()
        for piece in self.body:
            found += piece
            if len(found) > limit:
                raise Failed(f"more than {limit} bytes")
        return bytes(found)


class Web:
    """Connections kept open, for any number of threads. `env`: proxies; `bundle`: path of the certificates, "" for the system's."""

    def __init__(self, env: Mapping[str, str], bundle: str, reaches: Reaches, jobs: int = 8) -> None:
        self._env = env
        self._bundle = bundle
        self._reaches = reaches
        self._jobs = jobs
        self._pools: dict[tuple[str, bool], PoolManager] = {}
        self._lock = threading.Lock()

    @contextmanager
    def get(
        self, url: str, *, begin: int = 0, accept: str = "*/*", foreign: bool = False, stopped: Callable[[], bool]
    ) -> Iterator[Answer]:
        """What the URL leads to, from byte `begin` if the server can. Failed says why there is nothing, without the URL."""
        if url.startswith("file:") and not foreign:
            with _local(url, stopped) as answer:
                yield answer
            return
        from urllib3.exceptions import HTTPError

        headers = {"Accept": accept} | ({"Range": f"bytes={begin}-"} if begin else {})
        response = None
        try:
            response, url = self._followed(url, headers, foreign)
            yield _answer(response, url, begin, stopped)
        except (HTTPError, Unreached) as error:
            raise _failure(error) from error
        finally:
            if response is not None:
                # A connection is good for another answer only once this one was read to its end, be it an empty one.
                response.drain_conn() if response.length_remaining == 0 else response.close()

    def close(self) -> None:
        for pool in self._pools.values():
            pool.clear()

    def _followed(self, url: str, headers: Mapping[str, str], foreign: bool) -> tuple[BaseHTTPResponse, str]:
        user = origin = ""
        for _ in range(MAX_REDIRECTS + 1):
            parts = _checked(url)
            own, _, host = parts.netloc.rpartition("@")
            if own or f"{parts.scheme}://{host}" != origin:
                user = own  # one host's password is none of another's business
            origin = f"{parts.scheme}://{host}"
            response = self._asked(
                urlunsplit((parts.scheme, host, parts.path, parts.query, "")), headers, user, foreign
            )
            if response.status not in _MOVED:
                return response, url
            response.close()
            url = urljoin(url, response.headers.get("Location", ""))
            if parts.scheme == "https" and urlsplit(url).scheme == "http":
                raise Failed(f"it redirects from https to {shown(url)}")
        raise Failed(f"it redirects more than {MAX_REDIRECTS} times")

    def _asked(self, url: str, headers: Mapping[str, str], user: str, foreign: bool) -> BaseHTTPResponse:
        from urllib3 import Timeout
        from urllib3.util import make_headers

        given = {"User-Agent": _AGENT, "Accept-Encoding": "identity", **headers}
        if user:
            given |= make_headers(basic_auth=_named(user))
        return self._pool(proxy(url, self._env), foreign).request(
            "GET",
            url,
            headers=given,
            redirect=False,
            retries=False,
            timeout=Timeout(connect=CONNECT, read=SILENCE),
            preload_content=False,
        )

    def _pool(self, through: str, foreign: bool) -> PoolManager:
        with self._lock:
            found = self._pools.get((through, foreign))
            if found is None:
                found = self._pools[through, foreign] = self._opened(through, foreign)
            return found

    def _opened(self, through: str, foreign: bool) -> PoolManager:
        import ssl

        from urllib3 import PoolManager, ProxyManager
        from urllib3.util import make_headers

        # Once for all hosts: reading the bundle takes longer than a handshake.
        try:
            context = ssl.create_default_context(cafile=self._bundle or None)
        except OSError as error:
            raise Failed(f"read certificates {self._bundle}: {error.strerror}") from error
        if not through:
            pool = PoolManager(ssl_context=context, maxsize=self._jobs)
            if foreign:
                pool.pool_classes_by_scheme = _guarded(self._reaches)
            return pool
        # A proxy of the host's, which steps are lent as well: where that leads is its own business.
        parts = urlsplit(through if "://" in through else f"http://{through}")
        if parts.scheme not in ("http", "https"):
            raise Failed(f"the proxy {shown(through)} speaks no HTTP")
        user, _, host = parts.netloc.rpartition("@")
        return ProxyManager(
            f"{parts.scheme}://{host}",
            proxy_headers=make_headers(proxy_basic_auth=_named(user)) if user else {},
            proxy_ssl_context=context,
            ssl_context=context,
            maxsize=self._jobs,
        )


def shown(url: str) -> str:
    """A URL as it may be printed: without user and password, on one line."""
    parts = urlsplit(url)
    bare = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))
    return "".join(letter if letter.isprintable() else "?" for letter in bare)[:500]


def proxy(url: str, env: Mapping[str, str]) -> str:
    """The proxy that the host's variables name for a URL, "" for none (as curl and Go read them: no_proxy of names,
    their domains, addresses and networks, with a port or without)."""
    parts = urlsplit(url)
    host, port = (parts.hostname or "").rstrip("."), parts.port or (443 if parts.scheme == "https" else 80)
    if any(_excepts(word, host, port) for word in _either(env, "no_proxy").replace(",", " ").lower().split()):
        return ""
    return _either(env, f"{parts.scheme}_proxy") or _either(env, "all_proxy")


def _either(env: Mapping[str, str], name: str) -> str:
    return env.get(name) or env.get(name.upper()) or ""


def _excepts(word: str, host: str, port: int) -> bool:
    from ipaddress import ip_address, ip_network

    if word == "*":
        return True
    try:
        return ip_address(host) in ip_network(word.strip("[]"), strict=False)
    except ValueError:
        pass  # a name on either side
    name, colon, number = word.rpartition(":")
    if colon and number.isdecimal():
        if int(number) != port:
            return False
        word = name
    word = word.removeprefix("*").strip("[]").lstrip(".")
    return bool(word) and (host == word or host.endswith(f".{word}"))


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise Failed(f"{shown(url)} is no URL") from error
    if parts.scheme not in ("http", "https"):
        raise Failed(f"{shown(url)} is neither http nor https")
    if not _HOST.fullmatch(parts.netloc.rpartition("@")[2]):
        raise Failed(f"{shown(url)} names no host")
    return parts


def _named(user: str) -> str:
    name, colon, password = user.partition(":")
    return f"{unquote(name)}{colon}{unquote(password)}"


def _answer(response: BaseHTTPResponse, url: str, begin: int, stopped: Callable[[], bool]) -> Answer:
    status = response.status
    if status not in (200, 206):
        raise Failed(
            f"HTTP {status}", passing=status in _PASSING, after=_after(response.headers.get("Retry-After", ""))
        )
    if status == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {begin}-"):
        raise Failed("it gave another part than was asked for")
    size = response.headers.get("Content-Length", "")
    return Answer(
        url,
        response.headers.get("Content-Type", "").partition(";")[0].strip().lower(),
        begin if status == 206 else 0,
        int(size) if size.isdecimal() else None,
        _pieces(response, stopped),
    )


def _pieces(response: BaseHTTPResponse, stopped: Callable[[], bool]) -> Iterator[bytes]:
    # read1, not read: that waits for a whole chunk, however slowly it comes.
    while piece := response.read1(_CHUNK):
        if stopped():
            raise Failed("stopped")
        yield piece


def _after(value: str) -> float:
    return float(value) if value.isdecimal() and len(value) < 8 else 0.0


def _guarded(reaches: Reaches) -> dict[str, type[HTTPConnectionPool]]:
    """Pools whose connections lead only where a build step could go."""
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _connected(self.host, self.port, reaches)

    class Tls(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _connected(self.host, self.port, reaches)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = Tls

    return {"http": PlainPool, "https": TlsPool}


def _connected(host: str, port: int | None, reaches: Reaches) -> socket.socket:
    try:
        return connected(host, port, reaches, CONNECT)
    except Unreached as error:
        raise Unreached(f"{host} {error}") from error


def _failure(error: BaseException) -> Failed:
    """urllib3's exceptions wrap each other; the innermost says what happened."""
    import ssl

    inner: BaseException | None = error
    while inner is not None:
        error = inner
        parts = (getattr(error, "original_error", None), error.__cause__, *reversed(error.args))
        inner = next((part for part in parts if isinstance(part, BaseException) and part is not error), None)
    if isinstance(error, ssl.SSLCertVerificationError):
        return Failed(f"its certificate: {error.verify_message}")
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return Failed("it doesn't answer", passing=True)
    if isinstance(error, socket.gaierror):
        return Failed(f"its host: {error.strerror}", passing=error.errno == socket.EAI_AGAIN, offline=True)
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if isinstance(error, Unreached):
        return Failed(said, barred=True)
    return Failed(said or type(error).__name__, passing=not isinstance(error, ConnectionRefusedError), offline=True)


@contextmanager
def _local(url: str, stopped: Callable[[], bool]) -> Iterator[Answer]:
    """A file of this host, where its own configuration names one; of a folder, the `index.html` in it."""
    path = unquote(urlsplit(url).path)
    if os.path.isdir(path):
        path, url = f"{path.rstrip('/')}/index.html", f"{url.rstrip('/')}/index.html"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a fifo there must not hang us
    except OSError as error:
        raise Failed(str(error.strerror)) from error
    with open(fd, "rb") as file:
        kind = "text/html" if path.endswith(".html") else ""
        yield Answer(url, kind, 0, os.fstat(fd).st_size, _read(file, stopped))


def _read(file: BinaryIO, stopped: Callable[[], bool]) -> Iterator[bytes]:
    while piece := file.read(_CHUNK):
        if stopped():
            raise Failed("stopped")
        yield piece
