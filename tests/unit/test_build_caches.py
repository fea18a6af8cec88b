"""Cache mounts with sharing=private: each concurrent step has one of its own, and later steps the same ones again."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from devenv.build.caches import private

HOLDER = """
import os, sys, time
from devenv.build.caches import private
with private("pip", lambda name: sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


def test_private_cache_is_had_by_one_and_reused(tmp_path: Path) -> None:
    def folder_of(identifier: str) -> str:
        folder = tmp_path / identifier.replace("\0", "-")
        folder.mkdir(exist_ok=True)
        return str(folder)

    with ExitStack() as stack:
        first, second = (stack.enter_context(private("pip", folder_of)) for _ in range(2))
        other = stack.enter_context(private("apt", folder_of))
        assert len({first, second, other}) == 3
    with private("pip", folder_of) as again:
        assert again == first
    assert len(os.listdir(tmp_path)) == 3


def test_private_cache_of_a_killed_build_is_free_again(tmp_path: Path) -> None:
    folders = [str(tmp_path / name) for name in ("a", "b")]
    for folder in folders:
        os.mkdir(folder)
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, folders[0]], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with private("pip", lambda name: folders[int(name[-1])]) as folder:
        assert folder == folders[1]
    holder.kill()
    holder.communicate()
    with private("pip", lambda name: folders[int(name[-1])]) as folder:
        assert folder == folders[0]
