"""The command line against an engine in memory: exit codes, streams, JSON, help."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import typer

from devenv.cli.app import application, main
from devenv.cli.session import Machine, Session
from devenv.errors import NotTrusted
from devenv.model.container import ContainerSpec, Environment, Process
from devenv.model.host import Check, Garbage
from devenv.model.image import Rootfs
from devenv.model.manifest import Port
from tests.fake_engine import FakeMachine

ROOT = Path(__file__).parents[2]


class Ran(NamedTuple):
    code: int
    out: str
    err: str


class Shop:
    """A project folder, an engine in memory, and the command line called there."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.capsys = capsys
        self.codes: dict[tuple[str, ...], int] = {}
        self.lines: tuple[str, ...] = ()
        self.machine = FakeMachine(str(folder / "store"), lambda _c, process: (self.answer(process), self.lines))
        self.ran: list[Process] = []
        self.env: dict[str, str] = {"USER": "ann", "TOKEN": "t0"}

    def answer(self, process: Process) -> int:
        self.ran.append(process)
        return self.codes.get(process.argv, 0)

    def __call__(self, *arguments: str) -> Ran:
        def opened(_: Mapping[str, str]) -> Machine:
            return self.machine

        self.capsys.readouterr()
        code = main(arguments, Session(str(self.folder), self.env, opened))
        out, err = self.capsys.readouterr()
        return Ran(code, out, err)

    def completed(self, *words: str) -> list[str]:
        """What bash is told when Tab is pressed behind the last of these words."""
        session = Session(str(self.folder), {**self.env, "_DEVENV_COMPLETE": "complete_bash"}, lambda _: self.machine)
        asked = {"COMP_WORDS": " ".join(("devenv", *words)), "COMP_CWORD": str(len(words))}
        os.environ.update(asked, _DEVENV_COMPLETE="complete_bash")
        self.capsys.readouterr()
        try:
            assert main([], session) == 0
        finally:
            for name in (*asked, "_DEVENV_COMPLETE"):
                del os.environ[name]
        return self.capsys.readouterr().out.split()

    def running(self) -> str:
        """As after `up`, without one; the container's id."""
        engine = self.machine.engine
        (self.folder / "devenv.yml").write_text("from: bootstrap:bookworm\ntest: pytest -q\n")
        engine.register(Environment("e1", "shop", str(self.folder)))
        image = self.machine.workshop.commit(Rootfs("K"), "K", ("shop:e1",))
        spec = ContainerSpec(
            "e1", "workspace", "shop", image.digest, Process(()), ports=(Port(8000),), service="workspace"
        )
        (made,) = engine.create([spec])
        return engine.start(made.id).id


@pytest.fixture
def shop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shop:
    return Shop(Path(os.path.realpath(tmp_path)), capsys)


def verbs() -> list[str]:
    command = typer.main.get_command(application())
    return sorted(command.commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("verb", verbs())
def test_each_verb_has_help_with_an_example(verb: str, shop: Shop) -> None:
    code, out, _ = shop(verb, "--help")
    assert code == 0
    assert re.search(rf"Example:  devenv( -\S+ \S+)? {verb}\b|&& devenv {verb}\b", out)


@pytest.mark.parametrize("verb", verbs())
def test_each_verb_and_option_is_in_the_docs(verb: str, shop: Shop) -> None:
    section = (ROOT / "docs/verbs.md").read_text().partition(f"\n### `{verb}`")[2].partition("\n### ")[0]
    assert section
    listed = re.findall(r"^  (-.*?)(?:  |$)", shop(verb, "--help").out, re.MULTILINE)
    options = set(re.findall(r"--[a-z][a-z-]+", " ".join(listed))) - {"--help"}
    assert options or verb in ("render", "schema", "completion", "test", "save", "attach")
    assert {option for option in options if option not in section} == set()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("upp",), "error: devenv: there is no verb 'upp'\n  hint: did you mean `up`?"),
        (("start",), "did you mean `devenv up`?"),
        (("xyzzy",), "`devenv --help` says what it takes"),
        (("up", "--no-cach"), "error: devenv up: there is no option --no-cach\n  hint: did you mean `--no-cache`?"),
        (("exec",), "error: devenv exec: [CONTAINER] COMMAND… is missing\n  hint: usage: devenv exec "),
        (("down", "a", "more"), "error: devenv down: what is 'more'?"),
        (("build", "--target"), "error: devenv: --target needs a value"),
        (("build", "--json=3"), "--json takes no value"),
        (("logs", "-n", "x"), "error: devenv logs: --tail: must be a whole number"),
        (("-C", "/nowhere", "ps"), "error: devenv: --directory: no folder /nowhere"),
        (("up",), "no devenv.yml"),
        (("shell",), "no devenv.yml"),
        (("completion", "tcsh"), "tcsh"),
        (("logs", "--tail", "-1"), "--tail"),
    ],
)
def test_wrong_input_is_exit_code_2_and_says_what(arguments: Sequence[str], told: str, shop: Shop) -> None:
    code, out, err = shop(*arguments)
    assert (code, out) == (2, "")
    assert told in err
    assert "Traceback" not in err


def test_a_fault_of_the_manifest_names_its_place(shop: Shop) -> None:
    (shop.folder / "devenv.yml").write_text("from: bootstrap:bookworm\nprots: ['8000']\n")
    code, _, err = shop("render")
    assert code == 2
    assert "devenv.yml:2:1" in err
    assert "hint:" in err


def test_the_manifest_is_found_above(shop: Shop) -> None:
    (shop.folder / "devenv.yml").write_text("from: bootstrap:bookworm\napt: [git]\n")
    below = shop.folder / "a/b"
    below.mkdir(parents=True)
    assert "git" in shop("-C", "a/b", "render").out


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away")
def test_a_stranger_s_manifest_above_is_passed_over(shop: Shop) -> None:
    (shop.folder / "devenv.yml").write_text("from: bootstrap:bookworm\n")
    (shop.folder / "mine").mkdir()
    os.chown(shop.folder / "devenv.yml", 1234, 1234)
    assert shop("-C", "mine", "render").code == 2
    assert shop("render").code == 0


def test_init_writes_a_manifest_that_loads(shop: Shop) -> None:
    (shop.folder / "requirements.txt").write_text("django==5.2\n")
    assert shop("init").code == 0
    assert "requirements.txt" in (shop.folder / "devenv.yml").read_text()
    assert shop("render").code == 0


def test_init_refuses_to_overwrite_unless_forced(shop: Shop) -> None:
    (shop.folder / "devenv.yml").write_text("mine")
    code, _, err = shop("init")
    assert code == 2
    assert "--force" in err
    assert (shop.folder / "devenv.yml").read_text() == "mine"
    assert shop("init", "--force").code == 0
    assert (shop.folder / "devenv.yml").read_text() != "mine"
    assert os.listdir(shop.folder) == ["devenv.yml"]


def test_init_print_writes_nothing(shop: Shop) -> None:
    assert "from:" in shop("init", "--print").out
    assert os.listdir(shop.folder) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder away")
def test_init_by_root_gives_the_file_to_the_folder_s_owner(shop: Shop) -> None:
    os.chown(shop.folder, 1234, 1235)
    shop("init")
    found = os.stat(shop.folder / "devenv.yml")
    assert (found.st_uid, found.st_gid) == (1234, 1235)


def test_schema_is_json(shop: Shop) -> None:
    assert "properties" in json.loads(shop("schema").out)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str, shop: Shop) -> None:
    assert "_DEVENV_COMPLETE" in shop("completion", shell).out


def test_completion_completes_verbs() -> None:
    env = {**os.environ, "_DEVENV_COMPLETE": "complete_bash", "COMP_WORDS": "devenv ren", "COMP_CWORD": "1"}
    done = subprocess.run([sys.executable, "-m", "devenv"], env=env, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["render"]


def test_exec_returns_the_command_s_code_and_passes_its_options_through(shop: Shop) -> None:
    shop.running()
    shop.codes[("ls", "-l", "--json")] = 7
    assert shop("exec", "-e", "A=1", "-e", "TOKEN", "-u", "nobody", "ls", "-l", "--json").code == 7
    assert shop.ran[-1] == Process(("ls", "-l", "--json"), (("A", "1"), ("TOKEN", "t0")), "nobody", "")


def test_exec_takes_two_dashes(shop: Shop) -> None:
    shop.running()
    shop("exec", "--", "-odd", "--", "x")
    assert shop.ran[-1].argv == ("-odd", "--", "x")


def test_exec_says_how_to_start_what_is_stopped(shop: Shop) -> None:
    shop.machine.engine.stop(shop.running())
    code, _, err = shop("exec", "true")
    assert code == 2
    assert "devenv up" in err


def test_test_runs_the_manifest_s_command_with_more_arguments(shop: Shop) -> None:
    shop.running()
    shop.codes[("/bin/sh", "-c", 'pytest -q "$@"', "sh", "-k", "a b")] = 1
    assert shop("test", "-k", "a b").code == 1


def test_shell_enters_the_running_container(shop: Shop) -> None:
    shop.running()
    assert shop("shell").code == 0
    assert "bash" in shop.ran[-1].argv[-1]


@pytest.mark.parametrize(
    ("user", "code"),
    [("²", 0), ("1000:²", 0), ("065535", 0), ("65536", 2), ("root:65536", 2), (f"0{'9' * 5000}", 2)],
)
def test_exec_user_is_a_name_or_a_number_that_a_container_has(shop: Shop, user: str, code: int) -> None:
    shop.running()
    assert shop("exec", "-u", user, "true").code == code


def test_ps_lists_what_runs_and_json_says_the_same(shop: Shop) -> None:
    identifier = shop.running()
    assert "http://127.0.0.1:40000→8000" in shop("ps").out
    (one,) = json.loads(shop("ps", "--json").out)
    assert (one["id"], one["status"], one["environment"]["name"]) == (identifier, "running", "shop")
    assert one["ports"] == [{"address": "127.0.0.1", "host": 40000, "container": 8000, "protocol": "tcp"}]


def test_ps_shows_what_is_stopped_here_and_elsewhere_with_all(shop: Shop) -> None:
    shop.machine.engine.stop(shop.running())
    assert "stopped (143)" in shop("ps").out
    assert json.loads(shop("-C", "/", "ps", "--json").out) == []
    assert "stopped (143)" in shop("-C", "/", "ps", "--all").out


def test_ps_shows_the_project_we_are_in_or_all_from_elsewhere(shop: Shop) -> None:
    """As `docker compose ps` does."""
    shop.running()
    engine = shop.machine.engine
    others = (
        Environment("e2", "other", "/elsewhere"),
        Environment("e3", "shop.next", str(shop.folder), "next"),
        Environment("e4", "shop.old", str(shop.folder), "old"),
    )
    for one in others:
        engine.register(one)
        (made,) = engine.create([engine.specs["c1"]._replace(environment=one.id, image=next(iter(engine.pictures)))])
        if one.id != "e4":
            engine.start(made.id)
    (shop.folder / "sub").mkdir()

    def names(*words: str) -> list[str]:
        listed = [one["environment"]["name"] for one in json.loads(shop(*words, "--json").out)]
        assert [line.split()[0] for line in shop(*words).out.splitlines()[1:]] == listed
        return listed

    assert names("ps") == names("-C", f"{shop.folder}/sub", "ps") == ["shop", "shop.next"]
    assert names("-C", "/", "ps") == ["other", "shop", "shop.next"]
    assert names("ps", "--all") == names("-C", "/", "ps", "-a") == ["other", "shop", "shop.next", "shop.old"]


def test_ps_of_a_project_without_containers_mentions_the_others(shop: Shop) -> None:
    shop.running()
    other = shop.folder / "other"
    other.mkdir()
    (other / "devenv.yml").write_text("from: bootstrap:bookworm\n")
    told = shop("-C", str(other), "ps")
    assert (told.code, len(told.out.splitlines())) == (0, 1)
    assert told.err == "nothing of this project is there; of others: devenv ps --all\n"
    assert shop("-C", str(other), "ps", "--json")[:3] == (0, "[]\n", "")
    shop("stop")
    assert shop("-C", "/", "ps").err == "nothing runs; what is stopped: devenv ps --all\n"
    shop("down")
    assert shop("-C", str(other), "ps").err == ""


def test_ps_of_what_is_stopped_shows_no_address_and_of_what_is_gone_says_so(shop: Shop) -> None:
    shop.machine.engine.stop(shop.running())
    shop.env["HOME"] = str(shop.folder.parent)
    engine = shop.machine.engine
    engine.register(Environment("e2", "lost", f"{shop.folder}/moved"))
    engine.create([engine.specs["c1"]._replace(environment="e2", image=next(iter(engine.pictures)))])

    (_, lost, here) = shop("ps", "--all").out.splitlines()

    image = next(iter(engine.pictures)).removeprefix("sha256:")[:12]
    assert here.split() == ["shop", "workspace", "stopped", "(143)", "-", image, f"~/{shop.folder.name}"]
    assert lost.endswith(f"~/{shop.folder.name}/moved (gone)")
    assert [one["environment"]["gone"] for one in json.loads(shop("ps", "-a", "--json").out)] == [True, False]


def test_ps_gives_each_port_a_line_of_its_own(shop: Shop) -> None:
    engine = shop.machine.engine
    shop.running()
    shop.machine.engine.made["c1"] = engine.made["c1"]._replace(ports=(Port(80, 8080), Port(81, 8081)))
    (_, first, second) = shop("ps").out.splitlines()
    assert "http://127.0.0.1:8080→80" in first
    assert second.split() == ["http://127.0.0.1:8081→81"]


def test_verbs_take_an_environment_by_name_or_id_from_anywhere(shop: Shop) -> None:
    identifier = shop.running()
    engine = shop.machine.engine
    engine.register(Environment("a1b2c3d4e5f6", "other", "/gone/other"))
    engine.lines[identifier] = ["one"]
    assert (
        shop("-C", "/", "logs", "shop").out
        == shop("-C", "/", "logs", "shop/workspace").out
        == shop("logs").out
        == "one\n"
    )
    assert shop("-C", "/", "stop", "shop").code == 0
    assert shop("down", "other").code == 0
    assert shop("-C", "/", "down", "e1").code == 0
    assert engine.containers() == ()
    assert engine.environments() == ()


def test_an_environment_name_that_several_have_is_told_with_their_folders(shop: Shop) -> None:
    engine = shop.machine.engine
    for identifier in ("aaaa11112222", "bbbb11112222"):
        engine.register(Environment(identifier, "shop", f"/home/{identifier[0]}/shop"))
    for arguments in (("down", "shop"), ("stop", "shop"), ("logs", "shop")):
        failed = shop("-C", "/", *arguments)
        assert failed.code == 2
        assert "aaaa11112222  shop  /home/a/shop" in failed.err and "bbbb11112222" in failed.err
    assert shop("-C", "/", "down", "aaaa").code == 0
    assert [one.id for one in engine.environments()] == ["bbbb11112222"]
    unknown = shop("-C", "/", "down", "shpo")
    assert (unknown.code, "environment shpo: there is none" in unknown.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "wants_files"),
    [
        ("up ", False),
        ("down ", False),
        ("logs ", False),
        ("build --target ", False),
        ("run --image ", False),
        ("exec ", True),
        ("build ", True),
        ("build -f ", True),
        ("-C ", True),
    ],
)
def test_completion_offers_files_only_where_one_is_wanted(words: str, wants_files: bool, tmp_path: Path) -> None:
    places = {"DEVENV_HOME": f"{tmp_path}/h", "DEVENV_RUN": f"{tmp_path}/r"}

    def answer(shell: str, **more: str) -> tuple[str, int]:
        env = {**os.environ, **places, "_DEVENV_COMPLETE": f"complete_{shell}", **more}
        done = subprocess.run([sys.executable, "-m", "devenv"], env=env, capture_output=True, text=True, check=False)
        return done.stdout.strip(), done.returncode

    count = str(len(words.split()) + 1)
    assert answer("bash", COMP_WORDS=f"devenv {words}", COMP_CWORD=count) == ("@files@" if wants_files else "", 0)
    asked = {"_TYPER_COMPLETE_ARGS": f"devenv {words}"}
    assert answer("zsh", **asked) == ("_files" if wants_files else ":", 0)
    assert answer("fish", **asked, _TYPER_COMPLETE_FISH_ACTION="is-args") == ("", int(wants_files))


def test_completion_completes_environments(shop: Shop) -> None:
    shop.machine.engine.register(Environment("e1", "shop", "/s"))
    shop.machine.engine.register(Environment("e2", "tool", "/t"))
    shop.machine.engine.register(Environment("x3", "tool", "/u"))
    assert shop.completed("down", "") == ["shop", "e2", "x3"]
    assert shop.completed("down", "s") == ["shop"]


def test_ps_without_a_terminal_imports_no_rich() -> None:
    script = (
        "import sys; from devenv.cli.app import main; from devenv.cli.session import Session\n"
        "from tests.fake_engine import FakeMachine\n"
        "main(['ps'], Session('/', {}, lambda _: FakeMachine('/nowhere')))\n"
        "print([name for name in ('rich', 'yaml', 'jinja2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_logs_prints_the_lines(shop: Shop) -> None:
    identifier = shop.running()
    shop.machine.engine.lines[identifier] = ["one", "two"]
    assert shop("logs").out == "one\ntwo\n"
    assert shop("logs", "--tail", "1").out == "two\n"
    assert shop("logs", "--timestamps", "-n", "1").out == "1970-01-01T00:00:01.000+00:00 two\n"
    assert shop("logs", "other").code == 2


def test_save_names_the_image_as_it_was_asked_for_and_takes_paths_from_here(shop: Shop) -> None:
    shop.running()
    (image,) = json.loads(shop("images", "--json").out)
    done = shop("save", image["references"][0], "out.tar")
    shop("save", image["digest"][:20], "/tmp/out")

    assert done.out.strip() == image["digest"]
    digest, name = image["digest"], image["references"][0]
    assert shop.machine.workshop.exported == [(digest, f"{shop.folder}/out.tar", name), (digest, "/tmp/out", name)]
    assert shop("save", "nobody:1", "out").code == 2


def test_images_lists_the_store(shop: Shop) -> None:
    shop.running()
    assert "shop:e1" in shop("images").out
    assert json.loads(shop("images", "--json").out)[0]["references"] == ["shop:e1"]


def test_stop_then_down_and_again(shop: Shop) -> None:
    shop.running()
    assert json.loads(shop("stop", "--json").out)["actions"][0]["verb"] == "stop"
    told = json.loads(shop("stop", "--json").out)
    assert told["containers"] == json.loads(shop("ps", "--json").out)
    assert told["containers"][0]["environment"] == {**told["environment"], "gone": False, "supervisor": None}
    assert shop("stop").code == 0
    assert shop("down").code == 0
    assert shop.machine.engine.containers() == ()
    again = shop("down")
    assert (again.code, again.out) == (0, "nothing to take down\n")
    assert json.loads(shop("down", "--json").out)["actions"] == []


def test_down_says_what_a_trial_left_up(shop: Shop) -> None:
    shop.running()
    engine, folder = shop.machine.engine, str(shop.folder)
    for number, (where, variant) in enumerate(
        (
            (folder, "try:baseline"),
            (folder, "try:six-2"),
            (folder, "next"),
            (folder, "run:t1-0.six"),
            ("/x", "try:six-3"),
            (folder, "try:six-3"),
        )
    ):
        engine.register(Environment(f"kept{number}", f"shop.{variant.replace(':', '-')}", where, variant))
    both = "shop.try-baseline, shop.try-six-2, kept5 are still there, left by try --keep: devenv down --volumes NAME\n"
    assert shop("down").err.endswith(both)
    assert shop("down").err == both  # again: there is nothing but these
    assert json.loads(shop("down", "--json", "shop.try-baseline").out)["environment"]["variant"] == "try:baseline"
    one = shop("down", "shop.try-six-2")
    assert one.err.endswith(
        "kept5 is still there, left by try --keep: devenv down --volumes kept5\n"
    )  # two are called so
    assert "left by try" not in shop("down", "kept5").err + shop("down").err


def test_down_works_when_the_manifest_is_gone(shop: Shop) -> None:
    shop.running()
    (shop.folder / "devenv.yml").unlink()
    assert shop("down").code == 0


def test_gc_dry_run_removes_nothing(shop: Shop) -> None:
    shop.machine.garbage = (Garbage("layer", "7", 1500, "no image has it"), Garbage("cache", "apt", 1, "--all"))
    assert "would free 1.5 kB" in shop("gc", "--dry-run").out
    assert len(shop.machine.garbage) == 2
    assert json.loads(shop("gc", "--json").out)["size"] == 1500
    assert [one.kind for one in shop.machine.garbage] == ["cache"]


@pytest.mark.parametrize(
    "tag", ["devenv/shop:1", "", "shop:dev:1", "Shop", "a b", "-x", "x:", "x" * 9 + ":" + "y" * 129]
)
def test_build_refuses_a_tag_that_is_none_or_ours(tag: str, shop: Shop) -> None:
    (shop.folder / "Containerfile").write_text("FROM scratch\n")
    failed = shop("build", f"--tag={tag}", ".")
    assert (failed.code, "--tag" in failed.err) == (2, True)


def test_doctor_fails_when_something_will_not_do_and_shows_the_fix(shop: Shop) -> None:
    assert shop("doctor").code == 0
    shop.machine.checks = (Check("runtime", False, "no runc", "apt install runc"),)
    code, out, _ = shop("doctor")
    assert code == 1
    assert "fix: apt install runc" in out
    assert json.loads(shop("doctor", "--json").out)["ok"] is False


def test_names_cannot_act_on_the_terminal(shop: Shop) -> None:
    shop.running()
    shop.machine.engine.register(Environment("e1", "sh\x1b]0;evil\x07op", str(shop.folder)))
    for arguments in (("ps",), ("ps", "--json"), ("down",)):
        ran = shop(*arguments)
        assert "\x1b" not in ran.out + ran.err


@pytest.mark.parametrize("name", ["DEVENV_HOME", "DEVENV_RUN"])
@pytest.mark.parametrize("arguments", [("ps",), ("exec", "true"), ("up",)])
def test_a_relative_store_is_refused_and_not_made(name: str, arguments: Sequence[str], tmp_path: Path) -> None:
    (tmp_path / "devenv.yml").write_text("from: bootstrap:bookworm\n")
    env = {**os.environ, "PYTHONPATH": str(ROOT), name: "store/here"}
    argv = [sys.executable, "-m", "devenv", *arguments]
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"{name}: store/here is a relative path" in done.stderr
    assert f"export {name}={os.path.realpath(tmp_path)}/store/here" in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["devenv.yml"]


def test_not_trusted_is_exit_code_3(shop: Shop) -> None:
    def refuse(_: Mapping[str, str]) -> Machine:
        raise NotTrusted("use runtime evil: not allowed", hint="devenv trust")

    assert main(["ps"], Session(str(shop.folder), {}, refuse)) == 3
    assert "hint: devenv trust" in shop.capsys.readouterr().err


def test_an_interruption_is_exit_code_130(shop: Shop) -> None:
    def interrupted(_: Mapping[str, str]) -> Machine:
        raise KeyboardInterrupt

    assert main(["ps"], Session(str(shop.folder), {}, interrupted)) == 130


def test_a_bug_shows_a_traceback_and_says_so(shop: Shop) -> None:
    def broken(_: Mapping[str, str]) -> Machine:
        raise ZeroDivisionError("oh")

    assert main(["ps"], Session(str(shop.folder), {}, broken)) == 1
    err = shop.capsys.readouterr().err
    assert "Traceback" in err
    assert "bug in devenv" in err


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = f"{sys.executable} -m devenv schema | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() in ("0", "141")
    assert done.stderr == ""


def test_a_full_disk_is_no_bug() -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "devenv", "schema"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (1, "error: write: No space left on device\n")


def test_streams_that_the_caller_closed_are_no_bug() -> None:
    command = f"{sys.executable} -m devenv schema >&- 2>/dev/full; echo $?; {sys.executable} -m devenv nope <&- >&- 2>&-; echo $?"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.stdout.split(), done.stderr) == (["0", "2"], "")


def test_a_deleted_folder_is_told() -> None:
    command = f"d=$(mktemp -d); cd $d; rmdir $d; PYTHONPATH={ROOT} {sys.executable} -m devenv ps"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "was deleted" in done.stderr
    assert "Traceback" not in done.stderr


def test_run_refuses_to_publish_what_has_no_network(shop: Shop) -> None:
    (shop.folder / "devenv.yml").write_text("from: bootstrap:bookworm\nnetwork: none\n")
    code, _, err = shop("run", "-p", "8000", "--", "true")
    assert (code, "--publish: nobody can reach a port of what has no network" in err) == (2, True)
    assert shop.machine.engine.did == []


def test_run_of_another_image_needs_no_manifest(shop: Shop) -> None:
    digest = shop.machine.workshop.commit(Rootfs("K"), "K", ("tool:1",)).digest
    shop.codes[("true", "-x")] = 5
    assert shop("run", "--image", "tool:1", "true", "-x").code == 5
    assert shop("run", "--image", digest, "true").code == 0
    assert shop("run", "--image", "none", "true").code == 2
    assert shop("run", "--image", "tool:1", "--keep", "true").code == 2
    assert shop("run", "--image", "tool:1", "-p", "70000", "true").code == 2
    assert shop.machine.engine.containers() == ()


def test_plan_says_that_the_lock_would_be_written(shop: Shop) -> None:
    (shop.folder / "devenv.yml").write_text("from: bootstrap:bookworm\n")
    assert shop("plan").out.splitlines()[0].split() == ["write", "lock", "there", "is", "none", "yet"]
    shop("up")
    assert "lock" not in shop("plan").out
    (shop.folder / "devenv.yml").write_text("from: bootstrap:bookworm\napt: [curl]\n")
    assert shop("plan").out.splitlines()[0].startswith("write ")
    assert json.loads(shop("plan", "--json").out)["actions"][0]["verb"] == "lock"
