"""`devenv doctor`: what is found out is tried for real, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import time
from typing import Any

import pytest

from .conftest import output
from .project import Project

pytestmark = pytest.mark.engine


def found(project: Project, *before: str, env: dict[str, str] | None = None) -> dict[str, dict[str, Any]]:
    """The checks by name; `before` is a program that the command line runs under."""
    argv = [*before, *project.argv("doctor", "--json")]
    done = subprocess.run(argv, cwd=project.folder, env=project.env(env), capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    checks: list[dict[str, Any]] = json.loads(done.stdout)["checks"]
    assert done.returncode == (0 if all(check["ok"] for check in checks) else 1)
    return {check["name"]: check for check in checks}


def test_doctor_is_content_with_a_machine_that_runs_the_tests(project: Project) -> None:
    checks = found(project)
    outside = {"name servers", "package mirror", "disk space", "inodes"}

    assert [name for name, check in checks.items() if not check["ok"] and name not in outside] == []
    assert len(checks) > 15


def test_doctor_leaves_nothing_and_is_quick(project: Project) -> None:
    found(project)
    links, mounts = output("ip", "-br", "link"), output("findmnt", "--raw")
    begun = time.monotonic()
    found(project)

    assert time.monotonic() - begun < 3  # 0.5 s on an idle machine
    assert "dvdoctor" not in output("ip", "-br", "link") + output("nft", "list", "tables")
    assert len(output("findmnt", "--raw").splitlines()) <= len(mounts.splitlines()) + 5, links
    assert os.listdir(project.paths.drafts) == []


def test_doctor_without_privileges_says_what_fails_and_how_to_mend_it(project: Project) -> None:
    checks = found(project, "setpriv", "--bounding-set=-sys_admin,-net_admin", "--inh-caps=-sys_admin,-net_admin")

    for name in ("overlayfs", "mapped ids: this folder", "bridge, veth, nf_tables"):
        assert not checks[name]["ok"], name
        assert checks[name]["fix"], name
        assert "ermitted" in checks[name]["found"], checks[name]


def test_doctor_says_that_a_folder_cannot_map_ids(project: Project) -> None:
    folder = f"{project.folder}/ram"
    os.mkdir(folder)
    output("mount", "-t", "ramfs", "none", folder)
    try:
        inside = Project(project.paths, folder, project.base)
        checks = found(inside)
        inside.manifest()
        refused = inside.attempt("run", "--", "true")
    finally:
        output("umount", folder)

    assert not checks["mapped ids: this folder"]["ok"]
    assert "ramfs" in checks["mapped ids: this folder"]["found"]
    assert checks["mapped ids: store"]["ok"]
    assert refused.returncode == 1
    assert f"mount {folder}: its file system can't map ids" in refused.stderr
    assert "doctor" in refused.stderr


def test_doctor_puts_a_flushed_firewall_back(project: Project) -> None:
    project.up()
    table = next(line.split()[-1] for line in output("nft", "list", "tables").splitlines() if _bridge(project) in line)
    output("nft", "delete", "table", "inet", table)

    assert "put back" in found(project)["containers' network"]["found"]
    assert "put back" not in found(project)["containers' network"]["found"]


def _bridge(project: Project) -> str:
    from devenv.engine.native.slot.address import bridge_name

    return bridge_name(project.paths.run)[2:]


def test_without_mapped_ids_containers_have_copies_and_root_is_nobody_outside(project: Project) -> None:
    off = {"DEVENV_IDMAP": "off"}
    project.write(
        "Containerfile",
        "FROM base\nRUN --mount=type=cache,target=/cache echo 1 >/cache/x && install -o 7 /dev/null /seven\n",
    )
    project.manifest(f"from: file:Containerfile\ncontexts: {{base: '{project.base}'}}\n")
    script = "stat -c '%u %n' /bin/sh /seven; head -1 /proc/self/uid_map; touch /mine && stat -c %u /mine"

    said = project.run("run", "--no-source", "--", "sh", "-c", script, env=off).splitlines()

    assert [said[0], said[1], said[3]] == ["0 /bin/sh", "7 /seven", "0"]
    assert int(said[2].split()[1]) >= 0x70000000
    [copies] = os.listdir(project.paths.copies)
    assert os.stat(f"{project.paths.copies}/{copies}/init").st_uid == int(copies)
    refused = project.attempt("run", "--", "true", env=off)
    assert refused.returncode == 1
    assert "DEVENV_IDMAP=off" in refused.stderr
