"""The manifest's secrets → their values, or all that is wrong with them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from devenv.cli.secrets import LARGEST, files, read
from devenv.errors import InputError
from devenv.model.manifest import From, Manifest, Secret


def manifest(folder: Path, *secrets: Secret) -> Manifest:
    return Manifest(f"{folder}/devenv.yml", str(folder), "shop", From("bootstrap", "bookworm"), secrets=secrets)


def test_secrets_come_from_variables_and_files(tmp_path: Path) -> None:
    (tmp_path / "near").write_bytes(b"n\n")
    (tmp_path / "home").mkdir()
    (tmp_path / "home/.token").write_bytes(b"\xff\0")
    found = manifest(
        tmp_path,
        Secret("A", from_env="A_VALUE"),
        Secret("B", from_file="near"),
        Secret("C", from_file="~/.token"),
        Secret("D", from_file=str(tmp_path / "near")),
        Secret("UNASKED", from_env="NOT_SET"),
    )
    env = {"A_VALUE": "a\udcff", "HOME": str(tmp_path / "home")}
    assert read(found, env).of("ABCD") == {"A": b"a\xff", "B": b"n\n", "C": b"\xff\0", "D": b"n\n"}
    assert files(found, env) == (f"{tmp_path}/near", f"{tmp_path}/home/.token", f"{tmp_path}/near")


def test_secrets_that_arent_there_are_all_told(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * (LARGEST + 1))
    (tmp_path / "folder").mkdir()
    found = manifest(
        tmp_path,
        Secret("A", from_env="A_VALUE"),
        Secret("B", from_file="none"),
        Secret("C", from_file="large"),
        Secret("D", from_file="folder"),
    )
    with pytest.raises(InputError) as failure:
        read(found, {}).of("ABCD")
    assert [fault.message.partition(":")[0] for fault in failure.value.faults] == [
        *("`secrets.A`", "`secrets.B`", "`secrets.C`", "`secrets.D`")
    ]


def test_a_fifo_as_a_secret_is_nobody_s_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert read(manifest(tmp_path, Secret("A", from_file="fifo")), {}).values == {"A": b""}
