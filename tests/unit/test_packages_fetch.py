"""Packages from real servers on loopback: what is tried, what is refused, what is said."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from devenv.engine.native.packages.fetch import Fetched, Wanted, fetch
from devenv.engine.native.packages.files import Files
from devenv.engine.native.packages.web import Failed, Web, proxy, shown
from devenv.errors import EngineError, InputError

BODY = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(BODY).hexdigest()
INTEGRITY = f"sha512-{base64.b64encode(hashlib.sha512(BODY).digest()).decode()}"
LINGER = b"\1\0\0\0\0\0\0\0"


class Server(ThreadingHTTPServer):
    request_queue_size = 64

    def __init__(self, address: str) -> None:
        super().__init__((address, 0), Handler)
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.dry = threading.Event()

    def count(self, path: str) -> int:
        return sum(asked == path for asked, _ in self.asked)


class Handler(BaseHTTPRequestHandler):
    """/file… is the file; /to?URL redirects there; /cut-N breaks off N times; the others do what they are called."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.asked.append((self.path, {name.title(): value for name, value in self.headers.items()}))
        what, _, rest = self.path.removeprefix("http://far.invalid")[1:].partition("?")
        before = self.server.count(self.path)
        kind, _, number = what.partition("-")
        if kind == "to":
            self.answer(302, Location=rest)
        elif kind == "round":
            self.answer(302, Location=f"/round?{rest}x")
        elif kind in ("busy", "wait"):
            self.answer(429 if before <= int(number) else 200, Retry_After="0" if kind == "busy" else "600")
        elif kind in ("cut", "late", "reset"):
            self.cut(before <= int(number), kind == "reset", late=kind == "late")
        elif kind == "drip":
            self.wfile.write(b"HTTP/1.0 200 OK\r\n")
            while not self.server.dry.wait(0.05):
                self.wfile.write(b"X: drip\r\n")
            self.close_connection = True
        elif kind == "endless":
            self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n")
            self.close_connection = True
            while not self.server.dry.is_set():
                self.wfile.write(BODY)
        else:
            self.answer(404 if kind == "missing" else 200, b"x" + BODY[1:] if kind == "other" else BODY)

    def cut(self, broken: bool, reset: bool, late: bool = False) -> None:
        begin = int(self.headers.get("Range", "bytes=0-")[6:-1])
        body = BODY[begin:]
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(BODY) - 1}/{len(BODY)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if broken else body)
        if broken:
            if late:
                time.sleep(0.3)  # the end comes when the reader has taken all that was sent, and waits for more
            self.close_connection = True
            if reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)

    def answer(self, status: int, body: bytes = BODY, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        body = body if status == 200 else b""
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Silent."""


@contextmanager
def serving(address: str = "127.0.0.1", context: ssl.SSLContext | None = None) -> Iterator[tuple[str, Server]]:
    """The server's URL, and what it was asked for."""
    with Server(address) as server:
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # we are the ones who hang up
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield f"http{'s' if context else ''}://{address}:{server.server_port}", server
        finally:
            server.dry.set()
            server.shutdown()


@contextmanager
def proxying(address: str) -> Iterator[tuple[str, Server]]:
    """A server that is asked for whole URLs answers as if it were the one they name."""
    with serving(address) as found:
        yield found


def wanted(*places: str, what: str = "flask 3.0.0", foreign: bool = False) -> Wanted:
    return Wanted(what, SHA256, len(BODY), lambda: places, foreign=foreign)


def got(
    folder: Path,
    *asked: Wanted,
    env: Mapping[str, str] | None = None,
    bundle: str = "",
    reaches: Callable[[str], bool] = lambda _: False,
    stopped: Callable[[], bool] = lambda: False,
) -> list[Fetched]:
    found: list[Fetched] = []
    files = Files(str(folder))
    fetch(asked, files, env=env or {}, bundle=bundle, reaches=reaches, stopped=stopped, told=found.append)
    for one in found:
        assert Path(files.verified(one.wanted.what, one.sha256, one.size)).read_bytes() == BODY
    return found


def failed(folder: Path, *asked: Wanted, env: Mapping[str, str] | None = None, **options: object) -> str:
    with pytest.raises((EngineError, InputError)) as caught:
        got(folder, *asked, env=env, **options)  # type: ignore[arg-type]
    return str(caught.value)


def test_fetch_takes_files_once_and_tells_of_each(tmp_path: Path) -> None:
    with serving() as (url, server):
        asked = wanted(f"{url}/file")
        assert got(tmp_path, asked) == [Fetched(asked, SHA256, len(BODY), f"{url}/file")]
        assert got(tmp_path, asked) == [Fetched(asked, SHA256, len(BODY))]
        assert len(server.asked) == 1


def test_fetch_tries_the_places_in_order_and_says_of_each_why_not(tmp_path: Path) -> None:
    with serving() as (url, server):
        closed = "http://127.0.0.1:9"
        bad = (f"{url}/missing", f"{url}/other", f"{url}/round?x", closed, f"{url}/to?ftp://x/y", "http:///x")
        assert got(tmp_path / "a", wanted(*bad[:2], f"{url}/file"))[0].url == f"{url}/file"
        message = failed(tmp_path / "b", wanted(*bad))
        assert message.splitlines()[0] == "fetch flask 3.0.0: it can't be had from anywhere:"
        for line, reason in zip(
            message.splitlines()[1:],
            (
                f"{url}/missing: HTTP 404",
                f"{url}/other: keep flask 3.0.0: its sha256 is",
                f"{url}/round?x: it redirects more than 5 times",
                f"{closed}: Connection refused",
                f"{url}/to?ftp://x/y: ftp://x/y is neither http nor https",
                "http:///x: http:///x names no host",
                "hint: `devenv lock --upgrade flask`",
            ),
            strict=True,
        ):
            assert line.strip().startswith(reason), message
        assert os.listdir(tmp_path / "b" / "drafts") == []
        assert server.count("/other") == 2  # other bytes don't change by asking again


def test_fetch_says_where_it_was_the_network_and_not_the_package(tmp_path: Path) -> None:
    with serving() as (url, _):
        unreached = ("http://127.0.0.1:9/x", "http://nowhere.invalid/x", f"{url}/wait-99")
        for number, places in enumerate((unreached, *((one,) for one in unreached))):
            message = failed(tmp_path / f"{number}", wanted(*places))
            assert "hint: the network failed, or who was asked: try again" in message and "--upgrade" not in message
        for number, places in enumerate(((*unreached, f"{url}/missing"), (f"{url}/other",), ()), 10):
            assert "hint: `devenv lock --upgrade flask`" in failed(tmp_path / f"{number}", wanted(*places))


@pytest.mark.parametrize("kind", ["busy", "cut", "late", "reset"])
def test_fetch_asks_again_where_that_may_help(tmp_path: Path, kind: str) -> None:
    with serving() as (url, server):
        got(tmp_path, wanted(f"{url}/{kind}-2"))
        ranges = [headers.get("Range") for _, headers in server.asked]
        assert ranges[0] is None and len(ranges) == 3
        if kind in ("cut", "late"):
            assert ranges[1] == f"bytes={len(BODY) // 2}-"


def test_fetch_begins_anew_where_a_server_knows_no_ranges(tmp_path: Path) -> None:
    class Whole(Handler):
        def cut(self, broken: bool, reset: bool, late: bool = False) -> None:
            del self.headers["Range"]
            super().cut(broken, reset, late)

    with serving() as (url, server):
        server.RequestHandlerClass = Whole
        got(tmp_path, wanted(f"{url}/cut-1"))
        assert len(server.asked) == 2


def test_fetch_gives_up_on_what_doesnt_get_better(tmp_path: Path) -> None:
    with serving() as (url, server):
        assert "/wait-9: HTTP 429" in failed(tmp_path, wanted(f"{url}/wait-9"))
        assert len(server.asked) == 1
        begun = time.monotonic()
        assert "/busy-9: HTTP 429" in failed(tmp_path, wanted(f"{url}/busy-9"))
        assert server.count("/busy-9") == 4 and time.monotonic() - begun < 6


def test_fetch_never_takes_more_than_the_size(tmp_path: Path) -> None:
    with serving() as (url, _):
        assert f"more than the {len(BODY)} bytes" in failed(tmp_path, wanted(f"{url}/endless"))


def test_fetch_stops_when_it_is_told_to_and_when_another_fails(tmp_path: Path) -> None:
    with serving() as (url, _):
        begun = time.monotonic()
        drips = [wanted(f"{url}/drip?{number}") for number in range(4)]
        assert "fetch packages: stopped" in failed(tmp_path, *drips, stopped=lambda: time.monotonic() > begun + 0.3)
        later = [wanted(f"{url}/file-{number}", what=f"p{number} 1") for number in range(40)]
        assert "numpy 2" in failed(tmp_path, *drips, wanted(f"{url}/missing", what="numpy 2"), *later)
        assert time.monotonic() - begun < 5


def test_fetch_checks_integrity_and_remembers_it(tmp_path: Path) -> None:
    with serving() as (url, server):
        asked = Wanted("left-pad 1.3.0", "", 0, lambda: (f"{url}/other", f"{url}/cut-1"), INTEGRITY)
        assert got(tmp_path, asked)[0].sha256 == SHA256
        assert got(tmp_path, asked) == [Fetched(asked, SHA256, 0)]
        assert len(server.asked) == 3
        only = asked._replace(places=lambda: (f"{url}/other",))
        assert "it isn't sha512-" in failed(tmp_path / "b", only)


def test_fetch_has_passwords_for_their_own_host_only_and_never_shows_them(tmp_path: Path) -> None:
    with serving() as (url, server), serving("127.0.0.2") as (other, elsewhere):
        named = url.replace("://", "://me:s%40cret@")
        found = got(tmp_path, wanted(f"{named}/to?{url}/to?{other}/file"))
        basic = f"Basic {base64.b64encode(b'me:s@cret').decode()}"
        assert [headers.get("Authorization") for _, headers in server.asked] == [basic, basic]
        assert [headers.get("Authorization") for _, headers in elsewhere.asked] == [None]
        assert "cret" not in found[0].url
        assert "cret" not in failed(tmp_path / "b", wanted(f"{named}/missing"))


def test_fetch_goes_through_the_proxy_of_the_host(tmp_path: Path) -> None:
    with proxying("127.0.0.1") as (url, server):
        env = {"http_proxy": url.replace("://", "://me:secret@"), "NO_PROXY": "near.invalid"}
        assert got(tmp_path / "a", wanted("http://far.invalid/file"), env=env)
        path, headers = server.asked[0]
        assert path == "http://far.invalid/file"
        assert headers["Proxy-Authorization"] == f"Basic {base64.b64encode(b'me:secret').decode()}"
        assert "its host: " in failed(tmp_path / "b", wanted("http://near.invalid/file"), env=env)
        assert "speaks no HTTP" in failed(tmp_path, wanted("http://x/file"), env={"all_proxy": "socks5://a:b@c"})


@pytest.mark.parametrize(
    ("no_proxy", "url", "around"),
    [
        ("example.org", "http://example.org/x", True),
        ("example.org", "https://a.example.org/x", True),
        (".example.org", "https://a.example.org/x", True),
        ("*.example.org", "https://a.example.org/x", True),
        ("example.org", "http://notexample.org/x", False),
        ("example.org:8080", "http://example.org/x", False),
        ("example.org:8080", "http://example.org:8080/x", True),
        ("10.0.0.0/8, localhost", "http://10.1.2.3/x", True),
        ("10.0.0.0/8, localhost", "http://localhost:99/x", True),
        ("10.0.0.0/8", "http://11.1.2.3/x", False),
        ("::1", "http://[::1]:80/x", True),
        ("*", "http://any/x", True),
        ("", "http://any/x", False),
        (".", "http://any/x", False),
    ],
)
def test_fetch_goes_around_the_proxy_where_no_proxy_says_so(no_proxy: str, url: str, around: bool) -> None:
    env = {"HTTP_PROXY": "http://p", "https_proxy": "http://p", "no_proxy": no_proxy}
    assert proxy(url, env) == ("" if around else "http://p")


def test_fetch_of_what_a_project_names_goes_nowhere_that_steps_dont(tmp_path: Path) -> None:
    with serving() as (url, server), serving("127.0.0.2") as (inside, secret):
        asked = wanted(f"{inside}/file", foreign=True)
        message = failed(tmp_path, asked)
        assert "which no build step reaches" in message and "hint: take it from elsewhere, or allow" in message
        redirected = wanted(f"{url}/to?{inside}/file", foreign=True)
        assert "127.0.0.2, which no build step" in failed(tmp_path, redirected, reaches=lambda one: one == "127.0.0.1")
        assert not secret.asked
        assert got(tmp_path, wanted(f"{url}/file", foreign=True), reaches=lambda one: one == "127.0.0.1")
        local = wanted(f"file://{tmp_path}/x", foreign=True)
        assert "neither http nor https" in failed(tmp_path / "b", local, reaches=lambda _: True)
        assert len(server.asked) == 2


def test_fetch_takes_no_host_in_disguise(tmp_path: Path) -> None:
    """urllib3 undoes percent signs in a host, and what it asks then is another one."""
    with serving() as (url, _), serving("127.0.0.2") as (inside, secret):
        odd = inside.replace("127.0.0.2", "127.0.0.%32")
        for place in (f"{odd}/file", f"{url}/to?{odd}/file", "http://169.254.169.%32%35%34/", "http://[fe80::1%25lo]/"):
            assert "names no host" in failed(
                tmp_path, wanted(place, foreign=True), reaches=lambda one: one == "127.0.0.1"
            )
        assert not secret.asked


def test_fetch_keeps_a_connection_whatever_becomes_of_an_answer() -> None:
    """Whoever keeps the error keeps the answer, too."""
    kept = []
    with serving() as (url, server):
        web = Web({}, "", lambda _: False)
        for _ in range(3):
            with pytest.raises(Failed, match="HTTP 404") as caught, web.get(f"{url}/missing", stopped=lambda: False):
                pass
            kept.append(caught.value)
        assert server.count("/missing") == 3
        web.close()


def test_fetch_says_what_to_do_when_it_is_told(tmp_path: Path) -> None:
    with serving() as (url, _):
        asked = wanted(f"{url}/missing", what=f"{url}/missing")
        assert "hint: is the address right?" in failed(tmp_path, asked._replace(hint="is the address right?"))


def test_fetch_takes_files_of_this_host_where_its_configuration_says_so(tmp_path: Path) -> None:
    (tmp_path / "a file").write_bytes(BODY)
    assert got(tmp_path / "a", wanted(f"file://{tmp_path}/a%20file"))
    assert "No such file" in failed(tmp_path / "b", wanted(f"file://{tmp_path}/none"))


def test_fetch_trusts_the_bundle_only_and_goes_never_from_https_to_http(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=x"
    name = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *name], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving("127.0.0.1", context) as (safe, _), serving() as (url, _):
        assert "its certificate: self" in failed(tmp_path / "a", wanted(f"{safe}/file"))
        assert got(tmp_path / "b", wanted(f"{url}/to?{safe}/file"), bundle=str(certificate))
        message = failed(tmp_path / "c", wanted(f"{safe}/to?{url}/file"), bundle=str(certificate))
        assert f"it redirects from https to {url}/file" in message


def test_fetch_of_many_small_files_is_quick(tmp_path: Path) -> None:
    with serving() as (url, server):
        begun = time.monotonic()
        # One name for each: the server has but one file, and all are asked for before the first is there.
        asked = [Wanted(f"p{number} 1", "", len(BODY), lambda n=number: (f"{url}/file-{n}",)) for number in range(90)]  # type: ignore[misc]
        assert len(got(tmp_path, *asked)) == 90
        assert len(server.asked) == 90
        assert time.monotonic() - begun < 5  # 0.5 s on two idle cores


def test_fetch_shows_urls_on_one_line_without_passwords() -> None:
    assert shown("http://a:b@c/d?e#f") == "http://c/d?e"
    assert "\n" not in shown("http://a/\nb\x1b[2J") and "\x1b" not in shown("http://a/\x1b[2J")
