"""Loading from disk: real files, real links."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from devenv.errors import InputError
from devenv.manifest import load
from devenv.model.manifest import Manifest

PEM = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"


def unused(template: str, variables: Mapping[str, str]) -> str:
    raise AssertionError(f"no template here, but {template!r} was expanded with {variables!r}")


def project(tmp_path: Path, *lines: str, **files: str) -> str:
    folder = tmp_path / "My Shop"
    folder.mkdir()
    (folder / "devenv.yml").write_text("\n".join(("from: bootstrap:bookworm", *lines, "")))
    for name, content in files.items():
        (folder / name).write_text(content)
    return str(folder / "devenv.yml")


def read(path: str, *forbidden: str) -> Manifest:
    return load(path, facts={"arch": "amd64", "user": "ann"}, expand=unused, forbidden=forbidden)


def refused(path: str, *forbidden: str) -> str:
    with pytest.raises(InputError) as caught:
        read(path, *forbidden)
    return str(caught.value).replace(os.path.dirname(path) + "/", "")


def test_load_names_the_project_after_its_folder(tmp_path: Path) -> None:
    path = project(tmp_path)
    manifest = read(path)
    assert (manifest.path, manifest.folder, manifest.name) == (path, os.path.dirname(path), "my-shop")


def test_load_resolves_links_to_the_folder(tmp_path: Path) -> None:
    path = project(tmp_path)
    (tmp_path / "link").symlink_to("My Shop")
    assert read(str(tmp_path / "link" / "devenv.yml")).path == path


def test_load_shows_the_path_as_it_was_given(tmp_path: Path) -> None:
    path = os.path.relpath(project(tmp_path, "zzz: 1"))
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}:2:1: unknown key")


def test_load_refuses_what_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "devenv.yml")
    assert "it is not a regular file" in refused(str(tmp_path / "devenv.yml"))
    assert "it can't be read: Is a directory" in refused(str(tmp_path))


def test_load_says_how_to_make_a_missing_file(tmp_path: Path) -> None:
    assert "there is no such file\n  hint: write one with `devenv init`" in refused(str(tmp_path / "devenv.yml"))


def test_load_reads_no_more_than_the_limit(tmp_path: Path) -> None:
    path = project(tmp_path)
    os.truncate(path, 1 << 40)
    assert "larger than 1,048,576 bytes" in refused(path)


def test_load_names_everything_missing(tmp_path: Path) -> None:
    path = project(
        tmp_path,
        "python: {requirements: [requirements.txt, here.txt]}",
        "node: {lock: package-lock.json}",
        "source: [., {path: gone, target: /gone}]",
        "contexts: {a: gone, b: 'file:gone', c: 'oci:gone:tag'}",
        "certificates: gone.pem",
        **{"here.txt": "", "package-lock.json": "{}"},
    )
    text = refused(path)
    assert [line.partition("`: ")[2] for line in text.splitlines() if "`: " in line] == [
        "requirements.txt does not exist",
        "package.json does not exist",
        "gone does not exist",
        "gone does not exist",
        "gone does not exist",
        "gone does not exist",
        "gone.pem does not exist",
    ]


@pytest.mark.parametrize("place", ["/", "/etc", "/proc/self", "/sys/kernel", "/dev", "/boot"])
def test_load_refuses_links_into_the_system(tmp_path: Path, place: str) -> None:
    path = project(tmp_path, "source: [{path: link, target: /a}]", "contexts: {a: link}")
    os.symlink(place, f"{os.path.dirname(path)}/link")
    assert refused(path).count("belongs to the system") == 2


def test_load_refuses_the_store_and_what_contains_it(tmp_path: Path) -> None:
    path = project(
        tmp_path, "source: [{path: store/in, target: /a}, {path: link, target: /b}, {path: beside, target: /c}]"
    )
    folder = os.path.dirname(path)
    os.makedirs(f"{folder}/store/in")
    os.mkdir(f"{folder}/beside")
    os.symlink(folder, f"{folder}/link")
    text = refused(path, f"{folder}/store")
    assert text.count("holds devenv's own store") == 2
    assert "beside" not in text


def test_load_refuses_a_project_folder_in_the_store(tmp_path: Path) -> None:
    assert "`source`: . holds devenv's own store" in refused(project(tmp_path), str(tmp_path))


@pytest.mark.parametrize("line", ["python: {requirements: [a.txt]}", "contexts: {x: 'file:a.txt'}"])
def test_load_refuses_files_that_lead_out_of_the_project(tmp_path: Path, line: str) -> None:
    path = project(tmp_path, line)
    os.symlink("/etc/passwd", f"{os.path.dirname(path)}/a.txt")
    assert "a.txt is outside the project folder (it leads to '/etc/passwd')" in refused(path)


def test_load_refuses_a_source_that_is_a_file(tmp_path: Path) -> None:
    assert "source[0]`: devenv.yml is not a folder" in refused(project(tmp_path, "source: devenv.yml"))


@pytest.mark.parametrize(
    "content, message",
    [("root:x:0", "holds no certificates"), (PEM + "-----BEGIN PRIVATE KEY-----\n", "holds a private key")],
)
def test_load_refuses_a_bundle_that_is_none(tmp_path: Path, content: str, message: str) -> None:
    assert message in refused(project(tmp_path, "certificates: a.pem", **{"a.pem": content}))


def test_load_takes_a_bundle(tmp_path: Path) -> None:
    assert read(project(tmp_path, "certificates: a.pem", **{"a.pem": PEM})).certificates == "a.pem"


def test_load_refuses_a_source_that_a_link_was_put_in_place_of(tmp_path: Path) -> None:
    path = project(tmp_path, "source: [{path: data, target: /a}]")
    (tmp_path / "elsewhere").mkdir()
    os.symlink(tmp_path / "elsewhere", f"{os.path.dirname(path)}/data")
    assert f"data is, or leads through, a link (it leads to '{tmp_path}/elsewhere')" in refused(path)
