"""The door to whatever builds images: what the build executor works with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

if TYPE_CHECKING:  # nothing here runs, and the hot verbs must not wait for the models
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import BinaryIO

    from devenv.model.build import Run, Shared
    from devenv.model.events import Sink
    from devenv.model.image import Difference, Image, Offer, Rootfs
    from devenv.model.lock import BaseLock, Parcel, Remote, Section
    from devenv.model.manifest import Lending


class Bind(NamedTuple):
    """A build step's mount, its source found.

    `source` is a host path or, with `layers`, a path beneath their merged root; cache folders come from `Workshop.cache`.
    tmpfs has a `size` (bytes), a secret its `content`; `mode` and `owner` are those inside. `locked`: one step at a time.
    Instead of a source, Debian packages have their `parcel`: the root that they are for decides how they are given.
    """

    kind: Literal["bind", "cache", "tmpfs", "secret"]
    target: str
    source: str = ""
    layers: tuple[int, ...] = ()
    readonly: bool = True
    content: bytes = b""
    size: int | None = None
    mode: int | None = None
    owner: tuple[int, int] = (0, 0)
    locked: bool = False
    parcel: Parcel | None = None


class Workshop(Protocol):
    """What the build executor works with: layers by key, and places to make new ones."""

    def open(self) -> None:
        """Get ready. Called once, by the thread that starts all others, before it does: mounts are seen by its children."""

    def lend(self, lending: Lending) -> None:
        """What later bases and steps are lent, and where packages are fetched from and looked for."""

    def use(self, section: Section) -> None:
        """Later bases are made of what this part of the lock names."""

    def apart(self) -> Workshop:
        """The same workshop for one of several builds: `cancel` of it ends nobody else's steps."""

    def layer(self, key: str) -> int | None:
        """The id of the layer a step with this key made, if it is in the store and whole."""

    def base(self, reference: str, sink: Sink) -> Rootfs:
        """Bring in a base: `bootstrap:SUITE` or `oci:DIR[:TAG]`; its layers are in the store afterwards."""

    def peek(self, reference: str) -> Rootfs:
        """The same base's key and config without bringing it in (its layers stay empty).

        A suite that no lock names is resolved, at its first use in this store.
        """

    def resolve_base(self, suite: str, sink: Sink) -> BaseLock:
        """What a suite's base is made of today: asks the archives. Raises EngineError."""

    def view(self, layers: Sequence[int]) -> AbstractContextManager[str]:
        """A read-only merged root of these layers, with the image's own ids, for as long as the context lasts."""

    def folder(self, layer: int) -> str:
        """The folder of one layer, in overlayfs form, with the image's own ids. Never to be written."""

    def edit(self, key: str, layers: Sequence[int], clock: int = ...) -> AbstractContextManager[str]:
        """A writable merged root over these layers; left without an exception, what was written is the layer `key`: see `run`."""

    def run(
        self,
        key: str,
        layers: Sequence[int],
        run: Run,
        *,
        env: Mapping[str, str],
        user: str,
        workdir: str,
        binds: Sequence[Bind],
        output: Callable[[str], None],
        keep_failed: str = "",
        parent: str = "",
        clock: int = ...,
    ) -> int:
        """Run a step's process over these layers and keep what it wrote as the layer `key`; returns the layer's id.

        What it wrote is normalised: times since it began are `clock` (Unix seconds), logs, locks and the like go (docs/store.md).
        `parent` is the key of the root it runs on: layers with the same one share equal files. Raises StepFailed with the code;
        nothing is kept then, except, with `keep_failed`, an image of that name.
        """

    def ask(
        self,
        layers: Sequence[int],
        run: Run,
        *,
        env: Mapping[str, str],
        binds: Sequence[Bind],
        output: Callable[[str], None],
        answer: str,
    ) -> str:
        """Run a process, as root and with network, over these layers; the text it wrote to the file `answer` ("" for none).

        Nothing else of it stays. Raises StepFailed with the code.
        """

    def image_digest(self, reference: str) -> str:
        """The digest (sha256:…) of the image that `oci:DIR[:TAG]` names now. Raises StoreError."""

    def remote(self, url: str, sha256: str = "") -> Remote:
        """What a project's URL leads to: fetched from where a step could, and measured. `sha256`: that must be its digest.

        Raises InputError for an address that no step could reach, EngineError for all else.
        """

    def kept(self, remote: Remote) -> str:
        """The path of a file that is locked, fetched if it isn't there, verified. Never to be written."""

    def interpreter(self, version: str) -> tuple[str, Remote]:
        """The newest Python of a version (`3.12`) that uv could bring: its full version, and its archive, measured."""

    def registry(self) -> str:
        """The npm registry that npm asks where the host's configuration names none."""

    def archives(self) -> tuple[str, ...]:
        """URIs of the Debian archives of the host, or of the manifest, that packages come from."""

    def parcel(self, parcel: Parcel) -> AbstractContextManager[str]:
        """A folder with what a parcel holds, fetched and verified, for a step to mount while the context lasts."""

    def place(self, parcel: Parcel, root: str, target: str) -> None:
        """Put the tree that a parcel holds, fetched and verified, into a new root, at `target`. It may be hard links."""

    def cancel(self) -> None:
        """Kill the steps that run in this workshop: their run() fails."""

    def forget(self, key: str) -> None:
        """No longer offer the layer of this key; images made of it keep it."""

    def unpack(self, archive: BinaryIO, folder: int) -> None:
        """Unpack a plain tar into an open folder, beneath it only. Raises StoreError."""

    def cache(self, identifier: str, mode: int, owner: tuple[int, int]) -> str:
        """The folder of a cache mount, made at first use, kept between builds, shared by all projects."""

    def memory(self, folder: str) -> str:
        """The path of a file in which something about a build context can be kept. It may be gone at any time."""

    @property
    def unread(self) -> Sequence[str]:
        """The paths that no build may read: the store's own."""

    def tool(self, name: str) -> str:
        """The path of a program lent to build steps (`uv`, `node`: context `devenv-tools`); fetched at first use."""

    def pack(self, layer: int) -> None:
        """Compute the digest of a layer now; commit() computes those that are missing."""

    def commit(self, rootfs: Rootfs, key: str, references: Sequence[str], clock: int = ...) -> Image:
        """Write config and image manifest, made at `clock`, into the store's OCI layout, durably, and name it. Layers stay folders.

        `key` is what `Observer.observe` finds the image by.
        """

    def export(self, digest: str, target: str, name: str) -> None:
        """Write an image, its layers packed anew and checked, to an OCI layout, where it has this name.

        `target`: a file that ends in .tar, which is replaced, or a folder: a new one, or a layout, which is added to.
        Whole and on disk when this returns; after an error the image isn't there. Raises StoreError, naming the layer, when
        one was changed; InputError, NotFound, EngineError.
        """

    def offered(self, place: str) -> Mapping[str, Offer]:
        """The layers that the cache at an absolute path has, by key; their bytes are looked at when they are taken.

        A cache is an OCI image layout that `give` wrote, a folder or a tar. Raises NotFound when there is none yet, StoreError
        when it is damaged or something else.
        """

    def take(self, wanted: Sequence[tuple[Shared, Offer]], sink: Sink) -> None:
        """Have these layers in the store, as if their steps had been done, each verified. Raises StoreError, EngineError."""

    def give(self, place: str, shared: Sequence[Shared], images: Mapping[str, str], sink: Sink) -> None:
        """Write images (name → digest), and those of these layers that the store has, to a cache.

        `place`: a file that ends in .tar, which is replaced, or a folder: new, or a layout, which is added to, whoever else
        does so. Whole and on disk when this returns. Raises InputError, NotFound, StoreError, EngineError.
        """

    def base_again(self, reference: str, sink: Sink) -> int:
        """Make the base `bootstrap:SUITE` once more, beside the one that is there; its layer, which no key leads to."""

    def discard(self, layer: int) -> None:
        """Remove a layer that nothing was made of."""

    def compare(self, left: int, right: int) -> tuple[Difference, ...]:
        """What isn't the same in two layers, by path; () when their digests are the same."""
