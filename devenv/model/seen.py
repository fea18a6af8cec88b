"""What is seen of a container that runs: what it uses, its processes; what of its image it has touched; what was copied."""

from typing import Literal, NamedTuple


class Usage(NamedTuple):
    """What a container has used since it was started, as counted at `time` (seconds of a clock that only goes on).

    CPU in seconds, memory and data in bytes; memory is without what the kernel could drop at once. None: nobody counts it here.
    """

    time: float
    cpu: float | None = None
    memory: int | None = None
    memory_limit: int | None = None
    """None: none of its own."""
    received: int | None = None
    sent: int | None = None
    read: int | None = None
    written: int | None = None
    pids: int | None = None
    pids_limit: int | None = None


class Task(NamedTuple):
    """A process of a container: its pid inside and outside, its user inside, CPU seconds, bytes in memory, its command."""

    pid: int
    outside: int
    user: str
    cpu: float
    memory: int
    command: str


class Touched(NamedTuple):
    """A path of an image that a container has another way: what of it is another, or that it is removed or replaced."""

    path: str
    how: str


class Copied(NamedTuple):
    """What a copy has done: files, bytes in them, and what was left out: (path, why)."""

    files: int = 0
    size: int = 0
    left: tuple[tuple[str, str], ...] = ()


Stream = Literal["stdout", "stderr"]
