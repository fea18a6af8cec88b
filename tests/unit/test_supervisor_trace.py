"""What a supervisor writes down of its errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from devenv.engine.native.supervisor import trace

PROGRAM = """
from devenv.engine.native.supervisor.trace import trace
from devenv.errors import EngineError
for number in range({count}):
    trace({error})
"""


def _written(log: Path, error: str, count: int) -> str:
    with open(log, "ab") as file:
        subprocess.run([sys.executable, "-c", PROGRAM.format(error=error, count=count)], stderr=file, check=True)
    return log.read_text()


def test_trace_never_grows_beyond_its_bound(tmp_path: Path) -> None:
    said = _written(tmp_path / "log", "EngineError(f'connect: {number} ' + 'x' * 1000)", 200)
    assert "connect: 199 " in said
    assert os.path.getsize(tmp_path / "log") <= trace.MOST + 2000


def test_trace_of_a_bug_says_where_it_is(tmp_path: Path) -> None:
    said = _written(tmp_path / "log", "ValueError('what')", 1)
    assert "ValueError: what" in said
