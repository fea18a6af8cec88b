"""Keys: changing one thing changes the keys of what depends on it, and no others."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from itertools import pairwise
from types import MappingProxyType

import pytest

from devenv.build.graph import graph
from devenv.build.key import SCRATCH, image_key, independent, keys, results
from devenv.build.parse import parse
from devenv.errors import InputError, NotFound
from devenv.model.build import Copy, Keyed, Mount
from devenv.model.image import ImageConfig, Rootfs

TEXT = """\
ARG BASE=base
FROM ${BASE} AS python
ARG VERSION=1
RUN make python
FROM base
ARG TOKEN=t
ENV A=1
LABEL l=1
RUN first
COPY --link --from=python /out /opt/
COPY requirements.txt /app/
RUN --mount=type=cache,target=/cache --mount=type=secret,id=s --mount=type=bind,source=src,target=/src second
CMD run
"""
# line → what it is; the steps that have a key of their own
STEPS = {4: "python", 9: "first", 10: "link", 11: "copy", 12: "second"}
FILES = {"requirements.txt": "django", "/src": "code"}


def build(
    text: str = TEXT, args: dict[str, str] | None = None, changes: Mapping[str, str] = MappingProxyType({})
) -> tuple[Keyed, ...]:
    bases = {"base": "K", "other": "O"} | {name: value for name, value in changes.items() if name in ("base", "other")}
    files = FILES | {name: value for name, value in changes.items() if name in FILES}

    def digest(context: str, operation: Copy | Mount) -> str:
        assert context == ""
        paths = operation.sources if isinstance(operation, Copy) else (operation.source,)
        return hashlib.sha256("".join(files[path] for path in paths).encode()).hexdigest()

    configs = {name: ImageConfig() for name in bases}
    made = graph(parse(text, "F"), "F", args or {}, "", configs)
    return keys(made, {name: Rootfs(key) for name, key in bases.items()}, digest)


def changed(after: tuple[Keyed, ...]) -> set[str]:
    """The steps whose layer is another one."""
    before = build()
    lines = zip(STEPS.values(), _layers(before), _layers(after), strict=True)
    return {name for name, old, new in lines if old != new}


def _layers(keyed: tuple[Keyed, ...]) -> list[str]:
    return [one.key for one in keyed if type(one.step.operation).__name__ != "Configure"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("RUN first", "RUN other", {"first", "copy", "second"}),
        ("RUN make python", "RUN make snake", {"python", "link", "copy", "second"}),
        ("ARG VERSION=1", "ARG VERSION=2", {"python", "link", "copy", "second"}),
        ("ENV A=1", "ENV A=2", {"first", "copy", "second"}),
        ("ARG TOKEN=t", "ARG TOKEN=u", {"first", "copy", "second"}),
        ("LABEL l=1", "LABEL l=2", set()),
        ("CMD run", "CMD walk", set()),
        ("CMD run", 'ENTRYPOINT ["x"]', set()),
        ("LABEL l=1", "USER www", {"first", "copy", "second"}),
        ("LABEL l=1", 'SHELL ["/bin/bash", "-c"]', {"first", "copy", "second"}),
        ("/opt/", "/usr/", {"link", "copy", "second"}),
        ("COPY --link", "COPY --link --chown=1000", {"link", "copy", "second"}),
        ("COPY --link", "COPY --link --chmod=755", {"link", "copy", "second"}),
        ("/app/", "/srv/", {"copy", "second"}),
        ("target=/cache", "target=/cache2", {"second"}),
        ("target=/cache", "target=/cache,id=x", {"second"}),
        ("id=s ", "id=other ", {"second"}),
        ("target=/src", "target=/code", {"second"}),
        ("target=/src second", "target=/src --network=none second", {"second"}),
    ],
)
def test_keys_change_with_an_instruction(old: str, new: str, expected: set[str]) -> None:
    assert old in TEXT
    assert changed(build(TEXT.replace(old, new))) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"requirements.txt": "flask"}, {"copy", "second"}),
        ({"/src": "more code"}, {"second"}),
        ({"base": "K2"}, {"python", "first", "link", "copy", "second"}),
        ({"other": "O2"}, set()),
    ],
)
def test_keys_change_with_contents_and_bases(changes: dict[str, str], expected: set[str]) -> None:
    assert changed(build(changes=changes)) == expected


def test_keys_of_a_link_copy_do_not_depend_on_what_it_is_put_over() -> None:
    text = TEXT.replace("FROM base\n", "FROM other\n")
    assert changed(build(text)) == {"first", "copy", "second"}


def test_keys_of_a_link_copy_depend_on_it_when_the_owner_is_a_name() -> None:
    assert independent(Copy((), "/", link=True, chown="1000:1000"))
    assert not independent(Copy((), "/", link=True, chown="www-data"))
    assert not independent(Copy((), "/", chown="1000"))
    named = TEXT.replace("COPY --link", "COPY --link --chown=www")
    other = named.replace("FROM base\n", "FROM other\n")
    assert _layers(build(named))[2] != _layers(build(other))[2]


def test_keys_ignore_proxies_from_outside_but_not_of_the_file() -> None:
    assert changed(build(args={"HTTP_PROXY": "http://a", "no_proxy": "b"})) == set()
    assert changed(build(TEXT.replace("LABEL l=1", "ENV HTTP_PROXY=http://a"))) == {"first", "copy", "second"}


def test_keys_change_with_a_build_argument_only_where_it_is_declared() -> None:
    assert changed(build(args={"VERSION": "2"})) == {"python", "link", "copy", "second"}


def test_keys_chain_results_to_parents() -> None:
    keyed = build()
    main = [one for one in keyed if one.stage == 1]
    assert main[0].parent == "K"
    for above, below in pairwise(main):
        assert below.parent == above.result
    for one in main:
        if type(one.step.operation).__name__ == "Configure":
            assert one.result == one.parent
    assert next(one for one in main if one.step.line == 10).needs == (0,)


def test_results_of_a_stage_without_steps_are_its_base() -> None:
    made = graph(parse("FROM scratch AS a\nFROM a\n", "F"), "F", {}, "", {})
    assert results(made, {}, keys(made, {}, lambda _name, _operation: "")) == {"a": SCRATCH, "1": SCRATCH}


def test_inputs_name_what_a_key_is_made_of_without_secrets() -> None:
    second = build()[-2]
    inputs = dict(second.inputs)
    assert inputs["command"] == "second"
    assert inputs["env.A"] == "1"
    assert inputs["context /src"] == hashlib.sha256(b"code").hexdigest()
    assert {"mount cache /cache", "mount secret /run/secrets/s", "user", "workdir", "network"} <= set(inputs)
    assert dict(build()[4].inputs)["stage python"] == build()[0].result


def test_inputs_of_long_commands_are_cut_but_still_differ() -> None:
    long = "x" * 1000
    one = dict(build(TEXT.replace("RUN first", f"RUN {long}a"))[3].inputs)["command"]
    two = dict(build(TEXT.replace("RUN first", f"RUN {long}b"))[3].inputs)["command"]
    assert len(one) < 210
    assert one != two


def test_keys_say_the_lines_of_all_missing_sources() -> None:
    def digest(_context: str, operation: Copy | Mount) -> str:
        raise NotFound(f"copy {operation}: there is no such file", hint="look")

    made = graph(parse(TEXT, "Containerfile"), "Containerfile", {}, "", {"base": ImageConfig()})
    with pytest.raises(InputError) as caught:
        keys(made, {"base": Rootfs("K")}, digest)
    assert [fault.line for fault in caught.value.faults] == [11, 12]


def test_image_key_depends_on_result_and_config() -> None:
    assert len({image_key("a", "{}"), image_key("b", "{}"), image_key("a", '{"x":1}')}) == 3
