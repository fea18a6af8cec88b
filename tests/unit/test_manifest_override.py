"""`NAME=VERSION` finds what it means, in the manifest or in a file that it names, or says what it could mean."""

from __future__ import annotations

import pytest

from devenv.errors import InputError
from devenv.manifest import document
from devenv.manifest.override import Override, Project, override
from devenv.manifest.requirement import apt, names, node, python, rewritten
from devenv.manifest.variants import Edit

SHOP = b"""
name: shop
from: bootstrap:bookworm
vars: {django: "5.2", debug: "1"}
apt: [git, "curl=7.88", libc6:i386]
python:
  version: "3.11"
  requirements: [requirements.txt, web/pyproject.toml]
  packages: ["django[argon2]=={{ django }}", "ruamel.yaml>=0.18,<0.19; python_version > '3'", gunicorn]
node: {packages: ["@scope/tool@5", typescript]}
env: {DEBUG: "{{ debug }}"}
limits: {memory: 1G}
services:
  db: {apt: [postgresql, git], env: {MODE: a}, replicas: 2}
  web: {python: {packages: [Django]}}
variants:
  next: {vars: {django: "6.0"}}
"""
FILES = {
    "requirements.txt": (
        b"# ours\nrequests==2.31  # until later\n"
        b'flask[async] >= 3 ; python_version > "3" \\\n    --hash=sha256:00\n-r more.txt\n'
    ),
    "web/pyproject.toml": b"[project]\nname = 'web'\ndependencies = [\n  'httpx>=0.2',  # why\n  \"attrs\"]\n",
}
LOCKED = {"": ("django", "urllib3", "requests"), "web": ("django", "sqlparse"), "db": ("none",)}


def asked(*texts: str) -> Override:
    return override(texts, Project(document.read(SHOP, "devenv.yml"), FILES, LOCKED))


def refused(text: str) -> str:
    with pytest.raises(InputError) as caught:
        asked(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "path", "written", "before"),
    [
        ("debug=0", ("vars", "debug"), "0", "1"),
        ("vars.django=6.0", ("vars", "django"), "6.0", "5.2"),
        ("python=3.13", ("python", "version"), "3.13", "3.11"),
        ("python.version=3.13", ("python", "version"), "3.13", "3.11"),
        ("node=22", ("node", "version"), "22", ""),
        ("from=bootstrap:trixie", ("from",), "bootstrap:trixie", "bootstrap:bookworm"),
        ("gunicorn=22", ("python", "packages", 2), "gunicorn==22", "gunicorn"),
        ("gunicorn=>=22,<23", ("python", "packages", 2), "gunicorn>=22,<23", "gunicorn"),
        ("ruamel_yaml=0.19", ("python", "packages", 1), "ruamel.yaml==0.19 ; python_version > '3'", None),
        ("urllib3=2.0", ("python", "packages", 3), "urllib3==2.0", ""),
        ("sqlparse=0.5", ("services", "web", "python", "packages", 1), "sqlparse==0.5", ""),
        ("curl=8.1-2", ("apt", 1), "curl=8.1-2", "curl=7.88"),
        ("libc6=2.37", ("apt", 2), "libc6:i386=2.37*", "libc6:i386"),
        ("db.apt.postgresql=17", ("services", "db", "apt", 0), "postgresql=17*", "postgresql"),
        ("postgresql=17", ("services", "db", "apt", 0), "postgresql=17*", "postgresql"),
        ("services.db.apt.git=2", ("services", "db", "apt", 1), "git=2*", "git"),
        ("db.replicas=3", ("services", "db", "replicas"), "3", "2"),
        ("db.from=bootstrap:trixie", ("services", "db", "from"), "bootstrap:trixie", ""),
        ("web.python=3.12", ("services", "web", "python", "version"), "3.12", ""),
        ("limits.memory=2G", ("limits", "memory"), "2G", "1G"),
        ("typescript=5.1", ("node", "packages", 1), "typescript@5.1", "typescript"),
        ("@scope/tool=6", ("node", "packages", 0), "@scope/tool@6", "@scope/tool@5"),
        ("env.DEBUG=0", ("env", "DEBUG"), "0", "{{ debug }}"),
        ("gunicorn==22", ("python", "packages", 2), "gunicorn==22", "gunicorn"),
        ("env.NEW=1", ("env", "NEW"), "1", ""),
        ("limits.cpus=2", ("limits", "cpus"), "2", ""),
        ("db.env.NEW=1", ("services", "db", "env", "NEW"), "1", ""),
        ("MODE=b", ("services", "db", "env", "MODE"), "b", "a"),
    ],
)
def test_a_name_finds_its_value(text: str, path: tuple[str | int, ...], written: str, before: str | None) -> None:
    found = asked(text)
    assert found.files == ()
    (edit,) = found.edits
    assert (edit.path, edit.text) == (path, written)
    assert before is None or edit.before == before


def test_what_a_file_asks_for_is_written_there() -> None:
    found = asked("requests=2.32", "httpx=0.3", "Flask=4")
    assert found.edits == ()
    assert dict(found.files) == {
        "requirements.txt": b'# ours\nrequests==2.32  # until later\nflask[async]==4 ; python_version > "3"\n-r more.txt\n',
        "web/pyproject.toml": b"[project]\nname = 'web'\ndependencies = [\n  'httpx==0.3',  # why\n  \"attrs\"]\n",
    }
    assert [(one.name, one.before, one.after) for one in found.changes] == [
        ("python.requests", "2.31", "2.32"),
        ("python.httpx", ">=0.2", "0.3"),
        ("python.flask", ">= 3", "4"),
    ]


def test_several_add_up() -> None:
    found = asked("urllib3=2.0", "sqlparse=1", "python.urllib3=2.1")
    assert found.edits == (
        Edit(("python", "packages", 3), "urllib3==2.0"),
        Edit(("services", "web", "python", "packages", 1), "sqlparse==1"),
        Edit(("python", "packages", 3), "urllib3==2.1", "urllib3==2.0"),
    )


def test_a_variable_that_a_package_mentions_is_what_is_meant_of_the_two() -> None:
    text = b"from: bootstrap:sid\nvars: {django: '5'}\npython: {packages: ['django=={{ django }}']}\n"
    found = override(["django=6"], Project(document.read(text, "f"), {}, {"": ["django"]}))
    assert [edit.path for edit in found.edits] == [("vars", "django")]


def test_one_of_several_must_be_named() -> None:
    said = refused("django=6")  # the project's variable, the package of the service
    assert "django: could be 2 things" in said and "say which one: vars.django, web.python.django" in said
    assert "say which one: apt.git, db.apt.git" in refused("git=3")


@pytest.mark.parametrize("text", ["django", "=6", "a=", "a=\n", "", "a=\x1b[0m"])
def test_what_isnt_name_and_version(text: str) -> None:
    assert "isn't NAME=VERSION" in refused(text)


def test_a_language_without_a_version_gets_one() -> None:
    text = b"from: bootstrap:sid\nnode:\n  # version: x\npython: {}\n"
    found = override(["node=22", "python=3.12"], Project(document.read(text, "f")))
    assert [edit.path for edit in found.edits] == [("node", "version"), ("python", "version")]
    with pytest.raises(InputError, match=r"nothing in devenv\.yml is called so"):
        override(["node=22"], Project(document.read(b"from: bootstrap:sid\n", "f")))


def test_what_a_template_says_is_no_version() -> None:
    text = b"from: bootstrap:sid\nvars: {a: '1'}\npython: {packages: ['six=={{ a }}']}\n"
    (change,) = override(["python.six=2"], Project(document.read(text, "f"))).changes
    assert change.before == ""


def test_a_name_that_nothing_has() -> None:
    said = refused("gunicron=22")
    assert "gunicron: nothing in devenv.yml is called so" in said and "did you mean gunicorn?" in said
    assert "it names apt.curl, apt.git" in refused("zzz=1")


@pytest.mark.parametrize("text", ["variants.next.vars.django=1", "name=x"])
def test_what_no_variant_can_change(text: str) -> None:
    assert "nothing in devenv.yml is called so" in refused(text)


def test_requirements_are_taken_apart() -> None:
    parts = python("Foo.Bar [a,b] >= 2, <3 ; x == 'y'")
    assert parts and (parts.name, parts.version) == ("Foo.Bar", ">= 2, <3")
    assert parts.write("4") == "Foo.Bar[a,b]==4 ; x == 'y'" and parts.write("~=4.1") == "Foo.Bar[a,b]~=4.1 ; x == 'y'"
    url = python("foo @ https://host/foo-1.whl ; x == 'y'")
    assert url and url.write("2") == "foo==2 ; x == 'y'"
    assert python("-r x.txt") is None and python("./local") is None and python("") is None
    deb = apt("libfoo:i386=1:2-3")
    assert deb and (deb.name, deb.version, deb.write("2-1"), deb.write("17*")) == (
        "libfoo",
        "1:2-3",
        "libfoo:i386=2-1",
        "libfoo:i386=17*",
    )
    module = node("@a/b@^1")
    assert module and (module.name, module.version, module.write("2")) == ("@a/b", "^1", "@a/b@2")


def test_a_file_keeps_its_line_ends_and_what_is_no_text() -> None:
    content = b"six==1\r\n# \xff\r\nother\r\n"
    assert rewritten("r.txt", content, "six", "2") == b"six==2\r\n# \xff\r\nother\r\n"
    assert [one.name for one in names("r.txt", content)] == ["six", "other"]
    assert list(names("pyproject.toml", b"project = 3\n")) == [] and list(names("pyproject.toml", b"[[[")) == []
