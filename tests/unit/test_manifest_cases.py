"""Every `manifest_cases/NAME.yml` has exactly the faults that `NAME.expected` lists, in that order and those words.

After a wanted change of words: `python tests/unit/test_manifest_cases.py` writes them anew; read the diff.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

import pytest

from devenv.errors import DevenvError, InputError
from devenv.manifest import parse

FOLDER = os.path.join(os.path.dirname(__file__), "manifest_cases")
CASES = sorted(name.removesuffix(".yml") for name in os.listdir(FOLDER) if name.endswith(".yml"))


def expand(template: str, variables: Mapping[str, str]) -> str:
    """As render.expand, for nothing but `{{ name }}`."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in variables:
            raise DevenvError(f"{match[1]!r} is not defined", hint=f"defined are: {', '.join(sorted(variables))}")
        return variables[match[1]]

    if template.count("{{") != template.count("}}"):
        raise DevenvError("`{{` is never closed")
    return re.sub(r"\{\{ *(\w+) *\}\}", value, template)


def faults(name: str) -> str:
    """The faults of a case as text, each with a newline; "" when it has none."""
    with open(f"{FOLDER}/{name}.yml", "rb") as file:
        content = file.read()
    try:
        parse(
            content,
            "/project/devenv.yml",
            facts={"arch": "amd64", "user": "ann"},
            expand=expand,
            exists=lambda path: "missing" not in path,
        )
    except InputError as error:
        return "".join(f"{fault}\n" for fault in error.faults).replace("/project/", "")
    return ""


@pytest.mark.parametrize("name", CASES)
def test_parse_names_every_fault(name: str) -> None:
    with open(f"{FOLDER}/{name}.expected", encoding="utf-8") as file:
        expected = file.read()
    assert expected, "a case without a fault belongs in test_manifest.py"
    assert faults(name) == expected


if __name__ == "__main__":
    for case in CASES:
        with open(f"{FOLDER}/{case}.expected", "w", encoding="utf-8") as output:
            output.write(faults(case))
