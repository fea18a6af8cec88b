"""A manifest's text with values written into it: everything else of it stays, to the character."""

from __future__ import annotations

import difflib
import random

import pytest

from devenv.errors import InputError
from devenv.manifest import Altered, document, rewritten
from devenv.manifest.variants import Edit, Path, at

TEXT = """\
# The shop.
name: shop   # ours
from: bootstrap:bookworm

vars: {django: "5.2", other: 'it''s'}
apt:
  - git
  - curl   # for checks

python:
  packages: ["django=={{ django }}", six]   # pinned
  version: 3.11
env:
  # what is said
  A: x
limits: {memory: 1G}
test: |
  pytest -q
  echo done
services:
  db:
    apt: [postgresql]

# the end
"""


def changed(path: Path, text: str, data: str = TEXT) -> list[str]:
    made = rewritten(data.encode(), Altered(edits=(Edit(path, text),)), "devenv.yml").decode()
    lines = difflib.ndiff(data.splitlines(keepends=True), made.splitlines(keepends=True))
    return [line.rstrip("\n") for line in lines if line[0] in "+-"]


@pytest.mark.parametrize(
    ("path", "text", "lines"),
    [
        (
            ("vars", "django"),
            "6.0",
            ["""- vars: {django: "5.2", other: 'it''s'}""", """+ vars: {django: "6.0", other: 'it''s'}"""],
        ),
        (
            ("vars", "other"),
            "a'b",
            ["""- vars: {django: "5.2", other: 'it''s'}""", """+ vars: {django: "5.2", other: 'a''b'}"""],
        ),
        (("apt", 1), "curl=8*", ["-   - curl   # for checks", "+   - curl=8*   # for checks"]),
        (("apt", 2), "jq", ["+   - jq"]),
        (("python", "version"), "3.13", ["-   version: 3.11", "+   version: 3.13"]),
        (
            ("python", "packages", 1),
            "six==1.2",
            [
                '-   packages: ["django=={{ django }}", six]   # pinned',
                '+   packages: ["django=={{ django }}", six==1.2]   # pinned',
            ],
        ),
        (
            ("python", "packages", 2),
            "urllib3>=2,<3",
            [
                '-   packages: ["django=={{ django }}", six]   # pinned',
                '+   packages: ["django=={{ django }}", six, "urllib3>=2,<3"]   # pinned',
            ],
        ),
        (("limits", "cpus"), "2", ["- limits: {memory: 1G}", "+ limits: {memory: 1G, cpus: 2}"]),
        (("env", "B"), "y: z", ['+   B: "y: z"']),
        (("from",), "bootstrap:trixie", ["- from: bootstrap:bookworm", "+ from: bootstrap:trixie"]),
        (("node", "version"), "22", ["+ node: {version: 22}"]),
        (("services", "db", "apt", 0), "postgresql=17*", ["-     apt: [postgresql]", "+     apt: [postgresql=17*]"]),
        (("services", "db", "python", "version"), "3.12", ["+     python: {version: 3.12}"]),
    ],
)
def test_one_value_and_nothing_else(path: Path, text: str, lines: list[str]) -> None:
    assert changed(path, text) == lines


def test_several_and_windows_line_ends() -> None:
    edits = (Edit(("vars", "django"), "6.0"), Edit(("apt", 0), "gitx"))
    made = rewritten(TEXT.replace("\n", "\r\n").encode(), Altered(edits=edits), "devenv.yml").decode()
    assert made == TEXT.replace('"5.2"', '"6.0"').replace("- git", "- gitx").replace("\n", "\r\n")


def test_a_file_without_a_last_line_end_and_with_a_byte_order_mark() -> None:
    assert rewritten(b"\xef\xbb\xbffrom: bootstrap:sid", Altered(edits=(Edit(("apt", 0), "jq"),)), "f") == (
        b"\xef\xbb\xbffrom: bootstrap:sid\napt: [jq]\n"
    )


def test_a_variant_is_written_where_its_values_belong() -> None:
    variants = "variants:\n  next: {vars: {django: '6.0'}, env: {B: y}}\n  bare: {apt: [a]}\n"
    made = rewritten((TEXT + variants).encode(), Altered("next"), "f").decode()
    assert made == TEXT.replace('"5.2"', '"6.0"').replace("  A: x\n", "  A: x\n  B: y\n") + variants
    with pytest.raises(InputError, match="`apt` of a variant can't be written above"):
        rewritten((TEXT + variants).encode(), Altered("bare"), "f")


def test_what_only_a_person_can_write_is_refused_where_it_stands() -> None:
    with pytest.raises(InputError, match=r"devenv.yml:17:7: `test` can't be written there"):
        changed(("test",), "pytest")
    with pytest.raises(InputError, match="can't be written there"):
        changed(("apt", 0), "x", "from: bootstrap:sid\nvars: {a: &a git}\napt: [*a]\n")


def test_any_text_comes_back_as_it_was() -> None:
    chance = random.Random(3)
    alphabet = "ab 0.:#'\"{}[],&*!|>%@`-?\\~=é"
    for _ in range(400):
        text = "".join(chance.choices(alphabet, k=chance.randrange(1, 9))).strip() or "x"
        for path in (
            ("vars", "django"),
            ("vars", "other"),
            ("python", "version"),
            ("apt", 1),
            ("env", "N"),
            ("python", "packages", 2),
        ):
            made = rewritten(TEXT.encode(), Altered(edits=(Edit(path, text),)), "f")
            node = at(document.read(made, "f"), path)
            assert isinstance(node, document.Scalar) and node.text == text
