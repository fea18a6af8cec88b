"""`NAME=GOOD..BAD`, or several changes → which of them is to blame, by trying as few as possible."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from devenv import desired as wanting
from devenv.cli import asking
from devenv.console import warning
from devenv.errors import Fault, InputError
from devenv.manifest import SUITES, requirement
from devenv.model.dist import normal
from devenv.model.manifest import Manifest
from devenv.trial import bisect, smallest, versions
from devenv.trial.bisect import Answer

from .questions import listed
from .trial import Found, Trying

Kind = Literal["from", "version"] | versions.Ecosystem
Split = Callable[[str], requirement.Parts | None]


class Range(NamedTuple):
    """`NAME=GOOD..BAD`."""

    name: str
    good: str
    bad: str

    def words(self, version: str) -> tuple[str]:
        """What asks for one version."""
        return (f"{self.name}={version}",)


def asked_range(text: str) -> Range:
    """Raises InputError for what is no range."""
    name, sign, rest = text.partition("=")
    good, dots, bad = rest.partition("..")
    if not (name and sign and good and dots and bad) or good == bad:
        raise InputError(Fault(text, 0, 0, "isn't NAME=GOOD..BAD", "such as django=5.0..6.0"))
    return Range(name, good, bad)


def first_bad(trying: Trying, wanted: Range) -> Found:
    """The first bad version, of those there are between a good one and a bad one. Raises InputError, EngineError."""
    candidates = _candidates(trying, wanted)
    tried: dict[str, Answer] = {}
    trying.refer(wanted.words(wanted.good))
    last = trying.add(wanted.words(wanted.bad))
    trying.run([0, last])
    tried[wanted.good] = _sound(trying)
    tried[wanted.bad] = _answer(trying, last)
    told = ", ".join(f"{version} {answer}" for version, answer in tried.items())
    trying.say(wanted.name, f"{told}: {_left(candidates, tried)}")
    search = bisect.search(candidates)
    version = next(search)
    try:
        while True:
            if version not in tried:
                number = trying.add(wanted.words(version))
                trying.run([number])
                tried[version] = _answer(trying, number)
                trying.say(f"{wanted.name} {version}", f"{tried[version]}: {_left(candidates, tried)}")
            version = search.send(tried[version])
    except StopIteration as stop:
        found: bisect.Found = stop.value
    if found.trouble:
        warning(found.trouble, trying.session.env)
    guilty = tuple(f"{wanted.name}={one}" for one in found.suspects)
    return Found(guilty, tuple((version, answer) for version, answer in tried.items()), candidates)


def _left(candidates: Sequence[str], tried: Mapping[str, Answer]) -> str:
    """How many there still are between the last good one and the first bad one."""
    good = max((at for at, one in enumerate(candidates) if tried.get(one) == "good"), default=-1)
    bad = min((at for at, one in enumerate(candidates) if tried.get(one) == "bad"), default=len(candidates))
    number = sum(one not in tried for one in candidates[good + 1 : bad])
    return f"{number} {'version' if number == 1 else 'versions'} left to look at"


def guilty_of(trying: Trying, changes: Sequence[str]) -> Found:
    """The smallest set of changes that breaks something, of these that do together."""
    trying.refer()
    tried: list[tuple[str, str]] = []
    search = smallest.search(changes)
    subset = next(search)
    try:
        while True:
            number = trying.add(subset)
            trying.run([number])
            answer = _answer(trying, number)
            tried.append((" ".join(subset), answer))
            trying.say(*tried[-1])
            subset = search.send(answer)
    except StopIteration as stop:
        found: smallest.Guilty = stop.value
    if found.trouble:
        warning(found.trouble, trying.session.env)
    if found.unsure:
        warning(f"it can't be told how things are without {', '.join(found.unsure)}", trying.session.env)
    return Found(found.changes, tuple(tried), tuple(changes))


def _sound(trying: Trying) -> Answer:
    """Whether what all are held against can be used for that: it ran, and some test of it passed, or all of it succeeded."""
    side = trying.sides[0]
    ran = [run for run in side.runs if run.code is not None]
    if not ran:
        return "skip"
    passed = any(
        run.code == 0 or run.unnamed or any(case.outcome == "passed" for case in run.cases or ()) for run in ran
    )
    return "good" if passed else "bad"


def _answer(trying: Trying, number: int) -> Answer:
    """What can't be installed says nothing of what the tests would say."""
    if trying.sides[number].stage in ("lock", "build"):
        return "skip"
    return {"regression": "bad", "no regression": "good"}.get(trying.verdict(number).outcome, "skip")  # type: ignore[return-value]


def _candidates(trying: Trying, wanted: Range) -> tuple[str, ...]:
    """The versions there are, from the good one to the bad one."""
    good, bad = trying.read(wanted.words(wanted.good)), trying.read(wanted.words(wanted.bad))
    differing = [*dict.fromkeys(_differing(good, bad))]
    if len(differing) != 1:
        what = "stands for several packages" if differing else "isn't the version of anything that has several"
        raise InputError(Fault(wanted.name, 0, 0, what, "name a package, `python`, `node` or `from`"))
    kind, name, image = differing[0]
    if kind == "from":
        known = tuple(f"bootstrap:{suite}" for suite in SUITES)
    elif kind == "version":
        known = tuple(_counted(wanted))
    else:
        with trying.standing() as one:
            known = listed(one, kind, name, trying.machine, image)
    return versions.between(wanted.name, wanted.good, wanted.bad, known, kind)


def _differing(one: Manifest, other: Manifest) -> Iterator[tuple[Kind, str, str]]:
    """What two manifests have another version of: (ecosystem, `from`, or `version` of a language; name; of which image)."""
    for image, own in wanting.manifests(one).items():
        others = wanting.manifests(other)[image]
        if own.base != others.base:
            yield "from", "", image
        if (own.python and own.python.version) != (others.python and others.python.version):
            yield "version", "python", image
        if (own.node and own.node.version) != (others.node and others.node.version):
            yield "version", "node", image
        mine, theirs = set(_packages(own)), set(_packages(others))
        yield from sorted({(kind, name, image) for kind, name, _ in mine ^ theirs})


def _packages(manifest: Manifest) -> Iterator[tuple[versions.Ecosystem, str, str]]:
    """(ecosystem, name, version) of all that is asked for by name."""
    python, node = manifest.python, manifest.node
    listed: tuple[tuple[versions.Ecosystem, Split, Sequence[str]], ...] = (
        ("python", requirement.python, python.packages if python else ()),
        ("apt", requirement.apt, manifest.apt),
        ("node", requirement.node, node.packages if node else ()),
    )
    for kind, split, texts in listed:
        yield from ((kind, one.name, one.version) for one in map(split, texts) if one)
    for path, data in asking.told(manifest).items():
        kind = "node" if requirement.is_npm(path) else "python"
        yield from (
            (kind, one.name if kind == "node" else normal(one.name), one.version)
            for one in requirement.names(path, data)
        )


def _counted(wanted: Range) -> Iterator[str]:
    """Versions of a language between two: 3.9, 3.10, 3.11; 18, 19, 20."""
    first, last = (text.rpartition(".") for text in (wanted.good, wanted.bad))
    if first[0] != last[0] or not first[2].isdecimal() or not last[2].isdecimal():
        raise InputError(Fault(wanted.name, 0, 0, f"between {wanted.good} and {wanted.bad} nothing can be counted"))
    low, high = sorted((int(first[2]), int(last[2])))
    yield from (f"{first[0]}{first[1]}{number}" for number in range(low, high + 1))
