"""A suite and the host's package sources -> the base image's root as a tar, by mmdebstrap(1), with no root on the host.

mmdebstrap runs packages' scripts: it does so as root of a slot's user namespace, in mount and pid namespaces of its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from devenv.errors import EngineError

from .. import process

_SOURCES = ("/etc/apt/sources.list", "/etc/apt/sources.list.d")
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_NO_SECURITY = ("sid", "unstable")
_SETTINGS = ('APT::Install-Recommends "false"',)
# mmdebstrap leaves every --aptopt in the root; what is the host's own, proxies among it, must not stay there.
_FORGET = f"printf '%s;\\n' '{_SETTINGS[0]}' > \"$1/etc/apt/apt.conf.d/99mmdebstrap\""

_STAGES = (
    ("running apt-get update", "reading what the archive has"),
    ("downloading packages", "downloading packages"),
    ("extracting archives", "unpacking packages"),
    ("installing essential packages", "installing packages"),
    ("installing remaining packages", "installing packages"),
    ("cleaning package lists", "cleaning up"),
    ("creating tarball", "packing"),
    ("success in", "keeping the result"),
)
"""How mmdebstrap's words begin, and ours."""

_EMPTY = re.compile("E: (mmdebstrap failed|apt-get .* failed|Some index files)")
"""Errors that only say that there were others."""


class Archive(NamedTuple):
    """Where a suite's packages come from: the main archive's URI, and the security archive's ("" for none)."""

    main: str
    security: str


def archive(mirror: str | None = None) -> Archive:
    """The manifest's mirror, or else the archives that the host's own apt uses. Raises EngineError when it names none."""
    if mirror:
        return Archive(mirror, "")
    found = [entry for text in _source_files() for entry in parse_sources(text)]
    security = next(
        (uri for uri, suites in found if any(suite.endswith(("-security", "/updates")) for suite in suites)), ""
    )
    # The host's own suite may be another than the one wanted: the archive has all of them.
    for uri, suites in found:
        if (
            uri != security
            and any(suite.split("-")[0] in KNOWN for suite in suites)
            and "debian" in uri.rsplit("/", 2)[-1]
        ):
            return Archive(uri, security)
    raise EngineError(
        "find a package archive: the host's apt sources name no Debian archive",
        hint="say `mirror: URL` in the manifest",
    )


KNOWN = ("bullseye", "bookworm", "trixie", "forky", "sid", "oldstable", "stable", "testing", "unstable")


def parse_sources(text: str) -> list[tuple[str, tuple[str, ...]]]:
    """(URI, suites) of a sources.list in either format (sources.list(5)); what is no package source is skipped."""
    if any(line.lower().startswith("uris:") for line in text.splitlines()):
        return [entry for paragraph in text.split("\n\n") for entry in _deb822(paragraph)]
    return [entry for line in text.splitlines() if (entry := _one_line(line)) is not None]


def _deb822(paragraph: str) -> list[tuple[str, tuple[str, ...]]]:
    fields = {}
    for line in paragraph.splitlines():
        name, colon, value = line.partition(":")
        if colon and not line.startswith(("#", " ")):
            fields[name.strip().lower()] = value.split()
    if "deb" not in fields.get("types", []) or fields.get("enabled") == ["no"]:
        return []
    return [(uri.rstrip("/"), tuple(fields.get("suites", ()))) for uri in fields.get("uris", ())]


def _one_line(line: str) -> tuple[str, tuple[str, ...]] | None:
    words = line.partition("#")[0].split()
    if not words or words[0] != "deb":
        return None
    if len(words) > 1 and words[1].startswith("["):
        end = next((index for index, word in enumerate(words) if word.endswith("]")), len(words))
        words = [words[0], *words[end + 1 :]]
    return (words[1].rstrip("/"), (words[2],)) if len(words) > 2 else None


def source_paths() -> list[str]:
    """The files and folders that say where the host's packages come from, there or not."""
    paths = list(_SOURCES)
    for folder in filter(os.path.isdir, _SOURCES):
        paths += [f"{folder}/{name}" for name in sorted(os.listdir(folder)) if name.endswith((".list", ".sources"))]
    return paths


def _source_files() -> list[str]:
    texts = []
    for path in filter(os.path.isfile, source_paths()):
        with open(path, encoding="utf-8", errors="replace") as file:
            texts.append(file.read(1 << 20))
    return texts


def sources(suite: str, archives: Archive) -> str:
    """The sources.list that the base gets: the suite, its updates, its security fixes."""
    lines = [f"deb {archives.main} {suite} main"]
    if suite not in _NO_SECURITY:
        lines.append(f"deb {archives.main} {suite}-updates main")
        if archives.security:
            lines.append(f"deb {archives.security} {suite}-security main")
    return "\n".join(lines) + "\n"


def make(
    suite: str,
    sources_list: str,
    *,
    user_namespace: str,
    folder: str,
    output: str,
    architecture: str,
    options: Sequence[str],
    tell: Callable[[str], None],
    epoch: int,
    started: Callable[[int], None] | None = None,
) -> None:
    """Write the root of `suite` as a tar to the file `output`. `folder` must belong to the namespace's root.

    `started` is told a pid: when that process is killed (it blocks SIGTERM), all of mmdebstrap is. Raises EngineError
    with the last lines mmdebstrap printed.
    """
    said: list[str] = []

    def hear(line: str) -> None:
        said.append(line)
        del said[:-20]
        for beginning, words in _STAGES:
            if line.startswith(f"I: {beginning}"):
                tell(words)

    mmdebstrap = [
        process.find("mmdebstrap"),
        *("--mode=root", "--variant=minbase", "--format=tar", f"--architectures={architecture}"),
        *(f"--aptopt={setting}" for setting in _SETTINGS),
        *(f"--aptopt={option}" for option in options),
        f"--customize-hook={_FORGET}",
        *(["--keyring", _KEYRING] if os.path.exists(_KEYRING) else []),
        suite,
        "-",
        "-",
    ]
    argv = [
        process.find("nsenter"),
        *(f"--user={user_namespace}", "--setuid=0", "--setgid=0", "--"),
        # When we are killed, unshare is, and by it the first process of the pid namespace, hence everything in there.
        *(process.find("setpriv"), "--pdeathsig", "KILL", "--"),
        process.find("unshare"),
        *("--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--ipc", "--"),
        *mmdebstrap,
    ]
    listing = f"{folder}/sources.list"
    with open(listing, "w", encoding="ascii") as file:
        file.write(sources_list)
    env = {"TMPDIR": folder, "HOME": folder, "SOURCE_DATE_EPOCH": str(epoch)}
    with open(listing, "rb") as stdin, open(output, "wb") as stdout:
        code = process.lines(argv, hear, env=env, stdin=stdin.fileno(), stdout=stdout.fileno(), started=started)
    if code:
        raise failure(suite, sources_list, said)


def failure(suite: str, sources_list: str, said: Sequence[str]) -> EngineError:
    """What mmdebstrap's last lines mean: which archive failed, and why."""
    mirror = sources_list.split()[1]
    errors = [line[3:] for line in said if line.startswith("E: ") and not _EMPTY.match(line)]
    text = "\n".join(errors)
    if missing := re.search(r"The repository '(\S+) (\S+) Release' does not have a Release file", text):
        message, hint = f"{missing[1]} has no {missing[2]}", "name an archive that has it: `mirror:` in devenv.yml"
    elif fetched := re.search(r"Failed to fetch (\S+) +(.+)", text):
        message, hint = f"{fetched[1]}: {fetched[2]}", "is the archive right and reachable? `devenv doctor` looks"
    elif re.search("GPG error|NO_PUBKEY|not signed|[Ss]ignature", text):
        message = f"{mirror} isn't signed with a key that is known here"
        hint = "apt-get install debian-archive-keyring, or name another `mirror:` in devenv.yml"
    else:
        message = f"mmdebstrap failed with {mirror}" + "".join(f"\n  │ {line}" for line in (errors or said)[-5:])
        hint = "`devenv doctor` checks the archive and the disk"
    return EngineError(re.sub(r"//[^/@\s]+@", "//…@", f"bootstrap {suite}: {message}"), hint=hint)
