"""A suite -> the packages its base is made of; those packages -> the base's root, with no root on the host and no network.

apt-get resolves, mmdebstrap(1) installs. Both run as root of a slot's user namespace, in mount and pid namespaces of their own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime

from devenv.errors import EngineError
from devenv.lock import debian
from devenv.model.host import Archive
from devenv.model.lock import BaseLock

from .. import process

VERSION = "3"
"""Of how bases are made: another one makes other bases of the same packages."""

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_MERGED = "usr-is-merged"
_DATE = re.compile(r"^Date: (.{1,40})$", re.MULTILINE)
_LINKS = {"amd64": "lib32 lib64 libx32", "i386": "lib64 libx32", "ppc64el": "lib64", "s390x": "lib32"}
"""What besides /bin, /sbin and /lib is a link into /usr (debootstrap's setup_merged_usr)."""

_STAGES = (
    ("downloading packages", "reading packages"),
    ("extracting archives", "unpacking packages"),
    ("installing essential packages", "installing packages"),
    ("cleaning package lists", "cleaning up"),
)
"""How mmdebstrap's words begin, and ours."""

_EMPTY = re.compile("E: (mmdebstrap failed|apt-get .* failed|Some index files)")
"""Errors that only say that there were others."""


class Room:
    """Where programs run that aren't trusted with the host: as root of `user_namespace`, at work in `folder`, which is that root's.

    `started` is told a pid: when that process is killed (it blocks SIGTERM), all that was started there is.
    """

    def __init__(self, user_namespace: str, folder: str, started: Callable[[int], None] | None = None) -> None:
        self.folder = folder
        self._namespace = user_namespace
        self._started = started

    def file(self, name: str, text: str) -> str:
        """A file that is there to be read; its path."""
        path = f"{self.folder}/{name}"
        with open(path, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(text)
        return path

    def run(self, argv: Sequence[str], hear: Callable[[str], None], *more: str, **env: str) -> int:
        """`more` are further namespaces, in unshare's words. The code."""
        words = [
            process.find("nsenter"),
            *(f"--user={self._namespace}", "--setuid=0", "--setgid=0", "--"),
            # When we are killed, unshare is, and by it the first process of the pid namespace, hence everything in there.
            *(process.find("setpriv"), "--pdeathsig", "KILL", "--"),
            process.find("unshare"),
            *("--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--ipc", *more, "--"),
            *argv,
        ]
        told = {"TMPDIR": self.folder, "HOME": self.folder, **env}
        return process.lines(words, hear, env=told, started=self._started)


# What a base is made of -----------------------------------------------------------------------------------------


def resolve(
    suite: str,
    archives: Archive,
    sources_list: str,
    *,
    room: Room,
    lists: str,
    architecture: str,
    options: Sequence[str],
) -> BaseLock:
    """The packages of mmdebstrap's `minbase`: essential ones, those of priority `required`, apt, and what they need.

    `lists` is a folder of the room's root, kept: what is unchanged isn't fetched again. Raises EngineError.
    """
    said: list[str] = []
    settings = room.file("apt.conf", _settings(room.folder, lists, architecture, options))
    room.file("sources.list", sources_list)
    room.file("status", "")
    apt = [process.find("apt-get"), "-q"]
    if room.run([*apt, "update", "--error-on=any"], said.append, APT_CONFIG=settings):
        raise failure(suite, archives.main, said)
    known = f"?or(?archive(^{suite}$),?codename(^{suite}$)),?architecture({architecture})"
    # Debian's own images have /usr merged from the start, and so no need of usrmerge and all of Perl to do it.
    wanted = f"?or(?essential,?priority(required),?exact-name(apt),?exact-name({_MERGED}))"
    argv = [*apt, "-oAcquire::ForceHash=sha256", "--yes", "--print-uris", "install", f"?narrow({known},{wanted})"]
    said.clear()
    if room.run(argv, said.append, APT_CONFIG=settings):
        raise failure(suite, archives.main, said)
    packages = debian.uris("\n".join(said), (archives.main, archives.security))
    dates = _dates(suite, lists)
    return BaseLock(suite, max(dates.values()), packages, _own(suite, dates))


def _settings(folder: str, lists: str, architecture: str, options: Sequence[str]) -> str:
    """An apt.conf by which apt sees nothing of the host but its keys."""
    places = {
        "Dir": folder,
        "Dir::State": f"{folder}/state",
        "Dir::State::lists": lists,
        "Dir::State::status": f"{folder}/status",
        "Dir::Cache": f"{folder}/cache",
        "Dir::Etc::sourcelist": f"{folder}/sources.list",
        **{f"Dir::Etc::{name}": "/dev/null" for name in ("main", "netrc", "preferences")},
        **{f"Dir::Etc::{name}parts": "/dev/null" for name in ("", "source", "netrc", "preferences")},
        "Dir::Etc::trusted": _KEYRING if os.path.exists(_KEYRING) else "/etc/apt/trusted.gpg",
        "Dir::Etc::trustedparts": "/dev/null" if os.path.exists(_KEYRING) else "/etc/apt/trusted.gpg.d",
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",  # nobody on the host
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "pkgCacheGen::ForceEssential": ",",  # or apt would take itself for essential
    }
    return "".join(f'{name} "{value}";\n' for name, value in places.items()) + "".join(f"{line}\n" for line in options)


def _dates(suite: str, lists: str) -> dict[str, int]:
    """The Date of each Release file that was read, by its name."""
    found = {}
    for name in sorted(os.listdir(lists)):
        if name.endswith("Release"):
            fd = os.open(f"{lists}/{name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(fd, encoding="utf-8", errors="replace") as file, suppress(ValueError):
                if dated := _DATE.search(file.read(1 << 16)):
                    found[name] = int(parsedate_to_datetime(dated[1]).timestamp())
    if not found:
        raise EngineError(f"resolve bootstrap:{suite}: no archive says what date it has")
    return found


def _own(suite: str, dates: Mapping[str, int]) -> int:
    """That of the suite itself: those of its updates and security fixes are newer every day."""
    own = [date for name, date in dates.items() if f"_dists_{suite}_" in name]
    return max(own or dates.values())


# The base -------------------------------------------------------------------------------------------------------


def make(
    lock: BaseLock,
    sources_list: str,
    automatic: Sequence[str],
    *,
    room: Room,
    repository: str,
    architecture: str,
    tell: Callable[[str], None],
) -> str:
    """Install the packages, all of which are in the folder `repository`; returns the root's path, in the room's folder.

    `sources_list` is the root's own, `automatic` are the packages nobody asked for. Neither the host nor the moment has a
    part in what comes out but for times (and mmdebstrap's version, which decides nothing that isn't set here).
    """
    said: list[str] = []

    def hear(line: str) -> None:
        said.append(line)
        del said[:-20]
        for beginning, words in _STAGES:
            if line.startswith(f"I: {beginning}"):
                tell(words)

    names = [deb.name for deb in lock.packages]
    root = f"{room.folder}/root"
    room.file("sources.list", sources_list)
    room.file("extended_states", _states(automatic, architecture))
    mmdebstrap = [
        process.find("mmdebstrap"),
        # `custom`: what is there depends on no host's apt, and one dpkg installs everything.
        *("--mode=root", "--variant=custom", "--format=directory", f"--architectures={architecture}"),
        *("--skip=output/dev", "--skip=output/mknod", "--dpkgopt=force-unsafe-io"),
        f"--include={','.join(names)}",
        f"--setup-hook={_begin(architecture if _MERGED in names else '')}",
        f"--customize-hook={_END}",
        "",
        root,
        f"deb [trusted=yes] copy:{repository} ./",
    ]
    code = room.run(mmdebstrap, hear, "--net", "--uts", SOURCE_DATE_EPOCH=str(lock.clock))
    if code:
        raise failure(lock.suite, "the packages that were fetched", said)
    return root


def _begin(merged: str) -> str:
    """Shell words, for before anything is unpacked: no host's name, and /usr merged for this architecture ("": as it is)."""
    links = (
        f'for name in bin sbin lib {_LINKS.get(merged, "")}; do mkdir -p "$1/usr/$name"; ln -s "usr/$name" "$1"; done'
    )
    return f"hostname devenv; {links if merged else ':'}"


_END = (
    'set -e; cd "$1"; rm -f etc/hostname etc/resolv.conf etc/dpkg/dpkg.cfg.d/99mmdebstrap;'
    " printf 'APT::Install-Recommends \"false\";\n' >etc/apt/apt.conf.d/99devenv;"
    ' cp "$HOME/sources.list" etc/apt/sources.list; cp "$HOME/extended_states" var/lib/apt/extended_states'
)
"""Shell words, for when all is installed: what is the host's goes, and ours comes, from HOME, the room's folder."""


def _states(automatic: Sequence[str], architecture: str) -> str:
    """apt's note of what is there for others only (`apt-mark auto`)."""
    return "".join(
        f"Package: {name}\nArchitecture: {architecture}\nAuto-Installed: 1\n\n" for name in sorted(automatic)
    )


def failure(suite: str, origin: str, said: Sequence[str]) -> EngineError:
    """What apt's or mmdebstrap's last lines mean: which archive failed, and why. `origin` is where the packages come from."""
    errors = [line[3:] for line in said if line.startswith("E: ") and not _EMPTY.match(line)]
    text = "\n".join(errors)
    if missing := re.search(r"The repository '(\S+) (\S+) Release' does not have a Release file", text):
        message, hint = f"{missing[1]} has no {missing[2]}", "name an archive that has it: `mirror:` in devenv.yml"
    elif fetched := re.search(r"Failed to fetch (\S+) +(.+)", text):
        message, hint = f"{fetched[1]}: {fetched[2]}", "is the archive right and reachable? `devenv doctor` looks"
    elif re.search("GPG error|NO_PUBKEY|not signed|[Ss]ignature", text):
        message = f"{origin} isn't signed with a key that is known here"
        hint = "apt-get install debian-archive-keyring, or name another `mirror:` in devenv.yml"
    else:
        message = f"it failed with {origin}" + "".join(f"\n  │ {line}" for line in (errors or said)[-5:])
        hint = "`devenv doctor` checks the archive and the disk"
    return EngineError(re.sub(r"//[^/@\s]+@", "//…@", f"bootstrap {suite}: {message}"), hint=hint)
