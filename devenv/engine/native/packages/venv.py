"""Locked wheels → a virtual environment for /opt/venv in a folder, and a layer's packages for it: files only, nothing is executed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from devenv.crew import each
from devenv.errors import StoreError
from devenv.model.lock import Dist

from ..trouble import trouble
from .files import EPOCH, Files
from .tree import linked
from .wheel import VENV, unpacked

_SH = f"""\
# For sh, bash and zsh: . {VENV}/bin/activate
deactivate () {{
    if [ -n "${{_OLD_VIRTUAL_PATH+x}}" ]; then PATH="$_OLD_VIRTUAL_PATH"; export PATH; unset _OLD_VIRTUAL_PATH; fi
    if [ -n "${{_OLD_VIRTUAL_PS1+x}}" ]; then PS1="$_OLD_VIRTUAL_PS1"; export PS1; unset _OLD_VIRTUAL_PS1; fi
    if [ -n "${{_OLD_PYTHONHOME+x}}" ]; then PYTHONHOME="$_OLD_PYTHONHOME"; export PYTHONHOME; unset _OLD_PYTHONHOME; fi
    unset VIRTUAL_ENV VIRTUAL_ENV_PROMPT
    if [ "${{1:-}}" != again ]; then unset -f deactivate; fi
    hash -r 2> /dev/null || true
}}
deactivate again
_OLD_VIRTUAL_PATH="$PATH"
PATH="{VENV}/bin:$PATH"
VIRTUAL_ENV={VENV}
VIRTUAL_ENV_PROMPT=venv
export PATH VIRTUAL_ENV VIRTUAL_ENV_PROMPT
if [ -n "${{PYTHONHOME+x}}" ]; then _OLD_PYTHONHOME="$PYTHONHOME"; unset PYTHONHOME; fi
if [ -z "${{VIRTUAL_ENV_DISABLE_PROMPT:-}}" ]; then _OLD_VIRTUAL_PS1="${{PS1:-}}"; PS1="(venv) ${{PS1:-}}"; export PS1; fi
hash -r 2> /dev/null || true
"""
_FISH = f"""\
# For fish: source {VENV}/bin/activate.fish
function deactivate -d "Leave the virtual environment"
    if set -q _OLD_VIRTUAL_PATH
        set -gx PATH $_OLD_VIRTUAL_PATH
        set -e _OLD_VIRTUAL_PATH
    end
    if set -q _OLD_PYTHONHOME
        set -gx PYTHONHOME $_OLD_PYTHONHOME
        set -e _OLD_PYTHONHOME
    end
    set -e VIRTUAL_ENV
    set -e VIRTUAL_ENV_PROMPT
    if test "$argv[1]" != again
        functions -e deactivate
    end
end
deactivate again
set -g _OLD_VIRTUAL_PATH $PATH
set -gx PATH {VENV}/bin $PATH
set -gx VIRTUAL_ENV {VENV}
set -gx VIRTUAL_ENV_PROMPT venv
if set -q PYTHONHOME
    set -g _OLD_PYTHONHOME $PYTHONHOME
    set -e PYTHONHOME
end
"""


def venv(folder: str, python: str, version: str) -> None:
    """Write the environment itself for the interpreter `python` (its path inside) of this version (`3.11.2`).

    As `uv venv` does it, but for what says which uv that was, and scripts for other systems: an image is a function of
    the lock, and must not change with the uv that is there.
    """
    short = ".".join(version.split(".")[:2])
    site = f"lib/python{short}/site-packages"
    config = (
        ("home", os.path.dirname(python)),
        ("implementation", "CPython"),
        ("version_info", version),
        ("include-system-site-packages", "false"),
    )
    with trouble(f"make the virtual environment in {folder}"):
        for name in ("", "bin", "lib", f"lib/python{short}", site):
            os.mkdir(f"{folder}/{name}")
        _write(f"{folder}/pyvenv.cfg", "".join(f"{key} = {value}\n" for key, value in config))
        _write(f"{folder}/bin/activate", _SH)
        _write(f"{folder}/bin/activate.fish", _FISH)
        _link(python, f"{folder}/bin/python")
        _link("python", f"{folder}/bin/python3")
        _link("python", f"{folder}/bin/python{short}")
        _link("lib", f"{folder}/lib64")
        for name in (site, f"lib/python{short}", "lib", "bin", ""):
            os.chmod(f"{folder}/{name}", 0o755)
            os.utime(f"{folder}/{name}", (EPOCH, EPOCH))


def site(
    files: Files, folder: str, dists: Sequence[Dist], version: str, stopped: Callable[[], bool] = lambda: False
) -> tuple[str, ...]:
    """Put wheels that were fetched into a folder that is, or is copied onto, an environment for Python `version` (`3.11.2`).

    Returns in words what packages overwrite of each other; where two have the same file, the later by name has it.
    Raises StoreError, EngineError once `stopped`.
    """
    short = ".".join(version.split(".")[:2])
    for dist in dists:
        if not dist.is_wheel:
            raise StoreError(f"use {dist.name} {dist.version}: {dist.file} is no wheel", hint="it is to be built first")
    ordered = sorted(dists, key=lambda dist: (dist.name, dist.version))
    return linked(each(lambda dist: unpacked(files, dist, short), ordered, stopped), folder)


def _write(path: str, text: str) -> None:
    with open(path, "x", encoding="ascii") as file:
        file.write(text)
        os.fchmod(file.fileno(), 0o644)
    os.utime(path, (EPOCH, EPOCH))


def _link(target: str, path: str) -> None:
    os.symlink(target, path)
    os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)
