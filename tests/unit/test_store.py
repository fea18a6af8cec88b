"""Blobs and names in an OCI image layout."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from devenv.engine.native.store.layout import Store
from devenv.errors import StoreError
from devenv.model.image import CONFIG, LAYER, MANIFEST, Descriptor


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path / "oci"))
    store.init()
    return store


def blob_path(store: Store, descriptor: Descriptor) -> Path:
    return Path(store.layout, "blobs", "sha256", descriptor.digest.removeprefix("sha256:"))


def leftovers(store: Store) -> list[str]:
    return os.listdir(f"{store.layout}/ingest")


def test_store_put_gives_the_digest_and_size_of_the_bytes(store: Store) -> None:
    descriptor = store.put(b"hello", CONFIG)

    assert descriptor == Descriptor(CONFIG, f"sha256:{hashlib.sha256(b'hello').hexdigest()}", 5)
    assert blob_path(store, descriptor).read_bytes() == b"hello"
    assert store.read(descriptor) == b"hello"


def test_store_init_again_keeps_what_is_there(store: Store) -> None:
    descriptor = store.put(b"hello", CONFIG)
    store.tag("shop", descriptor)

    store.init()

    assert store.tags() == {"shop": descriptor}
    assert store.has(descriptor)


def test_store_put_twice_keeps_one_blob_and_no_temporary_file(store: Store) -> None:
    first = store.put(b"hello", CONFIG)
    inode = blob_path(store, first).stat().st_ino

    assert store.put(b"hello", CONFIG) == first
    assert blob_path(store, first).stat().st_ino == inode
    assert leftovers(store) == []


def test_store_put_replaces_a_blob_of_the_wrong_size(store: Store) -> None:
    descriptor = store.put(b"hello", CONFIG)
    blob_path(store, descriptor).write_bytes(b"hell")

    store.put(b"hello", CONFIG)

    assert store.read(descriptor) == b"hello"


def test_store_writer_streams_in_pieces(store: Store) -> None:
    with store.writer(LAYER, sync=True) as blob:
        blob.write(b"a" * 100_000)
        blob.write(memoryview(b"b"))

    assert blob.descriptor.size == 100_001
    assert store.read(blob.descriptor, 1 << 20) == b"a" * 100_000 + b"b"


def test_store_writer_that_fails_leaves_nothing(store: Store) -> None:
    with pytest.raises(RuntimeError), store.writer(LAYER) as blob:
        blob.write(b"half")
        raise RuntimeError

    assert leftovers(store) == []
    assert os.listdir(f"{store.layout}/blobs/sha256") == []


@pytest.mark.parametrize("damage", [b"hallo", b"hell", b"hello!", b""])
def test_store_read_refuses_changed_bytes(store: Store, damage: bytes) -> None:
    descriptor = store.put(b"hello", CONFIG)
    blob_path(store, descriptor).write_bytes(damage)

    with pytest.raises(StoreError, match=descriptor.digest):
        store.read(descriptor)


def test_store_open_refuses_an_end_that_comes_too_early(store: Store) -> None:
    descriptor = store.put(b"hello", CONFIG)

    with store.open(descriptor) as blob:
        blob_path(store, descriptor).write_bytes(b"he")
        with pytest.raises(StoreError, match="ends after 2 bytes"):
            while blob.read(10):
                pass


def test_store_open_gives_bytes_piece_by_piece(store: Store) -> None:
    descriptor = store.put(b"hello", CONFIG)

    with store.open(descriptor) as blob:
        assert [blob.read(3), blob.read(3), blob.read(3)] == [b"hel", b"lo", b""]


def test_store_read_refuses_a_blob_over_the_limit(store: Store) -> None:
    with pytest.raises(StoreError, match="at most 4"):
        store.read(store.put(b"hello", CONFIG), 4)


@pytest.mark.parametrize(
    "digest", ["sha256:../../../etc/passwd", "sha256:" + "A" * 64, "md5:abc", "", "sha256:" + "a" * 65]
)
def test_store_refuses_what_is_no_digest(store: Store, digest: str) -> None:
    with pytest.raises(StoreError, match="not a sha256 digest"):
        store.open(Descriptor(CONFIG, digest, 1))


def test_store_open_of_a_fifo_does_not_hang(store: Store) -> None:
    descriptor = Descriptor(CONFIG, "sha256:" + "a" * 64, 0)
    os.mkfifo(blob_path(store, descriptor))

    with pytest.raises(StoreError, match="not a file"):
        store.open(descriptor)


def test_store_tag_moves_and_untag_forgets(store: Store) -> None:
    one, two = store.put(b"1", MANIFEST), store.put(b"2", MANIFEST)
    store.tag("b", one)
    store.tag("a", one)
    store.tag("b", two)

    assert store.tags() == {"a": one, "b": two}

    store.untag("b")
    store.untag("b")
    assert store.tags() == {"a": one}


def test_store_index_is_the_same_whatever_the_order_of_tags(tmp_path: Path) -> None:
    indexes = set()
    for name, order in (("x", "abc"), ("y", "cab")):
        store = Store(str(tmp_path / name))
        store.init()
        for tag in order:
            store.tag(tag, store.put(tag.encode(), MANIFEST))
        indexes.add((tmp_path / name / "index.json").read_bytes())

    assert len(indexes) == 1


def test_store_tag_from_many_threads_loses_none(store: Store) -> None:
    descriptor = store.put(b"1", MANIFEST)
    threads = [threading.Thread(target=store.tag, args=(f"t{number}", descriptor)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(store.tags()) == [f"t{number}" for number in range(8)]


def test_store_sweep_keeps_what_it_is_told_and_counts_the_rest(store: Store) -> None:
    kept, gone = store.put(b"kept", LAYER), store.put(b"gone!", LAYER)

    assert store.sweep({kept.digest}) == 5
    assert store.has(kept)
    assert not store.has(gone)


def test_store_sweep_leaves_a_living_writer_alone(store: Store) -> None:
    with store.writer(LAYER) as blob:
        blob.write(b"living")
        assert store.sweep(set()) == 0

    assert store.has(blob.descriptor)


def test_store_sweep_removes_what_a_killed_writer_left(store: Store) -> None:
    program = (
        "import sys, time; from devenv.engine.native.store.layout import Store\n"
        "with Store(sys.argv[1]).writer('x') as blob:\n"
        "    blob.write(b'orphan'); print('ready', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, store.layout], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        assert store.sweep(set()) == 0
        writer.kill()

    assert store.sweep(set()) == 6
    assert leftovers(store) == []


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"manifests":[{"digest":1}]}', '{"manifests":[7]}', "[" * 100_000]
)
def test_store_tags_of_a_damaged_index_is_an_error_that_names_it(store: Store, content: str) -> None:
    Path(store.layout, "index.json").write_text(content)

    with pytest.raises(StoreError, match=r"index\.json"):
        store.tags()


def test_store_index_refuses_another_layout_version(store: Store) -> None:
    Path(store.layout, "oci-layout").write_text('{"imageLayoutVersion":"2.0.0"}')

    with pytest.raises(StoreError, match=r"2\.0\.0"):
        store.index()


def test_store_index_refuses_a_folder_that_is_no_layout(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="oci-layout"):
        Store(str(tmp_path)).index()


def test_store_files_are_for_their_owner_only(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        store = Store(str(tmp_path / "oci"))
        store.init()
        descriptor = store.put(b"secret", LAYER)
    finally:
        os.umask(umask)

    assert Path(store.layout).stat().st_mode & 0o777 == 0o700
    assert blob_path(store, descriptor).stat().st_mode & 0o777 == 0o600
    assert Path(store.layout, "index.json").stat().st_mode & 0o777 == 0o600


def test_store_index_is_what_the_spec_says(store: Store) -> None:
    descriptor = store.put(b"1", MANIFEST)
    store.tag("shop", descriptor)

    assert json.loads(store.index()) == {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            {
                "mediaType": MANIFEST,
                "digest": descriptor.digest,
                "size": 1,
                "annotations": {"org.opencontainers.image.ref.name": "shop"},
            }
        ],
    }


def test_store_follows_no_link_that_stands_where_the_next_index_is_written(store: Store, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    os.symlink(tmp_path / "precious", f"{store.layout}/index.json.new")
    descriptor = store.put(b"hello", CONFIG)

    store.tag("shop", descriptor)

    assert (tmp_path / "precious").read_text() == "kept"
    assert store.tags() == {"shop": descriptor}


def test_store_retag_sees_what_had_the_name(store: Store) -> None:
    one, two = store.put(b"one", MANIFEST), store.put(b"two", MANIFEST)
    seen = []

    def renew(before: Descriptor | None) -> Descriptor:
        seen.append(before)
        return two if before else one

    store.retag("x", renew, "a/b")
    store.retag("x", renew, "a/b")

    assert (seen, store.tags()) == ([None, one], {"x": two})
    assert [entry["artifactType"] for entry in json.loads(store.index())["manifests"]] == ["a/b"]
