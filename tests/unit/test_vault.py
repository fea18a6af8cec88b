"""Secrets are kept in memory, for nobody else, until they are forgotten; fingerprints tell them apart and say no more."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from devenv.engine.native.records import vault
from devenv.errors import EngineError
from devenv.paths import Paths


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[Paths]:
    made = Paths(f"{tmp_path}/h", f"{tmp_path}/r")
    os.makedirs(made.home)
    os.makedirs(made.run)
    yield made
    for environment in ("e", "other"):
        vault.forget(made, environment)
    assert not os.path.exists(made.secrets("/dev/shm"))


def kept(paths: Paths) -> str:
    """Where they are."""
    return next(place for place in (paths.secrets(), paths.secrets("/dev/shm")) if os.path.isdir(place))


def test_vault_gives_what_it_was_given(paths: Paths) -> None:
    vault.supply(paths, "e", {"A": b"\0binary\n", "B": b""})
    vault.supply(paths, "other", {"A": b"theirs"})
    vault.supply(paths, "e", {"C": b"more"})
    assert vault.given(paths, "e", ("C", "A"), "web-1") == {"C": b"more", "A": b"\0binary\n"}
    vault.supply(paths, "e", {"A": b"new"})
    assert vault.given(paths, "e", ("A",), "web-1") == {"A": b"new"}


def test_vault_names_the_secret_that_is_missing(paths: Paths) -> None:
    vault.supply(paths, "e", {"A": b"1"})
    with pytest.raises(EngineError, match=r"start web-1: nobody gave it the secret TOKEN"):
        vault.given(paths, "e", ("A", "TOKEN"), "web-1")


def test_vault_is_in_memory_and_for_nobody_else(paths: Paths) -> None:
    vault.supply(paths, "e", {"A": b"1"})
    place = kept(paths)
    for folder, wanted in ((place, 0o700), (f"{place}/e", 0o700), (f"{place}/e/A", 0o600)):
        assert stat.S_IMODE(os.stat(folder).st_mode) == wanted
    device = os.stat(place).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        kinds = {line.partition(" - ")[2].split()[0] for line in file if line.split()[2] == number}
    assert kinds <= {"tmpfs", "ramfs"}
    assert kinds


def test_vault_keeps_nothing_in_a_place_of_somebody_else(paths: Paths) -> None:
    vault.supply(paths, "e", {"A": b"1"})
    place = kept(paths)
    vault.forget(paths, "e")
    os.mkdir(place, 0o755)
    os.chmod(place, 0o777)
    with pytest.raises(EngineError, match="it isn't ours alone"):
        vault.supply(paths, "e", {"A": b"1"})
    os.rmdir(place)
    os.symlink("/tmp", place)
    with pytest.raises(EngineError, match="it isn't ours alone"):
        vault.supply(paths, "e", {"A": b"1"})
    os.unlink(place)


def test_vault_forgets(paths: Paths) -> None:
    vault.supply(paths, "e", {"A": b"1"})
    vault.supply(paths, "other", {"A": b"1"})
    place = kept(paths)
    vault.forget(paths, "e")
    assert os.listdir(place) == ["other"]
    vault.forget(paths, "other")
    assert not os.path.exists(place)


def test_fingerprint_is_the_same_for_the_same_secret_in_one_store_alone(paths: Paths, tmp_path: Path) -> None:
    first = vault.fingerprint(paths, b"secret")
    assert first == vault.fingerprint(paths, b"secret")
    assert first != vault.fingerprint(paths, b"Secret")
    os.makedirs(f"{tmp_path}/h2")
    assert first != vault.fingerprint(Paths(f"{tmp_path}/h2", paths.run), b"secret")
    assert stat.S_IMODE(os.stat(paths.key).st_mode) == 0o600
    assert os.listdir(paths.home) == ["key"]
