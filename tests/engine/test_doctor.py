"""`devenv doctor`: what is found out is tried for real, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from typing import Any

import pytest

from devenv.paths import Paths

from .conftest import output, pool
from .project import Project

pytestmark = pytest.mark.engine

OUTSIDE = {"name servers", "package mirror", "disk space", "inodes"}
"""What a machine may lack on which these tests run."""


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

    assert [name for name, check in checks.items() if not check["ok"] and name not in OUTSIDE] == []
    assert len(checks) > 15


def test_doctor_leaves_nothing_and_is_quick(project: Project) -> None:
    found(project)
    before = mounts(project)
    begun = time.monotonic()
    found(project)

    assert time.monotonic() - begun < 3  # 0.5 s on an idle machine
    assert "dvdoctor" not in output("ip", "-br", "link") + output("nft", "list", "tables")
    assert len(mounts(project)) <= len(before) + 5, before
    assert os.listdir(project.paths.drafts) == []


def mounts(project: Project) -> list[str]:
    """Where something is mounted, but in stores of other tests."""
    own = os.path.dirname(project.paths.home)
    there = output("findmnt", "--raw", "--noheadings", "--output", "TARGET").splitlines()
    return [place for place in there if place.startswith(own) or not place.startswith("/var/tmp/dv")]


def test_doctor_without_privileges_says_what_fails_and_how_to_mend_it(project: Project) -> None:
    checks = found(project, "setpriv", "--bounding-set=-sys_admin,-net_admin", "--inh-caps=-sys_admin,-net_admin")

    for name in ("overlayfs", "mapped ids: this folder", "bridge, veth, nf_tables"):
        assert not checks[name]["ok"], name
        assert checks[name]["fix"], name
        assert "ermitted" in checks[name]["found"], checks[name]
        assert "--privileged" in checks[name]["fix"]
    assert checks["user"]["found"] == "root, without sys_admin, net_admin"


def within(*mounts: str) -> list[str]:
    """A program that runs another with these done in a mount namespace of its own."""
    return ["unshare", "--mount", "sh", "-ec", "; ".join((*mounts, 'exec "$@"')), "sh"]


def test_doctor_names_each_program_that_is_missing_and_its_package(project: Project) -> None:
    programs = ("crun", "runc", "conmon", "catatonit", "mmdebstrap", "nft", "nsenter")
    paths = [path for name in programs if (path := shutil.which(name))]

    checks = found(project, *within(*(f"mount --bind /dev/null {path}" for path in paths)))

    fixes = {name: check["fix"] for name, check in checks.items() if not check["ok"]}
    assert fixes["runtime"] in ("apt-get install crun", "apt-get install runc")
    for name, package in (("nft", "nftables"), ("nsenter", "util-linux"), *((name, name) for name in programs[2:5])):
        assert fixes[name] == f"apt-get install {package}", name
    assert fixes["bridge, veth, nf_tables"] == "apt-get install nftables"


@pytest.mark.parametrize(
    ("options", "failing"),
    [
        ("size=64k,nr_inodes=20", {"disk space", "inodes"}),
        ("ro", {"overlayfs", "mapped ids: store", "mapped ids: this folder", "disk space", "inodes"}),
    ],
)
def test_doctor_works_where_the_store_cannot_be_made(project: Project, options: str, failing: set[str]) -> None:
    elsewhere = {"DEVENV_HOME": "/mnt/h", "DEVENV_RUN": "/mnt/r"}
    checks = found(project, *within(f"mount -t tmpfs -o {options} none /mnt"), env=elsewhere)

    wrong = {name for name, check in checks.items() if not check["ok"]} - {"name servers", "package mirror"}
    assert wrong == failing if "size" in options else failing - {"disk space", "inodes"} <= wrong
    assert all("DEVENV_HOME" in checks[name]["fix"] for name in wrong)


def test_doctor_says_that_the_database_is_damaged(project: Project) -> None:
    elsewhere = f"{project.folder}/elsewhere"
    os.mkdir(elsewhere)
    with open(f"{elsewhere}/state.db", "wb") as file:
        file.write(b"no database" * 100)

    checks = found(project, env={"DEVENV_HOME": elsewhere, "DEVENV_RUN": f"{elsewhere}/run"})

    assert f"{elsewhere}/state.db" in checks["store"]["found"]
    assert "move it aside" in checks["store"]["fix"]
    assert not checks["containers' network"]["ok"]


def test_doctor_tells_a_user_that_only_root_will_do(project: Project) -> None:
    """This interpreter is in root's own folder here, hence the capability to read."""
    user = "setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set -all,+dac_read_search"
    reads = "--inh-caps +dac_read_search --ambient-caps +dac_read_search"

    checks = found(project, *user.split(), *reads.split())

    assert "sudo" in checks["user"]["fix"]
    assert [name for name, check in checks.items() if not check["ok"] and name not in OUTSIDE] == ["user"]
    assert checks["kernel"]["ok"]


def test_doctor_names_the_proxy_that_does_not_answer(project: Project) -> None:
    check = found(project, env={"http_proxy": "http://127.0.0.1:1"})["package mirror"]

    assert not check["ok"]
    assert "through the proxy 127.0.0.1:1: Connection refused" in check["found"]
    assert "http_proxy" in check["fix"]


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


def test_a_store_where_overlays_cannot_be_written_is_told_with_the_fix(project: Project) -> None:
    place = f"{project.folder}-place"
    for name in ("", "/lower", "/upper", "/work", "/merged"):
        os.mkdir(place + name)
    options = f"lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work"
    output("mount", "-t", "overlay", "none", "-o", options, f"{place}/merged")
    env = {"DEVENV_HOME": f"{place}/merged/home", "DEVENV_RUN": f"{place}/run"}
    try:
        failed = project.attempt("run", "true", env=env)
        checks = json.loads(project.attempt("doctor", "--json", env=env).stdout)["checks"]
    finally:
        pool(Paths(env["DEVENV_HOME"], env["DEVENV_RUN"]), "--teardown")
        output("umount", f"{place}/merged")

    assert failed.returncode == 1
    assert "mount overlay" in failed.stderr and "put the store on ext4" in failed.stderr
    assert [one["ok"] for one in checks if one["name"] == "overlayfs"] == [False]


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
