"""What surrounds a trial's runs: logs that are bounded, what is written afterwards, what is kept, and what is never kept."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devenv.changes import concealed
from devenv.cli.trying import history, search
from devenv.cli.trying.applying import applied, texts
from devenv.cli.trying.runs import REPORTS, Task, Told, _Bounded, _Log, result
from devenv.cli.trying.sides import Party, Setup, Standing, Unable, called
from devenv.desired import bare
from devenv.errors import EngineError, InputError
from devenv.manifest import Altered, parse
from devenv.manifest.variants import Edit
from devenv.model.container import Container, Environment, Process
from devenv.model.lock import Section
from devenv.model.manifest import Manifest
from devenv.model.plan import Change, Desired
from devenv.model.trial import Case, Run, Side, Trial, Verdict
from devenv.render.sandbox import expand
from devenv.trial import jest, record
from devenv.trial.recognise import Listener, Written

MANIFEST = "from: bootstrap:bookworm   # ours\npython: {packages: [six==1.0], requirements: [r.txt]}\n"


@pytest.fixture
def project(tmp_path: Path) -> Manifest:
    (tmp_path / "devenv.yml").write_text(MANIFEST)
    (tmp_path / "r.txt").write_text("attrs==1\n")
    return parse(MANIFEST.encode(), f"{tmp_path}/devenv.yml", facts={"arch": "amd64"}, expand=expand)


def variant(*, files: tuple[tuple[str, bytes], ...] = ()) -> Party:
    altered = Altered(edits=(Edit(("python", "packages", 0), "six==2.0", "six==1.0"),), files=files)
    return Party("six=2.0", altered, (Change("python.six", "1.0", "2.0"),))


def test_what_was_tried_is_written_with_its_lock(project: Manifest) -> None:
    wanted = texts(project, variant(files=(("r.txt", b"attrs==2\n"),)))
    assert applied(project, Section("amd64", 7), wanted) == ("devenv.yml", "r.txt", "devenv.lock.yml")
    folder = Path(project.folder)
    assert (folder / "devenv.yml").read_text() == MANIFEST.replace("six==1.0", "six==2.0")
    assert (folder / "r.txt").read_text() == "attrs==2\n"
    assert 'clock: "1970-01-01T00:00:07Z"' in (folder / "devenv.lock.yml").read_text()


def test_a_file_that_changed_meanwhile_is_not_written_over_nor_is_any_other(project: Manifest) -> None:
    wanted = texts(project, variant(files=(("r.txt", b"attrs==2\n"),)))
    (Path(project.folder) / "r.txt").write_text("mine\n")
    with pytest.raises(InputError, match=r"r\.txt: changed while the variant was tried"):
        applied(project, Section("amd64"), wanted)
    assert (Path(project.folder) / "devenv.yml").read_text() == MANIFEST
    assert not (Path(project.folder) / "devenv.lock.yml").exists()


def test_nothing_is_written_through_a_link(project: Manifest, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("attrs==1\n")
    wanted = texts(project, variant(files=(("r.txt", b"attrs==2\n"),)))
    os.unlink(f"{project.folder}/r.txt")
    os.symlink(outside, f"{project.folder}/r.txt")
    with pytest.raises(InputError, match=r"r\.txt: can't be written"):
        applied(project, Section("amd64"), wanted)
    assert outside.read_text() == "attrs==1\n"


def test_packages_of_a_uv_lock_are_uv_s_to_write_but_not_the_language(project: Manifest) -> None:
    assert project.python
    locked = project._replace(python=project.python._replace(requirements=("uv.lock",)))
    with pytest.raises(InputError, match=r"uv\.lock says which versions there are"):
        texts(locked, variant())
    language = variant()._replace(changes=(Change("python.version", "3.11", "3.12"),))
    assert [*texts(locked, language)] == ["devenv.yml"]


def test_a_log_has_the_beginning_and_the_end_of_very_much(tmp_path: Path) -> None:
    heard: list[str] = []
    log = _Log(str(tmp_path / "log"), heard.append)
    for number in range(400_000):
        log(f"{number:>80}")
    for _ in range(1000):
        log("")
    log("the end \udcff")
    kept = log.close()
    assert len(heard) == 401_001 and kept[0].strip() == "0" and kept[-1] == "the end \udcff"
    (between,) = [line for line in kept if line.startswith("… ")]
    assert int(between.split()[1]) + len(kept) - 1 == 401_001
    assert (tmp_path / "log").stat().st_size < 24 << 20


def test_a_report_that_grows_is_not_read() -> None:
    taken = _Bounded(10)
    taken.write(b"12345")
    with pytest.raises(EngineError, match="larger than 10 bytes"):
        taken.write(b"123456")


class Reporting:
    """An engine in whose container a command wrote so many reports."""

    def __init__(self, number: int) -> None:
        self.engine, self.number, self.fetched = self, number, 0

    def execute(self, _container: str, _process: Process, output: Callable[[str], None]) -> int:
        for number in range(self.number):
            output(f"{REPORTS}/{number:06}.xml")
        return 0

    def fetch(self, _container: str, path: str, target: Any) -> None:
        text = f'<testsuite><testcase name="{path}"/></testsuite>'.encode()
        member = tarfile.TarInfo("report.xml")
        member.size, self.fetched = len(text), self.fetched + 1
        with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT) as archive:
            archive.addfile(member, io.BytesIO(text))


@pytest.mark.parametrize(("number", "read"), [(2_000, 2_000), (2_001, 2_000)])
def test_a_run_with_more_reports_than_are_read_is_known_to_be_cut(project: Manifest, number: int, read: int) -> None:
    machine: Any = Reporting(number)
    setup = Setup(Party("six"), project, Section("amd64"), {}, "")
    home = Environment("e", "shop", "/shop", "")
    wanted = Desired(home, (), bare("main", "", Process(())))
    standing = Standing(setup, home, Container("c", "e", "main", "", "running"), wanted)
    task = Task("make", Listener(reports=(Written(f"{REPORTS}/*.xml"),)))
    run = result(standing, task, Told(0, 0.0, 1.0, None, ()), machine, "log", alone=False)
    assert len(run.cases or ()) == machine.fetched == read
    assert run.partial is (number > read)
    told = ("It wrote 2001 reports of tests, of which the first 2000 are read.",) if run.partial else ()
    assert tuple(notice.text for notice in run.notices) == told


def test_old_trials_go_and_those_under_way_stay(tmp_path: Path) -> None:
    trials = str(tmp_path / "trials")
    trial = Trial("1", "try", "shop", "e", "/shop", 1.0, 1.0, "true", Side("baseline"))
    with history.begun(trials) as under_way:
        for _ in range(52):
            with history.begun(trials) as folder:
                history.keep(folder, trial)
        with history.begun(trials):
            pass  # which never came to its end
        with history.begun(trials) as last:
            assert history.finished(trials) == [*range(4, 54)]
            assert history.numbers(trials) == [1, *range(4, 54), int(os.path.basename(last))]
        assert history.under_way(trials, int(os.path.basename(under_way)))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("env.API_TOKEN=abc", "env.API_TOKEN=(not shown)"),
        ("db.env.PGPASSWORD=abc", "db.env.PGPASSWORD=(not shown)"),
        ("services.db.env.PGPASSWORD=abc", "services.db.env.PGPASSWORD=(not shown)"),
        ("API_TOKEN=abc", "API_TOKEN=(not shown)"),
        ("keyring=25.0", "keyring=25.0"),
        ("python.authlib=1.0", "python.authlib=1.0"),
        ("next", "next"),
    ],
)
def test_no_secret_is_part_of_a_name(text: str, shown: str) -> None:
    assert concealed(text) == shown and called([text, "a=1"]) == f"{shown} a=1"


class Tried:
    """A trial whose versions came out as they are told."""

    def __init__(self, outcomes: dict[int, Side], verdict: Verdict) -> None:
        self.sides, self.found = outcomes, verdict

    def verdict(self, number: int) -> Verdict:
        assert number in self.sides
        return self.found


@pytest.mark.parametrize(
    ("stage", "outcome", "answer"),
    [
        ("lock", "regression", "skip"),
        ("build", "regression", "skip"),
        ("start", "regression", "bad"),
        ("", "regression", "bad"),
        ("", "no regression", "good"),
        ("", "not judged", "skip"),
    ],
)
def test_what_cant_be_installed_is_passed_over_by_a_bisect(stage: Any, outcome: Any, answer: str) -> None:
    trying: Any = Tried({3: Side("x", failed="why" if stage else "", stage=stage)}, Verdict(outcome))
    assert search._answer(trying, 3) == answer


def test_what_a_report_has_can_always_be_kept() -> None:
    text = b'{"testResults": [{"name": "a", "assertionResults": [{"title": "x \\ud83d", "status": "passed"}]}]}'
    (case,) = jest.read(text, "f").cases
    trial = Trial("1", "try", "shop", "e", "/shop", 1.0, 1.0, f"echo {case.name}", Side("baseline"))
    record.written(trial).encode()
    with pytest.raises(InputError, match="it is no report of Jest's"):
        jest.read(b'{"testResults": [], "x": ' + b"9" * 5000 + b"}", "f")


@pytest.mark.parametrize(
    ("said", "typo"),
    [
        ("Because there is no version of flask==99.0 and you require flask==99.0, …", True),
        ("Because there are no versions of other==2 and …", False),
        ("npm error notarget No matching version found for flask@99.", True),
        ("E: Version '17*' for 'flask' was not found", True),
        ("Because flask==3.0 depends on werkzeug>=3 and you require werkzeug==2, …", False),
    ],
)
def test_a_version_that_there_isnt_is_told_from_one_that_doesnt_suit(said: str, typo: bool) -> None:
    assert Unable("lock", EngineError(said)).typo([Change("python.flask", "2", "99.0")]) is typo


def test_what_has_no_test_that_passes_is_no_good_end() -> None:
    def run(code: int, *outcomes: Any) -> Run:
        return Run(code, 0.0, 1.0, cases=tuple(Case(str(number), one) for number, one in enumerate(outcomes)))

    def sound(*runs: Run) -> str:
        trying: Any = Tried({0: Side("x", runs=runs)}, Verdict("not judged"))
        return search._sound(trying)

    assert sound(run(0)) == "good" and sound(run(1, "passed", "failed")) == "good"
    assert sound(run(2, "error")) == "bad" and sound(run(1)) == "bad" and sound() == "skip"
