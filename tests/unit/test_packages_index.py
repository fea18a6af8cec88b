"""Package indexes from real servers on loopback, in both of their languages."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from uv import find_uv_bin

from devenv.engine.native.packages.fetch import Fetched, fetch
from devenv.engine.native.packages.files import Files
from devenv.engine.native.packages.index import Indexes, Offer, indexes
from devenv.engine.native.packages.web import Failed
from devenv.errors import EngineError, InputError
from devenv.model.lock import Dist

BODY = b"a wheel"
SHA256 = hashlib.sha256(BODY).hexdigest()
FILE = "demo-1.0-py3-none-any.whl"
DIST = Dist("demo", "1.0", len(BODY), SHA256, FILE)
JSON = "application/vnd.pypi.simple.v1+json"
HTML = f'<a href="../files/{FILE}#sha256={SHA256}" data-requires-python="&gt;=3.8">{FILE}</a>'


class Handler(SimpleHTTPRequestHandler):
    """A folder; what is asked for with a slash is its `index.json`, or else its `index.html`."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path.endswith("/") and Path(self.translate_path(self.path), "index.json").exists():
            assert JSON in self.headers["Accept"]
            self.path += "index.json"
        super().do_GET()

    def guess_type(self, path: object) -> str:
        return JSON if str(path).endswith("index.json") else str(super().guess_type(path))  # type: ignore[arg-type]

    def log_message(self, *_: object) -> None:
        """Silent."""


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, list[str]]]:
    handler = type("Own", (Handler,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", handler.asked  # type: ignore[attr-defined]
        server.shutdown()


def write(folder: Path, page: str, text: str) -> None:
    (folder / page).parent.mkdir(parents=True, exist_ok=True)
    (folder / page).write_text(text)
    (folder / "files").mkdir(exist_ok=True)
    (folder / "files" / FILE).write_bytes(BODY)


def document(*files: object, version: str = "1.1") -> str:
    return json.dumps({"meta": {"api-version": version}, "name": "demo", "files": files})


def of(*urls: str) -> Indexes:
    return Indexes(urls, env={}, bundle="")


def reason(found: Indexes, dist: Dist = DIST) -> str:
    with pytest.raises(EngineError) as caught:
        list(found.places(dist))
    return caught.value.message


def test_index_finds_a_file_in_either_language_and_asks_once(tmp_path: Path) -> None:
    entry = {"filename": FILE, "url": f"../files/{FILE}", "hashes": {"sha256": SHA256}, "size": 7, "yanked": "broken"}
    write(tmp_path, "demo/index.json", document(entry))
    write(
        tmp_path, "html/demo/index.html", f"<!DOCTYPE html><html><body>{HTML.replace('..', '../..')}<br></body></html>"
    )
    with serving(tmp_path) as (url, asked):
        both = of(url, f"{url}/html/")
        assert list(both.places(DIST)) == [f"{url}/files/{FILE}"] * 2
        assert both.offers("demo") == (Offer(FILE, f"{url}/files/{FILE}", SHA256, 7, True),)
        assert of(f"{url}/html").offers("demo") == (Offer(FILE, f"{url}/files/{FILE}", SHA256, 0, False, ">=3.8"),)
        assert asked == ["/demo/", "/html/demo/", "/html/demo/"]


def test_index_leads_to_the_file(tmp_path: Path) -> None:
    write(tmp_path, "demo/index.html", HTML)
    with serving(tmp_path) as (url, _):
        found: list[Fetched] = []
        ask = partial(fetch, env={}, bundle="", reaches=lambda _: False, stopped=lambda: False, told=found.append)
        ask([of(f"{url}/none", url).wanted(DIST)], Files(f"{tmp_path}/a"))
        ask([of(f"file://{tmp_path}").wanted(DIST)], Files(f"{tmp_path}/b"))
        assert [one.sha256 for one in found] == [SHA256] * 2
        with pytest.raises(
            EngineError, match=r"fetch demo 2: it can't be had from anywhere:\n  http.*/demo/: it has no demo-2"
        ):
            ask([of(url).wanted(DIST._replace(version="2", file="demo-2.tar.gz"))], Files(f"{tmp_path}/c"))
        with pytest.raises(InputError, match="no build step reaches"):
            ask([of(url).wanted(DIST._replace(url=f"{url}/files/{FILE}"))], Files(f"{tmp_path}/d"))


def test_index_says_why_it_has_none(tmp_path: Path) -> None:
    write(tmp_path, "demo/index.html", HTML)
    with serving(tmp_path) as (url, _):
        message = reason(of(f"{url}/none", "http://127.0.0.1:9"))
        assert "/none/demo/: HTTP 404\n  http://127.0.0.1:9/demo/: Connection refused" in message
        assert "has another sha256" in reason(of(url), DIST._replace(sha256="0" * 64))
        with pytest.raises(EngineError, match="find demo: no index has it"):
            of(f"{url}/none").offers("demo")


@pytest.mark.parametrize(("second", "offline"), [("http://127.0.0.1:9", True), ("{url}/none", False)])
def test_index_that_can_t_be_reached_isn_t_one_without_the_package(second: str, offline: bool, tmp_path: Path) -> None:
    with serving(tmp_path) as (url, _), pytest.raises(Failed) as caught:
        list(of("http://127.0.0.1:9", second.format(url=url)).places(DIST))
    assert caught.value.offline is offline


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 100_000,
        "{}",
        document(version="2.0"),
        document(1),
        document({"filename": FILE}),
        '{"meta": {"api-version": "1.0"}, "files": {"a": 1}}',
    ],
)
def test_index_refuses_an_answer_that_isnt_one(tmp_path: Path, text: str) -> None:
    write(tmp_path, "demo/index.json", text)
    with serving(tmp_path) as (url, _):
        assert "/demo/: its " in reason(of(url))


def test_index_of_the_web_leads_to_no_files_of_this_host(tmp_path: Path) -> None:
    write(tmp_path, "demo/index.html", f'<a href="file:///etc/{FILE}">x</a><a href="http://[/{FILE}">y</a><a>z</a>')
    with serving(tmp_path) as (url, _):
        assert f"it has no {FILE}" in reason(of(url))


def test_index_gives_its_password_to_files_of_its_own_host_only(tmp_path: Path) -> None:
    write(tmp_path, "demo/index.html", f'{HTML}<base href="http://other.invalid/x/"><a href="../files/{FILE}">x</a>')
    with serving(tmp_path) as (url, _):
        named = url.replace("://", "://me:secret@")
        assert list(of(named).places(DIST)) == [f"{named}/files/{FILE}", f"http://other.invalid/files/{FILE}"]
        assert "secret" not in reason(of(f"{named}/none"))


def test_index_urls_are_those_of_uv_itself() -> None:
    uv = find_uv_bin()
    assert indexes((("UV_DEFAULT_INDEX", "http://a"), ("UV_EXTRA_INDEX_URL", "http://b http://c")), uv) == (
        "http://b",
        "http://c",
        "http://a",
    )
    (default,) = indexes((), uv)
    assert default.startswith("https://")


@pytest.mark.parametrize("drops", [1, 2])
def test_index_that_hangs_up_is_asked_again(drops: int, tmp_path: Path) -> None:
    write(tmp_path, "demo/index.html", HTML)

    class Dropping(Handler):
        asked: list[str] = []  # noqa: RUF012

        def do_GET(self) -> None:
            if len(self.asked) < drops:
                self.asked.append("dropped")
                self.close_connection = True
            else:
                super().do_GET()

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Dropping, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        found = of(f"http://127.0.0.1:{server.server_port}").offers("demo")
        server.shutdown()
    assert [offer.file for offer in found] == [FILE]
    assert Dropping.asked.count("dropped") == drops
