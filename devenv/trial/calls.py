"""What makes each call of a tool write a report of its own, where one command calls it several times. Pure: texts.

pytest takes one path from PYTEST_ADDOPTS, whatever calls it. A plugin changes it where pytest finds it: an installed package, as
`importlib.metadata` sees it, in a folder that a .pth file in each Python's library puts last on its path. No variable of Python's
is touched, as projects look whether one is set (`PYTHONPATH ?= src`), nor a package that an installer knows of. Where a command
makes its Python itself (tox, nox) all goes on without it, and the last call's report counts.
Node.js: code in the variable itself makes names, of the moment and of the process.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from devenv.model.manifest import Pairs

_LIBRARIES = (
    "/opt/*/lib/python3*/site-packages",  # /opt/venv is ours
    "/usr/local/lib/python3*/*-packages",
    "/usr/lib/python3*/dist-packages",
    "/root/.local/lib/python3*/site-packages",
    "/home/*/.local/lib/python3*/site-packages",
    ".venv/lib/python3*/site-packages",
    "venv/lib/python3*/site-packages",
)
"""Where the packages of a container's Pythons are, and of one in the project's folder."""

_DIST = "devenv_trial-1.dist-info"
_CALL = "CALL"

_PLUGIN = """\
import os, time
import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    "Another report for each call; none for one that a test makes, which would be told as if it were the project's."
    if getattr(config.option, "xmlpath", None) == {path!r} and not hasattr(config, "workerinput"):
        call = "-%017d-%d.xml" % (time.time() * 1e6, os.getpid())
        config.option.xmlpath = None if "PYTEST_CURRENT_TEST" in os.environ else {path!r}[:-4] + call
"""

_PRELOAD = (
    "const asked=%s[(process.argv[1]||'').split('/').pop().replace(/\\.[cm]?js$/,'').replace(/^_/,'')];"
    "if(Array.isArray(asked)&&!process.env.VITEST&&!process.env.JEST_WORKER_ID)"
    f"process.argv.splice(2,0,...asked.map(one=>one.replace('{_CALL}',Date.now()+'-'+process.pid)));"
)

_REPORTER = (
    "import{junit}from'node:test/reporters';import{appendFileSync}from'node:fs';"
    "const path=%s.replace('CALL',Date.now()+'-'+process.pid);"
    "export default async function*(source){for await(const part of junit(source))appendFileSync(path,part)}"
)


def pytest_plugin(folder: str, path: str) -> Pairs:
    """The files of a plugin, (path, text), by which each pytest that is told to write `path` writes one beside it."""
    library = f"{folder}/python"
    return (
        (f"{library}/devenv_trial.py", _PLUGIN.format(path=path)),
        (f"{library}/{_DIST}/METADATA", "Metadata-Version: 2.1\nName: devenv-trial\nVersion: 1\n"),
        (f"{library}/{_DIST}/entry_points.txt", "[pytest11]\ndevenv_trial = devenv_trial\n"),
        *((f"{packages}/devenv_trial.pth", library) for packages in _LIBRARIES),
    )


def node_options(asked: Mapping[str, Sequence[str]]) -> str:
    """What gives these programs these options, each call with its own `CALL` in them."""
    return f"--import={_url(_PRELOAD % json.dumps(asked))}"


def node_reporter(path: str) -> tuple[str, str]:
    """The options for Node's own test runner to write JUnit XML into `path`, each call with its own `CALL` in it."""
    return f"--test-reporter={_url(_REPORTER % json.dumps(path))}", "--test-reporter-destination=/dev/null"


def _url(code: str) -> str:
    return f"data:text/javascript,{quote(code, safe='')}"
