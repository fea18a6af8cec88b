"""Where a Debian package is looked for, in which order."""

from __future__ import annotations

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from devenv.engine.native.packages.archive import places, wanted
from devenv.engine.native.packages.fetch import fetch
from devenv.engine.native.packages.files import Files
from devenv.model.host import Archive
from devenv.model.lock import Deb

MAIN = Deb("git", "1:2-0+x", "amd64", 3, "a" * 64, "pool/main/g/git/git_2-0+x_amd64.deb")
SECURITY = MAIN._replace(path="pool/updates/main/g/git/git_2-0~1_amd64.deb")
FOREIGN = MAIN._replace(url="https://x.example/git.deb")
HOST = Archive("http://m/debian", "http://m/debian-security")
KEPT = HOST._replace(snapshot="https://s.example/{archive}/{time}/")
NONE = Archive("", "")
CLOCK = 1763982000


@pytest.mark.parametrize(
    ("deb", "archive", "expected"),
    [
        (MAIN, HOST, ["http://m/debian/pool/main/g/git/git_2-0%2bx_amd64.deb"]),
        (SECURITY, HOST, ["http://m/debian-security/pool/updates/main/g/git/git_2-0~1_amd64.deb"]),
        (FOREIGN, KEPT, ["https://x.example/git.deb"]),
        (FOREIGN, NONE, ["https://x.example/git.deb"]),
        (MAIN, NONE, []),
        (
            SECURITY,
            NONE._replace(main="http://m/debian"),
            ["http://m/debian-security/pool/updates/main/g/git/git_2-0~1_amd64.deb"],
        ),
        (
            MAIN,
            KEPT,
            [
                "http://m/debian/pool/main/g/git/git_2-0%2bx_amd64.deb",
                "https://s.example/debian/20251125T110000Z/pool/main/g/git/git_2-0%2bx_amd64.deb",
                "https://s.example/debian/20251124T110000Z/pool/main/g/git/git_2-0%2bx_amd64.deb",
            ],
        ),
        (
            SECURITY,
            KEPT._replace(main="", security=""),
            [
                f"https://s.example/debian-security/{day}T110000Z/pool/updates/main/g/git/git_2-0~1_amd64.deb"
                for day in ("20251125", "20251124")
            ],
        ),
    ],
)
def test_places_of_a_package(deb: Deb, archive: Archive, expected: list[str]) -> None:
    assert list(places(deb, archive, (CLOCK,))) == expected


def test_wanted_is_foreign_when_the_lock_says_where() -> None:
    assert not wanted(MAIN, KEPT, (CLOCK,)).foreign
    assert wanted(FOREIGN, KEPT, (CLOCK,)).foreign
    assert (wanted(MAIN, NONE, ()).what, wanted(MAIN, NONE, ()).size) == ("git 1:2-0+x", 3)


def test_package_that_has_left_the_mirror_comes_from_the_snapshot(tmp_path: Path) -> None:
    content = b"the package"
    kept = tmp_path / "kept/debian/20251125T110000Z" / MAIN.path
    kept.parent.mkdir(parents=True)
    kept.write_bytes(content)
    deb = MAIN._replace(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    files, told = Files(str(tmp_path / "packages")), list[str]()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            here = f"http://127.0.0.1:{server.server_port}"
            archive = Archive(f"{here}/debian", "", f"{here}/kept/{{archive}}/{{time}}")
            fetch(
                [wanted(deb, archive, (CLOCK,))],
                files,
                env={},
                bundle="",
                reaches=lambda _: False,
                stopped=lambda: False,
                told=lambda one: told.append(one.url),
            )
        finally:
            server.shutdown()
            thread.join()

    assert told == [f"{here}/kept/debian/20251125T110000Z/pool/main/g/git/git_2-0%2bx_amd64.deb"]
    assert files.verified("git", deb.sha256, deb.size)
