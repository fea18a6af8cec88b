"""What all images of a manifest ask of a lock, and are answered; the world outside answers from a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from devenv.errors import DevenvError, EngineError, StepFailed
from devenv.lock import together
from devenv.lock.desk import EVERYTHING, Desk
from devenv.lock.parcels import digest, parcels
from devenv.lock.parts import part
from devenv.lock.wants import Wants, wants
from devenv.model.image import PROJECT, Rootfs
from devenv.model.lock import BaseLock, Section
from devenv.model.manifest import Manifest, Python
from tests.fake_engine import FakeEngine, FakeWorkshop

from .render_cases import debs, manifest
from .test_lock_resolve import BASE, PROBED, apt, uv

TRIXIE = BaseLock("trixie", 1_758_000_000, debs("tar=2"), 1_757_500_000)


def own(name: str, base: str = "bootstrap:bookworm", **values: object) -> Manifest:
    """The manifest of a service's image."""
    return manifest(base, service=name, sources=(), **values)


class Office:
    """A desk for each image, and what was asked at them."""

    def __init__(self, folder: Path, *given: Manifest, **answers: str) -> None:
        self.given = {one.service or PROJECT: one for one in given}
        self.workshop = FakeWorkshop(FakeEngine(), str(folder))
        self.workshop.answers = {"json.dumps": PROBED, **answers}
        self.workshop.suites = {"bookworm": BASE, "trixie": TRIXIE}
        self.events: list[str] = []

    def wanted(self) -> Mapping[str, Wants]:
        return {name: self._wanted(one) for name, one in self.given.items()}

    def _wanted(self, one: Manifest) -> Wants:
        needs = ("python3",) if one.python else ()
        return wants(one, (one.base.value,), (), tuple(sorted({*one.apt, *needs})), {})

    def desks(self) -> Mapping[str, Desk]:
        def root(_: Section, stage: str) -> Rootfs:
            return Rootfs(stage, (1,))

        def blamed(part: str, error: StepFailed) -> DevenvError:
            return EngineError(f"{part}: {error.message}")

        return {
            name: Desk(
                one,
                self.workshop,
                root,
                {},
                lambda: 1_764_000_000.0,
                lambda event: self.events.append(event.object),
                blamed,
            )
            for name, one in self.given.items()
        }

    def resolve(self, known: Section | None = None, **upgrade: frozenset[str]) -> Section:
        return together.resolve(self.wanted(), known or Section("amd64"), self.desks(), upgrade)

    def answer(self, *packages: str) -> None:
        """What apt would install from now on."""
        self.workshop.answers["--print-uris"] = apt(*packages)


def versions(section: Section, image: str) -> dict[str, str]:
    found = part(section, image).apt
    return {deb.name: deb.version for deb in found.packages} if found else {}


@pytest.fixture
def office(tmp_path: Path) -> Office:
    made = Office(tmp_path, manifest(apt=("curl",)), own("db", apt=("jq",)))
    made.answer("curl=7", "jq=1")
    return made


def test_each_image_has_what_it_asks_for(office: Office) -> None:
    found = office.resolve()
    assert [part(found, image).apt.asked for image in (PROJECT, "db")] == [("curl",), ("jq",)]  # type: ignore[union-attr]
    assert found.bases == (BASE,)
    assert together.differs(office.wanted(), found) == ()
    assert office.events[-2:] == ["lock db.apt", "lock db.apt"]


def test_a_base_is_resolved_once_for_all(office: Office) -> None:
    office.resolve()
    assert office.events.count("resolve bootstrap:bookworm") == 1


def test_another_base_of_a_service_leaves_the_project_as_it_was(office: Office) -> None:
    before = office.resolve()
    office.workshop.asked.clear()
    office.given["new"] = own("new", "bootstrap:trixie")
    found = office.resolve(before)
    assert part(found, PROJECT) == part(before, PROJECT)
    assert part(found, "new").bases == (TRIXIE,)
    assert office.workshop.asked == []


def test_bases_that_are_exchanged_are_told_apart(office: Office) -> None:
    office.given = {PROJECT: manifest(apt=("curl",)), "db": own("db", "bootstrap:trixie", apt=("jq",))}
    found = office.resolve()
    office.given = {PROJECT: manifest("bootstrap:trixie", apt=("curl",)), "db": own("db", apt=("jq",))}
    assert together.differs(office.wanted(), found) == (
        "from bootstrap:bookworm → bootstrap:trixie",
        "services.db: from bootstrap:trixie → bootstrap:bookworm",
    )
    turned = office.resolve(found)
    assert part(turned, PROJECT).bases == (TRIXIE,)
    assert part(turned, "db").bases == (BASE,)


def test_what_is_asked_for_alike_is_answered_alike(office: Office) -> None:
    """Whatever the archive has by then: so both have the same layers."""
    before = office.resolve()
    office.answer("curl=8", "jq=2")
    office.given["web"] = own("web", apt=("curl",))
    found = office.resolve(before)
    assert versions(found, "web") == versions(before, PROJECT)
    assert [
        {path: digest(one) for path, one in parcels(part(found, image)).items()} for image in (PROJECT, "web")
    ] == 2 * [{path: digest(one) for path, one in parcels(part(before, PROJECT)).items()}]


def test_the_project_takes_what_a_service_has_locked_already(office: Office) -> None:
    before = office.resolve()
    office.answer("jq=2")
    office.given[PROJECT] = manifest(apt=("jq",))
    assert versions(office.resolve(before), PROJECT) == versions(before, "db")


def test_the_same_upon_another_base_is_something_else(office: Office) -> None:
    before = office.resolve()
    office.answer("curl=8")
    office.given["web"] = own("web", "bootstrap:trixie", apt=("curl",))
    assert versions(office.resolve(before), "web")["curl"] == "8"


def test_python_is_taken_from_another_image_that_has_the_same_of_apt_too(office: Office) -> None:
    python = Python(packages=("six",))
    office.answer("python3")
    office.workshop.answers["pip compile"] = uv("six==1.16.0")
    office.given = {PROJECT: manifest(python=python)}
    before = office.resolve()
    office.workshop.answers["pip compile"] = uv("six==1.17.0")
    office.given["alike"] = own("alike", python=python)
    office.given["more"] = own("more", python=python, apt=("jq",))
    found = office.resolve(before)
    six = [part(found, image).python.packages[0].version for image in ("alike", "more")]  # type: ignore[union-attr]
    assert six == ["1.16.0", "1.17.0"]


def test_a_name_is_renewed_wherever_it_is(office: Office) -> None:
    office.given["web"] = own("web", apt=("curl", "jq"))
    before = office.resolve()
    office.workshop.answers = {"devenv-locked": apt("curl=7!", "jq=2")} | office.workshop.answers
    found = office.resolve(before, **{image: frozenset({"jq"}) for image in office.given})
    assert {versions(found, image)["jq"] for image in office.given} == {"2"}
    assert {versions(found, image)["curl"] for image in office.given} == {"7"}


def test_a_service_is_renewed_alone_and_keeps_its_base(office: Office) -> None:
    before = office.resolve()
    office.answer("curl=8", "jq=2")
    office.workshop.suites["bookworm"] = BASE._replace(release=BASE.release + 1)
    found = office.resolve(before, db=EVERYTHING)
    assert (versions(found, PROJECT)["jq"], versions(found, "db")["jq"]) == ("1", "2")
    assert found.bases == (BASE,)


def test_all_are_renewed_with_their_bases(office: Office) -> None:
    before = office.resolve()
    newer = BASE._replace(release=BASE.release + 1)
    office.workshop.suites["bookworm"] = newer
    office.answer("curl=8", "jq=2")
    office.events.clear()
    found = office.resolve(before, **dict.fromkeys(office.given, EVERYTHING))
    assert found.bases == (newer,) and versions(found, "db")["jq"] == "2"
    assert office.events.count("resolve bootstrap:bookworm") == 1


def test_what_a_service_asks_is_told_behind_its_name(office: Office) -> None:
    found = office.resolve()
    office.given["db"] = own("db", apt=("jq", "postgresql"))
    office.given["web"] = own("web", apt=("curl",))
    assert together.differs(office.wanted(), found) == (
        "services.db: apt +postgresql",
        "services.web: apt +curl",
    )


def test_a_service_that_is_gone_takes_its_entries_and_its_base_along(office: Office) -> None:
    office.given["new"] = own("new", "bootstrap:trixie", apt=("jq",))
    before = office.resolve()
    del office.given["new"]
    assert together.differs(office.wanted(), before) == ("services.new removed",)
    found = office.resolve(before)
    assert found.bases == (BASE,) and [one.name for one in found.services] == ["db"]
    assert part(found, PROJECT) == part(before, PROJECT)


def test_what_isnt_resolved_yet_is_there_by_name_in_its_own_part_only(office: Office) -> None:
    before = office.resolve()
    office.given["db"] = own("db", apt=("jq", "postgresql"))
    found = together.provisional(office.wanted(), before, "amd64")
    assert part(found, PROJECT) == part(before, PROJECT)
    assert versions(found, "db")["postgresql"] == "?"


def test_latest_is_found_once_for_what_is_alike(office: Office) -> None:
    office.given["web"] = own("web", apt=("curl",))
    before = office.resolve()
    office.answer("curl=8", "jq=2")
    office.workshop.asked.clear()
    found = together.latest(office.wanted(), before, office.desks())
    assert {image: versions(found, image)["curl"] for image in office.given} == {PROJECT: "8", "db": "8", "web": "8"}
    assert len(office.workshop.asked) == 2


def test_beyond_says_whose_it_is(office: Office) -> None:
    office.given = {PROJECT: manifest(), "worker": own("worker", python=Python(packages=("six",)))}
    office.answer("python3")
    office.workshop.answers = {"--no-deps": uv("six==2.0"), "pip compile": uv("six==1.16.0")} | office.workshop.answers
    found = office.resolve()
    assert together.beyond(found, office.desks()) == {("worker.python", "six"): "2.0"}
