"""Manifest → the container that is wanted, and the inputs that say whether another must replace it."""

from __future__ import annotations

from typing import Any

import pytest

from devenv.build.graph import graph
from devenv.build.key import keys
from devenv.build.parse import parse
from devenv.desired import bare, environment, one_shot, positions, specify
from devenv.model.container import Environment, Process
from devenv.model.manifest import From, Hooks, Limits, Manifest, Port, Source

HOME = Environment("e1", "shop", "/p")
PLAIN = Manifest("/p/devenv.yml", "/p", "shop", From("bootstrap", "bookworm"), sources=(Source(".", "/workspace"),))


def changed(**values: Any) -> set[str]:
    """Names of the inputs that differ once these fields of the manifest have other values."""
    before, after = specify(PLAIN, HOME, "K").inputs, specify(PLAIN._replace(**values), HOME, "K").inputs
    return {name for name, _ in set(before) ^ set(after)}


@pytest.mark.parametrize(
    ("field", "value", "names"),
    [
        ("env", (("A", "1"),), {"env.A"}),
        ("env", (("A", ""),), {"env.A"}),
        ("ports", (Port(8000),), {"ports"}),
        ("sources", (Source(".", "/workspace", "ro"),), {"source /workspace"}),
        ("sources", (Source(".", "/src"),), {"source /workspace", "source /src"}),
        ("limits", Limits(memory=1 << 30), {"limits.memory"}),
        ("limits", Limits(cpus=1.5, pids=7), {"limits.cpus", "limits.pids"}),
        ("network", "none", {"network"}),
        ("user", "ann", {"user"}),
        ("workdir", "/x", {"workdir"}),
        ("command", "sleep 1", {"command"}),
        ("proxy", "none", {"proxy"}),
        ("runtime", "crun", {"runtime"}),
        ("name", "other", {"name"}),
        ("hooks", Hooks(("a",), ("b",)), set()),
        ("test", "pytest", set()),
        ("apt", ("git",), set()),
    ],
)
def test_inputs_name_what_changed(field: str, value: object, names: set[str]) -> None:
    assert changed(**{field: value}) == names


def test_spec_has_absolute_sources_and_a_waiting_init() -> None:
    spec = specify(PLAIN, HOME, "K", certificates="/etc/bundle.pem")
    assert spec.sources == (Source("/p", "/workspace"),)
    assert spec.process.argv == ()
    assert (spec.name, spec.hostname, spec.certificates) == ("dev", "shop", "/etc/bundle.pem")


def test_proxy_none_undoes_what_the_engine_lends() -> None:
    env = dict(specify(PLAIN._replace(proxy="none"), HOME, "K").process.env)
    assert env["https_proxy"] == env["HTTPS_PROXY"] == ""


def test_environment_of_a_folder_is_stable_and_its_own() -> None:
    one, other = environment("/a", "shop", None), environment("/b", "shop", None)
    assert one == environment("/a", "shop", None)
    assert one.id != other.id
    assert environment("/a", "renamed", one) == Environment(one.id, "renamed", "/a")


def test_one_shot_has_its_own_name_no_ports_and_the_project_s_defaults() -> None:
    main = specify(PLAIN._replace(user="ann", workdir="/w", env=(("A", "1"),), ports=(Port(80, 80),)), HOME, "K")
    spec = one_shot(main, Process(("true",), env=(("B", "2"),), user="root"), "run-1")
    assert (spec.name, spec.ports, spec.process.user, spec.process.workdir) == ("run-1", (), "root", "/w")
    assert spec.process.env == (("A", "1"), ("B", "2"))


def test_bare_has_no_source() -> None:
    assert bare("run-1", "sha256:i", Process(("true",))).sources == ()


def test_positions_are_the_stage_and_the_place_in_it() -> None:
    text = "FROM scratch AS one\nCOPY a /a\nCOPY a /b\nFROM scratch\nCOPY --from=one /a /\nCOPY a /b\n"
    found = graph(parse(text, "Containerfile"), "Containerfile", {}, "", {})
    keyed = keys(found, {}, lambda _name, _what: "digest")
    assert [position for position, _ in positions(found, keyed)] == ["one:1", "one:2", "1:1", "1:2"]
