"""One store for all of these tests, with real packages in it; it must leave nothing."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator

import pytest

from devenv.paths import Paths
from tests.e2e.place import EXAMPLES, Place
from tests.engine.conftest import bootstrap_once, temporary_store

New = Callable[..., Place]


@pytest.fixture(scope="package")
def store() -> Iterator[Paths]:
    """The store, its caches and base shared by all these tests; the base is the one made once in a run."""
    made = bootstrap_once()
    with temporary_store() as paths:
        shutil.copytree(made.packages, paths.packages, symlinks=True)
        first = Place(paths, f"{os.path.dirname(paths.home)}/first")
        first.write("devenv.yml", "from: bootstrap:bookworm\n")
        shutil.copy(made.lock, first.folder)
        first("build", "--locked", "--cache-from", made.cache)
        yield paths


@pytest.fixture(scope="module")
def new(store: Paths) -> Iterator[New]:
    """Makes a project folder: a copy of an example, or with a manifest; all are brought down at the module's end."""
    made: list[Place] = []

    def place(example: str = "", manifest: str = "") -> Place:
        folder = tempfile.mkdtemp(prefix="project", dir=os.path.dirname(store.home))
        os.chmod(folder, 0o755)
        if example:
            ignored = shutil.ignore_patterns("__pycache__", "node_modules", "*.sqlite3")
            shutil.copytree(f"{EXAMPLES}/{example}", folder, dirs_exist_ok=True, ignore=ignored)
        found = Place(store, folder)
        if manifest:
            found.write("devenv.yml", manifest)
        made.append(found)
        return found

    yield place
    for one in made:
        assert one.attempt("down", "--volumes").code in (0, 2)
