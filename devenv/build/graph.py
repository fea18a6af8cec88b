"""Instructions, build arguments and the bases' configs → the graph of what a target needs, everything expanded."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import NamedTuple

from devenv.errors import Fault, InputError
from devenv.model.build import Graph, Run, Stage, Step
from devenv.model.image import ImageConfig
from devenv.model.manifest import Pairs

from .configure import PATH, SCRATCH, SHELL
from .configure import configure as configure
from .convert import Scope, absolute, convert
from .expand import PROXIES, expand, platform_arguments
from .instruction import Instruction
from .mounts import fields
from .words import Malformed

_MAX_STAGES = 500


class _Outline(NamedTuple):
    """A stage before its instructions are looked at. `base_stage` None: `base` is a reference or scratch."""

    number: int
    name: str
    base: str
    base_stage: int | None
    platform: str
    opening: Instruction
    body: tuple[Instruction, ...]


@dataclass(slots=True)
class _State:
    """What a stage has come to, instruction by instruction."""

    config: ImageConfig
    arguments: dict[str, str]
    cmd_is_set: bool = False


class _Build(NamedTuple):
    """What all stages share."""

    file: str
    given: Mapping[str, str]
    top: Mapping[str, str]
    outlines: tuple[_Outline, ...]
    names: Collection[str]
    faults: list[Fault]

    def fault(self, instruction: Instruction, error: Malformed) -> None:
        self.faults.append(Fault(self.file, instruction.line, 0, error.message, error.hint))


def overridden(
    instructions: Sequence[Instruction], images: Collection[str], folders: Collection[str]
) -> tuple[Instruction, ...]:
    """The instructions where a context stands for the stage of its name, as in BuildKit; names in lower case.

    An image's stage is that image and nothing more. A folder can be no stage: its stage loses its name.
    """
    found: list[Instruction] = []
    dropped = False
    for instruction in instructions:
        if instruction.name == "FROM":
            name = instruction.words[2].lower() if len(instruction.words) == 3 else ""
            dropped = name in images
            if dropped:
                instruction = instruction._replace(words=(name, "AS", name), flags=())
            elif name in folders:
                instruction = instruction._replace(words=instruction.words[:1])
        elif dropped:
            continue
        found.append(instruction)
    return tuple(found)


def references(
    instructions: Sequence[Instruction], args: Mapping[str, str], target: str = "", platform: str = "linux/amd64"
) -> tuple[str, ...]:
    """What the stages the target needs name outside the file, by FROM, COPY --from or RUN --mount=from=; in file order.

    Faults are left for graph(), which has the same arguments and says them all.
    """
    faults: list[Fault] = []
    top = _top(instructions, args, platform, target, "", faults)
    outlines = _outlines(instructions, top, "", faults)
    chosen = _chosen(outlines, target, "", faults)
    if chosen is None:
        return ()
    names = {outline.name for outline in outlines}
    found: dict[str, None] = {}
    for index in sorted(_needed(outlines, chosen)):
        outline = outlines[index]
        if outline.base_stage is None and outline.base not in ("", "scratch"):
            found[outline.base] = None
        for name in _froms(outline):
            if _number(name) is None and name.lower() not in names:
                found[name] = None
    return tuple(found)


def graph(
    instructions: Sequence[Instruction],
    file: str,
    args: Mapping[str, str],
    target: str,
    configs: Mapping[str, ImageConfig],
    contexts: Collection[str] = (),
    platform: str = "linux/amd64",
) -> Graph:
    """The stages `target` (a name or index, "" the last) needs. Raises InputError with every fault found.

    `configs`: the config of every base that references() named and that is known; `contexts`: further names a --from
    may use (folders). `platform` is the host's.
    """
    faults: list[Fault] = []
    top = _top(instructions, args, platform, target, file, faults)
    outlines = _outlines(instructions, top, file, faults)
    chosen = _chosen(outlines, target, file, faults)
    build = _Build(file, args, top, outlines, {*configs, *contexts}, faults)
    stages: list[Stage] = []
    states: dict[int, _State] = {}
    for index in sorted(_needed(outlines, chosen)) if chosen is not None else ():
        outline = outlines[index]
        _check_platform(build, outline, platform)
        state = _start(build, outline, states, configs)
        steps = _steps(build, outline, state)
        states[index] = state
        base_is_stage = outline.base_stage is not None
        base = outlines[outline.base_stage].name if outline.base_stage is not None else outline.base
        stages.append(Stage(outline.name, index, outline.opening.line, base, base_is_stage, platform, steps))
    if faults or chosen is None:
        raise InputError(*sorted(faults, key=lambda fault: fault.line))
    words = (word for instruction in instructions if instruction.name == "ARG" for word in instruction.words)
    return Graph(file, tuple(stages), chosen, tuple(sorted({word.partition("=")[0] for word in words})))


def settle(graph: Graph, configs: Mapping[str, ImageConfig]) -> ImageConfig:
    """The config of the image the graph's target makes."""
    made: dict[str, ImageConfig] = {}
    for stage in graph.stages:
        config = made[stage.base] if stage.base_is_stage else base_config(stage.base, configs)
        for step in stage.steps:
            config = configure(config, step)
        made[stage.name] = config
    return made[graph.stages[-1].name]


def base_config(base: str, configs: Mapping[str, ImageConfig]) -> ImageConfig:
    """The config of a base that is no stage."""
    return SCRATCH if base == "scratch" else configs[base]


# Outline ------------------------------------------------------------------------------------------------------------


def _top(
    instructions: Sequence[Instruction],
    args: Mapping[str, str],
    platform: str,
    target: str,
    file: str,
    faults: list[Fault],
) -> dict[str, str]:
    """The values FROM sees: the automatic arguments, and every ARG before the first FROM."""
    automatic = {**platform_arguments(platform), "TARGETSTAGE": target or "default"}
    values = {name: args.get(name, value) for name, value in automatic.items()}
    for instruction in instructions:
        if instruction.name != "ARG":
            break
        for word in instruction.words:
            name, equals, default = word.partition("=")
            try:
                if name in args:
                    values[name] = args[name]
                elif equals:
                    values[name] = expand(default, values, instruction.escape)
            except Malformed as error:
                faults.append(Fault(file, instruction.line, 0, error.message, error.hint))
    return values


def _outlines(
    instructions: Sequence[Instruction], top: Mapping[str, str], file: str, faults: list[Fault]
) -> tuple[_Outline, ...]:
    starts = [place for place, instruction in enumerate(instructions) if instruction.name == "FROM"]
    found: list[_Outline] = []
    for index, (start, end) in enumerate(zip(starts, [*starts[1:], len(instructions)], strict=True)):
        opening = instructions[start]
        base, platform = "", ""
        try:
            base = expand(opening.words[0], top, opening.escape)
            platform = expand(opening.flag("platform") or "", top, opening.escape)
            if not base:
                raise Malformed(f"the base {opening.words[0]} is empty once its variables are filled in", _ARG_HINT)
        except Malformed as error:
            faults.append(Fault(file, opening.line, 0, error.message, error.hint))
        name = opening.words[2].lower() if len(opening.words) == 3 else str(index)
        base_stage = next(
            (outline.number for outline in found if outline.name == base.lower() and not base.isdigit()), None
        )
        found.append(_Outline(index, name, base, base_stage, platform, opening, tuple(instructions[start + 1 : end])))
    if len(found) > _MAX_STAGES:
        faults.append(Fault(file, found[_MAX_STAGES].opening.line, 0, f"more than {_MAX_STAGES} stages"))
        return ()
    return tuple(found)


_ARG_HINT = "an ARG that FROM uses stands before the first FROM, with a default or a --build-arg"


def _chosen(outlines: Sequence[_Outline], target: str, file: str, faults: list[Fault]) -> int | None:
    if not target or not outlines:
        return len(outlines) - 1 if outlines else None
    named = next((outline.number for outline in outlines if outline.name == target.lower()), None)
    if named is not None:
        return named
    names = [outline.name for outline in outlines]
    near = get_close_matches(target.lower(), names, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(names)}"
    faults.append(Fault(file, 0, 0, f"no stage is named {target}", hint))
    return None


def _froms(outline: _Outline) -> list[str]:
    """Every name a stage reads from by COPY --from and RUN --mount=from=, as written."""
    found: list[str] = []
    for instruction in outline.body:
        for key, value in instruction.flags:
            name = fields(value).get("from", "") if key == "mount" else value if key == "from" else ""
            if name:
                found.append(name)
    return found


def _needed(outlines: Sequence[_Outline], target: int) -> set[int]:
    numbers = {outline.name: outline.number for outline in outlines}
    needed: set[int] = set()
    waiting = [target]
    while waiting:
        index = waiting.pop()
        if index in needed:
            continue
        needed.add(index)
        outline = outlines[index]
        if outline.base_stage is not None:
            waiting.append(outline.base_stage)
        for name in _froms(outline):
            number = _number(name)
            other = numbers.get(name.lower()) if number is None else number
            if other is not None and other < index:
                waiting.append(other)
    return needed


def _number(name: str) -> int | None:
    return int(name) if name.isascii() and name.isdigit() and len(name) < 6 else None


# Stages -------------------------------------------------------------------------------------------------------------


def _check_platform(build: _Build, outline: _Outline, platform: str) -> None:
    wanted = outline.platform.lower().replace("x86_64", "amd64").replace("aarch64", "arm64")
    if wanted.split("/", 1)[0] != "linux" and "/" not in wanted:
        wanted = f"linux/{wanted}"
    if not outline.platform or f"{platform}/".startswith(f"{wanted}/") or wanted.startswith(f"{platform}/"):
        return
    hint = f"this host builds {platform}; leave --platform out"
    build.fault(outline.opening, Malformed(f"{outline.platform} can't be built here", hint))


def _start(
    build: _Build, outline: _Outline, states: Mapping[int, _State], configs: Mapping[str, ImageConfig]
) -> _State:
    """What a stage starts from: its base's config, and an earlier stage's arguments too."""
    if outline.base_stage is not None:
        before = states[outline.base_stage]
        return _State(before.config, dict(before.arguments))
    if outline.base in ("", "scratch"):
        return _State(SCRATCH, {})
    if outline.base not in configs and outline.base in build.names:
        hint = f"take files of it with COPY --from={outline.base}"
        build.fault(outline.opening, Malformed(f"{outline.base} is a folder, and FROM takes an image", hint))
        return _State(SCRATCH, {})
    if outline.base not in configs:
        build.fault(outline.opening, _unknown(build, outline, outline.base))
        return _State(SCRATCH, {})
    config = configs[outline.base]
    if config.onbuild:
        message = f"{outline.base} has ONBUILD instructions, which are not supported: {config.onbuild[0]}"
        build.fault(outline.opening, Malformed(message, "use a base without them, and write them here"))
    return _State(config, {})


def _unknown(build: _Build, outline: _Outline, name: str) -> Malformed:
    """A name that is neither a stage before this one nor a context."""
    own = {other.name: other.number for other in build.outlines}
    at = own.get(name.lower())
    if at is not None and at >= outline.number:
        which = "this very stage" if at == outline.number else f"a later stage (line {build.outlines[at].opening.line})"
        return Malformed(f"{name} is {which}", "a stage can only use those above it")
    if _number(name) is not None:
        return Malformed(f"there is no stage {name} above", f"counted from 0, this is stage {outline.number}")
    earlier = [other.name for other in build.outlines[: outline.number] if not other.name.isdigit()]
    near = get_close_matches(name, [*earlier, *sorted(build.names)], 1)
    hint = f"did you mean {near[0]}?" if near else f'say where it comes from: contexts: {{"{name}": "bootstrap:SUITE"}}'
    return Malformed(f"{name} is neither a stage above nor a context", hint)


def _stage_of(build: _Build, outline: _Outline, name: str) -> str:
    """What --from names: an earlier stage by name or number → its name; a context → itself."""
    number = _number(name)
    for other in build.outlines[: outline.number]:
        if other.number == number or other.name == name.lower():
            return other.name
    if name in build.names and number is None:
        return name
    raise _unknown(build, outline, name)


def _steps(build: _Build, outline: _Outline, state: _State) -> tuple[Step, ...]:
    steps: list[Step] = []
    for instruction in outline.body:
        try:
            if instruction.name == "ARG":
                _declare(build, instruction, state)
            else:
                step = _step(build, outline, instruction, state)
                state.config = configure(state.config, step)
                state.cmd_is_set = state.cmd_is_set or instruction.name == "CMD"
                steps.append(step)
        except Malformed as error:
            build.fault(instruction, error)
    return tuple(steps)


def _declare(build: _Build, instruction: Instruction, state: _State) -> None:
    """ARG in a stage: given from outside, its default, or what stood before the first FROM, in this order."""
    values = _values(state)
    for word in instruction.words:
        written, equals, default = word.partition("=")
        name = expand(written, values, instruction.escape)
        if name in build.given:
            state.arguments[name] = build.given[name]
        elif equals:
            state.arguments[name] = expand(default, values, instruction.escape)
        elif name in build.top:
            state.arguments[name] = build.top[name]


def _values(state: _State) -> dict[str, str]:
    """What variables an instruction sees: ENV over ARG."""
    return {"PATH": PATH, **state.arguments, **dict(state.config.env)}


def _step(build: _Build, outline: _Outline, instruction: Instruction, state: _State) -> Step:
    config = state.config
    workdir = absolute(config.workdir or "/", "/").rstrip("/") or "/"
    scope = Scope(
        values=_values(state),
        workdir=workdir,
        shell=config.shell or SHELL,
        cmd_is_set=state.cmd_is_set,
        stage_of=lambda name: _stage_of(build, outline, name),
    )
    step = Step(instruction.line, instruction.text, convert(instruction, scope), user=config.user, workdir=workdir)
    if not isinstance(step.operation, Run):
        return step
    env, uncounted = _environment(build, state)
    return replace(step, env=env, uncounted=uncounted)


def _environment(build: _Build, state: _State) -> tuple[Pairs, tuple[str, ...]]:
    """The environment of a RUN, ENV first, and which names in it are proxies given from outside."""
    image = dict(state.config.env)
    proxies = {name: value for name, value in build.given.items() if name in PROXIES and name not in image}
    others = {"PATH": PATH, **state.arguments, **proxies}
    rest = sorted((name, value) for name, value in others.items() if name not in image)
    return (*image.items(), *rest), tuple(sorted(proxies))


def undeclared(args: Collection[str], declared: Collection[str]) -> tuple[str, ...]:
    """A warning for each build argument that no ARG declares."""
    automatic = {*PROXIES, *platform_arguments("linux/amd64"), "TARGETSTAGE", "SOURCE_DATE_EPOCH"}
    warnings: list[str] = []
    for name in sorted({*args} - {*declared} - automatic):
        near = get_close_matches(name, sorted(declared), 1)
        warnings.append(f"--build-arg {name}: no ARG declares it" + (f"; did you mean {near[0]}?" if near else ""))
    return tuple(warnings)
