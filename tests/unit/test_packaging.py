"""The wheel: built, installed into a fresh environment, it renders as the checkout does."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
EXAMPLE = f"{CHECKOUT}/examples/django-shop"


def output(argv: Sequence[str], folder: str, home: str = "/nonexistent") -> str:
    """What it prints; nothing of this checkout is on its path, and its store is `home`, not this machine's."""
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    env["DEVENV_HOME"] = home
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.network  # the build's own environment has hatchling from the package index
def test_wheel_renders_the_example_as_the_checkout_does(tmp_path: Path) -> None:
    output([sys.executable, "-m", "build", "--wheel", "--outdir", f"{tmp_path}", CHECKOUT], f"{tmp_path}")
    (wheel,) = tmp_path.glob("devenv-*.whl")
    with zipfile.ZipFile(wheel) as content:
        names = set(content.namelist())
    templates = {f"devenv/_templates/{name}" for name in os.listdir(f"{CHECKOUT}/templates")}
    assert templates <= names
    assert "devenv/engine/native/container/seccomp.txt" in names
    assert not [name for name in names if name.startswith(("tests", "examples"))]
    output([sys.executable, "-m", "venv", f"{tmp_path}/venv"], f"{tmp_path}")
    output([f"{tmp_path}/venv/bin/pip", "install", "--quiet", "--no-compile", f"{wheel}"], f"{tmp_path}")
    home = f"{tmp_path}/home"  # rendering looks into it, and makes it
    rendered = output([f"{tmp_path}/venv/bin/devenv", "render"], EXAMPLE, home)
    assert "FROM bootstrap:bookworm AS base" in rendered
    assert rendered == output([sys.executable, "-m", "devenv", "-C", EXAMPLE, "render"], CHECKOUT, home)
    where = output([f"{tmp_path}/venv/bin/python", "-c", "import devenv; print(devenv.__file__)"], f"{tmp_path}")
    assert where.startswith(f"{tmp_path}/venv/")


def test_editable_install_has_the_checkouts_templates() -> None:
    script = "from devenv.render import templates_folder; print(templates_folder())"
    assert output([sys.executable, "-c", script], CHECKOUT).strip() == f"{CHECKOUT}/templates"
