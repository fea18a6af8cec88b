"""ADD's URLs, fetched from real servers on loopback: what is followed, what is refused, what is damaged."""

from __future__ import annotations

import hashlib
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from devenv.build.fetch import MAX_BYTES, fetch
from devenv.engine.native.slot.reach import reaches
from devenv.errors import EngineError, InputError

BODY = b"what was asked for\n" * 100
FAR = "127.0.0.2"
"""Stands for an address of the host's."""


class Handler(BaseHTTPRequestHandler):
    """/file is the file; /to?URL redirects there; the others do what they are called."""

    def do_GET(self) -> None:
        what, _, rest = self.path[1:].partition("?")
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        if what == "drip":
            self.wfile.write(b"HTTP/1.0 200 OK\r\n")
            for number in range(100):
                self.server.dry.wait(0.1)  # type: ignore[attr-defined]
                self.wfile.write(b"X-%d: drip\r\n" % number)
            return
        if what in ("to", "round"):
            self.send_response(302)
            self.send_header("Location", rest if what == "to" else f"/round?{rest}x")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(404 if what == "missing" else 200)
        length = {"short": len(BODY) + 9, "huge": MAX_BYTES + 1}.get(what, len(BODY))
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *_: object) -> None:
        """Silent."""


@contextmanager
def serving(address: str, context: ssl.SSLContext | None = None) -> Iterator[tuple[str, list[str]]]:
    """The server's URL, and what it was asked for."""
    with ThreadingHTTPServer((address, 0), Handler) as server:
        server.asked, server.dry = [], threading.Event()  # type: ignore[attr-defined]
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http{'s' if context else ''}://{address}:{server.server_port}", server.asked  # type: ignore[attr-defined]
        server.dry.set()  # type: ignore[attr-defined]
        server.shutdown()


def got(tmp_path: Path, url: str, checksum: str = "", reach: Callable[[str], bool] = lambda one: one != FAR) -> bytes:
    fetch(url, str(tmp_path / "file"), checksum, reaches=reach, stopped=lambda: False)
    return (tmp_path / "file").read_bytes()


def test_fetch_takes_a_file_and_checks_it(tmp_path: Path) -> None:
    with serving("127.0.0.1") as (url, _):
        digest = f"sha256:{hashlib.sha256(BODY).hexdigest()}"
        assert got(tmp_path, f"{url}/file", digest) == BODY
        assert got(tmp_path, f"{url}/to?{url}/to?/file") == BODY
        with pytest.raises(InputError, match="its checksum is"):
            got(tmp_path, f"{url}/file", f"sha256:{'0' * 64}")
        assert not (tmp_path / "file").exists()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing", "Not Found"),
        ("short", "ended 9 bytes early"),
        ("huge", "more than"),
        ("round?", "infinite loop"),
        ("to?file:///etc/passwd", "not allowed"),
        ("to?ftp://127.0.0.1/x", "ADD fetches from http and https only"),
    ],
)
def test_fetch_refuses(tmp_path: Path, path: str, message: str) -> None:
    with serving("127.0.0.1") as (url, asked), pytest.raises((EngineError, InputError), match=message):
        got(tmp_path, f"{url}/{path}")
    assert 1 <= len(asked) <= 11


def test_fetch_never_asks_where_no_step_could(tmp_path: Path) -> None:
    with serving("127.0.0.1") as (near, _), serving(FAR) as (far, asked):
        for url in (f"{far}/file", f"{near}/to?{far}/file"):
            with pytest.raises(InputError, match="which no build step reaches") as caught:
                got(tmp_path, url)
            assert "DEVENV_ADD_FROM" in str(caught.value)
    assert asked == []


def test_fetch_takes_no_host_in_disguise(tmp_path: Path) -> None:
    """urllib undoes percent signs in a host, and what it asks then is another one."""
    with serving("127.0.0.1") as (near, _), serving(FAR) as (far, asked):
        odd = far.replace(FAR, "127.0.0.%32")
        for url in (
            f"{odd}/file",
            f"{near}/to?{odd}/file",
            far.replace(FAR, "ann:word@127.0.0.2"),
            "http://169.254.169.%32%35%34/",
            "http://[fe80::1%25lo]/",
        ):
            with pytest.raises(InputError, match="is no host that ADD fetches from"):
                got(tmp_path, url)
    assert asked == []


@pytest.mark.parametrize("path", ["drip", "to?{}/drip"])
def test_fetch_gives_up_on_headers_that_drip(tmp_path: Path, path: str) -> None:
    with serving("127.0.0.1") as (url, _):
        end = time.monotonic() + 0.4
        file, dripping = str(tmp_path / "file"), f"{url}/{path.format(url)}"
        with pytest.raises(EngineError, match="stopped"):
            fetch(dripping, file, "", reaches=lambda _: True, stopped=lambda: time.monotonic() > end)
        with pytest.raises(EngineError, match="not done in 0 s"):
            fetch(dripping, file, "", reaches=lambda _: True, stopped=lambda: False, seconds=0.4)
        assert time.monotonic() < end + 3
    assert not (tmp_path / "file").exists()


def test_fetch_stops_when_told(tmp_path: Path) -> None:
    with serving("127.0.0.1") as (url, _), pytest.raises(EngineError, match="stopped"):
        fetch(f"{url}/file", str(tmp_path / "file"), "", reaches=lambda _: True, stopped=lambda: True)


def test_fetch_goes_through_the_hosts_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(FAR) as (proxy, asked):
        monkeypatch.setenv("http_proxy", proxy)
        assert got(tmp_path, "http://nowhere.invalid/file") == BODY
    assert asked == ["http://nowhere.invalid/file"]


def test_fetch_goes_through_the_hosts_proxy_to_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(FAR) as (proxy, _):
        monkeypatch.setenv("https_proxy", proxy)
        with pytest.raises(EngineError, match="Tunnel connection failed: 501"):  # which this one doesn't do
            got(tmp_path, "https://nowhere.invalid/file")


def test_fetch_is_never_led_from_https_to_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(
        [*argv, "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving("127.0.0.1") as (plain, _), serving("127.0.0.1", context) as (tls, _):
        with pytest.raises(EngineError, match="CERTIFICATE_VERIFY_FAILED"):
            got(tmp_path, f"{tls}/file")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert got(tmp_path, f"{tls}/to?{tls}/file") == BODY
        with pytest.raises(InputError, match="redirects from https to http"):
            got(tmp_path, f"{tls}/to?{plain}/file")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", False),
        ("127.9.9.9", False),
        ("0.0.0.0", False),
        ("169.254.169.254", False),
        ("168.63.129.16", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("10.213.16.7", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%lo", False),
        ("fd00:ec2::254", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:169.254.169.254", False),
        ("192.0.2.1", True),
        ("10.213.32.7", True),
        ("192.168.77.1", True),
        ("2606:4700::1", True),
    ],
)
def test_reaches_what_a_container_does(address: str, expected: bool) -> None:
    assert reaches(address, "10.213.16.0/20", "") is expected


def test_reaches_no_address_of_this_host() -> None:
    words = subprocess.run(["hostname", "-I"], check=True, capture_output=True, text=True).stdout.split()
    for address in words:
        assert not reaches(address, "", "")
        assert reaches(address, "", f"{address}, 192.0.2.0/24")


def test_reaches_says_what_is_wrong_with_its_exceptions() -> None:
    with pytest.raises(InputError, match="DEVENV_ADD_FROM: 'localhost' does not appear"):
        reaches("127.0.0.1", "", "localhost")
