"""`build --check` and `digest`: a step that isn't the same twice is found, its paths are named, the others are not blamed."""

from __future__ import annotations

import json

import pytest

from tests.engine.project import Project

pytestmark = pytest.mark.engine

PLANTED = """FROM base
RUN echo same > /same
RUN date +%s.%N > /opt/stamp && chmod 640 /opt/stamp
RUN cat /opt/stamp > /copied && echo the rest
"""


@pytest.fixture
def planted(project: Project) -> Project:
    """A project whose second step writes what time it is, and whose third reads that."""
    project.write("Containerfile", PLANTED)
    project.write("devenv.yml", f"from: file:Containerfile\ncontexts: {{base: '{project.base}'}}\n")
    return project


def test_check_names_the_step_and_the_path_that_differ(planted: Project) -> None:
    done = planted.attempt("build", "--check")
    assert done.returncode == 4
    digest, *lines, network = done.stdout.splitlines()
    assert network.startswith("network  Containerfile: 3 steps have network (lines ")
    assert digest.startswith("sha256:")
    assert lines[0] == "differs  stage-0 2/3 RUN date +%s.%N > /opt/stamp && chmod 640 /opt/stamp"
    assert lines[1].startswith("  /opt/stamp: content")
    assert [line.strip()[0] for line in lines[2:] if line.strip()[0] in "-+"] == ["-", "+"]
    # The third step gives the same upon the same: it isn't to blame for what it was given.
    assert not [line for line in lines if "/copied" in line or "/same" in line]


def test_check_as_json_and_what_it_leaves(planted: Project) -> None:
    planted.run("build")
    before = planted.run("images", "--json")
    done = planted.attempt("build", "--check", "--json")
    assert done.returncode == 4
    (unlike,) = json.loads(done.stdout)["unlike"]
    assert [(one["path"], one["kind"]) for one in unlike["differences"]] == [("/opt/stamp", "content")]
    assert json.loads(planted.run("images", "--json"))[0]["digest"] == json.loads(before)[0]["digest"]
    assert planted.attempt("gc", "--dry-run").stdout.count("layer") == 0


def test_check_is_content_with_steps_that_are_the_same(project: Project) -> None:
    project.write(
        "Containerfile", "FROM base\nRUN --network=none echo same > /same && useradd me\nCOPY devenv.yml /etc/\n"
    )
    project.write("devenv.yml", f"from: file:Containerfile\ncontexts: {{base: '{project.base}'}}\n")
    done = project.attempt("build", "--check")
    assert (done.returncode, done.stdout.splitlines()[1:]) == (0, ["every step gave the same bytes again"])
    assert project.run("digest", "--locked") == done.stdout.splitlines()[0] + "\n"


def test_digest_refuses_a_lock_that_is_of_another_manifest(project: Project) -> None:
    project.run("digest")
    project.manifest("apt: [tree]\n")
    done = project.attempt("digest", "--locked")
    assert done.returncode == 2
    assert "apt +tree" in done.stderr and "hint:" in done.stderr


def test_check_names_files_from_where_we_are(project: Project) -> None:
    """Also once a thread of the builds has made the mount namespace, which the main thread then comes into."""
    project.write("Containerfile", "FROM base\nRUN echo one > /one\n")
    project.write("db/Containerfile", "FROM base\nRUN echo two > /two\n")
    project.write(
        "devenv.yml",
        f"from: file:Containerfile\ncontexts: {{base: '{project.base}'}}\n"
        f"services: {{db: {{from: 'file:db/Containerfile', contexts: {{base: '{project.base}'}}, command: sleep 9}}}}\n",
    )
    told = project.run("build", "--check").splitlines()[2:]
    assert [line.partition(": ")[0] for line in told] == ["network  Containerfile:2", "network  db/Containerfile:2"]
