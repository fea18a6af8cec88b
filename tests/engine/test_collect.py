"""`devenv gc`: rubbish and what nothing needs goes, what is in use or a volume never does."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from devenv.engine.native.packages.files import EPOCH, Files
from devenv.engine.native.packages.tree import making
from devenv.engine.native.records.state import State
from devenv.paths import Paths

from .conftest import eventually, output, temporary_store
from .project import Project

pytestmark = pytest.mark.engine

OWN = os.getpid()
"""Ends the numbers of this run's sleeps."""


@pytest.fixture(scope="module")
def own() -> Iterator[Paths]:
    """A store for this module: gc is about all of it."""
    with temporary_store() as paths:
        yield paths


@pytest.fixture
def place(own: Paths, base: str) -> Iterator[Project]:
    made = Project(own, f"{os.path.dirname(own.home)}/project-{time.monotonic_ns()}", base)
    os.chmod(made.folder, 0o755)
    build(made, "RUN echo one >/one")
    collect(made)  # what other tests left
    yield made
    made.down()


def build(project: Project, *steps: str) -> None:
    project.write("Containerfile", "\n".join(["FROM base", *steps, ""]))
    project.manifest(f"from: file:Containerfile\ncontexts: {{base: '{project.base}'}}\n")


def collect(project: Project, *options: str) -> list[dict[str, Any]]:
    removed: list[dict[str, Any]] = json.loads(project.run("gc", "--json", *options))["removed"]
    return removed


def names(found: list[dict[str, Any]], kind: str) -> list[str]:
    return [one["name"] for one in found if one["kind"] == kind]


def images(project: Project) -> int:
    return len(json.loads(project.run("images", "--json")))


def everything(paths: Paths) -> list[tuple[str, int]]:
    """All files of the store but the database, with their sizes."""
    return sorted(
        (os.path.join(folder, name), os.lstat(os.path.join(folder, name)).st_size)
        for folder, folders, files in os.walk(paths.home)
        for name in (*folders, *files)
        if "state.db" not in name
    )


def test_gc_of_a_store_in_use_finds_nothing_and_it_goes_on_working(place: Project) -> None:
    place.run("up")
    collect(place)

    assert collect(place) == []
    assert place.run("exec", "cat", "/one") == "one\n"
    assert place.container()["status"] == "running"


def test_gc_takes_the_images_that_rebuilds_left_and_keeps_the_present_one(place: Project) -> None:
    place.run("up")
    build(place, "RUN echo two >/two")
    place.run("up")

    gone = collect(place)

    assert len(names(gone, "image")) == 1
    assert names(gone, "blob") != []
    assert place.run("run", "--", "cat", "/two") == "two\n"
    # The step's result is still there for who goes back to it.
    build(place, "RUN echo one >/one")
    assert "RUN" not in [line.split()[0] for line in place.attempt("up").stderr.splitlines() if line.startswith("→")]


def test_gc_keeps_images_that_the_user_named_and_all_takes_them(place: Project) -> None:
    place.run("build", "--tag", "mine:1")
    collect(place)
    assert place.run("run", "--image", "mine:1", "--", "cat", "/one") == "one\n"

    gone = collect(place, "--all")

    assert "mine:1" in " ".join(names(gone, "image"))
    assert "layer" in {one["kind"] for one in gone}
    assert place.attempt("run", "--image", "mine:1", "--", "true").returncode == 2


def test_gc_keeps_a_name_of_the_users_that_ends_like_an_id_of_ours(place: Project) -> None:
    place.run("build", "--tag", "app:0123456789ab", "--tag", "app/failed:0123456789ab")
    place.run("down")

    assert names(collect(place), "image") == []
    assert place.run("run", "--image", "app:0123456789ab", "--", "cat", "/one") == "one\n"


def test_gc_takes_an_environments_image_once_it_is_down(place: Project) -> None:
    build(place, "RUN echo own >/own")
    place.run("up")
    (own,) = json.loads(place.run("images", "--json"))[0]["references"]
    assert own.startswith("devenv/")
    assert names(collect(place), "image") == []
    place.run("down")

    assert own in names(collect(place), "image")


def test_gc_takes_images_and_names_that_are_asked_for(place: Project) -> None:
    place.run("build", "--tag", "asked:1", "--tag", "asked:2")
    digest = place.run("up") and place.container()["image"]

    assert names(collect(place, "asked:1"), "name") == ["asked:1"]
    assert place.attempt("gc", "asked:1").returncode == 2
    refused = place.attempt("gc", digest)
    assert (refused.returncode, "a container has it" in refused.stderr) == (1, True)
    place.run("down")
    assert names(collect(place), "image") == []  # its other name counts
    assert names(collect(place, digest.removeprefix("sha256:")[:12]), "image") != []
    assert "asked:2" not in place.run("images")


def test_gc_takes_what_was_kept_of_a_failed_step_when_it_is_old_or_asked_for(place: Project) -> None:
    for age in (0, 15):
        build(place, f"RUN echo here >/here-{age}; exit 9")
        assert place.attempt("build", "--keep-failed").returncode == 1
        (kept,) = [
            name
            for one in json.loads(place.run("images", "--json"))
            for name in one["references"]
            if name.startswith("devenv/failed/")
        ]
        assert names(collect(place), "image") == []
        assert place.run("run", "--image", kept, "--", "cat", f"/here-{age}") == "here\n"
        state = State(place.paths.state)
        state.db.execute("UPDATE image SET created = created - ?", (age * 86400,))
        state.close()

        gone = collect(place) if age else collect(place, kept)

        assert kept in names(gone, "image")
        assert kept not in place.run("images")


def test_down_with_volumes_removes_those_the_image_declares(place: Project) -> None:
    build(place, 'VOLUME ["/data"]')
    place.run("up")
    place.run("exec", "sh", "-c", "echo mine >/data/mine")
    folder = place.paths.volume(place.container()["environment"]["id"], "")

    assert "data" in place.run("down")
    assert os.path.exists(f"{folder}data/mine")
    place.run("down", "--volumes")
    assert not os.path.exists(folder)

    place.run("run", "--", "sh", "-c", "echo mine >/data/mine")
    assert os.path.exists(f"{folder}data/mine")
    assert "data" in place.run("down", "--volumes")
    assert not os.path.exists(folder)
    assert place.run("down", "--volumes") == "nothing to take down\n"


def test_gc_dry_run_says_the_same_and_changes_nothing(place: Project) -> None:
    place.run("build", "--tag", "mine:2")
    os.makedirs(f"{place.paths.drafts}/9999/upper")
    before = everything(place.paths)

    said = collect(place, "--dry-run", "--all")

    assert everything(place.paths) == before
    assert "9999" in names(said, "draft")
    done = collect(place, "--all")
    assert {(one["kind"], one["name"]) for one in done} == {(one["kind"], one["name"]) for one in said}


def test_gc_takes_rubbish_that_no_row_vouches_for(place: Project) -> None:
    place.run("up")
    collect(place)
    for path in ("layers/8888/usr", "drafts/7777/upper", "containers/dead-run-5/upper"):
        os.makedirs(f"{place.paths.home}/{path}")
    os.makedirs(f"{place.paths.run}/bundles/dead-run-6")

    gone = collect(place)

    assert names(gone, "layer") == ["8888"]
    assert names(gone, "draft") == ["7777"]
    assert names(gone, "container") == ["dead-run-5", "dead-run-6"]
    for path in ("layers/8888", "drafts/7777", "containers/dead-run-5"):
        assert not os.path.exists(f"{place.paths.home}/{path}")
    assert os.listdir(place.paths.drafts) == []


def test_gc_takes_steps_that_no_build_took_for_two_weeks(place: Project) -> None:
    place.run("up")
    build(place, "RUN echo three >/three")
    place.run("up")
    collect(place)
    assert names(collect(place), "layer") == []
    state = State(place.paths.state)
    state.db.execute("UPDATE layer SET used = used - 15 * 86400")

    aged = names(collect(place), "layer")

    assert aged != []
    assert place.run("exec", "cat", "/three") == "three\n"
    assert place.run("run", "--", "cat", "/three") == "three\n"
    state.close()


def test_a_step_taken_from_the_store_counts_as_used(place: Project) -> None:
    place.run("up")
    state = State(place.paths.state)
    state.db.execute("UPDATE layer SET used = 1")
    build(place, "RUN echo one >/one", "RUN true")
    place.run("up")

    [used] = state.db.execute(
        "SELECT used FROM layer WHERE id = (SELECT id FROM layer ORDER BY id DESC LIMIT 1 OFFSET 1)"
    ).fetchone()
    assert state.db.execute("SELECT count(*) FROM layer WHERE used > 1").fetchone()[0] >= 2, used
    state.close()


def test_gc_waits_for_a_build_and_takes_nothing_of_it(place: Project) -> None:
    build(place, "RUN echo early >/early", f"RUN sleep 4.25{OWN}", "RUN cat /early")
    building = place.start("build")
    assert eventually(lambda: f"sleep\x004.25{OWN}" in _commands(), 60)

    begun = time.monotonic()
    collect(place, "--all")

    assert time.monotonic() - begun > 1
    _, error = building.communicate()
    assert building.returncode == 0, error


def test_gc_takes_nothing_of_a_container_that_runs_for_one_command(place: Project) -> None:
    place.run("build")
    running = place.start("run", "--", "sh", "-c", f"sleep 3.25{OWN}; cat /one; ls /usr/share | head -1")
    assert eventually(lambda: f"sleep\x003.25{OWN}" in _commands(), 60)

    collect(place, "--all")

    printed, error = running.communicate()
    assert running.returncode == 0, error
    assert printed.splitlines()[0] == "one"


def test_gc_leaves_the_copies_that_a_running_command_stands_on(place: Project) -> None:
    running = place.start(
        "run", "--no-source", "--", "sh", "-c", f"sleep 4.5{OWN}; cat /one", env={"DEVENV_IDMAP": "off"}
    )
    assert eventually(lambda: f"sleep\x004.5{OWN}" in _commands(), 120)
    before = os.listdir(place.paths.copies)
    assert before != []

    gone = collect(place, "--all")

    assert names(gone, "copy") == []
    assert os.listdir(place.paths.copies) == before
    printed, error = running.communicate()
    assert (running.returncode, printed) == (0, "one\n"), error
    assert names(collect(place, "--all"), "copy") != []  # it is nobody's now


def test_gc_all_takes_caches_and_spare_slots_and_never_a_volume(place: Project) -> None:
    build(place, "RUN --mount=type=cache,target=/cache echo 1 >/cache/one", 'VOLUME ["/data"]')
    place.run("up")
    place.run("exec", "sh", "-c", "echo mine >/data/mine")
    place.run("down")

    gone = collect(place, "--all")

    assert names(gone, "cache") != []
    assert os.listdir(f"{place.paths.home}/caches") == []
    assert os.listdir(f"{place.paths.home}/volumes") != []
    locks = sorted(name for name in os.listdir(place.paths.locks) if not name.startswith("environment-"))
    assert locks == ["doors", "pool", "store"]
    assert not [line for line in output("ip", "-br", "link").splitlines() if _links(place.paths) in line]
    place.run("up")
    assert place.run("exec", "cat", "/data/mine") == "mine\n"


def _links(paths: Paths) -> str:
    from devenv.engine.native.slot.address import bridge_name

    return f"{bridge_name(paths.run)}-"


def _commands() -> str:
    """The command lines of all processes."""
    found = b""
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    found += file.read() + b"\n"
            except OSError:
                continue
    return found.decode(errors="replace")


def test_gc_takes_packages_that_nobody_used_for_a_month(own: Paths, place: Project) -> None:
    collect(place)
    files = Files(own.packages)
    kept = []
    for data in (b"used", b"unused"):
        with files.writer("demo 1.0") as out:
            out.write(data)
        kept.append(files.path(out.sha256))
    with making(files, "demo 1.0", "0" * 64) as draft:
        draft.add("x", False, [b"x"])
    tree = f"{own.packages}/unpacked/{'0' * 64}"
    old = time.time() - 31 * 86400
    for path in (kept[1], tree):
        os.utime(path, (old, EPOCH))
    os.mkdir(f"{own.packages}/drafts/of-one-who-was-killed")

    gone = collect(place)

    assert names(gone, "package") == [os.path.relpath(path, own.packages) for path in (kept[1], tree)]
    # Whichever command came first after its maker's death has swept it.
    assert os.listdir(f"{own.packages}/drafts") == []
    assert [os.path.exists(path) for path in (*kept, tree)] == [True, False, False]
    assert "packages/files" in names(collect(place, "--all"), "cache")
    assert not os.path.exists(kept[0])


def test_gc_leaves_the_layers_that_a_container_stands_on_when_the_same_image_was_built_again(place: Project) -> None:
    """The same steps give the same digest, by layers with other numbers."""
    place.run("up")
    image = place.container()["image"]
    assert place.run("build", "--no-cache").strip() == image
    collect(place, "--all")

    assert place.run("exec", "cat", "/one") == "one\n"
    assert os.path.isfile(f"{next(one for one in mounted(place) if os.path.isfile(f'{one}/one'))}/one")
    place.run("stop")
    place.run("up")
    assert place.run("exec", "cat", "/one") == "one\n"


def mounted(place: Project) -> list[str]:
    """The folders of the layers that there are."""
    return [place.paths.layer(int(name)) for name in os.listdir(place.paths.layers) if name.isdecimal()]


def test_gc_takes_the_archives_of_layers_that_an_older_store_kept(place: Project) -> None:
    place.run("build", "--tag", "older:1")
    collect(place)
    state = State(place.paths.state)
    diff_ids = [row[0] for row in state.db.execute("SELECT DISTINCT diff_id FROM layer WHERE diff_id IS NOT NULL")]
    state.close()
    for diff_id in diff_ids:
        with open(f"{place.paths.layout}/blobs/sha256/{diff_id[7:]}", "wb") as file:
            file.write(b"tar")

    gone = collect(place)

    assert sorted(names(gone, "blob")) == sorted(diff_id[7:19] for diff_id in diff_ids)
    assert {one["reason"] for one in gone} == {"its layer is kept as a folder"}
    place.run("save", "older:1", "older.tar")


def test_gc_counts_what_it_frees_of_layers_that_share_files(place: Project) -> None:
    found = {}
    for number in (1, 2):
        own = f"head -c 100000 /dev/urandom >/own{number}"
        build(place, f"RUN head -c 3000000 /dev/zero >/same && {own}")
        place.run("build", "--tag", f"sharing:{number}")
        found[number] = place.paths.layer(max(int(name) for name in os.listdir(place.paths.layers) if name.isdecimal()))
    place.run("gc", "sharing:2", "sharing:1")
    build(place, "RUN echo other >/other")  # neither is this folder's own
    place.run("build")
    one, other = (os.path.basename(found[number]) for number in (1, 2))

    gone = {entry["name"]: entry["size"] for entry in collect(place, "--all", "--dry-run") if entry["kind"] == "layer"}

    assert os.stat(f"{found[1]}/same").st_ino == os.stat(f"{found[2]}/same").st_ino
    assert (gone[one] < 1_000_000, gone[other] < 1_000_000) == (True, True)
