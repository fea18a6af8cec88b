"""Whether a root has a command or folder, told from outside as a process inside would find it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from devenv.command import HIDDEN, check, is_folder, matching, mounted, verdict
from devenv.errors import CommandFailed, NotFound

PATH = "/usr/local/bin:/usr/bin:/bin"


@pytest.fixture
def root(tmp_path: Path) -> str:
    """A root with a usr-merge, alternatives, a tool for nobody, and links that lead astray."""
    for folder in ("usr/bin", "usr/local/bin", "etc/alternatives", "work/sub", "opt", "proc", "usr/local/bin/folder"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for file, mode in (("usr/bin/mawk", 0o755), ("usr/bin/data", 0o644), ("work/script", 0o700), ("opt/tool", 0o711)):
        (tmp_path / file).write_text("#!/bin/sh\n")
        (tmp_path / file).chmod(mode)
    for link, target in (
        ("bin", "usr/bin"),
        ("usr/bin/awk", "/etc/alternatives/awk"),
        ("etc/alternatives/awk", "/usr/bin/mawk"),
        ("usr/bin/up", "../../../../../../../../opt/tool"),
        ("usr/bin/dangling", "/nowhere"),
        ("usr/bin/loop", "loop"),
        ("usr/bin/host", "/etc/passwd-of-nobody"),
        ("usr/bin/self", "/proc/self/exe"),
        ("work/away", "/opt"),
    ):
        (tmp_path / link).symlink_to(target)
    return str(tmp_path)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("mawk", 0),
        ("awk", 0),  # an absolute link, within the root
        ("up", 0),  # `..` ends at the root
        ("/bin/awk", 0),
        ("./script", 0),
        ("sub/../script", 0),
        ("away/tool", 0),
        ("../usr/bin/mawk", 0),
        ("nosuch", 127),
        ("", 127),
        ("script", 127),  # not in PATH
        ("dangling", 127),
        ("host", 127),
        ("folder", 127),
        ("./script/x", 127),
        ("/usr/bin/nosuch", 127),
        ("data", 126),
        ("./sub", 126),
        ("/usr/bin/data", 126),
        # Told by nobody outside: the runtime decides.
        ("loop", 0),
        ("self", 0),
        ("/proc/self/exe", 0),
        ("/dev/fd/3", 0),
        ("x" * 300, 0),
        ("nul\0", 0),
    ],
)
def test_verdict_says_what_a_shell_would(root: str, name: str, code: int) -> None:
    assert verdict(root, name, PATH, "/work") == code


def test_verdict_follows_no_link_to_the_host(root: str) -> None:
    outside = Path(root).parent / "outside"
    outside.write_text("#!/bin/sh\n")
    outside.chmod(0o755)
    os.symlink(outside, f"{root}/usr/bin/escape")
    os.symlink(f"../../../{outside.name}", f"{root}/usr/bin/escape2")
    assert verdict(root, "escape", PATH, "/") == 127
    assert verdict(root, "escape2", PATH, "/") == 127


@pytest.mark.parametrize(("path", "code"), [("", 0), (":/usr/bin", 0), (".", 0), ("/usr/bin", 127), ("../work", 0)])
def test_verdict_knows_folders_of_path_that_are_relative(root: str, path: str, code: int) -> None:
    assert verdict(root, "script", path, "/work") == code


def test_verdict_looks_into_what_is_mounted(root: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "tool").write_text("")
    (source / "tool").chmod(0o755)
    mounts = mounted(
        root, [(str(source), "/work/away/here"), (HIDDEN, "/secret"), (str(source / "tool"), "/usr/bin/one")]
    )

    assert verdict(root, "/opt/here/tool", PATH, "/", mounts) == 0  # the target led through a link
    assert verdict(root, "/work/away/here/nosuch", PATH, "/", mounts) == 127
    assert verdict(root, "/secret/tool", PATH, "/", mounts) == 0
    assert verdict(root, "one", PATH, "/", mounts) == 0
    assert verdict(root, "nosuch", f"{PATH}:/secret", "/", mounts) == 0
    assert is_folder(root, "/opt/here", mounts)
    assert not is_folder(root, "/opt/here/tool", mounts)
    assert not is_folder(root, "/opt/nowhere", mounts)


def test_check_names_the_command_and_gives_the_shells_code(root: str) -> None:
    for name, code, said in (("nosuch", 127, PATH), ("./nosuch", 127, "/work"), ("./sub", 126, "executable")):
        with pytest.raises(CommandFailed) as caught:
            check(root, [name, "argument"], PATH, "/work")
        assert (caught.value.exit_code, name in str(caught.value), said in str(caught.value)) == (code, True, True)
        assert caught.value.hint
    with pytest.raises(NotFound, match="/nowhere"):
        check(root, ["mawk"], PATH, "/nowhere")
    check(root, ["mawk"], PATH, "/")


@pytest.mark.parametrize(
    ("cwd", "inside"),
    [
        ("/home/ann/shop", ""),  # the project's own folder: the manifest says
        ("/home/ann/shop/web/src", "/workspace/web/src"),
        ("/home/ann/shop/lib", "/opt/lib"),
        ("/home/ann/shop/lib/a", "/opt/lib/a"),
        ("/home/ann/shop2", ""),
        ("/home/ann", ""),
        ("/elsewhere/x", "/elsewhere/x"),
    ],
)
def test_matching_is_the_innermost_sources(cwd: str, inside: str) -> None:
    sources = [("/home/ann/shop", "/workspace"), ("/home/ann/shop/lib", "/opt/lib/"), ("/elsewhere", "/elsewhere")]
    assert matching(cwd, "/home/ann/shop", sources) == inside
