"""A Lock → devenv.lock.yml → the same Lock; and what is said of a file that devenv didn't write."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

import pytest

from devenv.errors import EngineError, InputError
from devenv.lock.document import read, write
from devenv.model.lock import (
    AptLock,
    BaseLock,
    Deb,
    Dist,
    Lock,
    Module,
    NodeLock,
    PythonLock,
    Remote,
    Repository,
    Section,
    ServiceLock,
)

FILE = "devenv.lock.yml"
SHA = "0123456789abcdef" * 4
INTEGRITY = "sha512-" + "Ab+/" * 21 + "Ag=="

DEBS = (
    Deb("curl", "7.88.1-10+deb12u14", "amd64", 315_000, SHA, "pool/main/c/curl/curl_7.88.1-10+deb12u14_amd64.deb"),
    Deb("git", "1:2.39.5-0+deb12u2", "amd64", 7_000_000, SHA, "pool/main/g/git/git_2.39.5-0+deb12u2_amd64.deb"),
    Deb("jq", "1.7~rc1+git2023-1", "amd64", 1, SHA, "pool/main/j/jq/jq_1.7~rc1_amd64.deb", layer=2),
    Deb("liberror-perl", "0.17029-2", "all", 29_000, SHA, "pool/l.deb"),
    Deb("libstdc++6", "12.2.0-14", "arm64", 2, SHA, "pool/s.deb", "https://debs.example/a%3ab/pool/s.deb?x=1#y", 8),
    Deb("zlib1g-dev", "1:1.2.13.dfsg-1", "amd64", 916_000, SHA, "pool/z.deb", manual=True),
)
DISTS = (
    Dist("django", "5.2", 8_000_000, SHA, "django-5.2-py3-none-any.whl"),
    Dist("ruamel-yaml", "0.18.6", 9, SHA, "ruamel.yaml-0.18.6.tar.gz", layer=3),
    Dist("torch", "2.5.1+cpu", 5, SHA, "torch-2.5.1+cpu-cp311-cp311-linux_x86_64.whl", "https://t.example/t%2Bcpu.whl"),
    Dist("epoch", "1!2.0", 0, SHA, "epoch-1!2.0.tar.gz"),
)
MODULES = (
    Module("node_modules/@scope/x", "1.2.3-rc.1+b", INTEGRITY),
    Module("node_modules/a", "1.0.0", INTEGRITY, name="@other/b", url="https://npm.example/a/-/a-1.0.0.tgz?c=d"),
    Module("node_modules/a/node_modules/c", "2.0.0", INTEGRITY, bins=(("c", "bin/c.js"), ("d=e", "d=e.js"))),
    Module("node_modules/esbuild", "0.25.0", "sha1-" + "A" * 27 + "=", scripts=True, layer=2),
)
SHOP = Repository("shop", "c0" * 20, "https://git.example/shop", "feature/x", "lib")
CHECKOUT = Module("node_modules/shop", "1.0.0", f"git:{'c0' * 20}", url="https://git.example/shop", scripts=True)
BASE = BaseLock("bookworm", 1_757_000_000, DEBS[3:4], 1_756_000_000)
PYTHON = PythonLock((("version", "3.11"),), "3.11.2", "/usr/bin/python3", "2.36", packages=DISTS)
INTERPRETER = Remote("https://pythons.example/cpython-3.13.1%2B2025.tar.gz", 4, SHA)

SECTIONS = {
    "empty": Section("amd64"),
    "clock": Section("arm64", 1_764_000_001),
    "bases": Section("amd64", 1, (BASE, BASE._replace(suite="trixie"))),
    "base without packages": Section("amd64", 1, (BASE._replace(packages=()),)),
    "images": Section("amd64", 1, images=(("oci:../images/my base:v1", f"sha256:{SHA}"), ("oci:x", f"sha256:{SHA}"))),
    "apt": Section("amd64", 1, apt=AptLock(("curl", "git=1:2.39", "g++", "libc6:arm64"), DEBS, 1_764_000_000)),
    "apt asked for and there already": Section("amd64", 1, apt=AptLock(("tar",))),
    "apt with nothing": Section("amd64", 1, apt=AptLock()),
    "python": Section("amd64", 1, python=PYTHON),
    "python asked for words": Section(
        "amd64",
        1,
        python=PYTHON._replace(
            asked=(
                ("packages", 'x[extra]>=1,<2; python_version < "3.12", y @ https://x.example/y.whl#sha256=1, null'),
                ("requirements/dev.txt", SHA),
                ("a: b #c.txt", SHA),
                ("tab\there, back\\slash, line\nbreak, \u2028\x85\x7f é 🐍.txt", "{"),
            )
        ),
    ),
    "python with its own interpreter": Section("amd64", 1, python=PYTHON._replace(interpreter=INTERPRETER)),
    "python from where the host says": Section(
        "amd64", 1, python=PYTHON._replace(interpreter=INTERPRETER._replace(url="uv:cpython-3.13.1-2025.tar.gz"))
    ),
    "python built": Section(
        "amd64", 1, python=PYTHON._replace(build=DISTS[:1], needs=("python3", "python3-distutils"))
    ),
    "python built with two of a kind": Section(
        "amd64",
        1,
        python=PYTHON._replace(build=(DISTS[0], DISTS[0]._replace(version="5.1", file="django-5.1-py3-none-any.whl"))),
    ),
    "python from repositories": Section(
        "amd64",
        1,
        python=PYTHON._replace(
            asked=(("network", "true"),),
            repositories=(
                Repository("parts", "ab" * 32, "http://git.example:8080/~ann/mono.git", subdirectory="a/parts"),
                SHOP,
            ),
        ),
    ),
    "python without packages": Section("amd64", 1, python=PYTHON._replace(asked=(), packages=())),
    "node": Section("amd64", 1, node=NodeLock((("version", "24"),), MODULES[:1], MODULES[1:2], MODULES)),
    "node from a repository": Section("amd64", 1, node=NodeLock((("network", "true"),), MODULES[:1], (), (CHECKOUT,))),
    "node with nothing": Section("amd64", 1, node=NodeLock()),
    "files": Section("amd64", 1, files=(Remote("http://x.example/a?b=c&d", 0, SHA), INTERPRETER)),
    "services": Section(
        "amd64",
        1,
        (BASE,),
        services=(
            ServiceLock("cache", apt=AptLock(("redis",), DEBS[:1], 1_764_000_000)),
            ServiceLock("web-front", python=PYTHON, node=NodeLock((), MODULES[:1])),
        ),
    ),
    "services that start elsewhere": Section(
        "amd64",
        1,
        (BASE, BASE._replace(suite="trixie")),
        (("oci:x", f"sha256:{SHA}"),),
        services=(ServiceLock("db", ("bootstrap:trixie", "oci:x")), ServiceLock("scratch", ())),
        origins=("bootstrap:bookworm",),
    ),
    "a project upon nothing": Section(
        "amd64", 1, (BASE,), services=(ServiceLock("db", ("bootstrap:bookworm",)),), origins=()
    ),
}


def normal(section: Section) -> Section:
    """With its packages in order: that is how they are read."""

    def debs(one: AptLock | None) -> AptLock | None:
        return one and one._replace(packages=tuple(sorted(one.packages)))

    def dists(one: PythonLock | None) -> PythonLock | None:
        return one and one._replace(packages=tuple(sorted(one.packages)), build=tuple(sorted(one.build)))

    return section._replace(
        bases=tuple(sorted(section.bases)),
        apt=debs(section.apt),
        python=dists(section.python),
        services=tuple(one._replace(apt=debs(one.apt), python=dists(one.python)) for one in section.services),
    )


@pytest.mark.parametrize("name", SECTIONS)
def test_what_is_written_reads_as_the_same(name: str) -> None:
    section = SECTIONS[name]
    lock = read(write(Lock({section.arch: section})).encode(), FILE)
    assert list(lock.sections) == [section.arch]
    assert normal(lock.sections[section.arch]) == normal(section)


def parts(value: object) -> Iterator[object]:
    """A value and all that is in it."""
    yield value
    for one in value if isinstance(value, tuple) else ():
        yield from parts(one)


MODELS = [Deb, Dist, Module, Repository, BaseLock, AptLock, PythonLock, NodeLock, ServiceLock, Section]


@pytest.mark.parametrize("model", MODELS)
def test_all_that_a_lock_may_say_is_in_these_sections(model: Any) -> None:
    """So that a field that is added, and not written down, is found here."""
    found = [one for section in SECTIONS.values() for one in parts(section) if isinstance(one, model)]
    for name, default in model._field_defaults.items():
        assert any(getattr(one, name) != default for one in found), name


def test_sections_of_other_architectures_stay() -> None:
    sections = {"amd64": SECTIONS["python"], "arm64": SECTIONS["clock"]}
    text = write(Lock(sections))
    assert write(read(text.encode(), FILE)) == text


def test_every_entry_is_one_line_and_sorted() -> None:
    text = write(Lock({"amd64": SECTIONS["apt"]._replace(node=SECTIONS["node"].node)}))
    found = [line.strip() for line in text.splitlines() if line.strip().startswith("- ")]
    assert len(found) == len(DEBS) + 1 + 1 + len(MODULES)
    assert [line.split()[1] for line in found[: len(DEBS)]] == sorted(deb.name for deb in DEBS)


@pytest.mark.parametrize("backwards", [False, True])
def test_the_text_doesnt_depend_on_the_order_of_what_is_written(backwards: bool) -> None:
    debs = tuple(reversed(DEBS)) if backwards else DEBS
    section = Section("amd64", 1, (BASE._replace(packages=debs),), apt=AptLock(("curl",), debs))
    assert write(Lock({"amd64": section})) == write(
        Lock({"amd64": Section("amd64", 1, (BASE._replace(packages=DEBS),), apt=AptLock(("curl",), DEBS))})
    )


def test_one_more_package_is_one_more_line() -> None:
    before = Section("amd64", 1, apt=AptLock(("curl",), DEBS[:2]), python=PYTHON)
    after = before._replace(apt=AptLock(("curl", "jq"), DEBS[:3]))
    old, new = (write(Lock({"amd64": one})).splitlines() for one in (before, after))
    changed = [line for line in difflib.ndiff(old, new) if line[0] in "+-"]
    assert [line.split()[:3] for line in changed] == [
        ["-", "asked:", "[curl]"],
        ["+", "asked:", "[curl,"],
        ["+", "-", "jq"],
    ]


def test_comments_and_another_order_of_keys_are_read() -> None:
    text = write(Lock({"amd64": SECTIONS["apt"]}))
    head, _, rest = text.partition("  clock:")
    clock, _, rest = rest.removesuffix("...\n").partition("\n")
    changed = f"# mine\n{head}{rest}  clock:{clock}  # then\n...\n"
    assert read(changed.encode(), FILE) == read(text.encode(), FILE)


# What devenv didn't write -------------------------------------------------------------------------

GOOD = write(
    Lock(
        {
            "amd64": Section(
                "amd64",
                1_764_000_000,
                (BASE,),
                (("oci:x", f"sha256:{SHA}"),),
                AptLock(("curl",), DEBS[:2]),
                PYTHON._replace(packages=DISTS[:1], interpreter=INTERPRETER, repositories=(SHOP,)),
                NodeLock((), MODULES[:1], (CHECKOUT,), MODULES[2:3]),
                (Remote("https://x.example/a", 1, SHA),),
                (ServiceLock("db", ("bootstrap:bookworm",), AptLock(("postgresql",), DEBS[3:4])),),
            )
        }
    )
)
CURL = next(line for line in GOOD.splitlines() if line.startswith("    - curl"))
DJANGO = next(line for line in GOOD.splitlines() if line.startswith("    - django"))
SCOPED = next(line for line in GOOD.splitlines() if "@scope" in line)
BINS = next(line for line in GOOD.splitlines() if "bin=" in line)
REPOSITORY = next(line for line in GOOD.splitlines() if "git.example" in line)
CHECKED_OUT = next(line for line in GOOD.splitlines() if "git:" in line)
REMOTE = next(line for line in GOOD.splitlines() if "x.example" in line)

BROKEN = {
    "too few words": (CURL, CURL.rpartition(" ")[0]),
    "too many words": (CURL, f"{CURL} more"),
    "two blanks": (CURL, CURL.replace("curl ", "curl  ")),
    "no digest": (CURL, CURL.replace("sha256:", "")),
    "short digest": (CURL, CURL.replace(SHA, SHA[:-1])),
    "capital digest": (CURL, CURL.replace(SHA, SHA.upper())),
    "another digest": (CURL, CURL.replace("sha256:", "md5:")),
    "negative size": (CURL, CURL.replace("315000", "-315000")),
    "size of python": (CURL, CURL.replace("315000", "315_000")),
    "size of unicode": (CURL, CURL.replace("315000", "٣١٥٠٠٠")),
    "size without end": (CURL, CURL.replace("315000", "9" * 5000)),
    "absolute path": (CURL, CURL.replace("pool/", "/pool/")),
    "path upwards": (CURL, CURL.replace("pool/main", "pool/../..")),
    "path upwards at the end": (CURL, f"{CURL}/.."),
    "an option for a name": (CURL, CURL.replace("- curl", "- -oDPkg::Pre-Invoke::=x")),
    "an option for a version": (CURL, CURL.replace("7.88.1-10+deb12u14 ", "-o ")),
    "a script for a name": (CURL, CURL.replace("- curl", "- $(id)")),
    "an architecture upwards": (CURL, CURL.replace("amd64 ", "../x ")),
    "manual, perhaps": (CURL, f"{CURL} manual=no"),
    "layer 0": (CURL, f"{CURL} layer=0"),
    "layer 1, said": (CURL, f"{CURL} layer=1"),
    "layer 100": (CURL, f"{CURL} layer=100"),
    "layer twice": (CURL, f"{CURL} layer=2 layer=3"),
    "layer of nothing": (CURL, f"{CURL} layer="),
    "a file of the host": (CURL, f"{CURL} url=file:///etc/shadow"),
    "a password": (CURL, f"{CURL} url=https://me:secret@x.example/a"),
    "scripts of a deb": (CURL, f"{CURL} scripts=yes"),
    "the same twice": (CURL, f"{CURL}\n{CURL}"),
    "another version of the same": (CURL, f"{CURL}\n{CURL.replace('7.88', '7.89', 1)}"),
    "a mapping": (CURL, CURL.replace("curl ", "curl: ")),
    "a list": (CURL, "    - [curl]"),
    "nothing": (CURL, "    -"),
    "a name that isn't normal": (DJANGO, DJANGO.replace("- django", "- Django")),
    "a file upwards": (DJANGO, DJANGO.replace("django-5.2-py3-none-any.whl", "..")),
    "a file elsewhere": (DJANGO, DJANGO.replace("django-5.2", "../django-5.2")),
    "a version with quotes": (DJANGO, DJANGO.replace(" 5.2", " 5\"'2")),
    "another file of the same": (DJANGO, f"{DJANGO}\n{DJANGO.replace('5.2', '5.3')}"),
    "no integrity": (SCOPED, SCOPED.replace("sha512-", "")),
    "a module upwards": (SCOPED, SCOPED.replace("@scope/x", "..")),
    "a module outside": (SCOPED, SCOPED.replace("node_modules/@scope", "etc")),
    "a command upwards": (BINS, BINS.replace("c:bin/c.js", "c:../../c.js")),
    "a command elsewhere": (BINS, BINS.replace("bin=c:", "bin=../c:")),
    "scripts, perhaps": (BINS, f"{BINS} scripts=no"),
    "a branch for a commit": (REPOSITORY, REPOSITORY.replace("c0" * 20, "main")),
    "half a commit": (REPOSITORY, REPOSITORY.replace("c0" * 20, "c0" * 10)),
    "a repository of the host": (REPOSITORY, REPOSITORY.replace("https:", "file:")),
    "a repository by ssh": (REPOSITORY, REPOSITORY.replace("https:", "ssh:")),
    "a password of a repository": (REPOSITORY, REPOSITORY.replace("//", "//me:secret@")),
    "a repository with a shell in it": (REPOSITORY, REPOSITORY.replace("/shop", "/$(id)")),
    "a repository with a revision": (REPOSITORY, REPOSITORY.replace("/shop", "/shop@main")),
    "a revision that is an option": (REPOSITORY, REPOSITORY.replace("feature/x", "--upload-pack=x")),
    "a subdirectory upwards": (REPOSITORY, REPOSITORY.replace("=lib", "=../lib")),
    "a branch for npm's commit": (CHECKED_OUT, CHECKED_OUT.replace("c0" * 20, "main")),
    "npm's commit of nothing": (CHECKED_OUT, CHECKED_OUT.replace(" url=https://git.example/shop", "")),
    "npm's repository by ssh": (CHECKED_OUT, CHECKED_OUT.replace("https:", "ssh:")),
    "npm's repository with a shell in it": (CHECKED_OUT, CHECKED_OUT.replace("/shop scripts", "/$(id) scripts")),
    "npm's repository with a revision": (CHECKED_OUT, CHECKED_OUT.replace("/shop scripts", "/shop#main scripts")),
    "another scheme": (REMOTE, REMOTE.replace("https", "file")),
    "a remote without size": (REMOTE, REMOTE.replace(" 1 ", " ")),
    "unknown key": ("  apt:", "  apt:\n    wanted: [curl]"),
    "unknown part": ("  apt:", "  rpm:"),
    "the same key twice": ("  apt:", "  apt: {}\n  apt:"),
    "a list for a mapping": ("    asked: [curl]", "    asked: curl"),
    "no time": ('  clock: "2025-11-24T16:00:00Z"', "  clock: yesterday"),
    "no clock": ('  clock: "2025-11-24T16:00:00Z"\n', ""),
    "a suite upwards": ("    bookworm:", "    ../bookworm:"),
    "an architecture of its own": ("amd64:\n", '"a b":\n'),
    "a digest of an image": (f'"sha256:{SHA}"', '"latest"'),
    "no version of python": ('version: "3.11.2"', 'version: "3"'),
    "an interpreter elsewhere": ("command: /usr/bin/python3", 'command: "../python3"'),
    "merge conflict": (CURL, f"<<<<<<< HEAD\n{CURL}\n=======\n>>>>>>> theirs"),
    "merge conflict with what was": (CURL, f"||||||| was\n{CURL}"),
    "another version": ("version: 1", "version: 2"),
    "no version": ("version: 1\n", ""),
    "tab": ("  apt:", "\tapt:"),
    "tag": ("    asked: [curl]", "    asked: !!python/object/apply:os.system [curl]"),
    "merge key": ("  apt:", "  <<: {}\n  apt:"),
    "second document": ("  apt:", "---\n  apt:"),
    "control character": ("curl", "cu\x07rl"),
    "a service upwards": ("    db:", "    ../db:"),
    "a service called as the project is": ("    db:", "    image:"),
    "a clock of a service's own": ("    db:", '    db:\n      clock: "2025-11-24T16:00:00Z"'),
    "a base that isn't there": ('from: ["bootstrap:bookworm"]', 'from: ["bootstrap:trixie"]'),
    "a base that is no text": ('from: ["bootstrap:bookworm"]', "from: [[x]]"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_one_fault_with_its_place_and_the_way_out(name: str) -> None:
    was, broken = BROKEN[name]
    assert was in GOOD
    with pytest.raises(InputError) as caught:
        read(GOOD.replace(was, broken, 1).encode(), FILE)
    (fault,) = caught.value.faults
    assert fault.file == FILE and fault.line and fault.column
    assert fault.message and fault.hint and "manifest" not in f"{fault.message} {fault.hint}"
    assert len(fault.message) < 400 and fault.message.isprintable()


def test_a_fault_is_told_where_it_is() -> None:
    line = GOOD.splitlines().index(CURL) + 1
    with pytest.raises(InputError, match=rf"^devenv.lock.yml:{line}:7: .*sha256"):
        read(GOOD.replace(CURL, CURL.replace(SHA, SHA[:-1])).encode(), FILE)


def test_what_git_leaves_of_two_branches_is_named() -> None:
    line = GOOD.splitlines().index(CURL) + 1
    with pytest.raises(InputError, match=rf"^devenv.lock.yml:{line}:1: .*merge(.|\n)*`devenv lock`"):
        read(GOOD.replace(CURL, f"<<<<<<< HEAD\n{CURL}\n=======\n>>>>>>> theirs").encode(), FILE)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "empty"),
        (b"# only this\n", "empty"),
        (GOOD[: len(GOOD) // 2].encode(), ""),
        (b"\xff\xfea\x00", "UTF-16"),
        (b"version: 1\namd64: \xe9", "UTF-8"),
        (b"- version: 1", "mapping"),
        (b"version: [1]", "text"),
        (b"version: 1\n" + b"#" * (17 << 20), "larger than"),
        (
            b"version: 1\na: &a [x,x,x,x,x,x,x,x]\n"
            + b"".join(b"%c: &%c [%s]\n" % (n, n, b",".join([b"*%c" % (n - 1)] * 8)) for n in range(98, 108)),
            "more than 100,000 values",
        ),
        (b"version: 1\namd64: " + b"[" * 100, "nested deeper"),
    ],
)
def test_what_is_no_lock_is_one_fault(data: bytes, told: str) -> None:
    with pytest.raises(InputError) as caught:
        read(data, FILE)
    (fault,) = caught.value.faults
    assert told in fault.message and fault.line and fault.column
    assert fault.hint and "manifest" not in f"{fault.message} {fault.hint}"


def test_a_file_cut_off_anywhere_reads_as_less_or_not_at_all() -> None:
    """An entry is never taken for another one: a name, version or digest that was cut is no entry."""
    lines = set(GOOD.splitlines())
    for end in range(len(GOOD) - 1, len(GOOD) // 2, -7):
        try:
            found = read(GOOD[:end].encode(), FILE)
        except InputError:
            continue
        assert {line for line in write(found).splitlines() if "- " in line} <= lines


@pytest.mark.parametrize(
    "section",
    [
        Section("amd64", apt=AptLock((), (DEBS[0]._replace(path="a b"),))),
        Section("amd64", apt=AptLock((), (DEBS[0]._replace(name="x layer=2"),))),
        Section("amd64", apt=AptLock((), (DEBS[0]._replace(version=""),))),
        Section("amd64", apt=AptLock((), (DEBS[0]._replace(url="https://x.example/a b"),))),
        Section("amd64", apt=AptLock((), (DEBS[0]._replace(url="https://me:secret@x.example/a"),))),
        Section("amd64", python=PYTHON._replace(packages=(DISTS[0]._replace(file="x\n- y"),))),
        Section("amd64", node=NodeLock((), (MODULES[0]._replace(bins=(("a", "b c"),)),))),
        Section("amd64", files=(Remote("ftp://x.example/a", 1, SHA),)),
    ],
)
def test_what_couldnt_be_read_again_isnt_written(section: Section) -> None:
    with pytest.raises(EngineError) as caught:
        write(Lock({"amd64": section}))
    assert caught.value.hint and "\n" not in caught.value.message and "secret" not in caught.value.message
