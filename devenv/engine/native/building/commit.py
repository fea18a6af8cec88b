"""Layers of the store -> an image in it; an image of the store -> an OCI image layout elsewhere, a folder or a tar of one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

from devenv.beneath import remove_tree
from devenv.errors import EngineError, Fault, InputError, NotFound, StoreError
from devenv.model.image import LAYER, MANIFEST, Descriptor, Image, Rootfs

from .. import mount
from ..records import observe
from ..store import image as images
from ..store import layer
from ..store.blob import Writer
from ..store.config import config_json
from ..store.layout import Store
from ..store.tarred import Tarring
from .site import Site

_AGAIN = "build it again with --no-cache: `devenv build` or `devenv up`"


def packed(site: Site, number: int) -> Descriptor:
    """What a layer's tar is; computed when nobody did so far."""
    known = site.state.layer_blob(number)
    if known is not None:
        return Descriptor(LAYER, *known)
    found = layer.descriptor(site.paths.layer(number))
    site.state.set_blob(number, found.digest, found.size)
    return found


def commit(site: Site, rootfs: Rootfs, key: str, references: Sequence[str], clock: int) -> Image:
    """Write config and manifest, durably, and name the image, made at `clock`. Its layers stay folders."""
    store = Store(site.paths.layout)
    store.init()
    descriptors = [packed(site, number) for number in rootfs.layers]
    descriptor = images.write(store, rootfs.config, descriptors, clock)
    mount.sync(site.paths.home)
    size = sum(one.size for one in descriptors)
    config = config_json(rootfs.config, [one.digest for one in descriptors], [], clock).decode()
    # The names first: one without a row is rubbish, a row whose name was never written would stay without.
    for reference in references or (descriptor.digest[7:19],):
        store.tag(reference, descriptor)
    if site.state.image_of(key) not in (None, descriptor.digest):
        remove_tree(f"{site.paths.home}/receipts")  # they speak of another image of this key
    layers = _standing(site, descriptor.digest, rootfs.layers) or rootfs.layers
    site.state.commit_image(descriptor.digest, key, layers, config, size, references)
    return Image(descriptor.digest, tuple(references), rootfs.config, layers, time.time(), size, key)


def _standing(site: Site, digest: str, made: Sequence[int]) -> tuple[int, ...]:
    """The layers that an image of this digest has already: containers stand on them. () when one isn't as it was."""
    found = observe.image(site.state, digest)
    if found is None:
        return ()
    for number in found.layers:
        known = site.state.layer_blob(number)
        if number not in made and not (
            known
            and observe.whole(site.state, site.paths, number)
            and layer.descriptor(site.paths.layer(number)).digest == known[0]
        ):
            return ()
    return found.layers


# Elsewhere ------------------------------------------------------------------------------------------------------


class Parts(NamedTuple):
    """An image's blobs: its manifest, its config, and each layer with its number in the store."""

    manifest: Descriptor
    config: Descriptor
    layers: tuple[tuple[int, Descriptor], ...]


def export(site: Site, digest: str, target: str, name: str) -> None:
    """Write the image with this digest, named `name`, to `target`: a tar if it ends in .tar, else a folder.

    A layout that is there is added to; a tar is replaced. What is there when this returns is whole, checked and on disk;
    after an error nothing new is there under the image's name. Raises InputError, NotFound, EngineError, StoreError.
    """
    parts, target = parts_of(site, digest), os.path.abspath(target)
    try:
        if not target.endswith(".tar"):
            _to_folder(site, parts, target, name)
            return
        with tarring(target) as out:
            put(site, parts, out)
            out.name(name, parts.manifest)
    except OSError as error:
        raise EngineError(f"write {target}: {error.strerror}") from error


def parts_of(site: Site, digest: str) -> Parts:
    """What an image of the store is made of. Raises NotFound, StoreError."""
    found = observe.image(site.state, digest)
    if found is None:
        raise NotFound(f"image {digest}: isn't in the store", hint="`devenv images` lists what is")
    store = Store(site.paths.layout)
    try:
        manifest = store.find(digest, MANIFEST)
        config, layers = images.parts(store, manifest)
        store.read(config)
    except StoreError as error:
        raise StoreError(f"save image {digest[7:19]}: {error.message}", hint=_AGAIN) from error
    if len(layers) != len(found.layers):
        raise StoreError(f"save image {digest[7:19]}: its manifest tells of other layers than the store", hint=_AGAIN)
    return Parts(manifest, config, tuple(zip(found.layers, layers, strict=True)))


def put(site: Site, parts: Parts, out: Store | Tarring) -> None:
    """Write what isn't there already of an image's blobs."""
    for number, wanted in parts.layers:
        put_layer(site, number, wanted, out)
    put_small(site, parts, out)


def put_small(site: Site, parts: Parts, out: Store | Tarring) -> None:
    """Its config and manifest."""
    store = Store(site.paths.layout)
    for small in (parts.config, parts.manifest):
        out.put(store.read(small), small.media_type)


def put_layer(site: Site, number: int, wanted: Descriptor, out: Store | Tarring) -> None:
    """Pack a layer, unless it is there already."""
    if not out.has(wanted):
        with out.receive(wanted) as blob:
            _pack(site, number, wanted, blob)


def _pack(site: Site, number: int, wanted: Descriptor, out: Writer) -> None:
    """Pack a layer anew: what comes out must be what was committed."""
    what = f"save layer {number} ({wanted.digest[7:19]})"
    try:
        layer.pack(site.paths.layer(number), out, epoch=None)
    except EngineError as error:
        raise StoreError(f"{what}: {error.message}", hint=_AGAIN) from error
    if (out.digest(), out.size) != (wanted.digest, wanted.size):
        raise StoreError(f"{what}: somebody changed its folder: its digest is {out.digest()[7:19]} now", hint=_AGAIN)


# A folder -------------------------------------------------------------------------------------------------------


def _to_folder(site: Site, parts: Parts, target: str, name: str) -> None:
    if is_layout(target):
        _fill(site, parts, target, name)
        return
    draft = _draft(target)
    try:
        _fill(site, parts, draft, name)
        os.rmdir(f"{draft}/ingest")  # no part of a layout; elsewhere somebody may be writing there
        os.rename(draft, target)  # an empty folder there is replaced
    except BaseException:
        remove_tree(draft)
        raise
    mount.sync(target)


def is_layout(target: str) -> bool:
    """Whether an image layout is there; if not, nothing or an empty folder is, or InputError is raised."""
    if os.path.lexists(target) and not os.path.isdir(target):
        raise InputError(Fault(target, 0, 0, "is a file", "name a folder, or a file that ends in .tar"))
    if not os.path.isdir(target) or not os.listdir(target):
        return False
    if not os.path.isfile(f"{target}/oci-layout"):
        raise InputError(Fault(target, 0, 0, "isn't empty, and no OCI image layout", "name a new folder"))
    return True


def _fill(site: Site, parts: Parts, folder: str, name: str) -> None:
    layout = Store(folder, 0o755)
    layout.init()
    put(site, parts, layout)
    mount.sync(folder)
    layout.tag(name, parts.manifest)


def _draft(target: str) -> str:
    """A name beside the target that nobody has."""
    folder, name = os.path.split(target)
    if not os.path.isdir(folder):
        raise NotFound(f"{folder}: no such folder", hint="make it, or save somewhere else")
    return f"{folder}/.{name[:200]}.{os.urandom(8).hex()}"


# A tar ----------------------------------------------------------------------------------------------------------


@contextmanager
def tarring(target: str) -> Iterator[Tarring]:
    """A layout to fill; it replaces `target`, whole and on disk, when the context ends well."""
    if os.path.isdir(target):
        raise InputError(Fault(target, 0, 0, "is a folder", "name a file, or a folder that doesn't end in .tar"))
    draft = _draft(target)
    try:
        with open(draft, "wb", buffering=0) as file:
            out = Tarring(file.fileno())
            yield out
            out.finish()
        os.rename(draft, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(draft)
        raise
    mount.sync(target)
