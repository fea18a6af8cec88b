"""Prepared builds → images by their names, all built at the same time from when the first of them is asked for."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import NamedTuple

from devenv.model.image import Image

from .execute import Build

_PATIENCE = 0.05  # seconds between two attempts to end what is under way


class Due(NamedTuple):
    """A build to be done: under these names it is asked for, its image is called so."""

    build: Build
    names: Sequence[str]
    references: Sequence[str]


class Several:
    """Builds that don't need each other. Each has a workshop of its own (Workshop.apart), or one that fails would end all."""

    def __init__(self, due: Sequence[Due]) -> None:
        self.due = {name: one for one in due for name in one.names}
        self.every = due
        self.futures: dict[str, Future[Image]] = {}
        self.threads: list[threading.Thread] = []

    def image(self, name: str) -> Image:
        """The image of this name. Raises what its build failed with; the others go on."""
        if len(self.every) == 1:
            (one,) = self.every
            return one.build.image(one.references)
        if not self.threads:
            self._begin()
        try:
            error = self.futures[name].exception()
        except BaseException:  # whoever asks is interrupted
            self.end()
            raise
        if error is not None:
            raise error
        return self.futures[name].result()

    def end(self) -> None:
        """What is still under way ends."""
        for thread in self.threads:
            while thread.is_alive():  # again and again: it may be just about to begin
                for one in self.every:
                    one.build.end()
                thread.join(_PATIENCE)

    def _begin(self) -> None:
        for one in self.every:
            future: Future[Image] = Future()
            self.futures |= dict.fromkeys(one.names, future)
            thread = threading.Thread(target=_settle, args=(future, one), name=f"build {one.names[0]}")
            self.threads.append(thread)
            thread.start()


def alike(keys: Mapping[str, str]) -> Sequence[Sequence[str]]:
    """Names of images by their keys: those with the same key are one image."""
    found: dict[str, list[str]] = {}
    for name, key in keys.items():
        found.setdefault(key, []).append(name)
    return list(found.values())


def _settle(future: Future[Image], one: Due) -> None:
    try:
        future.set_result(one.build.image(one.references))
    except BaseException as error:
        future.set_exception(error)
