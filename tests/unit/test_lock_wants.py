"""What a manifest asks a lock for, what differs from a lock, and what a build would be made of before it is resolved."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from devenv.changes import brief
from devenv.lock.parcels import digest, listing, parcels
from devenv.lock.wants import Wants, differs, meaning, provisional, stale, wants
from devenv.model.lock import BaseLock, Section
from devenv.model.manifest import Manifest, Node, Python

from .render_cases import debs, manifest, module, node, python, section, sha256

CONTENTS: Mapping[str, bytes] = {"requirements.txt": b"six\n", "web/package-lock.json": b"{}"}
GIVEN = manifest(
    apt=("curl", "git"),
    python=Python("3.11", ("requirements.txt",), ("django==5.2",)),
    node=Node("24", "web/package-lock.json", ("typescript@5",)),
)


def wanted(
    given: Manifest = GIVEN,
    contents: Mapping[str, bytes] = CONTENTS,
    suites: tuple[str, ...] = ("bookworm",),
    images: tuple[tuple[str, str], ...] = (),
) -> Wants:
    return wants(given, suites, images, tuple(sorted(given.apt)), contents)


def locked(of: Wants) -> Section:
    """What was locked for this."""
    made = section(["curl git", "jq"], "curl git", python=python("pip django==5.2 six", "flask"))
    assert made.apt and made.python
    return made._replace(
        bases=tuple(BaseLock(suite, 1, debs("base-files")) for suite in of.suites),
        images=of.images,
        apt=made.apt._replace(asked=of.apt or ()) if of.apt else None,
        python=made.python._replace(asked=of.python) if of.python is not None else None,
        node=node("24.1.1", "typescript@5.9.3", "lit@3.3.1")._replace(asked=of.node) if of.node is not None else None,
    )


def told(after: Wants, before: Wants | None = None) -> list[str]:
    return [brief(one) for one in differs(after, locked(before or wanted()))]


def without(**values: object) -> Manifest:
    changed: Manifest = GIVEN._replace(**values)  # type: ignore[arg-type]
    return changed


def edited(**values: bytes) -> Mapping[str, bytes]:
    names = {"requirements": "requirements.txt", "npm": "web/package-lock.json"}
    return {**CONTENTS, **{names[name]: value for name, value in values.items()}}


def test_nothing_differs_from_what_was_locked_for_it() -> None:
    assert told(wanted()) == []
    assert stale(wanted(), locked(wanted())) == frozenset()


def test_without_a_lock_all_is_wanted() -> None:
    assert stale(wanted(), None) == {"bases", "apt", "python", "node"}
    assert brief(differs(wanted(), None)[0]) == "from → bootstrap:bookworm"


CHANGES: dict[str, tuple[Wants, list[str], set[str]]] = {
    "apt more": (wanted(without(apt=("curl", "git", "jq"))), ["apt +jq"], {"apt"}),
    "apt less": (wanted(without(apt=("git",))), ["apt -curl"], {"apt"}),
    "apt pinned": (wanted(without(apt=("curl=7", "git"))), ["apt +curl=7 -curl"], {"apt"}),
    "no apt": (wanted(without(apt=())), ["apt -curl -git"], {"apt"}),
    "npm's network": (
        wanted(without(node=Node("24", "web/package-lock.json", ("typescript@5",), network=True))),
        ["node.network → true"],
        {"node"},
    ),
    "python packages": (
        wanted(without(python=Python("3.11", ("requirements.txt",), ("django==6.0", "six")))),
        ["python.packages +django==6.0 +six -django==5.2"],
        {"python"},
    ),
    "python version": (
        wanted(without(python=Python("3.13", ("requirements.txt",), ("django==5.2",)))),
        ["python.version 3.11 → 3.13"],
        {"python"},
    ),
    "requirements": (wanted(contents=edited(requirements=b"six==1")), ["requirements.txt edited"], {"python"}),
    "another file": (
        wanted(contents={**CONTENTS, "requirements/dev.txt": b"x"}),
        ["requirements/dev.txt added"],
        {"python"},
    ),
    "no python": (
        wanted(without(python=None), {"web/package-lock.json": b"{}"}),
        [
            "python -virtual environment",
            "python.version removed",
            "python.packages -django==5.2",
            "requirements.txt removed",
        ],
        {"python"},
    ),
    "node version": (
        wanted(without(node=Node("20", "web/package-lock.json", ("typescript@5",)))),
        ["node.version 24 → 20"],
        {"node"},
    ),
    "node packages": (
        wanted(without(node=Node("24", "web/package-lock.json", ("typescript@5", "prettier")))),
        ["node.packages +prettier"],
        {"node"},
    ),
    "npm lock": (wanted(contents=edited(npm=b"{ }")), ["web/package-lock.json edited"], {"node"}),
    "from": (
        wanted(suites=("trixie",)),
        ["from bootstrap:bookworm → bootstrap:trixie"],
        {"bases", "apt", "python", "node"},
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_differs_is_told_in_the_manifest_s_words(name: str) -> None:
    after, words, parts = CHANGES[name]
    assert told(after) == words
    assert stale(after, locked(wanted())) == parts


def test_an_image_of_the_same_name_is_another_base() -> None:
    before = wanted(suites=(), images=(("oci:x", f"sha256:{sha256('1')}"),))
    after = wanted(suites=(), images=(("oci:x", f"sha256:{sha256('2')}"),))
    assert told(after, before) == ["oci:x edited"]
    assert stale(after, locked(before)) == {"bases", "apt", "python", "node"}


def test_the_order_of_what_is_asked_for_counts_nowhere() -> None:
    images = (("oci:b", "sha256:1"), ("oci:a", "sha256:2"))
    before = wanted(images=images, suites=("trixie", "bookworm"))
    found = locked(before)
    assert found.apt and found.python and found.python.asked
    turned = found._replace(
        images=tuple(reversed(found.images)),
        apt=found.apt._replace(asked=tuple(reversed(found.apt.asked))),
        python=found.python._replace(asked=tuple(reversed(found.python.asked))),
    )
    after = wanted(images=tuple(reversed(images)), suites=("bookworm", "trixie"))
    assert stale(after, turned) == frozenset()


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("requirements.txt", b"six\n", b"# why\n\n  six  # because\r\n"),
        ("a/dev.in", b"-r base.txt\nsix", b"-r base.txt # base\nsix\n#django\n"),
        (
            "pyproject.toml",
            b'[project]\nname = "a"\ndependencies = ["six"]\n',
            b'# new\n[project]\nname = "b"\nversion = "2"\ndependencies = [\n "six",\n]\n[tool.ruff]\nline-length = 1\n'
            b'[tool.pytest.ini_options]\naddopts = "-q"\n',
        ),
    ],
)
def test_what_says_nothing_of_packages_is_no_change(file: str, before: bytes, after: bytes) -> None:
    assert meaning(file, before) == meaning(file, after)


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("requirements.txt", b"six\n", b"six==1\n"),
        ("requirements.txt", b"x @ https://x.example/a#sha256=1", b"x @ https://x.example/a#sha256=2"),
        ("requirements.txt", b"six\n", b"#six\n"),
        ("uv.lock", b"version = 1\n", b"version = 2\n"),
        ("package-lock.json", b"{}", b'{"a": 1}'),
        ("pyproject.toml", b'[project]\ndependencies = ["a"]', b'[project]\ndependencies = ["a", "b"]'),
        ("pyproject.toml", b"[project]", b'[project]\nrequires-python = ">=3.12"'),
        ("pyproject.toml", b"", b'[project]\ndynamic = ["dependencies"]'),
        ("pyproject.toml", b"[project]", b'[project.optional-dependencies]\nweb = ["flask"]'),
        ("pyproject.toml", b"", b'[tool.uv]\nconstraint-dependencies = ["six<2"]'),
        ("pyproject.toml", b"", b'[tool.uv.sources]\nsix = {index = "mine"}'),
        ("pyproject.toml", b"not [toml", b"not [toml either"),
        ("pyproject.toml", b"project = 1", b"project = 2"),
    ],
)
def test_what_says_another_package_is_a_change(file: str, before: bytes, after: bytes) -> None:
    assert meaning(file, before) != meaning(file, after)


def test_the_npm_lock_is_node_s_and_every_other_file_python_s() -> None:
    given = GIVEN._replace(node=Node(lock="npm-shrinkwrap.json"))
    found = wants(
        given, (), (), (), {"npm-shrinkwrap.json": b"{}", "requirements.txt": b"", "package-lock.json.txt": b""}
    )
    assert [name for name, _ in found.node or ()] == ["npm-shrinkwrap.json"]
    assert [name for name, _ in found.python or ()][2:] == ["package-lock.json.txt", "requirements.txt"]


# What isn't resolved yet --------------------------------------------------------------------------


def digests(of: Section) -> dict[str, str]:
    return {name: digest(parcel) for name, parcel in parcels(of).items()}


@pytest.mark.parametrize("name", [name for name in CHANGES if name != "from"])
def test_provisional_changes_just_the_parts_that_change(name: str) -> None:
    after, _, (part,) = CHANGES[name]
    before = digests(locked(wanted()))
    found = digests(provisional(after, locked(wanted()), "amd64"))
    changed = {path for path in before.keys() | found.keys() if before.get(path) != found.get(path)}
    assert changed and {path.partition("/")[0] for path in changed} == {part}


GONE: dict[str, Callable[[Section], object]] = {
    "no apt": lambda section: section.apt,
    "no python": lambda section: section.python,
}


@pytest.mark.parametrize("name", GONE)
def test_provisional_has_nothing_that_nobody_wants(name: str) -> None:
    assert GONE[name](provisional(CHANGES[name][0], locked(wanted()), "amd64")) is None


def test_provisional_adds_to_what_is_there_in_a_layer_of_its_own() -> None:
    found = parcels(provisional(wanted(without(apt=("curl", "git", "zsh"))), locked(wanted()), "amd64"))
    before = parcels(locked(wanted()))
    assert found["apt/1"] == before["apt/1"] and found["apt/2"] == before["apt/2"]
    assert listing(found["apt/3"]) == "zsh ?"
    more = GIVEN.node and GIVEN.node._replace(packages=("typescript@5", "prettier"))
    found = parcels(provisional(wanted(without(node=more)), locked(wanted()), "amd64"))
    assert found["node/tools/1"] == before["node/tools/1"] and "node/tools/2" in found


@pytest.mark.parametrize(
    ("asked", "paths"),
    [
        (Node(), {"node/runtime"}),
        (Node(packages=("typescript",)), {"node/runtime", "node/tools/1"}),
        (Node(lock="web/package-lock.json"), {"node/runtime", "node/project/1"}),
        (Node("20", "web/package-lock.json", ("x",)), {"node/runtime", "node/tools/1", "node/project/1"}),
    ],
)
def test_provisional_has_every_part_that_will_be_copied(asked: Node, paths: set[str]) -> None:
    after = wanted(manifest(node=asked), {"web/package-lock.json": b"{}"} if asked.lock else {})
    assert parcels(provisional(after, None, "amd64")).keys() == paths
    before = wanted(manifest(), {})
    assert parcels(provisional(after, locked(before), "amd64")).keys() == paths


def test_provisional_is_the_lock_itself_when_that_is_up_to_date() -> None:
    assert provisional(wanted(), locked(wanted()), "amd64") == locked(wanted())


def test_provisional_takes_an_edited_file_for_another_version_and_a_new_name_for_another_layer() -> None:
    def layers(packages: tuple[str, ...], text: bytes) -> tuple[int, ...]:
        after = wanted(manifest(python=Python(None, ("requirements.txt",), packages)), {"requirements.txt": text})
        before = locked(after)._replace(python=python("six", "numpy")._replace(asked=(("packages", ""),)))
        found = provisional(after, before, "amd64").python
        assert found is not None
        return found.layers

    assert layers((), b"six==1.17") == (1, 2)
    assert layers(("Six>=1.17", "numpy"), b"") == (1, 2)
    assert layers(("flask",), b"") == (1, 2, 3)


def test_what_is_unknown_is_named_by_nobody() -> None:
    """`plan` tells what a step takes of the lock: not what stands in for it."""
    after = wanted(without(python=Python("3.11", ("requirements.txt",), ("flask",)), node=Node("22")))
    found = parcels(provisional(after, locked(wanted()), "amd64"))
    assert not [path for path, parcel in found.items() if "unknown" in listing(parcel) or "?" in listing(parcel)]
    assert module("typescript@5.9.3").path in [one.path for one in parcels(locked(wanted()))["node/tools/1"].modules]
