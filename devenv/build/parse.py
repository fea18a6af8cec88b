"""A Containerfile's text → its instructions, each with its line; all faults of form at once (BuildKit's parser)."""

from __future__ import annotations

from devenv.errors import Fault, InputError

from .instruction import Instruction, interpret
from .lines import Heredocs, directives, join
from .words import Malformed

MAX_SIZE = 1 << 20  # characters
_MAX_INSTRUCTIONS = 5000


def parse(text: str, file: str) -> tuple[Instruction, ...]:
    """The instructions of a Containerfile. `file` is its name in messages. Raises InputError with every fault found."""
    faults: list[Fault] = []
    if len(text) > MAX_SIZE:
        raise InputError(
            Fault(file, 0, 0, f"larger than {MAX_SIZE} characters", "keep large data in files and COPY them")
        )
    if "\0" in text:
        raise InputError(
            Fault(file, text.count("\n", 0, text.index("\0")) + 1, 0, "holds a NUL byte", "save it as text")
        )
    lines = text.removeprefix("\ufeff").split("\n")
    escape, index = directives(lines, file, faults)
    found: list[Instruction] = []
    while True:
        logical, index = join(lines, index, escape)
        if logical is None:
            break
        if len(found) + len(faults) > _MAX_INSTRUCTIONS:
            faults.append(Fault(file, logical.starts[0][1], 0, f"more than {_MAX_INSTRUCTIONS} instructions"))
            break
        reader = Heredocs(lines, index)
        try:
            found.append(interpret(logical, escape, reader))
        except Malformed as error:
            faults.append(Fault(file, *logical.place(error.offset), error.message, error.hint))
        index = reader.index
    _whole(found, file, faults)
    if faults:
        raise InputError(*sorted(faults, key=lambda fault: (fault.line, fault.column)))
    return tuple(found)


def _whole(found: list[Instruction], file: str, faults: list[Fault]) -> None:
    """What only the whole file can have wrong: what comes before FROM, and names that are there twice."""
    stages: dict[str, int] = {}
    first = next((index for index, instruction in enumerate(found) if instruction.name == "FROM"), None)
    if first is None and not faults:
        faults.append(Fault(file, 0, 0, "there is no FROM", "start with FROM and a base, or FROM scratch"))
    for instruction in found[:first] if first is not None else ():
        if instruction.name != "ARG":
            hint = "only ARG may stand before the first FROM"
            faults.append(Fault(file, instruction.line, 1, f"{instruction.name} before the first FROM", hint))
    for instruction in found:
        if instruction.name == "FROM" and len(instruction.words) == 3:
            name = instruction.words[2].lower()
            if name in stages:
                message = f"the stage {name} is already there, on line {stages[name]}"
                faults.append(Fault(file, instruction.line, 1, message, "give it another name"))
            stages.setdefault(name, instruction.line)
