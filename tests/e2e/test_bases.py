"""Every Debian release that a manifest may start from bootstraps, builds and runs."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import New

pytestmark = [pytest.mark.engine, pytest.mark.network]


@pytest.mark.parametrize(
    ("suite", "python"),
    [
        ("trixie", "Python 3.13."),
        pytest.param("bullseye", "Python 3.9.", marks=pytest.mark.soak),
        pytest.param("forky", "Python 3.", marks=pytest.mark.soak),
        pytest.param("sid", "Python 3.", marks=pytest.mark.soak),
    ],
)
def test_base_of_each_release_runs(new: New, suite: str, python: str) -> None:
    place = new(manifest=f"from: bootstrap:{suite}\napt: [tree]\npython: {{packages: [six]}}\n")
    place("up")
    release = place("exec", "--", "cat", "/etc/os-release").out
    assert suite in release or suite == "sid"
    assert place("exec", "--", "python", "--version").out.startswith(python)
    # The host's proxies and its word on old archives were lent to the bootstrap, and are not in what it made.
    assert place("exec", "--", "cat", "/etc/apt/apt.conf.d/99devenv").out == 'APT::Install-Recommends "false";\n'
    place("exec", "--", "sh", "-c", "tree --version && python -c 'import six'")
