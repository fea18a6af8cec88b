"""What `devenv.lock.yml` says: every byte that comes from outside, by name, version and sha256 (docs/lock.md)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from .manifest import Pairs

EPOCH = 315532800
"""1980-01-01, the first moment a zip can say: the clock where no lock says another, and the time of whatever is put in place
by name, whose own times mean nothing: files of a checkout, packages.
"""


class Deb(NamedTuple):
    """A Debian package. `path` is beneath the archive's root: `pool/main/c/curl/curl_7.88.1-10_amd64.deb`.

    `url` is "" where the package comes from the host's or the manifest's own archive, else the whole address: a source
    of a foreign base. `layer` counts from 1: packages of one layer are installed together, after those of the layers before.
    `manual`: it was asked for by the name of something that it provides.
    """

    name: str
    version: str
    arch: str
    size: int
    sha256: str
    path: str
    url: str = ""
    layer: int = 1
    manual: bool = False


class Dist(NamedTuple):
    """A Python distribution: a wheel, or a source archive that is built here. `name` is normalised (PEP 503).

    `url` is "" where it comes from the host's index. `layer` as in Deb: distributions of one layer are one image layer.
    """

    name: str
    version: str
    size: int
    sha256: str
    file: str
    url: str = ""
    layer: int = 1

    @property
    def is_wheel(self) -> bool:
        return self.file.endswith(".whl")


class Repository(NamedTuple):
    """A Python package from a git repository: built where it is installed, with network, from this `commit` (40 or 64 hex).

    `url` is the repository's (https://…, without user), `revision` what was asked for ("": its default branch),
    `subdirectory` where in it the package is.
    """

    name: str
    commit: str
    url: str
    revision: str = ""
    subdirectory: str = ""

    @property
    def words(self) -> str:
        """For people, in a list with commas between."""
        return f"{self.name} @ {self.url}@{self.commit[:12]}"

    @property
    def requirement(self) -> str:
        """`shop @ git+https://git.example/shop@COMMIT#subdirectory=lib`, for pip and uv."""
        part = f"#subdirectory={self.subdirectory}" if self.subdirectory else ""
        return f"{self.name} @ git+{self.url}@{self.commit}{part}"


class Module(NamedTuple):
    """An npm package at its `path` in the tree (`node_modules/a/node_modules/b`; the name is what follows the last
    `node_modules/`, unless `name` says another: an alias).

    `integrity` is npm's (`sha512-BASE64`, Subresource Integrity), or `git:COMMIT`: it comes from the git repository `url`
    (https://…, without user), and has no bytes that could be locked. `url` "": the host's registry. `bins` are (command,
    file). `scripts`: it has install scripts. `layer` counts from 1: the packages of one layer are one image layer, unless
    one of them has scripts: then these run where the layers before that have some are there too (lock/node_layers.py).
    """

    path: str
    version: str
    integrity: str
    name: str = ""
    url: str = ""
    bins: Pairs = ()
    scripts: bool = False
    layer: int = 1

    @property
    def commit(self) -> str:
        """Of a package from a repository, 40 or 64 hex; "" of others."""
        return self.integrity.removeprefix("git:") if self.integrity.startswith("git:") else ""


class Remote(NamedTuple):
    """A file fetched by URL."""

    url: str
    size: int
    sha256: str


class BaseLock(NamedTuple):
    """A Debian base. Both times are Unix seconds.

    `clock`: the Date of the suite's own Release file, which moves with point releases only: what the base is told the time
    is, so that equal packages make one base for all projects. `release`: the newest Date of all archives it was resolved
    from, for a snapshot archive.
    """

    suite: str
    release: int
    packages: tuple[Deb, ...]
    clock: int = 0


class AptLock(NamedTuple):
    """`asked` is what it was resolved for, as the manifest has it; `release` when, in Unix seconds, to the day."""

    asked: tuple[str, ...] = ()
    packages: tuple[Deb, ...] = ()
    release: int = 0


class PythonLock(NamedTuple):
    """`asked`: named inputs, as for a step (`packages`, `version`, file name → sha256 of its meaning).

    `version` and `command` are the interpreter's (3.11.2, /usr/bin/python3), `libc` the C library's (2.36), `needs` the
    Debian packages it comes with; `interpreter` is the archive it is unpacked from, None for the base's own.
    `build` are the wheels that source archives are built with. `repositories`: what has no bytes that could be locked.
    """

    asked: Pairs = ()
    version: str = ""
    command: str = ""
    libc: str = ""
    needs: tuple[str, ...] = ()
    packages: tuple[Dist, ...] = ()
    build: tuple[Dist, ...] = ()
    interpreter: Remote | None = None
    repositories: tuple[Repository, ...] = ()

    @property
    def layers(self) -> tuple[int, ...]:
        """The numbers of the layers of wheels. The first has the environment itself, so that the others are everybody's."""
        return tuple(sorted({1, *(dist.layer for dist in self.packages if dist.is_wheel)}))


class NodeLock(NamedTuple):
    """`runtime` is Node.js and its npm, `tools` what `node.packages` asks for, `project` what `node.lock` locks."""

    asked: Pairs = ()
    runtime: tuple[Module, ...] = ()
    tools: tuple[Module, ...] = ()
    project: tuple[Module, ...] = ()


class Parcel(NamedTuple):
    """What a path in the build context `devenv-packages` stands for (lock/parcels.py).

    `debs`: a folder with a flat apt repository. `wheels`: a folder of files, a Python's list among them where there is
    one. `site`: a virtual environment with these distributions (`version`: of its Python, `command`: where that is;
    "": only what is in site-packages and bin, a further layer of it). `runtime`: Node.js and npm. `tools`, `modules`: npm
    packages, installed for everyone or as a project's.
    """

    kind: Literal["debs", "wheels", "site", "runtime", "tools", "modules"]
    debs: tuple[Deb, ...] = ()
    dists: tuple[Dist, ...] = ()
    modules: tuple[Module, ...] = ()
    version: str = ""
    command: str = ""
    interpreter: Remote | None = None


class ServiceLock(NamedTuple):
    """What is installed in a service's own image. `origins` as in Section, None where they are the project's."""

    name: str
    origins: tuple[str, ...] | None = None
    apt: AptLock | None = None
    python: PythonLock | None = None
    node: NodeLock | None = None


class Section(NamedTuple):
    """Everything for one architecture (Debian's name). `clock` is SOURCE_DATE_EPOCH, in Unix seconds.

    `images` are the image references that bases come from, each with its digest. Bases, images and files are those of all
    images that the manifest speaks of, the rest is the project's own; each of `services` has its own (lock/parts.py).
    """

    arch: str
    clock: int = 0
    bases: tuple[BaseLock, ...] = ()
    images: Pairs = ()
    apt: AptLock | None = None
    python: PythonLock | None = None
    node: NodeLock | None = None
    files: tuple[Remote, ...] = ()
    services: tuple[ServiceLock, ...] = ()
    origins: tuple[str, ...] | None = None
    """Which of bases and images the project's own image starts from, as `from:` names them; None for all of them."""


class Lock(NamedTuple):
    """A whole `devenv.lock.yml`: a section for each architecture it was written on."""

    sections: Mapping[str, Section] = MappingProxyType({})
