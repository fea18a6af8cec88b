"""What a step wrote becomes the same bytes, whenever and on whatever host it ran."""

from __future__ import annotations

import hashlib
import os
import py_compile
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from devenv.engine.native.store import transient
from devenv.engine.native.store.adopt import Begun, Normal, adopt, begin
from devenv.engine.native.store.layer import descriptor

CLOCK = 1_700_000_000
OLD = 1_600_000_000
DAY = 86400


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    made = tmp_path / "upper"
    made.mkdir()
    return made


def put(path: Path, text: str | bytes = "x", mtime: float | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    if mtime is not None:
        os.utime(path, (mtime, mtime))
    return path


def normal(
    upper: Path, *, clock: int = CLOCK, begun: int | None = None, offline: bool = True, lowers: tuple[str, ...] = ()
) -> int:
    earliest = time.time_ns() - 60 * 10**9 if begun is None else begun
    return adopt(str(upper), 0, 65_536, Normal(clock, earliest, transient.fates(offline=offline), lowers))


def names(upper: Path) -> list[str]:
    return sorted(str(path.relative_to(upper)) for path in upper.rglob("*") if not path.is_dir())


# Times -----------------------------------------------------------------------------------------------------------


def test_adopt_gives_the_clock_to_what_is_new_or_later_and_leaves_older_times(upper: Path) -> None:
    put(upper / "new")
    put(upper / "later", mtime=CLOCK + 5)
    put(upper / "package", mtime=OLD + 0.75)
    put(upper / "ancient", mtime=-5)
    (upper / "link").symlink_to("nowhere")
    (upper / "folder").mkdir()
    normal(upper)

    times = {path.name: os.lstat(path).st_mtime_ns for path in upper.iterdir()}
    second = 10**9
    assert times == {
        **dict.fromkeys(("new", "later", "link", "folder"), CLOCK * second),
        "package": OLD * second,
        "ancient": 0,
    }


@pytest.mark.parametrize("host", [OLD, CLOCK, CLOCK + 10**8])
def test_adopt_gives_the_same_bytes_on_a_host_whose_clock_is_wrong(upper: Path, host: int) -> None:
    put(upper / "etc/made", mtime=host + 3.5)
    put(upper / "etc/package", mtime=OLD - 100)
    for folder in (upper / "etc", upper):
        os.utime(folder, (host + 4, host + 4))
    normal(upper, begun=host * 10**9)

    assert os.stat(upper / "etc/made").st_mtime == os.stat(upper / "etc").st_mtime == CLOCK
    assert os.stat(upper / "etc/package").st_mtime == OLD - 100


def test_adopt_takes_0_for_a_clock_like_any_other(upper: Path) -> None:
    put(upper / "new")
    put(upper / "package", mtime=OLD)
    normal(upper, clock=0)

    assert {os.stat(path).st_mtime_ns for path in upper.iterdir()} == {0}


def test_adopt_without_normal_leaves_times_and_logs(upper: Path) -> None:
    put(upper / "var/log/dpkg.log", mtime=OLD + 0.5)

    assert adopt(str(upper), 0, 65_536) == 1
    assert os.stat(upper / "var/log/dpkg.log").st_mtime == OLD + 0.5


def test_begin_is_no_later_than_what_is_made_next(upper: Path) -> None:
    for number in range(200):
        begun = begin()
        assert os.stat(put(upper / str(number))).st_mtime_ns >= begun.earliest()


def test_begun_follows_a_clock_that_was_put_back() -> None:
    hour = 3600 * 10**9
    begun = Begun(time.time_ns() + hour, time.monotonic_ns())  # an hour ahead of what the host says now

    assert abs(begun.earliest() - time.time_ns()) < 10**9


# What goes -------------------------------------------------------------------------------------------------------

GONE = (
    "var/log/dpkg.log",
    "var/log/apt/term.log",
    "var/log/apt/eipp.log.xz",
    "var/lib/apt/lists/mirror_dists_bookworm_InRelease",
    "var/lib/apt/lists/partial/x",
    "var/lib/apt/lists/lock",
    "var/cache/apt/pkgcache.bin",
    "var/cache/apt/archives/curl_1_amd64.deb",
    "var/cache/ldconfig/aux-cache",
    "var/cache/fontconfig/abc-le64.cache-8",
    "var/cache/man/cs/index.db",
    "var/cache/debconf/config.dat-old",
    "var/lib/dpkg/status-old",
    "etc/shadow-",
    "etc/subuid-",
    "etc/.pwd.lock",
    "var/lib/systemd/random-seed",
    "var/lib/dbus/machine-id",
    "root/.cache/pip/http/a/b",
    "root/.cache/uv/c",
    "home/me/.npm/_logs/today.log",
    "root/.npm/_cacache/tmp/x",
)
EMPTIED = ("var/log/app/access.log", "var/log/btmp", "etc/machine-id", "var/log/odd\nname")
STAYS = (
    "var/lib/dpkg/status",
    "var/cache/debconf/config.dat",
    "etc/passwd",
    "tmp/wanted",
    "var/tmp/wanted",
    "root/.cache/ms-playwright/chrome",
    "home/me/.npmrc",
    "srv/var/log/dpkg.log",
    "opt/root/.cache/pip/x",
    "var/cache/apt/archives/lock",
    "var/log",
)


@pytest.mark.parametrize(
    ("paths", "fate"), [(GONE, "gone"), (EMPTIED, "emptied"), (STAYS, "")], ids=["gone", "emptied", "stays"]
)
def test_fates_of_what_a_step_leaves(paths: tuple[str, ...], fate: str) -> None:
    fates = transient.fates(offline=True)

    assert {path: fates(path.encode()) for path in paths} == dict.fromkeys(paths, fate)


def test_fates_of_apts_lists_after_a_step_with_network_are_to_stay() -> None:
    """A later RUN may install without another `apt-get update`."""
    online = transient.fates(offline=False)

    assert {path for path in GONE if not online(path.encode())} == {path for path in GONE if "apt/lists" in path}


def test_adopt_removes_what_is_transient_and_folders_keep_their_times(upper: Path) -> None:
    for path in (*GONE, *STAYS[:5]):
        put(upper / path)
    os.utime(upper / "var/lib/dpkg", (OLD, OLD))  # as when only files in it were written again
    size = normal(upper)

    assert names(upper) == sorted(STAYS[:5])
    assert size == 5
    assert os.stat(upper / "var/lib/dpkg").st_mtime == OLD
    assert os.stat(upper / "var/log/apt").st_mtime == CLOCK
    assert not (upper / "root/.cache/pip").exists()


def test_adopt_empties_logs_and_keeps_how_they_were_made_for_their_service(upper: Path) -> None:
    put(upper / "var/log/app.log", "started at 12:00").chmod(0o640)
    (upper / "var/log/link.log").symlink_to("/dev/stdout")

    assert normal(upper) == 0
    assert (upper / "var/log/app.log").read_bytes() == b""
    assert os.stat(upper / "var/log/app.log").st_mode & 0o777 == 0o640
    assert os.stat(upper / "var/log/app.log").st_mtime == CLOCK
    assert os.readlink(upper / "var/log/link.log") == "/dev/stdout"


def test_adopt_follows_no_link_out_of_the_layer(upper: Path, tmp_path: Path) -> None:
    """Neither to empty, nor to remove, nor to give times."""
    outside = put(tmp_path / "precious", "kept", OLD)
    put(tmp_path / "folder/dpkg.log", "kept", OLD)
    for path in ("etc/machine-id", "etc/shadow", "var/log/x.log", "root/.cache/pip", "a/__pycache__/m.cpython-311.pyc"):
        (upper / path).parent.mkdir(parents=True, exist_ok=True)
        (upper / path).symlink_to(outside)
    (upper / "home").mkdir()
    (upper / "home/me").symlink_to(tmp_path / "folder")
    put(upper / "a/m.py")
    normal(upper)

    assert (outside.read_text(), os.stat(outside).st_mtime) == ("kept", OLD)
    assert (tmp_path / "folder/dpkg.log").read_text() == "kept"


# Accounts --------------------------------------------------------------------------------------------------------

TODAY = int(time.time()) // DAY
LOCKED = "daemon:*:19000:0:99999:7:::\n"


def line(name: str, day: object) -> str:
    return f"{name}:!:{day}:0:99999:7:::\n"


def test_adopt_fixes_the_days_of_accounts_that_the_step_changed(upper: Path, tmp_path: Path) -> None:
    below = put(tmp_path / "lower/etc/shadow", LOCKED + line("before", TODAY))
    put(upper / "etc/shadow", below.read_text() + line("made", TODAY) + line("later", 99_000) + line("told", 12))
    (tmp_path / "top").mkdir()
    size = normal(upper, lowers=(str(tmp_path / "top"), str(tmp_path / "lower")))

    day = CLOCK // DAY
    wanted = LOCKED + line("before", TODAY) + line("made", day) + line("later", day) + line("told", 12)
    assert (upper / "etc/shadow").read_text() == wanted
    assert size == len(wanted)
    assert os.stat(upper / "etc/shadow").st_mtime == CLOCK


def test_shadow_of_a_clock_on_day_0_has_no_day(upper: Path) -> None:
    """Day 0 would mean: a new password at once."""
    put(upper / "etc/shadow", line("made", TODAY))
    normal(upper, clock=5)

    assert (upper / "etc/shadow").read_text() == line("made", "")


def test_shadow_leaves_what_is_no_account_as_it_is(upper: Path) -> None:
    odd = b"\xff:x\nname:!:soon:0:99999:7:::\n::\n\n#" + b":" * 30
    put(upper / "etc/shadow", odd)
    normal(upper)

    assert (upper / "etc/shadow").read_bytes() == odd


# Certificates that Java trusts -------------------------------------------------------------------------------------

CACERTS = "etc/ssl/certs/java/cacerts"


def keystore(*moments: int, tag: int = 2, password: str = "changeit") -> bytes:
    """A store of Java's, with a certificate of each time (Unix seconds)."""
    content = struct.pack(">III", 0xFEEDFEED, 2, len(moments))
    for number, moment in enumerate(moments):
        alias, certificate = b"debian:%d.pem" % number, b"certificate" * number
        content += struct.pack(">IH", tag, len(alias)) + alias + struct.pack(">QH", moment * 1000, 5) + b"X.509"
        content += struct.pack(">I", len(certificate)) + certificate
    return content + hashlib.sha1(password.encode("utf-16-be") + b"Mighty Aphrodite" + content).digest()


def test_adopt_fixes_the_times_in_what_java_trusts(upper: Path) -> None:
    put(upper / CACERTS, "").write_bytes(keystore(int(time.time()) + 5, 12, 2**33))
    normal(upper)

    assert (upper / CACERTS).read_bytes() == keystore(CLOCK, 12, CLOCK)
    assert os.stat(upper / CACERTS).st_mtime == CLOCK


@pytest.mark.parametrize(
    "odd",
    [
        keystore(2**33, tag=1),
        keystore(2**33, password="secret"),
        keystore(2**33)[:-30],
        keystore(2**33) + b"x",
        struct.pack(">III", 0xFEEDFEED, 2, 9) + hashlib.sha1(b"").digest(),
        b"",
    ],
)
def test_adopt_leaves_other_key_stores_as_they_are(upper: Path, odd: bytes) -> None:
    put(upper / CACERTS, "").write_bytes(odd)
    normal(upper)

    assert (upper / CACERTS).read_bytes() == odd


# Python ----------------------------------------------------------------------------------------------------------


def test_adopt_keeps_compiled_python_fresh(upper: Path) -> None:
    """With the source's time gone from under it, Python would compile it at every start."""
    source = put(upper / "lib/made.py", "VALUE = 1\n")
    package = put(upper / "lib/package.py", "VALUE = 2\n", OLD)
    checked = put(upper / "lib/checked.py", "VALUE = 3\n")
    for path, mode in ((source, "TIMESTAMP"), (package, "TIMESTAMP"), (checked, "CHECKED_HASH")):
        for level in (0, 1):
            py_compile.compile(str(path), optimize=level, invalidation_mode=py_compile.PycInvalidationMode[mode])
    before = {path.name: path.read_bytes() for path in (upper / "lib/__pycache__").iterdir()}
    normal(upper)
    after = {path.name: path.read_bytes() for path in (upper / "lib/__pycache__").iterdir()}

    changed = sorted(name for name in after if after[name] != before[name])
    assert [name.partition(".")[0] for name in changed] == ["made", "made"]
    assert [struct.unpack_from("<I", after[name], 8)[0] for name in changed] == [CLOCK, CLOCK]
    script = f"import sys; sys.path.insert(0, {str(upper / 'lib')!r}); import made, package, checked"
    said = subprocess.run([sys.executable, "-B", "-v", "-c", script], capture_output=True, text=True, check=True).stderr
    assert [said.count(f"{upper}/lib/__pycache__/{name}.") >= 2 for name in ("made", "package", "checked")] == [
        True
    ] * 3
    assert f"matches {source}" in said
    assert os.stat(source).st_mtime == CLOCK
    assert os.stat(package).st_mtime == OLD


def test_adopt_leaves_compiled_python_that_speaks_of_another_time(upper: Path) -> None:
    put(upper / "m.py")
    stale = struct.pack("<IIII", 1, 0, 12345, 1) + b"code"
    for number, content in enumerate((stale, b"", b"short", struct.pack("<IIII", 1, 1, 0, 0))):
        put(upper / f"__pycache__/m.v{number}.pyc", content)
    before = {path: path.read_bytes() for path in (upper / "__pycache__").iterdir()}
    normal(upper)

    assert {path: path.read_bytes() for path in before} == before


# Whole -----------------------------------------------------------------------------------------------------------


def test_adopt_of_the_same_step_at_another_time_gives_the_same_digest(tmp_path: Path) -> None:
    digests = set()
    for number, host in enumerate((OLD + 1, CLOCK - 1, CLOCK + 10**7)):
        folder = tmp_path / str(number)
        for path in (*GONE, *EMPTIED, *STAYS[:5]):
            put(folder / path, path if path in STAYS else str(host), host + number / 7)
        put(folder / "etc/shadow", line("made", host // DAY), host)
        put(folder / "usr/bin/tool", hashlib.sha256(b"tool").digest() * 9, OLD - 5)
        for made in sorted(folder.rglob("*"), reverse=True):
            if made.is_dir():
                os.utime(made, (host + 9, host + 9))
                made.chmod(0o755)
        folder.chmod(0o755)
        normal(folder, begun=host * 10**9)
        digests.add(descriptor(str(folder)))

    assert len(digests) == 1
