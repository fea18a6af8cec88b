"""A Python project's own files → the `python:` of its first manifest, and what goes with it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Any

from . import clues, detect_servers
from .detected import DEBIAN, PYTHON, Draft, comment, listed, within

REQUIREMENTS = (
    *("requirements.txt", "requirements-dev.txt", "requirements_dev.txt", "requirements-test.txt"),
    *("dev-requirements.txt", "test-requirements.txt", "requirements/dev.txt", "requirements/test.txt"),
)
_SAYING = (*REQUIREMENTS, "pyproject.toml", "uv.lock", "Pipfile", "setup.py", "manage.py")
FILES = (
    *(*_SAYING, "setup.cfg", "poetry.lock", "Pipfile.lock", "environment.yml", ".python-version"),
    *("pytest.ini", "conftest.py", "tests/conftest.py", *detect_servers.PYTHON),
)
NESTED = (
    *("requirements.txt", "requirements-dev.txt", "pyproject.toml", "uv.lock", "manage.py", ".python-version"),
    *detect_servers.PYTHON,
)

_NATIVE = {
    "psycopg2": ("build-essential", "libpq-dev"),
    "psycopg": ("libpq5",),
    "mysqlclient": ("build-essential", "default-libmysqlclient-dev", "pkg-config"),
    "python-ldap": ("build-essential", "libldap-dev", "libsasl2-dev"),
    "pycairo": ("build-essential", "libcairo2-dev", "pkg-config"),
}
_DATABASES = r"psycopg2?|psycopg2-binary|mysqlclient|asyncpg|oracledb|cx[-_]oracle"
_PORTS = {
    "django": "8000",
    "fastapi": "8000",
    "uvicorn": "8000",
    "flask": "5000",
    "streamlit": "8501",
    "jupyterlab": "8888",
}
_PURE = ("hatchling", "setuptools", "flit_core", "flit_scm", "uv_build", "pdm.backend", "poetry.core")
"""Build backends that need no compiler of another language."""


def detect(files: Mapping[str, str], images: list[str], found: Draft) -> None:
    """Say what Python the project needs, if it is one, in the folder itself or in the first beneath that is."""
    folders = ("", *sorted({posixpath.dirname(path) for path in files if path.count("/") == 1}))
    homes = [folder for folder in folders if within(files, folder).keys() & {*_SAYING, "environment.yml"}]
    folder = homes[0] if homes else ""
    own = within(files, folder)
    pyproject = clues.from_toml(own.get("pyproject.toml", ""))
    version, source = _version({**files, **own}, pyproject, images)
    if not (homes or version):
        return
    found.python.append(f'version: "{version}"  # from {source}' if version else "@version")
    packages, what = _packages(own, pyproject, found)
    named = _named(own, pyproject)
    said = "\n".join(own.get(name, "") for name in ("pyproject.toml", "uv.lock", "Pipfile", *REQUIREMENTS))
    if _configured_pytest(own, pyproject) and not _mentions("pytest|pytest-django", said):
        packages.append("pytest")
    found.python += [f"requirements: {listed([posixpath.join(folder, name) for name in named])}"] if named else []
    found.python += [f"packages: {listed(packages)}{what}"] if packages else []
    if not named and not packages and "setup.py" not in own:
        found.python.append('# packages: ["django==5.2"]  # no file here lists any')
    _system(said, found)
    _commands(own, pyproject, said, folder, found)
    _others(homes[1:], found)


def finish(found: Draft) -> None:
    """The base is known now, and with it the Python that is there without asking."""
    suite = found.base.partition(":")[2]
    own = f"Debian {DEBIAN[suite]}'s own, {PYTHON[suite]}" if suite in PYTHON else "the base's own"
    found.python = [f'# version: "3.13"  # default: {own}' if line == "@version" else line for line in found.python]


def _named(own: Mapping[str, str], pyproject: dict[str, Any]) -> list[str]:
    if "uv.lock" in own:
        return ["uv.lock"]
    named = [name for name in REQUIREMENTS if name in own]
    return named or (["pyproject.toml"] if isinstance(pyproject.get("project"), dict) else [])


def _packages(own: Mapping[str, str], pyproject: dict[str, Any], found: Draft) -> tuple[list[str], str]:
    """Packages to be named in the manifest itself, and a comment on them."""
    named = _named(own, pyproject)
    if named == ["pyproject.toml"]:
        return _development(pyproject), ""
    if named:
        return [], ""
    poetry = clues.table(pyproject, "tool", "poetry")
    if poetry:
        groups = [clues.table(group, "dependencies") for group in clues.table(poetry, "group").values()]
        tables = [clues.table(poetry, "dependencies"), clues.table(poetry, "dev-dependencies"), *groups]
        if "poetry.lock" in own:
            found.notes.append("poetry.lock isn't read: `packages` has what pyproject.toml asks for")
        return clues.poetry_packages(*tables), "  # from pyproject.toml"
    pipfile = clues.from_toml(own.get("Pipfile", ""))
    if pipfile:
        if "Pipfile.lock" in own:
            found.notes.append("Pipfile.lock isn't read: `packages` has what Pipfile asks for")
        tables = [clues.table(pipfile, "packages"), clues.table(pipfile, "dev-packages")]
        return clues.poetry_packages(*tables), "  # from Pipfile"
    if "environment.yml" in own:
        found.notes.append("environment.yml isn't read: conda is not supported")
    return [], ""


def _development(pyproject: dict[str, Any]) -> list[str]:
    """What pyproject.toml lists for development, which installing from it doesn't bring."""
    groups = (clues.at(pyproject, "project", "optional-dependencies"), pyproject.get("dependency-groups"))
    lists = (clues.at(group, name) for group in groups for name in ("dev", "test", "tests"))
    return list(dict.fromkeys(clues.pip_packages(*lists)))


def _configured_pytest(own: Mapping[str, str], pyproject: dict[str, Any]) -> bool:
    return bool(
        own.keys() & {"pytest.ini", "conftest.py", "tests/conftest.py"} or clues.at(pyproject, "tool", "pytest")
    )


def _mentions(package: str, said: str) -> bool:
    return bool(re.search(rf"(?im)(^|[\"'\s])({package})(?![\w-])", said))


def _system(said: str, found: Draft) -> None:
    """The Debian packages that are needed to compile or fetch what is named."""
    for package, needs in _NATIVE.items():
        if _mentions(package, said):
            found.apt += needs
            found.apt_why = f"{package} needs them"
    if re.search(r"git\+(https?|ssh)|\bgit = [\"']http|source = \{ git", said):
        found.python.append("network: true  # what comes from a repository can't be locked")
        found.apt.append("git")
        found.apt_why = "git fetches some of the Python packages" if len(found.apt) == 1 else found.apt_why


def _commands(own: Mapping[str, str], pyproject: dict[str, Any], said: str, folder: str, found: Draft) -> None:
    go = f"cd {folder} && " if folder and re.fullmatch(r"[\w.-]+", folder) else ""
    django = "manage.py" in own
    found.usual += [port for name, port in _PORTS.items() if (name == "django" and django) or _mentions(name, said)][:1]
    backend = clues.at(pyproject, "build-system", "build-backend")
    packaged = isinstance(pyproject.get("project"), dict) and str(backend).startswith(_PURE)
    if packaged or ("setup.py" in own and not pyproject):
        found.hooks.append(f"{go}pip install {'--no-deps ' if packaged else ''}--editable .")
    mentioned = {name: _mentions(name, said) for name in ("fastapi", "flask")}
    mentioned["uvicorn"] = _mentions(r"uvicorn|fastapi\[(?:standard|all)\]", said)
    found.server = None if django else detect_servers.python(own, mentioned, go, found)
    migrate = f"{go}python manage.py migrate"
    if django and _mentions(_DATABASES, said):
        found.later.append(f"{migrate}  # once its database answers: `services:` is where that belongs")
    elif django:
        found.hooks.append(migrate)
    if django:
        found.server = detect_servers.django(go, migrate in found.hooks)
    if re.search(r"\bpytest\b", said) or _configured_pytest(own, pyproject):
        found.test = f"{go}pytest -q"
    elif django:
        found.test = f"{go}python manage.py test"
    found.tests = (f"{go}pytest -q", "pytest is installed")


def _version(files: Mapping[str, str], pyproject: dict[str, Any], images: list[str]) -> tuple[str, str]:
    """The version and the file that says it, the most explicit first."""
    tools = clues.tool_version(files.get(".tool-versions", ""), "python")
    required = clues.at(pyproject, "project", "requires-python")
    poetry = clues.at(pyproject, "tool", "poetry", "dependencies", "python")
    named = (
        (clues.python_version(files.get(".python-version", "")), ".python-version"),
        (clues.python_version(tools), ".tool-versions"),
        *(
            (clues.python_version(clues.feature(files, name, "python")), "devcontainer.json")
            for name in clues.DEVCONTAINER
        ),
        *((clues.python_version(clues.python_in(image)), comment(image)) for image in images),
        (clues.required_python(required if isinstance(required, str) else ""), "pyproject.toml"),
        (clues.required_python(poetry.replace("^", ">=") if isinstance(poetry, str) else ""), "pyproject.toml"),
    )
    return next(((version, source) for version, source in named if version), ("", ""))


def _others(homes: list[str], found: Draft) -> None:
    if homes:
        found.notes.append(f"there is more Python in {', '.join(comment(home) + '/' for home in homes[:5])}")
