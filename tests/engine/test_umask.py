"""A user whose umask lets nobody else in: the store's folders are what they must be all the same."""

from __future__ import annotations

import os
import tempfile

import pytest

from tests.engine.conftest import temporary_store
from tests.engine.project import Project

pytestmark = pytest.mark.engine


def test_umask_of_the_user_decides_nothing(base: str) -> None:
    with temporary_store() as store:
        project = Project(store, tempfile.mkdtemp(prefix="project", dir=os.path.dirname(store.home)), base)
        project.write("Containerfile", "FROM base\nRUN umask >/said && mkdir /made\nWORKDIR /here\n")
        project.manifest(f"from: file:Containerfile\ncontexts: {{base: '{base}'}}\n")
        before = os.umask(0o077)  # what we start inherits it
        try:
            project.run("up")
            assert project.run("exec", "--", "sh", "-c", "umask; cat /said; stat -c %a /made /here") == (
                "0022\n0022\n755\n755\n"
            )
            assert project.run("run", "--", "sh", "-c", "umask") == "0022\n"
        finally:
            os.umask(before)
            project.down()
