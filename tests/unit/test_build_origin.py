"""Where a step comes from, and where it stands."""

from __future__ import annotations

import pytest

from devenv.build.graph import graph
from devenv.build.key import keys
from devenv.build.origin import annotate
from devenv.build.parse import parse
from devenv.model.build import Configure, Graph
from devenv.model.image import ImageConfig, Rootfs
from devenv.render import containerfile, templates_folder

from .render_cases import CASES

TEXT = """\
FROM base AS apt
# Anything else.
# From `apt`: git, jq
# From `python`: python3
RUN install
FROM apt
ENV A=1
# From `apt`: not right above

RUN first \\
# From `node`: inside
  second
CMD x
RUN third
"""


def annotated(text: str) -> Graph:
    names = {name: ImageConfig() for name in ("base", "devenv-base", "bootstrap:bookworm")}
    suites = {f"bootstrap:{suite}": ImageConfig() for suite in ("bullseye", "trixie", "forky", "sid")}
    return annotate(graph(parse(text, "F"), "F", {}, "", names | suites, ["devenv-tools", "devenv-packages"]), text)


def test_annotate_reads_the_comments_right_above_a_step() -> None:
    apt, last = annotated(TEXT).stages
    assert apt.steps[0].origins == (("apt", "git, jq"), ("python", "python3"))
    assert [step.origins for step in last.steps] == [(), (), (), ()]


def test_annotate_counts_the_steps_that_leave_files_only() -> None:
    apt, last = annotated(TEXT).stages
    assert [step.place for step in apt.steps] == ["apt"]
    assert [step.place for step in last.steps] == ["stage-1", "stage-1 1/2", "stage-1", "stage-1 2/2"]


def test_words_of_the_manifest_change_no_key() -> None:
    def made(text: str) -> list[str]:
        return [one.key for one in keys(annotated(text), {"base": Rootfs("K")}, lambda _name, _what: "d")]

    assert made(TEXT) == made(TEXT.replace("git, jq", "other"))
    keyed = keys(annotated(TEXT), {"base": Rootfs("K")}, lambda _name, _what: "d")[0]
    assert dict(keyed.inputs)["devenv.yml: apt"] == "git, jq"


@pytest.mark.parametrize("name", CASES)
def test_every_rendered_step_says_which_key_it_comes_from(name: str) -> None:
    manifest, section = CASES[name]
    for stage in annotated(containerfile(manifest, templates_folder(), section)).stages:
        for step in stage.steps:
            assert isinstance(step.operation, Configure) or step.origins, step.text
