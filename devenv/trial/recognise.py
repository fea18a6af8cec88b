"""A command, and what is known of its project → how its single tests are heard, and what is held still while they run. Pure.

Commands hide their tools (`make test`, `npm test`, `sh -c '… && pytest'`), so nothing is rewritten: tools are told by variables,
which do nothing where the tool isn't called. Those who have no such variable are heard by what they write or print anyway, or
not at all: then a trial rests on exit code and output.

Each call of one writes a report of its own (`calls`), but for gotestsum, whose variable is one path, and pytest in a Python that
the command makes itself.

- pytest: PYTEST_ADDOPTS (https://docs.pytest.org/en/stable/reference/reference.html#environment-variables)
  tox keeps it to itself unless its configuration is overridden by TOX_OVERRIDE
- node --test: reporters are allowed in NODE_OPTIONS; its JUnit reporter is there since 18.19, 20.10 and 21
- Vitest, Jest, Mocha have none. Node.js loads what NODE_OPTIONS imports (since 18.18, 20) before their own code: two lines that
  add options when the program that is started has one of these names
- go test: GOFLAGS, flags that the current command knows; `-v` names each test in its output (`go help environment`)
- gotestsum: GOTESTSUM_JUNITFILE · GoogleTest: GTEST_OUTPUT, a folder, a file for each program
- Maven's Surefire and Gradle write reports of themselves
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Literal, NamedTuple

from devenv.model import npm
from devenv.model.lock import Section
from devenv.model.manifest import Pairs

from . import calls

FILES = ("package.json", "Makefile", "justfile", "Taskfile.yml", "tox.ini", "noxfile.py", "pyproject.toml", "setup.cfg")
"""Where a project says what its commands do: their text is `around`."""

Form = Literal["junit", "jest"]


class Written(NamedTuple):
    """Where a report is found afterwards: a path or a pattern (`glob`), inside; relative ones from where the command runs."""

    pattern: str
    form: Form = "junit"


class Listener(NamedTuple):
    """`environment`: variables to be set, each with its whole value. `reports`: looked for in this order; one that the command
    wrote before it began is none of this run. `tools` were recognised; `deaf` too, but they tell no single tests.
    `controlled`: what is held still, (what, value). `files`: to be there inside before it begins, (path, text); one whose folder is
    a pattern, in each that there is.
    """

    environment: Pairs = ()
    reports: tuple[Written, ...] = ()
    tools: tuple[str, ...] = ()
    deaf: tuple[str, ...] = ()
    controlled: Pairs = ()
    files: Pairs = ()


class _Known(NamedTuple):
    """What a command is recognised by. `words` is its text and that of the files around it, `folder` takes our reports."""

    words: str
    packages: Mapping[str, str]
    environment: Mapping[str, str]
    folder: str

    def says(self, pattern: str) -> bool:
        return re.search(rf"(?<![\w-])(?:{pattern})(?![\w-])", self.words) is not None

    def more(self, name: str, value: str) -> tuple[str, str]:
        """A variable with what it has already."""
        return name, f"{self.environment.get(name, '')} {value}".strip()


def recognise(
    command: str,
    folder: str,
    around: str = "",
    packages: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Listener:
    """How a command is listened to. `folder`: an empty one, inside, for the reports, without spaces in its path.

    `packages`: what the lock's section has, name → version, of all ecosystems, Node.js itself as `node`. `environment`: what the
    command would see anyway; its own values stay.
    """
    known = _Known(f"{command}\n{around}", packages or {}, environment or {}, folder)
    parts = [part for part in (find(known) for find in (_pytest, _node, _go, _cpp, _java)) if part]
    seed = () if "PYTHONHASHSEED" in known.environment else (("PYTHONHASHSEED", "0"),)
    ours = (Written(f"{folder}/*.xml"), Written(f"{folder}/*.json", "jest"))
    return Listener(
        tuple(pair for part in parts for pair in part.environment) + seed,
        tuple(dict.fromkeys((*ours, *_asked(known.words), *(report for part in parts for report in part.reports)))),
        tuple(tool for part in parts for tool in part.tools),
        (*(tool for part in parts for tool in part.deaf), *(tool for tool, word in _DEAF if known.says(word))),
        tuple(pair for part in parts for pair in part.controlled) + seed,
        tuple(pair for part in parts for pair in part.files),
    )


def installed(section: Section) -> dict[str, str]:
    """What a locked image has, name → version, as `recognise` wants it; of npm packages those that a project can name itself."""
    found = {deb.name: deb.version for deb in section.apt.packages} if section.apt else {}
    if section.python:
        found |= {dist.name: dist.version for dist in section.python.packages}
    if section.node:
        modules = (*section.node.tools, *section.node.project)
        found |= {npm.name(module): module.version for module in modules if len(npm.names(module.path)) == 1}
        for module in section.node.runtime:
            if npm.name(module).startswith("node-"):
                found["node"] = module.version
    return found


_DEAF = (
    ("PHPUnit", "phpunit"),
    ("RSpec", "rspec"),
    ("cargo test", r"cargo (?:\+\S+ )?(?:nextest|test)"),
    ("dotnet test", "dotnet test"),
    ("bun test", "bun test"),
    ("deno test", "deno test"),
    ("AVA", "ava"),
)

_ASKED = re.compile(
    r"--(?:junitxml|junit-xml|log-junit|output-junit|junitfile|outputFile(?:\.junit)?)[= ]([\w./@+-]+\.xml)"
)


def _asked(words: str) -> tuple[Written, ...]:
    """The reports that a command asks for by itself: pytest, PHPUnit, CTest, gotestsum, Vitest."""
    return tuple(Written(path) for path in _ASKED.findall(words))


def _pytest(known: _Known) -> Listener | None:
    if "pytest" not in known.packages and not known.says("pytest|py\\.test"):
        return None
    seeds = [
        (option, "0")
        for package, option in (("pytest-randomly", "--randomly-seed"), ("pytest-random-order", "--random-order-seed"))
        if package in known.packages
    ]
    report = f"{known.folder}/pytest.xml"
    options = [f"--junitxml={shlex.quote(report)}", "-o", "junit_family=xunit1"]
    options.append("--continue-on-collection-errors")  # else one file that can't be imported hides all other tests
    told = known.more("PYTEST_ADDOPTS", " ".join([*options, *(f"{option}={value}" for option, value in seeds)]))
    variables = [told]
    if known.says("tox") and _version(known.packages.get("tox", "")) >= (4, 11, 1):  # an older one can't add to a list
        passed = [f"{section}.pass_env+=PYTEST_ADDOPTS" for section in ("testenv", "env_run_base")]
        own = known.environment.get("TOX_OVERRIDE", "")
        variables.append(("TOX_OVERRIDE", ";".join((*filter(None, [own]), *passed))))
    return Listener(
        tuple(variables),
        tools=("pytest",),
        controlled=tuple((f"pytest {name}", value) for name, value in seeds),
        files=calls.pytest_plugin(known.folder, report),
    )


def _node(known: _Known) -> Listener | None:
    """Everything that Node.js runs; nothing is set where its version isn't known, as an older one refuses to start."""
    version = _version(known.packages.get("node") or known.packages.get("nodejs") or "")
    runners = [tool for tool in _OPTIONS if tool in known.packages or known.says(tool)]
    own = known.says(r"node(?: \S+){0,9} --test|node:test")
    reporters = _reporters(known, version) if own or not runners else []
    asked = {} if not _imports(version) else {tool: _asking(tool, known) for tool in runners if _silent(tool, known)}
    preload = [calls.node_options(asked)] if asked else []
    options = " ".join((*reporters, *preload))
    heard = {**({"node --test": bool(reporters)} if own else {}), **{tool: tool in asked for tool in runners}}
    return Listener(
        (known.more("NODE_OPTIONS", options),) if options else (),
        tools=tuple(tool for tool in heard if heard[tool]),
        deaf=tuple(tool for tool in heard if not heard[tool]),
    )


def _reporters(known: _Known, version: tuple[int, ...]) -> list[str]:
    """Node's own test runner: its usual reporter, and one that writes. A command's own would be left without a destination."""
    if "--test-reporter" in known.words or not ((18, 19) <= version < (19,) or version >= (20, 10)):
        return []
    usual = ["--test-reporter=spec", "--test-reporter-destination=stdout"]
    return [*usual, *calls.node_reporter(f"{known.folder}/node-CALL.xml")]


def _imports(version: tuple[int, ...]) -> bool:
    return (18, 18) <= version < (19,) or version >= (20,)


def _asking(tool: str, known: _Known) -> list[str]:
    return _OPTIONS[tool].replace("FOLDER", known.folder).split()


def _silent(tool: str, known: _Known) -> bool:
    """Whether it isn't told by the command itself where reports go."""
    return _OWN[tool].search(known.words) is None


_OPTIONS = {
    "vitest": "--reporter=default --reporter=junit --outputFile.junit=FOLDER/vitest-CALL.xml",
    "jest": "--json --outputFile=FOLDER/jest-CALL.json",
    "mocha": "--reporter=xunit --reporter-option=output=FOLDER/mocha-CALL.xml",
}
_OWN = {
    "vitest": re.compile(r"--outputFile"),
    "jest": re.compile(r"--outputFile|--json\b"),
    "mocha": re.compile(r"--reporter\b|(?<![\w-])-R\b"),
}


def _go(known: _Known) -> Listener | None:
    if not known.says("go test|gotestsum") and not any(name.startswith("golang") for name in known.packages):
        return None
    flags = known.more("GOFLAGS", "-v -count=1")  # a result from its cache would be no second run
    report = ("GOTESTSUM_JUNITFILE", f"{known.folder}/gotestsum.xml")
    return Listener((flags, report), tools=("go test",), controlled=(("go test -count", "1"),))


def _cpp(known: _Known) -> Listener | None:
    if not known.says("ctest|gtest|googletest|GTest") and not {"libgtest-dev", "googletest"} & set(known.packages):
        return None
    return Listener((("GTEST_OUTPUT", f"xml:{known.folder}/"),), tools=("GoogleTest",))


def _java(known: _Known) -> Listener | None:
    if known.says(r"mvn|mvnw"):
        found = ("**/target/surefire-reports/TEST-*.xml", "**/target/failsafe-reports/TEST-*.xml")
        return Listener(reports=tuple(Written(pattern) for pattern in found), tools=("Maven",))
    if known.says(r"gradle|gradlew"):
        return Listener(reports=(Written("**/build/test-results/*/TEST-*.xml"),), tools=("Gradle",))
    return None


def _version(text: str) -> tuple[int, ...]:
    """`18.19.0+dfsg-6` → (18, 19, 0)."""
    match = re.match(r"v?(\d{1,4})(?:\.(\d{1,4}))?(?:\.(\d{1,4}))?", text)
    return tuple(int(part) for part in match.groups() if part) if match else ()
