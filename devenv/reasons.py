"""What a build is made from, before and after → which of its steps are which, and why each must run. Pure.

Steps are matched by what they are, not by their number: one that is put in between leaves the others what they were.
What the steps of a build list together (packages, in layers) is told as one list.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from devenv.changes import PACKAGES, differences, files, items, own, told
from devenv.model.build import Configure, Keyed
from devenv.model.container import ObservedImage
from devenv.model.manifest import FROM_LOCK, FROM_MANIFEST, Pairs
from devenv.model.plan import HOOKS, Built, Change, StepPlan, WantedImage

NEW = "new"
"""The reason of a step that no step of the last build matches."""

_FOLLOWS = "follows "
_LAYERS = "layers of "
_UNSURE = ("parent", "clock", FROM_LOCK)


class Compared(NamedTuple):
    """What was built and what is to be built, held against each other."""

    before: Mapping[str, Pairs]
    after: Mapping[str, Pairs]
    pairs: Mapping[str, str]
    """Position now → position then, of what is the same step."""
    old: Mapping[str, str]
    new: Mapping[str, str]
    """Lists by name, over all steps."""
    listings: Mapping[str, Pairs]
    bases: Mapping[str, tuple[Change, ...]]
    """Key of a base that isn't the one it was → what changed of it."""


def compare(wanted: WantedImage, found: ObservedImage) -> Compared:
    """Hold what is wanted against what was built last."""
    pairs = matched(found.built, wanted.built)
    before = dict(found.built)
    old, new = _together(found.built), _together(wanted.built)
    compared = Compared(before, dict(wanted.built), pairs, old, new, {**found.files, **wanted.files}, {})
    bases = {}
    for position, inputs in wanted.built:
        if position in pairs and position.endswith(":0") and (changes := _base(before[pairs[position]], inputs)):
            bases[dict(inputs)["key"]] = changes
    return compared._replace(bases=bases)


def steps(wanted: WantedImage, cached: Collection[str], compared: Compared) -> tuple[StepPlan, ...]:
    """Every step that leaves files behind, and whether it must run: `cached` are the keys that the store has.

    Settings have no layer, and cost nothing.
    """
    found: list[StepPlan] = []
    dirty: dict[str | tuple[str, int], str] = {}  # result keys and stages that come out anew, and because of which step
    for position, keyed in wanted.steps:
        if isinstance(keyed.step.operation, Configure):
            continue
        graph = position.rpartition("/")[0]  # of a base that is itself built: its stages are counted apart
        above = (keyed.parent, *((graph, stage) for stage in keyed.needs))
        causes = [dirty[one] for one in above if one in dirty]
        reason, changes = _reason(position, keyed, cached, compared, causes)
        place = keyed.step.place or position
        is_there = keyed.key in cached
        found.append(StepPlan(place, keyed.step.words, is_there, reason, changes, keyed.key, online=keyed.step.online))
        # The first cause is what helps, not the last link of the chain to it.
        cause = place if changes or not causes else causes[0]
        if not is_there or changes or causes:
            dirty[keyed.result] = dirty[graph, keyed.stage] = cause
    return tuple(found)


def others(wanted: WantedImage, compared: Compared) -> Iterator[tuple[str, tuple[Change, ...]]]:
    """(place, changes) of what isn't as it was when it was built last and is no such step: settings, bases, what is gone."""
    if not compared.before:
        return
    for changes in compared.bases.values():
        yield "", changes
    for position, keyed in wanted.steps:
        if isinstance(keyed.step.operation, Configure):
            yield keyed.step.place or position, _changes(position, keyed.inputs, compared)
    kept = set(compared.pairs.values())
    for position, inputs in compared.before.items():
        if position not in kept and position != HOOKS and not position.endswith(":0"):
            listed = [name for name, _ in inputs if _name(name) in compared.old]
            gone = (_listed(Change(_name(name), "", ""), compared) for name in listed)
            told = tuple(one for one in gone if not one.name.startswith(_LAYERS))
            yield "", told if listed else (Change(position, "a step", ""),)


def matched(before: Built, after: Built) -> dict[str, str]:
    """Position now → position then: within a stage, first what is word for word the same, then what does the same."""
    found: dict[str, str] = {}
    if [position for position, _ in before] == [position for position, _ in after] and before == after:
        return {position: position for position, _ in after}
    for stage in dict.fromkeys(map(_stage, after)):
        old, new = ([one for one in rows if _stage(one) == stage] for rows in (before, after))
        _match(old, new, (_words, _target, _kind), found)
    return found


def _match(old: Built, new: Built, likenesses: Sequence[Callable[[Pairs], Hashable]], found: dict[str, str]) -> None:
    if not likenesses or not old or not new:
        return
    from difflib import SequenceMatcher  # only where something changed

    like = likenesses[0]
    alike = SequenceMatcher(None, [like(one[1]) for one in old], [like(one[1]) for one in new], autojunk=False)
    there = here = 0
    for block in alike.get_matching_blocks():
        _match(old[there : block.a], new[here : block.b], likenesses[1:], found)
        there, here = block.a + block.size, block.b + block.size
        pairs = zip(old[block.a : there], new[block.b : here], strict=True)
        found.update((now, then) for (then, _), (now, _) in pairs)


def _stage(row: tuple[str, Pairs]) -> str:
    return row[0].rpartition(":")[0]


def _kind(inputs: Pairs) -> str:
    """A RUN has a command, a COPY a target, a FROM a base; a WORKDIR leaves a folder behind, settings nothing."""
    names = {name for name, _ in inputs}
    kinds = (name for name in ("command", "target", "from", "workdir") if name in names)
    return next(kinds, "") if "parent" in names or names & {"target", "from", "command"} else "configure"


def _words(inputs: Pairs) -> Hashable:
    """The instruction itself, whatever it is run on and with, and whatever is in the files it reads."""
    kind = _kind(inputs)
    if kind in ("command", "target"):
        telling = ("command", "target", "sources", "heredoc ", "url ")
        return kind, tuple(one for one in inputs if one[0].startswith(telling))
    return kind, tuple(one for one in inputs if one[0] not in _UNSURE)


def _target(inputs: Pairs) -> Hashable:
    """What it is for: its keys of the manifest, or where it copies to, or what it sets."""
    kind = _kind(inputs)
    names = tuple(name for name, _ in inputs if name.startswith(FROM_MANIFEST))
    if kind == "configure":
        return kind, tuple(name for name, _ in inputs)
    return kind, dict(inputs).get("target", ""), names


def _together(built: Built) -> dict[str, str]:
    """The lists of the manifest and of the lock, over all steps: name → items. The lock's are told apart by ecosystem."""
    found: dict[str, dict[str, None]] = {}
    for _, inputs in built:
        for name, value in inputs:
            key = _family(inputs) if name == FROM_LOCK else _name(name) if name.startswith(FROM_MANIFEST) else ""
            for item in (key and items(_name(name), value)) or ():
                found.setdefault(key, {})[item] = None
    return {name: ", ".join(listed) for name, listed in found.items()}


def _family(inputs: Pairs) -> str:
    """`devenv.lock.yml apt`, for what the ecosystem's steps take of the lock."""
    taken = next((name for name, _ in inputs if name.startswith(PACKAGES)), "")
    return f"{FROM_LOCK} {taken.removeprefix(PACKAGES).strip('/').partition('/')[0]}"


def _name(name: str) -> str:
    return name.removeprefix(FROM_MANIFEST)


def _changes(position: str, inputs: Pairs, compared: Compared) -> tuple[Change, ...]:
    """What of a step's own inputs changed, its lists told together with those of the other steps, its folders by file."""
    then = compared.pairs.get(position)
    if then is not None and _counted(compared.before[then]) == _counted(inputs):
        found: tuple[Change, ...] = ()  # only the words differ: what it makes of them stays the same
    elif then is not None:
        found = own(compared.before[then], inputs)
    else:  # a step that wasn't there: of what several steps list together, it has what is new
        listed = tuple(one for one in inputs if _name(one[0]) in compared.new or one[0] == FROM_LOCK)
        found = own(tuple((name, "") for name, _ in listed), listed)
        found += tuple(one for one in _content(inputs, compared) if one not in found)
    taken = _family(inputs)
    told = [change for one in found if (change := _listed(one, compared, taken)).before != change.after]
    # How many layers have a part of a list is worth a word only where nothing else is to be said.
    told = [one for one in told if not one.name.startswith(_LAYERS)] or told[:1]
    told.sort(key=lambda one: one.name == FROM_LOCK)  # what follows comes after what was written
    return tuple(part for one in told for part in _files(one, compared))


def _counted(inputs: Pairs) -> dict[str, str]:
    """What is part of a step's own key, or of the settings."""
    return {name: value for name, value in inputs if not name.startswith((FROM_MANIFEST, FROM_LOCK, "parent"))}


def _content(inputs: Pairs, compared: Compared) -> Iterator[Change]:
    """Files of the manifest (requirements) that other steps read before."""
    known = {name: value for rows in compared.before.values() for name, value in rows if name.startswith(FROM_MANIFEST)}
    for name, value in inputs:
        if name in known and known[name] != value and _name(name) not in compared.new:
            yield Change(_name(name), known[name], value)


def _listed(change: Change, compared: Compared, taken: str = "") -> Change:
    """The same change of a list as it is over all steps, if it is one; where that stays the same, how many have a part."""
    key = taken if change.name == FROM_LOCK else change.name
    before, after = compared.old.get(key, ""), compared.new.get(key, "")
    if items(change.name, "") is None or (key not in compared.old and key not in compared.new):
        return change
    if before == after:
        old, new = (_layers(change.name, rows) for rows in (compared.before.values(), compared.after.values()))
        return Change(f"{_LAYERS}{change.name}", str(old), str(new))
    return differences(((change.name, before),), ((change.name, after),))[0]


def _layers(name: str, rows: Iterable[Pairs]) -> int:
    return sum(any(_name(one) == name for one, _ in inputs) for inputs in rows)


def _files(change: Change, compared: Compared) -> Sequence[Change]:
    """A change of a build context, file by file as far as they were written down."""
    before, after = (compared.listings.get(digest) for digest in (change.before, change.after))
    found = files(dict(before), dict(after)) if before is not None and after is not None else ()
    return found or (change,)


def _base(before: Pairs, after: Pairs) -> tuple[Change, ...]:
    """What changed of what a stage starts from: its name, else the packages it is made of, else only its digest."""
    old, new = dict(before), dict(after)
    if old.get("key") == new.get("key") and old.get("from") == new.get("from"):
        return ()
    for name in ("from", FROM_LOCK):
        if found := differences(((name, old.get(name, "")),), ((name, new.get(name, "")),)):
            return found
    return (Change(f"from {new['from']}", old.get("key", ""), new["key"]),)


def _reason(
    position: str, keyed: Keyed, cached: Collection[str], compared: Compared, causes: Sequence[str]
) -> tuple[str, tuple[Change, ...]]:
    """Why a step must run, or that the store has its result; and what changed of what it is made from."""
    then = compared.pairs.get(position)
    based = compared.bases.get(dict(keyed.inputs).get("parent", ""), ())
    changes = _changes(position, keyed.inputs, compared) if compared.before else ()
    if based and based[0].name == "from":  # another release has other packages: nothing to tell of each
        changes = tuple(one for one in changes if one.name in compared.new or one.name.startswith("env."))
    changes = tuple(dict.fromkeys((*based, *changes)))
    if keyed.key in cached:
        return "in the store", changes
    if changes:
        return told(changes), changes
    if then is None and (not causes or not compared.before):
        return NEW, ()
    if causes:
        return f"{_FOLLOWS}{causes[0]}", ()
    assert then is not None
    same = not differences(compared.before[then], keyed.inputs)
    return ("no longer in the store" if same else "what it is built on changed"), ()
