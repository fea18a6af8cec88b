"""A Containerfile as a graph: stages of typed instructions, before and after the keys are known."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from .image import Healthcheck
from .manifest import Pairs


@dataclass(frozen=True, slots=True)
class Heredoc:
    """`<<NAME` … `NAME`. `expand` False when the name was quoted."""

    name: str
    content: str
    expand: bool = True


@dataclass(frozen=True, slots=True)
class Mount:
    """`RUN --mount`. `source_from` is a stage or context name, "" for the build context; `mode` an octal number.

    cache: `id` (default: the target), `sharing`; secret: `id`, `required`, `env`; tmpfs: `size` in bytes.
    """

    kind: Literal["bind", "cache", "tmpfs", "secret"]
    target: str
    source: str = "/"
    source_from: str = ""
    id: str = ""
    readonly: bool = False
    required: bool = False
    sharing: Literal["shared", "private", "locked"] = "shared"
    mode: int | None = None
    uid: int = 0
    gid: int = 0
    size: int | None = None
    env: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """RUN, its words already chosen: `argv` is what is executed; heredocs in exec order are given on files or stdin.

    Shell form: argv = (*SHELL, text), heredocs put back into the text for the shell to read. A RUN that is one heredoc
    has its content as text. Only when that content starts with `#!` is it in `heredocs`: it must then be a file
    /dev/pipes/NAME, mode 0755, which argv names.
    """

    argv: tuple[str, ...]
    mounts: tuple[Mount, ...] = ()
    network: Literal["default", "none"] = "default"
    heredocs: tuple[Heredoc, ...] = ()


@dataclass(frozen=True, slots=True)
class Copy:
    """COPY and ADD. `sources` as written (globs allowed); `source_from` a stage or context name, "" the build context.

    `target` is absolute; a trailing slash says it is a folder, whether it exists or not.
    """

    sources: tuple[str, ...]
    target: str
    source_from: str = ""
    chown: str = ""
    chmod: int | None = None
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()
    heredocs: tuple[Heredoc, ...] = ()
    unpack: bool = False
    """ADD: local tar archives are unpacked."""
    urls: tuple[str, ...] = ()
    """ADD: sources that are http(s) URLs, fetched; never in `sources`."""
    checksum: str = ""


@dataclass(frozen=True, slots=True)
class Workdir:
    """WORKDIR, already absolute; made if missing, owned by root (as BuildKit does)."""

    path: str


@dataclass(frozen=True, slots=True)
class Configure:
    """An instruction that only changes the image config: the names and values it sets, already expanded."""

    env: Pairs = ()
    user: str | None = None
    labels: Pairs = ()
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    exposed: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str | None = None
    healthcheck: Healthcheck | None = None
    shell: tuple[str, ...] | None = None


Operation = Run | Copy | Workdir | Configure


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction: where it stands, what is shown of it, what it does, and what of the build's state it sees.

    `env` is the process environment of a RUN: the image's ENV over the stage's ARGs, as docker has it.
    """

    line: int
    text: str
    operation: Operation
    env: Pairs = ()
    user: str = ""
    workdir: str = "/"
    uncounted: tuple[str, ...] = ()
    """Names in `env` that change no key: the proxies given from outside."""
    place: str = ""
    """Where it stands, for people: `apt`, or `python 1/2` in a stage with several steps that leave files."""
    origins: Pairs = ()
    """Keys of the manifest it is rendered from, each with its value as text: (("apt", "git, jq"),)."""

    @property
    def words(self) -> str:
        """What it does, for people: what the manifest says, where it comes from there, else the instruction."""
        return ", ".join(value for _, value in self.origins) or self.text

    @property
    def online(self) -> bool:
        """Whether it has network: then nobody can promise that it does the same twice."""
        return isinstance(self.operation, Run) and self.operation.network == "default"


@dataclass(frozen=True, slots=True)
class Stage:
    """A FROM and what follows. `base` names an earlier stage, a context/reference, or "scratch".

    `name` is lower case, the index as text where the file gives none, and so unique; `index` counts the file's FROMs.
    """

    name: str
    index: int
    line: int
    base: str
    base_is_stage: bool
    platform: str = ""
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Graph:
    """What a target needs of a Containerfile: those stages in file order. `file` is for messages.

    `target` is the `index` of the stage asked for (the last of `stages`).
    """

    file: str
    stages: tuple[Stage, ...]
    target: int
    declared: tuple[str, ...] = ()
    """The names that the file's ARGs declare, in any stage."""


@dataclass(frozen=True, slots=True)
class Keyed:
    """A step with its key: sha256 hex over everything that could change its result (build/key.py).

    `inputs` are the parts the key was made of, by name, for saying what changed; values are short texts or digests.
    `parent` is the key of the root filesystem it runs on, `result` the key of the one it leaves behind.
    """

    stage: int
    step: Step
    key: str
    parent: str
    result: str
    inputs: Pairs = ()
    needs: tuple[int, ...] = field(default=())
    """Stages (index) whose result this step reads by COPY --from or a bind mount."""


class Shared(NamedTuple):
    """A layer that caches are asked for, and get: the key it is found by, what messages call it, `parent` as in Workshop.run."""

    key: str
    title: str
    parent: str = ""
