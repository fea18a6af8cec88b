"""A cache's manifest and config, there and back, and what of others' is refused; a layout as one tar, likewise."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devenv.archive import tar
from devenv.engine.native.store import shelf
from devenv.engine.native.store.index import named
from devenv.engine.native.store.layout import Store
from devenv.engine.native.store.tarred import Tarred, Tarring
from devenv.errors import StoreError
from devenv.model.image import LAYER, MANIFEST, Descriptor

KEYS = [f"{number:064x}" for number in range(3)]


@pytest.fixture
def layout(tmp_path: Path) -> Store:
    store = Store(str(tmp_path / "layout"))
    store.init()
    return store


def layers(store: Store) -> dict[str, Descriptor]:
    return {key: store.put(key.encode(), LAYER) for key in KEYS}


def test_shelf_comes_back_as_it_was_written(layout: Store) -> None:
    written = {**layers(layout), "f" * 64: layers(layout)[KEYS[1]]}  # two steps, one result
    manifest = shelf.write(layout, written)

    assert list(shelf.read(layout, manifest).items()) == list(written.items())
    assert shelf.write(layout, written) == manifest


def test_shelf_keeps_the_newest_of_too_many(layout: Store) -> None:
    many = {f"{number:064x}": Descriptor(LAYER, f"sha256:{number:064x}", number) for number in range(shelf.LIMIT + 5)}
    found = shelf.read(layout, shelf.write(layout, many))

    assert list(found.items()) == list(many.items())[: shelf.LIMIT]


def _config(**values: object) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    return lambda _, config: config.update(values)


def _entry(**values: object) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    return lambda _, config: config["layers"][0].update(values)


def _manifest(**values: object) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    return lambda manifest, _: manifest.update(values)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (_config(version=2), "its version 2 is not known"),
        (_config(layers={}), "not a list"),
        (_config(layers=[{}] * 5000), "more than 4096 items"),
        (_config(padding="x" * (4 << 20)), "bytes"),
        (_entry(key="../../etc"), "is no key of a step"),
        (_entry(key=KEYS[0].upper().replace("0", "A")), "is no key of a step"),
        (_entry(key=KEYS[1]), "is in it twice"),
        (_entry(digest="sha256:../../../etc/passwd"), "is not a sha256 digest"),
        (_entry(digest="sha256:" + "0" * 64), "isn't in the cache manifest"),
        (_entry(size=65), "of 65 bytes isn't in the cache manifest"),
        (_entry(size=-1), "not a number"),
        (_entry(size=1 << 50), "not a number"),
        (_manifest(artifactType="application/x\x1b[2J"), "not 'application/vnd.devenv.cache.v1'"),
        (_manifest(artifactType=None), "not 'application/vnd.devenv.cache.v1'"),
        (_manifest(mediaType="application/vnd.oci.image.index.v1+json"), "not an image manifest"),
        (_manifest(manifests=[]), "not an image manifest"),
        (_manifest(layers=[]), "isn't in the cache manifest"),
        (_manifest(layers=[{"mediaType": "text/html", "digest": "sha256:" + "1" * 64, "size": 1}]), "media type"),
        (_manifest(padding="x" * (4 << 20)), "bytes"),
    ],
)
def test_shelf_of_others_is_refused(
    layout: Store, change: Callable[[dict[str, Any], dict[str, Any]], None], cause: str
) -> None:
    manifest = json.loads(layout.read(shelf.write(layout, layers(layout))))
    config = json.loads(layout.read(Descriptor("", manifest["config"]["digest"], manifest["config"]["size"])))
    change(manifest, config)
    kept = layout.put(json.dumps(config).encode(), shelf.CONFIG)
    manifest["config"] |= {"digest": kept.digest, "size": kept.size}
    with pytest.raises(StoreError) as refused:
        shelf.read(layout, layout.put(json.dumps(manifest).encode(), MANIFEST))

    assert cause in refused.value.message
    assert "\x1b" not in refused.value.message


# A layout as one tar --------------------------------------------------------------------------------------------


def tarred(path: Path) -> dict[str, Descriptor]:
    """A tar with three blobs, one of them named."""
    with open(path, "wb", buffering=0) as file:
        out = Tarring(file.fileno())
        put = {key: out.put(key.encode() * 100, LAYER) for key in (*KEYS, KEYS[0])}
        out.name("shop", put[KEYS[0]], "x/y")
        out.finish()
    return put


def test_tarred_comes_back_as_it_was_written(tmp_path: Path) -> None:
    put = tarred(tmp_path / "a.tar")
    tarred(tmp_path / "b.tar")
    with Tarred(str(tmp_path / "a.tar")) as layout:
        assert [layout.read(put[key]) for key in KEYS] == [key.encode() * 100 for key in KEYS]
        assert named(layout.index(), "a") == {"shop": put[KEYS[0]]._replace(media_type=LAYER)}
        assert layout.has(put[KEYS[0]])
        assert not layout.has(put[KEYS[0]]._replace(size=1))
        with pytest.raises(StoreError, match="6400 bytes instead of 1"):
            layout.stream(put[KEYS[0]]._replace(size=1))
        with pytest.raises(StoreError, match="no such blob"):
            layout.stream(put[KEYS[0]]._replace(digest="sha256:" + "0" * 64))
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    os.mkdir(tmp_path / "out")
    subprocess.run(["tar", "-xf", tmp_path / "a.tar", "-C", tmp_path / "out"], check=True)
    assert Store(str(tmp_path / "out")).read(put[KEYS[1]]) == KEYS[1].encode() * 100


def test_tarred_blob_that_was_changed_is_refused(tmp_path: Path) -> None:
    put = tarred(tmp_path / "a.tar")
    data = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(data.replace(KEYS[1].encode(), b"!" * 64, 1))
    with Tarred(str(tmp_path / "a.tar")) as layout:
        assert layout.read(put[KEYS[0]])
        with pytest.raises(StoreError, match="its bytes have another digest"):
            layout.read(put[KEYS[1]])


@pytest.mark.parametrize("name", ["index.json", f"blobs/sha256/{'a' * 64}"])
def test_tarred_with_a_name_twice_is_refused(tmp_path: Path, name: str) -> None:
    member = tar.header(tar.Entry(name.encode(), size=3)) + b"abc" + bytes(509)
    (tmp_path / "a.tar").write_bytes(member * 2 + tar.END)
    with pytest.raises(StoreError, match="is in it twice"):
        Tarred(str(tmp_path / "a.tar"))


def test_tarred_that_ends_early_or_is_something_else_is_refused(tmp_path: Path) -> None:
    tarred(tmp_path / "a.tar")
    data = (tmp_path / "a.tar").read_bytes()
    begin = data.index(KEYS[2].encode())
    for size in (0, 100, 600, begin + 10):
        (tmp_path / "a.tar").write_bytes(data[:size])
        with pytest.raises(StoreError) as refused, Tarred(str(tmp_path / "a.tar")) as layout:
            layout.index()
        assert str(tmp_path / "a.tar") in refused.value.message
    os.unlink(tmp_path / "a.tar")
    os.mkfifo(tmp_path / "a.tar")
    with pytest.raises(StoreError), Tarred(str(tmp_path / "a.tar")) as layout:
        layout.index()


def test_tarred_takes_no_links_for_files(tmp_path: Path) -> None:
    link = tar.header(tar.Entry(b"index.json", tar.SYMLINK, link=b"/etc/passwd"))
    version = b'{"imageLayoutVersion":"1.0.0"}'
    first = tar.header(tar.Entry(b"oci-layout", size=len(version))) + version + bytes(tar.padding(len(version)))
    (tmp_path / "a.tar").write_bytes(first + link + tar.END)
    with Tarred(str(tmp_path / "a.tar")) as layout, pytest.raises(StoreError, match=r"index\.json: it isn't there"):
        layout.index()
