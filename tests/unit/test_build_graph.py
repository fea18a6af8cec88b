"""Golden cases: a Containerfile (containerfiles/NAME.Containerfile) → its graph, or its faults, as text (NAME.txt)."""

from __future__ import annotations

import json
import os
import re
from dataclasses import MISSING, fields
from typing import Any

import pytest

from devenv.build.configure import SCRATCH, configure
from devenv.build.graph import graph, references, settle, undeclared
from devenv.build.parse import parse
from devenv.errors import InputError
from devenv.model.build import Configure, Graph, Step
from devenv.model.image import ImageConfig

FOLDER = os.path.join(os.path.dirname(__file__), "containerfiles")
CASES = sorted(name.removesuffix(".Containerfile") for name in os.listdir(FOLDER) if name.endswith(".Containerfile"))
DEBIAN = ImageConfig(env=(("PATH", "/usr/bin:/bin"),), cmd=("bash",))


def read(name: str) -> str:
    with open(os.path.join(FOLDER, name), encoding="utf-8", newline="") as file:
        return file.read()


def outcome(text: str) -> str:
    """What a Containerfile comes to; `# test {…}` in it gives arguments, target and contexts."""
    match = re.search(r"^# test (.*)$", text, re.MULTILINE)
    options: dict[str, Any] = json.loads(match[1]) if match else {}
    args, target = options.get("args", {}), options.get("target", "")
    try:
        instructions = parse(text, "Containerfile")
        needed = references(instructions, args, target)
        configs = {"debian:bookworm-slim": DEBIAN, "tools": ImageConfig()}
        made = graph(instructions, "Containerfile", args, target, configs, options.get("contexts", ()))
        warnings = "".join(f"warning: {warning}\n" for warning in undeclared(args, made.declared))
    except InputError as error:
        return f"{error}\n"
    return f"references: {', '.join(needed)}\n{warnings}{shown(made)}\nconfig: {brief(settle(made, configs))}\n"


def shown(made: Graph) -> str:
    lines: list[str] = []
    for stage in made.stages:
        wanted = " (target)" if stage.index == made.target else ""
        lines.append(f"\nstage {stage.index} {stage.name} from {'stage ' * stage.base_is_stage}{stage.base}{wanted}")
        lines += [f"  {step.line}: {step.text}\n    {shown_step(step)}" for step in stage.steps]
    return "\n".join(lines) + "\n"


def shown_step(step: Step) -> str:
    state = f"user={step.user!r} workdir={step.workdir!r}"
    env = "".join(f"\n    {name}={value!r}{' uncounted' * (name in step.uncounted)}" for name, value in step.env)
    return f"{brief(step.operation)}\n    {state}{env}"


def brief(value: object) -> str:
    """A value without the fields that have their defaults."""
    if isinstance(value, ImageConfig):
        changed = [f"{n}={v!r}" for n, v in value._asdict().items() if v != value._field_defaults.get(n, MISSING)]
        return f"ImageConfig({', '.join(changed)})"
    parts = []
    for field in fields(value):  # type: ignore[arg-type]
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if getattr(value, field.name) != default:
            parts.append(f"{field.name}={getattr(value, field.name)!r}")
    return f"{type(value).__name__}({', '.join(parts)})"


@pytest.mark.parametrize("name", CASES)
def test_graph_is_as_recorded(name: str) -> None:
    assert outcome(read(f"{name}.Containerfile")) == read(f"{name}.txt")


def test_target_unknown_names_the_nearest() -> None:
    instructions = parse("FROM scratch AS builder\n", "F")
    with pytest.raises(InputError, match=r"no stage is named bulder\n  hint: did you mean builder\?"):
        graph(instructions, "F", {}, "bulder", {})


def test_base_with_onbuild_is_refused() -> None:
    instructions = parse("FROM base\n", "F")
    with pytest.raises(InputError, match="ONBUILD"):
        graph(instructions, "F", {}, "", {"base": ImageConfig(onbuild=("RUN x",))})


def test_expansion_cannot_fill_the_memory() -> None:
    doubling = "".join(f"ENV A{n + 1}=$A{n}$A{n}$A{n}$A{n}\n" for n in range(40))
    with pytest.raises(InputError, match="grows beyond"):
        graph(parse(f"FROM scratch\nENV A0=0123456789\n{doubling}", "F"), "F", {}, "", {})


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("FROM a\nRUN \0", "F:2: holds a NUL byte"),
        ("", "F: there is no FROM"),
        ("# only a comment\n\\\n", "F: there is no FROM"),
        ("# escape=x\nFROM a\n", "F:1:1: escape can't be 'x'"),
        ("# syntax=a\n# syntax=b\nFROM a\n", "F:2:1: the parser directive syntax is given twice"),
        ("FROM a\n" * 6000, "more than 5000 instructions"),
        ("x" * (1 << 20) + "x", "larger than"),
        ("FROM a\nRUN " + "[" * 100_000, ""),
        ("FROM a\nCOPY <<../../x /etc/\nc\n../../x\n", "F:2:1: a file can't be named '../../x'"),
    ],
)
def test_parse_survives_hostile_text(text: str, fault: str) -> None:
    try:
        parse(text, "F")
    except InputError as error:
        assert fault and fault in str(error)
    else:
        assert not fault


def test_entrypoint_takes_an_inherited_cmd_away_but_not_its_own() -> None:
    base = {"base": ImageConfig(entrypoint=("old",), cmd=("inherited",))}

    def cmd(text: str) -> tuple[str, ...] | None:
        return settle(graph(parse(f"FROM base\n{text}", "F"), "F", {}, "", base), base).cmd

    assert cmd('ENTRYPOINT ["new"]\n') is None
    assert cmd('CMD ["own"]\nENTRYPOINT ["new"]\n') == ("own",)
    assert cmd('ENTRYPOINT ["new"]\nCMD ["own"]\n') == ("own",)
    assert cmd("ENV A=1\n") == ("inherited",)


def test_configure_keeps_the_place_of_a_changed_variable() -> None:
    before = ImageConfig(env=(("A", "1"), ("B", "2")))
    after = configure(before, Step(1, "", Configure(env=(("C", "3"), ("A", "9")))))
    assert after.env == (("A", "9"), ("B", "2"), ("C", "3"))


def test_scratch_has_a_path_as_docker_gives_it() -> None:
    made = graph(parse("FROM scratch\n", "F"), "F", {}, "", {})
    assert settle(made, {}) == SCRATCH
    assert dict(SCRATCH.env)["PATH"].startswith("/usr/local/sbin:")
