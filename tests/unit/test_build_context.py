"""What COPY takes of a context, and its digest: content and modes count, times don't; a second look only stats."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from devenv.build.context import Context, open_context, unchanged
from devenv.build.ignore import Matcher
from devenv.errors import InputError, NotFound
from devenv.model.build import Copy, Mount
from devenv.paths import Paths


@pytest.fixture
def root(tmp_path: Path) -> Path:
    tree = tmp_path / "context"
    for name in ("a.txt", "b.md", "src/one.py", "src/two.py", "src/deep/three.py", "docs/x.md", "docs/keep/y.md"):
        file = tree / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
        file.chmod(0o644)
    (tree / "link").symlink_to("src/one.py")
    (tree / "src" / "inner").symlink_to("/etc/passwd")
    (tree / "out").symlink_to("../../../../../../etc")
    return tree


def taken(root: Path, *sources: str, ignore: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> list[str]:
    return list(Context(str(root), Matcher(ignore), {}).select(sources, exclude))


def digest(root: Path, operation: Copy | Mount | None = None, ignore: tuple[str, ...] = ()) -> str:
    return Context(str(root), Matcher(ignore), {}).digest(operation or Copy((".",), "/app/"))


@pytest.mark.parametrize(
    ("sources", "ignore", "exclude", "expected"),
    [
        (["a.txt"], (), (), ["a.txt"]),
        (["/a.txt", "./b.md"], (), (), ["a.txt", "b.md"]),
        (["src/deep"], (), (), ["src/deep", "src/deep/three.py"]),
        (["*.md"], (), (), ["b.md"]),
        (["src/*.py"], (), (), ["src/one.py", "src/two.py"]),
        (["**/*.md"], (), (), ["b.md", "docs/keep/y.md", "docs/x.md"]),
        (["nothing*"], (), (), []),
        (["[ab].*"], (), (), ["a.txt", "b.md"]),
        (["docs"], (), ("*.md",), ["docs", "docs/keep", "docs/keep/y.md"]),
        (["docs"], (), ("**/*.md",), ["docs", "docs/keep"]),
        (["docs"], (), ("keep", "!keep/y.md"), ["docs", "docs/x.md", "docs/keep", "docs/keep/y.md"]),
        (["docs"], ("docs/keep",), (), ["docs", "docs/x.md"]),
        (["."], ("*", "!docs/keep"), (), ["", "docs", "docs/keep", "docs/keep/y.md"]),
        (["docs"], ("docs", "!docs/keep"), (), ["docs", "docs/keep", "docs/keep/y.md"]),
        (["*.md"], ("b.md",), (), []),
        (["link"], (), (), ["link"]),
    ],
)
def test_select_takes_what_docker_takes(
    root: Path, sources: list[str], ignore: tuple[str, ...], exclude: tuple[str, ...], expected: list[str]
) -> None:
    assert sorted(taken(root, *sources, ignore=ignore, exclude=exclude)) == sorted(expected)


def test_select_gives_a_folder_before_what_is_in_it(root: Path) -> None:
    found = taken(root, ".", ignore=("docs", "!docs/keep/y.md"))
    for path in found:
        assert not path or found.index(os.path.dirname(path)) < found.index(path)


@pytest.mark.parametrize(
    ("source", "ignore", "message", "hint"),
    [
        ("a.tx", (), "no such file", "did you mean a.txt?"),
        ("src/on.py", (), "no such file", "did you mean src/one.py?"),
        ("src", ("src",), "the ignore file leaves it out", "!src"),
        ("a.txt", ("*.txt",), "the ignore file leaves it out", "!a.txt"),
        ("out", (), "no such file", ""),
        ("out/passwd", (), "no such file", ""),
        ("a.txt/b", (), "no such file", ""),
    ],
)
def test_select_says_why_a_source_is_missing(
    root: Path, source: str, ignore: tuple[str, ...], message: str, hint: str
) -> None:
    with pytest.raises(NotFound) as caught:
        taken(root, source, ignore=ignore)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_select_refuses_sockets_and_fifos(root: Path) -> None:
    os.mkfifo(root / "src" / "fifo")
    with pytest.raises(InputError, match="src/fifo: is a FIFO"):
        taken(root, ".")
    os.unlink(root / "src" / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(root / "sock"))
        with pytest.raises(InputError, match="sock: is a socket"):
            taken(root, ".")
        assert "sock" not in taken(root, ".", ignore=("sock",))


def test_select_refuses_folders_without_end(root: Path) -> None:
    folder = os.open(root, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d", dir_fd=folder)
        below = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)
    with pytest.raises(InputError, match="folders more than 256 deep"):
        taken(root, ".")


@pytest.mark.parametrize(
    ("name", "change", "counts"),
    [
        ("content", lambda root: (root / "a.txt").write_text("other"), True),
        ("mode", lambda root: (root / "a.txt").chmod(0o755), True),
        ("folder mode", lambda root: (root / "src").chmod(0o700), True),
        ("name", lambda root: (root / "a.txt").rename(root / "c.txt"), True),
        ("link", lambda root: ((root / "link").unlink(), (root / "link").symlink_to("src/two.py")), True),
        ("new folder", lambda root: (root / "empty").mkdir(), True),
        ("kind", lambda root: ((root / "a.txt").unlink(), (root / "a.txt").mkdir()), True),
        ("time", lambda root: os.utime(root / "a.txt", (1, 1)), False),
        ("folder time", lambda root: os.utime(root / "src", (1, 1)), False),
        ("root mode", lambda root: root.chmod(0o700), False),
        ("ignored", lambda root: (root / "docs" / "x.md").write_text("other"), False),
    ],
)
def test_digest_depends_on_content_only(root: Path, name: str, change: Callable[[Path], object], counts: bool) -> None:
    before = digest(root, ignore=("docs",))
    change(root)
    assert (digest(root, ignore=("docs",)) != before) is counts, name


def test_digest_is_the_same_elsewhere(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    os.rename(root, other)
    before = digest(other)
    os.rename(other, root)
    assert digest(root) == before


def test_digest_of_a_bind_mount_reads_its_source_only(root: Path) -> None:
    mount = Mount("bind", "/src", "/src")
    before = digest(root, mount)
    (root / "a.txt").write_text("other")
    assert digest(root, mount) == before
    (root / "src").chmod(0o700)
    assert digest(root, mount) != before


def test_digest_never_leaves_the_context(root: Path) -> None:
    (root / "etc").mkdir()
    (root / "etc" / "passwd").write_text("the context's own")
    (root / "absolute").symlink_to("/etc/passwd")
    before = digest(root, Copy(("absolute",), "/x"))
    (root / "etc" / "passwd").write_text("changed inside")
    assert digest(root, Copy(("absolute",), "/x")) != before


def settle() -> None:
    """Files that changed just now aren't trusted to stay as their stat says."""
    time.sleep(2.1)


def test_digest_reads_no_file_again_that_its_cache_knows(root: Path) -> None:
    settle()
    cache: dict[str, str] = {}
    before = Context(str(root), Matcher(()), cache).digest(Copy((".",), "/app/"))
    path = str(root / "a.txt")
    known = cache[path]
    assert known.split()[0].startswith(f"{os.stat(path).st_dev}:{os.stat(path).st_ino}:")
    assert known.split()[1] == hashlib.sha256(b"a.txt").hexdigest()
    # A wrong hash in the cache comes out: so the file wasn't read.
    cache[path] = known.split()[0] + " " + "0" * 64
    assert Context(str(root), Matcher(()), cache).digest(Copy((".",), "/app/")) != before
    # Another stat, and it is read.
    os.utime(path, (5, 5))
    assert Context(str(root), Matcher(()), cache).digest(Copy((".",), "/app/")) == before


def test_digest_does_not_trust_what_changed_this_very_moment(root: Path) -> None:
    (root / "a.txt").write_text("fresh")
    cache: dict[str, str] = {}
    Context(str(root), Matcher(()), cache).digest(Copy(("a.txt",), "/x"))
    assert str(root / "a.txt") not in cache


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda _: None, True),
        (lambda root: (root / "src" / "deep" / "three.py").write_text("other"), False),
        (lambda root: (root / "src" / "new.py").write_text("new"), False),
        (lambda root: (root / "src" / "deep" / "new.py").write_text("new"), False),
        (lambda root: (root / "src" / "deep" / "new").mkdir(), False),
        (lambda root: (root / "src" / "deep" / "three.py").unlink(), False),
        (lambda root: (root / "src" / "deep").chmod(0o700), False),
        (lambda root: (root / "src" / "two.py").unlink(), False),
        (lambda root: (root / "src" / "one.py").chmod(0o600), False),
        (lambda root: (root / ".dockerignore").write_text("src\n"), False),
        (lambda root: (root / "docs" / "x.md").write_text("not copied"), True),
    ],
)
def test_observed_tells_whether_a_digest_could_differ(root: Path, change: Callable[[Path], object], same: bool) -> None:
    context = open_context(str(root), "", {})
    context.digest(Copy(("src/",), "/app/"))
    assert unchanged(context.observed.items())
    change(root)
    assert unchanged(context.observed.items()) is same


def test_observed_of_a_link_sees_link_and_file(root: Path) -> None:
    context = open_context(str(root), "", {})
    context.digest(Copy(("link",), "/x"))
    assert unchanged(context.observed.items())
    (root / "src" / "one.py").write_text("other")
    assert not unchanged(context.observed.items())
    context = open_context(str(root), "", {})
    context.digest(Copy(("link",), "/x"))
    (root / "link").unlink()
    (root / "link").symlink_to("src/two.py")
    assert not unchanged(context.observed.items())


def test_observed_of_wildcards_sees_new_matches(root: Path) -> None:
    context = open_context(str(root), "", {})
    context.digest(Copy(("*.txt",), "/x/"))
    (root / "new.txt").write_text("new")
    assert not unchanged(context.observed.items())


@pytest.mark.parametrize("path", ["new/a.txt", "new/deep/a.txt", "docs/new/a.txt"])
def test_observed_of_wildcards_sees_the_folder_appear_that_was_missing(root: Path, path: str) -> None:
    context = open_context(str(root), "", {})
    folder = os.path.dirname(path)
    before = context.digest(Copy((f"{folder}/*.txt",), "/x/"))
    assert unchanged(context.observed.items())
    (root / folder).mkdir(parents=True)
    (root / path).write_text("new")
    assert not unchanged(context.observed.items())
    assert open_context(str(root), "", {}).digest(Copy((f"{folder}/*.txt",), "/x/")) != before


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({".dockerignore": "*.md"}, {"b.md"}),
        ({".dockerignore": "*.md", ".containerignore": "*.txt"}, {"a.txt"}),
        ({".dockerignore": "*.md", "Build.dockerignore": "src"}, {"src"}),
        ({"Build.containerignore": "docs", "Build.dockerignore": "src"}, {"docs"}),
        ({}, set()),
    ],
)
def test_open_context_takes_the_nearest_ignore_file(root: Path, files: dict[str, str], expected: set[str]) -> None:
    for name, text in files.items():
        (root / name).write_text(text)
    context = open_context(str(root), str(root / "Build"), {})
    assert {name for name in ("a.txt", "b.md", "src", "docs") if context.matcher.matches(name)[0]} == expected


def test_open_context_says_what_is_wrong_with_an_ignore_file(root: Path) -> None:
    (root / ".dockerignore").write_text("a[\n")
    with pytest.raises(InputError, match=r"\.dockerignore: the pattern a\["):
        open_context(str(root), "", {})


def test_context_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="open the build context"):
        digest(tmp_path / "none")


def test_context_lists_the_files_of_a_digest_for_saying_which_changed(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/run.sh").write_text("a")
    os.chmod(tmp_path / "src/run.sh", 0o755)
    os.symlink("run.sh", tmp_path / "src/ln")
    context = Context(str(tmp_path), Matcher(()), {})
    digest = context.digest(Copy(("src",), "/srv/"))
    assert context.listed == {digest: (("src/ln", "777 → run.sh"), ("src/run.sh", "755 ca978112ca1b"))}


def test_context_lists_no_more_files_than_are_worth_keeping(tmp_path: Path) -> None:
    for number in range(2001):
        (tmp_path / f"{number}").touch()
    context = Context(str(tmp_path), Matcher(()), {})
    context.digest(Copy((".",), "/srv/"))
    assert context.listed == {}
    os.unlink(tmp_path / "7")
    digest = context.digest(Copy((".",), "/srv/"))
    assert len(context.listed[digest]) == 2000


# The store ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "told"),
    [
        (Copy((".",), "/app/"), ".cache/devenv"),
        (Copy((".cache",), "/app/"), ".cache/devenv"),
        (Copy((".cache/devenv/state.db",), "/app/"), ".cache/devenv/state.db"),
        (Copy(("other",), "/app/"), "other"),
        (Mount(kind="bind", target="/app", source="."), ".cache/devenv"),
    ],
    ids=["all", "above", "file", "another-name", "mount"],
)
def test_the_store_is_never_read(root: Path, operation: Copy | Mount, told: str) -> None:
    """Whoever closes a file of an open database loses its locks (sqlite.org/howtocorrupt.html, 2.2)."""
    paths = Paths(str(root / ".cache" / "devenv"), "")
    kept = [paths.state, f"{paths.state}-wal", f"{paths.state}-shm"]
    os.makedirs(paths.home)
    for path in kept:
        Path(path).write_text("x")
    os.link(f"{paths.state}-shm", root / "other")
    with pytest.raises(InputError, match=rf"^{re.escape(told)}: is devenv's own store") as caught:
        open_context(str(root), "", {}, paths.unread).digest(operation)
    assert "list it in .dockerignore, or move DEVENV_HOME" in str(caught.value)


def test_the_store_may_be_where_nothing_is_read(root: Path) -> None:
    before = open_context(str(root), "", {}).digest(Copy(("src",), "/app/"))
    paths = Paths(str(root / ".cache"), "")
    os.makedirs(paths.home)
    Path(paths.state).write_text("x")
    assert open_context(str(root), "", {}, paths.unread).digest(Copy(("src",), "/app/")) == before
    (root / ".dockerignore").write_text(".cache\n")
    assert open_context(str(root), "", {}, paths.unread).digest(Copy((".",), "/app/"))
