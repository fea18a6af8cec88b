"""Layers of the store -> a cache elsewhere, an OCI image layout; and layers of such a cache -> the store, each verified."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress

from devenv.crew import each
from devenv.errors import DevenvError, EngineError, NotFound, StoreError
from devenv.model.build import Shared
from devenv.model.events import Event, Sink
from devenv.model.image import Descriptor, Offer

from .. import mount
from ..store import shelf
from ..store.blob import Stream
from ..store.index import named
from ..store.layout import Store
from ..store.tarred import Tarred, Tarring
from ..store.unpack import unpack
from . import commit
from .draft import drafting
from .site import Site

_THREADS = 2  # more only wait for each other: creating files takes one lock of the kernel's, Python another
_REMOVE = "remove it, or leave --cache-from out"


class _Stopped(Exception):
    """Another layer failed, or the user interrupted."""


# From a cache ---------------------------------------------------------------------------------------------------


def offered(place: str) -> Mapping[str, Offer]:
    """What the cache at an absolute path has, by key. Raises NotFound when nothing is there yet, StoreError."""
    if not os.path.lexists(place) or (os.path.isdir(place) and not os.listdir(place)):
        raise NotFound(f"cache {place}: isn't there yet")
    try:
        with ExitStack() as held:
            layout = _opened(place, held)
            names = named(layout.index(), f"{place}/index.json")
            if not names:  # the first --cache-to was interrupted, or is still at it
                raise NotFound(f"cache {place}: has nothing yet")
            if shelf.NAME not in names:
                raise StoreError("it holds images, but no cache", hint="`devenv build --cache-to` writes one")
            found = shelf.read(layout, names[shelf.NAME])
    except StoreError as error:
        raise StoreError(f"read cache {place}: {error.message}", hint=error.hint or _REMOVE) from error
    return {key: Offer(place, blob) for key, blob in found.items()}


def take(site: Site, wanted: Sequence[tuple[Shared, Offer]], sink: Sink) -> None:
    """Have these layers in the store. After an error those are that were whole. Raises StoreError, EngineError."""
    stop = threading.Event()
    with ExitStack() as held:
        layouts = {place: _opened(place, held) for place in sorted({offer.place for _, offer in wanted})}
        pool = held.enter_context(ThreadPoolExecutor(_THREADS))
        # The largest first: whoever is done early takes what is left.
        ordered = sorted(wanted, key=lambda one: -one[1].blob.size)
        pending = [pool.submit(_taken, site, one, offer, layouts[offer.place], stop, sink) for one, offer in ordered]
        try:
            wait(pending, return_when=FIRST_EXCEPTION)
        finally:
            stop.set()
        for future in pending:
            with suppress(_Stopped):
                future.result()


def _taken(site: Site, shared: Shared, offer: Offer, layout: Store | Tarred, stop: threading.Event, sink: Sink) -> None:
    name = f"from cache  {shared.title}"
    with drafting(site, shared.key) as draft:
        if draft.found is not None:
            return
        if stop.is_set():
            raise _Stopped
        sink(Event("started", name))
        begun = time.monotonic()
        try:
            with _Stoppable(layout.stream(offer.blob), stop) as stream:
                # Not compressed, so that its digest is the diff id: computed once, while it is unpacked.
                made = unpack(stream, f"{draft.folder}/upper", diff_id=offer.blob.digest)
        except (DevenvError, OSError) as error:
            sink(Event("failed", name, seconds=time.monotonic() - begun))
            raise _refused(shared, offer, error) from error
        draft.keep(f"{draft.folder}/upper", made.size, shared.parent)
        site.state.set_blob(draft.result, offer.blob.digest, offer.blob.size)
        sink(Event("done", name, seconds=time.monotonic() - begun))


def _refused(shared: Shared, offer: Offer, error: DevenvError | OSError) -> EngineError:
    cause = error.message if isinstance(error, DevenvError) else error.strerror
    told = f"take {shared.title} from cache {offer.place}: blob {offer.blob.digest}: {cause}"
    if isinstance(error, StoreError):
        return StoreError(told, hint=f"it was changed or is damaged: {_REMOVE}")
    return EngineError(told, hint=error.hint if isinstance(error, DevenvError) else "")


class _Stoppable:
    """A stream that breaks off when it is no longer wanted."""

    def __init__(self, stream: Stream, stop: threading.Event) -> None:
        self._stream = stream
        self._stop = stop

    def read(self, size: int, /) -> bytes:
        if self._stop.is_set():
            raise _Stopped
        return self._stream.read(size)

    def __enter__(self) -> _Stoppable:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


def _opened(place: str, held: ExitStack) -> Store | Tarred:
    return Store(place) if os.path.isdir(place) else held.enter_context(Tarred(place))


# To a cache -----------------------------------------------------------------------------------------------------


def give(site: Site, place: str, shared: Sequence[Shared], images: Mapping[str, str], sink: Sink) -> None:
    """Write images, and which of these layers the store has, to a cache: see Workshop.give."""
    parts = {name: commit.parts_of(site, digest) for name, digest in images.items()}
    place = os.path.abspath(place)
    told, begun = f"to cache  {place}", time.monotonic()
    sink(Event("started", told))
    try:
        os.makedirs(os.path.dirname(place), exist_ok=True)
        numbers = {one.key: number for one in shared if (number := site.layer(one.key)) is not None}
        if place.endswith(".tar"):
            with commit.tarring(place) as out:
                layers = _put(site, parts, numbers, out, 1)
                for name, one in parts.items():
                    out.name(name, one.manifest)
                out.name(shelf.NAME, shelf.write(out, layers), shelf.KIND)
        else:
            _to_folder(site, parts, place, numbers)
    except OSError as error:
        raise EngineError(f"write cache {place}: {error.strerror}") from error
    sink(Event("done", told, seconds=time.monotonic() - begun))


def _to_folder(site: Site, parts: Mapping[str, commit.Parts], place: str, numbers: Mapping[str, int]) -> None:
    if not os.path.isdir(place):
        commit.is_layout(place)  # a file: said before anything is made
    layout = Store(place, 0o755)
    layout.init(lambda: commit.is_layout(place))
    layout.tidy()
    layers = _put(site, parts, numbers, layout, _THREADS)

    def renewed(before: Descriptor | None) -> Descriptor:
        found = shelf.write(layout, {**layers, **_others(layout, before, layers)})
        mount.sync(place)
        return found

    layout.retag(shelf.NAME, renewed, shelf.KIND)
    for name, one in parts.items():
        layout.tag(name, one.manifest)


def _others(layout: Store, before: Descriptor | None, ours: Mapping[str, Descriptor]) -> Mapping[str, Descriptor]:
    """What the cache had from others, or from us before."""
    try:
        found = shelf.read(layout, before) if before else {}
    except StoreError as error:
        raise StoreError(f"add to cache {layout.layout}: {error.message}", hint="remove it, or name another") from error
    return {key: blob for key, blob in found.items() if key not in ours}


def _put(
    site: Site, parts: Mapping[str, commit.Parts], numbers: Mapping[str, int], out: Store | Tarring, threads: int
) -> dict[str, Descriptor]:
    """Write the blobs; those of the layers, by key."""

    def put(number: int) -> Descriptor:
        wanted = commit.packed(site, number)
        commit.put_layer(site, number, wanted, out)
        return wanted

    images = (number for one in parts.values() for number, _ in one.layers)
    every = sorted({*images, *numbers.values()})
    found = dict(zip(every, each(put, every, most=threads), strict=True))
    for one in parts.values():
        commit.put_small(site, one, out)
    return {key: found[number] for key, number in numbers.items()}
