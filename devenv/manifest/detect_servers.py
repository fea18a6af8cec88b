"""A project's own files → the server that its framework has for whoever works on it, reached from outside.

It becomes the manifest's command only where it is certain to go on, or nobody could go into the container: its packages are in the
image, and its application is where it looks. Otherwise it is mentioned.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from . import clues
from .detected import Draft, Server

PYTHON = ("app.py", "wsgi.py", "main.py", "app/main.py")
NODE = ("app.js", "index.js", "server.js", "src/app.js", "src/index.js", "src/server.js", "bin/www")
"""Where applications are."""

_SET = r" {0,9}(?::[^=\n]{0,200})?= {0,9}"
_FLASK = re.compile(rf"^(?:app|application){_SET}(?:Flask|create_app|make_app)\(", re.M)
_FACTORY = re.compile(r"^def (?:create|make)_app\(([^()]{0,500})\)", re.M)
_FASTAPI = re.compile(rf"^(\w{{1,100}}){_SET}(?:fastapi\.)?FastAPI\(", re.M)


def django(go: str, migrated: bool) -> Server:
    """`python manage.py runserver` (Django, django-admin)."""
    server = Server(f"{go}exec python manage.py runserver 0.0.0.0:8000", "Django's own server", "8000")
    return server if migrated else server._replace(lacks="its database answers")


def python(own: Mapping[str, str], mentioned: Mapping[str, bool], go: str, found: Draft) -> Server | None:
    """FastAPI's (Run a Server Manually) or Flask's (Quickstart, Externally Visible Server)."""
    files = [(name, own[name]) for name in PYTHON if name in own]
    installs = bool(found.hooks)
    if mentioned["fastapi"]:
        apps = [(name, match[1]) for name, text in files if (match := _FASTAPI.search(text))]
        if not apps or not mentioned["uvicorn"]:
            return None
        (name, variable), *_ = apps
        module = name.removesuffix(".py").replace("/", ".")
        command = f"{go}exec uvicorn {module}:{variable} --reload --host 0.0.0.0"
        return Server(command, "what FastAPI runs with", "8000", "the project is installed" if installs else "")
    if mentioned["flask"]:
        there = any(_flask(text) for name, text in files if name in ("app.py", "wsgi.py"))
        lacks = "" if there else "`env:` has FLASK_APP"
        command = f"{go}exec flask run --debug --host 0.0.0.0"
        return Server(command, "Flask's own server", "5000", lacks or ("the project is installed" if installs else ""))
    return None


def _flask(text: str) -> bool:
    """Whether `flask run` finds its application there: a variable, or a factory that it can call without anything."""
    factory = _FACTORY.search(text)
    given = factory[1].split(",") if factory else ()
    return bool(_FLASK.search(text)) or (
        factory is not None
        and all("=" in one or one.strip() in ("", "*", "/") or one.strip()[0] == "*" for one in given)
    )


def express(own: Mapping[str, str], package: dict[str, Any], runner: str, go: str, installed: bool) -> Server | None:
    """`npm start` (Express, application generator)."""
    start = clues.at(package, "scripts", "start")
    if not isinstance(start, str):
        return None
    file = re.fullmatch(r"node (?:\./)?([\w./-]{1,200})", start.strip())
    text = next((own.get(name, "") for name in NODE if file and name in (file[1], f"{file[1]}.js")), "")
    lacks = "" if installed else "its packages are installed"
    lacks = lacks or ("" if re.search(r"\b3000\b", text) else "it listens on 3000")
    return Server(f"{go}exec {runner} start", "package.json's start", "3000", lacks)
