"""Asking apt what it would install, in the locked versions, and its answer in layers."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from devenv.errors import EngineError
from devenv.lock.apt import answered, layered, question
from devenv.model.lock import Deb

from .render_cases import deb, debs

HASH = "a" * 64


def layers(found: tuple[Deb, ...]) -> dict[str, int]:
    return {one.name if one.arch == "amd64" else f"{one.name}:{one.arch}": one.layer for one in found}


def test_the_first_lock_is_one_layer() -> None:
    assert layers(layered((), debs("git perl"))) == {"git": 1, "perl": 1}


def test_what_is_added_is_a_layer_of_its_own() -> None:
    assert layers(layered(debs("git perl", "jq"), debs("git jq perl zsh"))) == {"git": 1, "perl": 1, "jq": 2, "zsh": 3}


def test_the_other_architecture_of_a_package_is_another_package() -> None:
    assert layers(layered(debs("zlib1g"), debs("zlib1g zlib1g:arm64"))) == {"zlib1g": 1, "zlib1g:arm64": 2}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("git perl", "jq"), "git jq"),
        (("git perl", "jq"), "git=2 perl jq"),
        (("git", "jq"), "git jq=2 zsh"),
        (("git:all", "jq"), "git jq"),
    ],
)
def test_anything_but_an_addition_makes_all_one_layer(before: tuple[str, ...], after: str) -> None:
    """Whatever the lock was like before: the image is a function of what is locked."""
    assert set(layers(layered(debs(*before), debs(after))).values()) == {1}


def test_the_last_layer_takes_what_comes_when_there_are_many() -> None:
    names = [f"p{number}" for number in range(12)]
    found: tuple[Deb, ...] = ()
    for count in range(1, len(names) + 1):
        found = layered(found, debs(" ".join(names[:count])))
    assert layers(found) == {name: min(number, 8) for number, name in enumerate(names, 1)}


def test_nothing_changed_is_no_other_layer() -> None:
    before = debs("git", "jq", "zsh")
    assert layered(before, tuple(one._replace(layer=1) for one in before)) == before


# apt's answer -------------------------------------------------------------------------------------


def line(uri: str, file: str, size: int = 1) -> str:
    return f"'{uri}' {file} {size} SHA256:{HASH}"


COUNT = "0 upgraded, {} newly installed, 0 to remove and 0 not upgraded."


def test_what_is_locked_stays_as_it_is_locked() -> None:
    kept = deb("curl=7.88.1-10", 3)._replace(url="https://debs.example/curl.deb")
    text = "\n".join(
        (
            COUNT.format(2),
            line("copy:/run/devenv/locked/./curl_7.88.1-10_amd64.deb", "curl_7.88.1-10_amd64.deb"),
            line("http://mirror.example/debian/pool/main/j/jq/jq_1.6-2.1_amd64.deb", "jq_1.6-2.1_amd64.deb"),
        )
    )
    found = answered(text, ("curl", "jq"), (kept,), ("http://mirror.example/debian/",))
    assert found == (kept, Deb("jq", "1.6-2.1", "amd64", 1, HASH, "pool/main/j/jq/jq_1.6-2.1_amd64.deb"))


def test_what_is_locked_is_what_was_given() -> None:
    text = f"{COUNT.format(1)}\n{line('copy:/run/devenv/locked/./curl_8_amd64.deb', 'curl_8_amd64.deb')}"
    with pytest.raises(EngineError, match="curl 8"):
        answered(text, ("curl",), (deb("curl=7"),), ())


ADDITIONAL = (
    "The following additional packages will be installed:\n  libc6-dev zlib1g:arm64\n  zlib1g\nSuggested packages:\n  x"
)


@pytest.mark.parametrize(
    ("asked", "manual"),
    [
        (("libz-dev",), {"zlib1g-dev", "jq"}),  # whatever it is that provides it, apt was asked for it
        (("libz-dev=1:1", "jq"), {"zlib1g-dev"}),
        (("zlib1g-dev", "jq:amd64"), set()),
    ],
)
def test_what_is_asked_for_by_another_name_is_known_as_asked_for(asked: tuple[str, ...], manual: set[str]) -> None:
    names = ("libc6-dev_1_amd64", "zlib1g_1_arm64", "zlib1g_1_amd64", "zlib1g-dev_1_amd64", "jq_1_amd64")
    files = (line(f"http://mirror.example/debian/pool/{name}.deb", f"{name}.deb") for name in names)
    text = "\n".join(("Reading state information...", ADDITIONAL, COUNT.format(len(names)), *files))
    found = answered(text, asked, (), ("http://mirror.example/debian/",))
    assert {one.name for one in found if one.manual} == manual


@pytest.mark.parametrize("pinned", [False, True])
def test_the_question_is_a_script_whose_words_stay_words(pinned: bool, tmp_path: Path) -> None:
    """With a fake apt-get on PATH, and the folders of a root elsewhere."""
    asked = ("g++", "libc6:arm64", "git=1:2.39.5-0+deb12u2", "$(touch pwned)", "a;b", "'")
    shell, option, script = question(asked, pinned=pinned)
    for name in ("/etc", "/tmp/apt-answer"):
        script = script.replace(name, f"{tmp_path}{name}")
    (tmp_path / "etc/apt").mkdir(parents=True)
    (tmp_path / "tmp").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/apt-get").write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    (tmp_path / "bin/apt-get").chmod(0o755)
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    done = subprocess.run([shell, option, script], env={"PATH": path}, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == "" and "update" in done.stderr.split("\n")
    assert tuple((tmp_path / "tmp/apt-answer").read_text().split("\n")[-7:-1]) == asked
    assert not (tmp_path / "pwned").exists()
    assert (tmp_path / "etc/apt/preferences.d/devenv-locked").exists() == pinned
    if pinned:
        assert (tmp_path / "etc/apt/preferences.d/devenv-locked").read_text() == (
            'Package: *\nPin: origin ""\nPin-Priority: 1001\n'
        )
