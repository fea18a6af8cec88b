"""`devenv explain` against an engine in memory: what it says of builds, of what changed, and of one thing."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.unit.test_cli import Shop

MANIFEST = "from: file:Containerfile\nenv: {COLOUR: red, API_TOKEN: canary1}\n"
CONTAINERFILE = "FROM scratch\nRUN one\nCOPY src /src\nCMD serve\n"


@pytest.fixture
def shop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shop:
    """A project with a Containerfile of its own and a source folder."""
    made = Shop(Path(os.path.realpath(tmp_path)), capsys)
    (made.folder / "src").mkdir()
    write(made, "devenv.yml", MANIFEST)
    write(made, "Containerfile", CONTAINERFILE)
    write(made, "src/app.py", "a")
    return made


def write(shop: Shop, name: str, text: str) -> None:
    (shop.folder / name).write_text(text)


def test_explain_of_what_was_never_built_says_so_and_what_up_would_do(shop: Shop) -> None:
    code, out, _ = shop("explain")
    assert code == 0
    assert out.startswith(
        "nothing was built or brought up here yet\n\nbuild   image      all 2 steps: there is none yet\n"
    )


def test_explain_after_up_has_each_step_and_nothing_to_do(shop: Shop) -> None:
    assert shop("up").code == 0
    lines = shop("explain").out.splitlines()
    assert re.fullmatch(r"image      built \d s ago: all 2 steps: there is none yet", lines[0])
    assert lines[1:3] == [
        "  stage-0 1/2  RUN one        built: new  (has network)",
        "  stage-0 2/2  COPY src /src  built: new",
    ]
    assert re.fullmatch(r"workspace  created \d s ago: there is none yet", lines[3])
    assert lines[4:] == ["", "now: nothing to do"]


def test_explain_names_what_changed_before_and_after_and_where(shop: Shop) -> None:
    shop("up")
    write(shop, "src/app.py", "b")
    write(shop, "src/new.py", "c")
    write(shop, "Containerfile", CONTAINERFILE.replace("RUN one", "RUN zero\nRUN one").replace("serve", "wait"))
    write(shop, "devenv.yml", MANIFEST.replace("red", "blue").replace("canary1", "canary2"))
    plan = shop("plan", "--diff").out
    assert "stage-0 1/3 is new" in plan and "- env.COLOUR: red\n  + env.COLOUR: blue  devenv.yml:2:15" in plan
    shop("up")
    code, out, _ = shop("explain")
    assert code == 0
    for told in (
        "  stage-0 1/3  RUN zero       built: new  (has network)\n",
        "  stage-0 2/3  RUN one        built: follows stage-0 1/3  (has network)\n",
        "~ src/app.py: edited, ca978112ca1b → 3e23e8160039\n",
        "~ src/new.py: added\n",
        "- cmd: ('/bin/sh', '-c', 'serve')\n",
        "+ cmd: ('/bin/sh', '-c', 'wait')",
        "    - env.COLOUR: red\n    + env.COLOUR: blue",
        "~ env.API_TOKEN: another value, not shown",
    ):
        assert told in out, out
    assert "canary" not in out
    assert out.count("app.py") == 1


def test_explain_tells_what_is_still_to_be_done(shop: Shop) -> None:
    shop("up")
    write(shop, "src/app.py", "b")
    out = shop("explain").out
    past, now = out.split("\n\n", 1)
    assert "app.py" not in past
    assert "build    image      1 of 2 steps: stage-0 2/2: src/app.py edited\n" in now


def test_explain_of_an_image_of_before_says_where_it_came_from(shop: Shop) -> None:
    shop("up")
    write(shop, "src/app.py", "b")
    shop("up")
    write(shop, "src/app.py", "a")
    assert "kept      image      it is in the store already: stage-0 2/2: src/app.py edited" in shop("up").out
    assert re.match(r"image      taken from the store \d s ago\n", shop("explain").out)


def test_explain_knows_builds_too_and_failed_ones(shop: Shop) -> None:
    assert shop("build").code == 0
    assert re.match(r"image  built \d s ago: all 2 steps: there is none yet\n", shop("explain").out)
    write(shop, "Containerfile", CONTAINERFILE.replace("RUN one", "RUN two"))
    shop.machine.workshop.codes = {("/bin/sh", "-c", "two"): 3}
    assert shop("build").code == 1
    assert re.match(
        r"image  build failed \d s ago: all 2 steps\n  stage-0 1/2  RUN two        failed  \(has network\)\n(.*\n)*"
        r"  stage-0 2/2  COPY src /src  not reached\n  failed: .*Containerfile:2: ",
        shop("explain").out,
    )
    assert "stage-0 1/2: command one → two" in shop("plan").out  # what didn't come to its end isn't what was built


def test_explain_after_down_and_after_stop(shop: Shop) -> None:
    shop("up")
    shop("stop")
    shop("up")
    assert re.search(
        r"workspace  created \d s ago: there is none yet\n           started \d s ago: it was stopped\n",
        shop("explain").out,
    )
    shop("down")
    assert shop("explain").out.startswith("nothing was built or brought up here yet\n")


def test_explain_of_a_step_shows_all_its_inputs(shop: Shop) -> None:
    shop("up")
    code, out, _ = shop("explain", "stage-0 2/2")
    assert code == 0
    assert re.fullmatch(
        r"stage-0 2/2  COPY src /src\n"
        r"  last    built \d s ago: new\n"
        r"  key     [0-9a-f]{12}\n"
        r"  on      stage-0 1/2  [0-9a-f]{12}\n"
        r"  layer   1\.2 MB, made .* ago\n"
        r"  inputs\n"
        r"    target       /src\n"
        r"    sources      src\n"
        r"    context src  [0-9a-f]{12}\n"
        r"    clock        .*\n",
        out,
    )
    both = shop("explain", "stage-0").out
    assert out in both and both.startswith("stage-0 1/2  RUN one\n")


def test_explain_of_the_container_shows_what_it_is_made_from_but_no_secret(shop: Shop) -> None:
    shop("up")
    write(shop, "devenv.yml", MANIFEST.replace("red", "blue"))
    out = shop("explain", "workspace").out
    assert re.search(r"last    created \d s ago: there is none yet\n  now     to replace: env.COLOUR red → blue\n", out)
    assert re.search(r"\n    env.COLOUR +red\n", out) and re.search(r"\n    env.API_TOKEN +\(not shown\)\n", out)
    assert "canary" not in out + shop("explain", "workspace", "--json").out


def test_explain_of_the_image_is_of_all_its_steps(shop: Shop) -> None:
    shop("up")
    assert shop("explain", "image").out == shop("explain", "stage-0").out


def test_explain_of_what_there_isn_t_names_what_there_is(shop: Shop) -> None:
    code, out, err = shop("explain", "stage-1")
    assert (code, out) == (2, "")
    assert "explain stage-1: there is no such step or container" in err
    assert "stage-0 1/2, stage-0 2/2, workspace" in err


def test_explain_of_a_broken_manifest_says_what_was_done_and_what_is_wrong(shop: Shop) -> None:
    shop("up")
    write(shop, "devenv.yml", "from: nonsense\n")
    code, out, err = shop("explain")
    assert code == 2
    assert out.startswith("image      built ") and "devenv.yml:1:7" in err


def test_explain_json_has_past_and_plan_and_one_step(shop: Shop) -> None:
    shop("up")
    write(shop, "src/app.py", "b")
    found = json.loads(shop("explain", "--json").out)
    image = next(one for one in found["last"] if one["object"] == "image")
    assert (image["verb"], [step["reason"] for step in image["steps"]]) == ("build", ["new", "new"])
    assert [one["name"] for one in found["now"]["actions"][0]["changes"]] == ["src/app.py"]
    (step,) = json.loads(shop("explain", "stage-0 2/2", "--json").out)["steps"]
    assert step["status"] == "to be built: src/app.py edited" and step["last"]["reason"] == "new"
    assert step["changes"][0]["before"].startswith("644 ca978112ca1b")
