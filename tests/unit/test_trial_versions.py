"""What package managers print of a name → versions in order, and those between two."""

from __future__ import annotations

import pytest

from devenv.errors import EngineError, InputError
from devenv.lock.tags import newer
from devenv.trial.versions import between, listed

PIP = "jinja2 (3.1.6)\nAvailable versions: 3.1.6, 3.1.0, 3.0.3, 3.0.0rc1, 3.0.0, 2.11.3\n  INSTALLED: 3.0.3\n"
NPM = '[\n "5.0.0-beta.1", "4.10.0", "4.9.1", "5.0.0"\n]'
APT = " curl | 7.88.1-10+deb12u14 | http://deb/ bookworm/main amd64 Packages\n curl | 7.88.1-10 | http://deb/ x/main amd64 Packages\n"


def test_each_ecosystem_is_read_and_put_in_order() -> None:
    assert listed("python", "jinja2", PIP, newer) == ("2.11.3", "3.0.0rc1", "3.0.0", "3.0.3", "3.1.0", "3.1.6")
    assert listed("node", "x", NPM, newer) == ("4.9.1", "4.10.0", "5.0.0-beta.1", "5.0.0")
    assert listed("node", "x", '"1.0.0"', newer) == ("1.0.0",)
    assert listed("apt", "curl", APT, newer) == ("7.88.1-10", "7.88.1-10+deb12u14")


@pytest.mark.parametrize(
    ("kind", "text"), [("python", "ERROR"), ("node", "{"), ("node", "{}"), ("node", "7"), ("apt", "")]
)
def test_no_versions_are_an_error(kind: str, text: str) -> None:
    with pytest.raises(EngineError, match="list the versions of x: none is known"):
        listed(kind, "x", text, newer)  # type: ignore[arg-type]


def test_between_two_of_them_in_either_direction_and_without_pre_releases() -> None:
    known = listed("python", "jinja2", PIP, newer)
    assert between("jinja2", "2.11.3", "3.1.0", known, "python") == ("2.11.3", "3.0.0", "3.0.3", "3.1.0")
    assert between("jinja2", "3.1.0", "3.0.0rc1", known, "python") == ("3.1.0", "3.0.3", "3.0.0", "3.0.0rc1")
    assert between(
        "from", "bootstrap:bookworm", "bootstrap:sid", ("bootstrap:bookworm", "bootstrap:trixie", "bootstrap:sid")
    ) == (
        "bootstrap:bookworm",
        "bootstrap:trixie",
        "bootstrap:sid",
    )


def test_a_version_that_isnt_there_is_named_with_those_near_it() -> None:
    known = listed("python", "jinja2", PIP, newer)
    with pytest.raises(InputError, match=r"there is no jinja2 3\.0\.9\n  hint: near it: 3\.0\.0rc1, 3\.0\.0, 3\.0\.3"):
        between("jinja2", "2.11.3", "3.0.9", known)
    with pytest.raises(InputError, match=r"near it: 2\.11\.3, 3\.0\.0rc1"):
        between("jinja2", "9", "3.1.0", known)
