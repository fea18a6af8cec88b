"""ADD's URLs -> files, checked. Through the host's proxies and certificates, as urllib has them from the environment.

It is the host that fetches, so an address that no step could reach is none that ADD may fetch from: `reaches` says which.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import IO, Any
from urllib.parse import urlsplit
from urllib.request import (
    BaseHandler,
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from devenv.errors import EngineError, Fault, InputError
from devenv.guard import Reaches, Unreached, connected

MAX_BYTES = 8 << 30
MAX_SECONDS = 3600.0
_CHUNK = 1 << 20
_TIMEOUT = 30.0  # seconds of silence
_TICK = 0.1
_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")


def fetch(
    url: str, path: str, checksum: str, *, reaches: Reaches, stopped: Callable[[], bool], seconds: float = MAX_SECONDS
) -> None:
    """Download `url` (http, https) to the file `path`. `checksum`: `sha256:HEX`, or "" for none.

    Raises InputError for an address that isn't to be reached or another checksum, EngineError for all else.
    """
    over = threading.Event()
    try:
        found = _awaited(url, partial(_fetched, url, path, reaches, over), stopped, seconds)
    except (OSError, ValueError, HTTPException) as error:
        raise EngineError(f"fetch {url}: {getattr(error, 'reason', error)}") from error
    finally:
        over.set()
    if checksum and found != checksum:
        os.unlink(path)
        hint = "the file changed, or somebody changed it"
        raise InputError(Fault(url, 0, 0, f"its checksum is {found}, not {checksum}", hint))


def _awaited(url: str, work: Callable[[], str], stopped: Callable[[], bool], seconds: float) -> str:
    """What `work` returns or raises; an EngineError when it is told to stop before, or it takes too long.

    A thread, as names, TLS and headers that come byte by byte are waited for where nobody asks whether to go on.
    Given up, it takes no further step, and ends with the process at the latest.
    """
    outcome: list[str | BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:  # the caller's to raise
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    deadline = time.monotonic() + seconds
    while True:
        ended = not thread.is_alive()
        if stopped():
            raise EngineError(f"fetch {url}: stopped")
        if ended:
            break
        if time.monotonic() > deadline:
            raise EngineError(f"fetch {url}: not done in {seconds:.0f} s")
        thread.join(_TICK)
    (result,) = outcome
    if isinstance(result, BaseException):
        raise result
    return result


def _fetched(url: str, path: str, reaches: Reaches, over: threading.Event) -> str:
    """Write what the URL leads to; its checksum."""
    with _opener(reaches, over).open(url, timeout=_TIMEOUT) as answer:
        _go_on(url, over)
        with open(path, "wb") as file:
            return f"sha256:{_received(url, answer, file, over)}"


def _go_on(url: str, over: threading.Event) -> None:
    if over.is_set():
        raise EngineError(f"fetch {url}: stopped")


def _received(url: str, answer: HTTPResponse, file: IO[bytes], over: threading.Event) -> str:
    """Write the answer's body; its sha256."""
    digest = hashlib.sha256()
    announced = answer.length  # None where the server doesn't say
    size = 0
    # Not read(): that waits for a whole chunk, however slowly it comes.
    while chunk := answer.read1(_CHUNK):
        size += len(chunk)
        if max(size, announced or 0) > MAX_BYTES:
            raise EngineError(f"fetch {url}: more than {MAX_BYTES} bytes")
        _go_on(url, over)
        digest.update(chunk)
        file.write(chunk)
    if announced is not None and size < announced:
        raise EngineError(f"fetch {url}: it ended {announced - size} bytes early", hint="run the command again")
    return digest.hexdigest()


def _opener(reaches: Reaches, over: threading.Event) -> OpenerDirector:
    """urllib's own has ftp and files too, and follows redirects there."""
    opener = OpenerDirector()
    context = ssl.create_default_context()
    for handler in (
        _Checked(over),
        ProxyHandler(),
        _Http(reaches),
        _Https(reaches, context),
        _Redirects(),
        HTTPDefaultErrorHandler(),
        HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


class _Checked(BaseHandler):
    """Each request, redirected ones too, before anything is done about it."""

    def __init__(self, over: threading.Event) -> None:
        self.over = over

    def http_request(self, req: Request) -> Request:
        _go_on(req.full_url, self.over)
        host = urlsplit(req.full_url).netloc
        # urllib would undo percent signs: the host asked for would be another than the one that was read.
        if not _HOST.fullmatch(host):
            hint = "write it in letters, digits, dots and hyphens, with :PORT if need be"
            raise InputError(Fault(req.full_url, 0, 0, f"{host!r} is no host that ADD fetches from", hint))
        return req

    https_request = http_request


class _Redirects(HTTPRedirectHandler):
    """At most ten, to http and https only, and never from https back to http."""

    max_redirections = 10

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        fp.close()  # or all of its body would be read into memory
        before, after = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if after not in ("http", "https"):
            raise InputError(
                Fault(req.full_url, 0, 0, f"redirects to {newurl}", "ADD fetches from http and https only")
            )
        if (before, after) == ("https", "http"):
            hint = "name that address yourself, with --checksum"
            raise InputError(Fault(req.full_url, 0, 0, f"redirects from https to {newurl}", hint))
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Http(HTTPHandler):
    def __init__(self, reaches: Reaches) -> None:
        super().__init__()
        self.reaches = reaches

    def http_open(self, req: Request) -> HTTPResponse:
        if _is_proxied(req):
            return self.do_open(HTTPConnection, req)
        return self.do_open(partial(_Plain, reaches=self.reaches), req)


class _Https(HTTPSHandler):
    def __init__(self, reaches: Reaches, context: ssl.SSLContext) -> None:
        super().__init__(context=context)
        self.reaches = reaches
        self.context = context

    def https_open(self, req: Request) -> HTTPResponse:
        if _is_proxied(req):
            return self.do_open(HTTPSConnection, req, context=self.context)
        return self.do_open(partial(_Tls, reaches=self.reaches, context=self.context), req)


def _is_proxied(request: Request) -> bool:
    """Whether it goes to a proxy of the host's, which steps are lent as well: where that leads is its own business."""
    return request.has_proxy() or bool(getattr(request, "_tunnel_host", None))


class _Plain(HTTPConnection):
    def __init__(self, host: str, /, *, reaches: Reaches, **options: Any) -> None:
        super().__init__(host, **options)
        self.reaches = reaches

    def connect(self) -> None:
        self.sock = _connected(self.host, self.port, self.reaches)


class _Tls(HTTPSConnection):
    def __init__(self, host: str, /, *, reaches: Reaches, context: ssl.SSLContext, **options: Any) -> None:
        super().__init__(host, context=context, **options)
        self.reaches = reaches
        self.tls = context

    def connect(self) -> None:
        self.sock = self.tls.wrap_socket(_connected(self.host, self.port, self.reaches), server_hostname=self.host)


def _connected(host: str, port: int, reaches: Reaches) -> socket.socket:
    try:
        return connected(host, port, reaches, _TIMEOUT)
    except Unreached as error:
        hint = "COPY the file, or allow the address with DEVENV_ADD_FROM"
        raise InputError(Fault(f"{host}:{port}", 0, 0, str(error), hint)) from error
