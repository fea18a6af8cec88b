"""A step rendered from the manifest that failed → the item of the manifest, or of a file it names, that is to blame."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from devenv.build.origin import origins_above
from devenv.errors import THE_NETWORK, Fault, InputError, StepFailed
from devenv.model.build import Run, Step
from devenv.model.manifest import Manifest

_LARGEST = 1 << 20
_WIDEST = 60
_SAID = 5
# What apt, uv and npm begin a line with that says why; what uv goes on with has a frame.
_TELLING = re.compile(
    r"^(E: |\s*(×|├─▶|╰─▶|error\b|cause: |hint: )|npm (error|ERR!))|No solution|Because |^\s*And because "
)
NETWORK = re.compile(
    r"Temporary failure resolving|Could not (connect|resolve)|Connection (refused|timed out|reset)|dns error|timed out"
    r"|ENOTFOUND|EAI_AGAIN|ECONNRE(FUSED|SET)|ETIMEDOUT|error sending request|HTTP(?: status server)? error[^\n]{0,20}5\d\d|\b50[234] [A-Z]"
    r"|Bad Gateway|Service Unavailable"
)
_VERSIONED = {"python.version": "Python ", "node.version": "Node.js "}
_ASKING = {"python.network": ("python.packages", "python.requirements"), "node.network": ("node.packages",)}
"""Keys of steps with network: the keys that ask for what these install."""

_HINTS = {
    "apt": "is it spelled right, and does this Debian release have it?",
    "python": "are name and version right? What is compiled needs a compiler and headers under `apt:`",
    "node": "are name and version right?",
}


class _Suspect(NamedTuple):
    """One item: where it stands, how it is called there, the package it names."""

    place: str
    called: str
    name: str


def blame(manifest: Manifest, step: Step, output: Sequence[str]) -> tuple[str, str, Sequence[str]]:
    """The beginning of the message, a hint, and the lines that say why. Reads the requirements files."""
    keys = [key for key, _ in step.origins]
    telling = [line for line in output if _TELLING.search(line)]
    guilty = _guilty([suspect for key in keys for suspect in _suspects(manifest, key)], "\n".join(telling))
    if guilty is None:
        wanted = _VERSIONED.get(keys[0], "") + step.words
        wanted = wanted if len(wanted) <= _WIDEST else wanted[: _WIDEST - 1] + "…"
        guilty = _Suspect(_place(manifest, keys[0]), _key(manifest, keys[0]), wanted)
    what = "installing" if isinstance(step.operation, Run) else "making"
    hint = _HINTS.get(keys[0].partition(".")[0], "")
    if any("requirements are unsatisfiable" in line for line in output):
        hint = "these can't be had together: loosen one of them"
    if re.search("Git executable not found|spawn git", "\n".join(output)):
        hint = "add `git` under `apt:`: repositories are fetched with it"
    if NETWORK.search("\n".join(output)):
        hint = f"{THE_NETWORK} or the package archive failed: try again, `devenv doctor` checks both"
    return (
        f"{guilty.place}: {guilty.called}: {what} {guilty.name} failed",
        hint,
        [*telling[:1], *telling[1:][-4:]] or output,
    )


def failed(manifest: Manifest, keys: Sequence[str], error: StepFailed) -> StepFailed:
    """The same error, of a command that found out what to install for these keys, with who is to blame."""
    words = tuple((key, ", ".join(value for _, value in _items(manifest, key)) or key) for key in keys)
    step = Step(0, "", Run(()), origins=words)
    where, hint, telling = blame(manifest, step, error.output)
    said = "".join(f"\n  │ {line}" for line in telling[-_SAID:])
    return StepFailed(f"{where}: {error.message}{said}", code=error.code, hint=error.hint or hint)


def located(error: InputError, manifest: Manifest, text: str, file: str) -> InputError:
    """Faults of the rendered text (`file` in messages) as faults of the manifest: nobody has seen that text."""
    lines = text.split("\n")

    def moved(fault: Fault) -> Fault:
        if fault.file != file:
            return fault
        origins = origins_above(lines, fault.line)
        key = origins[0][0] if origins else "from"
        return Fault(_place(manifest, key), 0, 0, f"{_key(manifest, key)}: {fault.message}", fault.hint)

    return InputError(*map(moved, error.faults))


def _guilty(suspects: Sequence[_Suspect], telling: str) -> _Suspect | None:
    """The one named first in what was said."""
    found: list[tuple[int, _Suspect]] = []
    for suspect in suspects:
        name = re.sub(r"[-_.]+", "[-_.]+", re.escape(suspect.name).replace("\\-", "-").replace("\\.", "."))
        if match := re.search(rf"(?<![\w.@/-]){name}(?![\w-])", telling, re.IGNORECASE):
            found.append((match.start(), suspect))
    return min(found)[1] if found else None


def _suspects(manifest: Manifest, key: str) -> Iterator[_Suspect]:
    if key in _ASKING:
        yield from (one for asking in _ASKING[key] for one in _suspects(manifest, asking))
        return
    if key == "python.requirements" and manifest.python:
        for file in manifest.python.requirements:
            yield from _required(manifest, file)
        return
    for dotted, value in _items(manifest, key):
        if match := re.match(r"@?[A-Za-z0-9][A-Za-z0-9+._/-]*", value):
            yield _Suspect(_place(manifest, dotted), _key(manifest, dotted), match[0])


def _items(manifest: Manifest, key: str) -> list[tuple[str, str]]:
    python, node = manifest.python, manifest.node
    lists = {
        "apt": manifest.apt,
        "python.packages": python.packages if python else (),
        "node.packages": node.packages if node else (),
    }
    return [(f"{key}[{number}]", value) for number, value in enumerate(lists.get(key, ()))]


def _required(manifest: Manifest, file: str) -> Iterator[_Suspect]:
    """The packages that a requirements file or a pyproject.toml names, a line each."""
    path = os.path.join(manifest.folder, file)
    if file.endswith(".lock") or not os.path.isfile(path) or os.path.getsize(path) > _LARGEST:
        return
    shown = os.path.relpath(path)
    with open(path, encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            for match in re.finditer(r"""(?:^|["'])\s*([A-Za-z0-9][A-Za-z0-9._-]*)""", line):
                key = _key(manifest, "python.requirements")
                yield _Suspect(f"{shown}:{number}:{match.start(1) + 1}", key, match[1])


def _key(manifest: Manifest, dotted: str) -> str:
    """A key as messages have it."""
    return f"`services.{manifest.service}.{dotted}`" if manifest.service else f"`{dotted}`"


def _place(manifest: Manifest, dotted: str) -> str:
    """`devenv.yml:LINE:COLUMN` of a key, or of the one it is in when it isn't written down itself."""
    file = os.path.relpath(manifest.path)
    while dotted and dotted not in manifest.places:
        dotted = dotted.rpartition(".")[0]
    place = manifest.places.get(dotted)
    return f"{file}:{place[0]}:{place[1]}" if place else file
