"""Image configs and manifests: written as the spec has them, read from anywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from devenv.engine.native.store import image
from devenv.engine.native.store.config import History, config_json, parse_config
from devenv.engine.native.store.image import ImageManifest
from devenv.engine.native.store.layout import Store
from devenv.errors import StoreError
from devenv.model.image import CONFIG, INDEX, LAYER, MANIFEST, Descriptor, Healthcheck, ImageConfig

FULL = ImageConfig(
    env=(("PATH", "/usr/bin"), ("EQUALS", "a=b"), ("EMPTY", "")),
    user="app:app",
    workdir="/workspace",
    entrypoint=("/init",),
    cmd=(),
    exposed=("53/udp", "8000/tcp"),
    volumes=("/data",),
    labels=(("a", "1"), ("b", "ü")),
    stop_signal="SIGINT",
    healthcheck=Healthcheck(("CMD", "true"), 1_000_000_000, 2, 3, 4, 5),
    shell=("/bin/bash", "-c"),
    onbuild=("RUN true",),
    architecture="arm64",
    variant="v8",
)
AMD64 = "linux/amd64"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path / "oci"))
    store.init()
    return store


def small_image(store: Store, text: bytes = b"layer", tag: str = "latest") -> Descriptor:
    written = image.write(store, ImageConfig(), [store.put(text, LAYER)], 0)
    if tag:
        store.tag(tag, written)
    return written


def document(store: Store, descriptor: Descriptor) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(store.read(descriptor))
    return loaded


def put(store: Store, value: object, media_type: str) -> Descriptor:
    return store.put(value if isinstance(value, bytes) else json.dumps(value).encode(), media_type)


def listed(descriptor: Descriptor, platform: str = "", tag: str = "") -> dict[str, Any]:
    entry: dict[str, Any] = {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    }
    if platform:
        entry["platform"] = dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False))
    if tag:
        entry["annotations"] = {"org.opencontainers.image.ref.name": tag}
    return entry


def replace_index(store: Store, value: object) -> None:
    Path(store.layout, "index.json").write_text(value if isinstance(value, str) else json.dumps(value))


def index(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"schemaVersion": 2, "manifests": list(entries)}


def read(store: Store, tag: str = "", platform: str = AMD64) -> ImageManifest:
    return image.read(store, tag, platform)


# Config ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [FULL, ImageConfig(), ImageConfig(entrypoint=(), shell=())])
def test_image_config_reads_back(config: ImageConfig) -> None:
    assert parse_config(config_json(config, [], [], 0)) == config


def test_image_config_is_these_bytes() -> None:
    config = ImageConfig(env=(("A", "1"),), cmd=("sh",), exposed=("8000",))
    history = [History("base"), History("ENV A=1", empty=True)]

    assert config_json(config, ["sha256:" + "0" * 64], history, 1_700_000_000) == (
        b'{"architecture":"amd64","config":{"Cmd":["sh"],"Env":["A=1"],"ExposedPorts":{"8000/tcp":{}}},'
        b'"created":"2023-11-14T22:13:20Z","history":[{"created":"2023-11-14T22:13:20Z","created_by":"base"},'
        b'{"created":"2023-11-14T22:13:20Z","created_by":"ENV A=1","empty_layer":true}],"os":"linux",'
        b'"rootfs":{"diff_ids":["sha256:' + b"0" * 64 + b'"],"type":"layers"}}'
    )


def test_image_config_refuses_a_history_of_other_layers() -> None:
    with pytest.raises(StoreError, match="history"):
        config_json(ImageConfig(), ["sha256:" + "0" * 64], [History("a"), History("b")], 0)


def config_with(**fields: object) -> bytes:
    return json.dumps(
        {"os": "linux", "architecture": "amd64", "config": fields, "rootfs": {"type": "layers", "diff_ids": []}}
    ).encode()


def test_image_config_takes_null_for_unset() -> None:
    names = ("Env", "Cmd", "Entrypoint", "Volumes", "ExposedPorts", "Labels", "Healthcheck", "Shell", "OnBuild")

    assert parse_config(config_with(**dict.fromkeys(names))) == ImageConfig()


def test_image_config_takes_a_variable_without_value() -> None:
    assert parse_config(config_with(Env=["A"])).env == (("A", ""),)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Env", "A=1"),
        ("Env", [1]),
        ("Env", ["=x"]),
        ("Env", ["A=\0"]),
        ("Env", ["A=" + "x" * 200_000]),
        ("Env", ["A=1"] * 5000),
        ("Env", {"A": "1"}),
        ("User", 0),
        ("User", None),
        ("User", "\ud800"),
        ("WorkingDir", ["/"]),
        ("Entrypoint", "sh"),
        ("Cmd", [None]),
        ("ExposedPorts", ["80"]),
        ("Volumes", "/data"),
        ("Labels", {"a": 1}),
        ("StopSignal", 9),
        ("Healthcheck", []),
        ("Healthcheck", {"Test": "true"}),
        ("Healthcheck", {"Test": ["CMD"], "Interval": -1}),
        ("Healthcheck", {"Test": ["CMD"], "Retries": True}),
        ("Healthcheck", {"Test": ["CMD"], "Timeout": 1.5}),
        ("Shell", {}),
        ("OnBuild", "RUN x"),
    ],
)
def test_image_config_refuses_a_hostile_field_by_name(field: str, value: object) -> None:
    with pytest.raises(StoreError, match=f"read image config: {field}"):
        parse_config(config_with(**{field: value}))


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b"\xff{}", b"[" * 200_000, b'{"a":' + b"1" * 10_000 + b"}", b" " * (5 << 20)]
)
def test_image_config_refuses_what_is_no_json_object(data: bytes) -> None:
    with pytest.raises(StoreError, match="read image config"):
        parse_config(data)


@pytest.mark.parametrize(
    "rootfs",
    [None, {}, {"type": "x"}, {"type": "layers", "diff_ids": ["sha256:../x"]}, {"type": "layers", "diff_ids": 1}],
)
def test_image_config_refuses_a_strange_rootfs(rootfs: object) -> None:
    with pytest.raises(StoreError, match="read image config"):
        parse_config(json.dumps({"os": "linux", "architecture": "amd64", "rootfs": rootfs}).encode())


# Image -----------------------------------------------------------------------------------------------------------


def test_image_write_gives_the_same_bytes_again(tmp_path: Path) -> None:
    digests = set()
    for name in ("a", "b"):
        store = Store(str(tmp_path / name))
        store.init()
        digests.add(image.write(store, FULL, [store.put(b"x", LAYER)], 1_700_000_000).digest)

    assert len(digests) == 1


def test_image_read_finds_what_was_written(store: Store) -> None:
    layers = [store.put(b"one", LAYER), store.put(b"two", LAYER)]
    written = image.write(store, ImageConfig(env=(("A", "1"),)), layers, 0)
    store.tag("shop", written)

    found = read(store, "shop")

    assert found.descriptor == written
    assert found.layers == tuple(layers)
    assert found.diff_ids == tuple(layer.digest for layer in layers)
    assert found.config == ImageConfig(env=(("A", "1"),))


def test_image_read_without_a_tag_takes_the_only_one(store: Store) -> None:
    only = small_image(store)

    assert read(store).descriptor == only


def test_image_read_without_a_tag_refuses_to_choose_and_names_them(store: Store) -> None:
    small_image(store, b"one", "x")
    small_image(store, b"two", "y")

    with pytest.raises(StoreError, match="tag: x, y"):
        read(store)


def test_image_read_of_one_image_with_two_names_needs_no_tag(store: Store) -> None:
    small_image(store, tag="x")
    same = small_image(store, tag="y")

    assert read(store).descriptor == same


def test_image_read_names_the_tags_there_are(store: Store) -> None:
    small_image(store, tag="v1")

    with pytest.raises(StoreError, match="'v2'; there are: v1"):
        read(store, "v2")


def test_image_read_shows_no_escape_sequence_of_a_tag(store: Store) -> None:
    small_image(store, tag="\x1b[31m")

    with pytest.raises(StoreError) as caught:
        read(store, "v2")
    assert "\x1b" not in str(caught.value)


def test_image_read_of_an_empty_layout_says_so(store: Store) -> None:
    with pytest.raises(StoreError, match="lists no image"):
        read(store)


@pytest.mark.parametrize(("list_type", "manifest_type"), [(INDEX, MANIFEST), (DOCKER_LIST, DOCKER_MANIFEST)])
def test_image_read_chooses_by_platform_in_a_nested_index(store: Store, list_type: str, manifest_type: str) -> None:
    layer = store.put(b"layer", LAYER)
    entries = []
    for architecture, variant in (("amd64", ""), ("arm64", "v8"), ("arm", "v6"), ("arm", "v7")):
        config = ImageConfig(architecture=architecture, variant=variant)
        manifest = document(store, image.write(store, config, [layer], 0)) | {"mediaType": manifest_type}
        platform = "/".join(filter(None, ("linux", architecture, variant)))
        entries.append(listed(put(store, manifest, manifest_type), platform))
    entries.append(listed(store.put(b"attestation", MANIFEST), "unknown/unknown"))
    nested = put(store, index(*entries) | {"mediaType": list_type}, list_type)
    replace_index(store, index(listed(nested, tag="all")))

    for number, platform in enumerate(("linux/amd64", "linux/arm64", "linux/arm/v6", "linux/arm/v7")):
        assert read(store, "all", platform).descriptor.digest == entries[number]["digest"]
    with pytest.raises(StoreError, match="no image for linux/s390x; there are: linux/amd64, linux/arm/v6"):
        read(store, "all", "linux/s390x")


def test_image_read_refuses_a_config_of_another_platform(store: Store) -> None:
    small_image(store)

    with pytest.raises(StoreError, match="linux/amd64, not for linux/arm64"):
        read(store, platform="linux/arm64")


def test_image_read_takes_docker_media_types(store: Store) -> None:
    manifest = document(store, small_image(store, tag="")) | {"mediaType": DOCKER_MANIFEST}
    manifest["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json"
    manifest["layers"][0]["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    replace_index(store, index(listed(put(store, manifest, DOCKER_MANIFEST))))

    assert len(read(store).layers) == 1


def test_image_read_takes_500_layers_and_refuses_501(store: Store) -> None:
    layer = store.put(b"layer", LAYER)
    store.tag("most", image.write(store, ImageConfig(), [layer] * 500, 0))
    store.tag("more", image.write(store, ImageConfig(), [layer] * 501, 0))

    assert len(read(store, "most").layers) == 500
    with pytest.raises(StoreError, match="501 layers"):
        read(store, "more")


def test_image_read_names_a_missing_blob(store: Store) -> None:
    manifest = document(store, small_image(store))
    layer = manifest["layers"][0]["digest"]
    Path(store.layout, "blobs/sha256", layer.removeprefix("sha256:")).unlink()

    with pytest.raises(StoreError, match=f"layer {layer}: it is missing"):
        read(store)


def test_image_read_names_a_changed_config(store: Store) -> None:
    config = document(store, small_image(store))["config"]
    path = Path(store.layout, "blobs/sha256", config["digest"].removeprefix("sha256:"))
    path.write_bytes(path.read_bytes().replace(b"amd64", b"arm64"))

    with pytest.raises(StoreError, match=config["digest"]):
        read(store)


def hostile_manifest(store: Store, **changes: object) -> None:
    manifest = document(store, small_image(store, tag="")) | changes
    replace_index(store, index(listed(put(store, manifest, MANIFEST))))


BLOB = {"mediaType": LAYER, "digest": "sha256:" + "a" * 64, "size": 1}


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"manifests": []}, "ambiguous"),
        ({"fsLayers": []}, "ambiguous"),
        ({"schemaVersion": 1}, "schemaVersion"),
        ({"mediaType": INDEX}, "it says it is"),
        ({"mediaType": DOCKER_MANIFEST}, "it says it is"),
        ({"mediaType": 7}, "it says it is"),
        ({"mediaType": ["x"]}, "it says it is"),
        ({"config": None}, "config.digest"),
        ({"config": BLOB}, "not a container image"),
        ({"config": BLOB | {"mediaType": CONFIG, "size": 5 << 20}}, "at most"),
        ({"layers": None}, "layers: not a list"),
        ({"layers": []}, "1 diff ids for 0 layers"),
        ({"layers": [7]}, "layers: not an object"),
        ({"layers": [BLOB | {"digest": "sha256:../../etc/passwd"}]}, "not a sha256 digest"),
        ({"layers": [BLOB | {"digest": "sha512:" + "a" * 128}]}, "not a sha256 digest"),
        ({"layers": [BLOB | {"size": -1}]}, "layers.size"),
        ({"layers": [BLOB | {"size": "1"}]}, "layers.size"),
        ({"layers": [BLOB | {"size": 1 << 62}]}, "layers.size"),
        ({"layers": [BLOB | {"mediaType": "text/html"}]}, "text/html"),
        ({"layers": [BLOB | {"mediaType": LAYER + "+encrypted"}]}, "encrypted"),
        ({"layers": [BLOB]}, "it is missing"),
    ],
)
def test_image_read_refuses_a_hostile_manifest(store: Store, changes: dict[str, object], cause: str) -> None:
    hostile_manifest(store, **changes)

    with pytest.raises(StoreError, match=cause):
        read(store)


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ("nonsense", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not a JSON object"),
        ({"schemaVersion": 2}, "manifests: not a list"),
        (index() | {"config": {}}, "ambiguous"),
        (index() | {"layers": []}, "ambiguous"),
        (index() | {"mediaType": MANIFEST}, "it says it is"),
        (index(*[listed(Descriptor(MANIFEST, "sha256:" + "a" * 64, 1))] * 5000), "more than 4096"),
        (index(listed(Descriptor(MANIFEST, "sha256:../x", 1))), "not a sha256 digest"),
        (index(listed(Descriptor("text/plain", "sha256:" + "a" * 64, 1))), "text/plain"),
        (index(listed(Descriptor(MANIFEST, "sha256:" + "a" * 64, 1))), "No such file"),
        (index(listed(Descriptor(MANIFEST, "sha256:" + "a" * 64, 1)) | {"annotations": []}), "annotations"),
        (index(listed(Descriptor(MANIFEST, "sha256:" + "a" * 64, 1)) | {"platform": "linux"}), "platform"),
    ],
)
def test_image_read_refuses_a_hostile_index(store: Store, value: object, cause: str) -> None:
    replace_index(store, value)

    with pytest.raises(StoreError, match=cause):
        read(store)


def test_image_read_refuses_an_index_nested_too_deep(store: Store) -> None:
    inner = small_image(store, tag="")
    for _ in range(6):
        inner = put(store, index(listed(inner)), INDEX)
    replace_index(store, index(listed(inner)))

    with pytest.raises(StoreError, match="not an image manifest's"):
        read(store)
