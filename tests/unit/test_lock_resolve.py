"""What is resolved anew, upon what, and what stays; the world outside answers from a table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from devenv.errors import DevenvError, EngineError, StepFailed
from devenv.lock.desk import EVERYTHING, Desk
from devenv.lock.resolve import resolve
from devenv.lock.wants import Wants, wants
from devenv.model import npm
from devenv.model.events import Event
from devenv.model.image import Rootfs
from devenv.model.lock import BaseLock, NodeLock, PythonLock, Remote, Repository, Section
from devenv.model.manifest import Manifest, Node, Python
from tests.fake_engine import FakeEngine, FakeWorkshop

from .render_cases import debs, dist, manifest, node, python, section

GIVEN = manifest(apt=("curl",), python=Python(packages=("six",)))
BASE = BaseLock("bookworm", 1_757_000_000, debs("tar"), 1_756_000_000)
PROBED = '["3.11.2", "/usr/bin/python3", "2.36"]'


def apt(*packages: str) -> str:
    """What apt-get prints that would install these (`curl=7`; `curl=7!`: from what is locked)."""
    lines = [f"0 upgraded, {len(packages)} newly installed, 0 to remove and 0 not upgraded."]
    for one in packages:
        (found,) = debs(one.rstrip("!"))
        file = f"{found.name}_{found.version}_{found.arch}.deb"
        uri = f"copy:/run/devenv/locked/./{file}" if one.endswith("!") else f"http://mirror.example/debian/{found.path}"
        lines.append(f"'{uri}' {file} {found.size} SHA256:{found.sha256}")
    return "\n".join(lines)


def uv(*packages: str) -> str:
    """The pylock.toml of these (`six==1.17.0`), each with a wheel."""
    found = ""
    for one in map(dist, packages):
        wheel = (
            f'{{ url = "https://files.example/{one.file}", size = {one.size}, hashes = {{ sha256 = "{one.sha256}" }} }}'
        )
        found += f'[[packages]]\nname = "{one.name}"\nversion = "{one.version}"\nwheels = [{wheel}]\n'
    return found


class Office:
    """A desk, and what was asked at it."""

    def __init__(self, folder: Path, given: Manifest, answers: dict[str, str], **contents: bytes) -> None:
        self.given = given
        self.workshop = FakeWorkshop(FakeEngine(), str(folder))
        self.workshop.answers = {"json.dumps": PROBED, **answers}
        self.workshop.suites = {"bookworm": BASE}
        self.contents = {name.replace("_", "."): content for name, content in contents.items()}
        self.stages: list[str] = []
        self.now = 1_764_000_000.0
        self.events: list[Event] = []

    def wanted(self) -> Wants:
        needs = ("python3",) if self.given.python and self.given.base.kind == "bootstrap" else ()
        suites = (self.given.base.value,) if self.given.base.kind == "bootstrap" else ()
        return wants(self.given, suites, (), tuple(sorted({*self.given.apt, *needs})), self.contents)

    def resolve(self, known: Section, *upgrade: str) -> Section:
        def root(_: Section, stage: str) -> Rootfs:
            self.stages.append(stage)
            self.now += 60
            return Rootfs(stage, (1,))

        def blamed(part: str, error: StepFailed) -> DevenvError:
            return EngineError(f"{part}: {error.message}")

        desk = Desk(self.given, self.workshop, root, self.contents, lambda: self.now, self.events.append, blamed)
        return resolve(self.wanted(), known, desk, frozenset(upgrade))

    def asked(self, words: str) -> list[str]:
        return [" ".join(argv) for argv in self.workshop.asked if words in " ".join(argv)]


def known(office: Office, **values: object) -> Section:
    """What was locked for all that is wanted."""
    wanted = office.wanted()
    made = section(["curl=7 python3"], "curl", bases=(BASE,), python=python("pip==1", "six==1.16.0"))
    assert made.apt and made.python and wanted.apt and wanted.python
    apt, locked = made.apt._replace(asked=wanted.apt), made.python._replace(asked=wanted.python)
    return made._replace(apt=apt, python=locked)._replace(**values)  # type: ignore[arg-type]


def test_from_nothing_each_part_is_resolved_upon_the_one_before(tmp_path: Path) -> None:
    office = Office(tmp_path, GIVEN, {"--print-uris": apt("curl=7", "python3"), "pip compile": uv("six==1.17.0")})
    found = office.resolve(Section("amd64"))
    assert (found.bases, found.clock) == ((BASE,), BASE.clock)
    assert found.apt and found.apt.asked == ("curl", "python3")
    assert {deb.name for deb in found.apt.packages} == {"curl", "python3"}
    assert found.python and found.python.packages == (dist("six==1.17.0"),)
    assert (found.python.version, found.python.command, found.python.libc) == ("3.11.2", "/usr/bin/python3", "2.36")
    assert office.stages == ["base", "apt"]


def test_what_is_built_for_a_part_is_no_time_of_its_own(tmp_path: Path) -> None:
    """That has steps of its own, each with the time it took: nobody's are told twice."""
    office = Office(tmp_path, GIVEN, {"--print-uris": apt("curl=7", "python3"), "pip compile": uv("six==1.17.0")})
    office.resolve(Section("amd64"))
    ended = {one.object: one.seconds for one in office.events if one.kind == "done"}
    assert {name: seconds for name, seconds in ended.items() if name.startswith("lock")} == {
        "lock apt": 0.0,
        "lock python": 0.0,
    }


def test_what_is_up_to_date_is_not_asked_about(tmp_path: Path) -> None:
    office = Office(tmp_path, GIVEN, {})
    before = known(office)
    assert office.resolve(before) == before
    assert office.workshop.asked == [] and office.stages == []


def test_one_more_package_asks_apt_alone_and_keeps_what_is_locked(tmp_path: Path) -> None:
    office = Office(tmp_path, GIVEN, {"devenv-locked": apt("curl=7!", "python3!", "jq=1")})
    before = known(office)
    office.given = GIVEN._replace(apt=("curl", "jq"))
    found = office.resolve(before)
    assert found.apt and before.apt and found.python == before.python
    assert {deb.name: deb.layer for deb in found.apt.packages} == {"curl": 1, "python3": 1, "jq": 2}
    assert set(before.apt.packages) <= set(found.apt.packages)
    assert len(office.workshop.asked) == 1


def test_what_cant_be_had_with_what_is_locked_is_resolved_without(tmp_path: Path) -> None:
    office = Office(tmp_path, GIVEN._replace(apt=("curl", "jq")), {})
    before = known(Office(tmp_path, GIVEN, {}))
    with pytest.raises(StepFailed):
        office.resolve(before)
    assert len(office.asked("devenv-locked")) == 1 and len(office.asked("--print-uris")) == 2


def test_an_upgrade_by_name_asks_for_that_alone(tmp_path: Path) -> None:
    office = Office(tmp_path, GIVEN, {"--upgrade-package six": uv("pip==1", "six==1.17.0")})
    before = known(office)
    found = office.resolve(before, "six")
    assert found.python and [(one.name, one.version, one.layer) for one in found.python.packages] == [
        ("pip", "1", 1),
        ("six", "1.17.0", 2),
    ]
    assert found.apt == before.apt and not office.asked("apt-get")


def test_an_upgrade_of_a_debian_package_renews_those_of_its_source(tmp_path: Path) -> None:
    office = Office(tmp_path, GIVEN, {"devenv-locked": apt("curl=8", "libcurl=8", "python3!")})
    before = known(office)
    assert before.apt
    before = before._replace(apt=before.apt._replace(packages=debs("curl=7 libcurl=7 python3")))
    found = office.resolve(before, "curl")
    assert found.apt and {deb.name: (deb.version, deb.layer) for deb in found.apt.packages} == {
        "curl": ("8", 1),
        "libcurl": ("8", 1),
        "python3": ("1.0-1", 1),
    }


def test_an_upgrade_of_everything_makes_one_layer(tmp_path: Path) -> None:
    office = Office(
        tmp_path, GIVEN, {"--print-uris": apt("curl=7", "python3"), "pip compile": uv("pip==1", "six==1.16.0")}
    )
    found = office.resolve(known(office), *EVERYTHING)
    assert found.python and {one.layer for one in found.python.packages} == {1}
    assert not office.asked("devenv-locked") and not office.asked("cp /run/devenv/pins.toml")


def test_what_the_base_has_already_makes_no_stage_to_look_into(tmp_path: Path) -> None:
    given = manifest("oci:base", apt=("curl",), python=Python(packages=("six",)))
    office = Office(tmp_path, given, {"--print-uris": apt(), "pip compile": uv("six==1.17.0")})
    found = office.resolve(Section("amd64"))
    assert found.apt and found.apt.packages == () and found.apt.asked == ("curl",)
    assert "apt" not in office.stages


def test_an_image_without_python_gets_debian_s(tmp_path: Path) -> None:
    given = manifest("oci:base", python=Python(packages=("six",)))
    office = Office(tmp_path, given, {"--print-uris": apt("python3"), "pip compile": uv("six==1.17.0")})
    office.workshop.answers["json.dumps"] = ""
    with pytest.raises(EngineError, match="has no Python"):  # this fake has none after installing it either
        office.resolve(Section("amd64"))
    assert "python3" in office.asked("--print-uris")[0] and office.stages == ["base", "base", "apt"]


def test_a_python_of_its_own_is_renewed_by_name_only(tmp_path: Path) -> None:
    given = manifest(python=Python("3.13", packages=("six",)))
    office = Office(tmp_path, given, {"pip compile": uv("six==1.16.0")})
    office.given = given
    old, new = Remote("https://p.example/3.13.1", 1, "1" * 64), Remote("https://p.example/3.13.2", 1, "2" * 64)
    office.workshop.remotes = {"3.13.2": new}
    asked = wants(given, (), (), (), {}).python
    assert asked
    before = Section("amd64", 1, (BASE,), python=PythonLock(asked, "3.13.1", "/x", "2.36", interpreter=old))
    office.wanted = lambda: wants(given, ("bookworm",), (), (), {})  # type: ignore[method-assign]
    assert office.resolve(before) == before
    found = office.resolve(before, "python")
    assert found.python and (found.python.interpreter, found.python.version) == (new, "3.13.2")
    found = office.resolve(
        before._replace(python=before.python and before.python._replace(packages=(dist("six"),))), "six"
    )
    assert found.python and (found.python.interpreter, found.python.version) == (old, "3.13.1")


def test_another_index_is_asked_about_where_the_project_names_one(tmp_path: Path) -> None:
    index = "https://index.example/simple"
    answers = {
        "--emit-index-annotation": f"six==1.17.0\n    # from {index}\npip==1\n    # from https://mirror.example/simple\n",
        "pip compile": uv("pip==1", "six==1.17.0"),
    }
    given = manifest(python=Python(requirements=("requirements.txt",)))
    for said, address in ((f"-i {index}\nsix", "https://files.example/six-1.17.0-py3-none-any.whl"), ("six", "")):
        office = Office(tmp_path, given, {**answers, "--print-uris": apt("python3")}, requirements_txt=said.encode())
        found = office.resolve(Section("amd64"))
        assert found.python and {one.name: one.url for one in found.python.packages} == {"pip": "", "six": address}
        assert len(office.asked("--emit-index-annotation")) == bool(address)


def test_a_source_archive_is_locked_with_what_builds_it(tmp_path: Path) -> None:
    sdist = dist("docopt==0.6.2.tar.gz")
    text = f'[[packages]]\nname = "docopt"\nversion = "0.6.2"\nsdist = {{ url = "https://f.example/{sdist.file}", size = 2000'
    text += f', hashes = {{ sha256 = "{sdist.sha256}" }} }}\n'
    answers = {
        "tarfile": f'{{"{sdist.file}": "[build-system]\\nrequires = [\\"flit\\"]"}}',
        "--no-build": uv("flit==3", "wheel==1"),
        "pip compile": text,
        "--print-uris": apt("curl=7", "python3"),
    }
    office = Office(tmp_path, GIVEN, answers)
    found = office.resolve(Section("amd64"))
    assert found.python and found.python.packages == (sdist,)
    assert found.python.build == (dist("flit==3"), dist("wheel==1"))
    office.workshop.answers["--no-build"] = text
    with pytest.raises(EngineError, match=r"docopt 0\.6\.2: it is needed to build another package"):
        office.resolve(Section("amd64"))


GIT = """[[packages]]
name = "shop"
vcs = {{ type = "git", url = "https://git.example/shop", commit-id = "{commit}" }}
"""


def test_a_repository_is_locked_by_its_commit_and_what_it_depends_on_as_ever(tmp_path: Path) -> None:
    asked = Python(packages=("shop @ git+https://git.example/shop",), network=True)
    answer = uv("six==1.17.0") + GIT.format(commit="c0" * 20)
    office = Office(tmp_path, GIVEN._replace(python=asked), {"--print-uris": apt("python3"), "pip compile": answer})
    found = office.resolve(Section("amd64"))
    assert found.python and found.python.packages == (dist("six==1.17.0"),)
    assert found.python.repositories == (Repository("shop", "c0" * 20, "https://git.example/shop"),)
    office.workshop.asked.clear()
    office.workshop.answers["--upgrade-package shop"] = office.workshop.answers.pop("pip compile").replace("c0", "d1")
    assert office.resolve(found) == found and not office.workshop.asked
    upgraded = office.resolve(found, "shop").python
    assert upgraded and [one.commit for one in upgraded.repositories] == ["d1" * 20]


def test_a_repository_that_nobody_allowed_is_refused(tmp_path: Path) -> None:
    """A pyproject.toml or uv.lock may name one, of which the manifest knows nothing."""
    office = Office(tmp_path, GIVEN, {"--print-uris": apt("curl=7"), "pip compile": GIT.format(commit="c0" * 20)})
    with pytest.raises(EngineError, match="lock shop: it comes from a repository") as caught:
        office.resolve(Section("amd64"))
    assert "network: true" in caught.value.hint


def test_what_nobody_wants_any_more_goes(tmp_path: Path) -> None:
    office = Office(tmp_path, GIVEN, {})
    before = known(office)
    office.given = manifest()
    assert office.resolve(before) == Section("amd64", before.clock, before.bases)
    assert office.workshop.asked == []


def test_another_base_keeps_no_package_but_files(tmp_path: Path) -> None:
    office = Office(tmp_path, GIVEN, {"--print-uris": apt("curl=9", "python3"), "pip compile": uv("six==1.17.0")})
    files = (Remote("https://x.example/a", 1, "1" * 64),)
    before = known(office, bases=(BASE._replace(suite="trixie"),), files=files)
    found = office.resolve(before)
    assert found.bases == (BASE,) and found.files == files
    assert found.apt and [deb.version for deb in found.apt.packages if deb.name == "curl"] == ["9"]
    assert not office.asked("devenv-locked") and not office.asked("cp /run/devenv/pins.toml")


def npm_lock(**packages: dict[str, object]) -> bytes:
    """A package-lock.json of these, each with what else is said of it."""
    entries = {
        f"node_modules/{name}": {"version": "1.0.0", "integrity": "sha512-AA==", **more}
        for name, more in packages.items()
    }
    return json.dumps({"lockfileVersion": 3, "packages": {"": {}, **entries}}).encode()


def test_one_more_npm_package_is_a_layer_of_its_own_and_asks_nobody(tmp_path: Path) -> None:
    office = Office(tmp_path, manifest(node=Node("20", "package-lock.json")), {})
    had: dict[str, dict[str, object]] = {"a": {}, "x": {"hasInstallScript": True, "dependencies": {"y": "1"}}, "y": {}}
    found = Section("amd64", bases=(BASE,), node=NodeLock((("version", "20"),), node("20.1.1").runtime))
    for packages in (had, {**had, "z": {"dependencies": {"y": "1"}}}):
        office.contents = {"package-lock.json": npm_lock(**packages)}
        found = office.resolve(found)
    assert found.node and {npm.name(one): one.layer for one in found.node.project} == {"a": 1, "x": 2, "y": 2, "z": 3}
    assert office.workshop.asked == []


def npm_says(**packages: dict[str, object]) -> str:
    """What npm prints that resolved to these."""
    return f"{npm_lock(**packages).decode()}\x1e"


def tools(office: Office, *packages: str) -> Section:
    """What is locked when these were there from the first."""
    office.given = manifest(node=Node("20", packages=packages))
    found = Section("amd64", bases=(BASE,), node=NodeLock((("version", "20"),), node("20.1.1").runtime))
    return office.resolve(found)


def test_one_more_npm_tool_is_asked_for_alone_and_the_others_stay(tmp_path: Path) -> None:
    first = {"a": {"hasInstallScript": True, "peerDependencies": {"b": "1"}}, "b": {}, "c": {}}
    office = Office(tmp_path, GIVEN, {"--package-lock-only": npm_says(**first)})
    before = tools(office, "a", "c")
    office.workshop.answers = {"--package-lock-only": npm_says(d={}, b={})}
    office.given = manifest(node=Node("20", packages=("a", "c", "d")))
    found = office.resolve(before)
    assert before.node and found.node and set(before.node.tools) < set(found.node.tools)
    assert [one.layer for one in found.node.tools if npm.name(one) == "d"] == [3]
    (asked,) = office.asked("--package-lock-only")[1:]
    assert '"d": "*"' in asked and '"a"' not in asked


def test_an_npm_tool_that_wants_another_version_of_what_is_there_is_asked_for_with_all(tmp_path: Path) -> None:
    office = Office(tmp_path, GIVEN, {"--package-lock-only": npm_says(a={}, b={})})
    before = tools(office, "a", "b")
    office.workshop.answers = {
        '"a": "1.0.0"': npm_says(a={}, b={}, c={}),
        "--package-lock-only": npm_says(b={"version": "2.0.0"}, c={}),
    }
    office.given = manifest(node=Node("20", packages=("a", "b", "c")))
    found = office.resolve(before)
    assert before.node and found.node and set(before.node.tools) < set(found.node.tools)
    assert {npm.name(one) for one in found.node.tools} == {"a", "b", "c"}
    assert len(office.asked("--package-lock-only")) == 3
