"""What can go wrong, as a tree. One catch, in the CLI, turns it into a message and an exit code.

DevenvError                 exit 1   the engine failed
├── InputError              exit 2   what the user gave is wrong: a list of faults, each with its place
├── NotFound                exit 2   a named object doesn't exist
├── NotTrusted              exit 3   the manifest asks for something the user hasn't allowed
├── EngineError             exit 1   a kernel, runtime or store operation failed
│   ├── StoreError          exit 1   an object in the store is missing or isn't what its digest says
│   └── Unsupported         exit 1   this host lacks something the operation needs
├── StepFailed              exit 1   a build step's command failed (its own code inside)
└── CommandFailed           exit N   the one command that ran in a container failed with N
"""

from __future__ import annotations

from typing import NamedTuple

THE_NETWORK = "the network"
"""How the hint begins of every error that the network, or who is asked there, is to blame for."""

FREE_SPACE = "free some space"
"""The same of what a full disk is to blame for."""


class Fault(NamedTuple):
    """One thing wrong in an input: where (1-based line and column; 0 when unknown), what, and the fix."""

    file: str
    line: int
    column: int
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        return f"{place}: {self.message}" + (f"\n  hint: {self.hint}" if self.hint else "")


class DevenvError(Exception):
    """Base of everything we raise on purpose. `message` is `verb object: cause`; `hint` is what to do about it."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message + (f"\n  hint: {self.hint}" if self.hint else "")

    @property
    def outside(self) -> bool:
        """Whether the network is to blame, or a full disk, so that the same may well work another time."""
        return self.hint.startswith((THE_NETWORK, FREE_SPACE))


class InputError(DevenvError):
    """The user's input is wrong; every fault found, in file order."""

    exit_code = 2

    def __init__(self, *faults: Fault) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = faults


class NotFound(DevenvError):
    """A named environment, container, image or file doesn't exist."""

    exit_code = 2


class NotTrusted(DevenvError):
    """The manifest asks for something on the host that the user hasn't allowed."""

    exit_code = 3


class EngineError(DevenvError):
    """A kernel, runtime, network or store operation failed."""


class StoreError(EngineError):
    """A blob, layer or record is missing or is not what its digest and size say."""


class Unsupported(EngineError):
    """This host lacks a kernel feature or program that the operation needs."""


class StepFailed(DevenvError):
    """A build step's command ended with a code other than 0; `output` are the last lines it printed."""

    def __init__(self, message: str, *, code: int, hint: str = "", output: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.output = output


class CommandFailed(DevenvError):
    """A command that ran in a container ended with a code other than 0; its code is ours."""

    def __init__(self, message: str, *, code: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.exit_code = code
